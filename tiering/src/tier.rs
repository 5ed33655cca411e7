//! Tiered storage of one data directory: who may write to the bucket, and the order in which bucket, manifest and log
//! change. What is copied, deleted or read when is in the files beside this one.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chronik_engine::Engine;
use chronik_engine::error::{ReadError, TierError};
use chronik_engine::log::{LogRead, PartitionLog, RemoteSegment, Span};
use chronik_engine::store::{StoreError, Ticket};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use tokio::sync::{OnceCell, watch};
use tokio::time::Instant;
use uuid::Uuid;

use crate::adopt::AdoptError;
use crate::bandwidth::Bandwidth;
use crate::bucket::{Backoff, Bucket, BucketError};
use crate::copy::Source;
use crate::manifest::{AppendError, Chain, Claim, ClaimError, Entry, Kind, claim};
use crate::meta::SavedMeta;
use crate::metrics as names;
use crate::read::{Limits, ReadOptions, RemoteError, RemoteRead, RemoteReader};

/// What the operator has set.
pub struct TierOptions {
    /// Between two looks for something to do.
    pub task_interval: Duration,
    /// Segments copied at the same time.
    pub copiers: usize,
    /// Bytes sent in a second, of this moment.
    pub copy_bytes_per_second: Box<dyn Fn() -> u64 + Send + Sync>,
    /// How long an object stays after nothing names it any more.
    pub delete_delay: Duration,
    /// Age at which an object that nothing ever named is removed.
    pub orphan_grace: Duration,
    /// Between two comparisons of manifest and bucket.
    pub scrub_interval: Duration,
    /// Between two copies of topics, groups and offsets.
    pub meta_interval: Duration,
    /// Bounds of reads.
    pub read: ReadOptions,
    /// The time, ms.
    pub now_ms: Box<dyn Fn() -> i64 + Send + Sync>,
}

impl TierOptions {
    /// Everything at once, for tests: nothing waits longer than it must.
    pub fn eager(disk_path: PathBuf, now_ms: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        Self {
            task_interval: Duration::from_millis(20),
            copiers: 2,
            copy_bytes_per_second: Box::new(|| u64::MAX),
            delete_delay: Duration::ZERO,
            orphan_grace: Duration::ZERO,
            scrub_interval: Duration::from_secs(3600),
            meta_interval: Duration::from_millis(1),
            read: ReadOptions {
                memory_bytes: 32 << 20,
                disk_bytes: 0,
                disk_path,
                read_ahead_bytes: 16 << 20,
            },
            now_ms: Box::new(now_ms),
        }
    }
}

/// Whether this broker writes to the bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing was to be done yet.
    Idle,
    /// It does, in this epoch.
    Leading(u64),
    /// It tries to; the reason it could not so far.
    Trying(String),
    /// Another has taken over, or the bucket is not the one it was: this broker writes and deletes nothing any more.
    Replaced(String),
}

/// The ways into one bucket.
#[derive(Clone, Debug)]
pub struct Buckets {
    /// For what nobody waits for. Whoever asks first on a connection drives it from then on, so that background threads
    /// and readers must not share any.
    pub background: Bucket,
    /// For readers.
    pub readers: Bucket,
}

impl From<Bucket> for Buckets {
    fn from(bucket: Bucket) -> Self {
        Self { background: bucket.clone(), readers: bucket }
    }
}

/// The reader while it is being opened.
type Opening = Shared<BoxFuture<'static, RemoteReader>>;

enum Lead {
    Not,
    /// The epoch was taken, and the logs are not in line with the manifest yet.
    Claimed(Box<Claim>),
    Yes(Box<Chain>),
    Never,
}

/// See the module.
pub struct Tier {
    pub(crate) engine: Arc<Engine>,
    pub(crate) bucket: Bucket,
    readers: Bucket,
    pub(crate) options: TierOptions,
    pub(crate) bandwidth: Bandwidth,
    /// Opened by the first who reads: the disk cache of a broker that tiers nothing would be waste.
    reader: OnceCell<RemoteReader>,
    opening: Mutex<Option<Opening>>,
    lead: tokio::sync::Mutex<Lead>,
    standing: Mutex<Standing>,
    epoch: AtomicU64,
    uploads: AtomicU64,
    /// Objects that are being written, or are there and not yet taken in.
    pub(crate) on_their_way: Mutex<HashSet<String>>,
    /// Objects that are out of the manifest, and when they may be deleted.
    pub(crate) condemned: Mutex<HashMap<String, Instant>>,
    pub(crate) saved_meta: tokio::sync::Mutex<SavedMeta>,
    /// Where the next comparison begins with its samples.
    pub(crate) next_sample: Mutex<usize>,
    /// Objects of which it is not known whether the manifest says what the logs say.
    pub(crate) unsure: Mutex<HashSet<String>>,
    /// True once the broker stops.
    stop: watch::Sender<bool>,
}

/// A change of the manifest.
#[derive(Debug, Default)]
pub(crate) struct Change {
    /// Segments that come.
    pub(crate) added: Vec<Entry>,
    /// Objects that go.
    pub(crate) removed: Vec<String>,
    /// How often it is tried; `None` is until the broker stops.
    pub(crate) tries: Option<usize>,
}

impl Change {
    fn objects(&self) -> impl Iterator<Item = String> {
        let added = self.added.iter().map(|entry| &entry.segment.object);
        added.chain(&self.removed).cloned()
    }
}

/// Why a change of the manifest did not come about.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Another broker writes to the bucket now.
    #[error("another broker has taken over the bucket")]
    Replaced,
    /// The broker stops.
    #[error("the broker stops")]
    Stopping,
    /// The log has no place for it any more.
    #[error(transparent)]
    Log(#[from] TierError),
    /// The bucket.
    #[error(transparent)]
    Bucket(BucketError),
    /// The directory's own store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Tier {
    /// Over what `engine` has open. Speaks to nobody yet.
    pub fn open(engine: Arc<Engine>, buckets: impl Into<Buckets>, options: TierOptions) -> Arc<Self> {
        let Buckets { background: bucket, readers } = buckets.into();
        // One object holds the bound for all, so it is asked through a handle of its own.
        let rate = Arc::new(options.copy_bytes_per_second);
        let asked = rate.clone();
        let options = TierOptions { copy_bytes_per_second: Box::new(move || rate()), ..options };
        Arc::new(Self {
            engine,
            bucket,
            readers,
            bandwidth: Bandwidth::new(move || asked()),
            options,
            reader: OnceCell::new(),
            opening: Mutex::new(None),
            lead: tokio::sync::Mutex::new(Lead::Not),
            standing: Mutex::new(Standing::Idle),
            epoch: AtomicU64::new(0),
            uploads: AtomicU64::new(0),
            on_their_way: Mutex::new(HashSet::new()),
            condemned: Mutex::new(HashMap::new()),
            saved_meta: tokio::sync::Mutex::new(SavedMeta::default()),
            next_sample: Mutex::new(0),
            unsure: Mutex::new(HashSet::new()),
            stop: watch::channel(false).0,
        })
    }

    /// Reads what is in the bucket.
    pub async fn reader(&self) -> &RemoteReader {
        let opening = || {
            let (bucket, options) = (self.readers.clone(), self.options.read.clone());
            // Goes on when whoever asked first has gone: what is on disk may take its time.
            let opening = || {
                let open = tokio::spawn(async move { RemoteReader::open(bucket, &options).await });
                async { open.await.expect("opening does not panic") }.boxed().shared()
            };
            self.opening.lock().get_or_insert_with(opening).clone()
        };
        self.reader.get_or_init(opening).await
    }

    /// Reads from `offset` in whichever tier it is; see [`PartitionLog::read`].
    ///
    /// # Errors
    /// [`RemoteError`].
    pub async fn read(
        &self,
        log: &Arc<PartitionLog>,
        offset: i64,
        limits: Limits,
    ) -> Result<LogRead, RemoteError> {
        let mut position = offset;
        // Batches without a record: handed out alone, some clients take them for a record that is too large.
        let mut empty = RemoteRead::default();
        loop {
            let limits = Limits { max_bytes: limits.max_bytes.saturating_sub(empty.bytes), ..limits };
            let Some(segment) = log.remote_at(position) else {
                match log.read(position, limits.max_bytes, limits.at_least_one, limits.isolation).await {
                    // It has moved in between.
                    Err(ReadError::Tiered { .. }) if log.remote_at(position).is_some() => continue,
                    read => return Ok(behind(empty, read?)),
                }
            };
            let read = match self.reader().await.read(log, &segment, position, limits).await {
                Ok(read) => read,
                // Replaced in between, or deleted with the offset.
                Err(RemoteError::Missing(_)) if log.remote_at(position).as_ref() != Some(&segment) => {
                    continue;
                }
                Err(error) => return Err(error),
            };
            if read.is_gap {
                position = segment.next_offset;
                continue;
            }
            let offsets = log.offsets();
            // What was deleted while it was read is not shown.
            if offsets.readable_from > offset {
                (position, empty) = (offset, RemoteRead::default());
                continue;
            }
            if read.bytes > 0 && !read.has_records && read.bytes < limits.max_bytes {
                position = read.last_offset + 1;
                empty.bytes += read.bytes;
                empty.chunks.extend(read.chunks);
                empty.aborted.extend(read.aborted);
                continue;
            }
            let RemoteRead { chunks, bytes, aborted, .. } = read;
            return Ok(behind(empty, LogRead { chunks, bytes, aborted, offsets }));
        }
    }

    /// The bucket.
    pub fn bucket(&self) -> &Bucket {
        &self.bucket
    }

    /// Whether this broker writes to the bucket.
    pub fn standing(&self) -> Standing {
        self.standing.lock().clone()
    }

    /// The epoch that this broker has taken; 0 before it has.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Relaxed)
    }

    pub(crate) fn now_ms(&self) -> i64 {
        (self.options.now_ms)()
    }

    /// Copies and tidies until the broker stops.
    pub async fn run(self: Arc<Self>, stopping: watch::Receiver<bool>) {
        let mut stop = stopping.clone();
        let told = async {
            if stop.wait_for(|stop| *stop).await.is_ok() {
                self.stop.send_replace(true);
            }
        };
        tokio::join!(self.clone().keep_copying(stopping.clone()), self.clone().keep_tidy(stopping), told);
        if let Some(reader) = self.reader.get() {
            reader.close().await;
        }
    }

    /// Waits for the next turn; false once the broker stops.
    pub(crate) async fn next_turn(&self, stopping: &mut watch::Receiver<bool>) -> bool {
        tokio::select! {
            () = tokio::time::sleep(self.options.task_interval) => {}
            _ = stopping.wait_for(|stop| *stop) => {}
        }
        !*stopping.borrow()
    }

    /// Whether there is anything that concerns the bucket.
    pub(crate) fn is_needed(&self) -> bool {
        self.engine.topics().iter().any(|topic| {
            topic
                .partitions
                .iter()
                .any(|partition| partition.log.config().remote_storage || partition.log.has_remote())
        })
    }

    /// Sees to it that this broker may write, if it can.
    pub(crate) async fn leads(&self) -> bool {
        let mut stop = self.stop.subscribe();
        tokio::select! {
            leads = self.take_the_lead() => leads,
            _ = stop.wait_for(|stop| *stop) => false,
        }
    }

    async fn take_the_lead(&self) -> bool {
        let mut lead = self.lead.lock().await;
        match *lead {
            Lead::Yes(_) => return true,
            Lead::Never => return false,
            Lead::Not | Lead::Claimed(_) => {}
        }
        let claimed = match std::mem::replace(&mut *lead, Lead::Not) {
            Lead::Claimed(claimed) => Ok(claimed),
            _ => claim(&self.engine, &self.bucket, self.now_ms()).await.map(Box::new),
        };
        let error = match claimed {
            Ok(claimed) => match self.adopt(&claimed.entries).await {
                Ok(()) => {
                    self.led(&mut lead, *claimed).await;
                    return true;
                }
                Err(AdoptError::Differs(refusal)) => ClaimError::Refused(refusal),
                Err(error) => {
                    // The epoch is ours, and need not be taken again.
                    *lead = Lead::Claimed(claimed);
                    self.tried(&error.to_string());
                    return false;
                }
            },
            Err(error) => error,
        };
        match error {
            ClaimError::Replaced { .. } | ClaimError::Lost { .. } | ClaimError::Refused(_) => {
                self.replaced(&mut lead, error.to_string());
            }
            error => self.tried(&error.to_string()),
        }
        false
    }

    async fn led(&self, lead: &mut Lead, claimed: Claim) {
        let Claim { mut chain, entries } = claimed;
        let epoch = chain.epoch();
        tracing::info!(epoch, bucket = self.bucket.place(), "object storage is ours to write");
        self.epoch.store(epoch, Ordering::Relaxed);
        *self.standing.lock() = Standing::Leading(epoch);
        metrics::gauge!(names::LEADING).set(1.0);
        // The bucket may have lost the newest records of the manifest.
        let named: HashSet<&str> = entries.iter().map(|entry| &*entry.segment.object).collect();
        let known = self.entries().into_iter().map(|entry| entry.segment.object);
        let unnamed: Vec<String> = known.filter(|object| !named.contains(&**object)).collect();
        if !unnamed.is_empty() {
            tracing::error!(
                count = unnamed.len(),
                "the manifest does not name segments that the logs have: they are added"
            );
            self.unsure.lock().extend(unnamed);
            // Or with the next change.
            let _ = self.append(&mut chain, &Change::default()).await;
        }
        *lead = Lead::Yes(Box::new(chain));
    }

    fn tried(&self, reason: &str) {
        let mut standing = self.standing.lock();
        // Once, not with every turn: the reason may differ by a latency.
        if !matches!(*standing, Standing::Trying(_)) {
            tracing::warn!(
                reason,
                bucket = self.bucket.place(),
                "object storage cannot be written; trying again"
            );
        }
        *standing = Standing::Trying(reason.to_owned());
    }

    fn replaced(&self, lead: &mut Lead, reason: String) {
        tracing::error!(reason, bucket = self.bucket.place(), "nothing is uploaded or deleted any more");
        *lead = Lead::Never;
        *self.standing.lock() = Standing::Replaced(reason);
        metrics::gauge!(names::LEADING).set(0.0);
    }

    /// A name for a new object, which counts as on its way until the answer is dropped.
    pub(crate) fn new_object(&self, source: &Source, span: &Span) -> OnItsWay<'_> {
        let number = self.uploads.fetch_add(1, Ordering::Relaxed);
        let name = source.object(span, self.epoch.load(Ordering::Relaxed), number);
        self.on_their_way.lock().insert(name.clone());
        OnItsWay { tier: self, name }
    }

    /// Changes the manifest, and then the logs by `then`, before anybody else changes it. Tries until it is done, or
    /// the change has been tried often enough, or another broker has taken over, or this one stops.
    pub(crate) async fn commit(
        &self,
        change: Change,
        then: impl FnOnce() -> Result<Option<Ticket>, TierError>,
    ) -> Result<(), CommitError> {
        let mut stop = self.stop.subscribe();
        tokio::select! {
            done = self.commit_in_turn(change, then) => done,
            _ = stop.wait_for(|stop| *stop) => Err(CommitError::Stopping),
        }
    }

    async fn commit_in_turn(
        &self,
        change: Change,
        then: impl FnOnce() -> Result<Option<Ticket>, TierError>,
    ) -> Result<(), CommitError> {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(10));
        let mut tries_left = change.tries;
        // Others have their turn between two tries: the store may be away for hours.
        let mut lead = loop {
            let mut lead = self.lead.lock().await;
            let Lead::Yes(chain) = &mut *lead else { return Err(CommitError::Replaced) };
            match self.append(chain, &change).await {
                Ok(()) => break lead,
                Err(AppendError::Replaced) => {
                    self.replaced(&mut lead, AppendError::Replaced.to_string());
                    return Err(CommitError::Replaced);
                }
                Err(AppendError::Bucket(error)) => {
                    self.tried(&format!("the manifest cannot be written: {error}"));
                    tries_left = tries_left.map(|tries| tries.saturating_sub(1));
                    if tries_left == Some(0) {
                        // It may have arrived: the next change says how things are.
                        self.unsure.lock().extend(change.objects());
                        return Err(CommitError::Bucket(error));
                    }
                }
            }
            drop(lead);
            tokio::time::sleep(backoff.wait()).await;
        };
        let changed = then();
        if let Ok(Some(ticket)) = &changed {
            ticket.clone().await?;
        }
        if let Err(TierError::Deleted | TierError::NoPlace { .. } | TierError::NotServing) = &changed {
            // The manifest has it, the log does not: it goes again.
            for entry in &change.added {
                self.engine.add_garbage(&entry.segment.object).await?;
            }
        }
        if let Lead::Yes(chain) = &mut *lead
            && chain.wants_snapshot()
            && let Err(error) = self.snapshot(chain).await
        {
            tracing::warn!(%error, "no snapshot of the manifest was written; the next change tries again");
        }
        changed?;
        Ok(())
    }

    /// Writes the next delta: the change, and how things are with what the manifest may be wrong about.
    async fn append(&self, chain: &mut Chain, change: &Change) -> Result<(), AppendError> {
        let (mut added, mut removed) = (change.added.clone(), change.removed.clone());
        let mut unsure = self.unsure.lock().clone();
        unsure.retain(|object| !change.objects().any(|own| own == *object));
        if !unsure.is_empty() {
            let (named, unnamed): (Vec<_>, Vec<_>) = {
                let mut entries = self.entries();
                entries.retain(|entry| unsure.contains(&entry.segment.object));
                let names: HashSet<String> =
                    entries.iter().map(|entry| entry.segment.object.clone()).collect();
                (entries, unsure.iter().filter(|object| !names.contains(*object)).cloned().collect())
            };
            added.extend(named);
            removed.extend(unnamed);
        }
        // Known to the directory before it is in the bucket: one that finds more there than it has reserved is a copy from
        // before.
        self.reserve(chain.next() + 1).await?;
        chain.append(Kind::Changes, added, removed, self.now_ms()).await?;
        self.unsure.lock().retain(|object| !unsure.contains(object));
        let mut standing = self.standing.lock();
        if matches!(*standing, Standing::Trying(_)) {
            tracing::info!(bucket = self.bucket.place(), "object storage can be written again");
            *standing = Standing::Leading(chain.epoch());
        }
        Ok(())
    }

    async fn reserve(&self, next: u64) -> Result<(), AppendError> {
        let failed =
            |error: StoreError| BucketError::Failed(format!("the data directory cannot be written: {error}"));
        let mut state = self.engine.tier_state().await.map_err(failed)?;
        if state.reserved_delta < next {
            state.reserved_delta = next;
            self.engine.set_tier_state(&state).await.map_err(failed)?;
        }
        Ok(())
    }

    /// Asks the bucket, by a change of nothing, whether this broker writes there: one that has been idle does not know.
    pub(crate) async fn still_leads(&self) -> bool {
        let nothing = Change { tries: Some(1), ..Change::default() };
        self.leads().await && self.commit(nothing, || Ok(None)).await.is_ok()
    }

    /// Under the lock, so that it is of the moment after the newest delta.
    async fn snapshot(&self, chain: &mut Chain) -> Result<(), BucketError> {
        let mut entries = self.entries();
        // Garbage that is not out of the manifest yet is in it.
        let garbage = self.engine.garbage(usize::MAX).await.unwrap_or_default();
        let condemned = self.condemned.lock().clone();
        entries
            .extend(garbage.into_iter().filter(|object| !condemned.contains_key(object)).map(garbage_entry));
        chain.snapshot(entries, self.now_ms()).await
    }

    /// Writes a snapshot whatever was written last, which makes all before it needless.
    pub(crate) async fn snapshot_now(&self) -> Result<(), BucketError> {
        match &mut *self.lead.lock().await {
            Lead::Yes(chain) => self.snapshot(chain).await,
            _ => Ok(()),
        }
    }

    /// The number of the manifest's next delta; `None` unless this broker leads.
    pub(crate) async fn next_delta(&self) -> Option<u64> {
        match &*self.lead.lock().await {
            Lead::Yes(chain) => Some(chain.next()),
            _ => None,
        }
    }

    /// What the logs name, if `next` is still the number of the manifest's next delta.
    pub(crate) async fn entries_at(&self, next: u64) -> Option<Vec<Entry>> {
        match &*self.lead.lock().await {
            Lead::Yes(chain) if chain.next() == next => Some(self.entries()),
            _ => None,
        }
    }

    /// Every remote segment of every log.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        let topics = self.engine.topics();
        let mut entries = Vec::new();
        for topic in topics.iter() {
            for (partition, place) in topic.partitions.iter().enumerate() {
                let segments = place.log.remote_segments();
                entries.extend(
                    segments.iter().map(|segment| entry(&topic.name, topic.id, partition as i32, segment)),
                );
            }
        }
        entries
    }
}

/// What was read, with what was read before it.
fn behind(mut first: RemoteRead, read: LogRead) -> LogRead {
    if first.bytes == 0 {
        return read;
    }
    first.chunks.extend(read.chunks);
    first.aborted.extend(read.aborted);
    // A transaction may reach over both.
    first.aborted.sort_by_key(|txn| (txn.last_offset, txn.producer_id));
    first.aborted.dedup();
    LogRead { chunks: first.chunks, bytes: first.bytes + read.bytes, aborted: first.aborted, ..read }
}

/// An object that is being written: scrubbing leaves it alone.
pub(crate) struct OnItsWay<'a> {
    tier: &'a Tier,
    pub(crate) name: String,
}

impl Drop for OnItsWay<'_> {
    fn drop(&mut self) {
        self.tier.on_their_way.lock().remove(&self.name);
    }
}

/// As the manifest has it.
pub(crate) fn entry(topic: &str, topic_id: Uuid, partition: i32, segment: &RemoteSegment) -> Entry {
    Entry {
        topic_id: topic_id.as_bytes().to_vec(),
        topic: topic.to_owned(),
        partition,
        base_offset: segment.base_offset,
        segment: segment.to_value(),
    }
}

/// An object of which nothing is known but that it is to go: of no topic, so that whoever reads it makes it garbage.
fn garbage_entry(object: String) -> Entry {
    let mut entry = Entry::default();
    entry.segment.object = object;
    entry
}
