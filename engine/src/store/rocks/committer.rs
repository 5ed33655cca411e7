//! The one thread that writes: drains what waits into one write and, if a member asks, one fsync.
//!
//! Invariants: batches reach the log in the order of `submit`; observers hear and tickets resolve in that order too;
//! after the first failed write nothing is written again. While an fsync runs the next group gathers, so groups grow
//! with the load and an idle disk commits at once. Refuses to wait for a group to fill.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::sync::oneshot;

use super::super::{CommitObserver, Durability, Op, StoreError, Ticket, TicketResolver, WriteBatch};
use super::ffi::{Database, Group};
use super::housekeeping::Housekeeping;
use super::metrics;
use super::options::CommitCaps;

/// Buffer that the write group keeps between commits.
const RETAINED_BYTES_MAX: usize = 32 << 20;

/// Called once, with the error that ended the store.
pub(super) type FatalHandler = Box<dyn FnOnce(StoreError) + Send>;

struct Pending {
    ops: Vec<Op>,
    bytes: usize,
    durability: Durability,
    queued: Instant,
    observer: Option<(Arc<dyn CommitObserver>, u64)>,
    resolver: TicketResolver,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Pending>,
    waiting_bytes: usize,
    writers_held_back: Vec<oneshot::Sender<()>>,
    /// Set by the first failure or by `close`; nothing is accepted after it.
    refusal: Option<StoreError>,
    closing: bool,
    asleep: bool,
}

/// The queue in front of the committing thread.
pub(super) struct Queue {
    state: Mutex<State>,
    work: Condvar,
    bytes_max: usize,
    /// Groups written so far.
    commits: AtomicU64,
}

impl Queue {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            state: Mutex::new(State::default()),
            work: Condvar::new(),
            bytes_max,
            commits: AtomicU64::new(0),
        }
    }

    /// Queues `batch` behind everything submitted before.
    pub(super) fn submit(&self, batch: WriteBatch, durability: Durability) -> Ticket {
        let (ticket, resolver) = Ticket::new();
        let bytes = batch.bytes();
        let (ops, observer) = batch.into_parts();
        let queued = Instant::now();
        let mut state = self.state.lock();
        if let Some(error) = state.refusal.clone() {
            return Ticket::resolved(Err(error));
        }
        state.waiting_bytes += bytes;
        state.waiting.push_back(Pending { ops, bytes, durability, queued, observer, resolver });
        let wake = std::mem::take(&mut state.asleep);
        drop(state);
        if wake {
            self.work.notify_one();
        }
        ticket
    }

    /// `None` if there is room, or what resolves once there is.
    pub(super) fn room(&self) -> Result<Option<oneshot::Receiver<()>>, StoreError> {
        let mut state = self.state.lock();
        if let Some(error) = &state.refusal {
            return Err(error.clone());
        }
        if state.waiting_bytes < self.bytes_max {
            return Ok(None);
        }
        let (room, receiver) = oneshot::channel();
        // Callers that went away leave closed ends behind; live ones are bounded by the callers themselves.
        state.writers_held_back.retain(|writer| !writer.is_closed());
        state.writers_held_back.push(room);
        Ok(Some(receiver))
    }

    /// Groups written so far.
    pub(super) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    pub(super) fn bytes(&self) -> usize {
        self.state.lock().waiting_bytes
    }

    pub(super) fn refusal(&self) -> Option<StoreError> {
        self.state.lock().refusal.clone()
    }

    /// Accepts nothing more; what waits is still committed.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.refusal.get_or_insert(StoreError::Closed);
        state.closing = true;
        state.asleep = false;
        drop(state);
        self.work.notify_all();
    }

    /// Waits for work and moves as much as the caps allow into `taken`. False when closed and drained.
    fn take(&self, caps: CommitCaps, taken: &mut Vec<Pending>) -> bool {
        let mut state = self.state.lock();
        while state.waiting.is_empty() {
            if state.closing {
                return false;
            }
            state.asleep = true;
            self.work.wait(&mut state);
        }
        state.asleep = false;
        let mut bytes = 0_usize;
        while let Some(next) = state.waiting.front() {
            let full = taken.first().is_some_and(|first| {
                taken.len() >= caps.max_batches
                    || bytes + next.bytes > caps.max_bytes
                    || next.queued.saturating_duration_since(first.queued) > caps.max_span
            });
            if full {
                break;
            }
            bytes += next.bytes;
            taken.extend(state.waiting.pop_front());
        }
        state.waiting_bytes -= bytes;
        self.let_writers_in(&mut state);
        ::metrics::gauge!(metrics::QUEUE_BYTES).set(state.waiting_bytes as f64);
        true
    }

    fn let_writers_in(&self, state: &mut MutexGuard<'_, State>) {
        if state.waiting_bytes < self.bytes_max {
            // A receiver that is gone gave up waiting.
            for writer in state.writers_held_back.drain(..) {
                let _ = writer.send(());
            }
        }
    }

    /// Drains a closed queue and says how it was grouped.
    #[cfg(test)]
    pub(super) fn group_sizes(&self, caps: CommitCaps) -> Vec<usize> {
        let mut sizes = Vec::new();
        let mut taken = Vec::new();
        while self.take(caps, &mut taken) {
            sizes.push(taken.drain(..).count());
        }
        sizes
    }

    /// Ends the store: returns what waited, to be failed.
    fn fail(&self, error: &StoreError) -> VecDeque<Pending> {
        let mut state = self.state.lock();
        state.refusal = Some(error.clone());
        state.waiting_bytes = 0;
        self.let_writers_in(&mut state);
        std::mem::take(&mut state.waiting)
    }
}

/// What the committing thread owns.
pub(super) struct Committer {
    pub(super) queue: Arc<Queue>,
    pub(super) database: Arc<Database>,
    pub(super) housekeeping: Arc<Housekeeping>,
    pub(super) caps: CommitCaps,
    pub(super) on_fatal: Option<FatalHandler>,
}

impl Committer {
    /// Runs until the queue is closed and drained.
    pub(super) fn run(mut self) {
        let mut group = Group::new(RETAINED_BYTES_MAX);
        let mut taken = Vec::new();
        while self.queue.take(self.caps, &mut taken) {
            match self.write(&mut group, &taken) {
                Ok(()) => self.tell(&mut taken),
                Err(error) => self.fail(error, &mut taken),
            }
        }
    }

    fn write(&self, group: &mut Group, taken: &[Pending]) -> Result<(), StoreError> {
        let bytes: usize = taken.iter().map(|pending| pending.bytes).sum();
        let ops: usize = taken.iter().map(|pending| pending.ops.len()).sum();
        let sync = taken.iter().any(|pending| pending.durability == Durability::Sync);
        group.reserve(bytes, ops);
        taken.iter().flat_map(|pending| &pending.ops).for_each(|op| group.push(&self.database, op));
        let started = Instant::now();
        let result = self.database.write(group, sync);
        ::metrics::histogram!(metrics::COMMIT_SECONDS).record(started.elapsed().as_secs_f64());
        ::metrics::histogram!(metrics::COMMIT_BATCHES).record(taken.len() as f64);
        ::metrics::histogram!(metrics::COMMIT_BYTES).record(bytes as f64);
        group.clear();
        result.map_err(|message| StoreError::WriteFailed(message.into()))?;
        self.queue.commits.fetch_add(1, Ordering::Relaxed);
        if sync {
            self.housekeeping.note_durable(self.database.db().latest_sequence_number());
        }
        Ok(())
    }

    /// Observers and tickets, batch by batch in order, then what the batches left to do.
    fn tell(&self, taken: &mut Vec<Pending>) {
        for pending in taken.drain(..) {
            if let Some((observer, token)) = &pending.observer {
                observer.committed(*token);
            }
            pending.resolver.resolve(Ok(()));
            for op in pending.ops {
                if let Op::Trim { keyspace, from, to } | Op::Reclaim { keyspace, from, to } = op {
                    self.housekeeping.reclaim_later(keyspace, from..to);
                }
            }
        }
    }

    fn fail(&mut self, error: StoreError, taken: &mut Vec<Pending>) {
        let waiting = self.queue.fail(&error);
        tracing::error!(%error, "the store stops taking writes");
        if let Some(handler) = self.on_fatal.take() {
            handler(error.clone());
        }
        taken.drain(..).chain(waiting).for_each(|pending| pending.resolver.resolve(Err(error.clone())));
    }
}

impl Drop for Committer {
    /// A panic (an observer's) must not leave waiters hanging.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.fail(StoreError::WriteFailed("the committing thread panicked".into()), &mut Vec::new());
        }
    }
}
