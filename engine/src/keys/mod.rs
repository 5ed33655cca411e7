//! Every key and value on disk. Keys are big-endian, typed and begin with a one-byte tag where a keyspace holds more
//! than one kind; values are protobuf messages, except record batches, which are stored exactly as sent.
//!
//! | keyspace | tag | key after the tag | value | file |
//! |---|---|---|---|---|
//! | meta | `00` | name | format version, cluster id, clean-stop mark, finalized features | [`system`] |
//! | meta | `10` | topic id (16) | [`topic::TopicValue`] | [`topic`] |
//! | meta | `11` | resource type (1), name | [`config::ConfigValue`] | [`config`] |
//! | meta | `20` `21` | group; group, topic id, partition | group metadata; committed offset | [`group`] |
//! | meta | `30` | transactional id | [`txn::TxnValue`] | [`txn`] |
//! | meta | `31`-`3f` | | reserved for transactions | |
//! | meta | `40` | none | [`tier::TierStateValue`] | [`tier`] |
//! | meta | `41`-`5f` | | reserved for tiering and search | |
//! | batches | none | partition (8), **last** offset (8) | a record batch | [`batch`] |
//! | index | `01` | partition (8) | [`log::TailValue`] | [`log`] |
//! | index | `02` | partition (8) | [`log::LogValue`] | [`log`] |
//! | index | `03` | partition (8), base offset (8) | [`log::SegmentValue`] | [`log`] |
//! | index | `04` | partition (8), segment base (8), timestamp (8) | first offset to look at (8) | [`log`] |
//! | index | `05` | partition (8), producer id (8) | [`producer::ProducerValue`] | [`producer`] |
//! | index | `06` | partition (8), offset of the abort marker (8) | [`aborted::AbortedValue`] | [`aborted`] |
//! | index | `07` | partition (8), base offset (8) | [`tier::RemoteSegmentValue`] | [`tier`] |
//! | index | `08` | partition (8), base offset (8) | block index of a remote segment | [`tier`] |
//! | index | `09` | name of an object that nothing needs any more | empty | [`tier`] |
//! | index | `0a` | partition (8) | [`clean::CleanValue`] | [`clean`] |
//!
//! Tags, layouts and field numbers are never reused. A change that an older binary cannot read raises
//! [`system::FORMAT_VERSION`].
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::cast_possible_truncation))]

pub mod aborted;
pub mod batch;
pub mod clean;
pub mod config;
pub mod group;
pub mod log;
pub mod producer;
pub mod system;
#[cfg(test)]
mod tests;
pub mod tier;
pub mod topic;
pub mod txn;

use std::ops::Range;

use bytes::Bytes;

use crate::store::StoreError;

/// Identifies a partition for ever: unique in the cluster, never used again once its topic is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId(pub u64);

/// Builds a key from parts without growing.
pub(crate) struct KeyBuilder(Vec<u8>);

impl KeyBuilder {
    pub(crate) fn new(capacity: usize) -> Self {
        Self(Vec::with_capacity(capacity))
    }
    pub(crate) fn u8(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }
    pub(crate) fn u64(mut self, value: u64) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }
    pub(crate) fn bytes(mut self, value: &[u8]) -> Self {
        self.0.extend_from_slice(value);
        self
    }
    pub(crate) fn build(self) -> Bytes {
        self.0.into()
    }
}

/// Reads the parts of a key; each step fails with [`StoreError::Corrupt`] instead of panicking.
pub(crate) struct KeyParser<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> KeyParser<'a> {
    pub(crate) fn new(key: &'a [u8], what: &'static str) -> Self {
        Self { rest: key, what }
    }
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], StoreError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or_else(|| corrupt_key(self.what))?;
        self.rest = rest;
        Ok(taken)
    }
    pub(crate) fn tag(&mut self, tag: u8) -> Result<(), StoreError> {
        if self.take(1)? == [tag] { Ok(()) } else { Err(corrupt_key(self.what)) }
    }
    pub(crate) fn u64(&mut self) -> Result<u64, StoreError> {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(self.take(8)?);
        Ok(u64::from_be_bytes(bytes))
    }
    /// What is left, to the end.
    pub(crate) fn rest(self) -> &'a [u8] {
        self.rest
    }
    pub(crate) fn end(self) -> Result<(), StoreError> {
        if self.rest.is_empty() { Ok(()) } else { Err(corrupt_key(self.what)) }
    }
}

/// The parts of a key of a tag, a partition and one more number.
///
/// # Errors
/// [`StoreError::Corrupt`] when the layout is another.
pub(crate) fn parse_numbered(
    key: &[u8],
    tag: u8,
    what: &'static str,
) -> Result<(PartitionId, i64), StoreError> {
    let mut parser = KeyParser::new(key, what);
    parser.tag(tag)?;
    let parts = (PartitionId(parser.u64()?), parser.u64()? as i64);
    parser.end()?;
    Ok(parts)
}

fn corrupt_key(what: &str) -> StoreError {
    StoreError::Corrupt(format!("a {what} key has an unexpected layout").into())
}

/// Decodes a protobuf value.
pub(crate) fn decode<M: prost::Message + Default>(value: &[u8], what: &str) -> Result<M, StoreError> {
    M::decode(value).map_err(|error| StoreError::Corrupt(format!("a {what} value: {error}").into()))
}

/// Every key with `tag`.
pub(crate) fn tag_range(tag: u8) -> Range<Bytes> {
    Bytes::copy_from_slice(&[tag])..Bytes::copy_from_slice(&[tag + 1])
}

/// Every key that begins with `tag` and `partition`.
pub(crate) fn partition_range(tag: u8, partition: PartitionId) -> Range<Bytes> {
    KeyBuilder::new(9).u8(tag).u64(partition.0).build()
        ..KeyBuilder::new(9).u8(tag).u64(partition.0 + 1).build()
}

/// An order-preserving map from `i64` to `u64`.
pub(crate) const fn ordered(value: i64) -> u64 {
    (value as u64) ^ (1 << 63)
}
