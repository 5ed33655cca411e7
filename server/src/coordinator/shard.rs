//! The task that owns a shard's groups: takes requests in order, decides, persists, and answers.
//!
//! A turn takes what the mailbox holds (at most [`TURN_REQUESTS_MAX`]), then the timers that are due, and persists all
//! their records as one store commit. Replies leave the task at once, but each carries the ticket of the last commit
//! that its group's state depends on, and whoever asked waits for it ([`Answer`]): nobody is told what a crash could
//! take back, be it his own commit or another's that a read saw. An idle shard sleeps until its next timer, or for
//! ever.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use chronik_engine::store::{StoreError, Ticket};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::GroupStore;
use super::group::{
    AdmittedOffsets, CommitRequest, Effects, EndedOffsets, FetchRequest, FetchedOffset, GroupConfig,
    GroupDescription, GroupError, GroupListing, Groups, HeartbeatRequest, JoinReply, JoinRequest,
    LeaveRequest, Now, OffsetDeleteRequest, Record, SyncReply, SyncRequest, TimerKey, Token,
};
use super::limits::{MAILBOX_REQUESTS_MAX, TURN_REQUESTS_MAX};
use super::timer::TimerQueue;
use crate::runtime::{self, Clock};

/// How a topic is called, if it is there. Asked when offsets expire.
pub type TopicNames = Arc<dyn Fn(Uuid) -> Option<Arc<str>> + Send + Sync>;

/// The partitions of a group for which an open transaction holds an offset. Asked when offsets expire.
pub type WaitingOffsets = Box<dyn Fn(&str) -> Vec<(Uuid, u32)> + Send + Sync>;

/// A reply, and what it has to wait for.
pub(super) struct Answer<T> {
    pub(super) value: T,
    pub(super) durable: Option<Ticket>,
}

pub(super) type ReplyTo<T> = oneshot::Sender<Answer<T>>;

/// The outcome of each item of a request, unless the request failed as a whole.
pub(super) type Outcomes = Result<Vec<Result<(), GroupError>>, GroupError>;

/// What handlers ask for.
pub(super) enum Command {
    Join(JoinRequest, ReplyTo<JoinReply>),
    Sync(SyncRequest, ReplyTo<SyncReply>),
    Heartbeat(HeartbeatRequest, ReplyTo<Result<(), GroupError>>),
    Leave(LeaveRequest, ReplyTo<Outcomes>),
    Commit(CommitRequest, ReplyTo<Outcomes>),
    Fetch(FetchRequest, ReplyTo<Result<Vec<FetchedOffset>, GroupError>>),
    Describe(Arc<str>, ReplyTo<Result<GroupDescription, GroupError>>),
    List(Vec<String>, Vec<String>, ReplyTo<Result<Vec<GroupListing>, GroupError>>),
    Delete(Arc<str>, ReplyTo<Result<(), GroupError>>),
    DeleteOffsets(OffsetDeleteRequest, ReplyTo<Outcomes>),
    TopicsDeleted(BTreeSet<Uuid>, ReplyTo<()>),
    AdmitTransactional(CommitRequest, ReplyTo<Result<AdmittedOffsets, GroupError>>),
    TransactionCommitted(Vec<EndedOffsets>, ReplyTo<()>),
    ReserveSerials(u64, ReplyTo<()>),
    Stop(ReplyTo<()>),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum ShardTimer {
    Group(TimerKey),
    Expiry,
}

/// Whose durability a reply depends on.
enum Scope {
    Group(Arc<str>),
    EveryGroup,
}

/// A reply of this turn; called with what it has to wait for.
type Outgoing = (Scope, Box<dyn FnOnce(Option<Ticket>) + Send>);

struct Shard {
    groups: Groups,
    store: Arc<dyn GroupStore>,
    clock: Clock,
    topics: TopicNames,
    waiting: Arc<OnceLock<WaitingOffsets>>,
    timers: TimerQueue<ShardTimer>,
    next_token: u64,
    /// Callers that wait for a rebalance; each is held by a member too, so they are as many at most.
    joins: BTreeMap<Token, ReplyTo<JoinReply>>,
    syncs: BTreeMap<Token, ReplyTo<SyncReply>>,
    records: Vec<Record>,
    outgoing: Vec<Outgoing>,
    durability: Durability,
}

/// Loads the groups and starts their task; it ends when the last sender is dropped.
pub(super) async fn start(
    store: Arc<dyn GroupStore>,
    config: GroupConfig,
    clock: Clock,
    topics: TopicNames,
    waiting: Arc<OnceLock<WaitingOffsets>>,
) -> Result<mpsc::Sender<Command>, StoreError> {
    let records = store.load().await?;
    let mut shard = Shard {
        groups: Groups::new(config),
        store,
        clock,
        topics,
        waiting,
        timers: TimerQueue::default(),
        next_token: 0,
        joins: BTreeMap::new(),
        syncs: BTreeMap::new(),
        records: Vec::new(),
        outgoing: Vec::new(),
        durability: Durability::default(),
    };
    let now = shard.now();
    for record in &records {
        shard.groups.apply(record, now);
    }
    let effects = shard.groups.loaded(now);
    shard.run_effects(effects);
    shard.finish_turn();
    shard.expect_expiry(now);
    tracing::info!(
        groups = shard.groups.len(),
        offsets = shard.groups.offset_count(),
        "group coordinator loaded"
    );
    let (sender, mailbox) = mpsc::channel(MAILBOX_REQUESTS_MAX);
    runtime::spawn_vital("group coordinator", shard.run(mailbox));
    Ok(sender)
}

impl Shard {
    async fn run(mut self, mut mailbox: mpsc::Receiver<Command>) {
        let mut commands = Vec::with_capacity(TURN_REQUESTS_MAX);
        loop {
            tokio::select! {
                count = mailbox.recv_many(&mut commands, TURN_REQUESTS_MAX) => {
                    if count == 0 {
                        return;
                    }
                }
                () = sleep_until(self.timers.next_deadline_ms(), &self.clock) => {}
            }
            // Requests before timers: a heartbeat that waits here came in time.
            for command in commands.drain(..) {
                self.take(command);
            }
            self.fire_timers();
            self.finish_turn();
        }
    }

    fn now(&self) -> Now {
        Now { mono_ms: self.clock.mono_ms(), wall_ms: self.clock.now_ms() }
    }

    fn take(&mut self, command: Command) {
        let now = self.now();
        let mut effects = Effects::default();
        match command {
            Command::Join(request, reply_to) => {
                let token = self.token();
                self.joins.insert(token, reply_to);
                effects = self.groups.join(now, token, request);
            }
            Command::Sync(request, reply_to) => {
                let token = self.token();
                self.syncs.insert(token, reply_to);
                effects = self.groups.sync(now, token, request);
            }
            Command::Heartbeat(request, reply_to) => {
                let outcome = self.groups.heartbeat(now, &request, &mut effects);
                self.answer(Scope::Group(request.group_id), reply_to, outcome);
            }
            Command::Leave(request, reply_to) => {
                let outcome = self.groups.leave(now, &request, &mut effects);
                self.answer(Scope::Group(request.group_id), reply_to, outcome);
            }
            Command::Commit(request, reply_to) => {
                let scope = Scope::Group(request.group_id.clone());
                let outcome = self.groups.commit_offsets(now, request, &mut effects);
                self.answer(scope, reply_to, outcome);
            }
            Command::Delete(group_id, reply_to) => {
                let outcome = self.groups.delete(now, &group_id, &mut effects);
                self.answer(Scope::Group(group_id), reply_to, outcome);
            }
            Command::DeleteOffsets(request, reply_to) => {
                let outcome = self.groups.delete_offsets(now, &request, &mut effects);
                self.answer(Scope::Group(request.group_id), reply_to, outcome);
            }
            Command::TopicsDeleted(topics, reply_to) => {
                self.groups.topics_deleted(now, &topics, &mut effects);
                self.answer(Scope::EveryGroup, reply_to, ());
            }
            Command::AdmitTransactional(request, reply_to) => {
                let scope = Scope::Group(request.group_id.clone());
                let outcome = self.groups.admit_transactional(now, request);
                self.answer(scope, reply_to, outcome);
            }
            Command::TransactionCommitted(groups, reply_to) => {
                self.groups.transaction_committed(now, groups, &mut effects);
                self.answer(Scope::EveryGroup, reply_to, ());
            }
            Command::ReserveSerials(serial, reply_to) => {
                self.groups.reserve_serials(serial);
                self.answer(Scope::EveryGroup, reply_to, ());
            }
            Command::Stop(reply_to) => {
                effects = self.groups.stop(now);
                self.answer(Scope::EveryGroup, reply_to, ());
            }
            Command::Fetch(..) | Command::Describe(..) | Command::List(..) => self.read(command),
        }
        self.run_effects(effects);
    }

    fn read(&mut self, command: Command) {
        match command {
            Command::Fetch(request, reply_to) => {
                let fetched = self.groups.fetch_offsets(&request);
                self.answer(Scope::Group(request.group_id), reply_to, fetched);
            }
            Command::Describe(group_id, reply_to) => {
                let described = self.groups.describe(&group_id);
                self.answer(Scope::Group(group_id), reply_to, described);
            }
            Command::List(states, kinds, reply_to) => {
                let listed = self.groups.list(&states, &kinds);
                self.answer(Scope::EveryGroup, reply_to, listed);
            }
            _ => unreachable!("only reads are handed on"),
        }
    }

    fn token(&mut self) -> Token {
        self.next_token += 1;
        Token(self.next_token)
    }

    /// The reply leaves at the end of the turn. A caller that is gone does not matter: its member's session does.
    fn answer<T: Send + 'static>(&mut self, scope: Scope, reply_to: ReplyTo<T>, value: T) {
        let give = move |durable| {
            let _ = reply_to.send(Answer { value, durable });
        };
        self.outgoing.push((scope, Box::new(give)));
    }

    fn run_effects(&mut self, effects: Effects) {
        self.records.extend(effects.records);
        for (token, group_id, reply) in effects.joins {
            if let Some(reply_to) = self.joins.remove(&token) {
                self.answer(Scope::Group(group_id), reply_to, reply);
            }
        }
        for (token, group_id, reply) in effects.syncs {
            if let Some(reply_to) = self.syncs.remove(&token) {
                self.answer(Scope::Group(group_id), reply_to, reply);
            }
        }
        for (key, deadline_ms) in effects.timers {
            match deadline_ms {
                Some(deadline_ms) => self.timers.set(ShardTimer::Group(key), deadline_ms),
                None => self.timers.cancel(&ShardTimer::Group(key)),
            }
        }
    }

    fn fire_timers(&mut self) {
        let now = self.now();
        while let Some(timer) = self.timers.pop_due(now.mono_ms) {
            let effects = match timer {
                ShardTimer::Group(key) => self.groups.timer_fired(now, &key),
                ShardTimer::Expiry => {
                    self.expect_expiry(now);
                    let waiting = self.waiting.get();
                    self.groups.expire(now, &*self.topics, &|id| waiting.map_or(Vec::new(), |of| of(id)))
                }
            };
            self.run_effects(effects);
        }
    }

    fn expect_expiry(&mut self, now: Now) {
        // At least a second apart: a check looks at every offset.
        let interval_ms = self.groups.config().offsets_retention_check_interval_ms.max(1_000);
        self.timers.set(ShardTimer::Expiry, now.mono_ms.saturating_add(interval_ms));
    }

    /// Persists what the turn decided, then lets its replies go.
    fn finish_turn(&mut self) {
        if !self.records.is_empty() {
            let records = std::mem::take(&mut self.records);
            let groups: BTreeSet<Arc<str>> = records.iter().map(|record| record.group_id().clone()).collect();
            let ticket = self.store.persist(records);
            self.durability.note(groups, ticket);
        }
        for (scope, give) in self.outgoing.drain(..) {
            give(self.durability.of(&scope));
        }
    }
}

/// Which commits are not durable yet. One entry a group at most, dropped when it is found to be durable.
#[derive(Default)]
struct Durability {
    by_group: HashMap<Arc<str>, Ticket>,
    last: Option<Ticket>,
}

impl Durability {
    /// Entries from which on the durable ones are looked for at each commit.
    const SWEEP_ENTRIES: usize = 1_024;

    fn note(&mut self, groups: BTreeSet<Arc<str>>, ticket: Ticket) {
        if self.by_group.len() >= Self::SWEEP_ENTRIES {
            self.by_group.retain(|_, ticket| !is_durable(ticket));
        }
        self.by_group.extend(groups.into_iter().map(|group_id| (group_id, ticket.clone())));
        self.last = Some(ticket);
    }

    /// What a reply about `scope` has to wait for. A ticket that failed stays, so that nothing is told any more.
    fn of(&mut self, scope: &Scope) -> Option<Ticket> {
        match scope {
            Scope::Group(group_id) => {
                let ticket = self.by_group.get(group_id)?.clone();
                if is_durable(&ticket) {
                    self.by_group.remove(group_id);
                    return None;
                }
                Some(ticket)
            }
            Scope::EveryGroup => self.last.clone().filter(|ticket| !is_durable(ticket)),
        }
    }
}

fn is_durable(ticket: &Ticket) -> bool {
    matches!(ticket.outcome(), Some(Ok(())))
}

/// Sleeps until the clock shows `deadline_ms`; for ever when there is none.
async fn sleep_until(deadline_ms: Option<i64>, clock: &Clock) {
    let Some(deadline_ms) = deadline_ms else { return std::future::pending().await };
    let wait_ms = u64::try_from(deadline_ms.saturating_sub(clock.mono_ms())).unwrap_or(0);
    if wait_ms > 0 {
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
    }
}

#[cfg(test)]
mod tests;
