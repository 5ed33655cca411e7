//! What the admin and offset handlers share: finding a partition's log by name and index, and leader epoch checks.

use std::sync::Arc;

use chronik_engine::log::PartitionLog;

use crate::error_code::ErrorCode;
use crate::internal_topics;
use crate::request::RequestContext;

/// "No leader epoch" on the wire.
pub(super) const NO_EPOCH: i32 = -1;

/// A partition of a name and an index.
pub(super) enum Place {
    /// A log.
    Log(Arc<PartitionLog>),
    /// A partition that is shown and always empty (`internal_topics`).
    Virtual,
}

/// Finds a partition.
pub(super) fn find(ctx: &RequestContext, topic: &str, partition: i32) -> Result<Place, ErrorCode> {
    if let Some(topic) = internal_topics::find(topic) {
        return if topic.has_partition(partition) {
            Ok(Place::Virtual)
        } else {
            Err(ErrorCode::UnknownTopicOrPartition)
        };
    }
    let topics = ctx.broker.engine.topics();
    let log = topics.get(topic).and_then(|topic| topic.log(partition));
    log.cloned().map(Place::Log).ok_or(ErrorCode::UnknownTopicOrPartition)
}

/// Checks the epoch that the client believes current (KIP-320; Kafka's `Partition.checkCurrentLeaderEpoch`).
pub(super) fn check_leader_epoch(current: i32, asked: i32) -> Result<(), ErrorCode> {
    if asked == NO_EPOCH || asked == current {
        Ok(())
    } else if asked < current {
        Err(ErrorCode::FencedLeaderEpoch)
    } else {
        Err(ErrorCode::UnknownLeaderEpoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // semantics 3.5.8
    #[test]
    fn an_older_leader_epoch_is_fenced_and_a_newer_one_unknown() {
        assert_eq!(check_leader_epoch(3, -1), Ok(()));
        assert_eq!(check_leader_epoch(3, 3), Ok(()));
        assert_eq!(check_leader_epoch(3, 2), Err(ErrorCode::FencedLeaderEpoch));
        assert_eq!(check_leader_epoch(3, 4), Err(ErrorCode::UnknownLeaderEpoch));
    }
}
