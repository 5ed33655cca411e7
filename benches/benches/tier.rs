//! Tiered storage against the bare thing, in alternation: copying against plain uploads of the same bytes, cold reading
//! against a loop of ranged GETs, warm reading against the local store, and appends with and without copying beside them.
//!
//! Against the store that the environment names as for a broker (`S3_ENDPOINT`, …; `LOCAL_STORAGE_PATH`), or a directory of
//! its own. Some gigabytes are written below `bench/` there, and deleted at the end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chronik_engine::log::{Isolation, LogConfig, PartitionLog, Span};
use chronik_engine::store::Store;
use chronik_engine::store::rocks::{RocksOptions, RocksStore};
use chronik_engine::topic::TopicOverrides;
use chronik_engine::{Engine, EngineOptions};
use chronik_protocol::batch::{
    BatchBuilder, TargetCompression, TimestampType, ValidBatch, ValidateOptions, validate,
};
use chronik_tiering::backend::{Backend, Kind};
use chronik_tiering::bucket::Bucket;
use chronik_tiering::limits::PART_BYTES;
use chronik_tiering::read::Limits;
use chronik_tiering::{Bandwidth, Source, Tier, TierOptions, metrics, upload};

/// The broker's own.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const NOW_MS: i64 = 1_000;
const SEGMENT_BYTES: u64 = 64 << 20;
const SEGMENTS: usize = 4;
const ROUNDS: usize = 5;
const APPEND_ROUNDS: usize = 3;
/// What the plain loop asks for at once: as much as our largest window.
const GET_BYTES: u64 = 16 << 20;
/// What a consumer's fetch takes of one partition.
const READ_BYTES: usize = 1 << 20;

fn main() {
    // `cargo test --benches` runs this, too, and asks for nothing.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads");
    runtime.block_on(measure());
}

fn backend(scratch: &std::path::Path) -> Backend {
    let get = |name: &str| std::env::var(name).ok();
    let kind = match get("S3_ENDPOINT") {
        Some(endpoint) => Kind::S3 {
            endpoint: Some(endpoint),
            region: "us-east-1".to_owned(),
            bucket: get("S3_BUCKET").unwrap_or_else(|| "chronik-storage".to_owned()),
            access_key: get("S3_ACCESS_KEY"),
            secret_key: get("S3_SECRET_KEY"),
            path_style: true,
            disable_ssl: false,
        },
        None => {
            let path = get("LOCAL_STORAGE_PATH").map_or_else(|| scratch.join("objects"), Into::into);
            Kind::Local { path }
        }
    };
    Backend { kind, prefix: Some("bench".to_owned()), request_timeout: Duration::from_secs(60) }
}

fn batch() -> ValidBatch {
    let mut builder = BatchBuilder::new();
    let value: Vec<u8> =
        (0..1_000_u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for delta in 0..16 {
        builder.push(delta, NOW_MS, None, Some(&value), &[]);
    }
    let options = ValidateOptions {
        now_ms: NOW_MS,
        max_batch_bytes: 1 << 20,
        timestamp_type: TimestampType::CreateTime,
        before_max_ms: i64::MAX,
        after_max_ms: 3_600_000,
        require_keys: false,
        compression: TargetCompression::Producer,
        max_decompressed_bytes: 1 << 24,
    };
    validate(builder.build().expect("a small batch"), &options).expect("a sound batch")
}

async fn fill(log: &Arc<PartitionLog>, bytes: u64) {
    let valid = batch();
    for index in 0..bytes / valid.bytes.len() as u64 {
        let appended = log.append(&valid, NOW_MS).expect("a sound batch");
        if index % 64 == 0 {
            appended.ticket.await.expect("a durable commit");
        }
    }
    log.durable().await.expect("a durable commit");
}

async fn measure() {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let fatal = Box::new(|error| panic!("the store failed: {error}"));
    let store = RocksStore::open(&scratch.path().join("store"), RocksOptions::default(), fatal);
    let store: Arc<dyn Store> = store.expect("an empty directory opens");
    let config = LogConfig {
        segment_bytes: SEGMENT_BYTES,
        remote_storage: true,
        retention_ms: None,
        ..LogConfig::default()
    };
    let resolve = move |topic: &TopicOverrides| {
        let small = topic.get("segment.bytes").and_then(|bytes| bytes.parse().ok());
        LogConfig { segment_bytes: small.unwrap_or(SEGMENT_BYTES), ..config.clone() }
    };
    let options = EngineOptions { ring_bytes: 1 << 20, resolve: Box::new(resolve) };
    let engine = Engine::open(vec![store], options).await.expect("an empty engine");
    let topic = engine.create_topic("bench", 1, Default::default(), NOW_MS).await.expect("a topic");
    let log = topic.partitions[0].log.clone();
    fill(&log, SEGMENT_BYTES * (SEGMENTS as u64 + 1)).await;
    let bucket = Bucket::open(&backend(scratch.path())).expect("a store");
    eprintln!("store: {}", bucket.place());
    let source = Source {
        cluster_id: engine.cluster_id().to_owned(),
        topic: "bench".into(),
        topic_id: topic.id,
        partition: 0,
    };
    let spans = log.to_copy(SEGMENTS);
    uploads(&bucket, &log, &source, &spans).await;
    let tier = copied(&engine, &bucket, &log, scratch.path()).await;
    reads(&bucket, &tier, &log).await;
    appends(&engine, &tier).await;
    let mut left = Vec::new();
    bucket.list("", |object| left.push(object.name)).await.expect("a listing");
    bucket.delete(&left).await.all().expect("a deletion");
}

/// Copying a segment, without and with its proof, against the same bytes from memory.
async fn uploads(bucket: &Bucket, log: &Arc<PartitionLog>, source: &Source, spans: &[Span]) {
    let (mut ours, mut proven, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    let bytes = Bytes::from(vec![b'x'; spans[0].bytes as usize]);
    let unlimited = Bandwidth::unlimited();
    for round in 0..ROUNDS {
        let span = &spans[round % spans.len()];
        let begun = Instant::now();
        plain_put(bucket, &format!("plain/{round}"), &bytes).await;
        bare.push(begun.elapsed());
        let begun = Instant::now();
        upload(bucket, log, source, span, &format!("ours/{round}"), &unlimited, NOW_MS)
            .await
            .expect("a copy");
        ours.push(begun.elapsed());
        let begun = Instant::now();
        let object = format!("proven/{round}");
        chronik_tiering::copy(bucket, log, source, span, &object, &unlimited, NOW_MS).await.expect("a copy");
        proven.push(begun.elapsed());
    }
    row("upload vs plain put", &ours, &bare, bytes.len(), "0.7, aim 0.9");
    row("upload and proof vs plain put", &proven, &bare, bytes.len(), "none");
}

async fn plain_put(bucket: &Bucket, name: &str, bytes: &Bytes) {
    let mut parts = bucket.multipart(name).await.expect("an upload");
    let mut under_way: tokio::task::JoinSet<Result<(), chronik_tiering::bucket::BucketError>> =
        tokio::task::JoinSet::new();
    for begin in (0..bytes.len()).step_by(PART_BYTES) {
        if under_way.len() == chronik_tiering::limits::PARTS_MAX {
            under_way.join_next().await.expect("one").expect("no panic").expect("a part");
        }
        let end = (begin + PART_BYTES).min(bytes.len());
        under_way.spawn(parts.part(vec![bytes.slice(begin..end)]));
    }
    while let Some(part) = under_way.join_next().await {
        part.expect("no panic").expect("a part");
    }
    parts.complete().await.expect("an object");
}

/// Copies everything closed, as a broker does; the local copies stay.
async fn copied(
    engine: &Arc<Engine>,
    bucket: &Bucket,
    log: &Arc<PartitionLog>,
    scratch: &std::path::Path,
) -> Arc<Tier> {
    let tier = Tier::open(engine.clone(), bucket.clone(), options(scratch));
    let (stop, stopping) = tokio::sync::watch::channel(false);
    let task = tokio::spawn(tier.clone().run(stopping));
    while !log.to_copy(1).is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let _ = stop.send(true);
    task.await.expect("no panic");
    tier
}

fn options(scratch: &std::path::Path) -> TierOptions {
    let mut options = TierOptions::eager(scratch.join("cache"), || NOW_MS);
    options.read.memory_bytes = 512 << 20;
    options
}

const LIMITS: Limits =
    Limits { max_bytes: READ_BYTES, at_least_one: true, isolation: Isolation::Uncommitted };

/// Cold and warm reads of the remote part.
async fn reads(bucket: &Bucket, tier: &Arc<Tier>, log: &Arc<PartitionLog>) {
    let segments = log.remote_segments();
    let bytes: u64 = segments.iter().map(|segment| segment.bytes).sum();
    let (mut cold, mut warm, mut bare, mut local) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        for segment in &segments {
            for begin in (0..segment.size).step_by(GET_BYTES as usize) {
                let end = (begin + GET_BYTES).min(segment.size);
                bucket.get_range(&segment.object, begin..end).await.expect("a range");
            }
        }
        bare.push(begun.elapsed());
        // A reader of its own each time: cold.
        let reader =
            chronik_tiering::read::RemoteReader::open(bucket.clone(), &options("".as_ref()).read).await;
        for times in [&mut cold, &mut warm] {
            let begun = Instant::now();
            read_through(&reader, log).await;
            times.push(begun.elapsed());
        }
        let begun = Instant::now();
        let end = log.copied_to().expect("it is copied");
        let mut next = 0;
        while next < end {
            let read = log.read(next, READ_BYTES, true, Isolation::Uncommitted).await.expect("a sound log");
            next += read.bytes as i64 / batch().bytes.len() as i64 * 16;
        }
        local.push(begun.elapsed());
    }
    row("cold sequential read vs ranged GET loop", &cold, &bare, bytes as usize, "0.7, aim 0.9");
    row("warm read vs local", &warm, &local, bytes as usize, "0.9, aim 1");
    let before = metrics::requests("get");
    let reader = tier.reader().await;
    let middle = &segments[segments.len() / 2];
    reader.read(log, middle, middle.base_offset + 1000, LIMITS).await.expect("a read");
    eprintln!(
        "GETs before the first byte of a random cold read: {} (floor 2, aim 1)",
        metrics::requests("get") - before
    );
}

async fn read_through(reader: &chronik_tiering::read::RemoteReader, log: &Arc<PartitionLog>) {
    for segment in log.remote_segments() {
        let mut next = segment.base_offset;
        let records = 16;
        while next < segment.next_offset {
            let read = reader.read(log, &segment, next, LIMITS).await.expect("a read");
            next += (read.bytes / batch_bytes()) as i64 * records;
        }
    }
}

fn batch_bytes() -> usize {
    static BYTES: std::sync::OnceLock<usize> = std::sync::OnceLock::new();
    *BYTES.get_or_init(|| batch().bytes.len())
}

/// The 99th percentile of an append at 16 MB/s, with and without copying: first of what is appended, as it closes; then of
/// a backlog, as fast as the object store takes it.
async fn appends(engine: &Arc<Engine>, tier: &Arc<Tier>) {
    let (mut alone, mut beside, mut backlog) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..APPEND_ROUNDS {
        let small = BTreeMap::from([("segment.bytes".to_owned(), (4 << 20).to_string())]);
        let topic = engine.create_topic(&format!("append-{round}"), 1, small, NOW_MS).await.expect("a topic");
        let log = topic.partitions[0].log.clone();
        alone.push(p99(&log).await);
        beside.push(while_copying(tier, p99(&log)).await);
        let busy = engine.create_topic(&format!("busy-{round}"), 1, BTreeMap::new(), NOW_MS).await;
        fill(&busy.expect("a topic").partitions[0].log, SEGMENT_BYTES * 5).await;
        // What the filling left to do for the store and the disk is not the copying's.
        tokio::time::sleep(Duration::from_secs(3)).await;
        backlog.push(while_copying(tier, p99(&log)).await);
    }
    let ms = |times: &[Duration]| median(times).as_secs_f64() * 1e3;
    for (name, times, goal) in
        [("copying", &beside, "1.2, aim 1.05"), ("a backlog at full speed", &backlog, "none")]
    {
        let (with, without) = (ms(times), ms(&alone));
        let ratio = with / without;
        eprintln!(
            "append p99 with {name} vs without: {ratio:.2} ({with:.2} ms, {without:.2} ms) (floor {goal})"
        );
    }
}

async fn while_copying<T>(tier: &Arc<Tier>, work: impl Future<Output = T>) -> T {
    let (stop, stopping) = tokio::sync::watch::channel(false);
    let threads = chronik_tiering::background().expect("threads");
    let task = threads.spawn(tier.clone().run(stopping));
    let outcome = work.await;
    let _ = stop.send(true);
    task.await.expect("no panic");
    threads.shutdown_background();
    outcome
}

/// Of 10,000 appends of 16 KB, one every millisecond: long enough that the store writes out its memory in each.
async fn p99(log: &Arc<PartitionLog>) -> Duration {
    let valid = batch();
    let mut ticks = tokio::time::interval(Duration::from_millis(1));
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..10_000 {
        ticks.tick().await;
        let begun = Instant::now();
        let ticket = log.append(&valid, NOW_MS).expect("a sound batch").ticket;
        waiting.spawn(async move {
            ticket.await.expect("a durable commit");
            begun.elapsed()
        });
    }
    let mut times = waiting.join_all().await;
    times.sort_unstable();
    times[times.len() * 99 / 100]
}

fn median(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort_unstable();
    times[times.len() / 2]
}

fn row(name: &str, ours: &[Duration], bare: &[Duration], bytes: usize, goal: &str) {
    let ratios = ours.iter().zip(bare).map(|(ours, bare)| bare.as_secs_f64() / ours.as_secs_f64());
    let mut ratios: Vec<f64> = ratios.collect();
    ratios.sort_by(f64::total_cmp);
    let rate = |times: &[Duration]| bytes as f64 / median(times).as_secs_f64() / 1e6;
    eprintln!(
        "{name}: {:.2} of the bare thing, {:.2} to {:.2} ({:.0} of {:.0} MB/s) (floor {goal})",
        ratios[ratios.len() / 2],
        ratios[0],
        ratios[ratios.len() - 1],
        rate(ours),
        rate(bare)
    );
}
