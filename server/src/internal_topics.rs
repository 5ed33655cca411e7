//! Topics that the broker shows without keeping them as logs (docs/adr/0005-virtual-internal-topics.md).
//!
//! The state of groups and transactions lives in a keyspace, not in a log, yet tools expect `__consumer_offsets` and
//! `__transaction_state` to be there. They are shown in Metadata, DescribeTopicPartitions and DescribeConfigs, are empty to
//! readers, and refuse every change. Names that a later release will show are reserved here already.

use chronik_engine::topic::TopicOverrides;
use uuid::Uuid;

/// A topic that is shown and not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InternalTopic {
    /// Kafka's name for it.
    pub name: &'static str,
    /// The same in every cluster: there is only ever one incarnation.
    pub id: Uuid,
    /// How many partitions it shows.
    pub partitions: i32,
    /// What DescribeConfigs shows as set on it.
    configs: &'static [(&'static str, &'static str)],
}

/// Partitions of `__consumer_offsets`: Kafka's default of `offsets.topic.num.partitions`.
const CONSUMER_OFFSETS_PARTITIONS: i32 = 50;

/// Partitions of `__transaction_state`: Kafka's default of `transaction.state.log.num.partitions`.
const TRANSACTION_STATE_PARTITIONS: i32 = 50;

static SHOWN: [InternalTopic; 2] = [
    InternalTopic {
        name: "__consumer_offsets",
        id: Uuid::from_u128(0x6368_726f_6e69_4b00_8000_0000_0000_0001),
        partitions: CONSUMER_OFFSETS_PARTITIONS,
        // Kafka's `GroupCoordinatorService.groupMetadataTopicConfigs`.
        configs: &[
            ("cleanup.policy", "compact"),
            ("compression.type", "producer"),
            ("segment.bytes", "104857600"),
        ],
    },
    InternalTopic {
        name: "__transaction_state",
        id: Uuid::from_u128(0x6368_726f_6e69_4b00_8000_0000_0000_0002),
        partitions: TRANSACTION_STATE_PARTITIONS,
        // Kafka's `TransactionStateManager.transactionTopicConfigs`, on one node.
        configs: &[
            ("cleanup.policy", "compact"),
            ("compression.type", "uncompressed"),
            ("min.insync.replicas", "1"),
            ("segment.bytes", "104857600"),
            ("unclean.leader.election.enable", "false"),
        ],
    },
];

/// Topic and partition that Kafka would keep a group's offsets in (`GroupCoordinatorService.partitionFor`: Java's hash of
/// the id, without its sign).
pub fn offsets_partition(group_id: &str) -> (&'static str, i32) {
    let hash =
        group_id.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    // Kafka's `Utils.abs`: the one number without a positive twin becomes 0.
    let positive = if hash == i32::MIN { 0 } else { hash.abs() };
    (SHOWN[0].name, positive % CONSUMER_OFFSETS_PARTITIONS)
}

/// Names that Kafka uses for its own topics and that nothing is shown under yet.
const RESERVED: [&str; 1] = ["__share_group_state"];

/// Every one that is shown.
pub fn all() -> impl Iterator<Item = &'static InternalTopic> {
    SHOWN.iter()
}

/// The one of that name.
pub fn find(name: &str) -> Option<&'static InternalTopic> {
    SHOWN.iter().find(|topic| topic.name == name)
}

/// The one of that id.
pub fn find_by_id(id: &Uuid) -> Option<&'static InternalTopic> {
    SHOWN.iter().find(|topic| topic.id == *id)
}

/// Whether Kafka calls a topic of this name internal (`Topic.isInternal`), shown or not.
pub fn is_internal(name: &str) -> bool {
    find(name).is_some() || RESERVED.contains(&name)
}

impl InternalTopic {
    /// Whether it shows a partition of this index.
    pub fn has_partition(&self, index: i32) -> bool {
        (0..self.partitions).contains(&index)
    }

    /// [`Self::configs`], as a topic has them.
    pub fn overrides(&self) -> TopicOverrides {
        self.configs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// What a client that tries to change it is told.
    pub fn refusal(&self) -> String {
        format!("'{}' is kept by the broker itself and cannot be changed.", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unlike_kafkas_reserved_ones() {
        for topic in all() {
            assert!(topic.id.as_u128() > 1);
            assert_eq!(find_by_id(&topic.id), Some(topic));
        }
    }

    #[test]
    fn a_groups_partition_is_the_one_that_kafka_would_take() {
        assert_eq!(offsets_partition("").1, 0);
        assert_eq!(offsets_partition("g").1, 3);
        // Java: "polygenelubricants".hashCode() == Integer.MIN_VALUE.
        assert_eq!(offsets_partition("polygenelubricants").1, 0);
    }

    #[test]
    fn reserved_names_are_internal_and_not_shown() {
        assert!(is_internal("__share_group_state") && find("__share_group_state").is_none());
        assert!(is_internal("__transaction_state") && find("__transaction_state").is_some());
        assert!(!is_internal("__mine"));
    }
}
