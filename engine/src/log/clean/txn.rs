//! What a pass knows of transactions as it walks up the log (Kafka's `CleanedTransactionMetadata`): which data was
//! aborted, and whether a marker still has data of its transaction before it. Pure.

use std::collections::{HashMap, HashSet, VecDeque};

use chronik_protocol::batch::BatchHeader;

use crate::log::AbortedTxn;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Transactions {
    /// Aborted ones that begin further up, by first offset.
    ahead: VecDeque<AbortedTxn>,
    /// Those that have begun, by producer, and whether a batch of theirs was met.
    aborted: HashMap<i64, (AbortedTxn, bool)>,
    /// Producers with a batch of a transaction that was not aborted, and whose marker has not come.
    committed: HashSet<i64>,
    /// Aborted ones of which nothing was met up to their marker: the log may forget them.
    gone: Vec<AbortedTxn>,
}

impl Transactions {
    /// Begins a walk over a range that these aborted transactions overlap.
    pub(super) fn new(mut aborted: Vec<AbortedTxn>) -> Self {
        aborted.sort_unstable_by_key(|aborted| aborted.first_offset);
        Self { ahead: aborted.into(), ..Self::default() }
    }

    /// Notes the next batch. True if it is data of an aborted transaction, or the marker of a transaction that has no
    /// data before it any more.
    pub(super) fn discardable(&mut self, header: &BatchHeader) -> bool {
        while self.ahead.front().is_some_and(|next| next.first_offset <= header.last_offset()) {
            let Some(next) = self.ahead.pop_front() else { break };
            self.end(next.producer_id);
            self.aborted.insert(next.producer_id, (next, false));
        }
        if self
            .aborted
            .get(&header.producer_id)
            .is_some_and(|(past, _)| past.last_offset < header.base_offset)
        {
            // Its marker is gone already; this batch belongs to a later transaction.
            self.end(header.producer_id);
        }
        if header.is_control() {
            return self.marker_is_idle(header);
        }
        if !header.is_transactional() {
            return false;
        }
        match self.aborted.get_mut(&header.producer_id) {
            Some((_, met)) => {
                *met = true;
                true
            }
            None => {
                self.committed.insert(header.producer_id);
                false
            }
        }
    }

    fn marker_is_idle(&mut self, header: &BatchHeader) -> bool {
        if header.record_count == 0 {
            // An earlier pass has emptied it.
            return true;
        }
        match self.end(header.producer_id) {
            Some(met) => !met,
            None => !self.committed.remove(&header.producer_id),
        }
    }

    /// Ends the producer's aborted transaction; whether a batch of it was met.
    fn end(&mut self, producer_id: i64) -> Option<bool> {
        let (aborted, met) = self.aborted.remove(&producer_id)?;
        if !met {
            self.gone.push(aborted);
        }
        Some(met)
    }

    /// Whether no transaction reaches over the place where the walk is.
    pub(super) fn none_open(&self) -> bool {
        self.committed.is_empty() && self.aborted.is_empty()
    }

    /// How many [`Self::take_gone`] would give.
    pub(super) fn gone(&self) -> usize {
        self.gone.len()
    }

    /// Aborted transactions of which nothing is left, since it was last asked for. The log has to forget them no later than
    /// it loses their markers.
    pub(super) fn take_gone(&mut self) -> Vec<AbortedTxn> {
        std::mem::take(&mut self.gone)
    }
}

#[cfg(test)]
mod tests {
    use chronik_protocol::batch::{BatchBuilder, BatchHeader};

    use super::*;

    fn header(producer_id: i64, offset: i64, control: bool) -> BatchHeader {
        let batch = BatchBuilder::new()
            .base_offset(offset)
            .producer(producer_id, 0, if control { -1 } else { 0 })
            .transactional(true)
            .control(control)
            .record(0, Some(b"k"), None)
            .build()
            .unwrap();
        BatchHeader::parse(&batch).unwrap()
    }

    fn aborted(producer_id: i64, first_offset: i64, last_offset: i64) -> AbortedTxn {
        AbortedTxn { producer_id, first_offset, last_offset, stable_offset: last_offset + 1 }
    }

    #[test]
    fn aborted_data_goes_and_its_marker_stays_until_a_pass_meets_no_data() {
        let mut walk = Transactions::new(vec![aborted(1, 0, 4)]);
        assert!(walk.discardable(&header(1, 0, false)));
        assert!(!walk.discardable(&header(2, 1, false)), "another producer's, committed");
        assert!(!walk.none_open());
        assert!(walk.discardable(&header(1, 2, false)));
        assert!(!walk.discardable(&header(2, 3, true)), "a commit marker with data before it");
        assert!(!walk.discardable(&header(1, 4, true)), "data was met in this pass");
        assert!(walk.none_open() && walk.take_gone().is_empty());
        let mut again = Transactions::new(vec![aborted(1, 0, 4)]);
        assert!(again.discardable(&header(1, 4, true)));
        assert_eq!(again.take_gone(), [aborted(1, 0, 4)]);
    }

    #[test]
    fn a_commit_marker_without_data_before_it_may_go() {
        let mut walk = Transactions::default();
        assert!(walk.discardable(&header(1, 7, true)));
        assert!(!walk.discardable(&header(1, 8, false)));
        assert!(!walk.discardable(&header(1, 9, true)));
    }

    #[test]
    fn a_producer_that_aborts_and_then_commits_loses_only_what_it_aborted() {
        let mut walk = Transactions::new(vec![aborted(1, 10, 12), aborted(1, 20, 22)]);
        for (offset, control, discardable) in [
            (5, false, false),
            (6, true, false),
            (10, false, true),
            // The marker at 12 is gone; what follows is no part of that transaction.
            (15, false, false),
            (16, true, false),
            (20, false, true),
            (22, true, false),
        ] {
            assert_eq!(walk.discardable(&header(1, offset, control)), discardable, "{offset}");
        }
        assert!(walk.none_open());
    }
}
