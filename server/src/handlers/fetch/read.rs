//! Reads the partitions of one request, and waits while they have too little.
//!
//! What is in memory is taken in one pass; reads from the store run a few at a time, within the same budget. A
//! failure is its own partition's. Waiting costs nothing: one waiter in every log, one timer.

use std::sync::Arc;
use std::time::Duration;

use chronik_engine::error::ReadError;
use chronik_engine::log::{Isolation, LogRead, PartitionLog, Waiter};
use futures_util::future::join_all;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};

use super::batches::end_offset;
use super::memory::FetchMemory;
use super::plan::{Budget, Grant};
use super::remote::{self, RemoteReads};
use super::response::{NO_OFFSET, PartitionAnswer};
use super::session::{Position, Wanted};
use crate::error_code::ErrorCode;
use crate::limits::FETCH_SCANS_MAX;
use crate::runtime::Stopping;

/// What a request wants, and will wait for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    max_bytes: usize,
    min_bytes: usize,
    max_wait: Duration,
    isolation: Isolation,
}

impl Limits {
    /// From the wire; negative is nothing.
    pub(super) fn new(max_bytes: i32, min_bytes: i32, max_wait: Duration, isolation: Isolation) -> Self {
        let max_bytes = size(max_bytes);
        // More than may be sent is never reached.
        let min_bytes = size(min_bytes).min(max_bytes);
        Self { max_bytes, min_bytes, max_wait, isolation }
    }
}

fn size(bytes: i32) -> usize {
    usize::try_from(bytes).unwrap_or(0)
}

/// Where the records are.
pub(super) enum Place {
    /// In a log.
    Log(Arc<PartitionLog>),
    /// A partition that is shown and always empty.
    Empty,
    /// The client's log is not ours.
    Diverging { log: Arc<PartitionLog>, epoch: i32, end_offset: i64 },
    /// Nowhere.
    Refused(ErrorCode),
}

/// One partition, found.
pub(super) struct Target {
    pub(super) place: Place,
    pub(super) position: Position,
}

impl Target {
    fn log(&self) -> Option<&Arc<PartitionLog>> {
        match &self.place {
            Place::Log(log) => Some(log),
            Place::Empty | Place::Diverging { .. } | Place::Refused(_) => None,
        }
    }

    fn max_bytes(&self) -> usize {
        size(self.position.max_bytes)
    }
}

/// What came of one partition.
pub(super) enum Outcome {
    Read(LogRead),
    Empty,
    Diverging { log: Arc<PartitionLog>, epoch: i32, end_offset: i64 },
    Failed(ErrorCode),
}

impl Outcome {
    fn bytes(&self) -> usize {
        match self {
            Outcome::Read(read) => read.bytes,
            Outcome::Empty | Outcome::Diverging { .. } | Outcome::Failed(_) => 0,
        }
    }

    /// Whether the client must hear of it at once.
    fn is_urgent(&self) -> bool {
        matches!(self, Outcome::Diverging { .. } | Outcome::Failed(_))
    }

    pub(super) fn into_answer(self, wanted: &Wanted, isolation: Isolation) -> PartitionAnswer {
        let mut answer = PartitionAnswer::refused(wanted.topic.clone(), wanted.partition, ErrorCode::None);
        answer.aborted = (isolation == Isolation::Committed).then(Vec::new);
        let offsets = match self {
            Outcome::Failed(error) => {
                answer.error = error;
                // Null for committed readers too, as Kafka's `ReplicaManager` has it.
                answer.aborted = None;
                return answer;
            }
            Outcome::Empty => {
                (answer.high_watermark, answer.last_stable_offset, answer.log_start_offset) = (0, 0, 0);
                return answer;
            }
            Outcome::Diverging { log, epoch, end_offset } => {
                answer.diverging = Some((epoch, end_offset));
                log.offsets()
            }
            Outcome::Read(read) => {
                answer.records = read.chunks;
                answer.records_bytes = read.bytes;
                if let Some(told) = &mut answer.aborted {
                    *told = read.aborted;
                }
                read.offsets
            }
        };
        answer.high_watermark = offsets.high_watermark;
        answer.last_stable_offset = offsets.last_stable_offset;
        answer.log_start_offset = offsets.log_start_offset;
        answer
    }
}

/// What object storage has to answer of a request.
pub(super) struct Remote {
    pub(super) reads: RemoteReads,
    /// Until when a request that has nothing else to answer waits for it, whatever the client asked (Kafka's
    /// `remote.fetch.max.wait.ms`): the client's wait is meant for records that are not written yet.
    pub(super) until: Instant,
}

/// What came of a request's partitions, in its order.
pub(super) struct Fetched {
    pub(super) outcomes: Vec<Outcome>,
    /// Holds the memory of what came from the store.
    pub(super) held: Option<OwnedSemaphorePermit>,
}

/// Reads, and again whenever that may be worth it, until there is enough, something is wrong, time is up, or the
/// broker stops. Answers in the order of `targets`.
pub(super) async fn until_enough(
    targets: &[Target],
    limits: Limits,
    memory: &FetchMemory,
    mut remote: Remote,
    mut stopping: Stopping,
) -> Fetched {
    let asked_until = Instant::now() + limits.max_wait;
    let mut waiting = None;
    loop {
        let fetched = read_all(targets, limits, memory, &mut remote.reads, asked_until).await;
        let outcomes = &fetched.outcomes;
        let has_something = outcomes.iter().any(|outcome| outcome.bytes() > 0);
        // Also a client that does not wait at all is given what it would not get otherwise.
        let waits_for_remote = remote.reads.is_waiting() && !has_something;
        let deadline = if waits_for_remote { asked_until.max(remote.until) } else { asked_until };
        if targets.is_empty()
            || (!waits_for_remote && has_enough(targets, outcomes, limits))
            || outcomes.iter().any(Outcome::is_urgent)
            || Instant::now() >= deadline
            || stopping.is_asked()
        {
            return fetched;
        }
        if waiting.is_none() {
            waiting = memory.wait_with(targets.len());
            if waiting.is_none() {
                return fetched;
            }
        }
        let seen = outcomes.iter().enumerate().filter(|(place, _)| !remote.reads.waits_for(*place));
        let seen = seen.map(|(_, outcome)| match outcome {
            Outcome::Read(read) => read.offsets.visible_end(limits.isolation),
            _ => NO_OFFSET,
        });
        let seen = seen.collect();
        // They will be read again, with what comes behind them.
        drop(fetched);
        // A partition that waits for object storage has nothing to say by what is appended to it.
        let local: Vec<&Target> = targets
            .iter()
            .enumerate()
            .filter(|(place, _)| !remote.reads.waits_for(*place))
            .map(|(_, target)| target)
            .collect();
        tokio::select! {
            () = wait_until_promising(&local, seen, limits, deadline) => {}
            () = remote.reads.one_more() => {}
            () = stopping.asked() => {}
        }
    }
}

/// Whether `min_bytes` is reached, by what was read or by what there is but does not fit: batches are sent whole, so
/// the limits may leave less than `min_bytes` although more is there.
fn has_enough(targets: &[Target], outcomes: &[Outcome], limits: Limits) -> bool {
    let bytes: usize = outcomes.iter().map(Outcome::bytes).sum();
    if bytes == 0 || bytes >= limits.min_bytes {
        return bytes >= limits.min_bytes;
    }
    let counted = targets.iter().zip(outcomes).map(|(target, outcome)| match outcome {
        Outcome::Read(read) => {
            let next = end_offset(&read.chunks).unwrap_or(target.position.offset);
            let cut = next < read.offsets.visible_end(limits.isolation);
            if cut { read.bytes.max(target.max_bytes().min(limits.max_bytes)) } else { read.bytes }
        }
        Outcome::Empty | Outcome::Diverging { .. } | Outcome::Failed(_) => 0,
    });
    counted.sum::<usize>() >= limits.min_bytes
}

/// One pass over all partitions, in order. What needs memory that is not free by the deadline is left out.
async fn read_all(
    targets: &[Target],
    limits: Limits,
    memory: &FetchMemory,
    remote: &mut RemoteReads,
    deadline: Instant,
) -> Fetched {
    let mut pass = Pass {
        targets,
        isolation: limits.isolation,
        budget: Budget::new(limits.max_bytes),
        outcomes: Vec::with_capacity(targets.len()),
        scans: Vec::new(),
        scanned_bytes: 0,
    };
    let mut held: Option<OwnedSemaphorePermit> = None;
    let mut starved = false;
    for (index, target) in targets.iter().enumerate() {
        let mut grant = pass.budget.grant(target.max_bytes());
        if grant.max_bytes < target.max_bytes() && !pass.scans.is_empty() {
            // What is set aside may come back.
            pass.run_scans().await;
            grant = pass.budget.grant(target.max_bytes());
        }
        if let Some(outcome) = read_memory(target, grant, limits.isolation) {
            pass.budget.spend(outcome.bytes());
            pass.outcomes.push(outcome);
            continue;
        }
        if held.is_none() && !starved {
            let rest = targets[index..].iter().map(Target::max_bytes).sum::<usize>();
            held = memory.scan_with(rest.min(pass.budget.remaining()), deadline).await;
            starved = held.is_none();
        }
        if starved {
            pass.outcomes.push(nothing_read(target));
            continue;
        }
        if let Some(outcome) = read_remote(target, index, grant, limits.isolation, remote) {
            pass.scanned_bytes += outcome.bytes();
            pass.budget.spend(outcome.bytes());
            pass.outcomes.push(outcome);
            continue;
        }
        pass.put_off(index, grant);
        // The first with data decides what the others may take; until it is known they wait.
        if grant.at_least_one || pass.scans.len() == FETCH_SCANS_MAX {
            pass.run_scans().await;
        }
    }
    pass.run_scans().await;
    if let Some(held) = &mut held {
        let surplus = held.num_permits().saturating_sub(pass.scanned_bytes);
        drop(held.split(surplus));
    }
    Fetched { outcomes: pass.outcomes, held }
}

/// The state of [`read_all`].
struct Pass<'a> {
    targets: &'a [Target],
    isolation: Isolation,
    budget: Budget,
    outcomes: Vec<Outcome>,
    /// Scans that wait to be run together, by target.
    scans: Vec<(usize, Grant)>,
    scanned_bytes: usize,
}

impl Pass<'_> {
    fn put_off(&mut self, index: usize, grant: Grant) {
        self.budget.set_aside(grant);
        self.scans.push((index, grant));
        // Stands in until the scan has run, which is before the pass ends.
        self.outcomes.push(Outcome::Empty);
    }

    /// Runs the scans that were put off, together; each stays within what was set aside for it.
    async fn run_scans(&mut self) {
        let (targets, isolation) = (self.targets, self.isolation);
        let read = match self.scans[..] {
            [] => return,
            [(index, grant)] => vec![scan(&targets[index], grant, isolation).await],
            _ => {
                join_all(self.scans.iter().map(|(index, grant)| scan(&targets[*index], *grant, isolation)))
                    .await
            }
        };
        for ((index, grant), outcome) in self.scans.drain(..).zip(read) {
            self.budget.settle(grant, outcome.bytes());
            self.scanned_bytes += outcome.bytes();
            self.outcomes[index] = outcome;
        }
    }
}

/// Answers without the store, if that is possible.
fn read_memory(target: &Target, grant: Grant, isolation: Isolation) -> Option<Outcome> {
    let log = match &target.place {
        Place::Log(log) => log,
        Place::Empty if target.position.offset == 0 => return Some(Outcome::Empty),
        Place::Empty => return Some(Outcome::Failed(ErrorCode::OffsetOutOfRange)),
        Place::Diverging { log, epoch, end_offset } => {
            return Some(Outcome::Diverging { log: log.clone(), epoch: *epoch, end_offset: *end_offset });
        }
        Place::Refused(error) => return Some(Outcome::Failed(*error)),
    };
    match log.read_memory(target.position.offset, grant.max_bytes, grant.at_least_one, isolation) {
        Ok(Some(read)) => Some(Outcome::Read(read)),
        // No room left for what the store has: it waits for the next request.
        Ok(None) if !grant.is_useful() => Some(nothing_read(target)),
        Ok(None) => None,
        Err(error) => Some(failed(&error)),
    }
}

/// Answers from object storage, if that is where the records are. With nothing, while they are on their way.
fn read_remote(
    target: &Target,
    place: usize,
    grant: Grant,
    isolation: Isolation,
    remote: &mut RemoteReads,
) -> Option<Outcome> {
    let Place::Log(log) = &target.place else { return None };
    log.remote_at(target.position.offset)?;
    let limits = remote::Limits { max_bytes: grant.max_bytes, at_least_one: grant.at_least_one, isolation };
    Some(match remote.read(place, log, target.position.offset, limits) {
        Some(Ok(read)) => Outcome::Read(read),
        Some(Err(error)) => {
            tracing::warn!(%error, "fetch from object storage failed");
            Outcome::Failed(ErrorCode::from(&error))
        }
        None => nothing_read(target),
    })
}

/// There may be more, for the next request.
fn nothing_read(target: &Target) -> Outcome {
    let Place::Log(log) = &target.place else { return Outcome::Empty };
    Outcome::Read(LogRead { chunks: Vec::new(), bytes: 0, aborted: Vec::new(), offsets: log.offsets() })
}

async fn scan(target: &Target, grant: Grant, isolation: Isolation) -> Outcome {
    let Place::Log(log) = &target.place else { return Outcome::Empty };
    match log.read(target.position.offset, grant.max_bytes, grant.at_least_one, isolation).await {
        Ok(read) => Outcome::Read(read),
        // Moved to object storage since it was looked for here: the next request finds it there.
        Err(ReadError::Tiered { .. }) => nothing_read(target),
        Err(error) => failed(&error),
    }
}

fn failed(error: &ReadError) -> Outcome {
    match error {
        ReadError::OffsetOutOfRange { .. } | ReadError::Tiered { .. } | ReadError::Deleted => {
            tracing::debug!(%error, "fetch refused")
        }
        ReadError::Offline | ReadError::Store(_) => tracing::warn!(%error, "fetch failed"),
    }
    Outcome::Failed(ErrorCode::from(error))
}

/// Waits until reading again may yield enough, or something is wrong, or the deadline has passed. `seen` are the ends
/// of what the last read could see.
async fn wait_until_promising(targets: &[&Target], mut seen: Vec<i64>, limits: Limits, deadline: Instant) {
    loop {
        // A new one each time: logs that did not wake the old one forget it as it is dropped.
        let waiter = Waiter::new();
        for log in targets.iter().filter_map(|target| target.log()) {
            log.watch(&waiter);
        }
        if has_moved(targets, &mut seen, limits.isolation) {
            if is_promising(targets, limits) {
                return;
            }
        } else if timeout_at(deadline, waiter.changed()).await.is_err() {
            return;
        }
    }
}

/// Whether an end differs from `seen`, which is brought up to date, or a log has stopped serving.
fn has_moved(targets: &[&Target], seen: &mut [i64], isolation: Isolation) -> bool {
    let mut moved = false;
    for (target, seen) in targets.iter().zip(seen) {
        if let Some(log) = target.log() {
            let now = log.visible_end(isolation);
            moved |= now != *seen || log.check_online().is_err();
            *seen = now;
        }
    }
    moved
}

fn is_promising(targets: &[&Target], limits: Limits) -> bool {
    let mut bytes = 0;
    for target in targets {
        let Some(log) = target.log() else { continue };
        if log.check_online().is_err() {
            return true;
        }
        let at_most = target.max_bytes().min(limits.max_bytes);
        bytes += log.available_bytes(target.position.offset, at_most, limits.isolation).min(at_most.max(1));
    }
    bytes >= limits.min_bytes
}
