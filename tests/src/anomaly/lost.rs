//! Writes that took effect and are not there to be read: lost behind something that was read, never seen at all, or
//! seen once and gone.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::history::{Key, Outcome, Process, Value};
use super::index::Index;
use super::{Anomaly, Kind};

/// Lost writes, unseen writes and vanished records.
pub fn find(index: &Index<'_>, final_reader: Option<Process>, found: &mut Vec<Anomaly>) {
    lost(index, found);
    unseen(index, found);
    if let Some(reader) = final_reader {
        vanished(index, reader, found);
    }
}

/// The highest index that was read obliges everything below it to have been read. A value with several offsets counts
/// at its first where it obliges others, and at its last where it is obliged.
fn lost(index: &Index<'_>, found: &mut Vec<Anomaly>) {
    for (&key, order) in &index.orders {
        let Some(read) = index.read_ok.get(&key) else { continue };
        let mut first: HashMap<Value, usize> = HashMap::new();
        let mut last: HashMap<Value, usize> = HashMap::new();
        for (at, value) in
            order.log.values().enumerate().flat_map(|(at, set)| set.iter().map(move |v| (at, *v)))
        {
            first.entry(value).or_insert(at);
            last.insert(value, at);
        }
        let bound = read.iter().filter_map(|value| Some((*first.get(value)?, *value))).max();
        let Some((bound, highest)) = bound else { continue };
        let must_read = order.log.values().take(bound + 1).flatten().filter(|value| last[*value] <= bound);
        for &value in must_read.filter(|value| !read.contains(*value)).collect::<BTreeSet<_>>() {
            let Some(&writer) = index.writer_of.get(&(key, value)) else { continue };
            if index.must_have_committed(writer) {
                let reader = index.readers_of[&(key, highest)][0];
                found.push(Anomaly::new(Kind::LostWrite, key, &[value, highest], &[writer, reader]));
            }
        }
    }
}

/// Sends that succeeded and no poll that succeeded ever saw. Those already lost are not told twice.
fn unseen(index: &Index<'_>, found: &mut Vec<Anomaly>) {
    let lost: HashSet<(Option<Key>, Value)> = found
        .iter()
        .filter(|anomaly| anomaly.kind == Kind::LostWrite)
        .map(|anomaly| (anomaly.key, anomaly.values[0]))
        .collect();
    for (at, operation) in index.operations.iter().enumerate() {
        if operation.outcome != Outcome::Ok {
            continue;
        }
        for (key, value, _) in operation.sends() {
            let read = index.read_ok.get(&key).is_some_and(|read| read.contains(&value));
            if !read && !lost.contains(&(Some(key), value)) {
                found.push(Anomaly::new(Kind::Unseen, key, &[value], &[at]));
            }
        }
    }
}

/// What anyone was shown, the final reader must find.
fn vanished(index: &Index<'_>, reader: Process, found: &mut Vec<Anomaly>) {
    let kept = index.read_by(reader);
    let mut gone: Vec<_> = index.readers_of.iter().filter(|(read, _)| !kept.contains(read)).collect();
    gone.sort_unstable();
    for (&(key, value), readers) in gone {
        found.push(Anomaly::new(Kind::Vanished, key, &[value], &readers[..1]));
    }
}
