//! Facts about the data directory as a whole.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::KeyBuilder;

const SYSTEM: u8 = 0x00;

/// The layout this binary writes. A directory with a higher one is refused; one with a lower one is read as it is and
/// from then on has this one.
///
/// - 1: topics, logs, producers, groups.
/// - 2: transactions and cleaned logs. A binary that knows neither would show what was not committed, and take a cleaned
///   log for one that lost batches.
/// - 3: tiered logs. A binary that does not know them would take what was moved for lost.
pub const FORMAT_VERSION: u64 = 3;

/// Whose value is [`FORMAT_VERSION`] as decimal text.
pub fn format_version() -> Bytes {
    named("format")
}

/// Whose value is the cluster id: 22 characters of URL-safe base64, as Kafka prints one.
pub fn cluster_id() -> Bytes {
    named("cluster")
}

/// There after a graceful stop, and only then.
pub fn clean_stop() -> Bytes {
    named("clean")
}

/// Whose value is the next partition id to hand out, decimal text.
pub fn next_partition_id() -> Bytes {
    named("next-partition")
}

/// Whose value is the first producer id not yet reserved, decimal text.
pub fn next_producer_id() -> Bytes {
    named("next-producer")
}

/// Whose value is [`FeaturesValue`].
pub fn features() -> Bytes {
    named("features")
}

/// The finalized features (KIP-584).
#[derive(Clone, PartialEq, prost::Message)]
pub struct FeaturesValue {
    /// Rises with each change.
    #[prost(int64, tag = "1")]
    pub epoch: i64,
    /// Level of each feature by name.
    #[prost(btree_map = "string, int32", tag = "2")]
    pub levels: BTreeMap<String, i32>,
}

fn named(name: &str) -> Bytes {
    KeyBuilder::new(1 + name.len()).u8(SYSTEM).bytes(name.as_bytes()).build()
}

#[cfg(test)]
mod tests {
    #[test]
    fn golden_keys() {
        assert_eq!(&super::format_version()[..], b"\0format");
        assert_eq!(&super::cluster_id()[..], b"\0cluster");
        assert_eq!(&super::clean_stop()[..], b"\0clean");
        assert_eq!(&super::next_partition_id()[..], b"\0next-partition");
        assert_eq!(&super::next_producer_id()[..], b"\0next-producer");
        assert_eq!(&super::features()[..], b"\0features");
    }

    #[test]
    fn golden_features() {
        let value = super::FeaturesValue { epoch: 3, levels: [("a".to_owned(), 2)].into() };
        assert_eq!(prost::Message::encode_to_vec(&value), [8, 3, 18, 5, 10, 1, b'a', 16, 2]);
    }
}
