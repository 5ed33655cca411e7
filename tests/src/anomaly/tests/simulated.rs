//! Random histories of a broker that is played here: clean while it is sound, and not once a bug is put into it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::super::history::{Action, History, Key, Outcome, Process, Step, Ticket, Value};
use super::super::{Kind, check};
use crate::random::Random;

const KEYS: usize = 3;
const PROCESSES: usize = 4;
const TICKS: usize = 400;

/// What is wrong with the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    None,
    /// Forgets a record when it is told to commit it.
    Forgetful,
    /// Shows what is not committed yet.
    Hasty,
    /// Shows what was aborted.
    Deaf,
    /// Writes a record twice.
    Stuttering,
    /// Commits in one partition only.
    HalfHearted,
    /// Now and then begins a poll too early.
    Rewinding,
    /// Now and then begins a poll too late.
    Skipping,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Committed,
    Gone,
}

/// A transaction under way.
struct Open {
    ticket: Ticket,
    left: usize,
    done: Vec<Step>,
    positions: BTreeMap<Key, usize>,
}

struct Simulation {
    bug: Bug,
    dice: Random,
    history: History,
    /// Each offset's value and state; a marker is a value that is gone.
    logs: Vec<Vec<(Value, State)>>,
    numbers: Vec<Process>,
    open: HashMap<usize, Open>,
    positions: Vec<BTreeMap<Key, usize>>,
    values: Value,
}

impl Simulation {
    fn new(bug: Bug, seed: u64) -> Self {
        let mut history = History::default();
        let numbers = (0..PROCESSES).map(|_| history.process()).collect();
        Self {
            bug,
            dice: Random::new(seed),
            history,
            logs: vec![Vec::new(); KEYS],
            numbers,
            open: HashMap::new(),
            positions: vec![BTreeMap::new(); PROCESSES],
            values: 1,
        }
    }

    fn run(mut self) -> History {
        for _ in 0..TICKS {
            let seat = self.dice.below(PROCESSES);
            self.tick(seat);
        }
        for seat in 0..PROCESSES {
            while self.open.contains_key(&seat) {
                self.tick(seat);
            }
        }
        let process = self.history.process();
        self.history.set_final_reader(process);
        for key in 0..KEYS as Key {
            let ticket = self.history.invoke(process, Action::Transact(Vec::new()));
            let (found, _) = self.read(key, 0, usize::MAX);
            let action = Action::Transact(vec![Step::Poll(BTreeMap::from([(key, found)]))]);
            self.history.complete(ticket, Outcome::Ok, action, BTreeSet::new());
        }
        self.history
    }

    fn tick(&mut self, seat: usize) {
        let Some(mut open) = self.open.remove(&seat) else {
            let ticket = self.history.invoke(self.numbers[seat], Action::Transact(Vec::new()));
            let (left, positions) = (1 + self.dice.below(4), self.positions[seat].clone());
            self.open.insert(seat, Open { ticket, left, done: Vec::new(), positions });
            return;
        };
        if open.left == 0 {
            return self.end(seat, open);
        }
        open.left -= 1;
        let key = self.dice.below(KEYS) as Key;
        if self.dice.below(2) == 0 {
            let value = self.values;
            self.values += 1;
            let offset = self.append(key, value);
            open.done.push(Step::Send { key, value, offset: Some(offset) });
        } else {
            let from = self.begin(open.positions.get(&key).copied().unwrap_or(0));
            let (found, next) = self.read(key, from, 5);
            open.positions.insert(key, next);
            open.done.push(Step::Poll(BTreeMap::from([(key, found)])));
        }
        self.open.insert(seat, open);
    }

    fn append(&mut self, key: Key, value: Value) -> i64 {
        let log = &mut self.logs[key as usize];
        log.push((value, State::Open));
        if self.bug == Bug::Stuttering && self.dice.below(10) == 0 {
            log.push((value, State::Open));
        }
        log.len() as i64 - 1
    }

    fn begin(&mut self, position: usize) -> usize {
        match (self.bug, self.dice.below(8)) {
            (Bug::Rewinding, 0) => position.saturating_sub(3),
            (Bug::Skipping, 0) => position + 3,
            _ => position,
        }
    }

    /// Committed records before the first open one, and where to go on.
    fn read(&self, key: Key, from: usize, max: usize) -> (Vec<(i64, Value)>, usize) {
        let log = &self.logs[key as usize];
        let (mut found, mut next) = (Vec::new(), from);
        for (offset, (value, state)) in log.iter().enumerate().skip(from) {
            let is_shown = match state {
                State::Open if self.bug != Bug::Hasty => break,
                State::Gone => self.bug == Bug::Deaf && *value > 0,
                State::Open | State::Committed => true,
            };
            if found.len() == max {
                break;
            }
            next = offset + 1;
            if is_shown {
                found.push((offset as i64, *value));
            }
        }
        (found, next)
    }

    fn end(&mut self, seat: usize, open: Open) {
        let (outcome, is_done) = match self.dice.below(10) {
            0 | 1 => (Outcome::Fail, false),
            2 => (Outcome::Info, true),
            3 => (Outcome::Info, false),
            _ => (Outcome::Ok, true),
        };
        let mut is_first = true;
        for step in &open.done {
            if let Step::Send { key, value, .. } = step {
                let is_kept = is_done
                    && !(self.bug == Bug::Forgetful && self.dice.below(8) == 0)
                    && (is_first || self.bug != Bug::HalfHearted);
                is_first = false;
                for slot in self.logs[*key as usize].iter_mut().filter(|slot| slot.0 == *value) {
                    slot.1 = if is_kept { State::Committed } else { State::Gone };
                }
                self.logs[*key as usize].push((0, State::Gone));
            }
        }
        match outcome {
            Outcome::Ok => self.positions[seat] = open.positions,
            Outcome::Fail => {}
            Outcome::Info => {
                self.numbers[seat] = self.history.process();
                self.positions[seat] = BTreeMap::new();
            }
        }
        self.history.complete(open.ticket, outcome, Action::Transact(open.done), BTreeSet::new());
    }
}

/// Of so many seeds, how many histories have an anomaly of these kinds.
fn found(bug: Bug, kinds: &[Kind]) -> usize {
    let histories = (0..SEEDS).map(|seed| Simulation::new(bug, seed).run());
    let reports = histories.map(|history| check(&history));
    reports.filter(|report| report.anomalies.iter().any(|anomaly| kinds.contains(&anomaly.kind))).count()
}

const SEEDS: u64 = 40;

#[test]
fn a_sound_broker_has_no_anomaly_and_its_writes_interleave() {
    let mut circles = 0;
    for seed in 0..SEEDS {
        let report = check(&Simulation::new(Bug::None, seed).run());
        assert!(report.anomalies.is_empty(), "seed {seed}: {:?}", report.anomalies);
        circles += report.permitted.get(&Kind::G0).copied().unwrap_or_default();
    }
    assert!(circles > 10, "no concurrency: {circles}");
}

#[test]
fn each_bug_is_found_in_nearly_every_history_and_by_its_name() {
    let nearly_all = SEEDS as usize * 9 / 10;
    let expected = [
        (Bug::Forgetful, vec![Kind::LostWrite, Kind::Unseen]),
        (Bug::Hasty, vec![Kind::AbortedRead, Kind::PrecommittedRead]),
        (Bug::Deaf, vec![Kind::AbortedRead]),
        (Bug::Stuttering, vec![Kind::Duplicate]),
        (Bug::HalfHearted, vec![Kind::LostWrite, Kind::Unseen, Kind::TornTransaction]),
        (Bug::Rewinding, vec![Kind::NonmonotonicPoll, Kind::InternalNonmonotonicPoll]),
        (Bug::Skipping, vec![Kind::PollSkip, Kind::InternalPollSkip]),
    ];
    for (bug, kinds) in expected {
        let count = found(bug, &kinds);
        assert!(count >= nearly_all, "{bug:?}: found in {count} of {SEEDS} histories");
    }
    assert!(found(Bug::Hasty, &[Kind::G1c]) > 0, "dirty reads make circles");
    assert!(found(Bug::HalfHearted, &[Kind::TornTransaction]) > 0);
}
