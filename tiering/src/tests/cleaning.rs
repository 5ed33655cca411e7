//! What is cleaned in the bucket, and what stays.

use super::*;

/// A batch of one record; no value is a tombstone.
pub(super) async fn put(log: &Arc<PartitionLog>, key: &str, value: Option<&str>) {
    let builder = chronik_protocol::batch::BatchBuilder::new();
    let padded = value.map(|value| format!("{value:0>300}"));
    let builder = builder.record(NOW_MS, Some(key.as_bytes()), padded.as_ref().map(String::as_bytes));
    crate::testing::append(log, builder.build().unwrap()).await;
}

fn objects(log: &PartitionLog) -> Vec<Arc<str>> {
    log.remote_segments().iter().map(|segment| segment.object.clone()).collect()
}

struct Unhurried;

impl crate::Pace for Unhurried {
    async fn spent(&mut self, _: u64) -> bool {
        true
    }
}

async fn clean(rig: &Rig, log: &Arc<PartitionLog>, now_ms: i64) {
    log.roll_for_cleaning(now_ms, true);
    log.durable().await.unwrap();
    let options = chronik_engine::log::CleanOptions { now_ms, map_bytes_max: 1 << 20, dry_run: false };
    // A copy under way keeps the cleaner out.
    let begun = loop {
        match log.clean(options) {
            Err(chronik_engine::log::CleanError::Busy) => tokio::time::sleep(Duration::from_millis(5)).await,
            begun => break begun.unwrap(),
        }
    };
    let Some(mut pass) = begun else { return };
    loop {
        let step = pass.step().await.unwrap();
        if step.wants_remote {
            let cleaned;
            (pass, cleaned) = rig.tier.clean_remote(pass, &mut Unhurried).await;
            cleaned.unwrap();
        }
        if step.done {
            return;
        }
    }
}

/// Key and value of every record, the newest last.
async fn table(tier: &Tier, log: &Arc<PartitionLog>) -> Vec<(String, Option<String>)> {
    let mut found = Vec::new();
    let mut next = log.offsets().log_start_offset;
    while next < log.high_watermark() {
        let read = tier.read(log, next, ALL).await.unwrap();
        if read.bytes == 0 {
            break;
        }
        for batch in split_batches(Bytes::from(read.chunks.concat())) {
            let view = BatchView::new(&batch).unwrap();
            view.verify_crc().unwrap();
            next = view.header().last_offset() + 1;
            let mut records = view.records(1 << 20).unwrap();
            while let Some(record) = records.next_record().unwrap() {
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                let value = record.value.map(|value| text(value).trim_start_matches('0').to_owned());
                found.push((text(record.key.unwrap()), value));
            }
        }
    }
    found
}

#[tokio::test]
async fn a_compacted_log_is_copied_once_cleaned_and_cleaned_again_in_the_bucket() {
    let rig = Rig::new(compacted()).await;
    let log = rig.topic("t").await;
    let _task = rig.start();
    for round in 0..3 {
        for key in 0..20 {
            put(&log, &format!("k{key}"), Some(&format!("v{round}"))).await;
        }
    }
    assert_eq!(log.to_copy(9), [], "nothing that was not cleaned is copied");
    clean(&rig, &log, NOW_MS).await;
    rig.settled(&log).await;
    let expected: Vec<_> = (0..20).map(|key| (format!("k{key}"), Some("v2".to_owned()))).collect();
    assert_eq!(table(&rig.tier, &log).await, expected);
    let before = objects(&log);
    // Half of the keys again, and a tombstone for one that is in the bucket alone.
    for key in 0..10 {
        put(&log, &format!("k{key}"), Some("new")).await;
    }
    put(&log, "k15", None).await;
    clean(&rig, &log, NOW_MS).await;
    assert_eq!(objects(&log)[..before.len()], before[..], "what is not copied supersedes nothing there");
    rig.settled(&log).await;
    clean(&rig, &log, NOW_MS).await;
    assert_ne!(objects(&log)[..before.len()], before[..], "other objects have taken the place");
    let mut expected: Vec<_> =
        (10..20).filter(|key| *key != 15).map(|key| (format!("k{key}"), Some("v2".to_owned()))).collect();
    expected.extend((0..10).map(|key| (format!("k{key}"), Some("new".to_owned()))));
    expected.push(("k15".to_owned(), None));
    assert_eq!(table(&rig.tier, &log).await, expected);
    // The tombstone's time comes; by then it is in the bucket itself.
    clean(&rig, &log, NOW_MS + 5000).await;
    rig.settled(&log).await;
    expected.pop();
    assert_eq!(table(&rig.tier, &log).await, expected);
    until(|| rig.tier.condemned.lock().is_empty()).await;
    check_manifest(&rig).await;
    let report = rig.tier.scrub().await.unwrap();
    assert_eq!(report.faults, [] as [String; 0]);
}

fn compacted() -> LogConfig {
    LogConfig {
        segment_bytes: 3000,
        cleanup_delete: false,
        cleanup_compact: true,
        delete_retention_ms: 1000,
        ..tiered()
    }
}

/// Cleans, with time for copies in between, until there is nothing more to do, at a time when every tombstone may go.
async fn clean_to_the_end(rig: &Rig, log: &Arc<PartitionLog>) {
    for round in 1..=4 {
        rig.settled(log).await;
        clean(rig, log, NOW_MS + round * 100_000).await;
    }
    rig.settled(log).await;
}

fn keys_once(table: &[(String, Option<String>)]) -> Vec<&str> {
    let mut keys: Vec<&str> = table.iter().map(|(key, _)| key.as_str()).collect();
    keys.sort_unstable();
    assert!(keys.windows(2).all(|pair| pair[0] != pair[1]), "{table:?}");
    keys
}

// A topic that was not compacted when it was copied used to bring deleted keys back: its tombstones went while what they
// cover was in the bucket.
#[tokio::test]
async fn a_log_that_becomes_compacted_brings_no_deleted_key_back() {
    let plain = LogConfig { segment_bytes: 3000, ..tiered() };
    let rig = Rig::new(plain).await;
    let log = rig.topic("t").await;
    let task = rig.start();
    for round in 0..2 {
        for key in 0..20 {
            put(&log, &format!("k{key:02}"), Some(&format!("v{round}"))).await;
        }
    }
    rig.settled(&log).await;
    task.abort();
    let rig = Rig::over(rig.store.clone(), rig.objects.clone(), compacted()).await;
    let log = rig.topic("t").await;
    let _task = rig.start();
    put(&log, "k05", None).await;
    for key in 20..25 {
        put(&log, &format!("k{key}"), Some("new")).await;
    }
    clean(&rig, &log, NOW_MS).await;
    clean_to_the_end(&rig, &log).await;
    let table = table(&rig.tier, &log).await;
    let keys = keys_once(&table);
    assert_eq!(keys.len(), 24, "{table:?}");
    assert!(!keys.contains(&"k05"));
}

// What came to the bucket between two parts of a pass used to keep what was superseded, and deleted keys came back.
#[tokio::test]
async fn a_pass_that_was_cut_short_leaves_nothing_superseded_in_the_bucket() {
    let rig = Rig::new(compacted()).await;
    let log = rig.topic("t").await;
    for key in 0..40 {
        put(&log, &format!("k{key:02}"), Some("v0")).await;
    }
    assert!(rig.tier.may_clean().await);
    clean(&rig, &log, NOW_MS).await;
    for key in 10..40 {
        put(&log, &format!("k{key:02}"), (key != 15).then_some("v1")).await;
    }
    log.roll_for_cleaning(NOW_MS, true);
    log.durable().await.unwrap();
    let options =
        chronik_engine::log::CleanOptions { now_ms: NOW_MS, map_bytes_max: 1 << 20, dry_run: false };
    let mut pass = log.clean(options).unwrap().unwrap();
    while !log.cleaned_to().interrupted {
        assert!(!pass.step().await.unwrap().done, "it is cut short");
    }
    drop(pass);
    let _task = rig.start();
    until(|| log.has_remote() && log.to_copy(1).is_empty()).await;
    clean(&rig, &log, NOW_MS).await;
    clean_to_the_end(&rig, &log).await;
    let table = table(&rig.tier, &log).await;
    assert_eq!(keys_once(&table).len(), 39, "{table:?}");
}

// A restore used to find neither the value that was copied nor the one that was not yet.
#[tokio::test]
async fn what_is_local_alone_takes_nothing_from_the_bucket() {
    let rig = Rig::new(compacted()).await;
    let log = rig.topic("t").await;
    let task = rig.start();
    for key in 0..20 {
        put(&log, &format!("k{key:02}"), Some("v0")).await;
    }
    clean(&rig, &log, NOW_MS).await;
    rig.settled(&log).await;
    task.abort();
    let before = objects(&log);
    for key in 0..20 {
        put(&log, &format!("k{key:02}"), Some("v1")).await;
    }
    clean(&rig, &log, NOW_MS).await;
    clean(&rig, &log, NOW_MS + 100_000).await;
    assert_eq!(objects(&log), before);
    let _task = rig.start();
    clean_to_the_end(&rig, &log).await;
    assert_eq!(keys_once(&table(&rig.tier, &log).await).len(), 20);
}

// A batch whose records are all gone, alone in an answer, made librdkafka say that a message was too large.
#[tokio::test]
async fn batches_without_records_are_never_handed_out_alone() {
    let rig = Rig::new(compacted()).await;
    let log = rig.topic("t").await;
    let _task = rig.start();
    for producer in 0..30 {
        let mut builder = chronik_protocol::batch::BatchBuilder::new().producer(producer, 0, 0);
        for key in 0..10 {
            let value = format!("{producer:0>300}");
            builder = builder.record(NOW_MS, Some(format!("k{key}").as_bytes()), Some(value.as_bytes()));
        }
        crate::testing::append(&log, builder.build().unwrap()).await;
    }
    clean(&rig, &log, NOW_MS).await;
    rig.settled(&log).await;
    let read = rig.tier.read(&log, 0, ALL).await.unwrap();
    let batches: Vec<Bytes> = split_batches(Bytes::from(read.chunks.concat())).collect();
    let records = |batch: &Bytes| BatchView::new(batch).unwrap().header().record_count;
    assert!(batches.len() == 30 && records(&batches[0]) == 0, "{}", batches.len());
    assert!(batches.iter().any(|batch| records(batch) > 0));
    assert_eq!(read.bytes, batches.iter().map(Bytes::len).sum::<usize>());
}
