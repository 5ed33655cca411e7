//! The server's fixed bounds outside the network layer, each with its unit.

/// Bytes one batch may have once decompressed to be validated; above it the batch is refused.
pub const DECOMPRESSED_BATCH_BYTES_MAX: usize = 256 << 20;

/// Bytes that a push of client metrics may have once decompressed; Kafka's default for a compressed one is an eighth of it.
pub const DECOMPRESSED_TELEMETRY_BYTES_MAX: usize = 8 << 20;

/// Bytes that a pattern of a client may compile to; a larger one is refused.
pub const PATTERN_BYTES_MAX: usize = 256 << 10;

/// Characters kept of what a client's library calls itself.
pub const SOFTWARE_CHARS_MAX: usize = 128;

/// How often the disk's free space is looked at, ms.
pub const DISK_CHECK_INTERVAL_MS: u64 = 1000;

/// How long a stop waits for the store to close, seconds; what is not flushed then is recovered from the log.
pub const CLOSE_TIMEOUT_SECONDS: u64 = 30;

/// Partitions that all fetch sessions remember together; about 200 bytes each.
pub const FETCH_SESSION_PARTITIONS_MAX: usize = 500_000;

/// Reads from the store that one fetch has under way at a time.
pub const FETCH_SCANS_MAX: usize = 8;

/// Bytes that all fetches together hold of what they read from the store, until their answers are sent.
pub const FETCH_SCANNED_BYTES_MAX: usize = 256 << 20;

/// Bytes that all fetches together hold of themselves while they wait for records; one more is answered at once.
pub const FETCH_WAITING_BYTES_MAX: usize = 256 << 20;

/// What a waiting fetch holds for each of its partitions; bytes, measured as the size of its parts.
pub const WAITING_PARTITION_BYTES: usize = 384;

/// Cleanings that were asked for and are remembered, done or not.
pub const CLEANER_JOBS_KEPT: usize = 16;
