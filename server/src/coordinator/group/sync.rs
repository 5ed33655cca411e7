//! SyncGroup: the leader hands in the shares, everyone gets theirs. Kafka's `classicGroupSync`.

use std::sync::Arc;

use bytes::Bytes;

use super::state::{ClassicGroup, ClassicState};
use super::{Context, Effects, GroupError, Groups, Now, SyncRequest, Token};

impl Groups {
    /// SyncGroup. The answer for `token` is in these effects or in later ones.
    pub fn sync(&mut self, now: Now, token: Token, request: SyncRequest) -> Effects {
        let mut effects = Effects::default();
        let group_id = request.group_id.clone();
        let config = self.config;
        let mut context = Context { now, config: &config, effects: &mut effects };
        let refused = match self.classic_mut(&group_id) {
            Ok(group) => group.sync(token, request, &mut context).err(),
            Err(error) => Some(error),
        };
        if let Some(error) = refused {
            effects.syncs.push((token, group_id, Err(error)));
        }
        effects
    }
}

impl ClassicGroup {
    fn sync(
        &mut self,
        token: Token,
        request: SyncRequest,
        context: &mut Context<'_>,
    ) -> Result<(), GroupError> {
        if self.state == ClassicState::Empty {
            return Err(GroupError::UnknownMember);
        }
        self.check_member(&request.member_id, request.instance_id.as_ref())?;
        if request.generation != self.generation {
            return Err(GroupError::IllegalGeneration);
        }
        if differs(&request.protocol_type, &self.protocol_type) || differs(&request.protocol, &self.protocol)
        {
            return Err(GroupError::InconsistentProtocol);
        }
        match self.state {
            ClassicState::PreparingRebalance => return Err(GroupError::RebalanceInProgress),
            ClassicState::Empty | ClassicState::Dead => return Err(GroupError::CoordinatorStopped),
            ClassicState::CompletingRebalance => self.await_share(token, request, context),
            ClassicState::Stable => {
                self.asked_for_share(&request.member_id, context);
                let reply = self.share_of(&request.member_id);
                context.effects.syncs.push((token, self.id.clone(), Ok(reply)));
            }
        }
        Ok(())
    }

    fn await_share(&mut self, token: Token, request: SyncRequest, context: &mut Context<'_>) {
        let member_id = &request.member_id;
        // One SyncGroup per member waits; an earlier one's caller is gone, and nobody may wait for ever.
        self.answer_sync(member_id, Err(GroupError::RebalanceInProgress), context);
        if let Some(member) = self.members.get_mut(member_id) {
            member.awaiting_sync = Some(token);
        }
        self.asked_for_share(member_id, context);
        if self.is_leader(member_id) {
            self.assign(request.assignments, context);
        }
    }

    /// Members that the leader did not mention get nothing; ids that are not members are ignored.
    fn assign(&mut self, assignments: Vec<(Arc<str>, Bytes)>, context: &mut Context<'_>) {
        for member in self.members.values_mut() {
            member.assignment.clear();
        }
        for (member_id, assignment) in assignments {
            if let Some(member) = self.members.get_mut(&member_id) {
                member.assignment = assignment;
            }
        }
        self.enter(ClassicState::Stable, context.now);
        context.effects.records.push(self.record());
        self.propagate_assignment(context);
    }

    fn asked_for_share(&mut self, member_id: &Arc<str>, context: &mut Context<'_>) {
        self.pending_syncs.remove(member_id);
        if self.pending_syncs.is_empty() {
            context.effects.timers.push((self.sync_key(), None));
        }
    }
}

fn differs(asked: &Option<Arc<str>>, current: &Option<Arc<str>>) -> bool {
    matches!((asked, current), (Some(asked), Some(current)) if asked != current)
}
