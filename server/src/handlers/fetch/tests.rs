//! Fetch over real logs in memory: semantics 3.5, rule by rule.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chronik_engine::store::{
    Chunk, Durability, Keyspace, MemoryStore, ScanLimit, Snapshot, Store, StoreError, StoreFuture, Ticket,
    WriteBatch,
};
use chronik_engine::topic::{Topic, TopicOverrides};
use chronik_engine::{Engine, EngineOptions};
use chronik_protocol::batch::{BatchBuilder, BatchHeader, Compression, split_batches, validate};
use chronik_protocol::codec::messages::FetchRequest;
use chronik_protocol::codec::messages::fetch_request::{FetchPartition, FetchTopic};
use chronik_protocol::message;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::*;
use crate::handlers::testing::{NODE, NOW_MS, OPTIONS, TestContext, context, context_with};
use crate::runtime::Stopping;
use session::Position;

/// A value that makes a batch of about so many bytes.
const VALUE_BYTES: usize = 1000;

fn batch(codec: Compression) -> Bytes {
    let value = vec![b'x'; VALUE_BYTES];
    BatchBuilder::new().compression(codec, None).record(NOW_MS, None, Some(&value)).build().unwrap()
}

fn append(log: &Arc<PartitionLog>, records: Bytes) -> Ticket {
    log.append(&validate(records, &OPTIONS).unwrap(), NOW_MS).unwrap().ticket
}

async fn fill(log: &Arc<PartitionLog>, batches: usize) {
    for _ in 0..batches {
        append(log, batch(Compression::None)).await.unwrap();
    }
}

fn partition(index: i32, offset: i64) -> FetchPartition {
    message!(FetchPartition {
        partition: index,
        fetch_offset: offset,
        current_leader_epoch: -1,
        last_fetched_epoch: -1,
        partition_max_bytes: 1 << 20,
    })
}

fn request(topic: &str, partitions: Vec<FetchPartition>) -> FetchRequest {
    let topic = message!(FetchTopic { topic: topic.into(), partitions: partitions });
    message!(FetchRequest { min_bytes: 1, max_wait_ms: 0, max_bytes: 50 << 20, topics: vec![topic] })
}

fn request_by_id(id: uuid::Uuid, partitions: Vec<FetchPartition>) -> FetchRequest {
    let mut request = request("", partitions);
    request.topics[0].topic_id = codec::Uuid::from_bytes(*id.as_bytes());
    request
}

async fn fetch(ctx: &TestContext, request: &FetchRequest) -> FetchAnswer {
    super::fetch(ctx, request.clone(), Hold::default()).await.0
}

/// The answer to a request that must be about one partition.
async fn one(ctx: &TestContext, request: &FetchRequest) -> PartitionAnswer {
    let mut answer = fetch(ctx, request).await;
    assert_eq!((answer.error, answer.partitions.len()), (ErrorCode::None, 1));
    answer.partitions.remove(0)
}

/// First offset of each batch.
fn bases(answer: &PartitionAnswer) -> Vec<i64> {
    let records = Bytes::from(answer.records.concat());
    assert_eq!(records.len(), answer.records_bytes);
    split_batches(records).map(|batch| BatchHeader::parse(&batch).unwrap().base_offset).collect()
}

async fn topic_of(partitions: usize, batches: usize) -> TestContext {
    let ctx = context().await.with_version(12);
    ctx.topic("t", partitions).await;
    for index in 0..partitions {
        fill(&ctx.log("t", index as i32), batches).await;
    }
    ctx
}

// semantics 3.5.1
#[tokio::test]
async fn an_offset_outside_the_log_is_refused_at_once() {
    let ctx = topic_of(1, 3).await;
    ctx.log("t", 0).delete_records(Some(1)).unwrap().1.await.unwrap();
    for offset in [-1, 0, 4, i64::MAX, i64::MIN] {
        let mut request = request("t", vec![partition(0, offset)]);
        (request.max_wait_ms, request.min_bytes) = (60_000, 1000);
        let answer = one(&ctx, &request).await;
        assert_eq!((answer.error, answer.high_watermark), (ErrorCode::OffsetOutOfRange, -1), "{offset}");
        assert_eq!((answer.log_start_offset, answer.last_stable_offset), (-1, -1));
    }
    let end = one(&ctx, &request("t", vec![partition(0, 3)])).await;
    assert_eq!((end.error, end.high_watermark, end.log_start_offset), (ErrorCode::None, 3, 1));
    assert_eq!(end.records_bytes, 0);
}

// semantics 3.5.2
#[tokio::test]
async fn a_fetch_starts_at_the_batch_that_contains_the_offset() {
    let ctx = context().await.with_version(12);
    ctx.topic("t", 1).await;
    ctx.append("t", &[NOW_MS; 5]).await;
    ctx.append("t", &[NOW_MS; 5]).await;
    let answer = one(&ctx, &request("t", vec![partition(0, 7)])).await;
    assert_eq!(bases(&answer), [5]);
    let ctx = ctx.restarted().await.with_version(12);
    let from_store = one(&ctx, &request("t", vec![partition(0, 7)])).await;
    assert_eq!(from_store.records.concat(), answer.records.concat());
}

// semantics 3.5.3
#[tokio::test(start_paused = true)]
async fn an_empty_partition_is_waited_for_until_the_deadline() {
    let ctx = topic_of(1, 1).await;
    let started = Instant::now();
    let mut waiting = request("t", vec![partition(0, 1)]);
    waiting.max_wait_ms = 500;
    let answer = one(&ctx, &waiting).await;
    assert_eq!((answer.error, answer.records_bytes, answer.high_watermark), (ErrorCode::None, 0, 1));
    // Tokio's timers are a millisecond coarse.
    assert!((500..=502).contains(&started.elapsed().as_millis()));
}

#[tokio::test]
async fn a_waiting_fetch_is_woken_by_the_commit_in_any_of_its_partitions() {
    let ctx = topic_of(3, 1).await;
    let mut waiting = request("t", (0..3).map(|index| partition(index, 1)).collect());
    waiting.max_wait_ms = 60_000;
    let task = {
        let ctx = ctx.clone();
        tokio::spawn(async move { fetch(&ctx, &waiting).await })
    };
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(!task.is_finished());
    fill(&ctx.log("t", 2), 1).await;
    let answer = tokio::time::timeout(Duration::from_secs(5), task).await.unwrap().unwrap();
    let counts: Vec<_> = answer.partitions.iter().map(|partition| bases(partition).len()).collect();
    assert_eq!(counts, [0, 0, 1]);
}

#[tokio::test]
async fn min_bytes_holds_the_answer_back_until_they_are_there() {
    let ctx = topic_of(2, 1).await;
    let mut waiting = request("t", vec![partition(0, 1), partition(1, 1)]);
    (waiting.max_wait_ms, waiting.min_bytes) = (60_000, 2 * VALUE_BYTES as i32);
    let task = {
        let ctx = ctx.clone();
        tokio::spawn(async move { fetch(&ctx, &waiting).await })
    };
    fill(&ctx.log("t", 0), 1).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!task.is_finished());
    fill(&ctx.log("t", 1), 1).await;
    let answer = tokio::time::timeout(Duration::from_secs(5), task).await.unwrap().unwrap();
    assert_eq!(answer.partitions.iter().map(|partition| bases(partition).len()).sum::<usize>(), 2);
}

#[tokio::test(start_paused = true)]
async fn min_bytes_count_what_is_there_but_does_not_fit() {
    let ctx = topic_of(1, 3).await;
    let mut tight = request("t", vec![partition(0, 0)]);
    (tight.max_wait_ms, tight.min_bytes) = (60_000, 1500);
    tight.topics[0].partitions[0].partition_max_bytes = 1500;
    let started = Instant::now();
    assert_eq!(bases(&one(&ctx, &tight).await), [0]);
    assert_eq!(started.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn min_bytes_hold_for_records_in_the_store_too() {
    let ctx = topic_of(1, 1).await.restarted().await.with_version(12);
    let mut waiting = request("t", vec![partition(0, 0)]);
    (waiting.max_wait_ms, waiting.min_bytes) = (500, 100_000);
    let started = Instant::now();
    assert_eq!(bases(&one(&ctx, &waiting).await), [0]);
    assert!(started.elapsed() >= Duration::from_millis(500));
}

#[tokio::test]
async fn one_partition_in_error_answers_the_whole_request_at_once() {
    let ctx = topic_of(1, 1).await;
    let mut waiting = request("t", vec![partition(0, 1), partition(9, 0)]);
    waiting.max_wait_ms = 60_000;
    let answer = tokio::time::timeout(Duration::from_secs(5), fetch(&ctx, &waiting)).await.unwrap();
    let errors: Vec<_> = answer.partitions.iter().map(|partition| partition.error).collect();
    assert_eq!(errors, [ErrorCode::None, ErrorCode::UnknownTopicOrPartition]);
}

#[tokio::test]
async fn deleting_the_topic_ends_the_wait() {
    let ctx = topic_of(1, 1).await;
    let mut waiting = request("t", vec![partition(0, 1)]);
    waiting.max_wait_ms = 60_000;
    let task = {
        let ctx = ctx.clone();
        tokio::spawn(async move { one(&ctx, &waiting).await })
    };
    tokio::time::sleep(Duration::from_millis(20)).await;
    ctx.broker.engine.delete_topic("t").await.unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(5), task).await.unwrap().unwrap();
    assert_eq!(answer.error, ErrorCode::UnknownTopicOrPartition);
}

// semantics 3.5.4
#[tokio::test]
async fn the_byte_limits_hold_but_for_the_first_batch_of_the_first_partition_with_data() {
    for restarted in [false, true] {
        let mut ctx = topic_of(3, 3).await;
        if restarted {
            ctx = ctx.restarted().await.with_version(12);
        }
        let counts = async |max_bytes: i32, partition_max_bytes: i32| {
            let mut partitions = vec![partition(0, 3), partition(1, 0), partition(2, 0)];
            partitions.iter_mut().for_each(|partition| partition.partition_max_bytes = partition_max_bytes);
            let mut request = request("t", partitions);
            request.max_bytes = max_bytes;
            let answer = fetch(&ctx, &request).await;
            answer.partitions.iter().map(|partition| bases(partition).len()).collect::<Vec<_>>()
        };
        assert_eq!(counts(1 << 20, 1 << 20).await, [0, 3, 3]);
        assert_eq!(counts(1 << 20, 2500).await, [0, 2, 2]);
        assert_eq!(counts(4500, 1 << 20).await, [0, 3, 1]);
        assert_eq!(counts(10, 10).await, [0, 1, 0]);
        assert_eq!(counts(0, 0).await, [0, 1, 0]);
        assert_eq!(counts(-5, -5).await, [0, 1, 0]);
        assert_eq!(counts(1 << 20, 10).await, [0, 1, 0]);
    }
}

// semantics 3.5.5
#[tokio::test]
async fn the_brokers_ceiling_holds_whatever_the_client_asks() {
    let ctx = context_with(&[("fetch.max.bytes", "2500")]).await.with_version(12);
    ctx.topic("t", 1).await;
    fill(&ctx.log("t", 0), 4).await;
    let mut request = request("t", vec![partition(0, 0)]);
    request.max_bytes = i32::MAX;
    assert_eq!(bases(&one(&ctx, &request).await), [0, 1]);
}

// semantics 3.5.6
#[tokio::test]
async fn a_session_goes_on_with_what_changed() {
    let ctx = topic_of(2, 1).await;
    let mut full = request("t", vec![partition(0, 0), partition(1, 1)]);
    (full.session_id, full.session_epoch) = (0, 0);
    let created = fetch(&ctx, &full).await;
    assert!(created.session_id > 0 && created.partitions.len() == 2);

    let mut next =
        message!(FetchRequest { max_bytes: 1 << 20, session_id: created.session_id, session_epoch: 1 });
    let again = fetch(&ctx, &next).await;
    let told: Vec<_> =
        again.partitions.iter().map(|partition| (partition.partition, bases(partition))).collect();
    assert_eq!(told, [(0, vec![0])], "the position is the session's until the client moves it");

    next.session_epoch = 2;
    next.topics = request("t", vec![partition(0, 1)]).topics;
    assert!(fetch(&ctx, &next).await.partitions.is_empty());

    fill(&ctx.log("t", 1), 1).await;
    (next.session_epoch, next.topics) = (3, Vec::new());
    let changed = fetch(&ctx, &next).await;
    assert_eq!(changed.partitions.iter().map(|partition| partition.partition).collect::<Vec<_>>(), [1]);

    next.session_epoch = 9;
    assert_eq!(fetch(&ctx, &next).await.error, ErrorCode::InvalidFetchSessionEpoch);
    next.session_id ^= 1;
    assert_eq!(fetch(&ctx, &next).await.error, ErrorCode::FetchSessionIdNotFound);
}

// semantics 3.5.7
#[tokio::test]
async fn topics_are_found_by_id_from_version_13_on() {
    let ctx = topic_of(1, 1).await.with_version(13);
    let topics = ctx.broker.engine.topics();
    let id = topics.get("t").unwrap().id;
    let found = one(&ctx, &request_by_id(id, vec![partition(0, 0)])).await;
    assert_eq!((found.error, bases(&found)), (ErrorCode::None, vec![0]));
    assert_eq!(found.topic, TopicRef::Id(id));
    let unknown = one(&ctx, &request_by_id(uuid::Uuid::from_u128(99), vec![partition(0, 0)])).await;
    assert_eq!(unknown.error, ErrorCode::UnknownTopicId);
    let no_partition = one(&ctx, &request_by_id(id, vec![partition(1, 0)])).await;
    assert_eq!(no_partition.error, ErrorCode::UnknownTopicOrPartition);
}

#[tokio::test]
async fn a_session_notices_that_its_topic_is_another_one_now() {
    let ctx = topic_of(1, 1).await.with_version(13);
    let id = ctx.broker.engine.topics().get("t").unwrap().id;
    let mut full = request_by_id(id, vec![partition(0, 1)]);
    full.session_epoch = 0;
    let session_id = fetch(&ctx, &full).await.session_id;
    let next = |session_epoch| {
        message!(FetchRequest { max_bytes: 1 << 20, session_id: session_id, session_epoch: session_epoch })
    };
    ctx.broker.engine.delete_topic("t").await.unwrap();
    assert_eq!(one(&ctx, &next(1)).await.error, ErrorCode::UnknownTopicOrPartition);
    ctx.topic("t", 1).await;
    assert_eq!(one(&ctx, &next(2)).await.error, ErrorCode::InconsistentTopicId);
    let sessionless = one(&ctx, &request_by_id(id, vec![partition(0, 1)])).await;
    assert_eq!(sessionless.error, ErrorCode::UnknownTopicId);
}

// semantics 3.5.8
#[tokio::test]
async fn leader_epochs_of_the_client_are_checked() {
    let ctx = context().await.with_version(18);
    ctx.topic_with("t", 1, &[("chronik.durability", "os")]).await;
    let id = ctx.broker.engine.topics().get("t").unwrap().id;
    fill(&ctx.log("t", 0), 1).await;
    let asked = async |ctx: &TestContext, epoch: i32| {
        let mut asked = partition(0, 0);
        asked.current_leader_epoch = epoch;
        fetch(ctx, &request_by_id(id, vec![asked])).await
    };
    assert_eq!(asked(&ctx, 0).await.partitions[0].error, ErrorCode::None);
    let newer = asked(&ctx, 1).await;
    assert_eq!(newer.partitions[0].error, ErrorCode::UnknownLeaderEpoch);
    assert!(newer.endpoints.is_empty());
}

#[tokio::test]
async fn a_fenced_client_is_told_the_leader() {
    // A leader epoch of 0 is never newer than the client's, so the answer is made by hand.
    let ctx = topic_of(1, 1).await;
    let mut answer = FetchAnswer::refused(ErrorCode::None);
    let refused = |error| PartitionAnswer::refused(TopicRef::Name("t".into()), 0, error);
    answer.partitions = vec![refused(ErrorCode::FencedLeaderEpoch), refused(ErrorCode::UnknownLeaderEpoch)];
    tell_leader(&ctx, &mut answer);
    assert_eq!(answer.partitions[0].current_leader, Some((NODE, 0)));
    assert_eq!(answer.partitions[1].current_leader, None);
    let endpoint = Endpoint { node_id: NODE, host: "broker.example".to_owned(), port: 19092 };
    assert_eq!(answer.endpoints, [endpoint]);
}

#[tokio::test]
async fn a_log_that_went_its_own_way_is_told_where() {
    let ctx = topic_of(1, 3).await;
    let asked = async |offset: i64, last_fetched_epoch: i32| {
        let mut asked = partition(0, offset);
        asked.last_fetched_epoch = last_fetched_epoch;
        one(&ctx, &request("t", vec![asked])).await
    };
    let same = asked(2, 0).await;
    assert_eq!((same.diverging, bases(&same)), (None, vec![2]));
    let longer = asked(5, 0).await;
    assert_eq!((longer.error, longer.diverging, longer.records_bytes), (ErrorCode::None, Some((0, 3)), 0));
    assert_eq!(longer.high_watermark, 3);
    assert_eq!(asked(2, 1).await.error, ErrorCode::OffsetOutOfRange, "an epoch nobody has led in");
}

// semantics 3.5.10
#[tokio::test]
async fn zstd_is_kept_from_clients_that_cannot_read_it() {
    for restarted in [false, true] {
        let mut ctx = topic_of(2, 1).await;
        append(&ctx.log("t", 1), batch(Compression::Zstd)).await.unwrap();
        if restarted {
            ctx = ctx.restarted().await;
        }
        let request = request("t", vec![partition(0, 0), partition(1, 0)]);
        let old = fetch(&ctx.with_version(9), &request).await;
        let errors: Vec<_> = old.partitions.iter().map(|partition| partition.error).collect();
        assert_eq!(errors, [ErrorCode::None, ErrorCode::UnsupportedCompressionType]);
        assert_eq!(old.partitions[1].records_bytes, 0);
        let new = fetch(&ctx.with_version(10), &request).await;
        assert_eq!(bases(&new.partitions[1]), [0, 1]);
    }
}

#[tokio::test]
async fn readers_of_committed_data_are_told_that_nothing_was_aborted() {
    let ctx = topic_of(1, 1).await;
    let mut request = request("t", vec![partition(0, 0)]);
    assert!(one(&ctx, &request).await.aborted.is_none());
    request.isolation_level = 1;
    let committed = one(&ctx, &request).await;
    assert!(committed.aborted.is_some());
    assert_eq!((committed.last_stable_offset, bases(&committed)), (1, vec![0]));
}

// docs/adr/0005-virtual-internal-topics.md
#[tokio::test]
async fn the_offsets_topic_is_empty_to_readers() {
    let ctx = context().await.with_version(12);
    let empty = one(&ctx, &request("__consumer_offsets", vec![partition(49, 0)])).await;
    assert_eq!((empty.error, empty.high_watermark, empty.records_bytes), (ErrorCode::None, 0, 0));
    let beyond = one(&ctx, &request("__consumer_offsets", vec![partition(0, 1)])).await;
    assert_eq!(beyond.error, ErrorCode::OffsetOutOfRange);
    let missing = one(&ctx, &request("__consumer_offsets", vec![partition(50, 0)])).await;
    assert_eq!(missing.error, ErrorCode::UnknownTopicOrPartition);
    let hidden = one(&ctx, &request("__share_group_state", vec![partition(0, 0)])).await;
    assert_eq!(hidden.error, ErrorCode::UnknownTopicOrPartition);
}

#[tokio::test]
async fn the_whole_path_answers_in_every_version() {
    let ctx = topic_of(1, 1).await;
    let id = ctx.broker.engine.topics().get("t").unwrap().id;
    for version in 4..=18 {
        let ctx = ctx.with_version(version);
        let request = if version < 13 {
            request("t", vec![partition(0, 0)])
        } else {
            request_by_id(id, vec![partition(0, 0)])
        };
        let frame = codec::encode_request(1, "test", &request, version).unwrap();
        let mut body = frame.slice(4..);
        codec::decode_request_header(&mut body).unwrap();
        let reply = start((*ctx).clone(), body, Hold::default()).await.unwrap();
        assert!(reply.bytes() > VALUE_BYTES, "{version}");
    }
    assert!(
        start((*ctx.with_version(12)).clone(), Bytes::from_static(b"\x00"), Hold::default()).await.is_err()
    );
}

/// A store whose reads of batches wait at a gate.
struct Gated {
    inner: Arc<MemoryStore>,
    arrived: Semaphore,
    gate: Arc<Semaphore>,
    fail_partition: Option<u64>,
}

impl Store for Gated {
    fn commit(&self, batch: WriteBatch, durability: Durability) -> Ticket {
        self.inner.commit(batch, durability)
    }
    fn ready(&self) -> StoreFuture<()> {
        self.inner.ready()
    }
    fn get(&self, keyspace: Keyspace, key: Bytes) -> StoreFuture<Option<Bytes>> {
        self.inner.get(keyspace, key)
    }
    fn scan(&self, keyspace: Keyspace, range: Range<Bytes>, limit: ScanLimit) -> StoreFuture<Chunk> {
        if keyspace != Keyspace::Batches {
            return self.inner.scan(keyspace, range, limit);
        }
        let partition = u64::from_be_bytes(range.start[..8].try_into().unwrap());
        if self.fail_partition == Some(partition) {
            return Box::pin(std::future::ready(Err(StoreError::ReadFailed("the test says so".into()))));
        }
        self.arrived.add_permits(1);
        // The scan itself sees the store as it is once the gate opens.
        let (inner, gate) = (self.inner.clone(), self.gate.clone());
        Box::pin(async move {
            gate.acquire().await.unwrap().forget();
            inner.scan(keyspace, range, limit).await
        })
    }
    fn snapshot(&self) -> Arc<dyn Snapshot> {
        self.inner.snapshot()
    }
    fn checkpoint(&self, path: &Path) -> StoreFuture<()> {
        self.inner.checkpoint(path)
    }
    fn size_estimate(&self, keyspace: Keyspace, range: Range<Bytes>) -> u64 {
        self.inner.size_estimate(keyspace, range)
    }
    fn disk_usage(&self) -> u64 {
        self.inner.disk_usage()
    }
    fn internals(&self) -> Vec<(&'static str, f64)> {
        self.inner.internals()
    }
    fn close(&self) -> StoreFuture<()> {
        self.inner.close()
    }
}

/// A topic whose records are in the store alone, behind a gate.
async fn gated(partitions: usize, fail_index: Option<u64>) -> (Arc<Gated>, Arc<Topic>) {
    let store = Arc::new(Gated {
        inner: Arc::new(MemoryStore::new()),
        arrived: Semaphore::new(0),
        gate: Arc::new(Semaphore::new(0)),
        // The first partition of a fresh store has id 1.
        fail_partition: fail_index.map(|index| index + 1),
    });
    let options = EngineOptions { ring_bytes: 0, resolve: Box::new(|_| Default::default()) };
    let engine = Engine::open(vec![store.clone()], options).await.unwrap();
    let topic = engine.create_topic("t", partitions, TopicOverrides::new(), NOW_MS).await.unwrap();
    for index in 0..partitions {
        fill(topic.log(index as i32).unwrap(), 3).await;
    }
    (store, topic)
}

fn targets(topic: &Topic) -> Vec<Target> {
    let position =
        Position { offset: 0, max_bytes: 1 << 20, current_leader_epoch: -1, last_fetched_epoch: -1 };
    let place = |partition: &chronik_engine::topic::Partition| Place::Log(partition.log.clone());
    topic.partitions.iter().map(|partition| Target { place: place(partition), position }).collect()
}

/// For partitions that have nothing in object storage.
async fn no_remote() -> Remote {
    Remote { reads: RemoteReads::new(context().await.broker.tier.clone()), until: Instant::now() }
}

async fn until_enough(targets: &[Target], max_bytes: i32) -> Vec<read::Outcome> {
    read::until_enough(
        targets,
        Limits::new(max_bytes, 1, Duration::ZERO, Isolation::Uncommitted),
        &FetchMemory::new(64 << 20, 0),
        no_remote().await,
        Stopping::never(),
    )
    .await
    .outcomes
}

// A batch dropped between start check and scan must not be skipped in silence.
#[tokio::test]
async fn records_deleted_between_the_start_check_and_the_scan_are_missed_aloud() {
    let (store, topic) = gated(1, None).await;
    let reading = targets(&topic);
    let task = tokio::spawn(async move { until_enough(&reading, 1 << 20).await });
    store.arrived.acquire().await.unwrap().forget();
    topic.log(0).unwrap().delete_records(Some(2)).unwrap().1.await.unwrap();
    store.gate.add_permits(10);
    let outcomes = task.await.unwrap();
    assert!(
        matches!(outcomes[..], [read::Outcome::Failed(ErrorCode::OffsetOutOfRange)]),
        "batch 2 alone would hide that 0 and 1 are gone"
    );
}

#[tokio::test]
async fn scans_run_together_up_to_a_bound() {
    let partitions = crate::limits::FETCH_SCANS_MAX + 3;
    let (store, topic) = gated(partitions, None).await;
    let reading = targets(&topic);
    let task = tokio::spawn(async move { until_enough(&reading, 50 << 20).await });
    // The first runs alone: what it returns decides what the others may take.
    store.arrived.acquire().await.unwrap().forget();
    store.gate.add_permits(1);
    let together = store.arrived.acquire_many(crate::limits::FETCH_SCANS_MAX as u32).await.unwrap();
    together.forget();
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(store.arrived.available_permits(), 0, "no more than the bound");
    store.gate.add_permits(partitions);
    let outcomes = task.await.unwrap();
    let whole = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, read::Outcome::Read(read) if read.chunks.len() == 3));
    assert_eq!(whole.count(), partitions);
}

#[tokio::test]
async fn a_failed_read_spoils_no_other_partition() {
    let (store, topic) = gated(3, Some(0)).await;
    store.gate.add_permits(10);
    let outcomes = until_enough(&targets(&topic), 1500).await;
    assert!(matches!(outcomes[0], read::Outcome::Failed(ErrorCode::KafkaStorageError)));
    assert!(matches!(&outcomes[1], read::Outcome::Read(read) if read.bytes > 0));
}

#[tokio::test]
async fn what_was_read_from_the_store_is_counted_until_the_answer_is_sent() {
    let (store, topic) = gated(2, None).await;
    store.gate.add_permits(10);
    // Room for one answer of six batches and a bit.
    let memory = FetchMemory::new(10 * VALUE_BYTES, 0);
    let limits = Limits::new(1 << 20, 1, Duration::ZERO, Isolation::Uncommitted);
    let targets = targets(&topic);
    let first = read::until_enough(&targets, limits, &memory, no_remote().await, Stopping::never()).await;
    let bytes: usize = first
        .outcomes
        .iter()
        .map(|outcome| match outcome {
            read::Outcome::Read(read) => read.bytes,
            _ => 0,
        })
        .sum();
    assert_eq!(first.held.as_ref().map(OwnedSemaphorePermit::num_permits), Some(bytes));
    let second = read::until_enough(&targets, limits, &memory, no_remote().await, Stopping::never()).await;
    assert!(second.held.is_none(), "no memory until the first answer is gone");
    let nothing = |outcome: &read::Outcome| matches!(outcome, read::Outcome::Read(read) if read.bytes == 0);
    assert!(second.outcomes.iter().all(nothing), "which is no error: the client asks again");
    drop(first);
    assert!(
        read::until_enough(&targets, limits, &memory, no_remote().await, Stopping::never())
            .await
            .held
            .is_some()
    );
}
