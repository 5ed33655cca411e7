//! Transactions, decided without I/O, async, clock or randomness (KIP-98, KIP-360, KIP-890; Kafka's
//! `TransactionCoordinator` and `TransactionMetadata`).
//!
//! [`Transactions`] holds every transactional id. Each operation has a file; it looks at the state, and changes it only
//! through [`Transactions::apply`] of a [`Record`], in operations and at start-up alike, so a replay of the records is
//! the state.
//!
//! ```text
//!                  a partition or a group is taken in          EndTxn, timeout, a new InitProducerId
//!   Empty ────────────────────────────────────────► Ongoing ──────────────────► PrepareCommit │ PrepareAbort
//!     ▲                                                ▲                                │
//!     │ InitProducerId                                 │ taken in                       │ markers are written,
//!     └─────────────────────── CompleteCommit │ CompleteAbort ◄─────────────────────────┘ offsets are committed
//! ```
//!
//! Between Prepare and Complete the outcome is decided and durable; whoever drives this ([`super::TxnCoordinator`])
//! carries it out, as often as it takes.

mod add;
mod describe;
mod end;
mod error;
mod expire;
mod init;
mod offsets;
mod state;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use uuid::Uuid;

pub use describe::{TxnDescription, TxnFilter, TxnListing};
pub use end::{EndRequest, Ended};
pub use error::TxnError;
pub use init::{InitRequest, Initialized};
pub use state::{Producer, Txn, TxnState};

/// What the broker's configuration says about transactions, by Kafka's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxnConfig {
    /// `transaction.max.timeout.ms`.
    pub max_timeout_ms: i32,
    /// `transactional.id.expiration.ms`.
    pub id_expiration_ms: i64,
}

impl Default for TxnConfig {
    fn default() -> Self {
        Self { max_timeout_ms: 900_000, id_expiration_ms: 7 * 24 * 3_600_000 }
    }
}

/// A partition, by its topic's id.
pub type TopicPartition = (Uuid, u32);

/// Who asks, as the request says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asker {
    /// The transactional id.
    pub transactional_id: Arc<str>,
    /// The producer id it takes to be its own.
    pub producer_id: i64,
    /// The epoch it takes to be its own.
    pub producer_epoch: i16,
    /// Whether its transactions are of version 2: every end raises the epoch (KIP-890).
    pub raises_epochs: bool,
}

/// One change of persisted state. Replayed in order, they rebuild it.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// What a transactional id is from here on.
    Put {
        /// Which.
        transactional_id: Arc<str>,
        /// What.
        txn: Txn,
    },
    /// The transactional id was not used for so long that it is forgotten.
    Removed {
        /// Which.
        transactional_id: Arc<str>,
    },
}

/// Every transactional id.
#[derive(Debug)]
pub struct Transactions {
    config: TxnConfig,
    by_id: BTreeMap<Arc<str>, Txn>,
    /// How many open transactions have an offset pending, by group and partition. Follows from `by_id`.
    pending: HashMap<Arc<str>, HashMap<TopicPartition, usize>>,
}

impl Transactions {
    /// No transactional ids.
    pub fn new(config: TxnConfig) -> Self {
        Self { config, by_id: BTreeMap::new(), pending: HashMap::new() }
    }

    /// How many transactional ids there are.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// How many transactions are open, those that are ending included.
    pub fn open_count(&self) -> usize {
        self.by_id.values().filter(|txn| txn.state.is_open()).count()
    }

    /// What is known of a transactional id.
    pub fn get(&self, transactional_id: &str) -> Option<&Txn> {
        self.by_id.get(transactional_id)
    }

    /// Every transactional id with what is known of it.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Txn)> {
        self.by_id.iter()
    }

    /// Changes the state as `record` says.
    pub fn apply(&mut self, record: &Record) {
        let (id, next) = match record {
            Record::Put { transactional_id, txn } => (transactional_id, Some(txn)),
            Record::Removed { transactional_id } => (transactional_id, None),
        };
        let before = match next {
            Some(txn) => {
                self.count_pending(txn, true);
                self.by_id.insert(id.clone(), txn.clone())
            }
            None => self.by_id.remove(id),
        };
        if let Some(before) = before {
            self.count_pending(&before, false);
        }
    }

    fn count_pending(&mut self, txn: &Txn, more: bool) {
        for (group_id, offsets) in &txn.groups {
            for partition in offsets.keys() {
                if more {
                    *self.pending.entry(group_id.clone()).or_default().entry(*partition).or_default() += 1;
                    continue;
                }
                let Some(of_group) = self.pending.get_mut(group_id) else { continue };
                if let Some(count) = of_group.get_mut(partition) {
                    *count -= 1;
                    if *count == 0 {
                        of_group.remove(partition);
                    }
                }
                if of_group.is_empty() {
                    self.pending.remove(group_id);
                }
            }
        }
    }

    /// Records a change and makes it.
    fn commit(&mut self, transactional_id: &Arc<str>, txn: Txn, records: &mut Vec<Record>) {
        let record = Record::Put { transactional_id: transactional_id.clone(), txn };
        self.apply(&record);
        records.push(record);
    }

    /// The transaction of someone who is its producer.
    fn owned(&self, asker: &Asker) -> Result<&Txn, TxnError> {
        if asker.transactional_id.is_empty() {
            return Err(TxnError::InvalidRequest);
        }
        let txn = self.by_id.get(&asker.transactional_id).ok_or(TxnError::InvalidProducerIdMapping)?;
        if txn.producer.id != asker.producer_id {
            return Err(TxnError::InvalidProducerIdMapping);
        }
        if txn.producer.epoch != Some(asker.producer_epoch) {
            return Err(TxnError::ProducerFenced);
        }
        Ok(txn)
    }
}
