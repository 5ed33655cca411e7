//! What of a log is in object storage: `(partition, base offset) → RemoteSegmentValue`, the block index of each, and the
//! objects that nothing needs any more.

use std::ops::Range;

use bytes::Bytes;

use super::{KeyBuilder, KeyParser, PartitionId, parse_numbered, partition_range, tag_range};
use crate::store::StoreError;

const SEGMENT: u8 = 0x07;
const BLOCKS: u8 = 0x08;
const GARBAGE: u8 = 0x09;

/// In the meta keyspace.
const STATE: u8 = 0x40;

/// A range of the log that an object holds.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RemoteSegmentValue {
    /// First offset after it.
    #[prost(int64, tag = "1")]
    pub next_offset: i64,
    /// Bytes of its batches.
    #[prost(uint64, tag = "2")]
    pub bytes: u64,
    /// Largest record timestamp, ms; -1 when no record has one.
    #[prost(sint64, tag = "3")]
    pub max_timestamp: i64,
    /// Timestamp of its first batch, ms; -1 when the batch has none.
    #[prost(sint64, tag = "4")]
    pub first_timestamp: i64,
    /// When its last batch was appended, ms by our clock.
    #[prost(int64, tag = "5")]
    pub appended_ms: i64,
    /// When its first batch was appended, ms by our clock.
    #[prost(int64, tag = "6")]
    pub created_ms: i64,
    /// The object's name in the bucket.
    #[prost(string, tag = "7")]
    pub object: String,
    /// Bytes of the object.
    #[prost(uint64, tag = "8")]
    pub size: u64,
    /// Bytes at its end that describe it.
    #[prost(uint64, tag = "9")]
    pub tail_bytes: u64,
}

/// What a data directory knows of its place in the bucket's manifest.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TierStateValue {
    /// The epoch that was taken last; 0 before the first.
    #[prost(uint64, tag = "1")]
    pub epoch: u64,
    /// The random id it was taken with.
    #[prost(bytes = "vec", tag = "2")]
    pub claim: Vec<u8>,
    /// The epoch that is being taken, if one is.
    #[prost(uint64, tag = "3")]
    pub claiming_epoch: u64,
    /// The random id it is taken with.
    #[prost(bytes = "vec", tag = "4")]
    pub claiming: Vec<u8>,
    /// Why this directory must not write to the bucket, ever; empty if it may.
    #[prost(string, tag = "6")]
    pub refusal: String,
    /// Numbers of the epoch's deltas that this directory may have written are below; 0 is not known.
    #[prost(uint64, tag = "8")]
    pub reserved_delta: u64,
    /// When the directory was restored from the bucket, ms; 0 if it was not.
    #[prost(int64, tag = "7")]
    pub restored_ms: i64,
}

/// Key of a [`RemoteSegmentValue`].
pub fn segment_key(partition: PartitionId, base_offset: i64) -> Bytes {
    KeyBuilder::new(17).u8(SEGMENT).u64(partition.0).u64(base_offset as u64).build()
}

/// Key of the block index of a remote segment, as its object has it.
pub fn blocks_key(partition: PartitionId, base_offset: i64) -> Bytes {
    KeyBuilder::new(17).u8(BLOCKS).u64(partition.0).u64(base_offset as u64).build()
}

/// A block index, and behind it the name of the object that it is of with its length (2 bytes, big-endian).
pub fn blocks_value(blocks: &[u8], object: &str) -> Bytes {
    let length = u16::try_from(object.len()).expect("the name of an object is far below 64 KiB");
    KeyBuilder::new(blocks.len() + object.len() + 2)
        .bytes(blocks)
        .bytes(object.as_bytes())
        .bytes(&length.to_be_bytes())
        .build()
}

/// The block index in a value, if it is that of this object.
pub fn parse_blocks(value: &Bytes, object: &str) -> Option<Bytes> {
    let (rest, length) = value.split_last_chunk::<2>()?;
    let blocks = rest.strip_suffix(object.as_bytes())?;
    (usize::from(u16::from_be_bytes(*length)) == object.len()).then(|| value.slice(..blocks.len()))
}

/// Key of an object that nothing needs any more. Its value is empty.
pub fn garbage_key(object: &str) -> Bytes {
    KeyBuilder::new(1 + object.len()).u8(GARBAGE).bytes(object.as_bytes()).build()
}

/// Key of the [`TierStateValue`].
pub fn state_key() -> Bytes {
    KeyBuilder::new(1).u8(STATE).build()
}

/// Every remote segment of every log.
pub fn all_segments() -> Range<Bytes> {
    tag_range(SEGMENT)
}

/// Every object that nothing needs any more.
pub fn all_garbage() -> Range<Bytes> {
    tag_range(GARBAGE)
}

/// What the meta keyspace holds for tiering.
pub fn all_state() -> Range<Bytes> {
    tag_range(STATE)
}

/// Segments and indexes of one log, range by range; for deletion.
pub fn all_of(partition: PartitionId) -> [Range<Bytes>; 2] {
    [SEGMENT, BLOCKS].map(|tag| partition_range(tag, partition))
}

/// The parts of a segment's key.
///
/// # Errors
/// [`StoreError::Corrupt`] when the layout is another.
pub fn parse_segment(key: &[u8]) -> Result<(PartitionId, i64), StoreError> {
    parse_numbered(key, SEGMENT, "remote segment")
}

/// The object of a garbage key.
///
/// # Errors
/// [`StoreError::Corrupt`] when the layout is another.
pub fn parse_garbage(key: &[u8]) -> Result<String, StoreError> {
    let mut parser = KeyParser::new(key, "garbage");
    parser.tag(GARBAGE)?;
    String::from_utf8(parser.rest().to_vec())
        .map_err(|_| StoreError::Corrupt("the name of an object is not UTF-8".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_keys() {
        let p = PartitionId(7);
        assert_eq!(&segment_key(p, 5)[..], [7, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 5]);
        assert_eq!(&blocks_key(p, 5)[..], [8, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 5]);
        assert_eq!(&garbage_key("a/b")[..], b"\x09a/b");
        assert_eq!(&state_key()[..], [0x40]);
        let blocks = blocks_value(b"xyz", "a/b");
        assert_eq!(&blocks[..], b"xyza/b\0\x03");
        assert_eq!(parse_blocks(&blocks, "a/b").as_deref(), Some(&b"xyz"[..]));
        for (value, object) in [(&blocks[..], "a/c"), (&blocks[..], "b"), (b"", "a"), (b"\0\x03", "a/b")] {
            assert_eq!(parse_blocks(&Bytes::copy_from_slice(value), object), None);
        }
        assert_eq!(parse_segment(&segment_key(p, 5)).unwrap(), (p, 5));
        assert_eq!(parse_garbage(&garbage_key("a/b")).unwrap(), "a/b");
        assert!(parse_garbage(&segment_key(p, 5)).is_err());
    }
}
