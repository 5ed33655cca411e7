//! LeaveGroup: members go, by themselves or by an administrator's hand. Kafka's `classicGroupLeave`.

use std::sync::Arc;

use super::state::ClassicGroup;
use super::{Context, Effects, GroupError, Groups, LeaveRequest, LeavingMember, Now};

impl Groups {
    /// LeaveGroup. The outcome of each member, in the request's order.
    ///
    /// # Errors
    /// When the group id cannot be one, or the coordinator stopped. An unknown group makes every member unknown.
    pub fn leave(
        &mut self,
        now: Now,
        request: &LeaveRequest,
        effects: &mut Effects,
    ) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        let config = self.config;
        let group = match self.classic_mut(&request.group_id) {
            Ok(group) => group,
            Err(GroupError::UnknownMember) => {
                return Ok(vec![Err(GroupError::UnknownMember); request.members.len()]);
            }
            Err(error) => return Err(error),
        };
        let mut context = Context { now, config: &config, effects };
        let outcomes: Vec<_> =
            request.members.iter().map(|leaving| group.member_leaves(leaving, &mut context)).collect();
        if outcomes.iter().any(Result::is_ok) && group.state != super::ClassicState::Empty {
            group.rebalance_or_complete(&mut context);
        }
        Ok(outcomes)
    }
}

impl ClassicGroup {
    fn member_leaves(
        &mut self,
        leaving: &LeavingMember,
        context: &mut Context<'_>,
    ) -> Result<(), GroupError> {
        let member_id: Arc<str> = if leaving.member_id.is_empty() {
            // An administrator knows static members by instance id alone (KIP-345).
            let instance_id = leaving.instance_id.as_ref().ok_or(GroupError::UnknownMember)?;
            self.static_members.get(instance_id).cloned().ok_or(GroupError::UnknownMember)?
        } else {
            if !self.pending_joins.contains(&leaving.member_id) {
                self.check_member(&leaving.member_id, leaving.instance_id.as_ref())?;
            }
            leaving.member_id.clone()
        };
        self.remove(&member_id, context);
        Ok(())
    }
}
