//! One process at work: it invokes an operation, does it with its clients, and writes down how that ended.
//!
//! What counts as known is decided here. A commit that was never asked for has failed; one that was asked for and not
//! answered is indeterminate, and its process is over.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rdkafka::Offset;
use rdkafka::consumer::{CommitMode, Consumer};

use super::client::{self, Consuming, locked};
use super::history::{Action, Key, Outcome, Process as Number, Step, Ticket};
use super::sender::{Remedy, Sender, Trouble};
use super::version_2::Version2;
use super::workload::{ALPHA, BETA, KEYS, Mode, Role, Seat, Shared, keys_of_topics};
use crate::random::Random;

/// One call of librdkafka that waits for the broker.
const CALL: Duration = Duration::from_secs(4);
/// A commit or abort is asked for again and again for this long: faults last a few seconds each.
const PATIENCE: Duration = Duration::from_secs(20);
/// Waiting for the delivery of a record sent without a transaction; above librdkafka's own timeout.
const DELIVERY: Duration = Duration::from_secs(6);
/// One poll of a transaction.
const POLL: Duration = Duration::from_millis(60);
/// Records of one poll.
const POLL_RECORDS: usize = 20;

/// What is to become of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Commit,
    Abort,
    /// The producer is thrown away in the middle.
    Abandon,
    /// Another producer with the same id comes first.
    Fenced,
}

/// How a transaction ended, and whether the process can go on.
struct End(Outcome, bool);

/// Clients at work under one number.
pub struct Process<'a> {
    shared: &'a Shared,
    seat: &'a Seat,
    number: Number,
    producer: Sender,
    consumer: Consuming,
    group: String,
    keys: BTreeSet<Key>,
    /// Next offsets of what was polled and kept, in assign mode.
    positions: BTreeMap<Key, Offset>,
    /// Whether a request of a transaction went unanswered for a while.
    is_doubtful: Cell<bool>,
}

impl<'a> Process<'a> {
    /// Opens clients and chooses partitions; none when that did not succeed, or there is no time left.
    pub fn open(shared: &'a Shared, seat: &'a Seat, dice: &mut Random) -> Option<Self> {
        let producer = sender(shared, seat);
        if seat.is_transactional && !init(shared, &producer) {
            return None;
        }
        let group = match (seat.role, seat.mode) {
            (Role::Transform, _) => "transform".to_owned(),
            (Role::Mixed, Mode::Subscribe) => "subscribed".to_owned(),
            (Role::Mixed, Mode::Assign) => format!("assigned-{}", seat.number),
        };
        let consumer = consumer(shared, seat, &group);
        let number = locked(&shared.history).process();
        let (keys, positions) = (BTreeSet::new(), BTreeMap::new());
        let is_doubtful = Cell::new(false);
        let mut process =
            Self { shared, seat, number, producer, consumer, group, keys, positions, is_doubtful };
        process.choose(dice).then_some(process)
    }

    /// One operation; false when the process is over.
    pub fn act(&mut self, dice: &mut Random) -> bool {
        match dice.below(100) {
            0 => {
                let ticket = self.invoke(Action::Crash);
                self.complete(ticket, Outcome::Info, Action::Crash);
                false
            }
            1..=3 if self.seat.role == Role::Mixed => self.choose(dice),
            _ if self.seat.is_transactional => self.transact(dice),
            _ if dice.below(2) == 0 => self.send_one(dice),
            _ => self.poll_one(),
        }
    }

    fn invoke(&self, action: Action) -> Ticket {
        locked(&self.shared.history).invoke(self.number, action)
    }

    fn complete(&self, ticket: Ticket, outcome: Outcome, action: Action) {
        let rebalanced = self.consumer.context().take().keys;
        locked(&self.shared.history).complete(ticket, outcome, action, rebalanced);
    }

    /// Other partitions, or other topics.
    fn choose(&mut self, dice: &mut Random) -> bool {
        match self.seat.mode {
            Mode::Assign => self.assign(dice),
            Mode::Subscribe => self.subscribe(dice),
        }
    }

    fn assign(&mut self, dice: &mut Random) -> bool {
        let keys: BTreeSet<Key> = (0..=dice.below(4)).map(|_| dice.below(KEYS as usize) as Key).collect();
        let action = Action::Assign(keys.iter().copied().collect());
        let ticket = self.invoke(action.clone());
        let fresh: Vec<Key> = keys.iter().copied().filter(|key| !self.positions.contains_key(key)).collect();
        let begin = if self.seat.is_transactional {
            client::committed(&self.consumer, fresh, CALL)
        } else {
            let offset = if dice.below(3) == 0 { Offset::Beginning } else { Offset::OffsetTail(30) };
            Ok(fresh.into_iter().map(|key| (key, offset)).collect())
        };
        // A new consumer goes on where the last one was: librdkafka fails an assertion when partitions are assigned
        // anew before they have stopped (its issue 5573).
        self.consumer = consumer(self.shared, self.seat, &self.group);
        let positions = begin.map(|begin| {
            self.positions.retain(|key, _| keys.contains(key));
            self.positions.iter().map(|(key, offset)| (*key, *offset)).chain(begin).collect::<Vec<_>>()
        });
        let assigned = positions.and_then(|positions| self.consumer.assign(&client::list(positions)));
        self.keys = keys;
        self.complete(ticket, if assigned.is_ok() { Outcome::Ok } else { Outcome::Fail }, action);
        assigned.inspect_err(|error| self.shared.note("assign", error)).is_ok()
    }

    fn subscribe(&mut self, dice: &mut Random) -> bool {
        let topics: &[&str] = match (self.seat.role, dice.below(4)) {
            (Role::Transform, _) | (_, 0) => &[ALPHA],
            (_, 1) => &[BETA],
            _ => &[ALPHA, BETA],
        };
        let action = Action::Subscribe(keys_of_topics(topics));
        let ticket = self.invoke(action.clone());
        let subscribed = self.consumer.subscribe(topics);
        self.complete(ticket, if subscribed.is_ok() { Outcome::Ok } else { Outcome::Fail }, action);
        subscribed.is_ok()
    }

    fn poll(&self) -> client::Polled {
        let polled = client::poll(&self.consumer, POLL_RECORDS, POLL);
        polled.errors.iter().for_each(|error| self.shared.note("poll", error));
        polled
    }

    fn send_one(&mut self, dice: &mut Random) -> bool {
        let (key, value) = (dice.below(KEYS as usize) as Key, self.shared.value());
        let ticket = self.invoke(Action::Transact(vec![Step::Send { key, value, offset: None }]));
        let sent = self.producer.send(key, value);
        let offset = if sent { self.producer.wait_for(value, DELIVERY) } else { None };
        let outcome = match (sent, offset) {
            (false, _) => Outcome::Fail,
            (true, Some(_)) => Outcome::Ok,
            // It may lie in a socket, and be written whenever the broker gets to it.
            (true, None) => Outcome::Info,
        };
        self.complete(ticket, outcome, Action::Transact(vec![Step::Send { key, value, offset }]));
        outcome == Outcome::Ok
    }

    fn poll_one(&mut self) -> bool {
        let ticket = self.invoke(Action::Transact(vec![Step::Poll(BTreeMap::new())]));
        let polled = self.poll();
        let positions = client::positions(&polled.records);
        let is_stable = !self.consumer.context().is_revoked();
        if self.seat.mode == Mode::Subscribe && is_stable && !positions.is_empty() {
            let committed = self.consumer.commit(&client::list(positions.clone()), CommitMode::Sync);
            committed.unwrap_or_else(|error| self.shared.note("commit", &error));
        }
        self.positions.extend(positions);
        self.complete(ticket, Outcome::Ok, Action::Transact(vec![Step::Poll(polled.records)]));
        true
    }

    fn transact(&mut self, dice: &mut Random) -> bool {
        let mut plan = match self.seat.role {
            Role::Mixed => (0..=dice.below(4)).map(|_| self.planned(dice)).collect(),
            Role::Transform => vec![Step::Poll(BTreeMap::new())],
        };
        let ticket = self.invoke(Action::Transact(plan.clone()));
        let End(outcome, is_usable) = self.attempt(ticket, &mut plan, dice);
        for step in &mut plan {
            if let Step::Send { value, offset, .. } = step {
                *offset = self.producer.offset_of(*value);
            }
        }
        if outcome == Outcome::Ok {
            let polls = plan.iter().filter_map(|step| match step {
                Step::Poll(records) => Some(client::positions(records)),
                Step::Send { .. } => None,
            });
            polls.for_each(|positions| self.positions.extend(positions));
        }
        self.complete(ticket, outcome, Action::Transact(plan));
        is_usable && !self.is_doubtful.get() && (outcome == Outcome::Ok || self.rewind())
    }

    fn planned(&self, dice: &mut Random) -> Step {
        if dice.below(3) == 0 {
            return Step::Poll(BTreeMap::new());
        }
        Step::Send { key: dice.below(KEYS as usize) as Key, value: self.shared.value(), offset: None }
    }

    /// Goes through a transaction as far as it gets. A failure before the commit is asked for is a failure for good.
    fn attempt(&mut self, ticket: Ticket, plan: &mut Vec<Step>, dice: &mut Random) -> End {
        if let Err(error) = self.producer.begin() {
            self.shared.note("begin", &error);
            return End(Outcome::Fail, false);
        }
        if let Err(error) = self.carry_out(ticket, plan) {
            self.shared.note("in a transaction", &error);
            // A request may have gone unanswered here as well.
            self.doubt();
            return End(Outcome::Fail, self.abort());
        }
        let fate = match dice.below(100) {
            0..=9 => Fate::Abort,
            10..=11 => Fate::Abandon,
            12..=13 => Fate::Fenced,
            _ => Fate::Commit,
        };
        // Nothing sent and nothing polled: librdkafka would not ask the broker at all.
        let is_empty = plan.iter().all(|step| matches!(step, Step::Poll(records) if records.is_empty()));
        let fate = if is_empty && fate == Fate::Fenced { Fate::Commit } else { fate };
        // What was polled belongs to another member now; Kafka would take the offsets in the new generation's name.
        let fate = if self.consumer.context().is_revoked() { Fate::Abort } else { fate };
        match fate {
            Fate::Commit => self.commit(),
            Fate::Abort => End(Outcome::Fail, self.abort()),
            Fate::Abandon => End(Outcome::Fail, false),
            Fate::Fenced => self.commit_fenced(),
        }
    }

    fn carry_out(&mut self, ticket: Ticket, plan: &mut Vec<Step>) -> Result<(), Trouble> {
        let mut polled: BTreeMap<Key, Offset> = BTreeMap::new();
        let mut at = 0;
        while let Some(step) = plan.get_mut(at) {
            match step {
                Step::Send { key, value, .. } => {
                    if !self.producer.send(*key, *value) {
                        return Err(Trouble::new(Remedy::Abort, "a record was not taken"));
                    }
                }
                Step::Poll(records) => {
                    *records = self.poll().records;
                    polled.extend(client::positions(records));
                    let count = records.values().map(Vec::len).sum();
                    if self.seat.role == Role::Transform {
                        self.plan_outputs(ticket, plan, count);
                    }
                }
            }
            at += 1;
        }
        if polled.is_empty() || self.consumer.context().is_revoked() {
            return Ok(());
        }
        locked(&self.shared.history).commits_for(ticket, &self.group);
        let positions: Vec<_> = polled.into_iter().collect();
        self.insist(|| self.producer.send_offsets(positions.clone(), &self.group, &self.consumer, CALL))
    }

    /// One record out for each record in, written down before it leaves.
    fn plan_outputs(&self, ticket: Ticket, plan: &mut Vec<Step>, count: usize) {
        let outputs = keys_of_topics(&[BETA]);
        for _ in 0..count {
            let value = self.shared.value();
            let key = outputs[value as usize % outputs.len()];
            plan.push(Step::Send { key, value, offset: None });
        }
        locked(&self.shared.history).amend(ticket, plan);
    }

    fn commit(&self) -> End {
        // Apart from the commit, so that it is known whether that was asked for.
        if self.insist(|| self.producer.flush(CALL)).is_err() {
            return End(Outcome::Fail, self.abort());
        }
        match self.insist(|| self.producer.end(true, CALL)) {
            Ok(()) => End(Outcome::Ok, true),
            Err(error) if error.remedy == Remedy::Abort => {
                self.shared.note("commit", &error);
                // A broker that had committed would refuse to abort.
                if self.abort() { End(Outcome::Fail, true) } else { End(Outcome::Info, false) }
            }
            Err(error) => {
                self.shared.note("commit", &error);
                End(Outcome::Info, false)
            }
        }
    }

    /// Commits after another producer took the id over: a zombie, which the broker must refuse.
    fn commit_fenced(&self) -> End {
        let successor = sender(self.shared, self.seat);
        if !init(self.shared, &successor) {
            return End(Outcome::Fail, false);
        }
        let committed = self.insist(|| self.producer.end(true, CALL));
        let outcome = match &committed {
            Ok(()) => Outcome::Ok,
            Err(error) if matches!(error.remedy, Remedy::Fenced | Remedy::Abort) => Outcome::Fail,
            Err(_) => Outcome::Info,
        };
        if committed.is_ok() {
            self.shared.complain("a fenced producer's commit was accepted".to_owned());
        }
        End(outcome, false)
    }

    /// Whether the transaction was aborted and the producer can go on.
    fn abort(&self) -> bool {
        let aborted = self.insist(|| self.producer.end(false, CALL));
        aborted.inspect_err(|error| self.shared.note("abort", error)).is_ok()
    }

    /// Calls again whatever can be called again, for a while.
    ///
    /// Before transactions had an epoch each (KIP-890), which librdkafka does not use yet, a request that was delayed
    /// and sent again could be done twice, the second time to the producer's next transaction: Jepsen's report on
    /// Bufstream 0.1.0 shows it in Kafka. As it advises, a producer is not used again after such a delay; its
    /// successor has another epoch.
    fn insist(&self, mut call: impl FnMut() -> Result<(), Trouble>) -> Result<(), Trouble> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match call() {
                Err(error) if error.remedy == Remedy::Repeat && Instant::now() < deadline => {
                    self.shared.note("asked again", &error);
                }
                done => return done,
            }
            self.doubt();
        }
    }

    fn doubt(&self) {
        self.is_doubtful.set(!self.producer.is_safe_after_delays());
    }

    /// Goes back to where the group stands, after what was polled did not count; whether that succeeded.
    fn rewind(&self) -> bool {
        let Ok(assignment) = self.consumer.assignment() else { return false };
        let keys: Vec<Key> = client::keys_in(&assignment);
        if keys.is_empty() {
            return true;
        }
        let sought = client::committed(&self.consumer, keys, CALL).and_then(|positions| {
            let found = self.consumer.seek_partitions(client::list(positions), CALL)?;
            found.elements().iter().try_for_each(|element| element.error())
        });
        sought.inspect_err(|error| self.shared.note("rewind", error)).is_ok()
    }
}

/// A producer for the seat; it has to be registered before it begins a transaction.
fn sender(shared: &Shared, seat: &Seat) -> Sender {
    let id = format!("seat-{}", seat.number);
    if seat.is_version_2 {
        return Sender::Version2(Version2::new(shared.address, id));
    }
    Sender::Rdkafka(client::producer(shared.address, seat.is_transactional.then_some(&*id)))
}

fn consumer(shared: &Shared, seat: &Seat, group: &str) -> Consuming {
    let assignor = if seat.role == Role::Transform { "cooperative-sticky" } else { "range" };
    client::consumer(shared.address, group, assignor, seat.is_transactional)
}

/// Registers the transactional id; false when there is no time left, or the producer is of no use.
fn init(shared: &Shared, producer: &Sender) -> bool {
    while !shared.stopping() {
        match producer.init(CALL) {
            Ok(()) => return true,
            Err(error) if error.remedy == Remedy::Repeat => {}
            Err(error) => {
                shared.note("init", &error);
                return false;
            }
        }
    }
    false
}
