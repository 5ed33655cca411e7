//! Transactions that nobody ends, and transactional ids that nobody uses.

use std::sync::Arc;

use super::state::TxnState;
use super::{Record, Transactions};

impl Transactions {
    /// Decides the abort of transactions that are open for longer than their timeout, `most` at a time, and fences their
    /// producers. Returns whose (Kafka's `abortTimedOutTransactions`).
    pub fn abort_timed_out(&mut self, now_ms: i64, most: usize, records: &mut Vec<Record>) -> Vec<Arc<str>> {
        let timed_out: Vec<Arc<str>> = self
            .by_id
            .iter()
            .filter(|(_, txn)| {
                let since = txn.started_ms.unwrap_or(now_ms);
                txn.state == TxnState::Ongoing && now_ms.saturating_sub(since) > i64::from(txn.timeout_ms)
            })
            .map(|(id, _)| id.clone())
            .take(most)
            .collect();
        for id in &timed_out {
            self.fence_and_abort(now_ms, id, records);
        }
        timed_out
    }

    /// Forgets transactional ids without an open transaction that were not used for `transactional.id.expiration.ms`.
    /// Returns how many.
    pub fn expire_ids(&mut self, now_ms: i64, records: &mut Vec<Record>) -> usize {
        let keep_ms = self.config.id_expiration_ms;
        let expired: Vec<Arc<str>> = self
            .by_id
            .iter()
            .filter(|(_, txn)| !txn.state.is_open() && now_ms.saturating_sub(txn.updated_ms) >= keep_ms)
            .map(|(id, _)| id.clone())
            .collect();
        let count = expired.len();
        for transactional_id in expired {
            let record = Record::Removed { transactional_id };
            self.apply(&record);
            records.push(record);
        }
        count
    }
}
