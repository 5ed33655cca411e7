//! Drives passes: each step on a thread that may block, no faster than the budget of bytes allows. Shared by the broker
//! and by the command line on a directory that no broker uses.

use std::time::Duration;

use chronik_engine::log::{CleanError, CleanOptions, CleanPass, CleanReport, CleanStep};
use chronik_tiering::{Pace, Tier};
use tokio::time::Instant;

use super::status::{Outcome, State, Target};

/// Passes over one partition that one cleaning makes at most: a full map ends a pass early, and new records may come
/// while it runs.
const PASSES_MAX: usize = 64;

/// A wait is no longer than this before it is asked whether to go on, and at which rate.
const WAIT_MAX: Duration = Duration::from_millis(100);

/// Bytes read and written that the budget has not allowed yet.
#[derive(Debug, Default)]
pub struct Throttle {
    owed_bytes: f64,
}

impl Throttle {
    /// Waits until `bytes` more are within the watcher's budget, or it is over.
    async fn spend(&mut self, bytes: u64, watch: &impl Watch) {
        self.owed_bytes += bytes as f64;
        let mut since = Instant::now();
        while !watch.is_over() {
            let rate = watch.bytes_per_second();
            let wait_s = self.owed_bytes / rate;
            if wait_s < f64::EPSILON {
                self.owed_bytes = 0.0;
                return;
            }
            tokio::time::sleep(Duration::from_secs_f64(wait_s.min(WAIT_MAX.as_secs_f64()))).await;
            let now = Instant::now();
            self.owed_bytes = (self.owed_bytes - rate * (now - since).as_secs_f64()).max(0.0);
            since = now;
        }
    }
}

/// What is in object storage is cleaned under the same budget.
struct Paced<'a, W> {
    throttle: &'a mut Throttle,
    watch: &'a W,
}

impl<W: Watch> Pace for Paced<'_, W> {
    async fn spent(&mut self, bytes: u64) -> bool {
        self.throttle.spend(bytes, self.watch).await;
        !self.watch.is_over()
    }
}

/// Who watches a cleaning, and may end it.
pub trait Watch: Send + Sync {
    /// What may be read and written together; `f64::INFINITY` is no bound.
    fn bytes_per_second(&self) -> f64;
    /// A step was made; `whole` is what all passes of this cleaning have done.
    fn stepped(&mut self, step: CleanStep, whole: &Outcome);
    /// Asked after each step and while it is paid for: whether to leave the rest for later.
    fn is_over(&self) -> bool;
}

/// Makes one step where it may block: batches are decompressed and hashed in it.
async fn step(mut pass: CleanPass) -> (CleanPass, Result<CleanStep, CleanError>) {
    let runtime = tokio::runtime::Handle::current();
    let stepped = tokio::task::spawn_blocking(move || {
        let result = runtime.block_on(pass.step());
        (pass, result)
    });
    stepped.await.expect("a step of the cleaner does not panic")
}

/// One pass to its end. `None` if the watcher has ended it.
async fn pass(
    mut pass: CleanPass,
    before: &Outcome,
    tier: &Tier,
    throttle: &mut Throttle,
    watch: &mut impl Watch,
) -> Result<Option<CleanReport>, CleanError> {
    loop {
        let (stepped, result) = step(pass).await;
        pass = stepped;
        let made = result?;
        if made.wants_remote {
            let cleaned;
            (pass, cleaned) = tier.clean_remote(pass, &mut Paced { throttle, watch }).await;
            cleaned?;
            if watch.is_over() {
                return Ok(None);
            }
        }
        watch.stepped(made, &before.with(&pass.report()));
        if made.done {
            return Ok(Some(pass.report()));
        }
        throttle.spend(made.read_bytes + made.written_bytes, watch).await;
        if watch.is_over() {
            return Ok(None);
        }
    }
}

/// Begins a pass, once nobody else is at work on the log: a copy to object storage keeps the cleaner away for as long as it
/// takes.
async fn begin(
    target: &Target,
    options: CleanOptions,
    watch: &impl Watch,
) -> Result<Option<CleanPass>, CleanError> {
    loop {
        match target.log.clean(options) {
            Err(CleanError::Busy) if target.log.config().remote_storage && !watch.is_over() => {
                tokio::time::sleep(WAIT_MAX).await;
            }
            begun => return begun,
        }
    }
}

/// Cleans a partition as far as it can be cleaned. The outcome's state is `Waiting` if the watcher has ended it.
pub async fn clean(
    target: &Target,
    options: CleanOptions,
    tier: &Tier,
    throttle: &mut Throttle,
    watch: &mut impl Watch,
) -> Outcome {
    let mut whole = Outcome::waiting(&target.topic, target.partition);
    let is_tiered = target.log.config().remote_storage || target.log.has_remote();
    if is_tiered && !options.dry_run && !tier.may_clean().await {
        // Its list of segments may not be whole yet.
        let error = Some(CleanError::Remote("it cannot be written now".to_owned()).to_string());
        return Outcome { state: State::Failed, error, ..whole };
    }
    for _ in 0..PASSES_MAX {
        let result = match begin(target, options, watch).await {
            Ok(Some(begun)) => pass(begun, &whole, tier, throttle, watch).await,
            Ok(None) => break,
            Err(error) => Err(error),
        };
        match result {
            Ok(Some(report)) => whole = whole.with(&report),
            Ok(None) => return Outcome { state: State::Waiting, ..whole },
            Err(error) => return Outcome { state: State::Failed, error: Some(error.to_string()), ..whole },
        }
        if options.dry_run {
            // It would find the same again.
            break;
        }
    }
    Outcome { state: State::Done, ..whole }
}
