//! DescribeTransactions and ListTransactions.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::state::{Txn, TxnState};
use super::{TopicPartition, Transactions};

/// What DescribeTransactions says of one transactional id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnDescription {
    /// Where it is.
    pub state: TxnState,
    /// How long a transaction may be open, ms.
    pub timeout_ms: i32,
    /// When the transaction began, ms since the epoch; none while there was none.
    pub started_ms: Option<i64>,
    /// The producer.
    pub producer_id: i64,
    /// Its epoch.
    pub producer_epoch: i16,
    /// The partitions the open transaction writes to.
    pub partitions: BTreeSet<TopicPartition>,
    /// The groups it commits offsets of.
    pub groups: Vec<Arc<str>>,
}

/// What ListTransactions lets pass.
#[derive(Clone, Debug, Default)]
pub struct TxnFilter {
    /// In one of these states; empty for all.
    pub states: Vec<TxnState>,
    /// Of one of these producers; empty for all.
    pub producer_ids: Vec<i64>,
    /// Open for longer than this, ms; negative for all (KIP-994).
    pub longer_than_ms: i64,
}

/// What ListTransactions says of one transactional id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnListing {
    /// Which.
    pub transactional_id: Arc<str>,
    /// Its producer.
    pub producer_id: i64,
    /// Where it is.
    pub state: TxnState,
}

impl Transactions {
    /// DescribeTransactions for one id; none when it is unknown.
    pub fn describe(&self, transactional_id: &str) -> Option<TxnDescription> {
        let txn = self.by_id.get(transactional_id)?;
        Some(TxnDescription {
            state: txn.state,
            timeout_ms: txn.timeout_ms,
            started_ms: txn.started_ms,
            producer_id: txn.producer.id,
            producer_epoch: txn.producer.epoch_or_none(),
            partitions: txn.partitions.clone(),
            groups: txn.groups.keys().cloned().collect(),
        })
    }

    /// ListTransactions; `named` says whether an id's name passes.
    pub fn list(&self, now_ms: i64, filter: &TxnFilter, named: impl Fn(&str) -> bool) -> Vec<TxnListing> {
        let passing = self.by_id.iter().filter(|(id, txn)| filter.lets_pass(txn, now_ms) && named(id));
        let listed = passing.map(|(id, txn)| TxnListing {
            transactional_id: id.clone(),
            producer_id: txn.producer.id,
            state: txn.state,
        });
        listed.collect()
    }
}

impl TxnFilter {
    fn lets_pass(&self, txn: &Txn, now_ms: i64) -> bool {
        // Kafka counts from "none", which is before 1970, where no transaction was open yet.
        let open_ms = now_ms.saturating_sub(txn.started_ms.unwrap_or(-1));
        (self.states.is_empty() || self.states.contains(&txn.state))
            && (self.producer_ids.is_empty() || self.producer_ids.contains(&txn.producer.id))
            && (self.longer_than_ms < 0 || open_ms > self.longer_than_ms)
    }
}
