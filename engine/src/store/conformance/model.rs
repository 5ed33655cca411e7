//! Random interleavings against a `BTreeMap`: every read must answer what the model answers, across crashes.

use std::collections::BTreeMap;
use std::ops::{Bound, Range};
use std::sync::Arc;

use bytes::Bytes;

use super::super::{Durability, Keyspace, ScanLimit, Snapshot, Store, WriteBatch};
use super::{Factory, Random, block_on};

const SEEDS: u64 = 6;
const STEPS: usize = 150;
const KEYS: usize = 40;

type Map = BTreeMap<(usize, Bytes), Bytes>;

struct Run {
    random: Random,
    map: Map,
    /// Value of each put, so that no two are alike.
    version: u64,
}

pub(super) fn any_interleaving_agrees_with_the_model(make: Factory<'_>) {
    for seed in 0..SEEDS {
        let mut run = Run { random: Random(seed), map: Map::new(), version: 0 };
        let mut bed = make();
        let mut snapshots: Vec<(Arc<dyn Snapshot>, Map)> = Vec::new();
        for step in 0..STEPS {
            let store = bed.store();
            match run.random.below(20) {
                0..9 => run.commit(&*store),
                9..12 => run.check_get(&*store, seed, step),
                12..16 => run.check_scan(&*store, seed, step),
                16 | 17 => {
                    if snapshots.len() == 3 {
                        snapshots.remove(0);
                    }
                    snapshots.push((store.snapshot(), run.map.clone()));
                }
                18 => {
                    for (snapshot, map) in &snapshots {
                        let (keyspace, range, limit) = run.any_scan();
                        let chunk = block_on(snapshot.scan(keyspace, range.clone(), limit)).expect("scans");
                        check_chunk(map, keyspace, &range, limit, &chunk, (seed, step));
                    }
                }
                _ => {
                    // Snapshots do not outlive the process.
                    snapshots.clear();
                    drop(store);
                    bed = if run.random.below(2) == 0 {
                        bed.crash()
                    } else {
                        block_on(bed.store().close()).expect("closes");
                        bed.reopen()
                    };
                }
            }
        }
    }
}

impl Run {
    fn any_key(&mut self) -> Bytes {
        // Short ones too, which are prefixes of others.
        let number = self.random.below(KEYS);
        let bytes = (number as u16).to_be_bytes();
        Bytes::copy_from_slice(if number.is_multiple_of(7) { &bytes[1..] } else { &bytes })
    }

    fn any_keyspace(&mut self) -> (usize, Keyspace) {
        let index = self.random.below(Keyspace::ALL.len());
        (index, Keyspace::ALL[index])
    }

    fn any_value(&mut self) -> Bytes {
        self.version += 1;
        let len = [0, 1, 100, 9_000, 40_000][self.random.below(5)];
        let mut value = vec![self.version as u8; len];
        value.extend_from_slice(&self.version.to_be_bytes());
        value.into()
    }

    /// A few batches at once, the last one synced, so that the model survives a crash whole.
    fn commit(&mut self, store: &dyn Store) {
        let batches = 1 + self.random.below(4);
        for number in 0..batches {
            let mut batch = WriteBatch::new();
            for _ in 0..1 + self.random.below(5) {
                let (index, keyspace) = self.any_keyspace();
                let key = self.any_key();
                match self.random.below(11) {
                    0..7 => {
                        let value = self.any_value();
                        self.map.insert((index, key.clone()), value.clone());
                        batch.put(keyspace, key, value);
                    }
                    7 | 8 => {
                        self.map.remove(&(index, key.clone()));
                        batch.delete(keyspace, key);
                    }
                    9 => {
                        let to = self.any_key();
                        batch.reclaim(keyspace, key, to);
                    }
                    _ => {
                        let to = self.any_key();
                        self.map.retain(|(each, other), _| *each != index || *other < key || *other >= to);
                        batch.trim(keyspace, key, to);
                    }
                }
            }
            let last = number + 1 == batches;
            let ticket = store.commit(batch, if last { Durability::Sync } else { Durability::Os });
            if last {
                block_on(ticket).expect("the commit succeeds");
            }
        }
    }

    fn check_get(&mut self, store: &dyn Store, seed: u64, step: usize) {
        let (index, keyspace) = self.any_keyspace();
        let key = self.any_key();
        let found = block_on(store.get(keyspace, key.clone())).expect("reads");
        assert_eq!(found, self.map.get(&(index, key)).cloned(), "seed {seed}, step {step}");
    }

    fn any_scan(&mut self) -> (Keyspace, Range<Bytes>, ScanLimit) {
        let (_, keyspace) = self.any_keyspace();
        let max_bytes = [0, 150, 9_050, 100_000, usize::MAX][self.random.below(5)];
        let max_entries = [1, 2, 10, usize::MAX][self.random.below(4)];
        (keyspace, self.any_key()..self.any_key(), ScanLimit { max_bytes, max_entries })
    }

    fn check_scan(&mut self, store: &dyn Store, seed: u64, step: usize) {
        let (keyspace, range, limit) = self.any_scan();
        let chunk = block_on(store.scan(keyspace, range.clone(), limit)).expect("scans");
        check_chunk(&self.map, keyspace, &range, limit, &chunk, (seed, step));
    }
}

/// What came back must be a prefix of what the model holds, within the limit, and stop only for a reason.
fn check_chunk(
    map: &Map,
    keyspace: Keyspace,
    range: &Range<Bytes>,
    limit: ScanLimit,
    chunk: &super::super::Chunk,
    at: (u64, usize),
) {
    let index = Keyspace::ALL.iter().position(|&each| each == keyspace).expect("ALL holds every keyspace");
    let expected: Vec<(Bytes, Bytes)> = if range.start < range.end {
        let bounds =
            (Bound::Included((index, range.start.clone())), Bound::Excluded((index, range.end.clone())));
        map.range(bounds).map(|((_, key), value)| (key.clone(), value.clone())).collect()
    } else {
        Vec::new()
    };
    let count = chunk.entries.len();
    assert!(
        count <= expected.len() && chunk.entries == expected[..count],
        "(seed, step) {at:?}: other entries"
    );
    assert_eq!(chunk.more, count < expected.len(), "(seed, step) {at:?}: `more`");
    assert!(count > 0 || expected.is_empty(), "(seed, step) {at:?}: nothing although there is something");
    let bytes: usize = chunk.entries.iter().map(|(_, value)| value.len()).sum();
    assert!(
        count <= limit.max_entries.max(1) && (bytes <= limit.max_bytes || count == 1),
        "(seed, step) {at:?}: budget"
    );
    if let Some((_, next)) = expected.get(count) {
        let full = count >= limit.max_entries || bytes + next.len() > limit.max_bytes;
        assert!(full, "(seed, step) {at:?}: stopped without a reason");
    }
}
