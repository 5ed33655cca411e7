//! What a log knows of transactions: which are open, where the stable offset is, and which were aborted.
//!
//! Kafka's `ProducerStateManager` (`ongoingTxns`, `unreplicatedTxns`) and `TransactionIndex`. Whether a transaction may
//! begin or end here is the coordinator's business.

use std::collections::{BTreeMap, HashSet, VecDeque};

use crate::keys::aborted::AbortedValue;
use crate::limits::ABORTED_REMEMBERED;

/// An aborted transaction that a reader of committed data has to skip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTxn {
    /// Who wrote it.
    pub producer_id: i64,
    /// Its first offset.
    pub first_offset: i64,
    /// The offset of its abort marker.
    pub last_offset: i64,
    /// See [`AbortedValue::stable_offset`].
    pub stable_offset: i64,
}

impl AbortedTxn {
    pub(super) fn from_value(last_offset: i64, value: &AbortedValue) -> Self {
        Self {
            producer_id: value.producer_id,
            first_offset: value.first_offset,
            last_offset,
            stable_offset: value.stable_offset,
        }
    }

    pub(super) fn to_value(self) -> AbortedValue {
        AbortedValue {
            producer_id: self.producer_id,
            first_offset: self.first_offset,
            stable_offset: self.stable_offset,
        }
    }
}

/// Who may see what: Kafka's `isolation.level`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Everything durable.
    Uncommitted,
    /// What is before the first open transaction, with word of the aborted ones.
    Committed,
}

/// The transactions of one log.
#[derive(Debug)]
pub(super) struct LogTransactions {
    /// Producers with an open transaction, by the transaction's first offset.
    open: BTreeMap<i64, i64>,
    /// First offset and marker of those that ended and whose marker is not durable yet: as many as commits are under
    /// way, at most.
    ending: VecDeque<(i64, i64)>,
    aborted: RecentAborts,
    /// How often the cleaner has dropped word of an aborted transaction.
    forgotten: u64,
}

impl LogTransactions {
    /// As loaded: `open` by first offset, and the offset of the newest abort marker, -1 when there is none.
    pub(super) fn new(open: BTreeMap<i64, i64>, newest_aborted: i64) -> Self {
        Self { open, ending: VecDeque::new(), aborted: RecentAborts::new(newest_aborted), forgotten: 0 }
    }

    /// A transaction of `producer_id` begins at `first_offset`.
    pub(super) fn begin(&mut self, producer_id: i64, first_offset: i64) {
        self.open.insert(first_offset, producer_id);
    }

    /// The transaction that began at `first_offset` ends with a marker at `marker`; what is durable reaches to
    /// `high_watermark`.
    pub(super) fn end(&mut self, first_offset: i64, marker: i64, high_watermark: i64) {
        self.open.remove(&first_offset);
        while self.ending.front().is_some_and(|&(_, marker)| marker < high_watermark) {
            self.ending.pop_front();
        }
        self.ending.push_back((first_offset, marker));
    }

    /// First offset of the oldest transaction that is open, whatever is durable.
    pub(super) fn first_open(&self) -> Option<i64> {
        self.open.keys().next().copied()
    }

    /// First offset that depends on a transaction which is open, or whose end is not durable.
    pub(super) fn first_unstable(&self, high_watermark: i64) -> Option<i64> {
        let ending = self.ending.iter().filter(|&&(_, marker)| marker >= high_watermark);
        ending.map(|&(first, _)| first).chain(self.first_open()).min()
    }

    /// Producers with an open transaction and where it began.
    pub(super) fn open(&self) -> impl Iterator<Item = (i64, i64)> {
        self.open.iter().map(|(&first_offset, &producer_id)| (producer_id, first_offset))
    }

    /// Notes an aborted transaction, newer than all before it.
    pub(super) fn aborted(&mut self, aborted: AbortedTxn) {
        self.aborted.push(aborted);
    }

    /// Drops word of transactions that have no data left, in the order of their markers. Those may go later, and a reader
    /// who was told of the transaction then would skip all that its producer has written since.
    pub(super) fn forget(&mut self, gone: &[AbortedTxn]) {
        if gone.is_empty() {
            return;
        }
        let gone: HashSet<i64> = gone.iter().map(|gone| gone.last_offset).collect();
        self.aborted.entries.retain(|entry| !gone.contains(&entry.last_offset));
        self.forgotten += 1;
    }

    /// Changes with each [`Self::forget`].
    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// The offset of the newest abort marker, -1 when there is none.
    pub(super) fn newest_aborted(&self) -> i64 {
        self.aborted.newest
    }

    /// The aborted transactions with an offset in `from..end`, if memory knows them all.
    pub(super) fn aborted_between(&self, from: i64, end: i64) -> Option<Vec<AbortedTxn>> {
        self.aborted.between(from, end)
    }
}

/// The newest aborted transactions, at most [`ABORTED_REMEMBERED`]; older ones are in the store alone.
#[derive(Debug)]
struct RecentAborts {
    /// In the order of their markers.
    entries: VecDeque<AbortedTxn>,
    /// Every transaction whose abort marker is at this offset or behind is in `entries`.
    known_from: i64,
    newest: i64,
}

impl RecentAborts {
    fn new(newest: i64) -> Self {
        Self { entries: VecDeque::new(), known_from: newest.saturating_add(1), newest }
    }

    fn push(&mut self, aborted: AbortedTxn) {
        if self.entries.len() == ABORTED_REMEMBERED
            && let Some(oldest) = self.entries.pop_front()
        {
            self.known_from = oldest.last_offset + 1;
        }
        self.newest = aborted.last_offset;
        self.entries.push_back(aborted);
    }

    fn between(&self, from: i64, end: i64) -> Option<Vec<AbortedTxn>> {
        if from < self.known_from {
            return None;
        }
        let first = self.entries.partition_point(|entry| entry.last_offset < from);
        Some(overlapping(self.entries.range(first..).copied(), end).0)
    }
}

/// Of aborted transactions in the order of their markers, those that begin before `end`; and whether later ones cannot
/// (Kafka's `TransactionIndex.collectAbortedTxns`).
pub(super) fn overlapping(
    entries: impl IntoIterator<Item = AbortedTxn>,
    end: i64,
) -> (Vec<AbortedTxn>, bool) {
    let mut found = Vec::new();
    for entry in entries {
        if entry.first_offset < end {
            found.push(entry);
        }
        if entry.stable_offset >= end {
            return (found, true);
        }
    }
    (found, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn txn(first_offset: i64, last_offset: i64, stable_offset: i64) -> AbortedTxn {
        AbortedTxn { producer_id: first_offset, first_offset, last_offset, stable_offset }
    }

    // semantics 3.4.8
    #[test]
    fn the_first_unstable_offset_waits_for_the_marker_to_be_durable() {
        let mut txns = LogTransactions::new(BTreeMap::new(), -1);
        assert_eq!(txns.first_unstable(100), None);
        txns.begin(7, 10);
        txns.begin(8, 12);
        assert_eq!(txns.first_unstable(11), Some(10));
        txns.end(10, 20, 15);
        assert_eq!(txns.first_unstable(20), Some(10), "the marker at 20 is not durable");
        assert_eq!(txns.first_unstable(21), Some(12));
        txns.end(12, 21, 21);
        assert_eq!(txns.first_unstable(22), None);
    }

    #[test]
    fn memory_answers_for_what_it_knows_and_for_nothing_else() {
        let mut txns = LogTransactions::new(BTreeMap::new(), 9);
        assert_eq!(txns.aborted_between(9, 100), None, "the abort that ended at 9 is in the store");
        assert_eq!(txns.aborted_between(10, 100), Some(vec![]));
        txns.aborted(txn(11, 20, 15));
        txns.aborted(txn(15, 30, 31));
        assert_eq!(txns.aborted_between(10, 100).unwrap().len(), 2);
        assert_eq!(txns.aborted_between(21, 100).unwrap(), [txn(15, 30, 31)]);
        assert_eq!(txns.aborted_between(12, 13).unwrap(), [txn(11, 20, 15)], "it began before what is read");
        assert_eq!(txns.aborted_between(10, 11).unwrap(), []);
        for index in 0..ABORTED_REMEMBERED as i64 {
            txns.aborted(txn(40 + index, 40 + index, 41 + index));
        }
        assert_eq!(txns.aborted_between(30, 100), None);
        assert_eq!(txns.aborted_between(31, 41).unwrap(), [txn(40, 40, 41)]);
    }
}
