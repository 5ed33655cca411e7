//! DescribeGroups and ListGroups: what there is, as tools show it.

use std::sync::Arc;

use super::state::{ClassicGroup, ClassicState};
use super::{Entry, GroupDescription, GroupError, GroupListing, Groups, MemberDescription};

/// The type that ListGroups filters by; others belong to protocols that are not served.
const CLASSIC_KIND: &str = "classic";

impl Groups {
    /// DescribeGroups for one group.
    ///
    /// # Errors
    /// [`GroupError::GroupNotFound`]; how that looks depends on the request's version.
    pub fn describe(&self, group_id: &str) -> Result<GroupDescription, GroupError> {
        if self.stopped {
            return Err(GroupError::CoordinatorStopped);
        }
        self.entries.get(group_id).map(|entry| entry.classic().describe()).ok_or(GroupError::GroupNotFound)
    }

    /// ListGroups. Empty filters let everything pass; case and surrounding space do not matter.
    ///
    /// # Errors
    /// When the coordinator stopped.
    pub fn list(&self, states: &[String], kinds: &[String]) -> Result<Vec<GroupListing>, GroupError> {
        if self.stopped {
            return Err(GroupError::CoordinatorStopped);
        }
        let passes = |filter: &[String], value: &str| {
            filter.is_empty() || filter.iter().any(|wanted| wanted.trim().eq_ignore_ascii_case(value))
        };
        let listed = self
            .entries
            .values()
            .map(Entry::classic)
            .filter(|group| passes(states, group.state.name()) && passes(kinds, CLASSIC_KIND));
        Ok(listed.map(ClassicGroup::listing).collect())
    }
}

impl ClassicGroup {
    fn listing(&self) -> GroupListing {
        GroupListing {
            group_id: self.id.clone(),
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            state: self.state.name(),
            kind: CLASSIC_KIND,
        }
    }

    /// Metadata belongs to a protocol, so it is told only when one is in force.
    fn describe(&self) -> GroupDescription {
        let protocol = self.protocol.clone().filter(|_| self.state == ClassicState::Stable);
        let members = self.members.iter().map(|(member_id, member)| MemberDescription {
            member_id: member_id.clone(),
            instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            metadata: protocol.as_deref().map(|protocol| member.metadata(protocol)).unwrap_or_default(),
            assignment: member.assignment.clone(),
        });
        GroupDescription {
            state: self.state.name(),
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            members: members.collect(),
            protocol: protocol.unwrap_or_else(|| Arc::from("")),
        }
    }
}
