//! Sends that do not lie in the log in the order in which their process made them.

use std::collections::HashMap;

use super::history::{Key, Outcome, Process, Value};
use super::index::{Index, OpIndex};
use super::{Anomaly, Kind};

/// Nonmonotonic sends, internal and external, and (permitted) internal send skips.
pub fn find(index: &Index<'_>, found: &mut Vec<Anomaly>) {
    let mut last: HashMap<(Process, Key), (OpIndex, Value)> = HashMap::new();
    for (at, operation) in index.operations.iter().enumerate() {
        for (key, values) in operation.sent_by_key() {
            let order = index.order(key);
            for pair in values.windows(2) {
                match order.distance(pair[0], pair[1]) {
                    1 => {}
                    2.. => found.push(Anomaly::new(Kind::InternalSendSkip, key, pair, &[at])),
                    _ => found.push(Anomaly::new(Kind::InternalNonmonotonicSend, key, pair, &[at])),
                }
            }
            if operation.outcome == Outcome::Fail {
                continue;
            }
            let ours = (at, values[values.len() - 1]);
            if let Some((before, value)) = last.insert((operation.process, key), ours)
                && order.distance(value, values[0]) < 1
            {
                let pair = [value, values[0]];
                found.push(Anomaly::new(Kind::NonmonotonicSend, key, &pair, &[before, at]));
            }
        }
    }
}
