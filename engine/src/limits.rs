//! The engine's fixed bounds, each with its unit.

/// Batches whose metadata is kept per producer and partition to recognise retries (Kafka's
/// `ProducerStateEntry.NUM_BATCHES_TO_RETAIN`).
pub const PRODUCER_BATCHES_KEPT: usize = 5;

/// Bytes one store scan brings up while searching a timestamp.
pub const TIMESTAMP_SCAN_BYTES: usize = 1 << 20;

/// Bytes a batch may have once decompressed, when the engine looks inside it for a timestamp, or cleans it.
pub const DECOMPRESSED_BYTES_MAX: usize = 1 << 30;

/// Bytes that one step of the cleaner reads, give or take one batch; what is produced meanwhile shares the processor with it.
pub const CLEAN_SCAN_BYTES: usize = 256 << 10;

/// Bytes of rewritten batches that the cleaner commits at once, give or take one batch; appends wait no longer than that
/// takes to write.
pub const CLEAN_COMMIT_BYTES: usize = 256 << 10;

/// Batches that the cleaner changes in one commit.
pub const CLEAN_COMMIT_BATCHES: usize = 1024;

/// Producer ids reserved by one durable write.
pub const PRODUCER_ID_BLOCK: i64 = 1000;

/// Partitions one topic may have.
pub const PARTITIONS_PER_TOPIC_MAX: usize = 100_000;

/// Aborted transactions that each log keeps in memory for readers near its end; older ones are looked up in the store.
/// At most 32 KB a log.
pub const ABORTED_REMEMBERED: usize = 1024;

/// Aborted transactions that one look-up in the store brings up.
pub const ABORTED_SCAN_ENTRIES: usize = 4096;

const _: () = assert!(PRODUCER_BATCHES_KEPT > 0 && PRODUCER_ID_BLOCK > 0);
