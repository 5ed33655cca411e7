//! What cleaning promises, over the memory store and its crash images: by named rule, and as a model.

mod model;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use chronik_protocol::batch::{
    BatchBuilder, BatchHeader, BatchView, Compression, TargetCompression, TimestampType, ValidBatch,
    ValidateOptions, split_batches, validate,
};

use super::{CleanError, CleanOptions, CleanPass, CleanReport};
use crate::keys;
use crate::log::{Isolation, LogConfig, PartitionLog, Vouched};
use crate::producer::Marker;
use crate::store::{CrashPoint, Durability, Keyspace, MemoryStore, WriteBatch};
use crate::topic::TopicOverrides;
use crate::{Engine, EngineOptions};

const NOW: i64 = 1_700_000_000_000;
const DAY_MS: i64 = 24 * 3_600_000;

fn config() -> LogConfig {
    LogConfig {
        segment_bytes: 600,
        index_interval_bytes: 100,
        cleanup_delete: false,
        cleanup_compact: true,
        delete_retention_ms: DAY_MS,
        ..LogConfig::default()
    }
}

async fn open(store: &Arc<MemoryStore>, config: &LogConfig, ring_bytes: usize) -> Arc<PartitionLog> {
    let config = config.clone();
    let options = EngineOptions { ring_bytes, resolve: Box::new(move |_| config.clone()) };
    let engine = Engine::open(vec![store.clone()], options).await.unwrap();
    let topic = match engine.topics().get("t") {
        Some(topic) => topic.clone(),
        None => engine.create_topic("t", 1, TopicOverrides::new(), NOW).await.unwrap(),
    };
    topic.log(0).unwrap().clone()
}

async fn new_log(config: &LogConfig) -> Arc<PartitionLog> {
    open(&Arc::new(MemoryStore::new()), config, 0).await
}

fn valid(bytes: Bytes) -> ValidBatch {
    let options = ValidateOptions {
        now_ms: NOW,
        max_batch_bytes: 1 << 20,
        timestamp_type: TimestampType::CreateTime,
        before_max_ms: i64::MAX,
        after_max_ms: i64::MAX,
        require_keys: false,
        compression: TargetCompression::Producer,
        max_decompressed_bytes: 1 << 20,
    };
    validate(bytes, &options).unwrap()
}

async fn append(log: &Arc<PartitionLog>, builder: BatchBuilder, now_ms: i64) -> i64 {
    let appended = log.append(&valid(builder.build().unwrap()), now_ms).unwrap();
    appended.ticket.await.unwrap();
    appended.base_offset
}

/// One record of a key; `None` is a tombstone.
async fn put(log: &Arc<PartitionLog>, key: &str, value: Option<&str>, now_ms: i64) -> i64 {
    let record = BatchBuilder::new().record(now_ms, Some(key.as_bytes()), value.map(str::as_bytes));
    append(log, record, now_ms).await
}

/// Closes the active segment, so that what it holds can be cleaned.
async fn roll(log: &Arc<PartitionLog>, now_ms: i64) {
    let ticket = log.roll_for_cleaning(now_ms, true).expect("there is something to roll");
    ticket.await.unwrap();
}

fn options(now_ms: i64) -> CleanOptions {
    CleanOptions { now_ms, map_bytes_max: 1 << 20, dry_run: false }
}

async fn finish(mut pass: CleanPass) -> Result<CleanReport, CleanError> {
    while !pass.step().await?.done {}
    Ok(pass.report())
}

async fn clean(log: &Arc<PartitionLog>, now_ms: i64) -> CleanReport {
    match log.clean(options(now_ms)).unwrap() {
        Some(pass) => finish(pass).await.unwrap(),
        None => CleanReport::default(),
    }
}

/// A record as a reader finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    offset: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    timestamp_ms: i64,
}

async fn batches(log: &Arc<PartitionLog>) -> Vec<Bytes> {
    let mut next = log.offsets().readable_from;
    let mut all = Vec::new();
    while next < log.high_watermark() {
        let read = log.read(next, 1 << 20, true, Isolation::Uncommitted).await.unwrap();
        for batch in split_batches(Bytes::from(read.chunks.concat())) {
            next = BatchHeader::parse(&batch).unwrap().last_offset() + 1;
            all.push(batch);
        }
    }
    all
}

fn records(batch: &[u8]) -> Vec<Found> {
    match BatchHeader::parse(batch).unwrap().is_control() {
        true => Vec::new(),
        false => with_markers(batch),
    }
}

fn with_markers(batch: &[u8]) -> Vec<Found> {
    let view = BatchView::new(batch).unwrap();
    view.verify_crc().unwrap();
    let header = view.header();
    let mut found = Vec::new();
    let mut walker = view.records(1 << 20).unwrap();
    while let Some(record) = walker.next_record().unwrap() {
        found.push(Found {
            offset: header.base_offset + i64::from(record.offset_delta),
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            timestamp_ms: header.base_timestamp + record.timestamp_delta,
        });
    }
    found
}

async fn all_records(log: &Arc<PartitionLog>) -> Vec<Found> {
    batches(log).await.iter().flat_map(|batch| records(batch)).collect()
}

async fn offsets(log: &Arc<PartitionLog>) -> Vec<i64> {
    all_records(log).await.iter().map(|record| record.offset).collect()
}

// semantics 3.9.7
#[tokio::test]
async fn the_latest_value_of_each_key_stays_at_its_offset() {
    let log = new_log(&config()).await;
    for (key, value) in [("a", "1"), ("b", "1"), ("a", "2"), ("c", "1"), ("b", "2"), ("a", "3")] {
        put(&log, key, Some(value), NOW).await;
    }
    roll(&log, NOW).await;
    put(&log, "c", Some("2"), NOW).await;
    let report = clean(&log, NOW).await;
    assert_eq!((report.records, report.records_dropped, report.keys), (6, 3, 3));
    // The active segment's "c" counts for nothing: it is not cleaned, and neither is what it supersedes.
    assert_eq!(offsets(&log).await, [3, 4, 5, 6]);
    roll(&log, NOW).await;
    clean(&log, NOW).await;
    assert_eq!(offsets(&log).await, [4, 5, 6]);
    assert_eq!(log.offsets().next_offset, 7);
}

// semantics 3.9.7
#[tokio::test]
async fn a_read_inside_a_gap_goes_on_at_the_next_batch_and_a_lost_batch_is_still_noticed() {
    let log = new_log(&config()).await;
    for round in 0..20 {
        put(&log, "a", Some(&format!("{round}")), NOW).await;
    }
    roll(&log, NOW).await;
    for _ in 0..3 {
        put(&log, "b", Some("1"), NOW).await;
    }
    clean(&log, NOW).await;
    for offset in 0..=19 {
        let read = log.read(offset, 1 << 20, true, Isolation::Uncommitted).await.unwrap();
        let first = BatchHeader::parse(&read.chunks.concat()).unwrap();
        assert_eq!(first.base_offset, 19, "from {offset}");
    }
    let mut write = WriteBatch::new();
    write.delete(Keyspace::Batches, keys::batch::key(log.id(), 21));
    log.store.commit(write, Durability::Sync).await.unwrap();
    assert!(log.read(20, 1 << 20, true, Isolation::Uncommitted).await.is_err(), "nothing was cleaned there");
}

// semantics 3.9.7
#[tokio::test]
async fn a_tombstone_stays_for_its_retention_after_the_first_pass_that_saw_it() {
    let log = new_log(&config()).await;
    put(&log, "a", Some("1"), NOW).await;
    let tombstone = put(&log, "a", None, NOW).await;
    put(&log, "b", Some("1"), NOW).await;
    roll(&log, NOW).await;
    // Long after it was written: the first pass starts the clock.
    let first_pass = NOW + 10 * DAY_MS;
    clean(&log, first_pass).await;
    let batch = batches(&log).await.remove(0);
    let header = BatchHeader::parse(&batch).unwrap();
    assert!(header.has_delete_horizon());
    assert_eq!((header.base_timestamp, header.max_timestamp), (first_pass + DAY_MS, NOW));
    assert_eq!(records(&batch)[0].timestamp_ms, NOW, "records keep their time");
    let due = |now_ms| log.cleanable(now_ms).unwrap().is_due(&log.config());
    assert!(!due(first_pass + DAY_MS - 1));
    assert!(log.clean(options(first_pass + DAY_MS - 1)).unwrap().is_none());
    assert!(offsets(&log).await.contains(&tombstone));
    assert!(due(first_pass + DAY_MS), "an idle log loses its tombstones, too");
    clean(&log, first_pass + DAY_MS).await;
    assert_eq!(offsets(&log).await, [2]);
    assert!(!due(i64::MAX), "nothing is left to wait for");
}

// semantics 3.9.7
#[tokio::test]
async fn records_without_a_key_go() {
    let log = new_log(&config()).await;
    append(&log, BatchBuilder::new().record(NOW, None, Some(b"x")), NOW).await;
    append(&log, BatchBuilder::new().record(NOW, None, Some(b"y")).record(NOW, Some(b"k"), Some(b"z")), NOW)
        .await;
    roll(&log, NOW).await;
    clean(&log, NOW).await;
    assert_eq!(offsets(&log).await, [2]);
}

// semantics 3.9.7
#[tokio::test]
async fn the_last_batch_of_a_live_producer_and_of_the_cleaned_range_stay_if_need_be_empty() {
    let log = new_log(&config()).await;
    let batch = |key: &'static [u8]| BatchBuilder::new().record(NOW, Some(key), Some(b"v"));
    append(&log, batch(b"a").producer(7, 1, 0), NOW).await;
    append(&log, batch(b"a").producer(7, 1, 1), NOW).await;
    append(&log, batch(b"a"), NOW).await;
    append(&log, BatchBuilder::new().record(NOW, None, Some(b"no key")), NOW).await;
    roll(&log, NOW).await;
    clean(&log, NOW).await;
    let headers: Vec<_> =
        batches(&log).await.iter().map(|batch| BatchHeader::parse(batch).unwrap()).collect();
    let seen: Vec<_> = headers.iter().map(|header| (header.base_offset, header.record_count)).collect();
    assert_eq!(seen, [(1, 0), (2, 1), (3, 0)]);
    let producers = (headers[0].producer_id, headers[0].producer_epoch, headers[0].base_sequence);
    assert_eq!(producers, (7, 1, 1));
    assert_eq!(log.high_watermark(), 4, "a reader at the end of the gap comes to the end of the log");
    // The producer writes again, and its old batch has served.
    append(&log, batch(b"c").producer(7, 1, 2), NOW).await;
    roll(&log, NOW).await;
    clean(&log, NOW).await;
    assert_eq!(offsets(&log).await, [2, 4]);
    assert_eq!(batches(&log).await.len(), 2);
}

fn begin(log: &Arc<PartitionLog>, producer_id: i64, sequence: i32, records: &[(&str, &str)]) -> i64 {
    let mut builder = BatchBuilder::new().producer(producer_id, 0, sequence).transactional(true);
    for (key, value) in records {
        builder = builder.record(NOW, Some(key.as_bytes()), Some(value.as_bytes()));
    }
    let batch = valid(builder.build().unwrap());
    log.append_vouched(&batch, NOW, Vouched::Explicitly).unwrap().base_offset
}

async fn end(log: &Arc<PartitionLog>, producer_id: i64, commit: bool) -> i64 {
    let marker = Marker { producer_id, producer_epoch: 0, coordinator_epoch: 0, commit, raises_epoch: false };
    let ended = log.append_marker(&marker, NOW).unwrap();
    ended.ticket.await.unwrap();
    ended.base_offset
}

/// What a client with `isolation.level=read_committed` makes of the log: it is told of aborted transactions, skips their
/// batches up to their marker (Java's `CompletedFetch`), and hears nothing else.
async fn committed_records(log: &Arc<PartitionLog>) -> Vec<Found> {
    let mut next = log.offsets().readable_from;
    let (start, mut found) = (next, Vec::new());
    while next < log.offsets().last_stable_offset {
        let read = log.read(next, 2000, true, Isolation::Committed).await.unwrap();
        let mut told = read.aborted.clone();
        told.sort_unstable_by_key(|aborted| aborted.first_offset);
        let mut skipping = std::collections::HashSet::new();
        for batch in split_batches(Bytes::from(read.chunks.concat())) {
            let header = BatchHeader::parse(&batch).unwrap();
            next = header.last_offset() + 1;
            let begun = told.iter().filter(|aborted| aborted.first_offset <= header.last_offset());
            skipping.extend(begun.map(|aborted| aborted.producer_id));
            told.retain(|aborted| aborted.first_offset > header.last_offset());
            if header.is_control() {
                skipping.remove(&header.producer_id);
            } else if !(header.is_transactional() && skipping.contains(&header.producer_id)) {
                found.extend(records(&batch).into_iter().filter(|record| record.offset >= start));
            }
        }
    }
    found
}

// semantics 3.9.7
#[tokio::test]
async fn aborted_data_goes_and_markers_stay_while_their_data_does_and_until_their_horizon() {
    let log = new_log(&config()).await;
    begin(&log, 1, 0, &[("a", "committed")]); // 0
    begin(&log, 2, 0, &[("a", "aborted"), ("b", "aborted")]); // 1, 2
    end(&log, 1, true).await; // 3
    end(&log, 2, false).await; // 4
    begin(&log, 2, 2, &[("b", "later")]); // 5
    end(&log, 2, true).await; // 6
    put(&log, "c", Some("1"), NOW).await; // 7
    roll(&log, NOW).await;
    clean(&log, NOW).await;
    let seen = |log: Arc<PartitionLog>| async move {
        let batches = batches(&log).await;
        batches.iter().map(|batch| BatchHeader::parse(batch).unwrap().base_offset).collect::<Vec<_>>()
    };
    assert_eq!(offsets(&log).await, [0, 5, 7], "what was aborted supersedes nothing and goes");
    assert_eq!(seen(log.clone()).await, [0, 3, 4, 5, 6, 7], "every marker is there");
    // Transaction 1's data is superseded, the other's is gone: their markers wait for their horizon from now on.
    put(&log, "a", Some("new"), NOW).await; // 8
    put(&log, "x", Some("new"), NOW).await; // 9
    for producer_id in [1, 2] {
        // So that these are not kept for the sake of their producers.
        let sequence = if producer_id == 1 { 1 } else { 3 };
        begin(&log, producer_id, sequence, &[("z", "z")]);
        end(&log, producer_id, true).await;
    }
    roll(&log, NOW).await;
    let second = NOW + DAY_MS;
    clean(&log, second).await;
    assert_eq!(seen(log.clone()).await[..3], [3, 4, 5]);
    let told = log.read(0, 1 << 20, true, Isolation::Committed).await.unwrap().aborted;
    assert_eq!(told, [], "nobody has to hear of a transaction without data");
    let keys: Vec<_> = committed_records(&log).await.iter().map(|record| record.offset).collect();
    assert_eq!(keys, offsets(&log).await);
    // In the second pass the commit marker at 3 had data before it, which that pass dropped.
    clean(&log, second + DAY_MS).await;
    assert_eq!(seen(log.clone()).await[..2], [3, 5]);
    clean(&log, second + 3 * DAY_MS).await;
    assert_eq!(seen(log.clone()).await[0], 5);
}

// A pass that was cut short had not told the log yet, and the next one took the marker: readers skipped what came after it.
#[tokio::test]
async fn a_pass_cut_short_forgets_an_aborted_transaction_before_its_marker_goes() {
    for cut in 0..8 {
        let log = new_log(&config()).await;
        begin(&log, 2, 0, &[("a", "aborted")]); // 0
        end(&log, 2, false).await; // 1
        begin(&log, 2, 1, &[("b", "later")]); // 2
        end(&log, 2, true).await; // 3
        roll(&log, NOW).await;
        put(&log, "c", Some("1"), NOW).await;
        roll(&log, NOW).await;
        clean(&log, NOW).await;
        put(&log, "d", Some("1"), NOW).await;
        roll(&log, NOW).await;
        let mut pass = log.clean(options(NOW)).unwrap().unwrap();
        for _ in 0..cut {
            pass.step().await.unwrap();
        }
        drop(pass);
        clean(&log, NOW).await;
        put(&log, "e", Some("1"), NOW).await;
        roll(&log, NOW).await;
        let mut pass = log.clean(options(NOW + 2 * DAY_MS)).unwrap().unwrap();
        loop {
            let done = pass.step().await.unwrap().done;
            assert_eq!(committed_records(&log).await, all_records(&log).await, "cut after {cut} steps");
            if done {
                break;
            }
        }
    }
}

// semantics 3.9.7
#[tokio::test]
async fn nothing_at_or_above_the_stable_offset_is_cleaned() {
    let log = new_log(&config()).await;
    put(&log, "a", Some("1"), NOW).await; // 0
    put(&log, "a", Some("2"), NOW).await; // 1
    begin(&log, 1, 0, &[("a", "open")]); // 2
    put(&log, "a", Some("3"), NOW).await; // 3
    roll(&log, NOW).await;
    clean(&log, NOW).await;
    assert_eq!((offsets(&log).await, log.cleaned_to().first_dirty), (vec![1, 2, 3], 2));
    end(&log, 1, true).await;
    roll(&log, NOW).await;
    clean(&log, NOW).await;
    assert_eq!(offsets(&log).await, [3]);
}

// semantics 3.9.7
#[tokio::test]
async fn what_is_too_young_is_not_cleaned_and_what_waits_too_long_is_due() {
    let lags = LogConfig {
        min_compaction_lag_ms: 1000,
        max_compaction_lag_ms: 5000,
        min_cleanable_dirty_ratio: 1.0,
        ..config()
    };
    let log = new_log(&lags).await;
    put(&log, "a", Some("1"), NOW).await;
    roll(&log, NOW).await;
    put(&log, "a", Some("2"), NOW + 900).await;
    assert!(log.roll_for_cleaning(NOW + 5_900, false).is_none(), "not older than the longest lag");
    log.roll_for_cleaning(NOW + 5_901, false).expect("an idle log rolls in time").await.unwrap();
    let plan = |now_ms| log.cleanable(now_ms).unwrap();
    assert_eq!((plan(NOW + 999).end, plan(NOW + 1000).end, plan(NOW + 1900).end), (0, 1, 2));
    assert!(log.clean(options(NOW + 999)).unwrap().is_none());
    assert!(!plan(NOW + 5000).is_due(&lags) && plan(NOW + 5001).is_due(&lags));
    clean(&log, NOW + 1000).await;
    assert_eq!(offsets(&log).await, [0, 1], "the second is too young to supersede the first");
    clean(&log, NOW + 1900).await;
    assert_eq!(offsets(&log).await, [1]);
}

#[tokio::test]
async fn a_full_map_ends_the_pass_early_and_the_next_goes_on() {
    let log = new_log(&config()).await;
    for round in 0..2 {
        for key in 0..3000 {
            put(&log, &format!("{key}"), Some(&format!("{round}")), NOW).await;
        }
    }
    roll(&log, NOW).await;
    let small = CleanOptions { map_bytes_max: 64 << 10, ..options(NOW) };
    let mut passes = 0;
    while let Some(pass) = log.clean(small).unwrap() {
        let before = log.cleaned_to().first_dirty;
        let report = finish(pass).await.unwrap();
        assert!(report.map_bytes <= 64 << 10);
        assert!(log.cleaned_to().first_dirty > before, "each pass gets on");
        passes += 1;
    }
    assert!(passes > 2, "{passes}");
    assert_eq!(offsets(&log).await, (3000..6000).collect::<Vec<_>>());
    let none = CleanOptions { map_bytes_max: 100, ..options(NOW) };
    put(&log, "x", Some("y"), NOW).await;
    roll(&log, NOW).await;
    let failed = finish(log.clean(none).unwrap().unwrap()).await;
    assert!(matches!(failed, Err(CleanError::BufferTooSmall { offset: 6000, .. })), "{failed:?}");
}

#[tokio::test]
async fn a_dry_run_tells_what_would_go_the_active_segment_included_and_changes_nothing() {
    let store = Arc::new(MemoryStore::new());
    let log = open(&store, &config(), 0).await;
    for value in ["1", "2", "3"] {
        put(&log, "a", Some(value), NOW).await;
    }
    let dry = CleanOptions { dry_run: true, ..options(NOW) };
    let pass = log.clean(dry).unwrap().unwrap();
    assert!(matches!(log.clean(options(NOW)), Err(CleanError::Busy)));
    let told = finish(pass).await.unwrap();
    assert_eq!(offsets(&log).await, [0, 1, 2]);
    roll(&log, NOW).await;
    let done = clean(&log, NOW).await;
    assert_eq!(told, CleanReport { written_bytes: told.written_bytes, ..done });
    assert_eq!(done.records_dropped, 2);
}

#[tokio::test]
async fn a_log_that_is_not_compacted_is_not_cleaned() {
    let log = new_log(&LogConfig { cleanup_compact: false, ..config() }).await;
    assert!(log.cleanable(NOW).is_none());
    assert!(matches!(log.clean(options(NOW)), Err(CleanError::NotCompacted)));
}

#[tokio::test]
async fn a_damaged_batch_is_left_as_it_is_and_the_log_serves_on() {
    let log = new_log(&config()).await;
    for value in ["1", "2", "3"] {
        put(&log, "a", Some(value), NOW).await;
    }
    roll(&log, NOW).await;
    let stored = batches(&log).await.remove(1);
    let mut damaged = stored.to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    let mut write = WriteBatch::new();
    write.put(Keyspace::Batches, keys::batch::key(log.id(), 1), damaged);
    log.store.commit(write, Durability::Sync).await.unwrap();
    let failed = finish(log.clean(options(NOW)).unwrap().unwrap()).await;
    assert!(matches!(failed, Err(CleanError::Batch { offset: 1, .. })), "{failed:?}");
    assert!(log.read(0, 1 << 20, true, Isolation::Uncommitted).await.is_ok());
}

#[tokio::test]
async fn retention_during_a_pass_wins() {
    let both = LogConfig { cleanup_delete: true, ..config() };
    let log = new_log(&both).await;
    for round in 0..40 {
        put(&log, &format!("{}", round % 3), Some("some value"), NOW + round).await;
    }
    roll(&log, NOW).await;
    let mut pass = log.clean(options(NOW)).unwrap().unwrap();
    pass.step().await.unwrap();
    log.delete_records(Some(25)).unwrap().1.await.unwrap();
    while !pass.step().await.unwrap().done {}
    assert_eq!(offsets(&log).await, [37, 38, 39]);
    let below = keys::batch::range(log.id(), 0, 25);
    let chunk = log.store.scan(Keyspace::Batches, below, crate::store::ScanLimit::entries(10)).await.unwrap();
    assert!(chunk.entries.is_empty(), "nothing comes back below the start");
    assert_figures(&log).await;
}

#[tokio::test]
async fn small_segments_are_joined_and_their_times_found() {
    let log = new_log(&LogConfig { segment_bytes: 2000, ..config() }).await;
    for round in 0..200 {
        put(&log, &format!("{}", round % 7), Some("some value of a size"), NOW + round * 10).await;
    }
    roll(&log, NOW).await;
    let before = log.segments().len();
    clean(&log, NOW).await;
    assert!(before > 8 && log.segments().len() == 2, "{before} became {}", log.segments().len());
    assert_figures(&log).await;
    assert_times(&log).await;
}

/// Segments follow each other and tell the bytes and the largest timestamp of what they hold.
async fn assert_figures(log: &Arc<PartitionLog>) {
    let all = batches(log).await;
    let start = log.offsets().readable_from;
    let mut next = None;
    for segment in log.segments() {
        assert_eq!(
            *next.get_or_insert(segment.base_offset),
            segment.base_offset,
            "segments follow each other"
        );
        next = Some(segment.next_offset);
        if segment.base_offset < start {
            // DeleteRecords cut into it, and its figures stay.
            continue;
        }
        let inside = all.iter().filter(|batch| {
            let base_offset = BatchHeader::parse(batch).unwrap().base_offset;
            (segment.base_offset..segment.next_offset).contains(&base_offset)
        });
        let bytes: usize = inside.clone().map(Bytes::len).sum();
        assert_eq!(segment.bytes, bytes as u64, "{segment:?}");
        let largest = inside.flat_map(|batch| with_markers(batch)).map(|record| record.timestamp_ms).max();
        let largest = largest.unwrap_or(-1);
        // A segment that was cleaned in part keeps its maximum until a pass comes to its end.
        let exact = segment.next_offset <= log.cleaned_to().first_dirty;
        assert!(
            segment.max_timestamp == largest || (!exact && segment.max_timestamp > largest),
            "{segment:?}"
        );
    }
    assert_eq!(next, Some(log.offsets().next_offset));
}

/// Every time leads to the first record at or after it.
async fn assert_times(log: &Arc<PartitionLog>) {
    let start = log.offsets().readable_from;
    let all = batches(log).await;
    let all = all.iter().flat_map(|batch| with_markers(batch)).filter(|record| record.offset >= start);
    let all: Vec<Found> = all.collect();
    let mut times: Vec<i64> = all.iter().map(|record| record.timestamp_ms).collect();
    times.extend([NOW - 1, NOW + DAY_MS * 100]);
    for time in times {
        let expected = all.iter().find(|record| record.timestamp_ms >= time);
        let found = log.offset_for_timestamp(time).await.unwrap();
        assert_eq!(found.map(|found| found.offset), expected.map(|record| record.offset), "time {time}");
    }
    let largest = all.iter().map(|record| record.timestamp_ms).max();
    let expected = all.iter().find(|record| Some(record.timestamp_ms) == largest);
    let found = log.offset_of_max_timestamp().await.unwrap();
    assert_eq!(found.map(|found| found.offset), expected.map(|record| record.offset));
}
