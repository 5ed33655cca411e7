//! TxnOffsetCommit and what becomes of its offsets. They wait with their transaction ([`crate::coordinator::txn`]); here
//! it is decided whether a group takes them, and they come back when the transaction commits.
//!
//! Kafka's `ClassicGroup.validateOffsetCommit` with `isTransactional`, and `OffsetMetadataManager.replayEndTransactionMarker`.

use std::sync::Arc;

use chronik_engine::keys::group::OffsetValue;
use uuid::Uuid;

use super::commit::is_longer_than;
use super::state::{ClassicGroup, ClassicState};
use super::{CommitRequest, Effects, Entry, GroupError, Groups, Now, Record};
use crate::coordinator::limits::GROUP_ID_BYTES_MAX;

/// The outcome of each offset of a TxnOffsetCommit, in order: the value that waits for the transaction, or why it does not.
pub type AdmittedOffsets = Vec<Result<OffsetValue, GroupError>>;

/// Offsets of one group whose transaction committed.
#[derive(Clone, Debug, PartialEq)]
pub struct EndedOffsets {
    /// The group.
    pub group_id: Arc<str>,
    /// Topic, partition, and what is committed there.
    pub offsets: Vec<(Uuid, u32, OffsetValue)>,
}

impl Groups {
    /// TxnOffsetCommit: changes nothing yet, but from here on a commit outside of the transaction counts as later.
    ///
    /// # Errors
    /// When nothing may be committed at all.
    pub fn admit_transactional(
        &mut self,
        now: Now,
        request: CommitRequest,
    ) -> Result<AdmittedOffsets, GroupError> {
        if self.stopped {
            return Err(GroupError::CoordinatorStopped);
        }
        if request.group_id.is_empty() || request.group_id.len() > GROUP_ID_BYTES_MAX {
            return Err(GroupError::InvalidGroupId);
        }
        let metadata_max = usize::try_from(self.config.offset_metadata_max_bytes).unwrap_or(0);
        match self.entries.get(&request.group_id).map(Entry::classic) {
            Some(group) => group.check_transactional(&request)?,
            None if request.generation >= 0 => return Err(GroupError::IllegalGeneration),
            // Listed from here on, as in Kafka; kept once an offset counts.
            None if request.offsets.iter().any(|offset| !is_longer_than(&offset.metadata, metadata_max)) => {
                self.entry_or_simple(&request.group_id, now);
            }
            None => {}
        }
        let admitted = request.offsets.into_iter().map(|offset| {
            if is_longer_than(&offset.metadata, metadata_max) {
                return Err(GroupError::OffsetMetadataTooLarge);
            }
            self.last_serial += 1;
            Ok(offset.into_value(now, None, self.last_serial))
        });
        Ok(admitted.collect())
    }

    /// A transaction committed: its offsets count, save where a later commit is there already. Doing it again changes
    /// nothing.
    pub fn transaction_committed(&mut self, now: Now, groups: Vec<EndedOffsets>, effects: &mut Effects) {
        for EndedOffsets { group_id, offsets } in groups {
            for (topic, partition, value) in offsets {
                let entry = self.entries.get(&group_id);
                let there = entry.and_then(|entry| entry.offsets.get(&(topic, partition)));
                if there.is_none_or(|there| there.serial < value.serial) {
                    let group_id = group_id.clone();
                    self.commit_record(Record::Offset { group_id, topic, partition, value }, now, effects);
                }
            }
        }
    }

    /// Serials up to this one were given out before the restart.
    pub fn reserve_serials(&mut self, serial: u64) {
        self.last_serial = self.last_serial.max(serial);
    }
}

impl ClassicGroup {
    fn check_transactional(&self, request: &CommitRequest) -> Result<(), GroupError> {
        if request.generation < 0 && self.state == ClassicState::Empty {
            return Ok(());
        }
        // Older versions name no member at all, and are let in for that.
        if request.generation >= 0 || !request.member_id.is_empty() || request.instance_id.is_some() {
            self.check_member(&request.member_id, request.instance_id.as_ref())?;
            if request.generation != self.generation {
                return Err(GroupError::IllegalGeneration);
            }
        }
        Ok(())
    }
}
