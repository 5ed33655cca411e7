//! What a log remembers of each idempotent producer: `(partition, producer id) → ProducerValue`, written in the same
//! batch as the records it speaks of.

use std::ops::Range;

use bytes::Bytes;

use super::{KeyBuilder, PartitionId, parse_numbered, partition_range, tag_range};
use crate::store::StoreError;

const PRODUCER: u8 = 0x05;

/// The newest batches of one producer on one partition.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ProducerValue {
    /// Newest epoch seen.
    #[prost(int32, tag = "1")]
    pub epoch: i32,
    /// At most [`crate::limits::PRODUCER_BATCHES_KEPT`] batches, oldest first.
    #[prost(message, repeated, tag = "2")]
    pub batches: Vec<ProducerBatchValue>,
    /// When the producer last wrote, ms by our clock; expiry counts from it.
    #[prost(int64, tag = "3")]
    pub last_ms: i64,
    /// First offset of its open transaction, if one is open.
    #[prost(int64, optional, tag = "4")]
    pub txn_first_offset: Option<i64>,
    /// Epoch of the coordinator that wrote its last marker, plus one; 0 before the first.
    #[prost(int32, tag = "5")]
    pub coordinator_epoch_plus_one: i32,
}

/// One remembered batch.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct ProducerBatchValue {
    /// First sequence.
    #[prost(int32, tag = "1")]
    pub first_sequence: i32,
    /// Last sequence, inclusive; below the first when the numbers wrapped.
    #[prost(int32, tag = "2")]
    pub last_sequence: i32,
    /// Offset of the first record.
    #[prost(int64, tag = "3")]
    pub base_offset: i64,
    /// Offset of the last record.
    #[prost(int64, tag = "4")]
    pub last_offset: i64,
    /// What the answer said as log append time, ms; -1 for create time.
    #[prost(sint64, tag = "5")]
    pub append_ms: i64,
}

/// Key of one producer's value.
pub fn key(partition: PartitionId, producer_id: i64) -> Bytes {
    KeyBuilder::new(17).u8(PRODUCER).u64(partition.0).u64(producer_id as u64).build()
}

/// Every producer of every log.
pub fn all() -> Range<Bytes> {
    tag_range(PRODUCER)
}

/// Every producer of one log.
pub fn all_of(partition: PartitionId) -> Range<Bytes> {
    partition_range(PRODUCER, partition)
}

/// The parts of a key.
///
/// # Errors
/// [`StoreError::Corrupt`] when the layout is another.
pub fn parse(key: &[u8]) -> Result<(PartitionId, i64), StoreError> {
    parse_numbered(key, PRODUCER, "producer")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_key() {
        let bytes = key(PartitionId(1), 2);
        assert_eq!(&bytes[..], [5, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2]);
        assert_eq!(parse(&bytes).unwrap(), (PartitionId(1), 2));
        assert!(parse(&bytes[..16]).is_err());
    }
}
