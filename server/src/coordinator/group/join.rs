//! JoinGroup: who may join, and as whom. Kafka's `classicGroupJoin`.

use std::sync::Arc;

use super::state::{ClassicGroup, ClassicState, Member};
use super::{Context, Effects, Entry, GroupError, Groups, JoinRefused, JoinRequest, Now, Token};
use crate::coordinator::limits::{GROUP_ID_BYTES_MAX, NEW_MEMBER_JOIN_TIMEOUT_MS, PENDING_MEMBERS_MAX};

impl Groups {
    /// JoinGroup. The answer for `token` is in these effects or in later ones.
    pub fn join(&mut self, now: Now, token: Token, request: JoinRequest) -> Effects {
        let mut effects = Effects::default();
        if let Err(error) = self.admit_join(now, &request) {
            let refused = JoinRefused { error, member_id: request.member_id.clone() };
            effects.joins.push((token, request.group_id.clone(), Err(refused)));
            return effects;
        }
        if let Some(entry) = self.entries.get_mut(&request.group_id) {
            let mut context = Context { now, config: &self.config, effects: &mut effects };
            entry.classic_mut().join(token, request, &mut context);
        }
        effects
    }

    /// What can be said before the group's own rules; makes the group for its first member.
    fn admit_join(&mut self, now: Now, request: &JoinRequest) -> Result<(), GroupError> {
        if self.stopped {
            return Err(GroupError::CoordinatorStopped);
        }
        if request.group_id.is_empty() || request.group_id.len() > GROUP_ID_BYTES_MAX {
            return Err(GroupError::InvalidGroupId);
        }
        let sessions = self.config.min_session_timeout_ms..=self.config.max_session_timeout_ms;
        if !sessions.contains(&request.session_timeout_ms) {
            return Err(GroupError::InvalidSessionTimeout);
        }
        if self.entries.contains_key(&request.group_id) {
            return Ok(());
        }
        if !request.member_id.is_empty() {
            return Err(GroupError::UnknownMember);
        }
        let group = ClassicGroup::new(request.group_id.clone(), now);
        if !group.fits(&request.protocol_type, &request.protocols) {
            return Err(GroupError::InconsistentProtocol);
        }
        self.entries.insert(request.group_id.clone(), Entry::new(group));
        Ok(())
    }
}

impl ClassicGroup {
    fn join(&mut self, token: Token, request: JoinRequest, context: &mut Context<'_>) {
        let refusal = if !self.accepts(&request.member_id, context) {
            // Whoever comes last to a group above its size is out, whether it was a member or not.
            self.remove(&request.member_id, context);
            self.refuse(token, &Arc::from(""), GroupError::GroupFull, context);
            return self.maybe_complete_join(context);
        } else if !self.fits(&request.protocol_type, &request.protocols) {
            Some(GroupError::InconsistentProtocol)
        } else if request.member_id.is_empty() {
            return self.join_unknown(token, request, context);
        } else if self.pending_joins.contains(&request.member_id) && request.instance_id.is_none() {
            let member_id = request.member_id.clone();
            return self.add_member(token, member_id, request, context);
        } else {
            self.check_member(&request.member_id, request.instance_id.as_ref()).err()
        };
        match refusal {
            Some(error) => self.refuse(token, &request.member_id, error, context),
            None => self.rejoin(token, request, context),
        }
    }

    fn refuse(&self, token: Token, member_id: &Arc<str>, error: GroupError, context: &mut Context<'_>) {
        let refused = JoinRefused { error, member_id: member_id.clone() };
        context.effects.joins.push((token, self.id.clone(), Err(refused)));
    }

    /// `group.max.size`. While members join, those who have joined count, so that a group whose limit was lowered
    /// loses the last to rejoin.
    fn accepts(&self, member_id: &str, context: &Context<'_>) -> bool {
        let max = usize::try_from(context.config.max_size).unwrap_or(0);
        match self.state {
            ClassicState::Empty | ClassicState::Dead => true,
            ClassicState::PreparingRebalance => {
                self.members.get(member_id).is_some_and(|member| member.awaiting_join.is_some())
                    || self.awaiting_join_count() < max
            }
            ClassicState::CompletingRebalance | ClassicState::Stable => {
                self.members.contains_key(member_id) || self.members.len() < max
            }
        }
    }

    fn join_unknown(&mut self, token: Token, request: JoinRequest, context: &mut Context<'_>) {
        let stem = request.instance_id.as_ref().unwrap_or(&request.client_id);
        let member_id: Arc<str> = format!("{stem}-{}", request.fresh).into();
        if let Some(instance_id) = &request.instance_id {
            return match self.static_members.get(instance_id).cloned() {
                Some(replaced) => self.replace_static(token, &replaced, member_id, request, context),
                None => self.add_member(token, member_id, request, context),
            };
        }
        if !request.require_known_member {
            return self.add_member(token, member_id, request, context);
        }
        if self.pending_joins.len() >= PENDING_MEMBERS_MAX {
            return self.refuse(token, &Arc::from(""), GroupError::GroupFull, context);
        }
        // A client that never sees this answer leaves no member behind, only an id for one session (KIP-394).
        self.pending_joins.insert(member_id.clone());
        self.expect_within(&member_id, i64::from(request.session_timeout_ms), context);
        self.refuse(token, &member_id, GroupError::MemberIdRequired, context);
    }

    fn add_member(
        &mut self,
        token: Token,
        member_id: Arc<str>,
        request: JoinRequest,
        context: &mut Context<'_>,
    ) {
        if self.members.is_empty() {
            self.protocol_type = Some(request.protocol_type);
        }
        if let Some(instance_id) = &request.instance_id {
            self.static_members.insert(instance_id.clone(), member_id.clone());
        }
        if let Some(delay) = &mut self.initial_delay {
            delay.member_added = true;
        }
        self.leader.get_or_insert_with(|| member_id.clone());
        self.pending_joins.remove(&member_id);
        let member = Member {
            instance_id: request.instance_id,
            client_id: request.client_id,
            client_host: request.client_host,
            rebalance_timeout_ms: request.rebalance_timeout_ms,
            session_timeout_ms: request.session_timeout_ms,
            protocols: request.protocols,
            assignment: bytes::Bytes::new(),
            awaiting_join: Some(token),
            awaiting_sync: None,
            is_new: true,
        };
        self.members.insert(member_id.clone(), member);
        self.expect_within(&member_id, NEW_MEMBER_JOIN_TIMEOUT_MS, context);
        self.rebalance_or_complete(context);
    }

    /// A member that the group knows joins again.
    fn rejoin(&mut self, token: Token, request: JoinRequest, context: &mut Context<'_>) {
        let member_id = request.member_id.clone();
        let unchanged =
            self.members.get(&member_id).is_some_and(|member| member.protocols == request.protocols);
        let answer_now = match self.state {
            ClassicState::PreparingRebalance => false,
            // It may not have got the first answer.
            ClassicState::CompletingRebalance => unchanged,
            // A leader joins again to have something redistributed that the broker does not see.
            ClassicState::Stable => unchanged && !self.is_leader(&member_id),
            ClassicState::Empty | ClassicState::Dead => {
                return self.refuse(token, &member_id, GroupError::UnknownMember, context);
            }
        };
        if answer_now {
            let reply = self.joined(&member_id);
            context.effects.joins.push((token, self.id.clone(), Ok(reply)));
        } else {
            self.update_member(token, &member_id, request, context);
            self.rebalance_or_complete(context);
        }
    }

    fn update_member(
        &mut self,
        token: Token,
        member_id: &Arc<str>,
        request: JoinRequest,
        context: &mut Context<'_>,
    ) {
        if let Some(member) = self.members.get_mut(member_id) {
            member.protocols = request.protocols;
            member.rebalance_timeout_ms = request.rebalance_timeout_ms;
            member.session_timeout_ms = request.session_timeout_ms;
        }
        self.await_join(member_id, token, context);
    }

    /// A static member restarted: it takes the place, and the share, of the one before it, which is fenced.
    fn replace_static(
        &mut self,
        token: Token,
        replaced: &Arc<str>,
        member_id: Arc<str>,
        request: JoinRequest,
        context: &mut Context<'_>,
    ) {
        let leader_before = self.leader.clone().unwrap_or_default();
        let can_skip_assignment = request.can_skip_assignment;
        self.refuse_join(replaced, GroupError::FencedInstance, context);
        self.answer_sync(replaced, Err(GroupError::FencedInstance), context);
        context.effects.timers.push((self.session_key(replaced), None));
        let Some(mut member) = self.members.remove(replaced) else { return };
        member.is_new = false;
        self.members.insert(member_id.clone(), member);
        if let Some(instance_id) = &request.instance_id {
            self.static_members.insert(instance_id.clone(), member_id.clone());
        }
        self.pending_syncs.remove(replaced);
        if self.is_leader(replaced) {
            self.leader = Some(member_id.clone());
        }
        self.hear_from(&member_id, context);
        self.update_member(token, &member_id, request, context);
        match self.state {
            ClassicState::Stable if self.elect_protocol() == self.protocol => {
                context.effects.records.push(self.record());
                let mut reply = self.joined(&member_id);
                if can_skip_assignment {
                    reply.skip_assignment = self.is_leader(&member_id);
                } else {
                    // Told who led before, a leader that restarted takes itself for a follower, asks for its share
                    // and does not assign (the way before KIP-814).
                    reply.members = Vec::new();
                    reply.leader = leader_before;
                }
                self.answer_join(&member_id, Ok(reply), context);
            }
            // The leader may be assigning to the id that is gone.
            ClassicState::Stable | ClassicState::CompletingRebalance => self.prepare_rebalance(context),
            ClassicState::PreparingRebalance | ClassicState::Empty | ClassicState::Dead => {
                self.maybe_complete_join(context);
            }
        }
    }
}
