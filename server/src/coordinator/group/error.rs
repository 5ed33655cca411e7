//! Why a group operation was refused, and the one table from reasons to Kafka's codes.

/// Why a group operation was refused. Nothing was written, unless the variant says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum GroupError {
    /// The group id is empty where one is needed, or longer than the bound.
    #[error("the group id is empty or too long")]
    InvalidGroupId,
    /// The session timeout is outside `group.min.session.timeout.ms..=group.max.session.timeout.ms`.
    #[error("the session timeout is outside the broker's bounds")]
    InvalidSessionTimeout,
    /// The member has to come back with the id it was just given (KIP-394).
    #[error("join again with the member id given")]
    MemberIdRequired,
    /// The group has no such member.
    #[error("the group has no such member")]
    UnknownMember,
    /// Another member took over this `group.instance.id` (KIP-345).
    #[error("another member has taken over the instance id")]
    FencedInstance,
    /// Protocol types differ, or no protocol is common to all members.
    #[error("the protocol does not fit the group")]
    InconsistentProtocol,
    /// `group.max.size` is reached.
    #[error("the group is full")]
    GroupFull,
    /// The generation is not the group's.
    #[error("the generation is not the group's")]
    IllegalGeneration,
    /// The group rebalances: join it again.
    #[error("the group rebalances; join it again")]
    RebalanceInProgress,
    /// There is no such group.
    #[error("there is no such group")]
    GroupNotFound,
    /// The group has members.
    #[error("the group has members")]
    GroupNotEmpty,
    /// Members are subscribed to the topic.
    #[error("the group is subscribed to the topic")]
    SubscribedToTopic,
    /// The offset's metadata is longer than `offset.metadata.max.bytes`.
    #[error("the offset's metadata is too long")]
    OffsetMetadataTooLarge,
    /// The coordinator stops; find it again. A commit that waited may or may not have been written.
    #[error("the coordinator has stopped")]
    CoordinatorStopped,
    /// The store failed while the answer waited: what was asked for may or may not have been written.
    #[error("the coordinator could not store the change")]
    StoreFailed,
}

impl GroupError {
    /// Every variant, for tables and tests.
    pub const ALL: [GroupError; 15] = [
        Self::InvalidGroupId,
        Self::InvalidSessionTimeout,
        Self::MemberIdRequired,
        Self::UnknownMember,
        Self::FencedInstance,
        Self::InconsistentProtocol,
        Self::GroupFull,
        Self::IllegalGeneration,
        Self::RebalanceInProgress,
        Self::GroupNotFound,
        Self::GroupNotEmpty,
        Self::SubscribedToTopic,
        Self::OffsetMetadataTooLarge,
        Self::CoordinatorStopped,
        Self::StoreFailed,
    ];

    /// The code that leaves on the wire. Both of the last two are COORDINATOR_NOT_AVAILABLE, as Kafka answers
    /// for a group that is `Dead` and for an append that failed: clients look for the coordinator again and retry.
    pub const fn kafka_code(self) -> i16 {
        match self {
            Self::OffsetMetadataTooLarge => 12,
            Self::IllegalGeneration => 22,
            Self::InconsistentProtocol => 23,
            Self::InvalidGroupId => 24,
            Self::UnknownMember => 25,
            Self::InvalidSessionTimeout => 26,
            Self::RebalanceInProgress => 27,
            Self::GroupNotEmpty => 68,
            Self::GroupNotFound => 69,
            Self::MemberIdRequired => 79,
            Self::GroupFull => 81,
            Self::FencedInstance => 82,
            Self::SubscribedToTopic => 86,
            Self::CoordinatorStopped | Self::StoreFailed => 15,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_kafkas_code() {
        let codes = GroupError::ALL.map(GroupError::kafka_code);
        assert_eq!(codes, [24, 26, 79, 25, 82, 23, 81, 22, 27, 69, 68, 86, 12, 15, 15]);
    }
}
