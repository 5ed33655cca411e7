//! Topics: `topic id → TopicValue`.

use std::ops::Range;

use bytes::Bytes;
use uuid::Uuid;

use super::{KeyBuilder, KeyParser, tag_range};
use crate::store::StoreError;

const TOPIC: u8 = 0x10;

/// One topic with its partitions and its own configs.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TopicValue {
    /// The name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Partitions, by index.
    #[prost(message, repeated, tag = "2")]
    pub partitions: Vec<PartitionValue>,
    /// Configs set on the topic itself, by Kafka's names.
    #[prost(btree_map = "string, string", tag = "3")]
    pub configs: std::collections::BTreeMap<String, String>,
    /// When it was created, ms since the epoch.
    #[prost(int64, tag = "4")]
    pub created_ms: i64,
}

/// Where a partition is.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct PartitionValue {
    /// Its id, which is never used again.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// The shard that holds it.
    #[prost(uint32, tag = "2")]
    pub shard: u32,
}

/// Key of one topic.
pub fn key(id: Uuid) -> Bytes {
    KeyBuilder::new(17).u8(TOPIC).bytes(id.as_bytes()).build()
}

/// Every topic.
pub fn all() -> Range<Bytes> {
    tag_range(TOPIC)
}

/// The id of a key.
///
/// # Errors
/// [`StoreError::Corrupt`] when the layout is another.
pub fn parse(key: &[u8]) -> Result<Uuid, StoreError> {
    let mut parser = KeyParser::new(key, "topic");
    parser.tag(TOPIC)?;
    let mut id = [0; 16];
    id.copy_from_slice(parser.take(16)?);
    parser.end()?;
    Ok(Uuid::from_bytes(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_key() {
        let id = Uuid::from_u128(1);
        let bytes = key(id);
        assert_eq!(&bytes[..], [16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(parse(&bytes).unwrap(), id);
    }
}
