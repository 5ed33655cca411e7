//! A checker for the anomalies of Jepsen's Kafka workload, and a workload that looks for them under faults.
//!
//! [`history`] is what clients did and were told; [`check`] is pure and names every anomaly in it, a file a family;
//! [`workload`] drives real clients, [`faults`] makes their broker's life hard. What each anomaly means, and where our
//! definitions are stricter than Jepsen's, is in `docs/anomalies.md`.

pub mod client;
pub mod faults;
pub mod history;
pub mod process;
pub mod sender;
pub mod stable;
pub mod version_2;
pub mod workload;

mod aborted;
mod consumed;
mod cycles;
mod index;
mod lost;
mod offsets;
mod polls;
mod sends;

use std::collections::BTreeMap;
use std::fmt;

use history::{History, Key, Operation, Value};
use index::{Index, OpIndex};

/// What kind of anomaly it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A write that took effect was never read, though something behind it was.
    LostWrite,
    /// A write that took effect was never read at all.
    Unseen,
    /// A record was shown once, and the final reader did not find it.
    Vanished,
    /// A value of a transaction that failed was read (G1a).
    AbortedRead,
    /// A transaction read what it had itself sent.
    PrecommittedRead,
    /// Some of a transaction's values are there and others are not.
    TornTransaction,
    /// A value that nobody sent.
    Phantom,
    /// One value at two offsets.
    Duplicate,
    /// Two values at one offset.
    InconsistentOffsets,
    /// A process's poll began at or before what it had seen.
    NonmonotonicPoll,
    /// A process's poll left something out.
    PollSkip,
    /// The polls of one operation went back or stood still.
    InternalNonmonotonicPoll,
    /// The polls of one operation left something out.
    InternalPollSkip,
    /// A process's later send lies before its earlier one.
    NonmonotonicSend,
    /// The sends of one operation lie in another order.
    InternalNonmonotonicSend,
    /// Others' records lie between the sends of one operation. Permitted: Kafka does not isolate writes.
    InternalSendSkip,
    /// Transactions wrote before each other in a circle. Permitted for the same reason.
    G0,
    /// Transactions wrote before and read from each other in a circle. Permitted for the same reason.
    G1cWithWrites,
    /// Transactions read from each other in a circle.
    G1c,
    /// Transactions read from each other, or ended before the other began, in a circle.
    G1cRealtime,
    /// Two committed transactions of one group consumed the same record.
    ConsumedTwice,
    /// A group went past a record that no transaction of it consumed.
    NeverConsumed,
}

impl Kind {
    /// Whether Kafka's own model allows it, as Jepsen's checker does.
    pub fn is_permitted(self) -> bool {
        matches!(self, Kind::InternalSendSkip | Kind::G0 | Kind::G1cWithWrites)
    }
}

/// One anomaly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anomaly {
    /// What it is.
    pub kind: Kind,
    /// Where; none for cycles, which span keys.
    pub key: Option<Key>,
    /// The values that show it.
    pub values: Vec<Value>,
    /// The operations that show it, by their place in the history.
    pub operations: Vec<OpIndex>,
}

impl Anomaly {
    fn new(kind: Kind, key: Key, values: &[Value], operations: &[OpIndex]) -> Self {
        Self { kind, key: Some(key), values: values.to_vec(), operations: operations.to_vec() }
    }
}

/// What a check found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Broken promises.
    pub anomalies: Vec<Anomaly>,
    /// How often each permitted phenomenon occurred: that a workload has them shows that it is concurrent.
    pub permitted: BTreeMap<Kind, usize>,
}

/// Finds every anomaly of a history.
pub fn check(history: &History) -> Report {
    let index = Index::new(history);
    let mut found = Vec::new();
    offsets::find(&index, &mut found);
    lost::find(&index, history.final_reader(), &mut found);
    aborted::find(&index, history.final_reader(), &mut found);
    polls::find(&index, &mut found);
    sends::find(&index, &mut found);
    cycles::find(&index, &mut found);
    consumed::find(&index, &mut found);
    let mut report = Report::default();
    for anomaly in found {
        if anomaly.kind.is_permitted() {
            *report.permitted.entry(anomaly.kind).or_default() += 1;
        } else {
            report.anomalies.push(anomaly);
        }
    }
    report
}

/// An anomaly together with the operations that show it, cut down to the keys and values concerned.
#[derive(Debug)]
pub struct Shown<'a>(pub &'a Anomaly, pub &'a History);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(anomaly, history) = self;
        write!(f, "{:?}", anomaly.kind)?;
        if let Some(key) = anomaly.key {
            write!(f, " on key {key}")?;
        }
        writeln!(f, ", values {:?}", anomaly.values)?;
        for at in &anomaly.operations {
            let operation = &history.operations()[*at];
            write!(f, "  #{at} process {} {:?}", operation.process, operation.outcome)?;
            write!(f, " from {} to {:?}", operation.invoked, operation.completed)?;
            if let Some(group) = &operation.group {
                write!(f, " for {group}")?;
            }
            excerpt(f, operation, anomaly)?;
        }
        Ok(())
    }
}

/// Records around the values concerned that are shown of a poll.
const EXCERPT_RECORDS: i64 = 2;

fn excerpt(f: &mut fmt::Formatter<'_>, operation: &Operation, anomaly: &Anomaly) -> fmt::Result {
    let concerns = |key: Key| anomaly.key.is_none_or(|wanted| wanted == key);
    for (key, value, offset) in operation.sends().filter(|(key, ..)| concerns(*key)) {
        write!(f, " sent {value} to {key} at {offset:?};")?;
    }
    let polled: Vec<_> = operation.polled().filter(|(key, ..)| concerns(*key)).collect();
    let near = |offset: i64| {
        let marked = polled.iter().filter(|(_, _, value)| anomaly.values.contains(value));
        marked.clone().any(|(_, at, _)| (at - offset).abs() <= EXCERPT_RECORDS)
    };
    write!(f, " polled {} records", polled.len())?;
    for (key, offset, value) in polled.iter().filter(|(_, offset, _)| near(*offset)) {
        write!(f, " {key}@{offset}={value}")?;
    }
    if !operation.rebalanced.is_empty() {
        write!(f, "; rebalanced {:?}", operation.rebalanced)?;
    }
    writeln!(f)
}

#[cfg(test)]
mod tests;
