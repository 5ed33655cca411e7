//! Heartbeat: a member is alive, and learns of rebalances. Kafka's `classicGroupHeartbeat`.

use super::state::ClassicState;
use super::{Context, Effects, GroupError, Groups, HeartbeatRequest, Now};

impl Groups {
    /// Heartbeat.
    ///
    /// # Errors
    /// [`GroupError::RebalanceInProgress`] asks the member to join again; its session goes on all the same.
    pub fn heartbeat(
        &mut self,
        now: Now,
        request: &HeartbeatRequest,
        effects: &mut Effects,
    ) -> Result<(), GroupError> {
        let config = self.config;
        let group = self.classic_mut(&request.group_id)?;
        group.check_member(&request.member_id, request.instance_id.as_ref())?;
        if request.generation != group.generation {
            return Err(GroupError::IllegalGeneration);
        }
        let mut context = Context { now, config: &config, effects };
        match group.state {
            ClassicState::Empty => Err(GroupError::UnknownMember),
            ClassicState::Dead => Err(GroupError::CoordinatorStopped),
            ClassicState::PreparingRebalance => {
                group.hear_from(&request.member_id, &mut context);
                Err(GroupError::RebalanceInProgress)
            }
            // Consumers heartbeat as soon as they joined, before they have their share.
            ClassicState::CompletingRebalance | ClassicState::Stable => {
                group.hear_from(&request.member_id, &mut context);
                Ok(())
            }
        }
    }
}
