//! Owns what the rest of the server must not reach for by itself: the time, randomness, and whether the broker
//! serves or stops. They are passed in, so that a test can stop the clock and repeat the dice.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use futures_util::FutureExt;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The time, or a test's idea of it. Cheap to clone.
#[derive(Clone)]
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    /// The system's; the instant is the origin of the monotonic time.
    System(Instant),
    /// Moves only when told: wall time and monotonic time in one.
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self(Source::System(Instant::now()))
    }

    /// A clock that stands at `now_ms` until [`advance`](Self::advance) is called on it or a clone.
    pub fn manual(now_ms: i64) -> Self {
        Self(Source::Manual(Arc::new(AtomicI64::new(now_ms))))
    }

    /// Wall time, in milliseconds since 1970. May jump when the machine's clock is set.
    pub fn now_ms(&self) -> i64 {
        match &self.0 {
            Source::System(_) => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX)),
            Source::Manual(now_ms) => now_ms.load(Ordering::SeqCst),
        }
    }

    /// Milliseconds since some moment of this process; never jumps. Timers count on it.
    pub fn mono_ms(&self) -> i64 {
        match &self.0 {
            Source::System(origin) => i64::try_from(origin.elapsed().as_millis()).unwrap_or(i64::MAX),
            Source::Manual(now_ms) => now_ms.load(Ordering::SeqCst),
        }
    }

    /// Moves a manual clock. The system's does not obey.
    pub fn advance(&self, by_ms: i64) {
        if let Source::Manual(now_ms) = &self.0 {
            now_ms.fetch_add(by_ms, Ordering::SeqCst);
        }
    }
}

/// Spawns a task that the broker cannot do without. Were it to panic, the rest would go on and look healthy while what
/// the task owns is gone; so that ends the process, and the next start recovers.
pub fn spawn_vital<F>(name: &'static str, work: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    tokio::spawn(async move {
        match AssertUnwindSafe(work).catch_unwind().await {
            Ok(output) => output,
            Err(_) => {
                tracing::error!(task = name, "a task that the broker needs panicked: stopping at once");
                std::process::abort()
            }
        }
    })
}

impl fmt::Debug for Clock {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Clock({})", self.now_ms())
    }
}

/// Whether the broker answers requests; `/health/ready` tells it. Cheap to clone, all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// Not ready yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Told by whoever starts and stops the broker.
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Release);
    }

    /// Asked by whoever wants to send traffic.
    pub fn is_ready(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Whether the broker is stopping; what would wait longer answers instead. Cheap to clone, all clones are one.
#[derive(Clone, Debug)]
pub struct Stopping(watch::Receiver<bool>);

impl Stopping {
    /// Follows a channel that turns true once.
    pub fn new(stopping: watch::Receiver<bool>) -> Self {
        Self(stopping)
    }

    /// For a broker that is never stopped.
    pub fn never() -> Self {
        Self(watch::channel(false).1)
    }

    /// Asked before waiting.
    pub fn is_asked(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns when it is.
    pub async fn asked(&mut self) {
        if self.0.wait_for(|stopping| *stopping).await.is_err() {
            // Nobody is left who could ask.
            std::future::pending().await
        }
    }
}

/// Fills `bytes` from the system's randomness; ids that must differ between runs are made of it.
///
/// # Panics
/// When the system has no randomness: nothing unique can be made then, and a guess could collide.
pub fn random_bytes(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the system provides randomness");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_told_and_with_its_clones() {
        let clock = Clock::manual(1_000);
        let clone = clock.clone();
        clone.advance(5);
        assert_eq!((clock.now_ms(), clock.mono_ms()), (1_005, 1_005));
    }

    #[test]
    fn the_system_clock_is_past_2020_and_does_not_go_back() {
        let clock = Clock::system();
        assert!(clock.now_ms() > 1_577_836_800_000);
        let before = clock.mono_ms();
        assert!(clock.mono_ms() >= before);
    }

    #[test]
    fn readiness_is_shared_by_clones() {
        let readiness = Readiness::new();
        let clone = readiness.clone();
        assert!(!clone.is_ready());
        readiness.set(true);
        assert!(clone.is_ready());
    }
}
