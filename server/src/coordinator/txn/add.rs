//! AddPartitionsToTxn and AddOffsetsToTxn: what a transaction reaches, before anything is written there.

use std::sync::Arc;

use super::state::{Txn, TxnState};
use super::{Asker, Record, TopicPartition, Transactions, TxnError};
use crate::coordinator::limits::{GROUP_ID_BYTES_MAX, GROUPS_PER_TXN_MAX};

impl Transactions {
    /// Takes partitions into the transaction, beginning one if none is open.
    ///
    /// # Errors
    /// See `extendable` below.
    pub fn add_partitions(
        &mut self,
        now_ms: i64,
        asker: &Asker,
        partitions: &[TopicPartition],
        records: &mut Vec<Record>,
    ) -> Result<(), TxnError> {
        let known = self.extendable(asker)?;
        if known.state == TxnState::Ongoing && partitions.iter().all(|one| known.partitions.contains(one)) {
            return Ok(());
        }
        let mut txn = extended(known, now_ms, asker);
        txn.partitions.extend(partitions);
        self.commit(&asker.transactional_id, txn, records);
        Ok(())
    }

    /// Takes a group into the transaction, beginning one if none is open.
    ///
    /// # Errors
    /// See `extendable` below.
    pub fn add_group(
        &mut self,
        now_ms: i64,
        asker: &Asker,
        group_id: &Arc<str>,
        records: &mut Vec<Record>,
    ) -> Result<(), TxnError> {
        let known = self.extendable(asker)?;
        if known.state == TxnState::Ongoing && known.groups.contains_key(group_id) {
            return Ok(());
        }
        if group_id.len() > GROUP_ID_BYTES_MAX || known.groups.len() >= GROUPS_PER_TXN_MAX {
            return Err(TxnError::InvalidRequest);
        }
        let mut txn = extended(known, now_ms, asker);
        txn.groups.entry(group_id.clone()).or_default();
        self.commit(&asker.transactional_id, txn, records);
        Ok(())
    }

    /// That the group is in the open transaction.
    ///
    /// # Errors
    /// [`TxnError::NotIncluded`], and when there is no such transaction for whoever asks.
    pub fn verify_group(&self, asker: &Asker, group_id: &Arc<str>) -> Result<(), TxnError> {
        let txn = self.extendable(asker)?;
        let is_included = txn.state == TxnState::Ongoing && txn.groups.contains_key(group_id);
        if is_included { Ok(()) } else { Err(TxnError::NotIncluded) }
    }

    /// Whether each partition is in the open transaction (KIP-890's `verifyOnly`).
    ///
    /// # Errors
    /// When there is no such transaction for whoever asks.
    pub fn verify(&self, asker: &Asker, partitions: &[TopicPartition]) -> Result<Vec<bool>, TxnError> {
        let txn = self.extendable(asker)?;
        Ok(partitions.iter().map(|one| txn.partitions.contains(one)).collect())
    }

    /// The transaction of whoever asks, if it may be extended.
    ///
    /// # Errors
    /// [`TxnError::InvalidRequest`], [`TxnError::InvalidProducerIdMapping`], [`TxnError::ProducerFenced`],
    /// [`TxnError::Ending`].
    pub(super) fn extendable(&self, asker: &Asker) -> Result<&Txn, TxnError> {
        let txn = self.owned(asker)?;
        if txn.state.is_ending() { Err(TxnError::Ending) } else { Ok(txn) }
    }
}

/// The transaction as open, and changed now.
pub(super) fn extended(known: &Txn, now_ms: i64, asker: &Asker) -> Txn {
    let started_ms = if known.state == TxnState::Ongoing { known.started_ms } else { Some(now_ms) };
    Txn {
        state: TxnState::Ongoing,
        started_ms,
        updated_ms: now_ms,
        raises_epochs: asker.raises_epochs,
        ..known.clone()
    }
}
