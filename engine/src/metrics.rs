//! Names of the log layer's metrics; the store's are beside its committer.

/// Counter: partitions taken offline because a read found bytes that cannot be right.
pub const PARTITIONS_OFFLINE: &str = "chronik_log_partitions_offline_total";
