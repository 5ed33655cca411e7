//! The coordinators' bounds, each with its unit and what happens at it.

/// Requests that wait for a shard's task. At the bound, callers wait for room (the connection stops being read).
pub const MAILBOX_REQUESTS_MAX: usize = 1_024;

/// Requests that one turn of the task takes from the mailbox, and so merges into one store commit.
pub const TURN_REQUESTS_MAX: usize = 128;

/// Members of one group that were given an id and have not come back with it. At the bound, JoinGroup answers
/// GROUP_MAX_SIZE_REACHED; each leaves after its session timeout.
pub const PENDING_MEMBERS_MAX: usize = 10_000;

/// The longest group id, in bytes: what the classic wire string can carry. A longer one is INVALID_GROUP_ID.
pub const GROUP_ID_BYTES_MAX: usize = i16::MAX as usize;

/// The longest transactional id, in bytes: what the classic wire string can carry. A longer one is INVALID_REQUEST.
pub const TRANSACTIONAL_ID_BYTES_MAX: usize = i16::MAX as usize;

/// Groups that one transaction commits offsets for; one more is INVALID_REQUEST. Each change writes the list anew.
pub const GROUPS_PER_TXN_MAX: usize = 1_000;

/// Transactions past their timeout that are aborted before other requests get their turn.
pub const TURN_TIMED_OUT_MAX: usize = 256;

/// How long a new member's first JoinGroup may wait for a rebalance, in ms; Kafka's fixed five minutes. It cannot
/// heartbeat yet, and a client that gave up would otherwise stay for ever.
pub const NEW_MEMBER_JOIN_TIMEOUT_MS: i64 = 5 * 60 * 1_000;

const _: () = assert!(GROUP_ID_BYTES_MAX <= chronik_engine::keys::group::GROUP_ID_BYTES_MAX);
