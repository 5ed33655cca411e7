//! The operations a client is told it may do, as the bit fields of KIP-430.
//!
//! Without an authorizer everyone may do everything that makes sense on a resource: the sets of Kafka's
//! `AclEntry.supportedOperations`, a bit per `AclOperation` code.

const READ: i32 = 1 << 3;
const WRITE: i32 = 1 << 4;
const CREATE: i32 = 1 << 5;
const DELETE: i32 = 1 << 6;
const ALTER: i32 = 1 << 7;
const DESCRIBE: i32 = 1 << 8;
const CLUSTER_ACTION: i32 = 1 << 9;
const DESCRIBE_CONFIGS: i32 = 1 << 10;
const ALTER_CONFIGS: i32 = 1 << 11;
const IDEMPOTENT_WRITE: i32 = 1 << 12;

/// Nobody asked.
pub const NOT_ASKED: i32 = i32::MIN;

/// On a topic.
pub const TOPIC: i32 = READ | WRITE | CREATE | DELETE | ALTER | DESCRIBE | DESCRIBE_CONFIGS | ALTER_CONFIGS;

/// On the cluster.
pub const CLUSTER: i32 =
    CREATE | ALTER | DESCRIBE | CLUSTER_ACTION | DESCRIBE_CONFIGS | ALTER_CONFIGS | IDEMPOTENT_WRITE;

/// On a group.
pub const GROUP: i32 = READ | DELETE | DESCRIBE | DESCRIBE_CONFIGS | ALTER_CONFIGS;

#[cfg(test)]
mod tests {
    use super::*;

    // Seen from Kafka 4.3 without an authorizer.
    #[test]
    fn the_fields_are_those_of_a_broker_without_an_authorizer() {
        assert_eq!((TOPIC, CLUSTER, GROUP), (3576, 8096, 3400));
    }
}
