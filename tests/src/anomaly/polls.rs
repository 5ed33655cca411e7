//! Polls that go back, stand still or leave something out: within one operation, and from one operation of a process
//! to the next.

use std::collections::{BTreeMap, HashMap};

use super::history::{Action, Key, Outcome, Process, Value};
use super::index::{Index, OpIndex};
use super::{Anomaly, Kind};

/// Skips and nonmonotonic polls, internal and external.
pub fn find(index: &Index<'_>, found: &mut Vec<Anomaly>) {
    for (at, operation) in index.operations.iter().enumerate() {
        for (key, values) in operation.polled_by_key() {
            // Across a rebalance the position is the group's, not the process's.
            if !operation.rebalanced.contains(&key) {
                for pair in values.windows(2) {
                    let kinds = (Kind::InternalPollSkip, Kind::InternalNonmonotonicPoll);
                    compare(index, key, (pair[0], pair[1]), kinds, &[at], found);
                }
            }
        }
    }
    let mut processes: BTreeMap<Process, Vec<OpIndex>> = BTreeMap::new();
    for (at, operation) in index.operations.iter().enumerate() {
        processes.entry(operation.process).or_default().push(at);
    }
    processes.values().for_each(|operations| external(index, operations, found));
}

/// Follows one process. Only what succeeded moves its position: after a failure it goes back to where it was.
fn external(index: &Index<'_>, operations: &[OpIndex], found: &mut Vec<Anomaly>) {
    let mut last: HashMap<Key, (OpIndex, Value)> = HashMap::new();
    for &at in operations {
        let operation = &index.operations[at];
        match &operation.action {
            // Partitions that stay are gone on with; any other begins anew.
            Action::Assign(keys) | Action::Subscribe(keys) => {
                if operation.outcome != Outcome::Fail {
                    last.retain(|key, _| keys.contains(key));
                }
            }
            Action::Transact(_) => {
                // A rebalance gave the partition away, or gave it anew at the group's position.
                last.retain(|key, _| !operation.rebalanced.contains(key));
                for (key, values) in operation.polled_by_key() {
                    if let Some(&(before, value)) = last.get(&key) {
                        let kinds = (Kind::PollSkip, Kind::NonmonotonicPoll);
                        compare(index, key, (value, values[0]), kinds, &[before, at], found);
                    }
                    if operation.outcome == Outcome::Ok {
                        last.insert(key, (at, values[values.len() - 1]));
                    }
                }
            }
            Action::Crash => last.clear(),
        }
    }
}

fn compare(
    index: &Index<'_>,
    key: Key,
    (before, after): (Value, Value),
    (skip, nonmonotonic): (Kind, Kind),
    operations: &[OpIndex],
    found: &mut Vec<Anomaly>,
) {
    let order = index.order(key);
    let distance = order.distance(before, after);
    if distance > 1 {
        let mut values = vec![before, after];
        values.extend(order.between(before, after));
        found.push(Anomaly::new(skip, key, &values, operations));
    } else if distance < 1 {
        found.push(Anomaly::new(nonmonotonic, key, &[before, after], operations));
    }
}
