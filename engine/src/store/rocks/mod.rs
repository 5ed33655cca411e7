//! The store on RocksDB: one column family a keyspace, one log, one committing thread.
//!
//! | file | owns |
//! |---|---|
//! | `open` | opening, and what each failure to open means |
//! | `options` | profiles, budgets, every RocksDB option |
//! | `committer` | the queue, the groups, the order of everything |
//! | `reader` | reading threads, snapshots |
//! | `recovery` | the check that acknowledged data is still there |
//! | `housekeeping`, `reclaim` | the background thread; trimmed space |
//! | `ffi` | raw calls |
//!
//! This file joins them behind [`Store`]. It knows nothing of topics, offsets or records.

mod committer;
mod ffi;
mod housekeeping;
pub mod metrics;
mod open;
mod options;
mod reader;
mod reclaim;
mod recovery;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::Bytes;
use parking_lot::Mutex;
use rocksdb::FlushOptions;
use rocksdb::checkpoint::Checkpoint;
use tokio::sync::oneshot;

use super::{
    Chunk, Durability, Keyspace, ScanLimit, Snapshot, Store, StoreError, StoreFuture, Ticket, WriteBatch,
};
use committer::{Committer, Queue};
use ffi::Database;
use housekeeping::Housekeeping;
pub use open::{OpenError, create_durably};
pub use options::{CommitCaps, CommitProfile, RocksOptions, UnknownProfile, WalBudget, WalProfile};
use reader::{Readers, RocksSnapshot};

/// RocksDB's figures that are summed over the families: our name, its property.
const PROPERTIES_BY_FAMILY: [(&str, &str); 9] = [
    ("memtable_bytes", "rocksdb.cur-size-all-mem-tables"),
    ("immutable_memtables", "rocksdb.num-immutable-mem-table"),
    ("sst_bytes", "rocksdb.total-sst-files-size"),
    ("blob_bytes", "rocksdb.total-blob-file-size"),
    ("blob_live_bytes", "rocksdb.live-blob-file-size"),
    ("blob_garbage_bytes", "rocksdb.live-blob-file-garbage-size"),
    ("level0_files", "rocksdb.num-files-at-level0"),
    ("pending_compaction_bytes", "rocksdb.estimate-pending-compaction-bytes"),
    ("table_reader_bytes", "rocksdb.estimate-table-readers-mem"),
];

/// RocksDB's figures of the whole database.
const PROPERTIES: [(&str, &str); 8] = [
    ("background_errors", "rocksdb.background-errors"),
    ("write_stopped", "rocksdb.is-write-stopped"),
    ("delayed_write_rate", "rocksdb.actual-delayed-write-rate"),
    ("running_compactions", "rocksdb.num-running-compactions"),
    ("running_flushes", "rocksdb.num-running-flushes"),
    ("block_cache_bytes", "rocksdb.block-cache-usage"),
    ("block_cache_limit_bytes", "rocksdb.block-cache-capacity"),
    ("snapshots", "rocksdb.num-snapshots"),
];

/// See the module.
pub struct RocksStore {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    database: Arc<Database>,
    queue: Arc<Queue>,
    readers: Arc<Readers>,
    housekeeping: Arc<Housekeeping>,
    /// The committing thread, then the housekeeping one; taken when they are joined.
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl RocksStore {
    /// Opens the store in `path`, or makes one there. `on_fatal` is called once if a write ever fails; the process
    /// should end then.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(
        path: &Path,
        options: RocksOptions,
        on_fatal: Box<dyn FnOnce(StoreError) + Send>,
    ) -> Result<Arc<RocksStore>, OpenError> {
        let (database, note) = open::open(path, &options)?;
        let database = Arc::new(database);
        let queue = Arc::new(Queue::new(options.budget.queue_bytes));
        let housekeeping = Arc::new(Housekeeping::new(note, options.housekeeping_delay));
        let no_thread =
            |error: std::io::Error| OpenError::Failed { path: path.to_owned(), reason: error.to_string() };
        let readers = Arc::new(Readers::start(options.budget.read_threads).map_err(no_thread)?);
        let inner = Arc::new(Inner {
            path: path.to_owned(),
            database,
            queue,
            readers,
            housekeeping,
            threads: Mutex::default(),
        });
        // From here on, an early return stops the threads through `drop`.
        let store = RocksStore { inner: Arc::clone(&inner) };
        let committer = Committer {
            queue: Arc::clone(&inner.queue),
            database: Arc::clone(&inner.database),
            housekeeping: Arc::clone(&inner.housekeeping),
            caps: options.caps,
            on_fatal: Some(on_fatal),
        };
        let (housekeeping, database) = (Arc::clone(&inner.housekeeping), Arc::clone(&inner.database));
        let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| {
            let thread = std::thread::Builder::new().name(name.into()).spawn(run).map_err(no_thread)?;
            inner.threads.lock().push(thread);
            Ok(())
        };
        spawn("store-commit", Box::new(move || committer.run()))?;
        spawn("store-keep", Box::new(move || housekeeping.run(database)))?;
        Ok(Arc::new(store))
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }
}

impl Drop for RocksStore {
    fn drop(&mut self) {
        self.inner.stop();
    }
}

impl Inner {
    /// Commits what waits, and ends every thread. Safe to call again.
    fn stop(&self) {
        self.queue.close();
        self.housekeeping.stop();
        // Ends a compaction that the housekeeping thread may be in, and refuses one that it is about to start. Only
        // then may background work be cancelled: a compaction started after that could wait for a flush that never
        // comes.
        self.database.disable_compact();
        self.threads.lock().drain(..).for_each(join);
        self.database.db().cancel_all_background_work(true);
        self.readers.stop();
    }

    fn close(&self) -> Result<(), StoreError> {
        let failed = match self.queue.refusal() {
            Some(error @ StoreError::WriteFailed(_)) => Some(error),
            _ => None,
        };
        self.queue.close();
        let committer = {
            let mut threads = self.threads.lock();
            (!threads.is_empty()).then(|| threads.remove(0))
        };
        committer.into_iter().for_each(join);
        let failed = failed
            .or_else(|| self.queue.refusal().filter(|error| matches!(error, StoreError::WriteFailed(_))));
        let flushed = match failed {
            Some(error) => Err(error),
            None => self.flush(),
        };
        if flushed.is_ok() {
            self.housekeeping.write_note();
        }
        self.stop();
        flushed
    }

    /// Writes the memtables out, so that the next open replays nothing.
    fn flush(&self) -> Result<(), StoreError> {
        let db = self.database.db();
        let families: Vec<_> =
            Keyspace::ALL.iter().filter_map(|keyspace| db.cf_handle(keyspace.name())).collect();
        let mut options = FlushOptions::default();
        options.set_wait(true);
        db.flush_cfs_opt(&families, &options)
            .map_err(|error| StoreError::WriteFailed(error.into_string().into()))
    }

    /// Bytes of the directory's files that `counts`, as `du` sees them.
    fn file_bytes(&self, counts: impl Fn(&str) -> bool) -> u64 {
        use std::os::unix::fs::MetadataExt;
        let Ok(files) = std::fs::read_dir(&self.path) else {
            return 0;
        };
        let counted = files.flatten().filter(|file| file.file_name().to_str().is_some_and(&counts));
        // A file may vanish between listing and looking.
        counted.filter_map(|file| file.metadata().ok()).map(|metadata| metadata.blocks() * 512).sum()
    }
}

/// Joins `thread`, unless this is that thread: the last owner of a store may be one of its own callbacks.
fn join(thread: JoinHandle<()>) {
    if thread.thread().id() != std::thread::current().id() {
        // Its panic was printed by the hook.
        drop(thread.join());
    }
}

impl Store for RocksStore {
    fn commit(&self, batch: WriteBatch, durability: Durability) -> Ticket {
        self.inner.queue.submit(batch, durability)
    }

    fn ready(&self) -> StoreFuture<()> {
        let inner = Arc::clone(&self.inner);
        Box::pin(async move {
            // Again after each wake-up: others were woken too.
            while let Some(room) = inner.queue.room()? {
                if room.await.is_err() {
                    return Err(StoreError::Closed);
                }
            }
            Ok(())
        })
    }

    fn get(&self, keyspace: Keyspace, key: Bytes) -> StoreFuture<Option<Bytes>> {
        self.inner.readers.get(&self.inner.database, None, keyspace, key)
    }

    fn scan(&self, keyspace: Keyspace, range: Range<Bytes>, limit: ScanLimit) -> StoreFuture<Chunk> {
        self.inner.readers.scan(&self.inner.database, None, keyspace, range, limit)
    }

    fn snapshot(&self) -> Arc<dyn Snapshot> {
        let snapshot = Arc::new(self.inner.database.snapshot());
        Arc::new(RocksSnapshot { readers: Arc::clone(&self.inner.readers), snapshot })
    }

    fn checkpoint(&self, path: &Path) -> StoreFuture<()> {
        let (database, path) = (Arc::clone(&self.inner.database), path.to_owned());
        self.inner.readers.run(move || {
            Checkpoint::new(database.db())
                .and_then(|checkpoint| checkpoint.create_checkpoint(&path))
                .map_err(|error| StoreError::ReadFailed(error.into_string().into()))
        })
    }

    fn size_estimate(&self, keyspace: Keyspace, range: Range<Bytes>) -> u64 {
        self.inner.database.size_estimate(keyspace, &range)
    }

    fn disk_usage(&self) -> u64 {
        self.inner.file_bytes(|_| true)
    }

    fn internals(&self) -> Vec<(&'static str, f64)> {
        let db = self.inner.database.db();
        let mut figures = Vec::with_capacity(PROPERTIES.len() + PROPERTIES_BY_FAMILY.len() + 3);
        for (name, property) in PROPERTIES {
            let value = db.property_int_value(property).ok().flatten().unwrap_or(0);
            figures.push((name, value as f64));
        }
        for (name, property) in PROPERTIES_BY_FAMILY {
            let families = Keyspace::ALL.iter().filter_map(|keyspace| db.cf_handle(keyspace.name()));
            let values =
                families.filter_map(|family| db.property_int_value_cf(family, property).ok().flatten());
            figures.push((name, values.sum::<u64>() as f64));
        }
        figures.push(("wal_bytes", self.inner.file_bytes(|name| name.ends_with(".log")) as f64));
        figures.push(("commits", self.inner.queue.commits() as f64));
        figures.push(("queue_bytes", self.inner.queue.bytes() as f64));
        figures
    }

    fn close(&self) -> StoreFuture<()> {
        let (sender, receiver) = oneshot::channel();
        let inner = Arc::clone(&self.inner);
        let run = move || {
            let result = inner.close();
            // Before the answer: who drops the store after it may open the directory again.
            drop(inner);
            drop(sender.send(result));
        };
        let spawned = std::thread::Builder::new().name("store-close".into()).spawn(run);
        Box::pin(async move {
            spawned.map_err(|error| StoreError::WriteFailed(error.to_string().into()))?;
            receiver.await.unwrap_or(Err(StoreError::Closed))
        })
    }
}
