//! Reads: a few threads that may block on the disk, and the futures that wait for them.
//!
//! The engine has no async runtime, so the threads are the store's own. What is in memory is answered at once, on
//! the caller's thread. A failed read fails that read and nothing else.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::super::{Chunk, Keyspace, ScanLimit, Snapshot, StoreError, StoreFuture};
use super::ffi::{Database, Message, RawSnapshot};

/// Reads that may wait for a thread; more than any number of connections asks for.
const WAITING_MAX: usize = 65_536;

/// Scans from this size on read ahead, and how far.
const READAHEAD_BYTES_MIN: usize = 1 << 20;
const READAHEAD_BYTES_MAX: usize = 4 << 20;

type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Jobs {
    waiting: VecDeque<Job>,
    stopped: bool,
}

struct Shared {
    jobs: Mutex<Jobs>,
    work: Condvar,
}

/// The reading threads.
pub(super) struct Readers {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Readers {
    pub(super) fn start(count: usize) -> std::io::Result<Self> {
        let shared = Arc::new(Shared { jobs: Mutex::default(), work: Condvar::new() });
        let readers = Self { shared, threads: Mutex::default() };
        for number in 0..count.max(1) {
            let shared = Arc::clone(&readers.shared);
            let thread = std::thread::Builder::new()
                .name(format!("store-read-{number}"))
                .spawn(move || shared.run())?;
            readers.threads.lock().push(thread);
        }
        Ok(readers)
    }

    /// Runs `read` on one of the threads.
    pub(super) fn run<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
    ) -> StoreFuture<T> {
        let (sender, receiver) = oneshot::channel();
        let job = Box::new(move || {
            // Nobody waits any more: spare the disk.
            if !sender.is_closed() {
                drop(sender.send(read()));
            }
        });
        let mut jobs = self.shared.jobs.lock();
        if jobs.stopped {
            return done(Err(StoreError::Closed));
        }
        if jobs.waiting.len() >= WAITING_MAX {
            return done(Err(StoreError::ReadFailed("too many reads wait for the disk".into())));
        }
        jobs.waiting.push_back(job);
        drop(jobs);
        self.shared.work.notify_one();
        Box::pin(async move { receiver.await.unwrap_or(Err(StoreError::Closed)) })
    }

    /// The value of `key`, as of `snapshot` or now.
    pub(super) fn get(
        &self,
        database: &Arc<Database>,
        snapshot: Option<&Arc<RawSnapshot>>,
        keyspace: Keyspace,
        key: Bytes,
    ) -> StoreFuture<Option<Bytes>> {
        if self.shared.jobs.lock().stopped {
            return done(Err(StoreError::Closed));
        }
        if keyspace != Keyspace::Batches {
            match database.get(keyspace, &key, snapshot.map(AsRef::as_ref), true) {
                Err(message) if message.starts_with("Result incomplete") => {}
                answer => return done(answer.map_err(read_error)),
            }
        }
        let (database, snapshot) = (Arc::clone(database), snapshot.cloned());
        self.run(move || database.get(keyspace, &key, snapshot.as_deref(), false).map_err(read_error))
    }

    /// A chunk of `range`, as of `snapshot` or now.
    pub(super) fn scan(
        &self,
        database: &Arc<Database>,
        snapshot: Option<&Arc<RawSnapshot>>,
        keyspace: Keyspace,
        range: Range<Bytes>,
        limit: ScanLimit,
    ) -> StoreFuture<Chunk> {
        let (database, snapshot) = (Arc::clone(database), snapshot.cloned());
        self.run(move || {
            let readahead = readahead_bytes(keyspace, limit);
            database.scan(keyspace, &range, limit, readahead, snapshot.as_deref()).map_err(read_error)
        })
    }

    /// Ends the threads once what waits has been read.
    pub(super) fn stop(&self) {
        self.shared.jobs.lock().stopped = true;
        self.shared.work.notify_all();
        for thread in self.threads.lock().drain(..) {
            super::join(thread);
        }
    }
}

impl Shared {
    fn run(&self) {
        let mut jobs = self.jobs.lock();
        loop {
            if let Some(job) = jobs.waiting.pop_front() {
                drop(jobs);
                job();
                jobs = self.jobs.lock();
            } else if jobs.stopped {
                return;
            } else {
                self.work.wait(&mut jobs);
            }
        }
    }
}

fn done<T: Send + 'static>(result: Result<T, StoreError>) -> StoreFuture<T> {
    Box::pin(std::future::ready(result))
}

fn readahead_bytes(keyspace: Keyspace, limit: ScanLimit) -> usize {
    match keyspace {
        Keyspace::Batches if limit.max_bytes >= READAHEAD_BYTES_MIN => {
            limit.max_bytes.min(READAHEAD_BYTES_MAX)
        }
        // RocksDB's own, which grows as the scan goes on.
        _ => 0,
    }
}

fn read_error(message: Message) -> StoreError {
    if message.starts_with("Corruption") {
        StoreError::Corrupt(message.into())
    } else {
        StoreError::ReadFailed(message.into())
    }
}

/// A moment of the store.
pub(super) struct RocksSnapshot {
    pub(super) readers: Arc<Readers>,
    pub(super) snapshot: Arc<RawSnapshot>,
}

impl Snapshot for RocksSnapshot {
    fn get(&self, keyspace: Keyspace, key: Bytes) -> StoreFuture<Option<Bytes>> {
        self.readers.get(self.snapshot.database(), Some(&self.snapshot), keyspace, key)
    }

    fn scan(&self, keyspace: Keyspace, range: Range<Bytes>, limit: ScanLimit) -> StoreFuture<Chunk> {
        self.readers.scan(self.snapshot.database(), Some(&self.snapshot), keyspace, range, limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corruption_is_told_from_other_read_failures() {
        assert!(matches!(read_error("Corruption: block checksum mismatch".into()), StoreError::Corrupt(_)));
        assert!(matches!(read_error("IO error: short read".into()), StoreError::ReadFailed(_)));
    }

    #[test]
    fn only_large_scans_of_batches_read_ahead() {
        assert_eq!(readahead_bytes(Keyspace::Batches, ScanLimit::bytes(64 << 10)), 0);
        assert_eq!(readahead_bytes(Keyspace::Batches, ScanLimit::bytes(2 << 20)), 2 << 20);
        assert_eq!(readahead_bytes(Keyspace::Batches, ScanLimit::entries(1)), READAHEAD_BYTES_MAX);
        assert_eq!(readahead_bytes(Keyspace::Index, ScanLimit::bytes(2 << 20)), 0);
    }
}
