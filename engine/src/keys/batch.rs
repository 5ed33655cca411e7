//! Record batches: `(partition, last offset) → batch`.
//!
//! ```text
//!  0        8            16
//!  | part.  | last offset |     both big-endian u64
//! ```
//!
//! By the *last* offset, so that a forward seek to any offset lands on the batch that contains it, and so that
//! trimming `[(p, 0), (p, start))` never takes a batch that still has live records.

use std::ops::Range;

use bytes::Bytes;

use super::{KeyBuilder, KeyParser, PartitionId};
use crate::store::StoreError;

/// The key of the batch that ends at `last_offset`.
pub fn key(partition: PartitionId, last_offset: i64) -> Bytes {
    KeyBuilder::new(16).u64(partition.0).u64(last_offset as u64).build()
}

/// Batches with any record in `from..to`, where `to` is the base offset of a batch or the end of the log.
pub fn range(partition: PartitionId, from: i64, to: i64) -> Range<Bytes> {
    key(partition, from)..key(partition, to)
}

/// Every batch of the partition.
pub fn all(partition: PartitionId) -> Range<Bytes> {
    KeyBuilder::new(8).u64(partition.0).build()..KeyBuilder::new(8).u64(partition.0 + 1).build()
}

/// The parts of a key.
///
/// # Errors
/// [`StoreError::Corrupt`] when the layout is another.
pub fn parse(key: &[u8]) -> Result<(PartitionId, i64), StoreError> {
    let mut parser = KeyParser::new(key, "record batch");
    let parts = (PartitionId(parser.u64()?), parser.u64()? as i64);
    parser.end()?;
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn golden_key() {
        assert_eq!(&key(PartitionId(0x0102), 0x0a0b)[..], [0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 10, 11]);
    }

    proptest! {
        #[test]
        fn keys_sort_as_their_parts(a in any::<u64>(), b in 0..i64::MAX, c in any::<u64>(), d in 0..i64::MAX) {
            let (left, right) = (key(PartitionId(a), b), key(PartitionId(c), d));
            prop_assert_eq!(left.cmp(&right), (a, b).cmp(&(c, d)));
            prop_assert_eq!(parse(&left).unwrap(), (PartitionId(a), b));
        }

        #[test]
        fn parsing_anything_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = parse(&bytes);
        }
    }
}
