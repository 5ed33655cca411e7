//! The server's fixed bounds outside the network layer, each with its unit.

/// Bytes one batch may have once decompressed to be validated; above it the batch is refused.
pub const DECOMPRESSED_BATCH_BYTES_MAX: usize = 256 << 20;

/// How often the disk's free space is looked at, ms.
pub const DISK_CHECK_INTERVAL_MS: u64 = 1000;

/// How long a stop waits for the store to close, seconds; what is not flushed then is recovered from the log.
pub const CLOSE_TIMEOUT_SECONDS: u64 = 30;
