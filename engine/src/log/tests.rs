//! A log over the memory store: what append, read, time lookup and retention promise together.

mod tier;
mod transactions;

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use chronik_protocol::batch::{
    BatchBuilder, BatchView, ValidBatch, ValidateOptions, split_batches, validate,
};

use super::{Isolation, LogConfig, PartitionLog, Waiter};
use crate::error::{AppendError, ReadError};
use crate::keys;
use crate::store::{CrashPoint, Durability, Keyspace, MemoryStore, Store, WriteBatch};
use crate::topic::TopicOverrides;
use crate::{Engine, EngineOptions, ShardId};

const NOW: i64 = 1_700_000_000_000;

fn small_segments() -> LogConfig {
    LogConfig { segment_bytes: 1000, index_interval_bytes: 200, ..LogConfig::default() }
}

async fn engine_on(store: Arc<MemoryStore>, config: LogConfig, ring_bytes: usize) -> Arc<Engine> {
    let options = EngineOptions {
        ring_bytes,
        resolve: Box::new(move |overrides: &TopicOverrides| LogConfig {
            durability: if overrides.contains_key("os") { Durability::Os } else { Durability::Sync },
            ..config.clone()
        }),
    };
    Engine::open(vec![store], options).await.unwrap()
}

async fn log_with(config: LogConfig, ring_bytes: usize) -> Arc<PartitionLog> {
    let engine = engine_on(Arc::new(MemoryStore::new()), config, ring_bytes).await;
    let topic = engine.create_topic("t", 1, TopicOverrides::new(), NOW).await.unwrap();
    topic.log(0).unwrap().clone()
}

fn valid(bytes: Bytes, config: &LogConfig) -> ValidBatch {
    let options = ValidateOptions {
        now_ms: NOW,
        max_batch_bytes: config.max_message_bytes,
        timestamp_type: config.timestamp_type,
        before_max_ms: i64::MAX,
        after_max_ms: i64::MAX,
        require_keys: false,
        compression: config.compression,
        max_decompressed_bytes: 1 << 20,
    };
    validate(bytes, &options).unwrap()
}

fn records(timestamps: &[i64]) -> ValidBatch {
    let mut builder = BatchBuilder::new();
    for timestamp in timestamps {
        builder = builder.record(*timestamp, None, Some(b"some value of some size"));
    }
    valid(builder.build().unwrap(), &LogConfig::default())
}

fn from_producer(epoch: i16, sequence: i32, count: usize) -> ValidBatch {
    let mut builder = BatchBuilder::new().producer(77, epoch, sequence);
    for _ in 0..count {
        builder = builder.record(NOW, None, Some(b"v"));
    }
    valid(builder.build().unwrap(), &LogConfig::default())
}

/// Base and last offsets of what a read returns.
fn offsets_of(chunks: &[Bytes]) -> Vec<(i64, i64)> {
    split_batches(Bytes::from(chunks.concat()))
        .map(|batch| {
            let view = BatchView::new(&batch).unwrap();
            view.verify_crc().unwrap();
            (view.header().base_offset, view.header().last_offset())
        })
        .collect()
}

#[tokio::test]
async fn batches_come_back_with_their_offsets_from_the_ring_and_from_the_store() {
    for ring_bytes in [1 << 20, 0] {
        let log = log_with(LogConfig::default(), ring_bytes).await;
        for count in [1, 3, 2] {
            log.append(&records(&vec![NOW; count]), NOW).unwrap().ticket.await.unwrap();
        }
        let read = log.read(0, 1 << 20, true, Isolation::Uncommitted).await.unwrap();
        assert_eq!(offsets_of(&read.chunks), [(0, 0), (1, 3), (4, 5)], "ring {ring_bytes}");
        // semantics 3.5.2: from the batch that contains the offset.
        let read = log.read(2, 1 << 20, true, Isolation::Uncommitted).await.unwrap();
        assert_eq!(offsets_of(&read.chunks), [(1, 3), (4, 5)]);
        // semantics 3.5.4: one batch even beyond the budget, or nothing.
        assert_eq!(offsets_of(&log.read(1, 1, true, Isolation::Uncommitted).await.unwrap().chunks), [(1, 3)]);
        assert!(log.read(1, 1, false, Isolation::Uncommitted).await.unwrap().chunks.is_empty());
        // semantics 3.5.1: at the end nothing, beyond it an error.
        assert!(log.read(6, 1000, true, Isolation::Uncommitted).await.unwrap().chunks.is_empty());
        for offset in [-1, 7] {
            assert!(matches!(
                log.read(offset, 1000, true, Isolation::Uncommitted).await,
                Err(ReadError::OffsetOutOfRange { .. })
            ));
        }
    }
}

/// Runs `work` on a stepped store, making everything durable that it waits for.
async fn synced<T>(store: &MemoryStore, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    loop {
        if let Some(result) = now_or_never(work.as_mut()) {
            return result;
        }
        store.sync();
    }
}

/// What a future gives without waiting.
fn now_or_never<T>(future: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => Some(result),
        Poll::Pending => None,
    }
}

#[tokio::test]
async fn what_is_not_durable_is_not_shown() {
    for ring_bytes in [1 << 20, 0] {
        let store = Arc::new(MemoryStore::stepped());
        let engine = synced(&store, engine_on(store.clone(), LogConfig::default(), ring_bytes)).await;
        let topic = synced(&store, engine.create_topic("t", 1, TopicOverrides::new(), NOW)).await.unwrap();
        let log = topic.log(0).unwrap();
        let waiter = Waiter::new();
        log.watch(&waiter);
        let mut woken = pin!(waiter.changed());
        let batch = records(&[NOW]);
        let mut ticket = pin!(log.append(&batch, NOW).unwrap().ticket);
        // Queued, then applied and readable in the store: neither is durable.
        for applied in 0..2 {
            assert_eq!((log.offsets().next_offset, log.high_watermark()), (1, 0), "applied {applied}");
            assert!(log.read(0, 1 << 20, true, Isolation::Uncommitted).await.unwrap().chunks.is_empty());
            assert_eq!(log.available_bytes(0, 10, Isolation::Uncommitted), 0);
            assert!(now_or_never(woken.as_mut()).is_none(), "nobody is woken for what cannot be read");
            assert!(now_or_never(ticket.as_mut()).is_none(), "nothing is acknowledged");
            assert_eq!(store.step(1), 1 - applied);
        }
        store.sync_applied();
        assert_eq!(log.high_watermark(), 1);
        // Of what has left memory no more is known than that it is enough.
        let available = if ring_bytes > 0 { batch.bytes.len() } else { 10 };
        assert_eq!(log.available_bytes(0, 10, Isolation::Uncommitted), available);
        assert_eq!(
            offsets_of(&log.read(0, 1 << 20, true, Isolation::Uncommitted).await.unwrap().chunks),
            [(0, 0)]
        );
        assert!(now_or_never(woken).is_some());
        ticket.await.unwrap();
    }
}

#[tokio::test]
async fn a_repeat_is_answered_with_its_first_offset_and_costs_none() {
    let log = log_with(LogConfig::default(), 1 << 20).await;
    let first = log.append(&from_producer(0, 0, 2), NOW).unwrap();
    let second = log.append(&from_producer(0, 2, 1), NOW).unwrap();
    let repeat = log.append(&from_producer(0, 0, 2), NOW).unwrap();
    assert!(repeat.duplicate && !first.duplicate);
    assert_eq!((repeat.base_offset, repeat.last_offset), (first.base_offset, first.last_offset));
    assert!(matches!(
        log.append(&from_producer(0, 9, 1), NOW),
        Err(AppendError::OutOfOrderSequence { expected: 3, .. })
    ));
    assert_eq!(log.offsets().next_offset, second.last_offset + 1, "a refused batch uses up no offset");
}

#[tokio::test]
async fn everything_survives_a_restart_exactly() {
    let store = Arc::new(MemoryStore::new());
    let engine = engine_on(store.clone(), small_segments(), 0).await;
    let topic = engine.create_topic("t", 2, TopicOverrides::new(), NOW).await.unwrap();
    let log = topic.log(1).unwrap();
    for sequence in 0..30 {
        log.append(&from_producer(3, sequence, 1), NOW + i64::from(sequence)).unwrap().ticket.await.unwrap();
    }
    log.delete_records(Some(7)).unwrap().1.await.unwrap();
    let again = engine_on(store, small_segments(), 0).await;
    assert_eq!(again.cluster_id(), engine.cluster_id());
    let reopened = again.topics().get("t").unwrap().clone();
    assert_eq!(reopened.id, topic.id);
    let reopened = reopened.log(1).unwrap().clone();
    assert_eq!(reopened.offsets(), log.offsets());
    assert_eq!(reopened.producers(), log.producers());
    assert_eq!(reopened.size_bytes(), log.size_bytes());
    let spans = |log: &PartitionLog| -> Vec<_> {
        log.segments()
            .iter()
            .map(|segment| (segment.base_offset, segment.next_offset, segment.bytes))
            .collect()
    };
    assert_eq!(spans(&reopened), spans(log));
    assert!(reopened.append(&from_producer(3, 29, 1), NOW).unwrap().duplicate);
    assert!(!reopened.append(&from_producer(3, 30, 1), NOW).unwrap().duplicate);
}

#[tokio::test]
async fn a_time_finds_the_first_record_at_or_after_it_in_any_segment() {
    let log = log_with(small_segments(), 0).await;
    let mut all = Vec::new();
    // Times rise by and large, but not from record to record.
    for batch in 0..60i64 {
        let times: Vec<i64> = (0..3).map(|record| NOW + batch * 10 - (record % 2) * 25).collect();
        all.extend(times.iter().copied());
        log.append(&records(&times), NOW).unwrap().ticket.await.unwrap();
    }
    assert!(log.segments().len() > 3);
    for time in (NOW - 40..NOW + 620).step_by(3) {
        let expected = all.iter().position(|found| *found >= time).map(|offset| (offset as i64, all[offset]));
        let found = log.offset_for_timestamp(time).await.unwrap();
        assert_eq!(found.map(|found| (found.offset, found.timestamp_ms)), expected, "time {}", time - NOW);
    }
    let largest = *all.iter().max().unwrap();
    let expected = all.iter().position(|time| *time == largest).unwrap() as i64;
    assert_eq!(log.offset_of_max_timestamp().await.unwrap().unwrap().offset, expected);
}

#[tokio::test]
async fn retention_drops_whole_segments_by_time_and_keeps_offsets() {
    let config = LogConfig { retention_ms: Some(1000), ..small_segments() };
    let log = log_with(config, 0).await;
    for batch in 0..40 {
        log.append(&records(&[NOW + batch * 10; 2]), NOW + batch * 10).unwrap().ticket.await.unwrap();
    }
    let before = log.segments();
    assert_eq!(log.apply_retention(NOW + 900), 0);
    let dropped = log.apply_retention(NOW + 1150);
    assert!(dropped > 0 && dropped < before.len());
    assert_eq!(log.offsets().readable_from, before[dropped].base_offset);
    log.durable().await.unwrap();
    assert_eq!(log.offsets().log_start_offset, before[dropped].base_offset, "told once it is durable");
    assert!(before[dropped - 1].max_timestamp + 1000 < NOW + 1150);
    log.apply_retention(NOW + 100_000);
    log.durable().await.unwrap();
    let offsets = log.offsets();
    assert_eq!((offsets.log_start_offset, offsets.next_offset), (80, 80), "all is gone, the end stays");
    assert_eq!(log.size_bytes(), 0);
    assert_eq!(log.append(&records(&[NOW + 100_000]), NOW).unwrap().base_offset, 80);
}

#[tokio::test]
async fn retention_by_size_keeps_at_least_what_is_asked() {
    let config = LogConfig { retention_bytes: Some(2500), retention_ms: None, ..small_segments() };
    let log = log_with(config, 0).await;
    for _ in 0..80 {
        log.append(&records(&[NOW]), NOW).unwrap().ticket.await.unwrap();
    }
    assert!(log.apply_retention(NOW) > 0);
    assert!((2500..=3500).contains(&log.size_bytes()), "{}", log.size_bytes());
    assert_eq!(log.apply_retention(NOW), 0);
}

#[tokio::test]
async fn no_bytes_at_all_take_the_active_segment_too() {
    let config = LogConfig { retention_bytes: Some(0), retention_ms: None, ..small_segments() };
    let log = log_with(config, 0).await;
    for _ in 0..10 {
        log.append(&records(&[NOW]), NOW).unwrap().ticket.await.unwrap();
    }
    log.apply_retention(NOW);
    log.durable().await.unwrap();
    assert_eq!((log.size_bytes(), log.offsets().log_start_offset, log.offsets().next_offset), (0, 10, 10));
}

#[tokio::test]
async fn the_largest_timestamp_is_found_though_deleting_cut_into_its_segment() {
    let log = log_with(small_segments(), 0).await;
    for time in [NOW + 500, NOW + 100, NOW + 300, NOW + 200] {
        log.append(&records(&[time]), NOW).unwrap().ticket.await.unwrap();
    }
    assert_eq!(log.offset_of_max_timestamp().await.unwrap().unwrap().offset, 0);
    log.delete_records(Some(1)).unwrap().1.await.unwrap();
    assert_eq!(log.offset_of_max_timestamp().await.unwrap().unwrap().offset, 2);
    for _ in 0..40 {
        log.append(&records(&[NOW + 250]), NOW).unwrap().ticket.await.unwrap();
    }
    assert!(log.segments().len() > 1);
    assert_eq!(log.offset_of_max_timestamp().await.unwrap().unwrap().offset, 2);
    // Not waited for: it is, by the lookup.
    let newest = log.append(&records(&[NOW + 900]), NOW).unwrap();
    assert_eq!(log.offset_of_max_timestamp().await.unwrap().unwrap().offset, newest.base_offset);
}

#[tokio::test]
async fn a_batch_that_the_store_lost_is_noticed_and_not_passed_over() {
    for lost in [0, 1, 2] {
        let log = log_with(LogConfig::default(), 0).await;
        for _ in 0..3 {
            log.append(&records(&[NOW]), NOW).unwrap().ticket.await.unwrap();
        }
        let mut write = WriteBatch::new();
        write.delete(Keyspace::Batches, keys::batch::key(log.id(), lost));
        log.store.commit(write, Durability::Sync).await.unwrap();
        let read = log.read(0, 1 << 20, true, Isolation::Uncommitted).await;
        // Behind the last that is there, nothing tells but the next read.
        let read = if lost == 2 { log.read(2, 1 << 20, true, Isolation::Uncommitted).await } else { read };
        assert!(matches!(read, Err(ReadError::Offline)), "{lost}: {read:?}");
    }
}

#[tokio::test]
async fn a_partition_whose_parts_do_not_fit_together_is_offline_and_the_others_serve() {
    let store = Arc::new(MemoryStore::new());
    let engine = engine_on(store.clone(), LogConfig::default(), 0).await;
    let topic = engine.create_topic("t", 2, TopicOverrides::new(), NOW).await.unwrap();
    for index in 0..2 {
        topic.log(index).unwrap().append(&records(&[NOW]), NOW).unwrap().ticket.await.unwrap();
    }
    let tail = keys::log::TailValue { next_offset: 7, ..Default::default() };
    let mut write = WriteBatch::new();
    let key = keys::log::tail_key(topic.log(0).unwrap().id());
    write.put(Keyspace::Index, key, prost::Message::encode_to_vec(&tail));
    store.commit(write, Durability::Sync).await.unwrap();
    let image = Arc::new(store.crash(crate::store::CrashPoint::Durable));
    let topic = engine_on(image, LogConfig::default(), 0).await.topics().get("t").unwrap().clone();
    let broken = topic.log(0).unwrap();
    assert!(matches!(broken.read(0, 1, true, Isolation::Uncommitted).await, Err(ReadError::Offline)));
    assert!(broken.append(&records(&[NOW]), NOW).is_err());
    assert_eq!(topic.log(1).unwrap().append(&records(&[NOW]), NOW).unwrap().base_offset, 1);
}

#[tokio::test]
async fn an_emptied_log_goes_on_at_its_end_after_a_restart() {
    let config = LogConfig { retention_ms: Some(1000), ..small_segments() };
    let store = Arc::new(MemoryStore::new());
    let engine = engine_on(store.clone(), config.clone(), 0).await;
    let topic = engine.create_topic("t", 2, TopicOverrides::new(), NOW).await.unwrap();
    let (aged, trimmed) = (topic.log(0).unwrap(), topic.log(1).unwrap());
    for log in [aged, trimmed] {
        for _ in 0..10 {
            log.append(&records(&[NOW; 3]), NOW).unwrap().ticket.await.unwrap();
        }
    }
    assert!(aged.apply_retention(NOW + 100_000) > 0);
    trimmed.delete_records(None).unwrap();
    for log in [aged, trimmed] {
        log.durable().await.unwrap();
    }
    let image = Arc::new(store.crash(CrashPoint::Durable));
    let again = engine_on(image, config, 0).await;
    for index in 0..2 {
        let log = again.topics().get("t").unwrap().log(index).unwrap().clone();
        let offsets = log.offsets();
        assert_eq!((offsets.log_start_offset, offsets.high_watermark, offsets.next_offset), (30, 30, 30));
        assert!(log.read(30, 1000, true, Isolation::Uncommitted).await.unwrap().chunks.is_empty());
        assert_eq!(log.append(&records(&[NOW]), NOW).unwrap().base_offset, 30, "no offset is used twice");
    }
}

// semantics 3.9.5
#[tokio::test]
async fn deleting_records_moves_the_start_into_a_batch_and_never_back() {
    let log = log_with(LogConfig::default(), 0).await;
    log.append(&records(&[NOW; 10]), NOW).unwrap().ticket.await.unwrap();
    assert_eq!(log.delete_records(Some(4)).unwrap().0, 4);
    assert_eq!(log.delete_records(Some(2)).unwrap().0, 4);
    assert!(matches!(log.delete_records(Some(11)), Err(ReadError::OffsetOutOfRange { .. })));
    assert!(matches!(
        log.read(3, 1000, true, Isolation::Uncommitted).await,
        Err(ReadError::OffsetOutOfRange { .. })
    ));
    assert_eq!(
        offsets_of(&log.read(4, 1 << 20, true, Isolation::Uncommitted).await.unwrap().chunks),
        [(0, 9)]
    );
    assert_eq!(log.offset_for_timestamp(NOW).await.unwrap().unwrap().offset, 4);
    let (start, ticket) = log.delete_records(None).unwrap();
    ticket.await.unwrap();
    assert_eq!(start, 10);
    assert!(log.read(10, 1000, true, Isolation::Uncommitted).await.unwrap().chunks.is_empty());
}

#[tokio::test]
async fn a_deleted_topic_is_gone_with_its_data_and_a_namesake_begins_anew() {
    let store = Arc::new(MemoryStore::new());
    let engine = engine_on(store.clone(), LogConfig::default(), 1 << 20).await;
    let old = engine.create_topic("t", 1, TopicOverrides::new(), NOW).await.unwrap();
    let old_log = old.log(0).unwrap().clone();
    old_log.append(&from_producer(0, 0, 1), NOW).unwrap().ticket.await.unwrap();
    engine.delete_topic("t").await.unwrap();
    assert!(matches!(old_log.append(&from_producer(0, 1, 1), NOW), Err(AppendError::Deleted)));
    assert!(matches!(old_log.read(0, 1, true, Isolation::Uncommitted).await, Err(ReadError::Deleted)));
    let new = engine.create_topic("t", 1, TopicOverrides::new(), NOW).await.unwrap();
    assert_ne!(new.id, old.id);
    assert_ne!(new.log(0).unwrap().id(), old_log.id());
    assert_eq!(new.log(0).unwrap().offsets().next_offset, 0);
    assert!(new.log(0).unwrap().producers().is_empty());
    assert_eq!(engine.ring_bytes_used(), 0);
    let again = engine_on(store, LogConfig::default(), 0).await;
    assert_eq!(again.topics().len(), 1);
}

#[tokio::test]
async fn two_shards_share_the_partitions_and_reopen() {
    let stores: Vec<Arc<dyn Store>> = vec![Arc::new(MemoryStore::new()), Arc::new(MemoryStore::new())];
    let options = || EngineOptions { ring_bytes: 0, resolve: Box::new(|_| LogConfig::default()) };
    let engine = Engine::open(stores.clone(), options()).await.unwrap();
    let topic = engine.create_topic("t", 4, TopicOverrides::new(), NOW).await.unwrap();
    for index in 0..4 {
        let log = topic.log(index).unwrap();
        log.append(&records(&vec![NOW; index as usize + 1]), NOW).unwrap().ticket.await.unwrap();
    }
    let shards: std::collections::BTreeSet<ShardId> =
        topic.partitions.iter().map(|partition| partition.shard).collect();
    assert_eq!(shards.len(), 2);
    let again = Engine::open(stores, options()).await.unwrap();
    let topic = again.topics().get("t").unwrap().clone();
    for index in 0..4 {
        assert_eq!(topic.log(index).unwrap().high_watermark(), i64::from(index) + 1);
    }
    again.delete_topic("t").await.unwrap();
    assert!(again.topics().is_empty());
}

#[tokio::test]
async fn an_unclean_stop_raises_the_epoch_of_topics_that_do_not_fsync() {
    let store = Arc::new(MemoryStore::new());
    let engine = engine_on(store.clone(), LogConfig::default(), 0).await;
    let os = TopicOverrides::from([("os".to_owned(), String::new())]);
    engine.create_topic("os", 1, os, NOW).await.unwrap();
    engine.create_topic("sync", 1, TopicOverrides::new(), NOW).await.unwrap();
    let log = engine.topics().get("os").unwrap().log(0).unwrap().clone();
    log.append(&records(&[NOW; 5]), NOW).unwrap().ticket.await.unwrap();
    let again = engine_on(store, LogConfig::default(), 0).await;
    assert!(again.started_unclean());
    let epoch = |name: &str| again.topics().get(name).unwrap().log(0).unwrap().leader_epoch();
    assert_eq!((epoch("os"), epoch("sync")), (1, 0));
    // semantics 3.5.9
    let log = again.topics().get("os").unwrap().log(0).unwrap().clone();
    assert_eq!(log.end_offset_for_epoch(0), Some((0, 5)));
    assert_eq!(log.end_offset_for_epoch(1), Some((1, 5)));
    assert_eq!(log.end_offset_for_epoch(2), None);
    assert_eq!((log.epoch_of_offset(4), log.epoch_of_offset(5)), (0, 1));
}

#[tokio::test]
async fn producer_ids_are_unique_across_restarts() {
    let store = Arc::new(MemoryStore::new());
    let mut seen = std::collections::HashSet::new();
    for _ in 0..3 {
        let engine = engine_on(store.clone(), LogConfig::default(), 0).await;
        for _ in 0..1500 {
            assert!(seen.insert(engine.allocate_producer_id().await.unwrap()));
        }
    }
}

#[tokio::test]
async fn forgotten_producers_may_begin_anywhere() {
    let log = log_with(LogConfig::default(), 0).await;
    log.append(&from_producer(5, 0, 1), NOW).unwrap();
    assert_eq!(log.expire_producers(NOW + 1000, 1000), 0);
    assert_eq!(log.expire_producers(NOW + 1001, 1000), 1);
    assert!(!log.append(&from_producer(0, 4711, 1), NOW).unwrap().duplicate);
}
