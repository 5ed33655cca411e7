//! Owns which data was aborted, as it is found out while batches go by: a source names producer and first offset of every
//! aborted transaction that overlaps what it gives, and the marker that ends it comes along later. Pure.

use std::collections::{BTreeMap, BTreeSet};

use chronik_engine::log::AbortedTxn;
use chronik_protocol::batch::BatchView;
use chronik_tiering::segment::{Marker, marker_of};

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Aborts {
    /// Producer and first offset of aborted transactions whose marker was not seen yet.
    pending: BTreeSet<(i64, i64)>,
    /// First offset and producer of every transaction that is open here.
    open: BTreeMap<i64, i64>,
    /// In the order of their markers.
    ended: Vec<AbortedTxn>,
}

impl Aborts {
    /// Takes in what a source says of the batches that come next.
    pub fn learn(&mut self, aborted: impl IntoIterator<Item = (i64, i64)>) {
        self.pending.extend(aborted);
    }

    /// Whether a batch holds data of an aborted transaction.
    pub fn is_aborted(&self, view: &BatchView<'_>) -> bool {
        let header = view.header();
        header.is_transactional()
            && !header.is_control()
            && self.first_pending(header.producer_id, header.base_offset).is_some()
    }

    fn first_pending(&self, producer: i64, to: i64) -> Option<i64> {
        self.pending.range((producer, i64::MIN)..=(producer, to)).next().map(|(_, first)| *first)
    }

    /// Goes on to the next batch.
    pub fn pass(&mut self, view: &BatchView<'_>) {
        let header = view.header();
        let (producer, offset) = (header.producer_id, header.base_offset);
        if !header.is_transactional() {
            return;
        }
        if !header.is_control() {
            if !self.open.values().any(|open| *open == producer) {
                let first = self.first_pending(producer, offset).unwrap_or(offset);
                self.open.insert(first, producer);
            }
            return;
        }
        self.open.retain(|_, open| *open != producer);
        if marker_of(view) == Some(Marker::Abort)
            && let Some(first_offset) = self.first_pending(producer, offset)
        {
            self.pending.retain(|(id, first)| *id != producer || *first > offset);
            // What a log would say: no transaction that is aborted later begins before this.
            let stable_offset = self.open.keys().next().copied().unwrap_or(offset + 1);
            let ended =
                AbortedTxn { producer_id: producer, first_offset, last_offset: offset, stable_offset };
            self.ended.push(ended);
        }
    }

    /// Whether the marker of an aborted transaction that began before `next_offset` was not seen yet.
    pub fn lacks_markers(&self, next_offset: i64) -> bool {
        self.pending.iter().any(|(_, first)| *first < next_offset)
    }

    /// The aborted transactions with an offset in `base_offset..next_offset`, in the order of their markers.
    pub fn overlapping(&self, base_offset: i64, next_offset: i64) -> Vec<AbortedTxn> {
        let overlaps = |txn: &&AbortedTxn| txn.first_offset < next_offset && txn.last_offset >= base_offset;
        self.ended.iter().filter(overlaps).copied().collect()
    }

    /// Forgets what ended before `offset`.
    pub fn forget_before(&mut self, offset: i64) {
        self.ended.retain(|txn| txn.last_offset >= offset);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use chronik_protocol::batch::BatchBuilder;

    use super::*;

    fn data(offset: i64, producer: i64) -> Bytes {
        let builder = BatchBuilder::new().base_offset(offset).producer(producer, 0, 0).transactional(true);
        builder.record(1, None, Some(b"v")).build().unwrap()
    }

    fn marker(offset: i64, producer: i64, kind: u8) -> Bytes {
        let builder = BatchBuilder::new().base_offset(offset).producer(producer, 0, -1).transactional(true);
        builder.control(true).record(1, Some(&[0, 0, 0, kind]), Some(&[0; 6])).build().unwrap()
    }

    #[test]
    fn interleaved_transactions_are_told_apart() {
        let mut aborts = Aborts::default();
        aborts.learn([(1, 10), (2, 5)]);
        let run = [
            data(10, 1),
            data(11, 3),
            data(12, 2),
            marker(13, 1, 0),
            data(14, 1),
            marker(15, 3, 1),
            marker(16, 2, 0),
        ];
        let aborted: Vec<bool> = run
            .iter()
            .map(|batch| {
                let view = BatchView::new(batch).unwrap();
                let aborted = aborts.is_aborted(&view);
                aborts.pass(&view);
                aborted
            })
            .collect();
        assert_eq!(aborted, [true, false, true, false, false, false, false]);
        assert!(!aborts.lacks_markers(i64::MAX));
        let told: Vec<_> = aborts
            .overlapping(10, 17)
            .iter()
            .map(|txn| (txn.producer_id, txn.first_offset, txn.last_offset, txn.stable_offset))
            .collect();
        // The second began at 5, before what was read, and is open at 13; producer 1 begins anew at 14.
        assert_eq!(told, [(1, 10, 13, 5), (2, 5, 16, 14)]);
        assert_eq!(aborts.overlapping(14, 17).len(), 1);
        aborts.forget_before(14);
        assert_eq!(aborts.overlapping(0, 17).len(), 1);
    }

    #[test]
    fn a_transaction_whose_marker_is_behind_lacks_it() {
        let mut aborts = Aborts::default();
        aborts.learn([(1, 10)]);
        let batch = data(10, 1);
        let view = BatchView::new(&batch).unwrap();
        assert!(aborts.is_aborted(&view));
        aborts.pass(&view);
        assert!(aborts.lacks_markers(11) && !aborts.lacks_markers(10));
    }
}
