//! Why a group operation was refused. Which code that is on the wire is said in `crate::error_code` alone.

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
