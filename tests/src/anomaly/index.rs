//! What every family of anomalies asks of a history: who wrote a value, who read it, and in which order a partition
//! holds its values.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::history::{History, Key, Operation, Outcome, Process, Value};

/// Place of an operation in its history.
pub type OpIndex = usize;

/// The values of one partition by offset, as sends and polls told them.
#[derive(Clone, Debug, Default)]
pub struct VersionOrder {
    /// Offset to values; more than one where clients were told different things.
    pub log: BTreeMap<i64, BTreeSet<Value>>,
    /// One value an offset, gaps left out: control records take offsets and show nothing.
    pub by_index: Vec<Value>,
    /// The place of a value in `by_index`.
    by_value: HashMap<Value, usize>,
}

impl VersionOrder {
    /// The place of a value, gaps left out; none when no offset of it is known.
    pub fn index_of(&self, value: Value) -> Option<usize> {
        self.by_value.get(&value).copied()
    }

    /// How far `to` lies behind `from`; 1, the least suspicious, when either is unknown.
    pub fn distance(&self, from: Value, to: Value) -> i64 {
        match (self.index_of(from), self.index_of(to)) {
            (Some(from), Some(to)) => to as i64 - from as i64,
            _ => 1,
        }
    }

    /// What lies strictly between two values.
    pub fn between(&self, from: Value, to: Value) -> Vec<Value> {
        match (self.index_of(from), self.index_of(to)) {
            (Some(from), Some(to)) if from + 1 < to => self.by_index[from + 1..to].to_vec(),
            _ => Vec::new(),
        }
    }

    fn settle(&mut self) {
        self.by_index = self.log.values().filter_map(BTreeSet::first).copied().collect();
        self.by_value = self.by_index.iter().enumerate().map(|(index, value)| (*value, index)).collect();
    }
}

/// The history with everything looked up once.
#[derive(Debug)]
pub struct Index<'a> {
    /// The history's operations.
    pub operations: &'a [Operation],
    /// Who sent a value, however that ended.
    pub writer_of: HashMap<(Key, Value), OpIndex>,
    /// Who polled a value, whatever became of the transaction around the poll.
    pub readers_of: HashMap<(Key, Value), Vec<OpIndex>>,
    /// Values polled by operations that succeeded.
    pub read_ok: HashMap<Key, HashSet<Value>>,
    /// Of every key that anyone knows an offset of.
    pub orders: BTreeMap<Key, VersionOrder>,
    committed: Vec<bool>,
}

impl<'a> Index<'a> {
    /// Looks everything up.
    ///
    /// # Panics
    /// When a value was sent twice: the workload must not.
    pub fn new(history: &'a History) -> Self {
        let operations = history.operations();
        let mut writer_of = HashMap::new();
        let mut readers_of: HashMap<_, Vec<OpIndex>> = HashMap::new();
        let mut read_ok: HashMap<Key, HashSet<Value>> = HashMap::new();
        for (at, operation) in operations.iter().enumerate() {
            for (key, value, _) in operation.sends() {
                let before = writer_of.insert((key, value), at);
                assert!(before.is_none(), "the value {value} was sent twice to {key}");
            }
            for (key, _, value) in operation.polled() {
                let readers = readers_of.entry((key, value)).or_default();
                if readers.last() != Some(&at) {
                    readers.push(at);
                }
                if operation.outcome == Outcome::Ok {
                    read_ok.entry(key).or_default().insert(value);
                }
            }
        }
        let committed = operations.iter().map(|operation| must_have_committed(operation, &readers_of));
        let committed: Vec<bool> = committed.collect();
        let orders = version_orders(operations, &committed);
        Self { operations, writer_of, readers_of, read_ok, orders, committed }
    }

    /// Whether an operation is known to have taken effect: it succeeded, or nobody knows and something it sent was
    /// read.
    pub fn must_have_committed(&self, at: OpIndex) -> bool {
        self.committed[at]
    }

    /// What a process polled.
    pub fn read_by(&self, reader: Process) -> HashSet<(Key, Value)> {
        let operations = self.operations.iter().filter(|operation| operation.process == reader);
        let polled = operations.flat_map(Operation::polled);
        polled.map(|(key, _, value)| (key, value)).collect()
    }

    /// The version order of a key; an empty one for a key that nobody knows an offset of.
    pub fn order(&self, key: Key) -> &VersionOrder {
        static NONE: std::sync::OnceLock<VersionOrder> = std::sync::OnceLock::new();
        self.orders.get(&key).unwrap_or_else(|| NONE.get_or_init(VersionOrder::default))
    }
}

fn must_have_committed(operation: &Operation, readers_of: &HashMap<(Key, Value), Vec<OpIndex>>) -> bool {
    match operation.outcome {
        Outcome::Ok => true,
        Outcome::Fail => false,
        Outcome::Info => operation.sends().any(|(key, value, _)| readers_of.contains_key(&(key, value))),
    }
}

/// Offsets of sends count only where the send must have taken effect. Every poll counts: a consumer is shown safe
/// data alone, whatever becomes of the transaction in which it asks.
fn version_orders(operations: &[Operation], committed: &[bool]) -> BTreeMap<Key, VersionOrder> {
    let mut orders: BTreeMap<Key, VersionOrder> = BTreeMap::new();
    let mut tell = |key: Key, offset: i64, value: Value| {
        orders.entry(key).or_default().log.entry(offset).or_default().insert(value);
    };
    for (operation, committed) in operations.iter().zip(committed) {
        if *committed {
            for (key, value, offset) in operation.sends() {
                if let Some(offset) = offset {
                    tell(key, offset, value);
                }
            }
        }
        operation.polled().for_each(|(key, offset, value)| tell(key, offset, value));
    }
    orders.values_mut().for_each(VersionOrder::settle);
    orders
}
