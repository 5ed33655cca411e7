//! How a group gets from one generation to the next, and what its timers do.

use std::sync::Arc;

use super::state::{ClassicGroup, ClassicState, InitialDelay};
use super::{Context, GroupError, Synced};

impl ClassicGroup {
    /// After a change of members: a new rebalance, or the end of the one that runs.
    pub(super) fn rebalance_or_complete(&mut self, context: &mut Context<'_>) {
        match self.state {
            ClassicState::Empty | ClassicState::CompletingRebalance | ClassicState::Stable => {
                self.prepare_rebalance(context);
            }
            ClassicState::PreparingRebalance | ClassicState::Dead => self.maybe_complete_join(context),
        }
    }

    /// Asks everyone to join again.
    pub(super) fn prepare_rebalance(&mut self, context: &mut Context<'_>) {
        if self.state == ClassicState::CompletingRebalance {
            let members: Vec<Arc<str>> = self.members.keys().cloned().collect();
            for member in self.members.values_mut() {
                member.assignment.clear();
            }
            for member_id in members {
                if self.answer_sync(&member_id, Err(GroupError::RebalanceInProgress), context) {
                    self.hear_from(&member_id, context);
                }
            }
        }
        self.pending_syncs.clear();
        context.effects.timers.push((self.sync_key(), None));

        let initial = self.state == ClassicState::Empty;
        self.enter(ClassicState::PreparingRebalance, context.now);
        if initial {
            // The group is new: give others that start at the same time the chance to be part of this generation.
            let delay_ms = i64::from(context.config.initial_rebalance_delay_ms.max(0));
            let remaining_ms = (self.rebalance_timeout_ms() - delay_ms).max(0);
            self.initial_delay = Some(InitialDelay { delay_ms, remaining_ms, member_added: false });
            self.expect_joins_within(delay_ms, context);
        } else if self.all_joined() {
            self.complete_join(context);
        } else {
            self.expect_joins_within(self.rebalance_timeout_ms(), context);
        }
    }

    /// Completes the join phase if nobody is missing; the first one of a group always waits for its delay.
    pub(super) fn maybe_complete_join(&mut self, context: &mut Context<'_>) {
        if self.state == ClassicState::PreparingRebalance && self.initial_delay.is_none() && self.all_joined()
        {
            self.complete_join(context);
        }
    }

    fn expect_joins_within(&self, timeout_ms: i64, context: &mut Context<'_>) {
        let deadline_ms = context.now.mono_ms.saturating_add(timeout_ms);
        context.effects.timers.push((self.join_key(), Some(deadline_ms)));
    }

    /// Members had long enough: go on without the missing, except while an initial delay may be extended.
    pub(super) fn join_timed_out(&mut self, context: &mut Context<'_>) {
        if self.state != ClassicState::PreparingRebalance {
            return;
        }
        let Some(delay) = self.initial_delay else { return self.complete_join(context) };
        if !delay.member_added || delay.remaining_ms == 0 {
            return self.complete_join(context);
        }
        // Someone joined meanwhile. Wait again, but no longer in all than a member may take to join.
        let delay_ms = i64::from(context.config.initial_rebalance_delay_ms.max(0)).min(delay.remaining_ms);
        let remaining_ms = (delay.remaining_ms - delay.delay_ms).max(0);
        self.initial_delay = Some(InitialDelay { delay_ms, remaining_ms, member_added: false });
        self.expect_joins_within(delay_ms, context);
    }

    /// Makes a generation of those who joined.
    pub(super) fn complete_join(&mut self, context: &mut Context<'_>) {
        context.effects.timers.push((self.join_key(), None));
        self.initial_delay = None;
        // Static members may be away for their whole session (KIP-345); dynamic ones had their time.
        let missing: Vec<Arc<str>> = self
            .members
            .iter()
            .filter(|(_, member)| member.awaiting_join.is_none() && member.instance_id.is_none())
            .map(|(member_id, _)| member_id.clone())
            .collect();
        for member_id in &missing {
            self.remove(member_id, context);
        }
        if !self.members.is_empty() && !self.elect_joined_leader() {
            // Only static members, and none is here: wait until they come or their sessions end.
            self.expect_joins_within(self.rebalance_timeout_ms(), context);
            return;
        }
        // A group can be in no more than 2^31 generations; Kafka's counter wraps to a negative number, ours to 1.
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        self.protocol = self.elect_protocol();
        self.subscribed_topics = self.parse_subscriptions();
        self.pending_syncs.clear();
        if self.members.is_empty() {
            self.enter(ClassicState::Empty, context.now);
            context.effects.records.push(self.record());
            return;
        }
        self.enter(ClassicState::CompletingRebalance, context.now);
        let members: Vec<Arc<str>> = self.members.keys().cloned().collect();
        for member_id in members {
            let reply = self.joined(&member_id);
            self.answer_join(&member_id, Ok(reply), context);
            self.hear_from(&member_id, context);
            if let Some(member) = self.members.get_mut(&member_id) {
                member.is_new = false;
            }
            self.pending_syncs.insert(member_id);
        }
        let deadline_ms = context.now.mono_ms.saturating_add(self.rebalance_timeout_ms());
        context.effects.timers.push((self.sync_key(), Some(deadline_ms)));
    }

    /// Keeps the leader if it joined, or takes another that did; says whether there is one.
    fn elect_joined_leader(&mut self) -> bool {
        let joined = |member_id: &Arc<str>| {
            self.members.get(member_id).is_some_and(|member| member.awaiting_join.is_some())
        };
        if self.leader.as_ref().is_some_and(joined) {
            return true;
        }
        let next = self.members.keys().find(|member_id| joined(member_id)).cloned();
        match next {
            Some(_) => {
                self.leader = next;
                true
            }
            None => false,
        }
    }

    /// Gives everyone who waits for it the share the leader decided on.
    pub(super) fn propagate_assignment(&mut self, context: &mut Context<'_>) {
        let members: Vec<Arc<str>> = self.members.keys().cloned().collect();
        for member_id in members {
            let reply = self.share_of(&member_id);
            if self.answer_sync(&member_id, Ok(reply), context) {
                self.hear_from(&member_id, context);
            }
        }
    }

    pub(super) fn share_of(&self, member_id: &str) -> Synced {
        Synced {
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            assignment: self
                .members
                .get(member_id)
                .map(|member| member.assignment.clone())
                .unwrap_or_default(),
        }
    }

    /// Members that did not ask for their share in time are out.
    pub(super) fn sync_timed_out(&mut self, context: &mut Context<'_>) {
        if !matches!(self.state, ClassicState::CompletingRebalance | ClassicState::Stable)
            || self.pending_syncs.is_empty()
        {
            return;
        }
        for member_id in std::mem::take(&mut self.pending_syncs) {
            self.remove(&member_id, context);
        }
        self.prepare_rebalance(context);
    }

    /// A member was silent for its session timeout, or an id given out was not used.
    pub(super) fn session_timed_out(&mut self, member_id: &Arc<str>, context: &mut Context<'_>) {
        if self.state == ClassicState::Dead {
            return;
        }
        if self.pending_joins.contains(member_id) {
            self.remove(member_id, context);
            if self.state == ClassicState::PreparingRebalance && self.all_joined() {
                self.complete_join(context);
            }
            return;
        }
        if self.members.get(member_id).is_none_or(|member| member.is_heard()) {
            return;
        }
        self.remove(member_id, context);
        match self.state {
            ClassicState::Stable | ClassicState::CompletingRebalance => self.prepare_rebalance(context),
            ClassicState::PreparingRebalance if self.all_joined() => self.complete_join(context),
            ClassicState::PreparingRebalance | ClassicState::Empty | ClassicState::Dead => {}
        }
    }
}
