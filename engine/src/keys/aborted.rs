//! Which transactions of a log were aborted: `(partition, offset of the abort marker) → AbortedValue`. Kafka's
//! `TransactionIndex`.
//!
//! By the *last* offset, so that a forward scan from any offset finds every aborted transaction that ends behind it, and
//! so that the entries before a log's start are one range.

use std::ops::Range;

use bytes::Bytes;

use super::{KeyBuilder, PartitionId, parse_numbered, partition_range};
use crate::store::StoreError;

const ABORTED: u8 = 0x06;

/// One aborted transaction on one partition.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct AbortedValue {
    /// Who wrote it.
    #[prost(int64, tag = "1")]
    pub producer_id: i64,
    /// Its first offset there.
    #[prost(int64, tag = "2")]
    pub first_offset: i64,
    /// The log's first unstable offset once this one had ended: every transaction that ended later begins there or
    /// behind, so a scan for what is before it may stop here.
    #[prost(int64, tag = "3")]
    pub stable_offset: i64,
}

/// Key of the transaction whose abort marker is at `last_offset`.
pub fn key(partition: PartitionId, last_offset: i64) -> Bytes {
    KeyBuilder::new(17).u8(ABORTED).u64(partition.0).u64(last_offset as u64).build()
}

/// Aborted transactions of one log that end at `from` or behind.
pub fn range_from(partition: PartitionId, from: i64) -> Range<Bytes> {
    key(partition, from)..partition_range(ABORTED, partition).end
}

/// Aborted transactions of one log that ended before `offset`.
pub fn before(partition: PartitionId, offset: i64) -> Range<Bytes> {
    key(partition, 0)..key(partition, offset)
}

/// Every aborted transaction of one log.
pub fn all_of(partition: PartitionId) -> Range<Bytes> {
    partition_range(ABORTED, partition)
}

/// The parts of a key.
///
/// # Errors
/// [`StoreError::Corrupt`] when the layout is another.
pub fn parse(key: &[u8]) -> Result<(PartitionId, i64), StoreError> {
    parse_numbered(key, ABORTED, "aborted transaction")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_key_and_value() {
        let bytes = key(PartitionId(1), 2);
        assert_eq!(&bytes[..], [6, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2]);
        assert_eq!(parse(&bytes).unwrap(), (PartitionId(1), 2));
        assert!(parse(&bytes[..16]).is_err());
        let value = AbortedValue { producer_id: 3, first_offset: 4, stable_offset: 5 };
        assert_eq!(prost::Message::encode_to_vec(&value), [8, 3, 16, 4, 24, 5]);
    }

    #[test]
    fn a_scan_from_an_offset_finds_what_ends_there_and_behind() {
        let range = range_from(PartitionId(1), 10);
        assert!(!range.contains(&key(PartitionId(1), 9)));
        assert!(range.contains(&key(PartitionId(1), 10)) && range.contains(&key(PartitionId(1), i64::MAX)));
        assert!(!range.contains(&key(PartitionId(2), 0)));
        assert!(before(PartitionId(1), 10).contains(&key(PartitionId(1), 9)));
        assert!(!before(PartitionId(1), 10).contains(&key(PartitionId(1), 10)));
    }
}
