//! The model store: ordered maps in memory, with what tests need to see every interleaving and every crash.
//!
//! It keeps the contract of [`super`] to the letter and nothing else: no disk, no cache, no tuning. Automatic stores
//! ([`MemoryStore::new`]) commit on a thread of their own, as RocksDB does, so that an observer may take a lock
//! which the caller of `commit` holds. Stepped stores ([`MemoryStore::stepped`]) commit only when told to.
//! [`MemoryStore::crash`] answers what a disk could hold had the machine died now.

use std::collections::{BTreeMap, VecDeque};
use std::io::{Read, Write};
use std::ops::{Bound, Range};
use std::path::Path;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::{
    Chunk, CommitObserver, Durability, Keyspace, Op, ScanLimit, Snapshot, Store, StoreError, StoreFuture,
    Ticket, TicketResolver, Value, WriteBatch,
};

/// Bytes that may wait in the queue before [`Store::ready`] holds writers back.
const QUEUE_BYTES_MAX: usize = 64 << 20;

/// Unsynced batches remembered one by one; older ones count as durable, as a disk writes back by itself.
const UNSYNCED_BATCHES_MAX: usize = 65_536;

/// The file a checkpoint consists of.
const CHECKPOINT_FILE: &str = "memory-store";

/// Called once, with what made the store stop.
type FailureHandler = Box<dyn FnOnce(StoreError) + Send>;

/// Which batches a crash image holds. Always a prefix of the commit order that includes every synced batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashPoint {
    /// Nothing but what was synced: power loss at the worst moment.
    Durable,
    /// What was synced and this many batches more, as far as there are any.
    DurablePlus(usize),
    /// Every applied batch: the process died, the operating system did not.
    Applied,
    /// A prefix picked from this seed.
    Random(u64),
}

/// One copy of every keyspace; cloned only when written to while someone else looks.
#[derive(Clone, Default)]
struct Image {
    maps: [Arc<BTreeMap<Bytes, Bytes>>; 3],
}

/// A batch in the queue, or applied and waiting for its turn to be told.
struct Pending {
    ops: Vec<Op>,
    bytes: usize,
    durability: Durability,
    observer: Option<(Arc<dyn CommitObserver>, u64)>,
    resolver: TicketResolver,
}

/// What the next write or read shall fail with.
#[derive(Default)]
struct Faults {
    write: Option<Arc<str>>,
    read: Option<StoreError>,
}

/// Whether a round of commits ends with an fsync.
#[derive(Clone, Copy)]
enum Fsync {
    No,
    Yes,
    /// When a batch of the round wants it, as RocksDB's committer decides.
    IfAsked,
}

#[derive(Default)]
struct State {
    live: Image,
    durable: Image,
    /// Applied after the last sync, oldest first; at most [`UNSYNCED_BATCHES_MAX`].
    unsynced: VecDeque<Vec<Op>>,
    /// Not yet applied, oldest first; bounded by [`QUEUE_BYTES_MAX`] through `ready`.
    queue: VecDeque<Pending>,
    queue_bytes: usize,
    /// Applied, tickets not resolved: a `Sync` batch and what came after it.
    applied: VecDeque<Pending>,
    waiting_for_room: Vec<oneshot::Sender<()>>,
    faults: Faults,
    failed: Option<StoreError>,
    handler: Option<FailureHandler>,
    closed: bool,
    stop_thread: bool,
}

struct Shared {
    state: Mutex<State>,
    /// Held while batches are applied and told, so that observers hear them in order.
    turn: Mutex<()>,
    work: Condvar,
    stepped: bool,
}

/// See the module.
pub struct MemoryStore {
    shared: Arc<Shared>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryStore {
    /// An empty store that commits by itself, in the background.
    pub fn new() -> Self {
        Self::with_image(Image::default(), false)
    }

    /// An empty store whose batches wait for [`Self::step`] or [`Self::sync`].
    pub fn stepped() -> Self {
        Self::with_image(Image::default(), true)
    }

    /// Opens what [`Store::checkpoint`] wrote.
    ///
    /// # Errors
    /// When the files are missing or not whole.
    pub fn open_checkpoint(path: &Path) -> std::io::Result<Self> {
        Ok(Self::with_image(Image::load(&path.join(CHECKPOINT_FILE))?, false))
    }

    fn with_image(image: Image, stepped: bool) -> Self {
        let state = State { live: image.clone(), durable: image, ..State::default() };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            turn: Mutex::new(()),
            work: Condvar::new(),
            stepped,
        });
        let thread = (!stepped).then(|| {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new()
                .name("memory-store".into())
                .spawn(move || shared.run())
                .expect("a thread can be started")
        });
        Self { shared, thread }
    }

    /// Applies up to `count` queued batches and returns how many. Applied batches can be read; `Sync` tickets wait
    /// for [`Self::sync_applied`] or [`Self::sync`], and so do the tickets behind them.
    pub fn step(&self, count: usize) -> usize {
        self.shared.advance(count, Fsync::No)
    }

    /// Makes everything applied durable and resolves its tickets. What is queued stays queued.
    pub fn sync_applied(&self) {
        self.shared.advance(0, Fsync::Yes);
    }

    /// Applies everything queued and makes it durable.
    pub fn sync(&self) {
        self.shared.advance(usize::MAX, Fsync::Yes);
    }

    /// Batches that wait to be applied.
    pub fn queued(&self) -> usize {
        self.shared.state.lock().queue.len()
    }

    /// A new store of the same mode that holds what a disk could hold if everything stopped now.
    pub fn crash(&self, keep: CrashPoint) -> MemoryStore {
        let _turn = self.shared.turn.lock();
        let state = self.shared.state.lock();
        let count = match keep {
            CrashPoint::Durable => 0,
            CrashPoint::DurablePlus(count) => count,
            CrashPoint::Applied => state.unsynced.len(),
            CrashPoint::Random(seed) => {
                let choices = state.unsynced.len() + state.queue.len() + 1;
                (scramble(seed) % choices as u64) as usize
            }
        };
        let mut image = state.durable.clone();
        let queued = state.queue.iter().map(|pending| &pending.ops);
        state.unsynced.iter().chain(queued).take(count).for_each(|ops| image.apply(ops));
        Self::with_image(image, self.shared.stepped)
    }

    /// Fails the next batch that is applied, and with it the store, as a broken disk would.
    pub fn fail_next_write(&self, reason: &str) {
        self.shared.state.lock().faults.write = Some(reason.into());
    }

    /// Fails the next read, and only that.
    pub fn fail_next_read(&self, error: StoreError) {
        self.shared.state.lock().faults.read = Some(error);
    }

    /// Has `handler` called once when a write fails. Without one, only the tickets tell.
    pub fn on_failure(&self, handler: FailureHandler) {
        self.shared.state.lock().handler = Some(handler);
    }
}

impl Drop for MemoryStore {
    fn drop(&mut self) {
        self.shared.state.lock().stop_thread = true;
        self.shared.work.notify_all();
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
        {
            // A panic there was an observer's and has been printed.
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// The committing thread of an automatic store: whatever waits is one group with one sync.
    fn run(&self) {
        loop {
            {
                let mut state = self.state.lock();
                while state.queue.is_empty() && !state.stop_thread {
                    self.work.wait(&mut state);
                }
                if state.queue.is_empty() {
                    return;
                }
            }
            self.advance(usize::MAX, Fsync::IfAsked);
        }
    }

    /// Applies up to `count` batches, syncs when asked, tells and resolves what is due. Returns how many it applied.
    fn advance(&self, count: usize, fsync: Fsync) -> usize {
        let _turn = self.turn.lock();
        let mut state = self.state.lock();
        let mut applied = 0;
        while applied < count {
            let Some(pending) = state.queue.pop_front() else {
                break;
            };
            state.queue_bytes -= pending.bytes;
            if let Some(reason) = state.faults.write.take() {
                drop_waiters(&mut state);
                return self.fail(state, pending, reason, applied);
            }
            state.live.apply(&pending.ops);
            state.remember_unsynced(pending.ops.clone());
            state.applied.push_back(pending);
            applied += 1;
        }
        let sync = match fsync {
            Fsync::No => false,
            Fsync::Yes => true,
            Fsync::IfAsked => state.applied.iter().any(|pending| pending.durability == Durability::Sync),
        };
        if sync {
            while let Some(ops) = state.unsynced.pop_front() {
                state.durable.apply(&ops);
            }
        }
        let mut due = Vec::new();
        while state.applied.front().is_some_and(|pending| sync || pending.durability == Durability::Os) {
            due.extend(state.applied.pop_front());
        }
        if state.queue_bytes < QUEUE_BYTES_MAX {
            drop_waiters(&mut state);
        }
        drop(state);
        tell(due);
        applied
    }

    /// Sentence 10: every waiting and later ticket fails, the handler is called once.
    fn fail(
        &self,
        mut state: parking_lot::MutexGuard<'_, State>,
        first: Pending,
        reason: Arc<str>,
        applied: usize,
    ) -> usize {
        let error = StoreError::WriteFailed(reason);
        state.failed = Some(error.clone());
        state.queue_bytes = 0;
        let mut doomed: Vec<Pending> = state.applied.drain(..).collect();
        doomed.push(first);
        doomed.extend(state.queue.drain(..));
        let handler = state.handler.take();
        drop(state);
        if let Some(handler) = handler {
            handler(error.clone());
        }
        doomed.into_iter().for_each(|pending| pending.resolver.resolve(Err(error.clone())));
        applied
    }

    fn read<T>(&self, look: impl FnOnce(&Image) -> T) -> Result<T, StoreError> {
        let mut state = self.state.lock();
        match state.faults.read.take() {
            Some(error) => Err(error),
            None => Ok(look(&state.live)),
        }
    }
}

impl State {
    fn remember_unsynced(&mut self, ops: Vec<Op>) {
        if self.unsynced.len() == UNSYNCED_BATCHES_MAX
            && let Some(oldest) = self.unsynced.pop_front()
        {
            self.durable.apply(&oldest);
        }
        self.unsynced.push_back(ops);
    }
}

/// Calls observers, then resolves tickets, batch by batch in order.
fn tell(due: Vec<Pending>) {
    for pending in due {
        if let Some((observer, token)) = &pending.observer {
            observer.committed(*token);
        }
        pending.resolver.resolve(Ok(()));
    }
}

/// Wakes whoever waits for room; a dropped receiver gave up.
fn drop_waiters(state: &mut State) {
    for waiter in state.waiting_for_room.drain(..) {
        let _ = waiter.send(());
    }
}

/// SplitMix64's finaliser: spreads small seeds over all prefixes.
fn scramble(seed: u64) -> u64 {
    let mut x = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

fn index(keyspace: Keyspace) -> usize {
    match keyspace {
        Keyspace::Meta => 0,
        Keyspace::Batches => 1,
        Keyspace::Index => 2,
    }
}

fn join(value: &Value) -> Bytes {
    if value.head.is_empty() {
        return value.body.clone();
    }
    let mut joined = BytesMut::with_capacity(value.len());
    joined.put_slice(&value.head);
    joined.put_slice(&value.body);
    joined.freeze()
}

impl Image {
    fn apply(&mut self, ops: &[Op]) {
        for op in ops {
            match op {
                Op::Put { keyspace, key, value } => {
                    self.map_mut(*keyspace).insert(key.clone(), join(value));
                }
                Op::Delete { keyspace, key } => {
                    self.map_mut(*keyspace).remove(key);
                }
                Op::Trim { keyspace, from, to } if from < to => {
                    let map = self.map_mut(*keyspace);
                    let doomed: Vec<Bytes> =
                        map.range::<Bytes, _>(from..to).map(|(key, _)| key.clone()).collect();
                    doomed.iter().for_each(|key| {
                        map.remove(key);
                    });
                }
                // Maps hold nothing that was removed.
                Op::Trim { .. } | Op::Reclaim { .. } => {}
            }
        }
    }

    fn map_mut(&mut self, keyspace: Keyspace) -> &mut BTreeMap<Bytes, Bytes> {
        Arc::make_mut(&mut self.maps[index(keyspace)])
    }

    fn get(&self, keyspace: Keyspace, key: &Bytes) -> Option<Bytes> {
        self.maps[index(keyspace)].get(key).cloned()
    }

    fn scan(&self, keyspace: Keyspace, range: &Range<Bytes>, limit: ScanLimit) -> Chunk {
        let mut chunk = Chunk::default();
        if range.start >= range.end {
            return chunk;
        }
        let bounds = (Bound::Included(&range.start), Bound::Excluded(&range.end));
        let mut bytes = 0_usize;
        for (key, value) in self.maps[index(keyspace)].range::<Bytes, _>(bounds) {
            let full = bytes + value.len() > limit.max_bytes || chunk.entries.len() >= limit.max_entries;
            if full && !chunk.entries.is_empty() {
                chunk.more = true;
                break;
            }
            bytes += value.len();
            chunk.entries.push((key.clone(), value.clone()));
        }
        chunk
    }

    fn bytes(&self, keyspace: Keyspace, range: &Range<Bytes>) -> u64 {
        if range.start >= range.end {
            return 0;
        }
        let bounds = (Bound::Included(&range.start), Bound::Excluded(&range.end));
        let entries = self.maps[index(keyspace)].range::<Bytes, _>(bounds);
        entries.map(|(key, value)| (key.len() + value.len()) as u64).sum()
    }

    fn bytes_all(&self) -> u64 {
        let entries = self.maps.iter().flat_map(|map| map.iter());
        entries.map(|(key, value)| (key.len() + value.len()) as u64).sum()
    }

    /// Keyspace u8, key length u32, value length u32, key, value; big-endian, until the end of the file.
    fn save(&self, path: &Path) -> std::io::Result<()> {
        let mut out = std::io::BufWriter::new(std::fs::File::create_new(path)?);
        for (number, map) in self.maps.iter().enumerate() {
            for (key, value) in map.iter() {
                out.write_all(&[number as u8])?;
                out.write_all(&(key.len() as u32).to_be_bytes())?;
                out.write_all(&(value.len() as u32).to_be_bytes())?;
                out.write_all(key)?;
                out.write_all(value)?;
            }
        }
        out.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()
    }

    fn load(path: &Path) -> std::io::Result<Self> {
        let mut bytes = Vec::new();
        std::fs::File::open(path)?.read_to_end(&mut bytes)?;
        let bytes = Bytes::from(bytes);
        let torn = || std::io::Error::new(std::io::ErrorKind::InvalidData, "the checkpoint is cut short");
        let mut image = Self::default();
        let mut at = 0;
        while at < bytes.len() {
            let header = bytes.get(at..at + 9).ok_or_else(torn)?;
            let number = |from: usize| {
                let field = [header[from], header[from + 1], header[from + 2], header[from + 3]];
                u32::from_be_bytes(field) as usize
            };
            let (key_len, value_len) = (number(1), number(5));
            let map = image.maps.get_mut(header[0] as usize).ok_or_else(torn)?;
            let value_at = at + 9 + key_len;
            at = value_at + value_len;
            if at > bytes.len() {
                return Err(torn());
            }
            Arc::make_mut(map).insert(bytes.slice(value_at - key_len..value_at), bytes.slice(value_at..at));
        }
        Ok(image)
    }
}

fn ready<T: Send + 'static>(result: Result<T, StoreError>) -> StoreFuture<T> {
    Box::pin(std::future::ready(result))
}

impl Snapshot for Image {
    fn get(&self, keyspace: Keyspace, key: Bytes) -> StoreFuture<Option<Bytes>> {
        ready(Ok(Image::get(self, keyspace, &key)))
    }

    fn scan(&self, keyspace: Keyspace, range: Range<Bytes>, limit: ScanLimit) -> StoreFuture<Chunk> {
        ready(Ok(Image::scan(self, keyspace, &range, limit)))
    }
}

impl Store for MemoryStore {
    fn commit(&self, batch: WriteBatch, durability: Durability) -> Ticket {
        let (ticket, resolver) = Ticket::new();
        let bytes = batch.bytes();
        let (ops, observer) = batch.into_parts();
        let mut state = self.shared.state.lock();
        let refusal = state.failed.clone().or_else(|| state.closed.then_some(StoreError::Closed));
        if let Some(error) = refusal {
            return Ticket::resolved(Err(error));
        }
        state.queue_bytes += bytes;
        state.queue.push_back(Pending { ops, bytes, durability, observer, resolver });
        drop(state);
        self.shared.work.notify_one();
        ticket
    }

    fn ready(&self) -> StoreFuture<()> {
        let mut state = self.shared.state.lock();
        if let Some(error) = &state.failed {
            return ready(Err(error.clone()));
        }
        if state.closed {
            return ready(Err(StoreError::Closed));
        }
        if state.queue_bytes < QUEUE_BYTES_MAX {
            return ready(Ok(()));
        }
        let (room, waiter) = oneshot::channel();
        state.waiting_for_room.retain(|waiter| !waiter.is_closed());
        state.waiting_for_room.push(room);
        drop(state);
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let _ = waiter.await;
            let state = shared.state.lock();
            match &state.failed {
                Some(error) => Err(error.clone()),
                None => Ok(()),
            }
        })
    }

    fn get(&self, keyspace: Keyspace, key: Bytes) -> StoreFuture<Option<Bytes>> {
        ready(self.shared.read(|image| image.get(keyspace, &key)))
    }

    fn scan(&self, keyspace: Keyspace, range: Range<Bytes>, limit: ScanLimit) -> StoreFuture<Chunk> {
        ready(self.shared.read(|image| image.scan(keyspace, &range, limit)))
    }

    fn snapshot(&self) -> Arc<dyn Snapshot> {
        Arc::new(self.shared.state.lock().live.clone())
    }

    fn checkpoint(&self, path: &Path) -> StoreFuture<()> {
        let image = self.shared.state.lock().durable.clone();
        let write = || {
            std::fs::create_dir(path)?;
            image.save(&path.join(CHECKPOINT_FILE))
        };
        ready(write().map_err(|error| StoreError::ReadFailed(format!("{}: {error}", path.display()).into())))
    }

    fn size_estimate(&self, keyspace: Keyspace, range: Range<Bytes>) -> u64 {
        self.shared.state.lock().live.bytes(keyspace, &range)
    }

    fn disk_usage(&self) -> u64 {
        self.shared.state.lock().live.bytes_all()
    }

    fn internals(&self) -> Vec<(&'static str, f64)> {
        let state = self.shared.state.lock();
        vec![("queue_bytes", state.queue_bytes as f64), ("unsynced_batches", state.unsynced.len() as f64)]
    }

    fn close(&self) -> StoreFuture<()> {
        self.shared.state.lock().closed = true;
        // On the caller's thread: whoever closes does not also hold the observers' locks.
        self.shared.advance(usize::MAX, Fsync::Yes);
        let failed = self.shared.state.lock().failed.clone();
        ready(failed.map_or(Ok(()), Err))
    }
}

#[cfg(test)]
mod tests;
