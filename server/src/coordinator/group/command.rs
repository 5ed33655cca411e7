//! What goes into the pure core and what comes out: requests, replies, records, timers.
//!
//! Requests carry everything a decision may depend on, so that the core needs neither clock nor randomness.

use std::sync::Arc;

use bytes::Bytes;
use chronik_engine::keys::group::{GroupMetadataValue, OffsetValue};
use uuid::Uuid;

use super::GroupError;

/// One moment, on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// A clock that never jumps: timers count on it.
    pub mono_ms: i64,
    /// Milliseconds since the epoch: what is stored.
    pub wall_ms: i64,
}

/// Stands for a caller whose JoinGroup or SyncGroup may be answered later. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// One protocol (assignor) a member can use, in its order of preference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocol {
    /// The assignor's name.
    pub name: Arc<str>,
    /// The member's metadata for it; its subscription, for consumers.
    pub metadata: Bytes,
}

/// JoinGroup.
#[derive(Clone, Debug)]
pub struct JoinRequest {
    /// The group.
    pub group_id: Arc<str>,
    /// Empty for a member that has none yet.
    pub member_id: Arc<str>,
    /// `group.instance.id` of a static member.
    pub instance_id: Option<Arc<str>>,
    /// `client.id`, the first part of a new member id.
    pub client_id: Arc<str>,
    /// The client's address.
    pub client_host: Arc<str>,
    /// ms of silence until the member is removed.
    pub session_timeout_ms: i32,
    /// ms that a rebalance waits for this member to rejoin.
    pub rebalance_timeout_ms: i32,
    /// `consumer`, `connect`, ….
    pub protocol_type: Arc<str>,
    /// In order of preference.
    pub protocols: Vec<Protocol>,
    /// Whether a dynamic member must first be given an id (JoinGroup 4, KIP-394).
    pub require_known_member: bool,
    /// Whether the client knows `skip_assignment` (JoinGroup 9, KIP-814).
    pub can_skip_assignment: bool,
    /// Makes a new member id unique, should one be needed.
    pub fresh: Uuid,
}

/// What a member gets once its generation is complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// Its id.
    pub member_id: Arc<str>,
    /// The generation.
    pub generation: i32,
    /// The group's protocol type.
    pub protocol_type: Option<Arc<str>>,
    /// The chosen protocol.
    pub protocol: Option<Arc<str>>,
    /// Who assigns.
    pub leader: Arc<str>,
    /// The leader rejoined unchanged and must not assign (KIP-814).
    pub skip_assignment: bool,
    /// Every member and its metadata, for the leader alone.
    pub members: Vec<JoinedMember>,
}

/// One member, as the leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedMember {
    /// Its id.
    pub member_id: Arc<str>,
    /// Its `group.instance.id`.
    pub instance_id: Option<Arc<str>>,
    /// Its metadata for the chosen protocol.
    pub metadata: Bytes,
}

/// Why a join was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinRefused {
    /// The reason.
    pub error: GroupError,
    /// The id the answer carries: new with [`GroupError::MemberIdRequired`].
    pub member_id: Arc<str>,
}

/// The answer to JoinGroup.
pub type JoinReply = Result<Joined, JoinRefused>;

/// SyncGroup.
#[derive(Clone, Debug)]
pub struct SyncRequest {
    /// The group.
    pub group_id: Arc<str>,
    /// Who asks.
    pub member_id: Arc<str>,
    /// Its `group.instance.id`.
    pub instance_id: Option<Arc<str>>,
    /// The generation it joined.
    pub generation: i32,
    /// What it takes the group's type to be (SyncGroup 5).
    pub protocol_type: Option<Arc<str>>,
    /// What it takes the chosen protocol to be (SyncGroup 5).
    pub protocol: Option<Arc<str>>,
    /// Shares by member id; the leader's count.
    pub assignments: Vec<(Arc<str>, Bytes)>,
}

/// A member's share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synced {
    /// The group's protocol type.
    pub protocol_type: Option<Arc<str>>,
    /// The chosen protocol.
    pub protocol: Option<Arc<str>>,
    /// The share, as the leader sent it.
    pub assignment: Bytes,
}

/// The answer to SyncGroup.
pub type SyncReply = Result<Synced, GroupError>;

/// Heartbeat.
#[derive(Clone, Debug)]
pub struct HeartbeatRequest {
    /// The group.
    pub group_id: Arc<str>,
    /// Who is alive.
    pub member_id: Arc<str>,
    /// Its `group.instance.id`.
    pub instance_id: Option<Arc<str>>,
    /// The generation it is in.
    pub generation: i32,
}

/// LeaveGroup.
#[derive(Clone, Debug)]
pub struct LeaveRequest {
    /// The group.
    pub group_id: Arc<str>,
    /// Who leaves.
    pub members: Vec<LeavingMember>,
}

/// One member that leaves, by its id or, for an administrator, by instance id alone.
#[derive(Clone, Debug)]
pub struct LeavingMember {
    /// Its id; empty to name a static member by its instance id.
    pub member_id: Arc<str>,
    /// Its `group.instance.id`.
    pub instance_id: Option<Arc<str>>,
}

/// OffsetCommit, for topics that exist.
#[derive(Clone, Debug)]
pub struct CommitRequest {
    /// The group; may be empty for a simple consumer.
    pub group_id: Arc<str>,
    /// Empty for a simple consumer.
    pub member_id: Arc<str>,
    /// Its `group.instance.id`.
    pub instance_id: Option<Arc<str>>,
    /// −1 for a simple consumer.
    pub generation: i32,
    /// A retention of its own in ms (OffsetCommit 2–4).
    pub retention_ms: Option<i64>,
    /// Whether an unknown group may be called unknown (OffsetCommit 9), or must be an illegal generation.
    pub knows_group_not_found: bool,
    /// What to commit; the reply has one outcome for each, in this order.
    pub offsets: Vec<OffsetToCommit>,
}

/// One offset to commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetToCommit {
    /// The topic.
    pub topic: Uuid,
    /// The partition.
    pub partition: u32,
    /// The next offset to read.
    pub offset: i64,
    /// −1 when unknown.
    pub leader_epoch: i32,
    /// The client's own text.
    pub metadata: String,
}

/// What OffsetFetch asks of one group.
#[derive(Clone, Debug)]
pub struct FetchRequest {
    /// The group.
    pub group_id: Arc<str>,
    /// Which partitions; none for all that have an offset.
    pub partitions: Option<Vec<(Uuid, u32)>>,
}

/// What OffsetFetch finds for one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedOffset {
    /// The topic.
    pub topic: Uuid,
    /// The partition.
    pub partition: u32,
    /// What was committed, if anything.
    pub committed: Option<OffsetValue>,
}

/// What DescribeGroups says of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDescription {
    /// The state's name, as Kafka spells it.
    pub state: &'static str,
    /// The protocol type, or nothing.
    pub protocol_type: Arc<str>,
    /// The chosen protocol, in state Stable; else nothing.
    pub protocol: Arc<str>,
    /// The members.
    pub members: Vec<MemberDescription>,
}

/// What DescribeGroups says of one member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberDescription {
    /// Its id.
    pub member_id: Arc<str>,
    /// Its `group.instance.id`.
    pub instance_id: Option<Arc<str>>,
    /// Its `client.id`.
    pub client_id: Arc<str>,
    /// Where it connected from.
    pub client_host: Arc<str>,
    /// Its metadata for the chosen protocol, in state Stable; else nothing.
    pub metadata: Bytes,
    /// Its share.
    pub assignment: Bytes,
}

/// What ListGroups says of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupListing {
    /// The group.
    pub group_id: Arc<str>,
    /// The protocol type, or nothing.
    pub protocol_type: Arc<str>,
    /// The state's name, as Kafka spells it.
    pub state: &'static str,
    /// `classic`.
    pub kind: &'static str,
}

/// OffsetDelete, for topics that exist.
#[derive(Clone, Debug)]
pub struct OffsetDeleteRequest {
    /// The group.
    pub group_id: Arc<str>,
    /// Topic by name and id, and partitions of it.
    pub topics: Vec<(Arc<str>, Uuid, Vec<u32>)>,
}

/// One change of persisted state. Replayed in order, they rebuild it.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// A group's last complete generation.
    Group {
        /// Whose.
        group_id: Arc<str>,
        /// What.
        value: GroupMetadataValue,
    },
    /// The group is gone; its offsets went before it.
    GroupRemoved {
        /// Whose.
        group_id: Arc<str>,
    },
    /// An offset was committed.
    Offset {
        /// By whom.
        group_id: Arc<str>,
        /// The topic.
        topic: Uuid,
        /// The partition.
        partition: u32,
        /// What.
        value: OffsetValue,
    },
    /// A committed offset is gone.
    OffsetRemoved {
        /// Whose.
        group_id: Arc<str>,
        /// The topic.
        topic: Uuid,
        /// The partition.
        partition: u32,
    },
}

impl Record {
    /// The group it belongs to.
    pub fn group_id(&self) -> &Arc<str> {
        match self {
            Record::Group { group_id, .. }
            | Record::GroupRemoved { group_id }
            | Record::Offset { group_id, .. }
            | Record::OffsetRemoved { group_id, .. } => group_id,
        }
    }
}

/// What a timer is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TimerKey {
    /// A member was silent too long, or never came back with its id.
    Session {
        /// Its group.
        group_id: Arc<str>,
        /// The member.
        member_id: Arc<str>,
    },
    /// Members had long enough to join.
    Join {
        /// Their group.
        group_id: Arc<str>,
    },
    /// Members had long enough to ask for their share.
    Sync {
        /// Their group.
        group_id: Arc<str>,
    },
}

/// A timer to set (with its deadline on the monotonic clock) or to forget.
pub type TimerChange = (TimerKey, Option<i64>);

/// What the shard has to do after a decision, in the order of the lists. Replies may be given once `records` are
/// durable.
#[derive(Debug, Default)]
pub struct Effects {
    /// To persist.
    pub records: Vec<Record>,
    /// JoinGroups that are answered now.
    pub joins: Vec<(Token, Arc<str>, JoinReply)>,
    /// SyncGroups that are answered now.
    pub syncs: Vec<(Token, Arc<str>, SyncReply)>,
    /// Timers to set or forget.
    pub timers: Vec<TimerChange>,
}
