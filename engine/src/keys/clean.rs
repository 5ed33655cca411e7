//! How far a log has been cleaned: `partition → CleanValue`, written in the same batch as what the cleaner changes.

use std::ops::Range;

use bytes::Bytes;

use super::{KeyBuilder, PartitionId, partition_range, tag_range};

const CLEAN: u8 = 0x0a;

/// The cleaner's checkpoint of one log.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct CleanValue {
    /// First offset that no complete pass has looked at.
    #[prost(int64, tag = "1")]
    pub first_dirty_offset: i64,
    /// Below this offset batches may be missing; from it on, a missing batch means that the store lost it.
    #[prost(int64, tag = "2")]
    pub gaps_below: i64,
    /// The pass under way, if one was cut short.
    #[prost(message, optional, tag = "3")]
    pub pass: Option<PassValue>,
    /// The earliest delete horizon among the batches below the first dirty offset, ms; -1 without one. At that time a
    /// pass drops tombstones or markers although nothing new is there.
    #[prost(sint64, tag = "4")]
    pub next_horizon_ms: i64,
    /// When the last complete pass ended, ms by our clock; 0 before the first.
    #[prost(int64, tag = "5")]
    pub cleaned_ms: i64,
    /// Of what is in object storage: everything there was compared with the records below this offset.
    #[prost(int64, tag = "6")]
    pub remote_dirty_offset: i64,
}

/// A pass that was cut short.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct PassValue {
    /// First offset that the pass does not clean.
    #[prost(int64, tag = "1")]
    pub end: i64,
    /// Where it can go on: everything before is clean, and no transaction reaches over this offset.
    #[prost(int64, tag = "2")]
    pub position: i64,
    /// The earliest delete horizon before the position, ms; -1 without one.
    #[prost(sint64, tag = "3")]
    pub next_horizon_ms: i64,
}

impl CleanValue {
    /// The earliest delete horizon, ms, if there is one.
    pub fn horizon_ms(&self) -> Option<i64> {
        Some(self.next_horizon_ms).filter(|horizon_ms| *horizon_ms >= 0)
    }

    /// A log that was never cleaned.
    pub const NEVER: Self = Self {
        first_dirty_offset: 0,
        gaps_below: 0,
        pass: None,
        next_horizon_ms: -1,
        cleaned_ms: 0,
        remote_dirty_offset: 0,
    };
}

/// Key of a [`CleanValue`].
pub fn key(partition: PartitionId) -> Bytes {
    KeyBuilder::new(9).u8(CLEAN).u64(partition.0).build()
}

/// Every log's.
pub fn all() -> Range<Bytes> {
    tag_range(CLEAN)
}

/// One log's, as a range.
pub fn all_of(partition: PartitionId) -> Range<Bytes> {
    partition_range(CLEAN, partition)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_key() {
        assert_eq!(&key(PartitionId(7))[..], [10, 0, 0, 0, 0, 0, 0, 0, 7]);
        assert_eq!(super::super::log::parse_partition(&key(PartitionId(7))).unwrap(), PartitionId(7));
    }
}
