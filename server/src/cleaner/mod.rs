//! Owns log cleaning in a running broker: a task that takes the dirtiest log, one at a time, under budgets of bytes per
//! second and of memory; and the cleanings that an operator asks for, which go first.
//!
//! A log that cannot be cleaned is marked, counted and told, and never keeps the others from their turn. What is left
//! of a log is the engine's business (`chronik_engine::log::CleanPass`).

mod drive;
mod status;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use chronik_engine::Engine;
use chronik_engine::keys::PartitionId;
use chronik_engine::log::{CleanOptions, CleanStep};
use chronik_tiering::Tier;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use crate::config::CleanerSettings;
use crate::dynamic::settings::Settings;
use crate::limits::CLEANER_JOBS_KEPT;
use crate::metrics as names;
use crate::runtime::Clock;

pub use drive::{Throttle, Watch, clean};
pub use status::{
    CleanerStatus, JobStatus, NoTarget, Outcome, PartitionStatus, State, Target, describe, some_targets,
    targets,
};

/// A log that could not be cleaned is tried again after this long.
const RETRY_AFTER_MS: i64 = 3_600_000;
/// One with a part in object storage, after this long: more often than not it is the store that fails.
const RETRY_TIERED_AFTER_MS: i64 = 60_000;

/// See the module.
pub struct Cleaner {
    engine: Arc<Engine>,
    settings: Arc<Settings>,
    tier: Arc<Tier>,
    clock: Clock,
    state: Mutex<CleanerState>,
    asked: Notify,
}

#[derive(Default)]
struct CleanerState {
    /// Logs that could not be cleaned: why, and until when they are left alone, ms.
    failures: HashMap<PartitionId, (String, i64)>,
    current: Option<Outcome>,
    /// Newest last; at most [`CLEANER_JOBS_KEPT`].
    jobs: VecDeque<Job>,
    next_job: u64,
}

struct Job {
    status: JobStatus,
    targets: Vec<Target>,
}

/// Too many cleanings wait already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{CLEANER_JOBS_KEPT} cleanings wait already; ask again when one of them is done")]
pub struct TooMany;

impl Cleaner {
    /// For the logs of `engine`.
    pub fn new(engine: Arc<Engine>, settings: Arc<Settings>, tier: Arc<Tier>, clock: Clock) -> Arc<Self> {
        // Not the numbers of an earlier run: whoever asked then must not take another's job for its own.
        let next_job = clock.now_ms().unsigned_abs();
        let state = Mutex::new(CleanerState { next_job, ..CleanerState::default() });
        Arc::new(Self { engine, settings, tier, clock, state, asked: Notify::new() })
    }

    /// As they are now.
    fn cleaner_settings(&self) -> CleanerSettings {
        self.settings.current().cleaner.clone()
    }

    /// Everything that is to tell, of one topic or of all.
    ///
    /// # Errors
    /// [`NoTarget`].
    pub fn status(&self, topic: Option<&str>) -> Result<CleanerStatus, NoTarget> {
        let targets = targets(&self.engine, topic)?;
        let now_ms = self.clock.now_ms();
        let state = self.state.lock();
        let failure =
            |target: &Target| state.failures.get(&target.log.id()).map(|(reason, _)| reason.clone());
        let partitions = targets.iter().filter_map(|target| describe(target, now_ms, failure(target)));
        Ok(CleanerStatus {
            enabled: self.cleaner_settings().enable,
            partitions: partitions.collect(),
            current: state.current.clone(),
        })
    }

    /// Has a topic, or every compacted one, cleaned as soon as possible, however little is dirty. Returns the job's number.
    ///
    /// # Errors
    /// [`NoTarget`]; the inner error when too many wait.
    pub fn ask(&self, topic: Option<&str>, dry_run: bool) -> Result<Result<u64, TooMany>, NoTarget> {
        let targets = some_targets(&self.engine, topic)?;
        let mut state = self.state.lock();
        if state.jobs.len() >= CLEANER_JOBS_KEPT {
            let Some(old) = state.jobs.iter().position(|job| job.status.state == State::Done) else {
                return Ok(Err(TooMany));
            };
            state.jobs.remove(old);
        }
        state.next_job += 1;
        let outcomes = targets.iter().map(|target| Outcome::waiting(&target.topic, target.partition));
        let status =
            JobStatus { job: state.next_job, dry_run, state: State::Waiting, partitions: outcomes.collect() };
        state.jobs.push_back(Job { status, targets });
        self.asked.notify_one();
        Ok(Ok(state.next_job))
    }

    /// How far a job is; `None` if nobody knows it any more.
    pub fn job(&self, number: u64) -> Option<JobStatus> {
        let state = self.state.lock();
        state.jobs.iter().find(|job| job.status.job == number).map(|job| job.status.clone())
    }

    /// The task: cleans until stopped.
    pub async fn run(self: Arc<Self>, mut stopping: watch::Receiver<bool>) {
        let mut throttle = Throttle::default();
        while !*stopping.borrow() {
            if self.run_job(&mut throttle, &stopping).await
                || self.run_dirtiest(&mut throttle, &stopping).await
            {
                continue;
            }
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(self.cleaner_settings().backoff_ms.max(1))) => {}
                () = self.asked.notified() => {}
                _ = stopping.changed() => {}
            }
        }
    }

    /// Does the oldest job that waits; false if there is none.
    async fn run_job(&self, throttle: &mut Throttle, stopping: &watch::Receiver<bool>) -> bool {
        let next = {
            let mut state = self.state.lock();
            let waiting = state.jobs.iter_mut().find(|job| job.status.state == State::Waiting);
            waiting.map(|job| {
                job.status.state = State::Running;
                (job.status.job, job.status.dry_run, job.targets.clone())
            })
        };
        let Some((number, dry_run, targets)) = next else { return false };
        for (index, target) in targets.iter().enumerate() {
            if !dry_run && let Some(rolled) = target.log.roll_for_cleaning(self.clock.now_ms(), true) {
                // A store that fails ends the process; a pass on what is not durable would find nothing yet.
                let _ = rolled.await;
            }
            let job = Some((number, index));
            let outcome = self.clean_one(target, dry_run, job, throttle, stopping).await;
            self.note(job, &outcome);
            if *stopping.borrow() {
                return true;
            }
        }
        if let Some(job) = self.state.lock().jobs.iter_mut().find(|job| job.status.job == number) {
            job.status.state = State::Done;
            job.targets.clear();
        }
        true
    }

    /// Cleans the dirtiest log that is due; false if none is.
    async fn run_dirtiest(&self, throttle: &mut Throttle, stopping: &watch::Receiver<bool>) -> bool {
        if !self.cleaner_settings().enable {
            return false;
        }
        let Some(target) = self.dirtiest() else { return false };
        let outcome = self.clean_one(&target, false, None, throttle, stopping).await;
        tracing::info!(
            topic = target.topic,
            partition = target.partition,
            records = outcome.records,
            dropped = outcome.records_dropped,
            before_bytes = outcome.before_bytes,
            after_bytes = outcome.after_bytes,
            state = ?outcome.state,
            "cleaned a log"
        );
        true
    }

    /// Closes active segments that are too old, counts, and picks the log with the largest dirty ratio.
    fn dirtiest(&self) -> Option<Target> {
        let now_ms = self.clock.now_ms();
        let found = targets(&self.engine, None).unwrap_or_default();
        let mut state = self.state.lock();
        state.failures.retain(|id, (_, until_ms)| {
            now_ms < *until_ms && found.iter().any(|target| target.log.id() == *id)
        });
        let (mut due, mut ratio_max, mut best) = (0_usize, 0.0_f64, None);
        for target in found {
            // Found closed at the next look, when it is durable.
            let _ = target.log.roll_for_cleaning(now_ms, false);
            let Some(cleanable) = target.log.cleanable(now_ms) else { continue };
            let ratio = cleanable.dirty_ratio();
            ratio_max = ratio_max.max(ratio);
            if !cleanable.is_due(&target.log.config()) || state.failures.contains_key(&target.log.id()) {
                continue;
            }
            due += 1;
            if best.as_ref().is_none_or(|(most, _)| ratio > *most) {
                best = Some((ratio, target));
            }
        }
        metrics::gauge!(names::CLEANER_DUE).set(due as f64);
        metrics::gauge!(names::CLEANER_DIRTY_RATIO).set(ratio_max);
        metrics::gauge!(names::CLEANER_FAILED_LOGS).set(state.failures.len() as f64);
        best.map(|(_, target)| target)
    }

    async fn clean_one(
        &self,
        target: &Target,
        dry_run: bool,
        job: Option<(u64, usize)>,
        throttle: &mut Throttle,
        stopping: &watch::Receiver<bool>,
    ) -> Outcome {
        let options = CleanOptions {
            now_ms: self.clock.now_ms(),
            map_bytes_max: self.cleaner_settings().dedupe_buffer_bytes,
            dry_run,
        };
        let begun_ms = self.clock.mono_ms();
        let mut watcher = Watcher { cleaner: self, job, stopping };
        let outcome = clean(target, options, &self.tier, throttle, &mut watcher).await;
        let mut state = self.state.lock();
        state.current = None;
        match &outcome.error {
            Some(error) => {
                tracing::warn!(
                    topic = target.topic,
                    partition = target.partition,
                    error,
                    "a log cannot be cleaned"
                );
                metrics::counter!(names::CLEANER_FAILURES).increment(1);
                let retry_ms = if target.log.has_remote() { RETRY_TIERED_AFTER_MS } else { RETRY_AFTER_MS };
                let until_ms = self.clock.now_ms().saturating_add(retry_ms);
                state.failures.insert(target.log.id(), (error.clone(), until_ms));
            }
            None => {
                state.failures.remove(&target.log.id());
            }
        }
        if !dry_run && outcome.state == State::Done {
            metrics::counter!(names::CLEANER_DROPPED).increment(outcome.records_dropped);
            let took_ms = self.clock.mono_ms() - begun_ms;
            metrics::gauge!(names::CLEANER_SECONDS).set(took_ms as f64 / 1000.0);
        }
        metrics::gauge!(names::CLEANER_PROGRESS).set(0.0);
        outcome
    }

    /// Whether a job waits.
    fn is_asked(&self) -> bool {
        self.state.lock().jobs.iter().any(|job| job.status.state == State::Waiting)
    }

    /// Puts an outcome where it is looked for.
    fn note(&self, job: Option<(u64, usize)>, outcome: &Outcome) {
        let mut state = self.state.lock();
        let Some((number, index)) = job else { return };
        if let Some(job) = state.jobs.iter_mut().find(|job| job.status.job == number)
            && let Some(place) = job.status.partitions.get_mut(index)
        {
            *place = outcome.clone();
        }
    }
}

/// Tells of a pass under way, and ends one that nobody asked for when somebody asks.
struct Watcher<'a> {
    cleaner: &'a Cleaner,
    job: Option<(u64, usize)>,
    stopping: &'a watch::Receiver<bool>,
}

impl Watch for Watcher<'_> {
    fn bytes_per_second(&self) -> f64 {
        self.cleaner.cleaner_settings().io_bytes_per_second
    }

    fn stepped(&mut self, step: CleanStep, whole: &Outcome) {
        metrics::counter!(names::CLEANER_READ).increment(step.read_bytes);
        metrics::counter!(names::CLEANER_WRITTEN).increment(step.written_bytes);
        let progress = whole.read_bytes as f64 / whole.expected_bytes.max(1) as f64;
        metrics::gauge!(names::CLEANER_PROGRESS).set(progress.min(1.0));
        self.cleaner.state.lock().current = Some(whole.clone());
        self.cleaner.note(self.job, whole);
    }

    fn is_over(&self) -> bool {
        *self.stopping.borrow() || (self.job.is_none() && self.cleaner.is_asked())
    }
}

/// Registers the figures at zero, so that they are there before the first pass.
pub fn register_metrics() {
    for name in [names::CLEANER_READ, names::CLEANER_WRITTEN, names::CLEANER_DROPPED, names::CLEANER_FAILURES]
    {
        metrics::counter!(name).increment(0);
    }
    for name in [
        names::CLEANER_DUE,
        names::CLEANER_DIRTY_RATIO,
        names::CLEANER_FAILED_LOGS,
        names::CLEANER_SECONDS,
        names::CLEANER_PROGRESS,
    ] {
        metrics::gauge!(name).set(0.0);
    }
}
