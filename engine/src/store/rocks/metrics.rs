//! Names of the store's metrics. Recorded once a commit, never per record.

/// Histogram, seconds: one write of a group to the log, its fsync included.
pub const COMMIT_SECONDS: &str = "chronik_store_commit_seconds";
/// Histogram: batches that one commit gathered.
pub const COMMIT_BATCHES: &str = "chronik_store_commit_batches";
/// Histogram: payload bytes that one commit gathered.
pub const COMMIT_BYTES: &str = "chronik_store_commit_bytes";
/// Gauge, bytes: batches that wait for the disk.
pub const QUEUE_BYTES: &str = "chronik_store_queue_bytes";
