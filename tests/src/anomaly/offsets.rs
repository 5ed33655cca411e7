//! Offsets that do not name one record each: two values at one offset, one value at two.

use std::collections::BTreeMap;

use super::history::{Key, Value};
use super::index::{Index, OpIndex};
use super::{Anomaly, Kind};

/// Inconsistent offsets and duplicates.
pub fn find(index: &Index<'_>, found: &mut Vec<Anomaly>) {
    for (&key, order) in &index.orders {
        let mut offsets_of: BTreeMap<Value, usize> = BTreeMap::new();
        for values in order.log.values() {
            if values.len() > 1 {
                let values: Vec<Value> = values.iter().copied().collect();
                let told = values.iter().flat_map(|value| told_by(index, key, *value));
                found.push(Anomaly::new(Kind::InconsistentOffsets, key, &values, &told.collect::<Vec<_>>()));
            }
            values.iter().for_each(|value| *offsets_of.entry(*value).or_default() += 1);
        }
        for (value, _) in offsets_of.into_iter().filter(|(_, offsets)| *offsets > 1) {
            found.push(Anomaly::new(Kind::Duplicate, key, &[value], &told_by(index, key, value)));
        }
    }
}

/// Who sent a value, and the first and last that polled it.
fn told_by(index: &Index<'_>, key: Key, value: Value) -> Vec<OpIndex> {
    let readers = index.readers_of.get(&(key, value)).map_or(&[][..], Vec::as_slice);
    let mut told: Vec<OpIndex> = index.writer_of.get(&(key, value)).copied().into_iter().collect();
    told.extend(readers.first());
    told.extend(readers.last().filter(|_| readers.len() > 1));
    told
}
