//! Owns what an error code of any Kafka broker is called, and what the operator can do about it.

/// Kafka's names (`Errors`) of codes that the requests of this tool can be answered with; and a remedy, where there is one.
const CODES: [(i16, &str, &str); 31] = [
    (-1, "UNKNOWN_SERVER_ERROR", "look into the broker's log"),
    (1, "OFFSET_OUT_OF_RANGE", "the offset was deleted meanwhile: begin again, or later in the topic"),
    (2, "CORRUPT_MESSAGE", "`chronik-server segment verify` tells what is wrong with the file"),
    (3, "UNKNOWN_TOPIC_OR_PARTITION", "check the topic's name, or create it"),
    (5, "LEADER_NOT_AVAILABLE", "try again when the partition has a leader"),
    (6, "NOT_LEADER_OR_FOLLOWER", "try again"),
    (7, "REQUEST_TIMED_OUT", "try again; what was sent may have been written"),
    (10, "MESSAGE_TOO_LARGE", "raise the topic's max.message.bytes, or give a smaller --batch-bytes"),
    (17, "INVALID_TOPIC_EXCEPTION", "choose a topic that clients may write to"),
    (18, "RECORD_LIST_TOO_LARGE", "raise the topic's segment.bytes, or give a smaller --batch-bytes"),
    (19, "NOT_ENOUGH_REPLICAS", "try again when enough replicas are in sync"),
    (20, "NOT_ENOUGH_REPLICAS_AFTER_APPEND", "try again; what was sent may have been written"),
    (29, "TOPIC_AUTHORIZATION_FAILED", "the broker does not let this client use the topic"),
    (31, "CLUSTER_AUTHORIZATION_FAILED", "the broker does not let this client do this"),
    (32, "INVALID_TIMESTAMP", "raise the topic's message.timestamp.before.max.ms or after.max.ms"),
    (35, "UNSUPPORTED_VERSION", "the broker is too old"),
    (36, "TOPIC_ALREADY_EXISTS", "leave --create away"),
    (37, "INVALID_PARTITIONS", "choose another number of partitions"),
    (38, "INVALID_REPLICATION_FACTOR", "create the topic by other means first"),
    (40, "INVALID_CONFIG", "create the topic by other means first"),
    (41, "NOT_CONTROLLER", "try again"),
    (42, "INVALID_REQUEST", "the broker does not understand this client"),
    (44, "POLICY_VIOLATION", "create the topic by other means first"),
    (55, "OPERATION_NOT_ATTEMPTED", "try again"),
    (56, "KAFKA_STORAGE_ERROR", "look into the broker's log"),
    (74, "FENCED_LEADER_EPOCH", "try again"),
    (76, "UNSUPPORTED_COMPRESSION_TYPE", "the broker does not know the codec"),
    (78, "OFFSET_NOT_AVAILABLE", "try again"),
    (87, "INVALID_RECORD", "a compacted topic wants keys: choose another topic, or set its cleanup.policy"),
    (89, "THROTTLING_QUOTA_EXCEEDED", "try again later"),
    (100, "UNKNOWN_TOPIC_ID", "the topic was deleted meanwhile"),
];

/// Whether asking again, and asking who leads before that, can help.
pub fn is_passing(code: i16) -> bool {
    matches!(code, 5 | 6 | 19 | 41 | 74 | 75 | 78)
}

/// The name of a code, and the remedy if there is one.
pub fn told(code: i16) -> String {
    match CODES.iter().find(|(known, _, _)| *known == code) {
        Some((_, name, remedy)) => format!("{name}: {remedy}"),
        None => format!("error code {code}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_names_and_remedies() {
        assert!(CODES.is_sorted_by_key(|(code, _, _)| *code));
        assert!(told(3).starts_with("UNKNOWN_TOPIC_OR_PARTITION: check"));
        assert_eq!(told(999), "error code 999");
        assert!(is_passing(6) && !is_passing(3));
    }
}
