//! A bucket that is away, or refuses a part of what is asked of it.

use super::*;

// A change of the manifest that could not be written used to keep every cleaning waiting, and the broker from stopping.
#[tokio::test]
async fn a_manifest_that_cannot_be_written_keeps_neither_cleaning_nor_a_stop_waiting() {
    let (rig, log, task) = copied(tiered(), 60).await;
    *rig.objects.away.lock() = "manifest/";
    rig.fill(&log, 60).await;
    until(|| matches!(rig.tier.standing(), Standing::Trying(_))).await;
    let may_clean = tokio::time::timeout(Duration::from_secs(1), rig.tier.may_clean()).await;
    assert_eq!(may_clean, Ok(false));
    *rig.objects.away.lock() = "";
    until(|| matches!(rig.tier.standing(), Standing::Leading(1))).await;
    rig.settled(&log).await;
    check_manifest(&rig).await;
    *rig.objects.away.lock() = "manifest/";
    rig.fill(&log, 60).await;
    until(|| matches!(rig.tier.standing(), Standing::Trying(_))).await;
    rig.stop.send_replace(true);
    tokio::time::timeout(Duration::from_secs(5), task).await.expect("it stops").unwrap();
    *rig.objects.away.lock() = "";
    let again = Rig::over(rig.store.clone(), rig.objects.clone(), rig.config.clone()).await;
    let log = again.topic("t").await;
    let _task = again.start();
    again.settled(&log).await;
    assert_eq!(read_all(&again.tier, &log, 0).await, expected(0, 540));
    check_manifest(&again).await;
}

// After a change that was given up the broker used to say that it could not write, and to clean nothing, until the next one.
#[tokio::test]
async fn a_broker_that_gave_a_change_up_finds_by_itself_that_it_can_write_again() {
    let (rig, _log, _task) = copied(tiered(), 60).await;
    *rig.objects.away.lock() = "manifest/";
    let change = Change { removed: vec!["nothing".to_owned()], tries: Some(1), ..Change::default() };
    assert!(rig.tier.commit(change, || Ok(None)).await.is_err());
    assert!(!rig.tier.may_clean().await);
    *rig.objects.away.lock() = "";
    until(|| rig.tier.standing() == Standing::Leading(1)).await;
    assert!(rig.tier.may_clean().await);
}

// One object that the store would not delete used to keep all others from being deleted.
#[tokio::test]
async fn an_object_that_may_not_be_deleted_keeps_no_other_from_it() {
    let (rig, log, _task) = copied(tiered(), 100).await;
    let objects: Vec<String> =
        log.remote_segments().iter().map(|segment| segment.object.to_string()).collect();
    let held = objects[0].clone();
    rig.objects.held.lock().push(held.clone());
    log.delete_records(Some(log.offsets().local_from)).unwrap().1.await.unwrap();
    let bucket = rig.bucket();
    for object in &objects[1..] {
        while bucket.size(object).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    assert!(bucket.size(&held).await.is_ok());
    rig.objects.held.lock().clear();
    while bucket.size(&held).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

// A copy of topics and groups whose predecessor could not be deleted used to stop all copying.
#[tokio::test]
async fn an_old_copy_of_topics_that_may_not_be_deleted_stops_nothing() {
    let (rig, log, _task) = copied(tiered(), 60).await;
    let meta = |rig: &Rig| -> Vec<String> {
        let puts = rig.objects.puts.lock();
        puts.iter().filter(|name| name.starts_with("meta/")).cloned().collect()
    };
    rig.objects.held.lock().extend(meta(&rig));
    for topic in 0..6 {
        let other = rig.topic(&format!("other{topic}")).await;
        rig.fill(&other, 60).await;
        rig.settled(&other).await;
    }
    rig.fill(&log, 60).await;
    rig.settled(&log).await;
}
