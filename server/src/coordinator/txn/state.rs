//! One transactional id: its producer, and its last or open transaction. Kafka's `TransactionMetadata`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use chronik_engine::keys::group::OffsetValue;
use chronik_engine::keys::txn::{PendingOffsetValue, TxnGroupValue, TxnTopicValue, TxnValue};
use chronik_engine::store::StoreError;
use uuid::Uuid;

use super::TopicPartition;

/// The last epoch that a producer is given: one more is kept for fencing it (Kafka's `isEpochExhausted`).
pub(super) const LAST_EPOCH: i16 = i16::MAX - 1;

/// Where a transactional id is in its life. The numbers are on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TxnState {
    /// No transaction since the producer began.
    Empty = 0,
    /// One is open.
    Ongoing = 1,
    /// It commits: decided, and being carried out.
    PrepareCommit = 2,
    /// It aborts: decided, and being carried out.
    PrepareAbort = 3,
    /// It committed.
    CompleteCommit = 4,
    /// It aborted.
    CompleteAbort = 5,
}

impl TxnState {
    /// Every state.
    pub const ALL: [Self; 6] = [
        Self::Empty,
        Self::Ongoing,
        Self::PrepareCommit,
        Self::PrepareAbort,
        Self::CompleteCommit,
        Self::CompleteAbort,
    ];

    /// As Kafka spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Ongoing => "Ongoing",
            Self::PrepareCommit => "PrepareCommit",
            Self::PrepareAbort => "PrepareAbort",
            Self::CompleteCommit => "CompleteCommit",
            Self::CompleteAbort => "CompleteAbort",
        }
    }

    /// The number on disk.
    const fn number(self) -> u32 {
        self as u32
    }

    /// Whether readers wait for its end.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Ongoing | Self::PrepareCommit | Self::PrepareAbort)
    }

    /// Whether the end is decided and being carried out.
    pub const fn is_ending(self) -> bool {
        matches!(self, Self::PrepareCommit | Self::PrepareAbort)
    }
}

/// The producer that owns a transactional id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Producer {
    /// Its id.
    pub id: i64,
    /// The newest epoch; none before the first was given out.
    pub epoch: Option<i16>,
    /// The epoch before, whose owner may ask again for what it was not told.
    pub last_epoch: Option<i16>,
    /// The id before this one, whose epochs were used up.
    pub previous_id: Option<i64>,
}

impl Producer {
    pub(super) const fn new(id: i64) -> Self {
        Self { id, epoch: None, last_epoch: None, previous_id: None }
    }

    /// Whether it has no epoch left to give out.
    pub(super) fn is_exhausted(&self) -> bool {
        self.epoch.is_some_and(|epoch| epoch >= LAST_EPOCH)
    }

    /// Its epoch; -1 before the first.
    pub fn epoch_or_none(&self) -> i16 {
        self.epoch.unwrap_or(-1)
    }

    /// One epoch up.
    pub(super) fn raised(self) -> Self {
        let epoch = self.epoch.map_or(0, |epoch| epoch.saturating_add(1));
        Self { epoch: Some(epoch), last_epoch: self.epoch, ..self }
    }
}

/// One transactional id.
#[derive(Clone, Debug, PartialEq)]
pub struct Txn {
    /// Who owns it.
    pub producer: Producer,
    /// The id that replaces the producer's when the transaction is complete.
    pub next_producer_id: Option<i64>,
    /// How long a transaction may be open, ms.
    pub timeout_ms: i32,
    /// Where it is.
    pub state: TxnState,
    /// When the open or last transaction began, ms since the epoch; none before the first.
    pub started_ms: Option<i64>,
    /// When it last changed, ms since the epoch.
    pub updated_ms: i64,
    /// Whether the client's transactions are of version 2 (KIP-890).
    pub raises_epochs: bool,
    /// What the open transaction writes to.
    pub partitions: BTreeSet<TopicPartition>,
    /// The groups it commits offsets of, and those that wait for its end.
    pub groups: BTreeMap<Arc<str>, BTreeMap<TopicPartition, OffsetValue>>,
}

impl Txn {
    /// A transactional id that nobody has used.
    pub(super) fn new(producer_id: i64, timeout_ms: i32, now_ms: i64) -> Self {
        Self {
            producer: Producer::new(producer_id),
            next_producer_id: None,
            timeout_ms,
            state: TxnState::Empty,
            started_ms: None,
            updated_ms: now_ms,
            raises_epochs: false,
            partitions: BTreeSet::new(),
            groups: BTreeMap::new(),
        }
    }

    /// As stored.
    pub fn to_value(&self) -> TxnValue {
        let mut topics: Vec<TxnTopicValue> = Vec::new();
        for &(topic, partition) in &self.partitions {
            let id = Bytes::copy_from_slice(topic.as_bytes());
            match topics.last_mut() {
                Some(last) if last.topic == id => last.partitions.push(partition),
                _ => topics.push(TxnTopicValue { topic: id, partitions: vec![partition] }),
            }
        }
        let groups = self.groups.iter().map(|(group_id, offsets)| TxnGroupValue {
            group_id: group_id.to_string(),
            offsets: offsets
                .iter()
                .map(|(&(topic, partition), offset)| PendingOffsetValue {
                    topic: Bytes::copy_from_slice(topic.as_bytes()),
                    partition,
                    offset: Some(offset.clone()),
                })
                .collect(),
        });
        TxnValue {
            producer_id: self.producer.id,
            producer_epoch: self.producer.epoch.map(i32::from),
            last_epoch: self.producer.last_epoch.map(i32::from),
            previous_producer_id: self.producer.previous_id,
            next_producer_id: self.next_producer_id,
            timeout_ms: self.timeout_ms,
            state: self.state.number(),
            started_ms: self.started_ms,
            updated_ms: self.updated_ms,
            raises_epochs: self.raises_epochs,
            topics,
            groups: groups.collect(),
        }
    }

    /// From what was stored.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when it is none of the states, epochs or topic ids there can be.
    pub fn from_value(value: TxnValue) -> Result<Self, StoreError> {
        let state = TxnState::ALL.into_iter().find(|state| state.number() == value.state);
        let mut partitions = BTreeSet::new();
        for topic in &value.topics {
            let id = topic_id(&topic.topic)?;
            partitions.extend(topic.partitions.iter().map(|&partition| (id, partition)));
        }
        let mut groups = BTreeMap::new();
        for group in value.groups {
            let mut offsets = BTreeMap::new();
            for pending in group.offsets {
                let offset = pending.offset.ok_or_else(|| corrupt("a pending offset is none"))?;
                offsets.insert((topic_id(&pending.topic)?, pending.partition), offset);
            }
            groups.insert(group.group_id.into(), offsets);
        }
        Ok(Self {
            producer: Producer {
                id: value.producer_id,
                epoch: value.producer_epoch.map(epoch).transpose()?,
                last_epoch: value.last_epoch.map(epoch).transpose()?,
                previous_id: value.previous_producer_id,
            },
            next_producer_id: value.next_producer_id,
            timeout_ms: value.timeout_ms,
            state: state.ok_or_else(|| corrupt("a transaction's state is unknown"))?,
            started_ms: value.started_ms,
            updated_ms: value.updated_ms,
            raises_epochs: value.raises_epochs,
            partitions,
            groups,
        })
    }
}

fn epoch(value: i32) -> Result<i16, StoreError> {
    i16::try_from(value).map_err(|_| corrupt("a producer epoch is out of range"))
}

fn topic_id(bytes: &[u8]) -> Result<Uuid, StoreError> {
    Uuid::from_slice(bytes).map_err(|_| corrupt("a topic id is not 16 bytes"))
}

fn corrupt(reason: &str) -> StoreError {
    StoreError::Corrupt(reason.into())
}
