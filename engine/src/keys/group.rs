//! Consumer groups: `group → GroupMetadataValue` and `(group, topic id, partition) → OffsetValue`.
//!
//! ```text
//! 20 | group, utf-8                                              one group's membership
//! 21 | length of group (2) | group, utf-8 | topic id (16) | partition (4)    one committed offset
//! ```
//!
//! Offsets are keyed by topic id, so a topic created again under an old name starts without any. The length before
//! the group keeps one group's offsets together and makes the key unambiguous: group ids are arbitrary text.
//! What may become a group, and what its state means, is the server's coordinator's business.

use std::ops::Range;

use bytes::Bytes;
use uuid::Uuid;

use super::{KeyBuilder, KeyParser, decode, tag_range};
use crate::store::StoreError;

const GROUP: u8 = 0x20;
const OFFSET: u8 = 0x21;

/// The longest group id that has a key, in bytes of UTF-8.
pub const GROUP_ID_BYTES_MAX: usize = u16::MAX as usize;

/// [`GroupMetadataValue::kind`] of a group of the classic protocol (JoinGroup, SyncGroup).
pub const KIND_CLASSIC: u32 = 1;

/// What of a group outlives a restart: its last complete generation.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GroupMetadataValue {
    /// Which protocol manages the group: [`KIND_CLASSIC`].
    #[prost(uint32, tag = "1")]
    pub kind: u32,
    /// `consumer`, `connect`, …; none for a group that only stores offsets.
    #[prost(string, optional, tag = "2")]
    pub protocol_type: Option<String>,
    /// The generation of the members below.
    #[prost(int32, tag = "3")]
    pub generation: i32,
    /// The assignor the generation chose; none without members.
    #[prost(string, optional, tag = "4")]
    pub protocol: Option<String>,
    /// The member that computed the assignment.
    #[prost(string, optional, tag = "5")]
    pub leader: Option<String>,
    /// When the group entered its state, ms since the epoch: retention of an empty group counts from here.
    #[prost(int64, optional, tag = "6")]
    pub state_since_ms: Option<i64>,
    /// The members.
    #[prost(message, repeated, tag = "7")]
    pub members: Vec<MemberValue>,
}

/// One member of a group.
#[derive(Clone, PartialEq, prost::Message)]
pub struct MemberValue {
    /// The id the coordinator gave it.
    #[prost(string, tag = "1")]
    pub member_id: String,
    /// Its `group.instance.id`, when it is a static member (KIP-345).
    #[prost(string, optional, tag = "2")]
    pub instance_id: Option<String>,
    /// Its `client.id`.
    #[prost(string, tag = "3")]
    pub client_id: String,
    /// Where it connected from.
    #[prost(string, tag = "4")]
    pub client_host: String,
    /// How long it may take to rejoin, ms.
    #[prost(int32, tag = "5")]
    pub rebalance_timeout_ms: i32,
    /// How long it may be silent, ms.
    #[prost(int32, tag = "6")]
    pub session_timeout_ms: i32,
    /// Its metadata for the chosen protocol, as sent.
    #[prost(bytes = "bytes", tag = "7")]
    pub subscription: Bytes,
    /// Its share, as the leader sent it.
    #[prost(bytes = "bytes", tag = "8")]
    pub assignment: Bytes,
}

/// One committed offset.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct OffsetValue {
    /// The next offset to read.
    #[prost(int64, tag = "1")]
    pub offset: i64,
    /// The leader epoch of the last record read; −1 when the client gave none.
    #[prost(int32, tag = "2")]
    pub leader_epoch: i32,
    /// The client's own text.
    #[prost(string, tag = "3")]
    pub metadata: String,
    /// When it was committed, ms since the epoch.
    #[prost(int64, tag = "4")]
    pub committed_ms: i64,
    /// When it expires, if the client asked for a retention of its own (OffsetCommit 2–4).
    #[prost(int64, optional, tag = "5")]
    pub expires_ms: Option<i64>,
    /// Counts the commits of a shard: of two, the higher one came later. 0 from before there was a count.
    #[prost(uint64, tag = "6")]
    pub serial: u64,
}

/// Key of one group's metadata.
pub fn group_key(group: &str) -> Bytes {
    KeyBuilder::new(1 + group.len()).u8(GROUP).bytes(group.as_bytes()).build()
}

/// Key of one committed offset. `group` is at most [`GROUP_ID_BYTES_MAX`] long.
///
/// # Panics
/// When it is longer: the coordinator refuses such ids before anything is stored.
pub fn offset_key(group: &str, topic: Uuid, partition: u32) -> Bytes {
    let length = u16::try_from(group.len()).expect("group ids were bounded when they came in");
    KeyBuilder::new(1 + 2 + group.len() + 16 + 4)
        .u8(OFFSET)
        .bytes(&length.to_be_bytes())
        .bytes(group.as_bytes())
        .bytes(topic.as_bytes())
        .bytes(&partition.to_be_bytes())
        .build()
}

/// Every group's metadata.
pub fn all_groups() -> Range<Bytes> {
    tag_range(GROUP)
}

/// Every committed offset.
pub fn all_offsets() -> Range<Bytes> {
    tag_range(OFFSET)
}

/// The group of a metadata key.
///
/// # Errors
/// [`StoreError::Corrupt`] when the layout is another.
pub fn parse_group(key: &[u8]) -> Result<String, StoreError> {
    let mut parser = KeyParser::new(key, "group");
    parser.tag(GROUP)?;
    let rest = key.get(1..).unwrap_or_default();
    text(rest)
}

/// Group, topic and partition of an offset key.
///
/// # Errors
/// [`StoreError::Corrupt`] when the layout is another.
pub fn parse_offset(key: &[u8]) -> Result<(String, Uuid, u32), StoreError> {
    let mut parser = KeyParser::new(key, "committed offset");
    parser.tag(OFFSET)?;
    let mut length = [0; 2];
    length.copy_from_slice(parser.take(2)?);
    let group = text(parser.take(usize::from(u16::from_be_bytes(length)))?)?;
    let mut topic = [0; 16];
    topic.copy_from_slice(parser.take(16)?);
    let mut partition = [0; 4];
    partition.copy_from_slice(parser.take(4)?);
    parser.end()?;
    Ok((group, Uuid::from_bytes(topic), u32::from_be_bytes(partition)))
}

/// Decodes a group's metadata.
///
/// # Errors
/// [`StoreError::Corrupt`] when it is no such value.
pub fn decode_group(value: &[u8]) -> Result<GroupMetadataValue, StoreError> {
    decode(value, "group metadata")
}

/// Decodes a committed offset.
///
/// # Errors
/// [`StoreError::Corrupt`] when it is no such value.
pub fn decode_offset(value: &[u8]) -> Result<OffsetValue, StoreError> {
    decode(value, "committed offset")
}

fn text(bytes: &[u8]) -> Result<String, StoreError> {
    String::from_utf8(bytes.to_vec()).map_err(|_| StoreError::Corrupt("a group id is not utf-8".into()))
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    const TOPIC: Uuid = Uuid::from_u128(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10);

    #[test]
    fn golden_keys() {
        assert_eq!(&group_key("g1")[..], b"\x20g1");
        assert_eq!(
            &offset_key("g1", TOPIC, 258)[..],
            b"\x21\x00\x02g1\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x00\x00\x01\x02"
        );
    }

    #[test]
    fn golden_values() {
        let offset = OffsetValue {
            offset: 300,
            leader_epoch: 1,
            metadata: "m".into(),
            committed_ms: 5,
            expires_ms: Some(6),
            serial: 7,
        };
        assert_eq!(offset.encode_to_vec(), [8, 172, 2, 16, 1, 26, 1, b'm', 32, 5, 40, 6, 48, 7]);
        assert_eq!(decode_offset(&offset.encode_to_vec()).unwrap(), offset);
        let member =
            MemberValue { member_id: "a".into(), assignment: Bytes::from_static(b"x"), ..Default::default() };
        let group = GroupMetadataValue {
            kind: KIND_CLASSIC,
            protocol_type: Some("consumer".into()),
            generation: 7,
            members: vec![member],
            ..Default::default()
        };
        let golden = [&[8, 1, 18, 8][..], b"consumer", &[24, 7, 58, 6, 10, 1, b'a', 66, 1, b'x']].concat();
        assert_eq!(group.encode_to_vec(), golden);
        assert_eq!(decode_group(&golden).unwrap(), group);
    }

    #[test]
    fn keys_parse_back_and_other_layouts_are_corrupt() {
        for group in ["", "g", "grüße", "a\0b"] {
            assert_eq!(parse_group(&group_key(group)).unwrap(), group);
            assert_eq!(parse_offset(&offset_key(group, TOPIC, 9)).unwrap(), (group.into(), TOPIC, 9));
        }
        let key = offset_key("g", TOPIC, 9);
        for cut in 0..key.len() {
            assert!(matches!(parse_offset(&key[..cut]), Err(StoreError::Corrupt(_))));
        }
        assert!(matches!(parse_offset(&[&key[..], b"x"].concat()), Err(StoreError::Corrupt(_))));
        assert!(matches!(parse_group(b"\x20\xff"), Err(StoreError::Corrupt(_))));
        assert!(matches!(parse_group(b"\x21g"), Err(StoreError::Corrupt(_))));
    }

    #[test]
    fn offsets_of_a_group_are_together_and_in_partition_order() {
        let keys = [
            offset_key("a", Uuid::nil(), 0),
            offset_key("a", Uuid::nil(), 1),
            offset_key("a", Uuid::nil(), 256),
            offset_key("a", TOPIC, 0),
            offset_key("b", Uuid::nil(), 0),
            offset_key("aa", Uuid::nil(), 0),
        ];
        assert!(keys.is_sorted());
        assert!(keys.iter().all(|key| all_offsets().contains(key) && !all_groups().contains(key)));
    }
}
