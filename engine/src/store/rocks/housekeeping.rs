//! The one background thread of ours: notes the durable sequence, and gives trimmed space back.
//!
//! Sleeps without a timer while there is nothing to do. Compaction takes at most a fifth of the time, so that a
//! burst of retention does not take the disk from the commits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use std::ops::Range;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};

use super::super::Keyspace;
use super::ffi::Database;
use super::reclaim::TrimmedRanges;
use super::recovery::SequenceNote;

/// Rest after a compaction, as a multiple of what it took, and at most this long.
const REST_FACTOR: u32 = 4;
const REST_MAX: Duration = Duration::from_secs(30);

#[derive(Default)]
struct State {
    trimmed: TrimmedRanges,
    /// A sequence was made durable since the last note.
    unnoted: bool,
    stopped: bool,
}

/// What the committer leaves to do.
pub(super) struct Housekeeping {
    state: Mutex<State>,
    changed: Condvar,
    durable_sequence: AtomicU64,
    note: Mutex<SequenceNote>,
    /// How long to gather work before doing it.
    delay: Duration,
}

impl Housekeeping {
    pub(super) fn new(note: SequenceNote, delay: Duration) -> Self {
        Self {
            state: Mutex::new(State::default()),
            changed: Condvar::new(),
            durable_sequence: AtomicU64::new(note.noted()),
            note: Mutex::new(note),
            delay,
        }
    }

    /// Everything up to `sequence` is fsynced..
    pub(super) fn note_durable(&self, sequence: u64) {
        // Changed by the committing thread only.
        self.durable_sequence.store(sequence, Ordering::Release);
        let mut state = self.state.lock();
        if !state.unnoted {
            state.unnoted = true;
            self.changed.notify_one();
        }
    }

    /// `range` was trimmed and takes space until compacted.
    pub(super) fn reclaim_later(&self, keyspace: Keyspace, range: Range<Bytes>) {
        self.state.lock().trimmed.add(keyspace, range);
        self.changed.notify_one();
    }

    pub(super) fn stop(&self) {
        self.state.lock().stopped = true;
        self.changed.notify_all();
    }

    /// Writes the note now.
    pub(super) fn write_note(&self) {
        let sequence = self.durable_sequence.load(Ordering::Acquire);
        // The note lags by design: without it the check at the next start is weaker, nothing else.
        if let Err(error) = self.note.lock().note(sequence) {
            tracing::warn!(%error, "the last durable sequence could not be noted");
        }
    }

    /// The thread: until stopped.
    pub(super) fn run(self: Arc<Self>, database: Arc<Database>) {
        loop {
            if !self.wait_for_work() || !self.pause(self.delay) {
                return;
            }
            let (trimmed, unnoted) = {
                let mut state = self.state.lock();
                (std::mem::take(&mut state.trimmed), std::mem::take(&mut state.unnoted))
            };
            if unnoted {
                self.write_note();
            }
            if !trimmed.is_empty() {
                let started = Instant::now();
                trimmed.reclaim(&database, || self.state.lock().stopped);
                if !self.pause((started.elapsed() * REST_FACTOR).min(REST_MAX)) {
                    return;
                }
            }
        }
    }

    /// False once stopped.
    fn wait_for_work(&self) -> bool {
        let mut state = self.state.lock();
        while !state.stopped && !state.unnoted && state.trimmed.is_empty() {
            self.changed.wait(&mut state);
        }
        !state.stopped
    }

    /// Sleeps; false if stopped meanwhile.
    fn pause(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        let mut state = self.state.lock();
        while !state.stopped && !self.changed.wait_until(&mut state, until).timed_out() {}
        !state.stopped
    }
}
