//! Consumer groups, decided without I/O, async, clock or randomness.
//!
//! [`Groups`] holds every group of a shard. Each operation has a file; it reads and changes the state and fills
//! [`Effects`]: records to persist, replies to callers that were waiting, timers. Two kinds of state live here:
//!
//! - *Persisted*: committed offsets and the fact that a group exists. Changed only by [`Groups::apply`] of a
//!   [`Record`], in operations and at start-up alike, so a replay of the records is the state.
//! - *Volatile*: who is joining, who waits for which answer, session deadlines, and a generation that no leader has
//!   assigned yet. A restart forgets them, and a group comes back as of its last [`Record::Group`]; members notice by
//!   ILLEGAL_GENERATION or UNKNOWN_MEMBER_ID and join again. The classic groups of Kafka's coordinator
//!   (`GroupMetadataManager`, `ClassicGroup`) draw the same line.
//!
//! Nothing here names a topic's partitions or leaders: whether a topic exists is the handlers' question.

mod command;
mod commit;
mod delete;
mod describe;
mod error;
mod expire;
mod fetch;
mod heartbeat;
mod join;
mod leave;
mod rebalance;
mod state;
mod subscription;
mod sync;
#[cfg(test)]
mod tests;
mod transactional;

use std::collections::BTreeMap;
use std::sync::Arc;

use chronik_engine::keys::group::OffsetValue;
use uuid::Uuid;

pub use command::*;
pub use error::GroupError;
pub use state::{ClassicGroup, ClassicState, Member};
pub use transactional::{AdmittedOffsets, EndedOffsets};

/// What the broker's configuration says about groups, by Kafka's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupConfig {
    /// `group.min.session.timeout.ms`.
    pub min_session_timeout_ms: i32,
    /// `group.max.session.timeout.ms`.
    pub max_session_timeout_ms: i32,
    /// `group.initial.rebalance.delay.ms`.
    pub initial_rebalance_delay_ms: i32,
    /// `group.max.size`, in members.
    pub max_size: i32,
    /// `offset.metadata.max.bytes`; counted in UTF-16 units, as Kafka does.
    pub offset_metadata_max_bytes: i32,
    /// `offsets.retention.minutes`, in ms.
    pub offsets_retention_ms: i64,
    /// `offsets.retention.check.interval.ms`.
    pub offsets_retention_check_interval_ms: i64,
}

impl Default for GroupConfig {
    fn default() -> Self {
        Self {
            min_session_timeout_ms: 6_000,
            max_session_timeout_ms: 1_800_000,
            initial_rebalance_delay_ms: 3_000,
            max_size: i32::MAX,
            offset_metadata_max_bytes: 4_096,
            offsets_retention_ms: 7 * 24 * 60 * 60 * 1_000,
            offsets_retention_check_interval_ms: 600_000,
        }
    }
}

/// A group, by the protocol that manages it. KIP-848's consumer groups will be another variant.
#[derive(Debug)]
pub enum Group {
    /// JoinGroup, SyncGroup, Heartbeat; or offsets alone.
    Classic(ClassicGroup),
}

/// A group with what it committed.
#[derive(Debug)]
struct Entry {
    group: Group,
    offsets: BTreeMap<(Uuid, u32), CommittedOffset>,
}

impl Entry {
    fn new(group: ClassicGroup) -> Self {
        Self { group: Group::Classic(group), offsets: BTreeMap::new() }
    }
    fn classic(&self) -> &ClassicGroup {
        match &self.group {
            Group::Classic(classic) => classic,
        }
    }
    fn classic_mut(&mut self) -> &mut ClassicGroup {
        match &mut self.group {
            Group::Classic(classic) => classic,
        }
    }
}

/// [`OffsetValue`] without spare capacity: there may be hundreds of thousands.
#[derive(Clone, Debug, PartialEq, Eq)]
struct CommittedOffset {
    offset: i64,
    committed_ms: i64,
    expires_ms: Option<i64>,
    metadata: Box<str>,
    leader_epoch: i32,
    serial: u64,
}

impl CommittedOffset {
    fn from_value(value: &OffsetValue) -> Self {
        Self {
            offset: value.offset,
            committed_ms: value.committed_ms,
            expires_ms: value.expires_ms,
            metadata: value.metadata.as_str().into(),
            leader_epoch: value.leader_epoch,
            serial: value.serial,
        }
    }
    fn to_value(&self) -> OffsetValue {
        OffsetValue {
            offset: self.offset,
            leader_epoch: self.leader_epoch,
            metadata: self.metadata.to_string(),
            committed_ms: self.committed_ms,
            expires_ms: self.expires_ms,
            serial: self.serial,
        }
    }
}

/// What an operation on one group works with, besides the group.
struct Context<'a> {
    now: Now,
    config: &'a GroupConfig,
    effects: &'a mut Effects,
}

/// Every group of a shard.
#[derive(Debug)]
pub struct Groups {
    config: GroupConfig,
    entries: BTreeMap<Arc<str>, Entry>,
    /// The highest [`OffsetValue::serial`] there is.
    last_serial: u64,
    stopped: bool,
}

impl Groups {
    /// No groups.
    pub fn new(config: GroupConfig) -> Self {
        Self { config, entries: BTreeMap::new(), last_serial: 0, stopped: false }
    }

    /// The configuration.
    pub fn config(&self) -> &GroupConfig {
        &self.config
    }

    /// How many groups there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many offsets are committed, in all groups.
    pub fn offset_count(&self) -> usize {
        self.entries.values().map(|entry| entry.offsets.len()).sum()
    }

    /// Changes the persisted state as `record` says. An offset for an unknown group makes it a simple one.
    pub fn apply(&mut self, record: &Record, now: Now) {
        match record {
            Record::Group { group_id, value } => {
                let restored = ClassicGroup::restore(group_id.clone(), value);
                match self.entries.get_mut(group_id) {
                    Some(entry) => entry.group = Group::Classic(restored),
                    None => {
                        self.entries.insert(group_id.clone(), Entry::new(restored));
                    }
                }
            }
            Record::GroupRemoved { group_id } => {
                self.entries.remove(group_id);
            }
            Record::Offset { group_id, topic, partition, value } => {
                self.last_serial = self.last_serial.max(value.serial);
                let entry = self.entry_or_simple(group_id, now);
                entry.offsets.insert((*topic, *partition), CommittedOffset::from_value(value));
            }
            Record::OffsetRemoved { group_id, topic, partition } => {
                if let Some(entry) = self.entries.get_mut(group_id) {
                    entry.offsets.remove(&(*topic, *partition));
                }
            }
        }
    }

    /// After the last record of a start-up: members get a session to show up in, and a group above a lowered
    /// `group.max.size` rebalances.
    pub fn loaded(&mut self, now: Now) -> Effects {
        let mut effects = Effects::default();
        let mut context = Context { now, config: &self.config, effects: &mut effects };
        for entry in self.entries.values_mut() {
            entry.classic_mut().loaded(&mut context);
        }
        effects
    }

    /// The coordinator stops: whoever waits is told, and every group is `Dead` from here on.
    pub fn stop(&mut self, now: Now) -> Effects {
        self.stopped = true;
        let mut effects = Effects::default();
        let mut context = Context { now, config: &self.config, effects: &mut effects };
        for entry in self.entries.values_mut() {
            entry.classic_mut().stop(&mut context);
        }
        effects
    }

    /// A timer that an earlier [`Effects`] set is due.
    pub fn timer_fired(&mut self, now: Now, key: &TimerKey) -> Effects {
        let mut effects = Effects::default();
        let mut context = Context { now, config: &self.config, effects: &mut effects };
        let (TimerKey::Session { group_id, .. } | TimerKey::Join { group_id } | TimerKey::Sync { group_id }) =
            key;
        if let Some(entry) = self.entries.get_mut(group_id) {
            let group = entry.classic_mut();
            match key {
                TimerKey::Session { member_id, .. } => group.session_timed_out(member_id, &mut context),
                TimerKey::Join { .. } => group.join_timed_out(&mut context),
                TimerKey::Sync { .. } => group.sync_timed_out(&mut context),
            }
        }
        effects
    }

    fn entry_or_simple(&mut self, group_id: &Arc<str>, now: Now) -> &mut Entry {
        self.entries
            .entry(group_id.clone())
            .or_insert_with(|| Entry::new(ClassicGroup::new(group_id.clone(), now)))
    }

    /// The group for a member's request, or why there is none.
    fn classic_mut(&mut self, group_id: &str) -> Result<&mut ClassicGroup, GroupError> {
        if self.stopped {
            return Err(GroupError::CoordinatorStopped);
        }
        if group_id.is_empty() || group_id.len() > super::limits::GROUP_ID_BYTES_MAX {
            return Err(GroupError::InvalidGroupId);
        }
        self.entries.get_mut(group_id).map(Entry::classic_mut).ok_or(GroupError::UnknownMember)
    }

    /// Records a change and makes it.
    fn commit_record(&mut self, record: Record, now: Now, effects: &mut Effects) {
        self.apply(&record, now);
        effects.records.push(record);
    }
}
