//! When a run sends, and what of it is measured.
//!
//! Owns the schedule: an open loop has slots at fixed times whoever is late for them, a closed loop
//! sends as soon as it may. Latency always starts at the slot's time, never at the late send, so a
//! broker that stalls is charged for every send it held up. It reads no clock but `Instant::now`.

use std::time::{Duration, Instant};

use crate::report::{Latencies, Outcome};

/// How far past its end an overloaded open loop may run before the rest is given up, as a
/// multiple of the measured time.
const OVERRUN: u32 = 2;

/// The times of one run, shared by all its workers.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// First moment that counts.
    pub measured_from: Instant,
    /// No send is due from here on.
    pub until: Instant,
    /// No send happens from here on, due or not.
    pub give_up: Instant,
}

impl Window {
    /// Starts now. With a limit of messages, time does not end the run.
    pub fn new(warmup: Duration, duration: Duration, limited_by_messages: bool) -> Self {
        /// "No end in time": a day, so that sums stay far from overflow.
        const NO_END: Duration = Duration::from_secs(86_400);
        let measured_from = Instant::now() + warmup;
        let duration = if limited_by_messages { NO_END } else { duration };
        Self { measured_from, until: measured_from + duration, give_up: measured_from + duration * OVERRUN }
    }
}

/// The sends of one worker.
#[derive(Clone, Debug)]
pub struct Schedule {
    window: Window,
    /// Time between this worker's slots; none in a closed loop.
    interval: Option<Duration>,
    next: Instant,
    per_slot: u64,
    /// How many records may still be sent at or after `counts_from` (none: ever).
    left: Option<u64>,
    counts_from: Option<Instant>,
}

/// One send.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    /// When it was due; in a closed loop, when it was taken.
    pub due: Instant,
    /// Records to send in it.
    pub records: u64,
}

impl Schedule {
    /// The schedule of worker `index` of `workers`, which together send `rate` records a second
    /// (or as fast as they can) and at most `limit` measured records.
    pub fn new(
        window: Window,
        rate: Option<f64>,
        per_slot: u64,
        limit: Option<u64>,
        index: u64,
        workers: u64,
    ) -> Self {
        let spacing = rate.map(|rate| Duration::from_secs_f64(per_slot as f64 / rate));
        let share = |total: u64| total / workers + u64::from(index < total % workers);
        Self {
            window,
            interval: spacing.map(|spacing| spacing * workers as u32),
            next: Instant::now() + spacing.map_or(Duration::ZERO, |spacing| spacing * index as u32),
            per_slot,
            left: limit.map(share),
            counts_from: Some(window.measured_from),
        }
    }

    /// The schedule of one worker that sends exactly `slots` slots at `rate` records a second,
    /// unless the window's end cuts it short.
    pub fn counted(window: Window, rate: f64, per_slot: u64, slots: u64) -> Self {
        let mut schedule = Self::new(window, Some(rate), per_slot, Some(slots * per_slot), 0, 1);
        schedule.counts_from = None;
        schedule
    }

    /// The next send, or none when the run is over. An open-loop slot may lie in the future; the
    /// caller waits for it.
    pub fn next(&mut self) -> Option<Slot> {
        let now = Instant::now();
        let due = if self.interval.is_some() { self.next } else { now };
        if due >= self.window.until || now >= self.window.give_up || self.left == Some(0) {
            return None;
        }
        if let Some(interval) = self.interval {
            self.next += interval;
        }
        let mut records = self.per_slot;
        if let Some(left) = self.left.as_mut().filter(|_| self.counts_from.is_none_or(|from| due >= from)) {
            records = records.min(*left);
            *left -= records;
        }
        Some(Slot { due, records })
    }
}

/// What one worker saw inside the window.
#[derive(Debug)]
pub struct Tally {
    window: Window,
    records: u64,
    errors: u64,
    first_error: Option<String>,
    latencies: Option<Latencies>,
    last: Option<Instant>,
}

impl Tally {
    /// Nothing seen yet; `timed` when completions have a latency.
    pub fn new(window: Window, timed: bool) -> Self {
        let latencies = timed.then(Latencies::new);
        Self { window, records: 0, errors: 0, first_error: None, latencies, last: None }
    }

    /// `records` that were due at `due` are done now.
    pub fn done(&mut self, due: Instant, records: u64) {
        if due < self.window.measured_from {
            return;
        }
        let now = Instant::now();
        self.records += records;
        self.last = Some(now);
        if let Some(latencies) = &mut self.latencies {
            latencies.record(now - due, records);
        }
    }

    /// Something failed; the first such message is kept for the report.
    pub fn failed(&mut self, what: &str) {
        self.errors += 1;
        self.first_error.get_or_insert_with(|| what.to_owned());
    }

    /// Only what failed: completions of this worker are measured elsewhere.
    pub fn errors_only(mut self) -> Self {
        (self.records, self.last, self.latencies) = (0, None, None);
        self
    }

    /// Puts the tallies of all workers together. The measured time ends with the last completion,
    /// so that what was still under way at the end of the sends counts with the time it took.
    pub fn sum(tallies: Vec<Self>, window: Window, value_bytes: usize) -> Outcome {
        let last = tallies.iter().filter_map(|tally| tally.last).max();
        let mut latencies: Option<Latencies> = None;
        for one in tallies.iter().filter_map(|tally| tally.latencies.as_ref()) {
            latencies.get_or_insert_with(Latencies::new).add(one);
        }
        let records = tallies.iter().map(|tally| tally.records).sum();
        Outcome {
            records,
            value_bytes: records * value_bytes as u64,
            errors: tallies.iter().map(|tally| tally.errors).sum(),
            first_error: tallies.into_iter().find_map(|tally| tally.first_error),
            elapsed: last.map_or(Duration::ZERO, |last| last - window.measured_from),
            latencies,
        }
    }
}

/// Waits until `due` more exactly than a timer wheel of one millisecond can: latencies of a few
/// hundred microseconds would drown in it. Async workers only; a thread sleeps by itself.
pub async fn sleep_until(due: Instant) {
    let wait = due.saturating_duration_since(Instant::now());
    if !wait.is_zero() {
        // A blocking thread's nanosleep wakes within ~60 µs. The join cannot fail: sleep never
        // panics, and the runtime outlives the run.
        tokio::task::spawn_blocking(move || std::thread::sleep(wait)).await.ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window() -> Window {
        let now = Instant::now();
        Window {
            measured_from: now,
            until: now + Duration::from_millis(100),
            give_up: now + Duration::from_secs(60),
        }
    }

    fn sent(schedule: &mut Schedule) -> (u64, u64) {
        std::iter::from_fn(|| schedule.next())
            .fold((0, 0), |(slots, records), slot| (slots + 1, records + slot.records))
    }

    #[test]
    fn an_open_loop_has_its_slots_however_late_it_is_asked() {
        // 1,000 records a second in slots of ten for 100 ms: ten slots, half of them each.
        let window = window();
        let mut one = Schedule::new(window, Some(1_000.0), 10, None, 0, 2);
        let mut other = Schedule::new(window, Some(1_000.0), 10, None, 1, 2);
        std::thread::sleep(Duration::from_millis(120));
        let (slots, records) = (sent(&mut one), sent(&mut other));
        assert_eq!((slots.0 + records.0, slots.1 + records.1), (10, 100));
    }

    #[test]
    fn a_limit_is_shared_exactly_and_the_last_slot_is_short() {
        let window = Window::new(Duration::ZERO, Duration::ZERO, true);
        let total: u64 =
            (0..3).map(|index| sent(&mut Schedule::new(window, None, 16, Some(1_000), index, 3)).1).sum();
        assert_eq!(total, 1_000);
    }

    #[test]
    fn the_warm_up_counts_nowhere() {
        let mut window = window();
        window.measured_from += Duration::from_secs(10);
        let mut tally = Tally::new(window, true);
        tally.done(Instant::now(), 5);
        let outcome = Tally::sum(vec![tally], window, 10);
        assert_eq!((outcome.records, outcome.value_bytes), (0, 0));
    }
}
