//! OffsetCommit: who may commit, and what is kept. Kafka's `OffsetMetadataManager.commitOffset`.

use std::sync::Arc;

use chronik_engine::keys::group::OffsetValue;

use super::state::{ClassicGroup, ClassicState};
use super::{CommitRequest, Context, Effects, Entry, GroupError, Groups, Now, OffsetToCommit, Record};
use crate::coordinator::limits::GROUP_ID_BYTES_MAX;

impl Groups {
    /// OffsetCommit. The outcome of each offset, in the request's order.
    ///
    /// # Errors
    /// When nothing may be committed at all.
    pub fn commit_offsets(
        &mut self,
        now: Now,
        request: CommitRequest,
        effects: &mut Effects,
    ) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        self.admit_commit(&request)?;
        if let Some(entry) = self.entries.get_mut(&request.group_id) {
            let mut context = Context { now, config: &self.config, effects };
            entry.classic_mut().heard_by_commit(&request.member_id, &mut context);
        }
        let metadata_max = usize::try_from(self.config.offset_metadata_max_bytes).unwrap_or(0);
        let expires_ms = request.retention_ms.map(|retention_ms| now.wall_ms.saturating_add(retention_ms));
        let mut outcomes = Vec::with_capacity(request.offsets.len());
        for offset in request.offsets {
            let (topic, partition) = (offset.topic, offset.partition);
            if is_longer_than(&offset.metadata, metadata_max) {
                outcomes.push(Err(GroupError::OffsetMetadataTooLarge));
                continue;
            }
            self.last_serial += 1;
            let value = offset.into_value(now, expires_ms, self.last_serial);
            let record = Record::Offset { group_id: request.group_id.clone(), topic, partition, value };
            self.commit_record(record, now, effects);
            outcomes.push(Ok(()));
        }
        Ok(outcomes)
    }

    fn admit_commit(&self, request: &CommitRequest) -> Result<(), GroupError> {
        if self.stopped {
            return Err(GroupError::CoordinatorStopped);
        }
        if request.group_id.len() > GROUP_ID_BYTES_MAX {
            return Err(GroupError::InvalidGroupId);
        }
        match self.entries.get(&request.group_id).map(Entry::classic) {
            Some(group) => group.check_commit(request),
            // A consumer that assigns itself partitions, or a tool: the commit makes a simple group.
            None if request.generation < 0 => Ok(()),
            None if request.knows_group_not_found => Err(GroupError::GroupNotFound),
            None => Err(GroupError::IllegalGeneration),
        }
    }
}

impl ClassicGroup {
    fn check_commit(&self, request: &CommitRequest) -> Result<(), GroupError> {
        if request.generation < 0 && self.state == ClassicState::Empty {
            return Ok(());
        }
        let from_member =
            request.generation >= 0 || !request.member_id.is_empty() || request.instance_id.is_some();
        if !from_member {
            // Someone outside a group that is in use.
            return Err(GroupError::UnknownMember);
        }
        self.check_member(&request.member_id, request.instance_id.as_ref())?;
        if request.generation != self.generation {
            return Err(GroupError::IllegalGeneration);
        }
        if self.state == ClassicState::CompletingRebalance {
            // The member has no share of this generation yet, so the offsets are of partitions it may have lost.
            // While the group prepares to rebalance it still owns them: that is when consumers commit.
            return Err(GroupError::RebalanceInProgress);
        }
        Ok(())
    }

    fn heard_by_commit(&mut self, member_id: &Arc<str>, context: &mut Context<'_>) {
        if matches!(self.state, ClassicState::Stable | ClassicState::PreparingRebalance) {
            self.hear_from(member_id, context);
        }
    }
}

impl OffsetToCommit {
    pub(super) fn into_value(self, now: Now, expires_ms: Option<i64>, serial: u64) -> OffsetValue {
        OffsetValue {
            offset: self.offset,
            leader_epoch: self.leader_epoch,
            metadata: self.metadata,
            committed_ms: now.wall_ms,
            expires_ms,
            serial,
        }
    }
}

/// Kafka counts UTF-16 units, of which a text never has more than bytes.
pub(super) fn is_longer_than(text: &str, max: usize) -> bool {
    text.len() > max && text.encode_utf16().count() > max
}
