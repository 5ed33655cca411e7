//! Offsets that wait for a transaction's end (TxnOffsetCommit).

use std::sync::Arc;

use chronik_engine::keys::group::OffsetValue;

use super::add::extended;
use super::state::{Txn, TxnState};
use super::{Asker, Record, TopicPartition, Transactions, TxnError};
use crate::coordinator::group::EndedOffsets;

impl Transactions {
    /// Adds offsets of a group to the transaction. In version 2 this takes the group in; in version 1 it must be in.
    ///
    /// # Errors
    /// As AddOffsetsToTxn, and [`TxnError::NotIncluded`].
    pub fn add_offsets(
        &mut self,
        now_ms: i64,
        asker: &Asker,
        group_id: &Arc<str>,
        offsets: Vec<(TopicPartition, OffsetValue)>,
        records: &mut Vec<Record>,
    ) -> Result<(), TxnError> {
        let known = self.extendable(asker)?;
        if known.state != TxnState::Ongoing || !known.groups.contains_key(group_id) {
            return Err(TxnError::NotIncluded);
        }
        let mut txn = extended(known, now_ms, asker);
        txn.groups.entry(group_id.clone()).or_default().extend(offsets);
        self.commit(&asker.transactional_id, txn, records);
        Ok(())
    }

    /// The partitions of a group for which an offset waits in a transaction that has not ended (`require_stable`).
    pub fn pending_of(&self, group_id: &str) -> Vec<TopicPartition> {
        self.pending.get(group_id).map(|partitions| partitions.keys().copied().collect()).unwrap_or_default()
    }

    /// Drops what waits for a group: what `goes` says, for its offsets were deleted.
    pub fn forget_offsets(
        &mut self,
        now_ms: i64,
        group_id: &Arc<str>,
        goes: impl Fn(&TopicPartition) -> bool,
        records: &mut Vec<Record>,
    ) {
        if !self.pending_of(group_id).iter().any(&goes) {
            return;
        }
        let holders: Vec<Arc<str>> = self
            .by_id
            .iter()
            .filter(|(_, txn)| txn.groups.get(group_id).is_some_and(|offsets| offsets.keys().any(&goes)))
            .map(|(id, _)| id.clone())
            .collect();
        for id in holders {
            let Some(mut txn) = self.by_id.get(&id).cloned() else { continue };
            txn.updated_ms = now_ms;
            if let Some(offsets) = txn.groups.get_mut(group_id) {
                offsets.retain(|partition, _| !goes(partition));
            }
            self.commit(&id, txn, records);
        }
    }

    /// The highest serial of an offset that waits.
    pub fn last_serial(&self) -> u64 {
        let offsets =
            self.by_id.values().flat_map(|txn| txn.groups.values()).flat_map(|group| group.values());
        offsets.map(|offset| offset.serial).max().unwrap_or(0)
    }
}

impl Txn {
    /// The offsets that count once it is committed.
    pub fn ended_offsets(&self) -> Vec<EndedOffsets> {
        let groups = self.groups.iter().filter(|(_, offsets)| !offsets.is_empty());
        let ended = groups.map(|(group_id, offsets)| EndedOffsets {
            group_id: group_id.clone(),
            offsets: offsets
                .iter()
                .map(|(&(topic, partition), offset)| (topic, partition, offset.clone()))
                .collect(),
        });
        ended.collect()
    }
}
