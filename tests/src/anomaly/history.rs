//! What clients did and were told, operation by operation: the checker's only input.
//!
//! The model is that of Jepsen's Kafka workload. A *process* is one producer and one consumer used by one thread. An
//! operation is invoked and later completed, and its outcome is `Ok` (it happened), `Fail` (it did not happen) or
//! `Info` (nobody knows). After `Info` the process is over; its thread goes on under another number.

use std::collections::{BTreeMap, BTreeSet};

/// One partition of one topic, numbered over all topics.
pub type Key = u32;
/// What a record says. Unique over a history.
pub type Value = u64;
/// One client's number; never used again once it has crashed.
pub type Process = u32;

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It happened.
    Ok,
    /// It did not happen, and never will.
    Fail,
    /// Nobody knows. An operation without a completion counts as this.
    Info,
}

/// A part of a transaction, or the only part of an operation without one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A record sent; its offset once the broker told it.
    Send {
        /// Where.
        key: Key,
        /// What.
        value: Value,
        /// As the acknowledgement said; an acknowledgement inside a transaction is no commit.
        offset: Option<i64>,
    },
    /// Records polled, in the order in which they came: offset and value.
    Poll(BTreeMap<Key, Vec<(i64, Value)>>),
}

/// What was asked for; once completed, what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// From now on these partitions, chosen by the client.
    Assign(Vec<Key>),
    /// From now on what the group gives of the topics that hold these partitions.
    Subscribe(Vec<Key>),
    /// Sends and polls; one transaction if the history is transactional.
    Transact(Vec<Step>),
    /// The client was thrown away, and with it its process.
    Crash,
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Whose.
    pub process: Process,
    /// In the order of all invocations and completions.
    pub invoked: u64,
    /// In the same order; none when it never completed.
    pub completed: Option<u64>,
    /// How it ended.
    pub outcome: Outcome,
    /// What was done.
    pub action: Action,
    /// Partitions that came or went in a rebalance during the operation.
    pub rebalanced: BTreeSet<Key>,
    /// The group in whose name the polled positions were committed together with the sends.
    pub group: Option<String>,
}

impl Operation {
    /// The steps of a transaction; none for anything else.
    pub fn steps(&self) -> &[Step] {
        match &self.action {
            Action::Transact(steps) => steps,
            Action::Assign(_) | Action::Subscribe(_) | Action::Crash => &[],
        }
    }

    /// Key, value and offset of every send, in order.
    pub fn sends(&self) -> impl Iterator<Item = (Key, Value, Option<i64>)> {
        self.steps().iter().filter_map(|step| match step {
            Step::Send { key, value, offset } => Some((*key, *value, *offset)),
            Step::Poll(_) => None,
        })
    }

    /// Key, offset and value of every record polled; the records of one key in the order in which they came.
    pub fn polled(&self) -> impl Iterator<Item = (Key, i64, Value)> {
        let polls = self.steps().iter().filter_map(|step| match step {
            Step::Poll(found) => Some(found),
            Step::Send { .. } => None,
        });
        polls
            .flatten()
            .flat_map(|(key, records)| records.iter().map(|(offset, value)| (*key, *offset, *value)))
    }

    /// The values sent to each key, in order.
    pub fn sent_by_key(&self) -> BTreeMap<Key, Vec<Value>> {
        let mut found: BTreeMap<Key, Vec<Value>> = BTreeMap::new();
        self.sends().for_each(|(key, value, _)| found.entry(key).or_default().push(value));
        found
    }

    /// The values polled of each key, in order over all polls of the operation.
    pub fn polled_by_key(&self) -> BTreeMap<Key, Vec<Value>> {
        let mut found: BTreeMap<Key, Vec<Value>> = BTreeMap::new();
        self.polled().for_each(|(key, _, value)| found.entry(key).or_default().push(value));
        found
    }
}

/// Names an operation until it is completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(usize);

/// Operations in the order of their invocation.
#[derive(Clone, Debug, Default)]
pub struct History {
    operations: Vec<Operation>,
    clock: u64,
    processes: Process,
    final_reader: Option<Process>,
}

impl History {
    /// A number that no process has had.
    pub fn process(&mut self) -> Process {
        self.processes += 1;
        self.processes
    }

    /// Before anything is done.
    pub fn invoke(&mut self, process: Process, action: Action) -> Ticket {
        self.clock += 1;
        self.operations.push(Operation {
            process,
            invoked: self.clock,
            completed: None,
            outcome: Outcome::Info,
            action,
            rebalanced: BTreeSet::new(),
            group: None,
        });
        Ticket(self.operations.len() - 1)
    }

    /// While it goes on: a send that was not known at the invocation must be written down before it leaves.
    pub fn amend(&mut self, ticket: Ticket, steps: &[Step]) {
        self.operation(ticket).action = Action::Transact(steps.to_vec());
    }

    /// In whose name the operation commits positions, before it does.
    pub fn commits_for(&mut self, ticket: Ticket, group: &str) {
        self.operation(ticket).group = Some(group.to_owned());
    }

    /// Once it is known how it ended.
    pub fn complete(&mut self, ticket: Ticket, outcome: Outcome, action: Action, rebalanced: BTreeSet<Key>) {
        self.clock += 1;
        let clock = self.clock;
        let operation = self.operation(ticket);
        operation.completed = Some(clock);
        operation.outcome = outcome;
        operation.action = action;
        operation.rebalanced = rebalanced;
    }

    /// The process that reads every partition from its start to its end once all is over.
    pub fn set_final_reader(&mut self, process: Process) {
        self.final_reader = Some(process);
    }

    /// The process of [`set_final_reader`](Self::set_final_reader).
    pub fn final_reader(&self) -> Option<Process> {
        self.final_reader
    }

    /// The newest place in the order of invocations and completions.
    pub fn clock(&self) -> u64 {
        self.clock
    }

    /// All of them, in the order of their invocation.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    fn operation(&mut self, ticket: Ticket) -> &mut Operation {
        &mut self.operations[ticket.0]
    }
}
