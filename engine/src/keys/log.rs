//! A log's own state: its tail, its slow-moving facts, its segments and its time index.

use std::ops::Range;

use bytes::Bytes;

use super::{KeyBuilder, KeyParser, PartitionId, ordered, parse_numbered, partition_range, tag_range};
use crate::store::StoreError;

const TAIL: u8 = 0x01;
const LOG: u8 = 0x02;
const SEGMENT: u8 = 0x03;
const TIME: u8 = 0x04;

/// Written with every append: where the log ends and what its active segment holds, so that a restart scans nothing.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TailValue {
    /// First offset not yet assigned.
    #[prost(int64, tag = "1")]
    pub next_offset: i64,
    /// The active segment.
    #[prost(message, optional, tag = "2")]
    pub active: Option<SegmentValue>,
    /// Base offset of the active segment.
    #[prost(int64, tag = "3")]
    pub active_base: i64,
    /// Every batch of the active segment that ends before this offset is covered by its time index.
    #[prost(int64, tag = "4")]
    pub time_indexed_to: i64,
    /// Running maximum timestamp of the active segment's time index.
    #[prost(sint64, tag = "5")]
    pub time_indexed_max: i64,
    /// Offset of the log's newest abort marker plus one; 0 when no transaction was ever aborted. Lets readers of what
    /// is behind it do without a look into the index.
    #[prost(int64, tag = "6")]
    pub aborted_to: i64,
}

/// Changes seldom: at creation, retention, DeleteRecords, and a new leader epoch.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LogValue {
    /// First offset there is.
    #[prost(int64, tag = "1")]
    pub log_start_offset: i64,
    /// Leader epochs and where each began, oldest first.
    #[prost(message, repeated, tag = "2")]
    pub epochs: Vec<EpochValue>,
    /// First offset whose batch is in this store; what is before it is in object storage. 0 where nothing was moved there.
    #[prost(int64, tag = "3")]
    pub local_start_offset: i64,
}

/// One leader epoch.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct EpochValue {
    /// The epoch.
    #[prost(int32, tag = "1")]
    pub epoch: i32,
    /// First offset written in it.
    #[prost(int64, tag = "2")]
    pub start_offset: i64,
}

/// A logical segment: what retention, time lookup, log sizes, export and indexing count in.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct SegmentValue {
    /// First offset after the segment.
    #[prost(int64, tag = "1")]
    pub next_offset: i64,
    /// Bytes of its batches.
    #[prost(uint64, tag = "2")]
    pub bytes: u64,
    /// Largest record timestamp, ms since the epoch; -1 when no record has one.
    #[prost(sint64, tag = "3")]
    pub max_timestamp: i64,
    /// Timestamp of its first batch, ms; `segment.ms` counts from it. -1 when the batch has none.
    #[prost(sint64, tag = "4")]
    pub first_timestamp: i64,
    /// When its last batch was appended, ms by our clock.
    #[prost(int64, tag = "5")]
    pub appended_ms: i64,
    /// When its first batch was appended, ms by our clock.
    #[prost(int64, tag = "6")]
    pub created_ms: i64,
}

/// Key of a [`TailValue`].
pub fn tail_key(partition: PartitionId) -> Bytes {
    KeyBuilder::new(9).u8(TAIL).u64(partition.0).build()
}

/// Key of a [`LogValue`].
pub fn log_key(partition: PartitionId) -> Bytes {
    KeyBuilder::new(9).u8(LOG).u64(partition.0).build()
}

/// Key of a sealed [`SegmentValue`].
pub fn segment_key(partition: PartitionId, base_offset: i64) -> Bytes {
    KeyBuilder::new(17).u8(SEGMENT).u64(partition.0).u64(base_offset as u64).build()
}

/// Key of a time index entry: among the batches up to here, `timestamp` is the largest. Its value is the first offset
/// that may belong to a batch which raised the maximum that high.
pub fn time_key(partition: PartitionId, segment_base: i64, timestamp: i64) -> Bytes {
    KeyBuilder::new(25).u8(TIME).u64(partition.0).u64(segment_base as u64).u64(ordered(timestamp)).build()
}

/// Value of a time index entry.
pub fn time_value(first_offset: i64) -> Bytes {
    Bytes::copy_from_slice(&first_offset.to_be_bytes())
}

/// Reads a time index value.
///
/// # Errors
/// [`StoreError::Corrupt`] when it is not eight bytes.
pub fn parse_time_value(value: &[u8]) -> Result<i64, StoreError> {
    let mut parser = KeyParser::new(value, "time index");
    let offset = parser.u64()? as i64;
    parser.end()?;
    Ok(offset)
}

/// Entries of one segment's time index whose maximum is at least `timestamp`.
pub fn time_range(partition: PartitionId, segment_base: i64, timestamp: i64) -> Range<Bytes> {
    time_key(partition, segment_base, timestamp)
        ..KeyBuilder::new(17).u8(TIME).u64(partition.0).u64(segment_base as u64 + 1).build()
}

/// Time index of every segment with a base below `segment_base`.
pub fn time_before(partition: PartitionId, segment_base: i64) -> Range<Bytes> {
    KeyBuilder::new(9).u8(TIME).u64(partition.0).build()
        ..KeyBuilder::new(17).u8(TIME).u64(partition.0).u64(segment_base as u64).build()
}

/// The keys of every log's tail; likewise the next two.
pub fn all_tails() -> Range<Bytes> {
    tag_range(TAIL)
}
/// Every log's [`LogValue`].
pub fn all_logs() -> Range<Bytes> {
    tag_range(LOG)
}
/// Every log's sealed segments.
pub fn all_segments() -> Range<Bytes> {
    tag_range(SEGMENT)
}

/// Every index key of one partition, range by range; for deletion.
pub fn all_of(partition: PartitionId) -> [Range<Bytes>; 4] {
    [TAIL, LOG, SEGMENT, TIME].map(|tag| partition_range(tag, partition))
}

/// The partition of a tail or log key.
///
/// # Errors
/// [`StoreError::Corrupt`] when the layout is another.
pub fn parse_partition(key: &[u8]) -> Result<PartitionId, StoreError> {
    let mut parser = KeyParser::new(key, "log");
    parser.take(1)?;
    let partition = PartitionId(parser.u64()?);
    parser.end()?;
    Ok(partition)
}

/// The parts of a segment key.
///
/// # Errors
/// [`StoreError::Corrupt`] when the layout is another.
pub fn parse_segment(key: &[u8]) -> Result<(PartitionId, i64), StoreError> {
    parse_numbered(key, SEGMENT, "segment")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn golden_keys() {
        let p = PartitionId(7);
        assert_eq!(&tail_key(p)[..], [1, 0, 0, 0, 0, 0, 0, 0, 7]);
        assert_eq!(&log_key(p)[..], [2, 0, 0, 0, 0, 0, 0, 0, 7]);
        assert_eq!(&segment_key(p, 5)[..], [3, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 5]);
        assert_eq!(
            &time_key(p, 5, -1)[..],
            [4, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 5, 127, 255, 255, 255, 255, 255, 255, 255]
        );
    }

    proptest! {
        #[test]
        fn time_keys_sort_by_timestamp(a in any::<i64>(), b in any::<i64>()) {
            let p = PartitionId(1);
            prop_assert_eq!(time_key(p, 0, a).cmp(&time_key(p, 0, b)), a.cmp(&b));
        }

        #[test]
        fn segment_keys_round_trip(p in any::<u64>(), base in 0..i64::MAX) {
            prop_assert_eq!(parse_segment(&segment_key(PartitionId(p), base)).unwrap(), (PartitionId(p), base));
        }
    }
}
