//! What a comparison of manifest, bucket and logs finds, mends and leaves alone.

use super::*;

#[tokio::test]
async fn a_scrub_adds_to_the_manifest_what_it_does_not_name() {
    let (rig, log, task) = copied(tiered(), 100).await;
    task.abort();
    let object = log.remote_segments()[1].object.to_string();
    let change = Change { removed: vec![object.clone()], ..Change::default() };
    rig.tier.commit(change, || Ok(None)).await.unwrap();
    let report = rig.tier.scrub().await.unwrap();
    assert!(report.faults.len() == 1 && report.faults[0].contains(&object), "{:?}", report.faults);
    check_manifest(&rig).await;
    assert_eq!(rig.tier.scrub().await.unwrap().faults, [] as [String; 0]);
}

#[tokio::test]
async fn a_scrub_writes_a_manifest_anew_that_has_lost_a_record() {
    let (rig, _log, task) = copied(tiered(), 100).await;
    task.abort();
    let bucket = rig.bucket();
    let deltas = rig.deltas();
    bucket.delete(&[deltas[2].clone()]).await.all().unwrap();
    let report = rig.tier.scrub().await.unwrap();
    assert!(report.faults[0].contains("missing from the manifest"), "{:?}", report.faults);
    check_manifest(&rig).await;
    assert_eq!(rig.tier.scrub().await.unwrap().faults, [] as [String; 0]);
}

// A change that was given up may have arrived: the next one says how things are.
#[tokio::test]
async fn what_the_manifest_may_be_wrong_about_is_said_with_the_next_change() {
    let (rig, log, task) = copied(tiered(), 60).await;
    task.abort();
    let object = log.remote_segments()[0].object.to_string();
    let change = Change { removed: vec![object.clone()], ..Change::default() };
    rig.tier.commit(change, || Ok(None)).await.unwrap();
    rig.tier.unsure.lock().extend([object, "segments/ghost".to_owned()]);
    assert!(rig.tier.still_leads().await);
    check_manifest(&rig).await;
    assert!(rig.tier.unsure.lock().is_empty());
}

// What a restore had left alone used to be deleted by the next scrub: its age was that of the object.
#[tokio::test]
async fn what_a_restore_has_left_alone_stays_for_the_grace_time_after_it() {
    let (rig, log, task) = copied(tiered(), 100).await;
    task.abort();
    let bucket = rig.bucket();
    let orphan = log.remote_segments()[1].object.replace(".seg", "-left.seg");
    bucket.put(&orphan, vec![Bytes::from_static(b"left alone")]).await.unwrap();
    rig.now_ms.store(i64::MAX - 10, Ordering::SeqCst);
    let mut state = rig.engine.tier_state().await.unwrap();
    state.restored_ms = i64::MAX;
    rig.engine.set_tier_state(&state).await.unwrap();
    let report = rig.tier.scrub().await.unwrap();
    assert_eq!((report.orphans_removed, report.orphans_young), (0, 1));
    state.restored_ms = 0;
    rig.engine.set_tier_state(&state).await.unwrap();
    assert_eq!(rig.tier.scrub().await.unwrap().orphans_removed, 1);
}

// A block of a damaged chain used to be taken for another's.
#[tokio::test]
async fn a_record_of_the_manifest_in_the_place_of_another_is_damage() {
    let (rig, _log, task) = copied(tiered(), 100).await;
    task.abort();
    let bucket = rig.bucket();
    let deltas = rig.deltas();
    let other = bucket.get(&deltas[1]).await.unwrap();
    bucket.put(&deltas[2], vec![other]).await.unwrap();
    let error = read_chain(&bucket, rig.engine.cluster_id(), 1).await.unwrap_err().to_string();
    assert!(error.contains("another place"), "{error}");
}

// The loss of the newest record used to go unnoticed until the next start, and past it.
#[tokio::test]
async fn a_manifest_that_has_lost_its_newest_record_is_written_anew_by_a_scrub_or_a_start() {
    for by_scrub in [true, false] {
        let (rig, _log, task) = copied(tiered(), 100).await;
        task.abort();
        let bucket = rig.bucket();
        let newest = rig.deltas().pop().unwrap();
        bucket.delete(&[newest]).await.all().unwrap();
        if by_scrub {
            let report = rig.tier.scrub().await.unwrap();
            assert!(report.faults[0].contains("newest records"), "{:?}", report.faults);
            check_manifest(&rig).await;
            assert_eq!(rig.tier.scrub().await.unwrap().faults, [] as [String; 0]);
        } else {
            let again = Rig::over(rig.store.clone(), rig.objects.clone(), rig.config.clone()).await;
            assert!(again.tier.leads().await);
            check_manifest(&again).await;
        }
    }
}
