//! Tiered storage as a whole, in one process: what is copied is read again, whatever fails in between.

mod adopt;
mod cleaning;
mod outage;
mod scrub;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use chronik_engine::log::{Isolation, LogConfig, PartitionLog};
use chronik_engine::store::CrashPoint;
use chronik_protocol::batch::{BatchView, split_batches};

use crate::bucket::Bucket;
use crate::manifest::{newest_epoch, read_chain};
use crate::read::Limits;
use crate::testing::{NOW_MS, Rig, tiered, until};
use crate::tier::{Change, Standing, Tier};

const ALL: Limits = Limits { max_bytes: 1 << 20, at_least_one: true, isolation: Isolation::Uncommitted };

/// Offset and value of every record from an offset on, read as a consumer does.
async fn read_all(tier: &Tier, log: &Arc<PartitionLog>, from: i64) -> Vec<(i64, String)> {
    let mut found = Vec::new();
    let mut next = from;
    while next < log.high_watermark() {
        let read = tier.read(log, next, ALL).await.unwrap();
        assert!(read.bytes > 0, "nothing at {next}");
        for batch in split_batches(Bytes::from(read.chunks.concat())) {
            let view = BatchView::new(&batch).unwrap();
            view.verify_crc().unwrap();
            let mut records = view.records(1 << 20).unwrap();
            while let Some(record) = records.next_record().unwrap() {
                let offset = view.header().base_offset + i64::from(record.offset_delta);
                let value = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
                if offset >= next {
                    found.push((offset, value));
                }
            }
            next = view.header().last_offset() + 1;
        }
    }
    found
}

fn expected(from: i64, to: i64) -> Vec<(i64, String)> {
    (from..to).map(|offset| (offset, format!("{offset:0>330}"))).collect()
}

async fn copied(config: LogConfig, batches: usize) -> (Rig, Arc<PartitionLog>, tokio::task::JoinHandle<()>) {
    let rig = Rig::new(config).await;
    let log = rig.topic("t").await;
    rig.fill(&log, batches).await;
    let task = rig.start();
    rig.settled(&log).await;
    (rig, log, task)
}

#[tokio::test]
async fn what_was_copied_is_read_from_any_offset() {
    let (rig, log, _task) = copied(tiered(), 200).await;
    assert!(log.remote_segments().len() > 5);
    for from in [0, 1, 59, 60, 61, 300, 599] {
        assert_eq!(read_all(&rig.tier, &log, from).await, expected(from, 600), "from {from}");
    }
}

#[tokio::test]
async fn a_random_cold_read_takes_one_get_and_a_second_one_none() {
    let (rig, log, _task) = copied(tiered(), 200).await;
    let before = rig.objects.gets.load(Ordering::SeqCst);
    rig.tier.read(&log, 301, ALL).await.unwrap();
    assert_eq!(rig.objects.gets.load(Ordering::SeqCst) - before, 1);
    rig.tier.read(&log, 302, ALL).await.unwrap();
    assert_eq!(rig.objects.gets.load(Ordering::SeqCst) - before, 1);
}

#[tokio::test]
async fn readers_of_one_block_share_one_get() {
    let (rig, log, _task) = copied(tiered(), 200).await;
    let before = rig.objects.gets.load(Ordering::SeqCst);
    let reads = (0..20).map(|_| rig.tier.read(&log, 301, ALL));
    for read in futures_util::future::join_all(reads).await {
        assert!(read.unwrap().bytes > 0);
    }
    assert_eq!(rig.objects.gets.load(Ordering::SeqCst) - before, 1);
}

#[tokio::test]
async fn wrong_bytes_are_asked_for_again_and_never_served() {
    let (rig, log, _task) = copied(tiered(), 100).await;
    rig.objects.corruptions.store(2, Ordering::SeqCst);
    assert_eq!(read_all(&rig.tier, &log, 0).await, expected(0, 300));
    let (rig, log, _task) = copied(tiered(), 100).await;
    rig.objects.corruptions.store(1000, Ordering::SeqCst);
    let error = rig.tier.read(&log, 0, ALL).await.unwrap_err();
    assert!(error.to_string().contains("damaged"), "{error}");
    rig.objects.corruptions.store(0, Ordering::SeqCst);
    assert_eq!(read_all(&rig.tier, &log, 0).await, expected(0, 300), "the partition serves on");
}

#[tokio::test]
async fn what_the_bucket_holds_wrong_is_noticed_before_local_data_goes() {
    let rig = Rig::new(tiered()).await;
    let log = rig.topic("t").await;
    rig.fill(&log, 100).await;
    // The proof reads back: it finds every copy damaged.
    rig.objects.corruptions.store(usize::MAX, Ordering::SeqCst);
    let _task = rig.start();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!log.has_remote() && log.offsets().local_from == 0);
    rig.objects.corruptions.store(0, Ordering::SeqCst);
    rig.settled(&log).await;
    assert_eq!(read_all(&rig.tier, &log, 0).await, expected(0, 300));
}

#[tokio::test]
async fn a_bucket_that_is_gone_for_a_while_holds_nothing_up_and_the_backlog_drains() {
    let rig = Rig::new(tiered()).await;
    let log = rig.topic("t").await;
    rig.objects.failures.store(30, Ordering::SeqCst);
    let _task = rig.start();
    rig.fill(&log, 200).await;
    rig.settled(&log).await;
    assert_eq!(read_all(&rig.tier, &log, 0).await, expected(0, 600));
}

#[tokio::test]
async fn an_answer_that_is_lost_changes_nothing_twice() {
    let rig = Rig::new(tiered()).await;
    let log = rig.topic("t").await;
    rig.fill(&log, 60).await;
    rig.objects.lost_answers.store(3, Ordering::SeqCst);
    let _task = rig.start();
    rig.settled(&log).await;
    rig.objects.lost_answers.store(2, Ordering::SeqCst);
    rig.fill(&log, 60).await;
    rig.settled(&log).await;
    assert_eq!(read_all(&rig.tier, &log, 0).await, expected(0, 360));
    assert!(matches!(rig.tier.standing(), Standing::Leading(_)), "{:?}", rig.tier.standing());
}

/// The directory is cut off after every put in turn, and opened again.
#[tokio::test]
async fn a_crash_at_any_step_loses_nothing_and_the_manifest_agrees_with_the_logs() {
    for seed in 0..25 {
        let rig = Rig::new(tiered()).await;
        let log = rig.topic("t").await;
        rig.fill(&log, 200).await;
        let task = rig.start();
        until(|| rig.objects.puts.lock().len() > seed).await;
        // First the end, then what the disk held: a copier that was awake would write to the bucket after its own death.
        task.abort();
        let _ = task.await;
        let crashed = Arc::new(rig.store.crash(CrashPoint::Random(seed as u64)));
        let again = Rig::over(crashed, rig.objects.clone(), rig.config.clone()).await;
        let log = again.topic("t").await;
        let _task = again.start();
        again.settled(&log).await;
        assert_eq!(read_all(&again.tier, &log, 0).await, expected(0, 600), "seed {seed}");
        check_manifest(&again).await;
    }
}

/// The bucket's manifest and the logs name the same objects.
async fn check_manifest(rig: &Rig) {
    let bucket = rig.bucket();
    let epoch = newest_epoch(&bucket, rig.engine.cluster_id()).await.unwrap().unwrap();
    let chain = read_chain(&bucket, rig.engine.cluster_id(), epoch).await.unwrap();
    let named: Vec<String> = chain.entries.into_keys().collect();
    let mut own: Vec<String> = rig.tier.entries().into_iter().map(|entry| entry.segment.object).collect();
    own.sort();
    assert_eq!(named, own);
}

#[tokio::test]
async fn of_two_brokers_on_one_bucket_the_older_stops() {
    let (rig, log, _task) = copied(tiered(), 60).await;
    let copy = Arc::new(rig.store.crash(CrashPoint::Durable));
    let newer = Rig::over(copy, rig.objects.clone(), rig.config.clone()).await;
    let newer_log = newer.topic("t").await;
    let _newer_task = newer.start();
    until(|| matches!(newer.tier.standing(), Standing::Leading(2))).await;
    let before = log.remote_segments().len();
    rig.fill(&log, 100).await;
    until(|| matches!(rig.tier.standing(), Standing::Replaced(_))).await;
    newer.fill(&newer_log, 100).await;
    newer.settled(&newer_log).await;
    assert_eq!(log.remote_segments().len(), before, "nothing it copied since counts");
    assert!(log.offsets().local_from <= log.copied_to().unwrap(), "and nothing local has gone for it");
    assert_eq!(read_all(&rig.tier, &log, 0).await.len(), 480, "it serves on what it has");
    // A restart does not take it back.
    let again = Rig::over(rig.store.clone(), rig.objects.clone(), rig.config.clone()).await;
    let _again_task = again.start();
    until(|| matches!(again.tier.standing(), Standing::Replaced(_))).await;
    assert!(matches!(newer.tier.standing(), Standing::Leading(2)));
}

// The seals of old epochs used to be deleted with the rest of their chains, and a broker that came back after two others had
// started went on with its own.
#[tokio::test]
async fn a_broker_that_was_away_for_several_epochs_is_still_replaced() {
    let (rig, log, _task) = copied(tiered(), 60).await;
    let mut store = Arc::new(rig.store.crash(CrashPoint::Durable));
    for epoch in 2..6 {
        let next = Rig::over(store.clone(), rig.objects.clone(), rig.config.clone()).await;
        let task = next.start();
        until(|| next.tier.standing() == Standing::Leading(epoch)).await;
        task.abort();
        let _ = task.await;
        store = Arc::new(next.store.crash(CrashPoint::Durable));
    }
    rig.fill(&log, 100).await;
    until(|| matches!(rig.tier.standing(), Standing::Replaced(_))).await;
}

#[tokio::test]
async fn what_retention_and_deletion_leave_is_deleted_from_the_bucket() {
    let (rig, log, _task) = copied(tiered(), 100).await;
    let segments = || rig.objects.puts.lock().iter().filter(|name| name.starts_with("segments/")).count();
    let written = segments();
    let bucket = rig.bucket();
    let count = || async {
        let mut count = 0;
        bucket.list("segments", |_| count += 1).await.unwrap();
        count
    };
    assert_eq!(count().await, written);
    log.delete_records(Some(150)).unwrap().1.await.unwrap();
    let left = log.remote_segments().len();
    assert!(left < written);
    for _ in 0..500 {
        if count().await == left {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(count().await, left);
    assert_eq!(read_all(&rig.tier, &log, 150).await, expected(150, 300));
    rig.engine.delete_topic("t").await.unwrap();
    for _ in 0..500 {
        if count().await == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(count().await, 0);
    check_manifest(&rig).await;
}

// Copying used to begin before the log's start, or not at all, once DeleteRecords had cut into a segment.
#[tokio::test]
async fn a_log_whose_first_batch_was_cut_into_is_copied_and_read() {
    let rig = Rig::new(tiered()).await;
    let log = rig.topic("t").await;
    rig.fill(&log, 100).await;
    log.delete_records(Some(31)).unwrap().1.await.unwrap();
    let _task = rig.start();
    rig.settled(&log).await;
    assert_eq!(log.remote_segments()[0].base_offset, 31);
    assert_eq!(read_all(&rig.tier, &log, 31).await, expected(31, 300));
    assert_eq!(rig.tier.scrub().await.unwrap().faults, [] as [String; 0]);
}

#[tokio::test]
async fn a_scrub_finds_what_is_missing_or_damaged_and_removes_what_nobody_names() {
    let (rig, log, _task) = copied(tiered(), 100).await;
    assert_eq!(rig.tier.scrub().await.unwrap().faults, [] as [String; 0]);
    let bucket = rig.bucket();
    let segment = log.remote_segments()[1].clone();
    let whole = bucket.get(&segment.object).await.unwrap();
    let orphan = segment.object.replace(".seg", "-cut.seg");
    bucket.put(&orphan, vec![whole.clone()]).await.unwrap();
    let mut damaged = whole.to_vec();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    bucket.put(&segment.object, vec![damaged.into()]).await.unwrap();
    let missing = log.remote_segments()[2].clone();
    bucket.delete(&[missing.object.to_string()]).await.all().unwrap();
    // The store's own clock says when an object was written.
    rig.now_ms.store(i64::MAX, Ordering::SeqCst);
    let report = rig.tier.scrub().await.unwrap();
    assert_eq!((report.orphans_removed, report.faults.len()), (1, 2), "{report:?}");
    assert!(report.faults.iter().any(|fault| fault.contains("missing") && fault.contains(&*missing.object)));
    assert!(report.faults.iter().any(|fault| fault.contains("damaged") && fault.contains(&*segment.object)));
    assert!(bucket.size(&orphan).await.is_err());
}

#[tokio::test]
async fn times_are_found_in_either_tier() {
    let (rig, log, _task) = copied(tiered(), 200).await;
    let reader = rig.tier.reader().await;
    for offset in [0, 3, 30, 300, 597] {
        let at = NOW_MS + offset * 10;
        let found = reader.offset_for_timestamp(&log, at).await.unwrap().unwrap();
        assert_eq!((found.offset, found.timestamp_ms), (offset, at));
        let between = reader.offset_for_timestamp(&log, at - 1).await.unwrap().unwrap();
        assert_eq!(between.offset, offset);
    }
    assert!(reader.offset_for_timestamp(&log, NOW_MS + 10_000).await.unwrap().is_none());
    assert_eq!(reader.offset_of_max_timestamp(&log).await.unwrap().unwrap().offset, 597);
}

#[tokio::test]
async fn the_largest_time_is_found_in_the_bucket_also_when_deleting_has_cut_it_off() {
    let rig = Rig::new(tiered()).await;
    let log = rig.topic("t").await;
    let newest_first = |offset: i64| NOW_MS - offset * 10;
    for offset in 0..100 {
        let value = vec![b'x'; 1000];
        let builder = chronik_protocol::batch::BatchBuilder::new();
        crate::testing::append(
            &log,
            builder.record(newest_first(offset), None, Some(&value)).build().unwrap(),
        )
        .await;
    }
    let _task = rig.start();
    rig.settled(&log).await;
    let reader = rig.tier.reader().await;
    assert_eq!(reader.offset_of_max_timestamp(&log).await.unwrap().unwrap().offset, 0);
    log.delete_records(Some(25)).unwrap().1.await.unwrap();
    let found = reader.offset_of_max_timestamp(&log).await.unwrap().unwrap();
    assert_eq!((found.offset, found.timestamp_ms), (25, newest_first(25)));
}

#[tokio::test]
async fn a_snapshot_takes_the_place_of_many_deltas() {
    let config = LogConfig { segment_bytes: 1200, ..tiered() };
    let (rig, log, task) = copied(config, 300).await;
    let bucket = rig.bucket();
    let chain = bucket.children(&format!("manifest/{}/0000000001", rig.engine.cluster_id())).await.unwrap();
    assert!(chain.iter().any(|name| name.ends_with(".snapshot")), "{chain:?}");
    check_manifest(&rig).await;
    let _ = rig.stop.send(true);
    task.await.unwrap();
    rig.engine.close().await.unwrap();
    let again =
        Rig::over(Arc::new(rig.store.crash(CrashPoint::Durable)), rig.objects.clone(), rig.config.clone())
            .await;
    let log_again = again.topic("t").await;
    let _task = again.start();
    until(|| matches!(again.tier.standing(), Standing::Leading(2))).await;
    assert_eq!(log_again.remote_segments().len(), log.remote_segments().len());
    check_manifest(&again).await;
}

// In a directory the folder of an epoch comes before its opening. A restore, or a start, that was killed in between used to hide
// everything before it: the next one began with nothing, and sealed it.
#[tokio::test]
async fn an_epoch_that_was_not_opened_hides_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let kind = crate::backend::Kind::Local { path: dir.path().to_owned() };
    let backend = crate::backend::Backend { kind, prefix: None, request_timeout: Duration::from_secs(5) };
    let bucket = Bucket::open(&backend).unwrap();
    crate::manifest::open_chain(&bucket, "cluster", 1, b"us", Vec::new(), NOW_MS).await.unwrap();
    std::fs::create_dir(dir.path().join("manifest/cluster/0000000002")).unwrap();
    assert_eq!(newest_epoch(&bucket, "cluster").await.unwrap(), Some(1));
    assert!(read_chain(&bucket, "cluster", 2).await.is_err(), "it is not a chain that came to nothing");
}

/// A broker that was lost with its directory; another that was restored from the bucket.
#[tokio::test]
async fn a_directory_is_restored_up_to_what_was_copied() {
    let (rig, log, _task) = copied(tiered(), 100).await;
    let copied_to = log.copied_to().unwrap();
    // The active segment is not copied: its records are lost.
    assert!(copied_to < 300);
    until(|| rig.objects.puts.lock().iter().any(|name| name.starts_with("meta/"))).await;
    let bucket = rig.bucket();
    let options = crate::restore::RestoreOptions {
        cluster_id: None,
        dry_run: false,
        producer_expiration_ms: i64::MAX,
        now_ms: NOW_MS,
    };
    let dry = crate::restore::restore(&bucket, None, &options, |_, _| ()).await.unwrap().0;
    let store = Arc::new(chronik_engine::store::MemoryStore::new());
    let (report, unfinished) =
        crate::restore::restore(&bucket, Some(&*store), &options, |_, _| ()).await.unwrap();
    assert_eq!(dry.partitions, report.partitions);
    assert_eq!((report.faults.len(), unfinished.len(), report.epoch), (0, 0, 2));
    assert_eq!((report.partitions[0].end_offset, report.partitions[0].log_start_offset), (copied_to, 0));
    assert!(
        crate::restore::restore(&bucket, Some(&*store), &options, |_, _| ()).await.is_err(),
        "not into a directory with something in it"
    );
    let again = Rig::over(store, rig.objects.clone(), rig.config.clone()).await;
    assert_eq!(again.engine.cluster_id(), rig.engine.cluster_id());
    let (old, new) = (rig.engine.topics(), again.engine.topics());
    assert_eq!(old.get("t").unwrap().id, new.get("t").unwrap().id);
    let restored = again.topic("t").await;
    assert!(restored.leader_epoch() > log.leader_epoch());
    assert_eq!(read_all(&again.tier, &restored, 0).await, expected(0, copied_to));
    // The one that was thought lost: it stops.
    rig.fill(&log, 100).await;
    until(|| matches!(rig.tier.standing(), Standing::Replaced(_))).await;
    let _again_task = again.start();
    again.fill(&restored, 100).await;
    again.settled(&restored).await;
    let end = restored.offsets().next_offset;
    assert_eq!(read_all(&again.tier, &restored, 0).await, expected(0, end));
    check_manifest(&again).await;
}

// A replaced broker that had been idle used to take its successor's objects for what an upload had left.
#[tokio::test]
async fn a_scrub_of_a_broker_that_does_not_know_it_was_replaced_removes_nothing() {
    let (rig, _log, task) = copied(tiered(), 60).await;
    let copy = Arc::new(rig.store.crash(CrashPoint::Durable));
    task.abort();
    let newer = Rig::over(copy, rig.objects.clone(), rig.config.clone()).await;
    let newer_log = newer.topic("t").await;
    let _newer_task = newer.start();
    newer.fill(&newer_log, 100).await;
    newer.settled(&newer_log).await;
    rig.now_ms.store(i64::MAX, Ordering::SeqCst);
    assert_eq!(rig.tier.standing(), Standing::Leading(1), "nobody has told it");
    assert_eq!(rig.tier.scrub().await.unwrap().orphans_removed, 0);
    let end = newer_log.offsets().next_offset;
    assert_eq!(read_all(&newer.tier, &newer_log, 0).await, expected(0, end));
}

// What was missing at a restore used to be taken in at the next start, in the place of what had been written since.
#[tokio::test]
async fn an_object_that_was_missing_at_a_restore_never_stands_for_later_records() {
    let (rig, log, task) = copied(tiered(), 100).await;
    until(|| rig.objects.puts.lock().iter().any(|name| name.starts_with("meta/"))).await;
    task.abort();
    let bucket = rig.bucket();
    let lost = log.remote_segments().last().unwrap().clone();
    let bytes = bucket.get(&lost.object).await.unwrap();
    bucket.delete(&[lost.object.to_string()]).await.all().unwrap();
    let options = crate::restore::RestoreOptions {
        cluster_id: None,
        dry_run: false,
        producer_expiration_ms: i64::MAX,
        now_ms: NOW_MS,
    };
    let store = Arc::new(chronik_engine::store::MemoryStore::new());
    let (report, _) = crate::restore::restore(&bucket, Some(&*store), &options, |_, _| ()).await.unwrap();
    assert_eq!((report.partitions[0].end_offset, report.faults.len()), (lost.base_offset, 1));
    bucket.put(&lost.object, vec![bytes]).await.unwrap();
    let again = Rig::over(store, rig.objects.clone(), rig.config.clone()).await;
    let restored = again.topic("t").await;
    again.fill(&restored, 100).await;
    let _task = again.start();
    again.settled(&restored).await;
    assert!(restored.remote_segments().iter().all(|segment| segment.object != lost.object));
    let end = restored.offsets().next_offset;
    assert_eq!(read_all(&again.tier, &restored, 0).await, expected(0, end));
}

// An append whose caller had given up used to make the next one believe that another broker had taken over.
#[tokio::test]
async fn a_delta_that_arrived_after_its_writer_gave_up_is_known_as_our_own() {
    let (rig, log, _task) = copied(tiered(), 60).await;
    rig.objects.lost_answers.store(1, Ordering::SeqCst);
    let change = Change { removed: vec!["nothing".to_owned()], tries: Some(1), ..Change::default() };
    let given_up = rig.tier.commit(change, || Ok(None)).await;
    assert!(given_up.is_err());
    rig.fill(&log, 60).await;
    rig.settled(&log).await;
    assert_eq!(rig.tier.standing(), Standing::Leading(1));
    check_manifest(&rig).await;
}
