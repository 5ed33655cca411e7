//! A broker whose directory and bucket are not of one moment.

use super::*;

async fn objects(rig: &Rig) -> Vec<String> {
    let mut names = Vec::new();
    let bucket = Bucket::over(rig.objects.clone(), "memory");
    bucket.list("segments", |object| names.push(object.name)).await.unwrap();
    names.sort();
    names
}

// A copy of a directory that was running used to take the bucket, take its own partition offline, and delete what was newer
// than itself.
#[tokio::test]
async fn a_directory_that_is_behind_the_bucket_writes_and_deletes_nothing() {
    let (rig, log, task) = copied(tiered(), 60).await;
    let copy = Arc::new(rig.store.crash(CrashPoint::Durable));
    rig.fill(&log, 100).await;
    rig.settled(&log).await;
    task.abort();
    let before = objects(&rig).await;
    let old = Rig::over(copy, rig.objects.clone(), rig.config.clone()).await;
    let old_log = old.topic("t").await;
    let old_task = old.start();
    until(|| matches!(old.tier.standing(), Standing::Replaced(_))).await;
    // Also when it has caught up with the offsets.
    old.fill(&old_log, 200).await;
    old_task.abort();
    let again = Rig::over(old.store.clone(), rig.objects.clone(), rig.config.clone()).await;
    let _again = again.start();
    until(|| matches!(again.tier.standing(), Standing::Replaced(_))).await;
    assert_eq!(objects(&rig).await, before);
    let right = Rig::over(rig.store.clone(), rig.objects.clone(), rig.config.clone()).await;
    let right_log = right.topic("t").await;
    let _right = right.start();
    until(|| matches!(right.tier.standing(), Standing::Leading(_))).await;
    assert_eq!(read_all(&right.tier, &right_log, 0).await, expected(0, 480));
}

// What the manifest named used to be deleted where the log had other records.
#[tokio::test]
async fn a_directory_with_other_records_writes_and_deletes_nothing() {
    let (rig, log, task) = copied(tiered(), 60).await;
    let copy = Arc::new(rig.store.crash(CrashPoint::Durable));
    rig.fill(&log, 60).await;
    rig.settled(&log).await;
    task.abort();
    let before = objects(&rig).await;
    let other = Rig::over(copy, rig.objects.clone(), rig.config.clone()).await;
    let other_log = other.topic("t").await;
    while other_log.offsets().next_offset <= log.offsets().next_offset {
        cleaning::put(&other_log, "another", Some("value")).await;
    }
    let _task = other.start();
    until(|| matches!(other.tier.standing(), Standing::Replaced(_))).await;
    assert_eq!(objects(&rig).await, before);
    assert!(other.engine.tier_state().await.unwrap().refusal.contains("other records"));
}

// Segments of a topic that a directory does not know used to count as a deleted topic's.
#[tokio::test]
async fn segments_of_an_unknown_topic_are_left_alone_and_told() {
    let (rig, _log, task) = copied(tiered(), 60).await;
    let copy = Arc::new(rig.store.crash(CrashPoint::Durable));
    let newer = rig.topic("u").await;
    rig.fill(&newer, 60).await;
    rig.settled(&newer).await;
    task.abort();
    let old = Rig::over(copy, rig.objects.clone(), rig.config.clone()).await;
    let _task = old.start();
    until(|| matches!(old.tier.standing(), Standing::Leading(_))).await;
    old.now_ms.store(i64::MAX, Ordering::SeqCst);
    let report = old.tier.scrub().await.unwrap();
    assert_eq!(report.orphans_removed, 0);
    assert_eq!(report.faults.len(), newer.remote_segments().len(), "{:?}", report.faults);
    let there = objects(&rig).await;
    assert!(newer.remote_segments().iter().all(|segment| there.iter().any(|name| **name == *segment.object)));
}
