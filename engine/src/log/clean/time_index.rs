//! The time index of a segment that was cleaned, made anew: the records that raised its maximum may have gone.

/// Entries of one segment at most: the interval grows with the segment.
const ENTRIES_PER_SEGMENT: u64 = 1024;

/// Gathers entries while a pass walks over the segment's batches.
#[derive(Debug)]
pub(super) struct TimeIndexer {
    interval_bytes: u64,
    pending_bytes: u64,
    max_timestamp: i64,
    indexed_max: i64,
    /// The first offset that may have raised the maximum above what is indexed.
    raised_at: i64,
    entries: Vec<(i64, i64)>,
}

impl TimeIndexer {
    /// For a segment that may take `segment_bytes`.
    pub(super) fn new(index_interval_bytes: u64, segment_bytes: u64) -> Self {
        Self {
            interval_bytes: index_interval_bytes.max(segment_bytes / ENTRIES_PER_SEGMENT),
            pending_bytes: 0,
            max_timestamp: -1,
            indexed_max: -1,
            raised_at: 0,
            entries: Vec::new(),
        }
    }

    /// Adds the next batch: where it begins, the largest timestamp of its records (-1 without one), its bytes.
    pub(super) fn add(&mut self, base_offset: i64, max_timestamp: i64, bytes: u64) {
        self.pending_bytes += bytes;
        if max_timestamp > self.max_timestamp {
            if self.max_timestamp == self.indexed_max {
                self.raised_at = base_offset;
            }
            self.max_timestamp = max_timestamp;
        }
        if self.pending_bytes >= self.interval_bytes {
            self.index();
        }
    }

    fn index(&mut self) {
        if self.max_timestamp > self.indexed_max {
            self.entries.push((self.max_timestamp, self.raised_at));
            self.indexed_max = self.max_timestamp;
            self.pending_bytes = 0;
        }
    }

    /// The segment's maximum, and its entries: a timestamp, and the first offset that may have reached it. The last
    /// bears the maximum, so that a lookup always ends in it.
    pub(super) fn finish(mut self) -> (i64, Vec<(i64, i64)>) {
        self.index();
        (self.max_timestamp, self.entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_found_at_or_after_the_entry_that_covers_it() {
        let batches = [(0, 50), (10, 40), (20, 70), (30, -1), (40, 60), (50, 90), (60, 90)];
        for interval in [1, 150, 10_000] {
            let mut indexer = TimeIndexer::new(interval, 0);
            batches.iter().for_each(|(base, time)| indexer.add(*base, *time, 100));
            let (max, entries) = indexer.finish();
            assert_eq!((max, entries.last().map(|entry| entry.0)), (90, Some(90)));
            for time in 0..=90 {
                let first = batches.iter().find(|(_, max)| *max >= time).unwrap().0;
                let (_, from) = entries.iter().find(|(max, _)| *max >= time).unwrap();
                assert!(*from <= first, "{interval}: {time} at {first}, looked for from {from}");
            }
        }
    }

    #[test]
    fn batches_without_times_make_no_entries() {
        let mut indexer = TimeIndexer::new(1, 0);
        indexer.add(0, -1, 100);
        assert_eq!(indexer.finish(), (-1, Vec::new()));
    }
}
