//! A broker whose directory and bucket are not of one moment.

use super::*;

async fn objects(rig: &Rig) -> Vec<String> {
    let mut names = Vec::new();
    let bucket = rig.bucket();
    bucket.list("segments", |object| names.push(object.name)).await.unwrap();
    names.sort();
    names
}

async fn reserve(rig: &Rig, reserved_delta: u64) {
    let state = rig.engine.tier_state().await.unwrap();
    let state = chronik_engine::keys::tier::TierStateValue { reserved_delta, ..state };
    rig.engine.set_tier_state(&state).await.unwrap();
}

/// A rig whose directory was copied while it ran, and that went on writing and copying until it was stopped; the copy.
async fn overtaken(batches: usize) -> (Rig, Arc<PartitionLog>, Rig) {
    let (rig, log, task) = copied(tiered(), 60).await;
    let copy = Arc::new(rig.store.crash(CrashPoint::Durable));
    rig.fill(&log, batches).await;
    rig.settled(&log).await;
    task.abort();
    let old = Rig::over(copy, rig.objects.clone(), rig.config.clone()).await;
    (rig, log, old)
}

// A copy of a directory that was running used to take the bucket, take its own partition offline, and delete what was newer
// than itself.
#[tokio::test]
async fn a_directory_that_is_behind_the_bucket_writes_and_deletes_nothing() {
    let (rig, _log, old) = overtaken(100).await;
    let before = objects(&rig).await;
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
    let (rig, log, other) = overtaken(60).await;
    let before = objects(&rig).await;
    let other_log = other.topic("t").await;
    // As a version that did not note the changes: contents decide.
    reserve(&other, 0).await;
    while other_log.offsets().next_offset <= log.offsets().next_offset {
        cleaning::put(&other_log, "another", Some("value")).await;
    }
    let _task = other.start();
    until(|| matches!(other.tier.standing(), Standing::Replaced(_))).await;
    assert_eq!(objects(&rig).await, before);
    assert!(other.engine.tier_state().await.unwrap().refusal.contains("other records"));
}

// Nor used a directory to be refused that knew nothing of a topic, or of a deletion, in the bucket.
#[tokio::test]
async fn a_directory_that_does_not_know_a_change_in_the_bucket_is_refused() {
    for what in ["topic", "deletion"] {
        let (rig, log, task) = copied(tiered(), 100).await;
        let copy = Arc::new(rig.store.crash(CrashPoint::Durable));
        if what == "topic" {
            let newer = rig.topic("u").await;
            rig.fill(&newer, 60).await;
            rig.settled(&newer).await;
        } else {
            log.delete_records(Some(log.offsets().local_from)).unwrap().1.await.unwrap();
            while !objects(&rig).await.is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        task.abort();
        let before = objects(&rig).await;
        let old = Rig::over(copy, rig.objects.clone(), rig.config.clone()).await;
        let _task = old.start();
        until(|| matches!(old.tier.standing(), Standing::Replaced(_))).await;
        assert_eq!(objects(&rig).await, before, "{what}");
        let right = Rig::over(rig.store.clone(), rig.objects.clone(), rig.config.clone()).await;
        let _right = right.start();
        until(|| right.tier.standing() == Standing::Leading(2)).await;
    }
}

// Comparing with an object that ends inside a batch used to take the partition offline, and the broker led on.
#[tokio::test]
async fn a_log_whose_batches_lie_otherwise_is_refused_and_serves_on() {
    let (_rig, log, other) = overtaken(60).await;
    let other_log = other.topic("t").await;
    // As a version that did not note the changes: contents decide.
    reserve(&other, 0).await;
    cleaning::put(&other_log, "one", Some("more")).await;
    while other_log.offsets().next_offset <= log.offsets().next_offset {
        other.fill(&other_log, 1).await;
    }
    let _task = other.start();
    until(|| matches!(other.tier.standing(), Standing::Replaced(_))).await;
    let end = other_log.offsets().next_offset;
    other.fill(&other_log, 1).await;
    assert_eq!(read_all(&other.tier, &other_log, end).await.len(), 3);
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
    // As one that deleted the topic while its last copy was taken in.
    reserve(&old, 100).await;
    let _task = old.start();
    until(|| matches!(old.tier.standing(), Standing::Leading(_))).await;
    old.now_ms.store(i64::MAX, Ordering::SeqCst);
    let report = old.tier.scrub().await.unwrap();
    assert_eq!(report.orphans_removed, 0);
    assert_eq!(report.faults.len(), newer.remote_segments().len(), "{:?}", report.faults);
    let there = objects(&rig).await;
    assert!(newer.remote_segments().iter().all(|segment| there.iter().any(|name| **name == *segment.object)));
}
