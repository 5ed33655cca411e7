//! What handlers hold: one async method an operation, answered once what it tells is durable.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, OnceLock};

use chronik_engine::Engine;
use chronik_engine::store::StoreError;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::group::{
    AdmittedOffsets, CommitRequest, EndedOffsets, FetchRequest, FetchedOffset, GroupConfig, GroupDescription,
    GroupError, GroupListing, HeartbeatRequest, JoinRefused, JoinReply, JoinRequest, LeaveRequest,
    OffsetDeleteRequest, SyncReply, SyncRequest,
};
use super::shard::{self, Answer, Command, ReplyTo, WaitingOffsets};
use super::{EngineGroupStore, GroupStore, TopicNames};
use crate::config::GroupSettings;
use crate::internal_topics;
use crate::runtime::{self, Clock};

/// The coordinator of every group. One shard serves them today; which group is on which shard will be decided here.
///
/// Dropping a call's future takes nothing back: a request that was sent is carried out, and a member whose client went
/// away while its JoinGroup waited stays until its session ends (Kafka does the same).
#[derive(Clone)]
pub struct GroupCoordinator {
    mailbox: mpsc::Sender<Command>,
    waiting: Arc<OnceLock<WaitingOffsets>>,
}

impl fmt::Debug for GroupCoordinator {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("GroupCoordinator")
    }
}

impl GroupCoordinator {
    /// The groups of an engine's meta shard.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn open(
        engine: &Arc<Engine>,
        settings: &GroupSettings,
        clock: Clock,
    ) -> Result<Self, StoreError> {
        let store = Arc::new(EngineGroupStore::new(engine.meta_store().clone()));
        let names = {
            let engine = engine.clone();
            move |id: Uuid| {
                let internal = internal_topics::find_by_id(&id).map(|topic| Arc::from(topic.name));
                internal.or_else(|| engine.topics().get_by_id(&id).map(|topic| topic.name.clone()))
            }
        };
        Self::start(store, config(settings), clock, Arc::new(names)).await
    }

    /// Loads the groups of `store` and starts their task on the current runtime; it ends with the last clone.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn start(
        store: Arc<dyn GroupStore>,
        config: GroupConfig,
        clock: Clock,
        topics: TopicNames,
    ) -> Result<Self, StoreError> {
        let waiting = Arc::new(OnceLock::new());
        let mailbox = shard::start(store, config, clock, topics, waiting.clone()).await?;
        Ok(Self { mailbox, waiting })
    }

    /// No offset expires, and no group goes, while an open transaction holds an offset for it. The first call counts.
    pub fn keep_while(&self, waiting: WaitingOffsets) {
        let _ = self.waiting.set(waiting);
    }

    /// JoinGroup; waits for the rebalance. `request.fresh` is filled in here.
    ///
    /// # Errors
    /// Why the member is not in the group.
    pub async fn join(&self, mut request: JoinRequest) -> JoinReply {
        let mut random = [0; 16];
        runtime::random_bytes(&mut random);
        request.fresh = uuid::Builder::from_random_bytes(random).into_uuid();
        let member_id = request.member_id.clone();
        let reply = self.ask(|reply_to| Command::Join(request, reply_to)).await;
        reply.unwrap_or_else(|error| Err(JoinRefused { error, member_id }))
    }

    /// SyncGroup; waits for the leader.
    ///
    /// # Errors
    /// Why there is no share.
    pub async fn sync(&self, request: SyncRequest) -> SyncReply {
        self.ask(|reply_to| Command::Sync(request, reply_to)).await?
    }

    /// Heartbeat.
    ///
    /// # Errors
    /// Why the member should not go on as it does.
    pub async fn heartbeat(&self, request: HeartbeatRequest) -> Result<(), GroupError> {
        self.ask(|reply_to| Command::Heartbeat(request, reply_to)).await?
    }

    /// LeaveGroup: the outcome of each member, in order.
    ///
    /// # Errors
    /// Why the request failed as a whole.
    pub async fn leave(&self, request: LeaveRequest) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        self.ask(|reply_to| Command::Leave(request, reply_to)).await?
    }

    /// OffsetCommit: the outcome of each offset, in order.
    ///
    /// # Errors
    /// Why the request failed as a whole; with [`GroupError::StoreFailed`] it may have been carried out.
    pub async fn commit_offsets(
        &self,
        request: CommitRequest,
    ) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        self.ask(|reply_to| Command::Commit(request, reply_to)).await?
    }

    /// OffsetFetch for one group.
    ///
    /// # Errors
    /// Why the request failed as a whole.
    pub async fn fetch_offsets(&self, request: FetchRequest) -> Result<Vec<FetchedOffset>, GroupError> {
        self.ask(|reply_to| Command::Fetch(request, reply_to)).await?
    }

    /// DescribeGroups for one group.
    ///
    /// # Errors
    /// [`GroupError::GroupNotFound`], or that the coordinator stopped.
    pub async fn describe(&self, group_id: &str) -> Result<GroupDescription, GroupError> {
        self.ask(|reply_to| Command::Describe(group_id.into(), reply_to)).await?
    }

    /// ListGroups; empty filters let everything pass.
    ///
    /// # Errors
    /// That the coordinator stopped.
    pub async fn list(
        &self,
        states: Vec<String>,
        kinds: Vec<String>,
    ) -> Result<Vec<GroupListing>, GroupError> {
        self.ask(|reply_to| Command::List(states, kinds, reply_to)).await?
    }

    /// DeleteGroups for one group.
    ///
    /// # Errors
    /// Why it is still there.
    pub async fn delete(&self, group_id: &str) -> Result<(), GroupError> {
        self.ask(|reply_to| Command::Delete(group_id.into(), reply_to)).await?
    }

    /// OffsetDelete: the outcome of each topic, in order.
    ///
    /// # Errors
    /// Why the request failed as a whole.
    pub async fn delete_offsets(
        &self,
        request: OffsetDeleteRequest,
    ) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        self.ask(|reply_to| Command::DeleteOffsets(request, reply_to)).await?
    }

    /// To be called once topics were deleted: their committed offsets go with them.
    ///
    /// # Errors
    /// That the coordinator stopped, or could not store it. The next expiry finds out by itself.
    pub async fn topics_deleted(&self, topics: BTreeSet<Uuid>) -> Result<(), GroupError> {
        self.ask(|reply_to| Command::TopicsDeleted(topics, reply_to)).await
    }

    /// TxnOffsetCommit: whether the group takes the offsets, and as what they are to wait for the transaction's end.
    ///
    /// # Errors
    /// Why the request failed as a whole.
    pub async fn admit_transactional(&self, request: CommitRequest) -> Result<AdmittedOffsets, GroupError> {
        self.ask(|reply_to| Command::AdmitTransactional(request, reply_to)).await?
    }

    /// The offsets of a committed transaction count. Returns once they do and the store was told; what the caller has
    /// the same store commit afterwards is durable after them.
    ///
    /// # Errors
    /// That the coordinator stopped.
    pub async fn transaction_committed(&self, groups: Vec<EndedOffsets>) -> Result<(), GroupError> {
        self.ask_early(|reply_to| Command::TransactionCommitted(groups, reply_to)).await?;
        Ok(())
    }

    /// To be called before the first commit: serials up to this one are taken.
    ///
    /// # Errors
    /// That the coordinator stopped.
    pub async fn reserve_serials(&self, serial: u64) -> Result<(), GroupError> {
        self.ask(|reply_to| Command::ReserveSerials(serial, reply_to)).await
    }

    /// Refuses everything from here on, and answers everyone who waits. Returns once all that was told is durable.
    ///
    /// # Errors
    /// When that cannot be made durable.
    pub async fn stop(&self) -> Result<(), GroupError> {
        self.ask(Command::Stop).await
    }

    /// The answer, which may not be durable yet.
    async fn ask_early<T>(
        &self,
        command: impl FnOnce(ReplyTo<T>) -> Command,
    ) -> Result<Answer<T>, GroupError> {
        let (reply_to, reply) = oneshot::channel();
        self.mailbox.send(command(reply_to)).await.map_err(|_| GroupError::CoordinatorStopped)?;
        reply.await.map_err(|_| GroupError::CoordinatorStopped)
    }

    async fn ask<T>(&self, command: impl FnOnce(ReplyTo<T>) -> Command) -> Result<T, GroupError> {
        let answer = self.ask_early(command).await?;
        if let Some(ticket) = answer.durable {
            ticket.await.map_err(|error| {
                tracing::error!(%error, "a change of a group could not be stored");
                GroupError::StoreFailed
            })?;
        }
        Ok(answer.value)
    }
}

fn config(settings: &GroupSettings) -> GroupConfig {
    GroupConfig {
        min_session_timeout_ms: settings.min_session_timeout_ms,
        max_session_timeout_ms: settings.max_session_timeout_ms,
        initial_rebalance_delay_ms: settings.initial_rebalance_delay_ms,
        max_size: settings.group_max_size,
        offset_metadata_max_bytes: settings.offset_metadata_max_bytes,
        offsets_retention_ms: i64::from(settings.offsets_retention_minutes) * 60_000,
        offsets_retention_check_interval_ms: settings.offsets_retention_check_interval_ms,
    }
}
