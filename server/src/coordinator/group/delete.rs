//! DeleteGroups, OffsetDelete, and the end of offsets whose topic is deleted.

use std::collections::BTreeSet;
use std::sync::Arc;

use uuid::Uuid;

use super::state::ClassicState;
use super::{Effects, Entry, GroupError, Groups, Now, OffsetDeleteRequest, Record};

impl Groups {
    /// DeleteGroups for one group: its offsets and itself.
    ///
    /// # Errors
    /// When it is not there or has members.
    pub fn delete(&mut self, now: Now, group_id: &Arc<str>, effects: &mut Effects) -> Result<(), GroupError> {
        let group = self.existing(group_id)?.classic();
        if group.state != ClassicState::Empty {
            return Err(GroupError::GroupNotEmpty);
        }
        self.remove_group(now, group_id, effects);
        Ok(())
    }

    /// OffsetDelete: the outcome of each topic, in the request's order; it holds for all its partitions, with or
    /// without an offset.
    ///
    /// # Errors
    /// When the group is not there, or has members whose subscriptions are not ours to read.
    pub fn delete_offsets(
        &mut self,
        now: Now,
        request: &OffsetDeleteRequest,
        effects: &mut Effects,
    ) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        if request.group_id.is_empty() {
            return Err(GroupError::InvalidGroupId);
        }
        let group = self.existing(&request.group_id)?.classic();
        if group.state != ClassicState::Empty && !group.uses_consumer_protocol() {
            return Err(GroupError::GroupNotEmpty);
        }
        let outcomes: Vec<_> = request
            .topics
            .iter()
            .map(
                |(name, ..)| {
                    if group.is_subscribed_to(name) { Err(GroupError::SubscribedToTopic) } else { Ok(()) }
                },
            )
            .collect();
        for ((_, topic, partitions), outcome) in request.topics.iter().zip(&outcomes) {
            if outcome.is_ok() {
                for &partition in partitions {
                    self.remove_offset(now, &request.group_id, *topic, partition, effects);
                }
            }
        }
        Ok(outcomes)
    }

    /// Topics were deleted: no group has offsets of them any more.
    pub fn topics_deleted(&mut self, now: Now, topics: &BTreeSet<Uuid>, effects: &mut Effects) {
        let mut gone = Vec::new();
        for (group_id, entry) in &self.entries {
            let offsets = entry.offsets.keys().filter(|(topic, _)| topics.contains(topic));
            gone.extend(offsets.map(|&(topic, partition)| (group_id.clone(), topic, partition)));
        }
        for (group_id, topic, partition) in gone {
            self.remove_offset(now, &group_id, topic, partition, effects);
        }
    }

    pub(super) fn remove_group(&mut self, now: Now, group_id: &Arc<str>, effects: &mut Effects) {
        let Some(entry) = self.entries.get(group_id) else { return };
        let group = entry.classic();
        // Ids that were given out end with the group.
        effects
            .timers
            .extend(group.pending_joins.iter().map(|member_id| (group.session_key(member_id), None)));
        let offsets: Vec<(Uuid, u32)> = entry.offsets.keys().copied().collect();
        for (topic, partition) in offsets {
            self.remove_offset(now, group_id, topic, partition, effects);
        }
        self.commit_record(Record::GroupRemoved { group_id: group_id.clone() }, now, effects);
    }

    pub(super) fn remove_offset(
        &mut self,
        now: Now,
        group_id: &Arc<str>,
        topic: Uuid,
        partition: u32,
        effects: &mut Effects,
    ) {
        let entry = self.entries.get(group_id);
        if entry.is_some_and(|entry| entry.offsets.contains_key(&(topic, partition))) {
            let record = Record::OffsetRemoved { group_id: group_id.clone(), topic, partition };
            self.commit_record(record, now, effects);
        }
    }

    fn existing(&self, group_id: &str) -> Result<&Entry, GroupError> {
        if self.stopped {
            return Err(GroupError::CoordinatorStopped);
        }
        self.entries.get(group_id).ok_or(GroupError::GroupNotFound)
    }
}
