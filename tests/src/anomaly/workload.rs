//! Processes at work on seats, a thread each, and the reader that looks at everything once all is over.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::Offset;
use rdkafka::consumer::Consumer;

use super::client::{self, locked};
use super::history::{Action, History, Key, Outcome, Step, Value};
use super::process::Process;
use super::stable::wait_until_stable;
use crate::random::Random;

/// The topic that transformers read.
pub const ALPHA: &str = "alpha";
/// The topic that transformers write.
pub const BETA: &str = "beta";
/// Partitions of each topic.
pub const PARTITIONS: i32 = 3;
/// Keys in all: [`ALPHA`]'s partitions first.
pub const KEYS: Key = 2 * PARTITIONS as Key;
/// A process that could not be opened is tried again after this.
const REOPEN_PAUSE: Duration = Duration::from_millis(100);
/// Reading everything takes no longer.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(120);
/// Records of one poll of the final reader.
const CATCH_UP_RECORDS: usize = 500;

/// Topic and partition of a key.
pub fn place_of(key: Key) -> (&'static str, i32) {
    let topic = if key < PARTITIONS as Key { ALPHA } else { BETA };
    (topic, key as i32 % PARTITIONS)
}

/// The key of a topic's partition.
pub fn key_of(topic: &str, partition: i32) -> Key {
    (if topic == ALPHA { partition } else { partition + PARTITIONS }) as Key
}

/// Every key of these topics.
pub fn keys_of_topics(topics: &[&str]) -> Vec<Key> {
    (0..KEYS).filter(|key| topics.contains(&place_of(*key).0)).collect()
}

/// How a consumer comes by its partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It chooses them.
    Assign,
    /// Its group does.
    Subscribe,
}

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Sends and polls anywhere.
    Mixed,
    /// Consumes [`ALPHA`] and produces one record to [`BETA`] for each, positions in the same transaction.
    Transform,
}

/// A thread's place: process after process sits down on it.
#[derive(Clone, Copy, Debug)]
pub struct Seat {
    /// Counts from zero; part of the transactional id.
    pub number: u32,
    /// What its processes do.
    pub role: Role,
    /// How their consumers come by partitions.
    pub mode: Mode,
    /// Whether they use transactions, and read committed records only.
    pub is_transactional: bool,
    /// Whether those are of version 2 (KIP-890).
    pub is_version_2: bool,
}

/// Seats for a run.
pub fn seats(is_transactional: bool) -> Vec<Seat> {
    let mut kinds = vec![(Role::Mixed, Mode::Assign), (Role::Mixed, Mode::Subscribe)];
    kinds.extend(kinds.clone());
    if is_transactional {
        kinds.extend([(Role::Transform, Mode::Subscribe); 2]);
    } else {
        kinds.extend([(Role::Mixed, Mode::Assign), (Role::Mixed, Mode::Subscribe)]);
    }
    let versions = kinds.into_iter().map(|(role, mode)| (role, mode, false));
    let more = [(Role::Mixed, Mode::Assign, true); 2].into_iter().filter(|_| is_transactional);
    let numbered = versions.chain(more).zip(0..);
    let seat =
        |((role, mode, is_version_2), number)| Seat { number, role, mode, is_transactional, is_version_2 };
    numbered.map(seat).collect()
}

/// What the threads share.
#[derive(Debug)]
pub struct Shared {
    /// Where the broker listens.
    pub address: SocketAddr,
    /// What happened.
    pub history: Mutex<History>,
    values: AtomicU64,
    stop: AtomicBool,
    errors: Mutex<BTreeMap<String, usize>>,
    complaints: Mutex<Vec<String>>,
}

impl Shared {
    /// A value nobody has sent.
    pub fn value(&self) -> Value {
        self.values.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether operations should come to an end.
    pub fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Counts an error that faults explain; the summary shows how often each came.
    pub fn note(&self, doing: &str, error: &(impl Display + ?Sized)) {
        *locked(&self.errors).entry(format!("{doing}: {error}")).or_default() += 1;
    }

    /// Tells of something that no fault explains.
    pub fn complain(&self, what: String) {
        locked(&self.complaints).push(what);
    }
}

/// Processes at work.
#[derive(Debug)]
pub struct Workload {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    is_transactional: bool,
}

/// What a workload leaves.
#[derive(Debug)]
pub struct Traces {
    /// What happened.
    pub history: History,
    /// Errors that faults explain, and how often each came.
    pub errors: BTreeMap<String, usize>,
    /// What no fault explains.
    pub complaints: Vec<String>,
}

impl Workload {
    /// Starts it. Both topics exist.
    pub fn start(address: SocketAddr, is_transactional: bool, seed: u64) -> Self {
        let shared = Arc::new(Shared {
            address,
            history: Mutex::default(),
            // Never zero: a zero would look like a value that was forgotten.
            values: AtomicU64::new(1),
            stop: AtomicBool::new(false),
            errors: Mutex::default(),
            complaints: Mutex::default(),
        });
        let mut dice = Random::new(seed);
        let threads = seats(is_transactional).into_iter().map(|seat| {
            let (shared, dice) = (shared.clone(), Random::new(dice.next_u64()));
            std::thread::spawn(move || sit(&shared, seat, dice))
        });
        let threads = threads.collect();
        Self { shared, threads, is_transactional }
    }

    /// The history's clock: what happened before and after a fault is told by it.
    pub fn clock(&self) -> u64 {
        locked(&self.shared.history).clock()
    }

    /// Ends every process. The broker is up.
    ///
    /// # Panics
    /// When a process did.
    pub fn stop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| thread.join().expect("a process panicked"));
    }

    /// Reads every partition from its start to its end, as the history's final reader, and returns it all.
    ///
    /// # Panics
    /// When the broker cannot be read within [`CATCH_UP_TIMEOUT`].
    pub fn catch_up(mut self) -> Traces {
        self.stop();
        if self.is_transactional {
            wait_until_stable(&self.shared);
        }
        let process = {
            let mut history = locked(&self.shared.history);
            let process = history.process();
            history.set_final_reader(process);
            process
        };
        let consumer = client::consumer(self.shared.address, "final", "range", self.is_transactional);
        for topic in [ALPHA, BETA] {
            let keys = keys_of_topics(&[topic]);
            let action = Action::Assign(keys.clone());
            let ticket = locked(&self.shared.history).invoke(process, action.clone());
            let beginning = client::list(keys.into_iter().map(|key| (key, Offset::Beginning)));
            consumer.assign(&beginning).expect("a good assignment");
            locked(&self.shared.history).complete(ticket, Outcome::Ok, action, BTreeSet::new());
            self.read_to_the_end(process, &consumer);
        }
        let history = locked(&self.shared.history).clone();
        let errors = locked(&self.shared.errors).clone();
        let complaints = locked(&self.shared.complaints).clone();
        Traces { history, errors, complaints }
    }

    fn read_to_the_end(&self, process: u32, consumer: &client::Consuming) {
        let deadline = Instant::now() + CATCH_UP_TIMEOUT;
        let mut ends = BTreeSet::new();
        while ends.len() < PARTITIONS as usize {
            assert!(Instant::now() < deadline, "only {ends:?} read to the end after {CATCH_UP_TIMEOUT:?}");
            let before = Action::Transact(vec![Step::Poll(BTreeMap::new())]);
            let ticket = locked(&self.shared.history).invoke(process, before);
            let polled = client::poll(consumer, CATCH_UP_RECORDS, Duration::from_millis(500));
            polled.errors.iter().for_each(|error| self.shared.note("catching up", error));
            ends.extend(polled.ends);
            let after = Action::Transact(vec![Step::Poll(polled.records)]);
            locked(&self.shared.history).complete(ticket, Outcome::Ok, after, BTreeSet::new());
        }
    }
}

fn sit(shared: &Shared, seat: Seat, mut dice: Random) {
    while !shared.stopping() {
        match Process::open(shared, &seat, &mut dice) {
            Some(mut process) => while !shared.stopping() && process.act(&mut dice) {},
            None => std::thread::sleep(REOPEN_PAUSE),
        }
    }
}

/// Numbers for a report.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    operations: usize,
    committed: usize,
    aborted: usize,
    indeterminate: usize,
    polls: usize,
    /// Records sent by operations that succeeded.
    pub sent: usize,
    /// Records polled.
    pub polled: usize,
    processes: usize,
}

impl Tally {
    /// Counts a history.
    pub fn of(history: &History) -> Self {
        let mut tally = Self::default();
        let mut processes = BTreeSet::new();
        for operation in history.operations() {
            tally.operations += 1;
            processes.insert(operation.process);
            let polls = operation.steps().iter().filter(|step| matches!(step, Step::Poll(_)));
            tally.polls += polls.count();
            tally.polled += operation.polled().count();
            if operation.steps().is_empty() {
                continue;
            }
            match operation.outcome {
                Outcome::Ok => {
                    tally.committed += 1;
                    tally.sent += operation.sends().count();
                }
                Outcome::Fail => tally.aborted += 1,
                Outcome::Info => tally.indeterminate += 1,
            }
        }
        tally.processes = processes.len();
        tally
    }

    /// Operations with sends or polls that succeeded.
    pub fn committed(&self) -> usize {
        self.committed
    }
}

impl Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} operations of {} processes: {} committed, {} aborted, {} indeterminate; {} records sent; {} polls \
             of {} records",
            self.operations,
            self.processes,
            self.committed,
            self.aborted,
            self.indeterminate,
            self.sent,
            self.polls,
            self.polled
        )
    }
}
