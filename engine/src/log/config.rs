//! The settings of one log, computed by the caller from its topic's configs and the broker's defaults.

use chronik_protocol::batch::{TargetCompression, TimestampType};

use crate::store::Durability;

/// Plain numbers; no names, no parsing. Kafka's topic config behind each field is named.
#[derive(Clone, Debug, PartialEq)]
pub struct LogConfig {
    /// `segment.bytes`: a segment that would pass this is sealed first.
    pub segment_bytes: u64,
    /// `segment.ms`: a segment older than this is sealed at the next append or retention pass.
    pub segment_ms: i64,
    /// `retention.ms`; `None` keeps for ever.
    pub retention_ms: Option<i64>,
    /// `retention.bytes`; `None` keeps all.
    pub retention_bytes: Option<u64>,
    /// `remote.storage.enable`: closed segments are copied to object storage.
    pub remote_storage: bool,
    /// `remote.log.copy.disable`: nothing more is copied; what was copied stays readable.
    pub remote_copy_disable: bool,
    /// `remote.log.delete.on.disable`: without [`Self::remote_storage`], what was copied is deleted.
    pub remote_delete_on_disable: bool,
    /// `local.retention.ms`, resolved; `None` keeps copied data locally whatever its age.
    pub local_retention_ms: Option<i64>,
    /// `local.retention.bytes`, resolved; `None` keeps copied data locally whatever its size.
    pub local_retention_bytes: Option<u64>,
    /// `cleanup.policy` contains `delete`.
    pub cleanup_delete: bool,
    /// `cleanup.policy` contains `compact`: records must have keys.
    pub cleanup_compact: bool,
    /// `min.cleanable.dirty.ratio`: the part of a log that must be new before it is cleaned.
    pub min_cleanable_dirty_ratio: f64,
    /// `min.compaction.lag.ms`: a record stays at least this long, superseded or not.
    pub min_compaction_lag_ms: i64,
    /// `max.compaction.lag.ms`: a record is looked at by the cleaner after this time at the latest.
    pub max_compaction_lag_ms: i64,
    /// `delete.retention.ms`: how long tombstones stay after the first pass that saw them.
    pub delete_retention_ms: i64,
    /// `index.interval.bytes`: bytes between two entries of the time index.
    pub index_interval_bytes: u64,
    /// `chronik.durability`.
    pub durability: Durability,
    /// `max.message.bytes`: largest batch.
    pub max_message_bytes: usize,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`.
    pub timestamp_after_max_ms: i64,
    /// `compression.type` and its level.
    pub compression: TargetCompression,
}

impl Default for LogConfig {
    /// Kafka's defaults, but for the segment size, which is Chronik's 250 MB.
    fn default() -> Self {
        Self {
            segment_bytes: 250 << 20,
            segment_ms: 7 * 24 * 3_600_000,
            retention_ms: Some(7 * 24 * 3_600_000),
            retention_bytes: None,
            remote_storage: false,
            remote_copy_disable: false,
            remote_delete_on_disable: false,
            local_retention_ms: None,
            local_retention_bytes: None,
            cleanup_delete: true,
            cleanup_compact: false,
            min_cleanable_dirty_ratio: 0.5,
            min_compaction_lag_ms: 0,
            max_compaction_lag_ms: i64::MAX,
            delete_retention_ms: 24 * 3_600_000,
            index_interval_bytes: 4096,
            durability: Durability::Sync,
            max_message_bytes: 1_048_588,
            timestamp_type: TimestampType::CreateTime,
            timestamp_before_max_ms: i64::MAX,
            timestamp_after_max_ms: 3_600_000,
            compression: TargetCompression::Producer,
        }
    }
}
