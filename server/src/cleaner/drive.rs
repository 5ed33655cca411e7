//! Drives passes: each step on a thread that may block, no faster than the budget of bytes allows. Shared by the broker
//! and by the command line on a directory that no broker uses.

use std::time::Duration;

use chronik_engine::log::{CleanError, CleanOptions, CleanPass, CleanReport, CleanStep};
use tokio::time::Instant;

use super::status::{Outcome, State, Target};

/// Passes over one partition that one cleaning makes at most: a full map ends a pass early, and new records may come
/// while it runs.
const PASSES_MAX: usize = 64;

/// The budget of bytes read and written in a second.
#[derive(Debug)]
pub struct Throttle {
    bytes_per_second: f64,
    /// When what was spent is paid for.
    paid: Instant,
}

impl Throttle {
    /// `f64::INFINITY` is no bound.
    pub fn new(bytes_per_second: f64) -> Self {
        Self { bytes_per_second, paid: Instant::now() }
    }

    /// Changes the budget.
    pub fn set(&mut self, bytes_per_second: f64) {
        self.bytes_per_second = bytes_per_second;
    }

    /// Waits until `bytes` more are within the budget.
    async fn spend(&mut self, bytes: u64) {
        let now = Instant::now();
        let cost = Duration::try_from_secs_f64(bytes as f64 / self.bytes_per_second).unwrap_or_default();
        self.paid = self.paid.max(now) + cost;
        if self.paid > now {
            tokio::time::sleep_until(self.paid).await;
        }
    }
}

/// Who watches a cleaning, and may end it.
pub trait Watch {
    /// A step was made; `whole` is what all passes of this cleaning have done.
    fn stepped(&mut self, step: CleanStep, whole: &Outcome);
    /// Asked after each step: whether to leave the rest for later.
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
    throttle: &mut Throttle,
    watch: &mut impl Watch,
) -> Result<Option<CleanReport>, CleanError> {
    loop {
        let (stepped, result) = step(pass).await;
        pass = stepped;
        let made = result?;
        watch.stepped(made, &before.with(&pass.report()));
        if made.done {
            return Ok(Some(pass.report()));
        }
        if watch.is_over() {
            return Ok(None);
        }
        throttle.spend(made.read_bytes + made.written_bytes).await;
    }
}

/// Cleans a partition as far as it can be cleaned. The outcome's state is `Waiting` if the watcher has ended it.
pub async fn clean(
    target: &Target,
    options: CleanOptions,
    throttle: &mut Throttle,
    watch: &mut impl Watch,
) -> Outcome {
    let mut whole = Outcome::waiting(&target.topic, target.partition);
    for _ in 0..PASSES_MAX {
        let result = match target.log.clean(options) {
            Ok(Some(begun)) => pass(begun, &whole, throttle, watch).await,
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
