//! Exactly once: of the transactions of one group that committed, one consumed each record. Not among Jepsen's
//! anomalies; it is what a consume-transform-produce loop relies on.

use std::collections::{BTreeMap, BTreeSet};

use super::history::{Key, Outcome, Value};
use super::index::{Index, OpIndex};
use super::{Anomaly, Kind};

/// What one group did to one key.
#[derive(Default)]
struct Consumed {
    /// By transactions that must have committed.
    by: BTreeMap<Value, OpIndex>,
    /// By transactions of which nobody knows.
    perhaps: BTreeSet<Value>,
}

/// Records consumed twice, and records passed over.
pub fn find(index: &Index<'_>, found: &mut Vec<Anomaly>) {
    let mut groups: BTreeMap<(&str, Key), Consumed> = BTreeMap::new();
    for (at, operation) in index.operations.iter().enumerate() {
        let Some(group) = operation.group.as_deref() else { continue };
        let committed = index.must_have_committed(at);
        for (key, _, value) in operation.polled() {
            let consumed = groups.entry((group, key)).or_default();
            if committed {
                if let Some(before) = consumed.by.insert(value, at).filter(|before| *before != at) {
                    found.push(Anomaly::new(Kind::ConsumedTwice, key, &[value], &[before, at]));
                }
            } else if operation.outcome == Outcome::Info {
                consumed.perhaps.insert(value);
            }
        }
    }
    for ((_, key), consumed) in groups {
        let order = index.order(key);
        let highest = consumed.by.iter().max_by_key(|(value, _)| order.index_of(**value));
        let Some((&value, &at)) = highest else { continue };
        for passed in order.by_index.iter().take(order.index_of(value).unwrap_or(0)) {
            if !consumed.by.contains_key(passed) && !consumed.perhaps.contains(passed) {
                found.push(Anomaly::new(Kind::NeverConsumed, key, &[*passed, value], &[at]));
            }
        }
    }
}
