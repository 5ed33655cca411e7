//! The state of one classic group: members, generation, who waits for what. Kafka's `ClassicGroup`.
//!
//! ```text
//!            first member joins                all joined, or time is up
//!   Empty ───────────────────► PreparingRebalance ───────────────────► CompletingRebalance
//!     ▲                          │        ▲  ▲                              │        │
//!     └── nobody joined ─────────┘        │  └── a member joins or leaves ──┘        │ leader syncs
//!                                         └────────────── same ──────── Stable ◄─────┘
//! ```
//!
//! `Dead` is entered from anywhere when the coordinator stops, and never left. Members are kept ordered by id, so
//! that the same requests always lead to the same decisions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use chronik_engine::keys::group::{GroupMetadataValue, KIND_CLASSIC, MemberValue};

use super::{
    Context, GroupError, JoinReply, Joined, JoinedMember, Now, Protocol, Record, SyncReply, TimerKey, Token,
    subscription,
};

/// The type of group whose members' metadata is Kafka's consumer subscription.
pub(super) const CONSUMER_PROTOCOL_TYPE: &str = "consumer";

/// Where a group is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClassicState {
    /// No members.
    Empty,
    /// Members are joining.
    PreparingRebalance,
    /// Members joined; the leader assigns.
    CompletingRebalance,
    /// Members have their shares.
    Stable,
    /// The coordinator stopped.
    Dead,
}

impl ClassicState {
    /// As Kafka spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
            Self::Dead => "Dead",
        }
    }
}

/// One member.
#[derive(Clone, Debug)]
pub struct Member {
    pub(super) instance_id: Option<Arc<str>>,
    pub(super) client_id: Arc<str>,
    pub(super) client_host: Arc<str>,
    pub(super) rebalance_timeout_ms: i32,
    pub(super) session_timeout_ms: i32,
    /// In order of preference.
    pub(super) protocols: Vec<Protocol>,
    pub(super) assignment: Bytes,
    pub(super) awaiting_join: Option<Token>,
    pub(super) awaiting_sync: Option<Token>,
    /// Has not been part of a generation yet, so it may time out even while its JoinGroup waits.
    pub(super) is_new: bool,
}

impl Member {
    pub(super) fn supports(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|supported| &*supported.name == protocol)
    }

    pub(super) fn metadata(&self, protocol: &str) -> Bytes {
        let found = self.protocols.iter().find(|supported| &*supported.name == protocol);
        found.map(|supported| supported.metadata.clone()).unwrap_or_default()
    }

    /// A member whose request we hold needs no heartbeat, unless it is new.
    pub(super) fn is_heard(&self) -> bool {
        !self.is_new && (self.awaiting_join.is_some() || self.awaiting_sync.is_some())
    }
}

/// How the first rebalance of an empty group is delayed further while members keep joining.
#[derive(Clone, Copy, Debug)]
pub(super) struct InitialDelay {
    pub(super) delay_ms: i64,
    pub(super) remaining_ms: i64,
    pub(super) member_added: bool,
}

/// One classic group.
#[derive(Debug)]
pub struct ClassicGroup {
    pub(super) id: Arc<str>,
    pub(super) state: ClassicState,
    pub(super) state_since_ms: Option<i64>,
    /// There while the rebalance is the first one of an empty group.
    pub(super) initial_delay: Option<InitialDelay>,
    pub(super) protocol_type: Option<Arc<str>>,
    pub(super) protocol: Option<Arc<str>>,
    pub(super) generation: i32,
    pub(super) leader: Option<Arc<str>>,
    pub(super) members: BTreeMap<Arc<str>, Member>,
    /// Member ids by `group.instance.id`.
    pub(super) static_members: BTreeMap<Arc<str>, Arc<str>>,
    /// Ids given out that have not joined yet.
    pub(super) pending_joins: BTreeSet<Arc<str>>,
    /// Members that have not asked for their share of this generation yet.
    pub(super) pending_syncs: BTreeSet<Arc<str>>,
    /// What consumers are subscribed to; none when that cannot be told.
    pub(super) subscribed_topics: Option<BTreeSet<String>>,
}

impl ClassicGroup {
    pub(super) fn new(id: Arc<str>, now: Now) -> Self {
        Self {
            id,
            state: ClassicState::Empty,
            state_since_ms: Some(now.wall_ms),
            initial_delay: None,
            protocol_type: None,
            protocol: None,
            generation: 0,
            leader: None,
            members: BTreeMap::new(),
            static_members: BTreeMap::new(),
            pending_joins: BTreeSet::new(),
            pending_syncs: BTreeSet::new(),
            subscribed_topics: None,
        }
    }

    /// The group as of its last complete generation. Of each member's protocols only the chosen one was kept.
    pub(super) fn restore(id: Arc<str>, value: &GroupMetadataValue) -> Self {
        let mut group = Self::new(id, Now { mono_ms: 0, wall_ms: 0 });
        group.state_since_ms = value.state_since_ms;
        group.protocol_type = value.protocol_type.as_deref().map(Arc::from);
        group.protocol = value.protocol.as_deref().map(Arc::from);
        group.generation = value.generation;
        group.leader = value.leader.as_deref().map(Arc::from);
        for stored in &value.members {
            let member_id: Arc<str> = stored.member_id.as_str().into();
            let instance_id: Option<Arc<str>> = stored.instance_id.as_deref().map(Arc::from);
            if let Some(instance_id) = &instance_id {
                group.static_members.insert(instance_id.clone(), member_id.clone());
            }
            let protocols = group
                .protocol
                .iter()
                .map(|name| Protocol { name: name.clone(), metadata: stored.subscription.clone() });
            let member = Member {
                instance_id,
                client_id: stored.client_id.as_str().into(),
                client_host: stored.client_host.as_str().into(),
                rebalance_timeout_ms: stored.rebalance_timeout_ms,
                session_timeout_ms: stored.session_timeout_ms,
                protocols: protocols.collect(),
                assignment: stored.assignment.clone(),
                awaiting_join: None,
                awaiting_sync: None,
                is_new: false,
            };
            group.members.insert(member_id, member);
        }
        if !group.members.is_empty() {
            group.state = ClassicState::Stable;
        }
        group.subscribed_topics = group.parse_subscriptions();
        group
    }

    pub(super) fn loaded(&mut self, context: &mut Context<'_>) {
        let members: Vec<Arc<str>> = self.members.keys().cloned().collect();
        for member_id in &members {
            self.hear_from(member_id, context);
        }
        if members.len() > usize::try_from(context.config.max_size).unwrap_or(0) {
            self.prepare_rebalance(context);
        }
    }

    pub(super) fn stop(&mut self, context: &mut Context<'_>) {
        let waiting: Vec<Arc<str>> = self.members.keys().cloned().collect();
        for member_id in waiting {
            self.refuse_join(&member_id, GroupError::CoordinatorStopped, context);
            self.answer_sync(&member_id, Err(GroupError::CoordinatorStopped), context);
        }
        self.state = ClassicState::Dead;
    }

    pub(super) fn enter(&mut self, state: ClassicState, now: Now) {
        self.state = state;
        self.state_since_ms = Some(now.wall_ms);
    }

    /// What the group would be after a restart.
    pub(super) fn record(&self) -> Record {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let members = self.members.iter().map(|(member_id, member)| MemberValue {
            member_id: member_id.to_string(),
            instance_id: member.instance_id.as_deref().map(str::to_owned),
            client_id: member.client_id.to_string(),
            client_host: member.client_host.to_string(),
            rebalance_timeout_ms: member.rebalance_timeout_ms,
            session_timeout_ms: member.session_timeout_ms,
            subscription: member.metadata(protocol),
            assignment: member.assignment.clone(),
        });
        let value = GroupMetadataValue {
            kind: KIND_CLASSIC,
            protocol_type: self.protocol_type.as_deref().map(str::to_owned),
            generation: self.generation,
            protocol: self.protocol.as_deref().map(str::to_owned),
            leader: self.leader.as_deref().map(str::to_owned),
            state_since_ms: self.state_since_ms,
            members: members.collect(),
        };
        Record::Group { group_id: self.id.clone(), value }
    }

    /// Whether the member may speak for the group: known, and not replaced by one with the same instance id.
    pub(super) fn check_member(
        &self,
        member_id: &str,
        instance_id: Option<&Arc<str>>,
    ) -> Result<(), GroupError> {
        if let Some(instance_id) = instance_id {
            match self.static_members.get(instance_id) {
                None => return Err(GroupError::UnknownMember),
                Some(current) if &**current != member_id => return Err(GroupError::FencedInstance),
                Some(_) => {}
            }
        }
        if self.members.contains_key(member_id) { Ok(()) } else { Err(GroupError::UnknownMember) }
    }

    pub(super) fn is_leader(&self, member_id: &str) -> bool {
        self.leader.as_deref() == Some(member_id)
    }

    pub(super) fn awaiting_join_count(&self) -> usize {
        self.members.values().filter(|member| member.awaiting_join.is_some()).count()
    }

    pub(super) fn all_joined(&self) -> bool {
        self.pending_joins.is_empty() && self.members.values().all(|member| member.awaiting_join.is_some())
    }

    /// The longest any member allows for rejoining.
    pub(super) fn rebalance_timeout_ms(&self) -> i64 {
        self.members.values().map(|member| i64::from(member.rebalance_timeout_ms)).max().unwrap_or(0).max(0)
    }

    /// Whether a member with these protocols can be part of the group.
    pub(super) fn fits(&self, protocol_type: &str, protocols: &[Protocol]) -> bool {
        if self.state == ClassicState::Empty {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        let common =
            |protocol: &Protocol| self.members.values().all(|member| member.supports(&protocol.name));
        self.protocol_type.as_deref() == Some(protocol_type) && protocols.iter().any(common)
    }

    /// The protocol most members prefer among those that all support; the first by name among equals.
    pub(super) fn elect_protocol(&self) -> Option<Arc<str>> {
        let common = |name: &str| self.members.values().all(|member| member.supports(name));
        let mut votes: BTreeMap<&Arc<str>, usize> = BTreeMap::new();
        for member in self.members.values() {
            if let Some(choice) = member.protocols.iter().find(|protocol| common(&protocol.name)) {
                *votes.entry(&choice.name).or_default() += 1;
            }
        }
        let winner = votes.into_iter().rev().max_by_key(|&(_, count)| count);
        winner.map(|(name, _)| name.clone())
    }

    pub(super) fn uses_consumer_protocol(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER_PROTOCOL_TYPE)
    }

    /// Whether a member may be reading the topic. A consumer group whose subscriptions cannot be read may.
    pub(super) fn is_subscribed_to(&self, topic: &str) -> bool {
        match &self.subscribed_topics {
            Some(topics) => topics.contains(topic),
            None => self.uses_consumer_protocol(),
        }
    }

    pub(super) fn parse_subscriptions(&self) -> Option<BTreeSet<String>> {
        if !self.uses_consumer_protocol() {
            return None;
        }
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            topics.extend(subscription::topics(&member.metadata(self.protocol.as_deref()?))?);
        }
        Some(topics)
    }

    /// What a member is told of the current generation.
    pub(super) fn joined(&self, member_id: &Arc<str>) -> Joined {
        let members = if self.is_leader(member_id) { self.roll() } else { Vec::new() };
        Joined {
            member_id: member_id.clone(),
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone().unwrap_or_default(),
            skip_assignment: false,
            members,
        }
    }

    fn roll(&self) -> Vec<JoinedMember> {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let members = self.members.iter().map(|(member_id, member)| JoinedMember {
            member_id: member_id.clone(),
            instance_id: member.instance_id.clone(),
            metadata: member.metadata(protocol),
        });
        members.collect()
    }

    /// Holds a member's JoinGroup. One that was held before is told to try again: its caller is gone or confused,
    /// and nobody may wait for ever.
    pub(super) fn await_join(&mut self, member_id: &Arc<str>, token: Token, context: &mut Context<'_>) {
        self.refuse_join(member_id, GroupError::RebalanceInProgress, context);
        if let Some(member) = self.members.get_mut(member_id) {
            member.awaiting_join = Some(token);
        }
    }

    /// Answers the member's JoinGroup, if it waits.
    pub(super) fn answer_join(&mut self, member_id: &Arc<str>, reply: JoinReply, context: &mut Context<'_>) {
        let waiting = self.members.get_mut(member_id).and_then(|member| member.awaiting_join.take());
        if let Some(token) = waiting {
            context.effects.joins.push((token, self.id.clone(), reply));
        }
    }

    pub(super) fn refuse_join(&mut self, member_id: &Arc<str>, error: GroupError, context: &mut Context<'_>) {
        // A member that is not one any more is not told an id, so that it joins as a new one.
        let told = if error == GroupError::UnknownMember { Arc::from("") } else { member_id.clone() };
        self.answer_join(member_id, Err(super::JoinRefused { error, member_id: told }), context);
    }

    /// Answers the member's SyncGroup, if it waits; says whether it did.
    pub(super) fn answer_sync(
        &mut self,
        member_id: &str,
        reply: SyncReply,
        context: &mut Context<'_>,
    ) -> bool {
        let waiting = self.members.get_mut(member_id).and_then(|member| member.awaiting_sync.take());
        let Some(token) = waiting else { return false };
        context.effects.syncs.push((token, self.id.clone(), reply));
        true
    }

    /// Starts the member's session anew.
    pub(super) fn hear_from(&mut self, member_id: &Arc<str>, context: &mut Context<'_>) {
        if let Some(member) = self.members.get(member_id) {
            self.expect_within(member_id, i64::from(member.session_timeout_ms), context);
        }
    }

    pub(super) fn expect_within(&self, member_id: &Arc<str>, timeout_ms: i64, context: &mut Context<'_>) {
        let deadline_ms = context.now.mono_ms.saturating_add(timeout_ms);
        context.effects.timers.push((self.session_key(member_id), Some(deadline_ms)));
    }

    pub(super) fn session_key(&self, member_id: &Arc<str>) -> TimerKey {
        TimerKey::Session { group_id: self.id.clone(), member_id: member_id.clone() }
    }

    pub(super) fn join_key(&self) -> TimerKey {
        TimerKey::Join { group_id: self.id.clone() }
    }

    pub(super) fn sync_key(&self) -> TimerKey {
        TimerKey::Sync { group_id: self.id.clone() }
    }

    /// Forgets a member, or an id given out, and its session. Whatever it waited for is answered with
    /// UNKNOWN_MEMBER_ID, so that a client that is still there joins anew.
    pub(super) fn remove(&mut self, member_id: &Arc<str>, context: &mut Context<'_>) {
        self.refuse_join(member_id, GroupError::UnknownMember, context);
        self.answer_sync(member_id, Err(GroupError::UnknownMember), context);
        context.effects.timers.push((self.session_key(member_id), None));
        if let Some(member) = self.members.remove(member_id)
            && let Some(instance_id) = member.instance_id
        {
            self.static_members.remove(&instance_id);
        }
        if self.is_leader(member_id) {
            self.leader = self.members.keys().next().cloned();
        }
        self.pending_joins.remove(member_id);
        self.pending_syncs.remove(member_id);
    }
}
