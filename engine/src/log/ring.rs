//! The tail ring: the newest batches of a log, as they came, so that consumers who keep up never touch the store.
//!
//! One budget in bytes for all logs of a shard; the oldest batch of the shard goes first.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::Mutex;

use super::PartitionLog;

/// Bytes counted per batch besides its own: the entry and its place in two queues, the prefix, what counts references,
/// the allocator's rounding. Measured with batches of one small record.
const ENTRY_OVERHEAD_BYTES: usize = 256;

/// One batch: its patched 16-byte prefix, and the rest.
#[derive(Clone, Debug)]
pub(super) struct RingEntry {
    pub(super) base_offset: i64,
    pub(super) last_offset: i64,
    pub(super) head: Bytes,
    pub(super) body: Bytes,
}

impl RingEntry {
    pub(super) fn bytes(&self) -> usize {
        self.head.len() + self.body.len()
    }
    fn cost(&self) -> usize {
        self.bytes() + ENTRY_OVERHEAD_BYTES
    }
}

/// The newest batches of one log, contiguous up to its end.
#[derive(Debug, Default)]
pub(super) struct Ring {
    entries: VecDeque<RingEntry>,
}

impl Ring {
    /// Adds the newest batch; returns what it costs.
    pub(super) fn push(&mut self, entry: RingEntry) -> usize {
        assert!(self.entries.back().is_none_or(|last| last.last_offset + 1 == entry.base_offset));
        let cost = entry.cost();
        self.entries.push_back(entry);
        cost
    }

    /// Whether a read from `offset` can be answered here.
    pub(super) fn covers(&self, offset: i64) -> bool {
        self.entries.front().is_some_and(|first| first.base_offset <= offset)
    }

    /// Batches from the one that contains `offset`.
    pub(super) fn from(&self, offset: i64) -> impl Iterator<Item = &RingEntry> {
        let first = self.entries.partition_point(|entry| entry.last_offset < offset);
        self.entries.range(first..)
    }

    /// Gives the batch memory of its own.
    pub(super) fn detach(&mut self, base_offset: i64) {
        let index = self.entries.partition_point(|entry| entry.base_offset < base_offset);
        if let Some(entry) = self.entries.get_mut(index).filter(|entry| entry.base_offset == base_offset) {
            entry.body = Bytes::copy_from_slice(&entry.body);
        }
    }

    /// Drops the oldest batch; returns what it cost.
    fn pop(&mut self) -> usize {
        let cost = self.entries.pop_front().map_or(0, |entry| entry.cost());
        if self.entries.is_empty() {
            self.entries = VecDeque::new();
        }
        cost
    }

    /// Drops the batches that end before `offset`; returns how many, and what they cost.
    pub(super) fn drop_below(&mut self, offset: i64) -> (usize, usize) {
        let count = self.entries.partition_point(|entry| entry.last_offset < offset);
        let cost = self.entries.drain(..count).map(|entry| entry.cost()).sum();
        (count, cost)
    }

    /// Drops all; returns what they cost.
    pub(super) fn clear(&mut self) -> usize {
        std::mem::take(&mut self.entries).iter().map(RingEntry::cost).sum()
    }
}

/// The bytes that the rings of a shard may take together, and the order in which batches leave.
#[derive(Debug)]
pub struct RingBudget {
    limit_bytes: usize,
    order: Mutex<Order>,
}

#[derive(Debug, Default)]
struct Order {
    used_bytes: usize,
    /// Whose batch came when. Holds an entry a batch in some ring, so it is bounded by the budget in bytes divided by
    /// [`ENTRY_OVERHEAD_BYTES`].
    arrivals: VecDeque<Weak<PartitionLog>>,
}

impl RingBudget {
    /// A budget of `limit_bytes`; zero keeps nothing in memory.
    pub fn new(limit_bytes: usize) -> Arc<Self> {
        Arc::new(Self { limit_bytes, order: Mutex::default() })
    }

    /// Bytes that may be in use.
    pub fn limit_bytes(&self) -> usize {
        self.limit_bytes
    }

    /// Bytes in use.
    pub fn used_bytes(&self) -> usize {
        self.order.lock().used_bytes
    }

    /// Counts a batch of `cost` that `log` has put into its ring, and drops the shard's oldest while over budget.
    /// Must be called without any log's lock.
    pub(super) fn added(&self, log: &Arc<PartitionLog>, cost: usize) {
        let mut order = self.order.lock();
        order.used_bytes += cost;
        order.arrivals.push_back(Arc::downgrade(log));
        while order.used_bytes > self.limit_bytes {
            let Some(oldest) = order.arrivals.pop_front() else { break };
            if let Some(log) = oldest.upgrade() {
                // A ring cleared meanwhile pops nothing; its cost was taken off when it was cleared.
                let freed = log.state.lock().ring.pop();
                order.used_bytes = order.used_bytes.saturating_sub(freed);
            }
        }
    }

    /// Takes off the `count` oldest batches of `log`, which has dropped them.
    pub(super) fn dropped(&self, log: &Arc<PartitionLog>, mut count: usize, cost: usize) {
        if count == 0 {
            return;
        }
        let mut order = self.order.lock();
        order.used_bytes = order.used_bytes.saturating_sub(cost);
        order.arrivals.retain(|arrival| {
            let theirs = count > 0 && std::ptr::eq(arrival.as_ptr(), Arc::as_ptr(log));
            count -= usize::from(theirs);
            !theirs
        });
    }

    /// Takes off the cost of a ring that was cleared.
    pub(super) fn forget(&self, cost: usize) {
        if cost > 0 {
            let mut order = self.order.lock();
            order.used_bytes = order.used_bytes.saturating_sub(cost);
        }
    }
}
