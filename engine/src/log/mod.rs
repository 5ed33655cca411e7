//! One partition's log: an ordered run of record batches with its offsets, segments, producers and newest batches in
//! memory.
//!
//! Invariants: offsets are assigned under one lock and handed to the store in the same order; `high_watermark` moves
//! only from the store's commit observer; nothing at or above it is ever shown; `log_start_offset` never moves back.
//!
//! What it refuses: to validate records (the caller brings a [`ValidBatch`](chronik_protocol::batch::ValidBatch)), to
//! read a clock, and to know who is asking.

mod append;
mod clean;
mod config;
mod load;
mod marker;
mod read;
mod retention;
mod ring;
mod segment;
#[cfg(test)]
mod tests;
mod tier;
mod timestamp;
mod transactions;
mod wait;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use parking_lot::{Mutex, RwLock};

pub use append::{Appended, Vouched};
pub use clean::{
    CleanError, CleanOptions, CleanPass, CleanReport, CleanStep, Cleanable, CleanedTo, RemoteFate,
};
pub use config::LogConfig;
pub(crate) use load::{LoadedLog, load_all};
pub use read::LogRead;
pub use ring::RingBudget;
pub use segment::Segment;
pub use tier::{CleaningHold, RemoteSegment, Span, TierFigures};
pub use timestamp::{TimestampOffset, first_record_at};
pub use transactions::{AbortedTxn, Isolation};
pub use wait::Waiter;

use crate::error::ReadError;
use crate::keys::PartitionId;
use crate::keys::clean::CleanValue;
use crate::keys::log::{EpochValue, LogValue};
use crate::producer::ProducerState;
use crate::store::{CommitObserver, Store, Ticket};
use ring::Ring;
use transactions::LogTransactions;
use wait::WaiterList;

/// See the module.
pub struct PartitionLog {
    id: PartitionId,
    store: Arc<dyn Store>,
    budget: Arc<RingBudget>,
    config: RwLock<Arc<LogConfig>>,
    /// First offset that is not durable; written by the commit observer alone.
    high_watermark: AtomicI64,
    /// First offset there is, as far as that is durable; written by the commit observer alone.
    durable_start: AtomicI64,
    waiters: WaiterList,
    /// A pass of the cleaner is under way; there is one at a time.
    cleaning: AtomicBool,
    state: Mutex<LogState>,
}

/// What the lock protects.
struct LogState {
    status: Status,
    log_start_offset: i64,
    /// First offset whose batch is in the store, unless the log's start is behind it.
    local_start_offset: i64,
    next_offset: i64,
    /// Leader epochs and where each began; never empty.
    epochs: Vec<EpochValue>,
    /// Sealed segments, oldest first.
    sealed: VecDeque<Segment>,
    active: Segment,
    /// What is in object storage, oldest first.
    remote: VecDeque<Arc<RemoteSegment>>,
    producers: HashMap<i64, ProducerState>,
    transactions: LogTransactions,
    ring: Ring,
    /// How far the log was cleaned.
    clean: CleanValue,
    /// The newest commit; whatever depends on state seen under the lock waits for it.
    last_ticket: Ticket,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Online,
    /// A read met corrupt data; only a restart brings the partition back.
    Offline,
    Deleted,
}

/// Offsets of one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offsets {
    /// First offset there is. Durable, so it never moves back, not even over a crash.
    pub log_start_offset: i64,
    /// First offset that can be read: ahead of the start for as long as a new start takes to become durable.
    pub readable_from: i64,
    /// First offset whose batch is in the store; below it, object storage has it.
    pub local_from: i64,
    /// First offset that is not durable, and so not shown.
    pub high_watermark: i64,
    /// First offset that a reader of committed data may not see: where the oldest transaction began that is open or
    /// whose end is not durable, else the high watermark.
    pub last_stable_offset: i64,
    /// First offset not yet assigned.
    pub next_offset: i64,
}

impl Offsets {
    /// First offset that a reader may not see.
    pub fn visible_end(&self, isolation: Isolation) -> i64 {
        match isolation {
            Isolation::Uncommitted => self.high_watermark,
            Isolation::Committed => self.last_stable_offset,
        }
    }
}

impl PartitionLog {
    pub(crate) fn new(
        id: PartitionId,
        store: Arc<dyn Store>,
        budget: Arc<RingBudget>,
        config: Arc<LogConfig>,
        loaded: LoadedLog,
    ) -> Arc<Self> {
        let log = Arc::new(Self {
            id,
            store,
            budget,
            config: RwLock::new(config),
            high_watermark: AtomicI64::new(loaded.next_offset),
            durable_start: AtomicI64::new(loaded.log_start_offset),
            waiters: WaiterList::default(),
            cleaning: AtomicBool::new(false),
            state: Mutex::new(LogState {
                status: Status::Online,
                log_start_offset: loaded.log_start_offset,
                local_start_offset: loaded.local_start_offset,
                next_offset: loaded.next_offset,
                epochs: loaded.epochs,
                sealed: loaded.sealed,
                active: loaded.active,
                remote: loaded.remote,
                transactions: LogTransactions::new(loaded.open, loaded.newest_aborted),
                producers: loaded.producers,
                ring: Ring::default(),
                clean: loaded.clean,
                last_ticket: Ticket::resolved(Ok(())),
            }),
        });
        if let Some(reason) = loaded.broken {
            log.mark_offline(&reason);
        }
        log
    }

    /// The partition's id.
    pub fn id(&self) -> PartitionId {
        self.id
    }

    /// The settings in force.
    pub fn config(&self) -> Arc<LogConfig> {
        self.config.read().clone()
    }

    /// Puts other settings in force; appends and retention see them at once.
    pub fn set_config(&self, config: Arc<LogConfig>) {
        *self.config.write() = config;
    }

    /// The epoch that new batches are stamped with.
    pub fn leader_epoch(&self) -> i32 {
        self.state.lock().leader_epoch()
    }

    /// First offset that is not durable.
    pub fn high_watermark(&self) -> i64 {
        self.high_watermark.load(Ordering::Acquire)
    }

    /// First offset that a reader may not see.
    pub fn visible_end(&self, isolation: Isolation) -> i64 {
        match isolation {
            Isolation::Uncommitted => self.high_watermark(),
            Isolation::Committed => self.offsets().last_stable_offset,
        }
    }

    fn durable_start(&self) -> i64 {
        self.durable_start.load(Ordering::Acquire)
    }

    /// The log's offsets.
    pub fn offsets(&self) -> Offsets {
        self.offsets_of(&self.state.lock())
    }

    fn offsets_of(&self, state: &LogState) -> Offsets {
        // In this order, so that the start is never told to be above the watermark.
        let log_start_offset = self.durable_start();
        let high_watermark = self.high_watermark();
        let unstable = state.transactions.first_unstable(high_watermark);
        Offsets {
            log_start_offset,
            readable_from: state.log_start_offset,
            local_from: state.local_from(),
            high_watermark,
            // A transaction whose beginning was deleted holds back what is left of it (Kafka's
            // `UnifiedLog.maybeIncrementFirstUnstableOffset`).
            last_stable_offset: unstable
                .map_or(high_watermark, |first| first.max(state.log_start_offset).min(high_watermark)),
            next_offset: state.next_offset,
        }
    }

    /// Bytes of the batches that are in the store, by the segments.
    pub fn size_bytes(&self) -> u64 {
        self.state.lock().local_bytes()
    }

    /// The segments, oldest first; the last one is active.
    pub fn segments(&self) -> Vec<Segment> {
        self.segments_and_ticket().0
    }

    /// The segments, and what resolves when all that they count is durable.
    fn segments_and_ticket(&self) -> (Vec<Segment>, Ticket) {
        let state = self.state.lock();
        (state.sealed.iter().copied().chain([state.active]).collect(), state.last_ticket.clone())
    }

    /// Waits until all that was appended so far is durable.
    pub fn durable(&self) -> Ticket {
        self.state.lock().last_ticket.clone()
    }

    /// What is remembered of each idempotent producer, by producer id.
    pub fn producers(&self) -> Vec<(i64, ProducerState)> {
        let state = self.state.lock();
        let mut producers: Vec<_> = state.producers.iter().map(|(id, state)| (*id, state.clone())).collect();
        producers.sort_unstable_by_key(|(id, _)| *id);
        producers
    }

    /// What is remembered of one of them.
    pub fn producer(&self, producer_id: i64) -> Option<ProducerState> {
        self.state.lock().producers.get(&producer_id).cloned()
    }

    /// Producers that have a transaction open here, and the first offset of each.
    pub fn open_transactions(&self) -> Vec<(i64, i64)> {
        self.state.lock().transactions.open().collect()
    }

    /// The largest epoch at or below `epoch`, and the first offset after it; `None` when there is none
    /// (KIP-101; Kafka's `LeaderEpochFileCache.endOffsetFor`).
    pub fn end_offset_for_epoch(&self, epoch: i32) -> Option<(i32, i64)> {
        let state = self.state.lock();
        let index = state.epochs.iter().rposition(|entry| entry.epoch <= epoch)?;
        let found = state.epochs.get(index)?;
        let end = state.epochs.get(index + 1).map_or(self.high_watermark(), |next| next.start_offset);
        // An epoch nobody has written in yet, above the newest, is unknown.
        if epoch > state.leader_epoch() { None } else { Some((found.epoch, end)) }
    }

    /// The epoch that `offset` was written in.
    pub fn epoch_of_offset(&self, offset: i64) -> i32 {
        let state = self.state.lock();
        state
            .epochs
            .iter()
            .rev()
            .find(|entry| entry.start_offset <= offset)
            .or(state.epochs.first())
            .map_or(0, |entry| entry.epoch)
    }

    /// Has `waiter` woken by the next change that a reader could see. A waiter is forgotten once woken or dropped.
    pub fn watch(&self, waiter: &Arc<Waiter>) {
        self.waiters.add(waiter);
    }

    /// Marks the partition deleted: appends and reads fail, waiters wake.
    pub(crate) fn mark_deleted(&self) {
        let mut state = self.state.lock();
        state.status = Status::Deleted;
        let freed = state.ring.clear();
        drop(state);
        self.budget.forget(freed);
        self.waiters.wake();
    }

    fn mark_offline(&self, reason: &dyn std::fmt::Display) {
        let mut state = self.state.lock();
        if state.status == Status::Online {
            tracing::error!(partition = self.id.0, %reason, "partition goes offline: its stored data could not be read");
            metrics::counter!(crate::metrics::PARTITIONS_OFFLINE).increment(1);
            state.status = Status::Offline;
        }
        drop(state);
        self.waiters.wake();
    }

    /// Whether the partition serves.
    ///
    /// # Errors
    /// [`ReadError::Offline`] or [`ReadError::Deleted`].
    pub fn check_online(&self) -> Result<(), ReadError> {
        self.state.lock().check_readable()
    }
}

impl LogState {
    /// First offset whose batch is in the store.
    fn local_from(&self) -> i64 {
        self.local_start_offset.max(self.log_start_offset)
    }

    /// Bytes of the batches that are in the store.
    fn local_bytes(&self) -> u64 {
        self.sealed.iter().map(|segment| segment.bytes).sum::<u64>() + self.active.bytes
    }

    /// Its slow-moving facts, as stored.
    fn log_value(&self) -> Vec<u8> {
        let value = LogValue {
            log_start_offset: self.log_start_offset,
            epochs: self.epochs.clone(),
            local_start_offset: self.local_start_offset,
        };
        prost::Message::encode_to_vec(&value)
    }

    fn leader_epoch(&self) -> i32 {
        self.epochs.last().map_or(0, |entry| entry.epoch)
    }

    fn check_readable(&self) -> Result<(), ReadError> {
        match self.status {
            Status::Online => Ok(()),
            Status::Offline => Err(ReadError::Offline),
            Status::Deleted => Err(ReadError::Deleted),
        }
    }
}

impl CommitObserver for PartitionLog {
    fn committed(&self, next_offset: u64) {
        let next_offset = next_offset as i64;
        let before = self.high_watermark.fetch_max(next_offset, Ordering::AcqRel);
        assert!(before <= next_offset, "commits come in order");
        self.waiters.wake();
    }
}

/// Told when a new start is durable.
struct StartObserver(Arc<PartitionLog>);

impl CommitObserver for StartObserver {
    fn committed(&self, start: u64) {
        self.0.durable_start.fetch_max(start as i64, Ordering::AcqRel);
        self.0.waiters.wake();
    }
}

impl std::fmt::Debug for PartitionLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PartitionLog")
            .field("id", &self.id)
            .field("offsets", &self.offsets())
            .finish_non_exhaustive()
    }
}
