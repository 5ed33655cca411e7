//! An engine over RocksDB in a temporary directory, with the broker's default options.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;

use chronik_engine::log::{LogConfig, PartitionLog};
use chronik_engine::store::Store;
use chronik_engine::store::rocks::{RocksOptions, RocksStore};
use chronik_engine::{Engine, EngineOptions};
use chronik_protocol::batch::{
    BatchBuilder, TargetCompression, TimestampType, ValidBatch, ValidateOptions, validate,
};

/// The time of every append.
pub const NOW_MS: i64 = 1_000;

/// Small, so that reads reach the store.
const RING_BYTES: usize = 1 << 20;

/// An engine and the runtime that waits for it.
pub struct TestEngine {
    engine: Arc<Engine>,
    runtime: tokio::runtime::Runtime,
    directory: tempfile::TempDir,
}

impl TestEngine {
    /// Opens one.
    pub fn open() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let fatal = Box::new(|error| panic!("the store failed: {error}"));
        let store = RocksStore::open(&directory.path().join("store"), RocksOptions::default(), fatal);
        let store: Arc<dyn Store> = store.expect("an empty directory opens");
        let options = EngineOptions { ring_bytes: RING_BYTES, resolve: Box::new(|_| LogConfig::default()) };
        let engine = runtime.block_on(Engine::open(vec![store], options)).expect("an empty engine");
        Self { engine, runtime, directory }
    }

    /// The scratch directory.
    #[allow(dead_code, reason = "not every bench needs it")]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A new topic's only log.
    pub fn create_log(&self, topic: &str) -> Arc<PartitionLog> {
        let made = self.engine.create_topic(topic, 1, Default::default(), NOW_MS);
        self.wait(made).expect("a new topic").partitions[0].log.clone()
    }

    /// Blocks until `future` is done.
    pub fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// RocksDB says at open whether it uses the CPU's CRC instructions; without them two fifths of the CPU of a
    /// write load are software CRC.
    #[allow(dead_code, reason = "not every bench needs it")]
    pub fn assert_hardware_crc(&self) {
        let log = std::fs::read_to_string(self.path().join("store/LOG")).expect("RocksDB keeps a log");
        let line =
            log.lines().find(|line| line.contains("Fast CRC32 supported")).unwrap_or("no line about it");
        assert!(line.contains("supported: Supported"), "RocksDB computes CRCs in software: {line}");
    }
}

/// A validated batch of about `bytes` bytes in records of 1,000.
pub fn batch(bytes: usize) -> ValidBatch {
    let mut builder = BatchBuilder::new();
    let value = vec![b'v'; bytes.min(1_000)];
    for delta in 0..(bytes / 1_000).max(1) as i32 {
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

/// Records in a batch.
#[allow(dead_code, reason = "not every bench needs it")]
pub fn batch_of(batch: &ValidBatch) -> i32 {
    batch.header.record_count
}
