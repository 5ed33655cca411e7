//! The narrow waist: an ordered, durable store of bytes that everything above is written against.
//!
//! # Contract
//!
//! Each sentence below is tested by `conformance` against every implementation.
//!
//! 1. A store holds [`Keyspace`]s. Keys in a keyspace are ordered as unsigned bytes.
//! 2. [`Store::commit`] applies a [`WriteBatch`] whole or not at all: no read and no crash shows a part of it.
//! 3. Batches become visible, and durable, in the order in which `commit` was called.
//! 4. The [`Ticket`] of a [`Durability::Sync`] batch resolves once the batch, and every batch before it, is
//!    fsynced; that of a [`Durability::Os`] batch once it is applied. When it resolves, the batch's observer has
//!    already been called.
//! 5. What a resolved `Sync` ticket stands for survives `kill -9` and power loss.
//! 6. Reads see every applied batch, durable or not, so what clients may see is gated above, by the durable
//!    watermark. A read that starts after a ticket resolved sees that batch.
//! 7. A [`Snapshot`] shows one moment, however long it is held.
//! 8. A trimmed range is gone for reads at once; its space comes back later, without further writes. So does the space
//!    of what was deleted or overwritten in a range named by [`WriteBatch::reclaim`], which changes nothing else.
//! 9. Scans go forward, honour both bounds, and stop at a byte budget, but never return nothing when there is
//!    something.
//! 10. A failed write or fsync is final: every waiting and every later ticket fails, and the failure handler given
//!     at open is called once. A failed *read* fails that read only.
//!
//! Values are owned [`Bytes`] and reads are futures, so that a store on object storage fits behind the same trait.

mod batch;
#[cfg(any(test, feature = "testing"))]
pub mod conformance;
mod memory;
pub mod rocks;
mod ticket;

use std::future::Future;
use std::ops::Range;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;

pub use batch::{Observed, Op, Value, WriteBatch};
pub use memory::{CrashPoint, MemoryStore};
pub use ticket::{Ticket, TicketResolver};

/// A future that a store hands out.
pub type StoreFuture<T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send>>;

/// An ordered space of keys; a RocksDB column family holds one.
///
/// Grouped by write pattern rather than by topic: a family costs memory and open files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Keyspace {
    /// Small and cold: format version, topics, configs and settings, groups, committed offsets, transactional ids,
    /// producer-id blocks.
    Meta,
    /// Record batches exactly as sent, by `(partition, last offset)`. Large values, written once.
    Batches,
    /// Hot and small: log tails, segments, time index, producer state, aborted transactions, how far a log was cleaned.
    Index,
}

impl Keyspace {
    /// Every keyspace, in the order of their stable names.
    pub const ALL: [Keyspace; 3] = [Keyspace::Meta, Keyspace::Batches, Keyspace::Index];

    /// The name on disk; never changed once released.
    pub const fn name(self) -> &'static str {
        match self {
            Keyspace::Meta => "meta",
            Keyspace::Batches => "batches",
            Keyspace::Index => "index",
        }
    }
}

/// When a batch's ticket may resolve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// After an fsync that covers the batch.
    Sync,
    /// Once the batch is applied and handed to the operating system.
    Os,
}

/// Told on the committing thread that a batch reached its durability, before its ticket resolves.
///
/// Calls come in commit order. Implementations must be quick and must not call back into the store's write side.
pub trait CommitObserver: Send + Sync {
    /// `token` is what the batch was tagged with; see [`WriteBatch::observe`].
    fn committed(&self, token: u64);
}

/// How much one scan may return.
#[derive(Clone, Copy, Debug)]
pub struct ScanLimit {
    /// Stop before the values together would pass this many bytes; the first entry is returned whatever its size.
    pub max_bytes: usize,
    /// Stop after this many entries.
    pub max_entries: usize,
}

impl ScanLimit {
    /// A limit by bytes alone.
    pub const fn bytes(max_bytes: usize) -> Self {
        Self { max_bytes, max_entries: usize::MAX }
    }
    /// A limit by entries alone.
    pub const fn entries(max_entries: usize) -> Self {
        Self { max_bytes: usize::MAX, max_entries }
    }
}

/// Entries of one scan, in key order.
#[derive(Clone, Debug, Default)]
pub struct Chunk {
    /// Key and value of each entry.
    pub entries: Vec<(Bytes, Bytes)>,
    /// Whether the range holds more entries after the last one returned.
    pub more: bool,
}

/// A consistent view of one moment.
pub trait Snapshot: Send + Sync {
    /// As [`Store::get`], at the snapshot's moment.
    fn get(&self, keyspace: Keyspace, key: Bytes) -> StoreFuture<Option<Bytes>>;
    /// As [`Store::scan`], at the snapshot's moment.
    fn scan(&self, keyspace: Keyspace, range: Range<Bytes>, limit: ScanLimit) -> StoreFuture<Chunk>;
}

/// See the module's contract.
pub trait Store: Send + Sync + 'static {
    /// Queues `batch`; returns at once. Sentence 3's order is the order of these calls.
    fn commit(&self, batch: WriteBatch, durability: Durability) -> Ticket;

    /// Resolves once the commit queue has room below its bound in bytes. Writers of bulk data wait here before
    /// they take a lock and commit; small internal writes need not.
    fn ready(&self) -> StoreFuture<()>;

    /// The value of `key`.
    fn get(&self, keyspace: Keyspace, key: Bytes) -> StoreFuture<Option<Bytes>>;

    /// Entries with `range.start <= key < range.end`.
    fn scan(&self, keyspace: Keyspace, range: Range<Bytes>, limit: ScanLimit) -> StoreFuture<Chunk>;

    /// A view of this moment.
    fn snapshot(&self) -> Arc<dyn Snapshot>;

    /// A copy of the durable state that can be opened as a store of its own. `path` must not exist.
    fn checkpoint(&self, path: &Path) -> StoreFuture<()>;

    /// Bytes that the entries of `range` take, roughly.
    fn size_estimate(&self, keyspace: Keyspace, range: Range<Bytes>) -> u64;

    /// Bytes this store takes on its medium, roughly.
    fn disk_usage(&self) -> u64;

    /// Implementation figures for metrics: `(name, value)`, names stable per implementation.
    fn internals(&self) -> Vec<(&'static str, f64)>;

    /// Waits for queued batches, flushes what makes the next open fast, and stops background work. Commits after
    /// it fail with [`StoreError::Closed`].
    fn close(&self) -> StoreFuture<()>;
}

/// What a store can fail with.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// A write or fsync failed; the store takes no more writes and the process should end.
    #[error("the store failed to write and stops: {0}")]
    WriteFailed(Arc<str>),
    /// A read failed; other reads may still work.
    #[error("the store failed to read: {0}")]
    ReadFailed(Arc<str>),
    /// Stored bytes do not say what they must.
    #[error("stored data is corrupt: {0}")]
    Corrupt(Arc<str>),
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

/// Reads every entry of `range` in chunks; for small ranges at start-up, never on the fetch path.
///
/// # Errors
/// The first read error.
pub async fn scan_all(
    store: &dyn Store,
    keyspace: Keyspace,
    range: Range<Bytes>,
) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
    let mut entries = Vec::new();
    let mut start = range.start;
    loop {
        let chunk = store
            .scan(keyspace, start..range.end.clone(), ScanLimit { max_bytes: 4 << 20, max_entries: 65_536 })
            .await?;
        entries.extend(chunk.entries);
        match entries.last() {
            Some((key, _)) if chunk.more => {
                // The smallest key above `key`.
                let mut next = Vec::with_capacity(key.len() + 1);
                next.extend_from_slice(key);
                next.push(0);
                start = next.into();
            }
            _ => return Ok(entries),
        }
    }
}
