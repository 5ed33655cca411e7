//! Bytes that may be sent in a second, by all uploads together.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// A wait is no longer than this before the rate is asked again.
const WAIT_MAX: Duration = Duration::from_millis(100);

/// See the module.
pub struct Bandwidth {
    /// Bytes a second, of this moment.
    rate: Box<dyn Fn() -> u64 + Send + Sync>,
    state: Mutex<State>,
}

struct State {
    /// Bytes that were sent and are not paid for.
    owed: f64,
    since: Instant,
}

impl std::fmt::Debug for Bandwidth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bandwidth").field("rate", &(self.rate)()).finish_non_exhaustive()
    }
}

impl Bandwidth {
    /// With a rate that is asked each time.
    pub fn new(rate: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self { rate: Box::new(rate), state: Mutex::new(State { owed: 0.0, since: Instant::now() }) }
    }

    /// Without a bound.
    pub fn unlimited() -> Self {
        Self::new(|| u64::MAX)
    }

    /// Waits until what was sent before is paid for, and owes `bytes` more.
    pub async fn spend(&self, bytes: u64) {
        loop {
            let wait = {
                let mut state = self.state.lock();
                let rate = (self.rate)().max(1) as f64;
                let now = Instant::now();
                state.owed = (state.owed - rate * (now - state.since).as_secs_f64()).max(0.0);
                state.since = now;
                if state.owed < 1.0 {
                    state.owed += bytes as f64;
                    return;
                }
                Duration::from_secs_f64((state.owed / rate).min(WAIT_MAX.as_secs_f64()))
            };
            tokio::time::sleep(wait).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_sent_is_paid_for_before_more_is() {
        let bandwidth = Bandwidth::new(|| 1000);
        let begun = Instant::now();
        for _ in 0..5 {
            bandwidth.spend(500).await;
        }
        let took = begun.elapsed().as_secs_f64();
        assert!((1.9..2.3).contains(&took), "{took}");
        Bandwidth::unlimited().spend(u64::MAX).await;
    }
}
