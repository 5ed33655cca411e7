//! Names of the engine's figures outside the store; the store's are in `store::rocks`.

/// Partitions taken offline because stored data could not be read; a restart may bring them back.
pub const PARTITIONS_OFFLINE: &str = "chronik_partitions_offline_total";
