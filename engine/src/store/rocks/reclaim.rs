//! Which trimmed ranges still wait to be compacted, so that their space comes back.
//!
//! Blobs are freed only by compaction, and an idle store never compacts. The list is bounded: past
//! [`RANGES_MAX`] ranges of a keyspace, neighbours are joined, which costs work and loses nothing.

use std::ops::Range;

use bytes::Bytes;

use super::super::Keyspace;
use super::ffi::Database;

/// Ranges of one keyspace that are remembered apart.
const RANGES_MAX: usize = 1024;

/// Garbage in blob files below which rewriting them is not worth it.
const GARBAGE_BYTES_MIN: u64 = 16 << 20;

/// Trimmed ranges by keyspace: sorted, disjoint.
#[derive(Debug, Default)]
pub(super) struct TrimmedRanges {
    by_keyspace: [Vec<Range<Bytes>>; 3],
}

impl TrimmedRanges {
    pub(super) fn is_empty(&self) -> bool {
        self.by_keyspace.iter().all(Vec::is_empty)
    }

    /// Adds `range`, joined with those it touches.
    pub(super) fn add(&mut self, keyspace: Keyspace, mut range: Range<Bytes>) {
        if range.start >= range.end {
            return;
        }
        let position =
            Keyspace::ALL.iter().position(|&each| each == keyspace).expect("ALL holds every keyspace");
        let ranges = &mut self.by_keyspace[position];
        let first = ranges.partition_point(|each| each.end < range.start);
        let last = ranges.partition_point(|each| each.start <= range.end);
        for touched in ranges.drain(first..last) {
            range.start = range.start.min(touched.start);
            range.end = range.end.max(touched.end);
        }
        ranges.insert(first, range);
        if ranges.len() > RANGES_MAX {
            *ranges = ranges
                .chunks(2)
                .map(|pair| pair[0].start.clone()..pair[pair.len() - 1].end.clone())
                .collect();
        }
    }

    /// Compacts every range, then blob files if more than half of them is garbage. `stopped` is asked in between.
    pub(super) fn reclaim(self, database: &Database, stopped: impl Fn() -> bool) {
        for (keyspace, ranges) in Keyspace::ALL.into_iter().zip(self.by_keyspace) {
            for range in &ranges {
                if stopped() {
                    return;
                }
                database.compact(keyspace, Some(range), false);
            }
        }
        if !stopped() && mostly_garbage(database) {
            database.compact(Keyspace::Batches, None, true);
        }
    }
}

fn mostly_garbage(database: &Database) -> bool {
    let family = database.db().cf_handle(Keyspace::Batches.name()).expect("opened with every family");
    let bytes = |name: &str| database.db().property_int_value_cf(family, name).ok().flatten().unwrap_or(0);
    let garbage = bytes("rocksdb.live-blob-file-garbage-size");
    garbage >= GARBAGE_BYTES_MIN && garbage > bytes("rocksdb.live-blob-file-size") / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(from: &'static str, to: &'static str) -> Range<Bytes> {
        Bytes::from(from)..Bytes::from(to)
    }

    #[test]
    fn touching_ranges_become_one() {
        let mut ranges = TrimmedRanges::default();
        for each in [range("m", "p"), range("a", "c"), range("x", "z"), range("c", "d"), range("b", "n")] {
            ranges.add(Keyspace::Batches, each);
        }
        assert_eq!(ranges.by_keyspace[1], [range("a", "p"), range("x", "z")]);
        ranges.add(Keyspace::Batches, range("q", "q"));
        assert_eq!(ranges.by_keyspace[1].len(), 2, "an empty range is nothing");
    }

    #[test]
    fn too_many_ranges_are_joined_not_lost() {
        let mut ranges = TrimmedRanges::default();
        let key = |number: usize| Bytes::copy_from_slice(&(number as u32).to_be_bytes());
        for number in 0..=RANGES_MAX {
            ranges.add(Keyspace::Index, key(3 * number)..key(3 * number + 1));
        }
        let kept = &ranges.by_keyspace[2];
        assert!(kept.len() <= RANGES_MAX / 2 + 1);
        for number in 0..=RANGES_MAX {
            let trimmed = key(3 * number);
            assert!(kept.iter().any(|each| each.contains(&trimmed)));
        }
    }
}
