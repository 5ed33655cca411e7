//! Transactions: `transactional id → TxnValue`, on the meta shard. What Kafka keeps in `__transaction_state`, with the
//! offsets that it keeps pending in `__consumer_offsets`.
//!
//! ```text
//! 30 | transactional id, utf-8
//! ```
//!
//! Topics are named by id, so that a transaction never reaches a topic created anew under an old name. What the states
//! mean, and which may follow which, is the server's coordinator's business.

use std::ops::Range;

use bytes::Bytes;

use super::group::OffsetValue;
use super::{KeyBuilder, KeyParser, decode, tag_range};
use crate::store::StoreError;

const TXN: u8 = 0x30;

/// One transactional id: its producer, and its last or open transaction.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TxnValue {
    /// The producer id.
    #[prost(int64, tag = "1")]
    pub producer_id: i64,
    /// The newest epoch, also if nobody was told it; none before the first.
    #[prost(int32, optional, tag = "2")]
    pub producer_epoch: Option<i32>,
    /// The epoch before, whose owner may ask again for what it was not told.
    #[prost(int32, optional, tag = "3")]
    pub last_epoch: Option<i32>,
    /// The producer id before this one, whose epochs were used up.
    #[prost(int64, optional, tag = "4")]
    pub previous_producer_id: Option<i64>,
    /// The producer id that replaces this one when the transaction is complete.
    #[prost(int64, optional, tag = "5")]
    pub next_producer_id: Option<i64>,
    /// How long a transaction may be open, ms.
    #[prost(int32, tag = "6")]
    pub timeout_ms: i32,
    /// `TxnState` of the coordinator, by number.
    #[prost(uint32, tag = "7")]
    pub state: u32,
    /// When the open transaction began, ms since the epoch; none outside of one.
    #[prost(int64, optional, tag = "8")]
    pub started_ms: Option<i64>,
    /// When this was written, ms since the epoch.
    #[prost(int64, tag = "9")]
    pub updated_ms: i64,
    /// Whether the client's transactions are of version 2 (KIP-890).
    #[prost(bool, tag = "10")]
    pub raises_epochs: bool,
    /// The partitions that the open transaction writes to.
    #[prost(message, repeated, tag = "11")]
    pub topics: Vec<TxnTopicValue>,
    /// The groups that it commits offsets of.
    #[prost(message, repeated, tag = "12")]
    pub groups: Vec<TxnGroupValue>,
}

/// Partitions of one topic.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct TxnTopicValue {
    /// Id of the topic, 16 bytes.
    #[prost(bytes = "bytes", tag = "1")]
    pub topic: Bytes,
    /// By Kafka's index.
    #[prost(uint32, repeated, tag = "2")]
    pub partitions: Vec<u32>,
}

/// Offsets of one group that wait for the transaction's end.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TxnGroupValue {
    /// The group.
    #[prost(string, tag = "1")]
    pub group_id: String,
    /// Its offsets, which may be none yet.
    #[prost(message, repeated, tag = "2")]
    pub offsets: Vec<PendingOffsetValue>,
}

/// One offset that waits.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PendingOffsetValue {
    /// Id of the topic, 16 bytes.
    #[prost(bytes = "bytes", tag = "1")]
    pub topic: Bytes,
    /// By Kafka's index.
    #[prost(uint32, tag = "2")]
    pub partition: u32,
    /// What is to be committed.
    #[prost(message, optional, tag = "3")]
    pub offset: Option<OffsetValue>,
}

/// Key of one transactional id.
pub fn key(transactional_id: &str) -> Bytes {
    KeyBuilder::new(1 + transactional_id.len()).u8(TXN).bytes(transactional_id.as_bytes()).build()
}

/// Every transactional id.
pub fn all() -> Range<Bytes> {
    tag_range(TXN)
}

/// The transactional id of a key.
///
/// # Errors
/// [`StoreError::Corrupt`] when the layout is another.
pub fn parse(key: &[u8]) -> Result<String, StoreError> {
    let mut parser = KeyParser::new(key, "transaction");
    parser.tag(TXN)?;
    let rest = key.get(1..).unwrap_or_default();
    String::from_utf8(rest.to_vec())
        .map_err(|_| StoreError::Corrupt("a transactional id is not utf-8".into()))
}

/// Decodes a transaction.
///
/// # Errors
/// [`StoreError::Corrupt`] when it is no such value.
pub fn decode_txn(value: &[u8]) -> Result<TxnValue, StoreError> {
    decode(value, "transaction")
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    #[test]
    fn golden_key_and_value() {
        assert_eq!(&key("t1")[..], b"\x30t1");
        assert_eq!(parse(&key("grüße")).unwrap(), "grüße");
        assert!(parse(b"\x31t").is_err() && parse(b"\x30\xff").is_err() && parse(b"").is_err());
        let value = TxnValue {
            producer_id: 1,
            producer_epoch: Some(0),
            timeout_ms: 2,
            state: 3,
            updated_ms: 4,
            topics: vec![TxnTopicValue { topic: Bytes::from_static(b"t"), partitions: vec![5, 6] }],
            groups: vec![TxnGroupValue { group_id: "g".into(), offsets: Vec::new() }],
            ..TxnValue::default()
        };
        let golden = [8, 1, 16, 0, 48, 2, 56, 3, 72, 4, 90, 7, 10, 1, b't', 18, 2, 5, 6, 98, 3, 10, 1, b'g'];
        assert_eq!(value.encode_to_vec(), golden);
        assert_eq!(decode_txn(&golden).unwrap(), value);
    }
}
