//! One pass over a log: first the new part, to learn the latest offset of each key; then all of it up to there, batch by
//! batch, leaving out what was superseded.
//!
//! What is in object storage is a log of its own: before the local part it is compared with what is new *there*, never with
//! records that are local alone, so that a restore finds of each key the latest value that was copied. A tombstone
//! goes, on either side, only when all that it covers has gone there.
//!
//! A pass is stepped from outside. It can be dropped between any two steps, and the process can end in any: what was
//! committed is a log like any other, and the next pass goes on behind the last segment that was done.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use chronik_protocol::batch::{BatchError, BatchHeader, BatchView};

use super::batch::{self, Fate, Rules, Standing, Verdict};
use super::commit::{Checkpoint, CleanCommit, CleanedSegment, Edits, RemotePart};
use super::offset_map::{Full, OffsetMap};
use super::time_index::TimeIndexer;
use super::txn::Transactions;
use super::{CleanError, CleanOptions, CleanReport, CleanStep};
use crate::error::ReadError;
use crate::keys::clean::PassValue;
use crate::limits::{CLEAN_COMMIT_BATCHES, CLEAN_SCAN_BYTES, DECOMPRESSED_BYTES_MAX};
use crate::log::{AbortedTxn, LogConfig, PartitionLog, RemoteSegment, Segment};

/// See the module.
#[derive(Debug)]
pub struct CleanPass {
    log: Arc<PartitionLog>,
    _turn: Turn,
    config: Arc<LogConfig>,
    options: CleanOptions,
    /// First offset of the log when the pass began.
    start: i64,
    first_dirty: i64,
    /// First offset that the pass does not clean.
    end: i64,
    remote: Option<RemotePart>,
    /// Locally there is nothing to do.
    remote_alone: bool,
    phase: Phase,
    /// Next offset to look at.
    position: i64,
    latest: OffsetMap,
    /// `None` at the beginning of a walk.
    transactions: Option<Transactions>,
    last_of_producers: HashMap<i64, i64>,
    /// Those not yet done, the one under way first.
    segments: VecDeque<Segment>,
    walk: Walk,
    edits: Edits,
    /// Where a later pass could go on.
    resume: PassValue,
    /// A pass that was cut short, until the map tells whether it can be taken up.
    interrupted: Option<PassValue>,
    next_horizon_ms: Option<i64>,
    changed: bool,
    report: CleanReport,
}

/// After this long a tombstone that could have gone, but for something it waits for, is looked at again.
const HORIZON_AGAIN_MS: i64 = 60_000;

/// What becomes of a batch in object storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RemoteFate {
    /// It stays as it is.
    Keep,
    /// This takes its place.
    Replace(Bytes),
    /// It goes.
    Drop,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// What is in object storage, map and all.
    Remote,
    Map,
    Clean,
    Done,
}

/// What is left of the segment under way.
#[derive(Debug)]
struct Walk {
    bytes: u64,
    times: TimeIndexer,
}

impl Walk {
    fn new(config: &LogConfig) -> Self {
        Self { bytes: 0, times: TimeIndexer::new(config.index_interval_bytes, config.segment_bytes) }
    }
}

/// The right to clean a log; given back when dropped.
#[derive(Debug)]
struct Turn(Arc<PartitionLog>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.cleaning.store(false, Ordering::Release);
    }
}

impl PartitionLog {
    /// Begins a pass; `None` if there is nothing for it to do.
    ///
    /// # Errors
    /// [`CleanError::NotCompacted`], [`CleanError::Busy`], and the partition's own state.
    pub fn clean(self: &Arc<Self>, options: CleanOptions) -> Result<Option<CleanPass>, CleanError> {
        let config = self.config();
        if !config.cleanup_compact {
            return Err(CleanError::NotCompacted);
        }
        if self.cleaning.swap(true, Ordering::AcqRel) {
            return Err(CleanError::Busy);
        }
        let turn = Turn(self.clone());
        // A dry run cannot close the active segment, and looks at it as if it were closed.
        let begin = self.begin_clean(options.now_ms, options.dry_run)?;
        let has_work = match options.dry_run {
            true => begin.cleanable.has_local_work(),
            false => begin.cleanable.has_work(),
        };
        if !has_work {
            return Ok(None);
        }
        let (first_dirty, mut end) = (begin.cleanable.first_dirty, begin.cleanable.end);
        let interrupted = begin.interrupted.filter(|pass| {
            !options.dry_run && pass.position > begin.start && pass.end > first_dirty && pass.end <= end
        });
        if let Some(pass) = &interrupted {
            end = pass.end;
        }
        let wants_remote = !options.dry_run
            && begin.remote.is_some_and(|remote| remote.dirty < remote.to || begin.cleanable.horizon_passed);
        let walked = begin.segments.iter().filter(|segment| segment.base_offset < end);
        let walked_bytes: u64 = walked.map(|segment| segment.bytes).sum();
        let report = CleanReport {
            expected_bytes: walked_bytes + begin.cleanable.dirty_bytes,
            ..CleanReport::default()
        };
        Ok(Some(CleanPass {
            log: self.clone(),
            _turn: turn,
            walk: Walk::new(&config),
            config,
            options,
            start: begin.start,
            first_dirty,
            end,
            phase: if wants_remote { Phase::Remote } else { Phase::Map },
            remote: begin.remote,
            remote_alone: wants_remote && !begin.cleanable.has_local_work(),
            position: first_dirty,
            latest: OffsetMap::new(options.map_bytes_max),
            transactions: None,
            last_of_producers: begin.last_of_producers,
            segments: begin.segments.into(),
            edits: Edits::default(),
            resume: PassValue { end, position: begin.start, next_horizon_ms: -1 },
            interrupted,
            // What is not looked at again keeps the horizon that it has.
            next_horizon_ms: begin.remote.filter(|_| !wants_remote).and_then(|remote| remote.horizon_ms),
            changed: false,
            report,
        }))
    }
}

impl CleanPass {
    /// What was done so far.
    pub fn report(&self) -> CleanReport {
        CleanReport { keys: self.latest.len() as u64, map_bytes: self.latest.bytes() as u64, ..self.report }
    }

    /// Reads a chunk, looks at it, and commits what has gathered. Call until it says that the pass is done.
    ///
    /// # Errors
    /// [`CleanError`]; the pass is over then.
    pub async fn step(&mut self) -> Result<CleanStep, CleanError> {
        let before = self.report;
        match self.phase {
            Phase::Map => self.map_chunk().await?,
            Phase::Clean => self.clean_chunk().await?,
            Phase::Remote | Phase::Done => {}
        }
        Ok(CleanStep {
            wants_remote: self.phase == Phase::Remote,
            read_bytes: self.report.read_bytes - before.read_bytes,
            written_bytes: self.report.written_bytes - before.written_bytes,
            done: self.phase == Phase::Done,
        })
    }

    async fn map_chunk(&mut self) -> Result<(), CleanError> {
        self.know_aborted().await?;
        let batches = self.log.scan_batches(self.position, self.end, CLEAN_SCAN_BYTES).await?;
        for bytes in &batches {
            let view = checked(bytes)?;
            let header = view.header();
            self.report.read_bytes += bytes.len() as u64;
            if !self.is_discardable(header)
                && !header.is_control()
                && self.map_batch(&view, self.first_dirty)? == Err(Full)
            {
                // The rest is for the next pass.
                if header.base_offset <= self.first_dirty {
                    let bytes_max = self.options.map_bytes_max;
                    return Err(CleanError::BufferTooSmall { offset: header.base_offset, bytes_max });
                }
                self.end = header.base_offset;
                self.interrupted = None;
                self.begin_cleaning();
                return Ok(());
            }
            self.position = header.last_offset() + 1;
        }
        if batches.is_empty() || self.position >= self.end {
            self.begin_cleaning();
        }
        Ok(())
    }

    /// Asks, at the beginning of each of the two walks, which transactions on its way were aborted.
    async fn know_aborted(&mut self) -> Result<(), CleanError> {
        if self.transactions.is_none() {
            let aborted = self.log.aborted_between(self.position, self.end).await?;
            self.transactions = Some(Transactions::new(aborted));
        }
        Ok(())
    }

    fn map_batch(&mut self, view: &BatchView<'_>, from: i64) -> Result<Result<(), Full>, CleanError> {
        let header = view.header();
        let failed = |error| unreadable(header, error);
        let mut records = view.records(DECOMPRESSED_BYTES_MAX).map_err(failed)?;
        while let Some(record) = records.next_record().map_err(failed)? {
            let offset = header.base_offset.wrapping_add(record.offset_delta.into());
            let Some(key) = record.key.filter(|_| offset >= from) else { continue };
            if self.latest.put(key, offset).is_err() {
                return Ok(Err(Full));
            }
        }
        Ok(Ok(()))
    }

    /// First offset in object storage that [`Self::map_remote`] has to be told of.
    pub fn remote_dirty(&self) -> i64 {
        self.remote.map_or(i64::MAX, |remote| remote.dirty)
    }

    /// Learns the keys of a batch of a remote segment, but for control batches and aborted data, in the order of their
    /// offsets. False when the rest is for a later pass.
    ///
    /// # Errors
    /// [`CleanError::Batch`], and [`CleanError::BufferTooSmall`] when not even one batch can be learnt.
    pub fn map_remote(&mut self, view: &BatchView<'_>) -> Result<bool, CleanError> {
        let Some(mut remote) = self.remote else { return Ok(false) };
        let base_offset = view.header().base_offset;
        if base_offset >= remote.to {
            return Ok(false);
        }
        if self.map_batch(view, remote.dirty)? == Ok(()) {
            return Ok(true);
        }
        if base_offset <= remote.dirty {
            let bytes_max = self.options.map_bytes_max;
            return Err(CleanError::BufferTooSmall { offset: base_offset, bytes_max });
        }
        remote.to = base_offset;
        self.remote = Some(remote);
        Ok(false)
    }

    /// The remote segments to clean, oldest first; those that are local as well are among them, for their objects are what
    /// stays.
    pub fn remote(&self) -> Vec<Arc<RemoteSegment>> {
        self.log.remote_segments()
    }

    /// The log.
    pub fn log(&self) -> &Arc<PartitionLog> {
        &self.log
    }

    /// What becomes of a batch of a remote segment. Markers stay: the data that they speak of was cleaned before it was
    /// copied. With `counted`, the report tells of it.
    ///
    /// # Errors
    /// [`CleanError::Batch`].
    pub fn judge_remote(&mut self, view: &BatchView<'_>, counted: bool) -> Result<RemoteFate, CleanError> {
        let header = view.header();
        let last_offset = header.last_offset();
        let Some(RemotePart { dirty, to, .. }) = self.remote.filter(|remote| last_offset < remote.to) else {
            return Ok(RemoteFate::Keep);
        };
        let must_stay = self.last_of_producers.get(&header.producer_id) == Some(&last_offset);
        let standing = Standing { discardable: false, must_stay };
        let rules = Rules { first_dirty: dirty, covered_to: to, ..self.rules() };
        let verdict = batch::judge(view, &rules, standing).map_err(|error| unreadable(header, error))?;
        if let Some(horizon_ms) = verdict.horizon_ms {
            self.note_horizon(horizon_ms);
        }
        if counted {
            let bytes = view.bytes().len() as u64;
            self.report.read_bytes += bytes;
            self.report.expected_bytes += bytes;
            self.report.before_bytes += bytes;
            self.report.records += verdict.records.0;
            self.report.records_dropped += verdict.records.0 - verdict.records.1;
            self.report.after_bytes += match &verdict.fate {
                Fate::Keep => bytes,
                Fate::Rewrite(batch) => batch.len() as u64,
                Fate::Drop => 0,
            };
        }
        Ok(match verdict.fate {
            Fate::Keep => RemoteFate::Keep,
            Fate::Rewrite(batch) => RemoteFate::Replace(batch),
            Fate::Drop => RemoteFate::Drop,
        })
    }

    /// Everything remote was looked at.
    ///
    /// # Errors
    /// [`CleanError::Read`] when that could not be noted.
    pub async fn remote_done(&mut self) -> Result<(), CleanError> {
        let Some(remote) = self.remote.as_mut().filter(|_| self.phase == Phase::Remote) else {
            return Ok(());
        };
        remote.dirty = remote.to;
        let noted = self.log.commit_remote(remote.to, self.next_horizon_ms)?;
        noted.await.map_err(ReadError::Store)?;
        self.latest = OffsetMap::new(self.options.map_bytes_max);
        self.phase = if self.remote_alone { Phase::Done } else { Phase::Map };
        Ok(())
    }

    fn rules(&self) -> Rules<'_> {
        Rules {
            latest: &self.latest,
            first_dirty: self.first_dirty,
            now_ms: self.options.now_ms,
            delete_retention_ms: self.config.delete_retention_ms,
            covered_to: self.remote.map_or(i64::MAX, |remote| remote.dirty),
        }
    }

    fn note_horizon(&mut self, mut horizon_ms: i64) {
        let now_ms = self.options.now_ms;
        if horizon_ms <= now_ms {
            // It waits for something else, and must not be looked for again at once.
            horizon_ms = now_ms.saturating_add(self.config.delete_retention_ms.max(HORIZON_AGAIN_MS));
        }
        self.next_horizon_ms = Some(self.next_horizon_ms.map_or(horizon_ms, |next| next.min(horizon_ms)));
    }

    fn begin_cleaning(&mut self) {
        self.phase = Phase::Clean;
        self.resume = self.interrupted.unwrap_or(PassValue { end: self.end, ..self.resume });
        self.position = self.resume.position;
        let resumed_ms = Some(self.resume.next_horizon_ms).filter(|horizon_ms| *horizon_ms >= 0);
        self.next_horizon_ms = self.next_horizon_ms.into_iter().chain(resumed_ms).min();
        self.transactions = None;
        let (position, end) = (self.position, self.end);
        self.segments.retain(|segment| segment.next_offset > position && segment.base_offset < end);
    }

    async fn clean_chunk(&mut self) -> Result<(), CleanError> {
        self.know_aborted().await?;
        let Some(segment) = self.segments.front().copied() else {
            return self.complete().await;
        };
        let to = segment.next_offset.min(self.end);
        let batches = match self.position < to {
            true => self.log.scan_batches(self.position, to, CLEAN_SCAN_BYTES).await?,
            false => Vec::new(),
        };
        for bytes in &batches {
            let view = checked(bytes)?;
            self.report.read_bytes += bytes.len() as u64;
            self.clean_batch(&view)?;
            self.position = view.header().last_offset() + 1;
            if self.edits.is_full() || self.has_forgotten_enough() {
                self.commit(segment.base_offset, None).await?;
            }
        }
        if batches.is_empty() || self.position >= to {
            self.position = to;
            self.leave_segment(segment).await?;
        }
        Ok(())
    }

    fn is_discardable(&mut self, header: &BatchHeader) -> bool {
        self.transactions.as_mut().is_some_and(|transactions| transactions.discardable(header))
    }

    fn has_forgotten_enough(&self) -> bool {
        self.transactions.as_ref().is_some_and(|transactions| transactions.gone() >= CLEAN_COMMIT_BATCHES)
    }

    fn clean_batch(&mut self, view: &BatchView<'_>) -> Result<(), CleanError> {
        let header = view.header();
        let last_offset = header.last_offset();
        let standing = Standing {
            discardable: self.is_discardable(header),
            must_stay: last_offset + 1 == self.end
                || self.last_of_producers.get(&header.producer_id) == Some(&last_offset),
        };
        let verdict =
            batch::judge(view, &self.rules(), standing).map_err(|error| unreadable(header, error))?;
        self.take(header, view.bytes().len() as u64, verdict);
        Ok(())
    }

    /// Notes what becomes of a batch.
    fn take(&mut self, header: &BatchHeader, old_bytes: u64, verdict: Verdict) {
        let (records, left) = verdict.records;
        self.report.before_bytes += old_bytes;
        self.report.records += records;
        self.report.records_dropped += records - left;
        if let Some(horizon_ms) = verdict.horizon_ms {
            self.note_horizon(horizon_ms);
        }
        let left_bytes = match verdict.fate {
            Fate::Keep => old_bytes,
            Fate::Rewrite(batch) => {
                let bytes = batch.len() as u64;
                self.edits.rewrite(header.last_offset(), old_bytes, batch);
                bytes
            }
            Fate::Drop => {
                self.edits.drop_batch(header.last_offset(), old_bytes);
                return;
            }
        };
        self.report.after_bytes += left_bytes;
        self.walk.bytes += left_bytes;
        self.walk.times.add(header.base_offset, verdict.max_timestamp, left_bytes);
    }

    /// Commits what is left to commit of a segment, and its figures if it was looked at to its end.
    async fn leave_segment(&mut self, segment: Segment) -> Result<(), CleanError> {
        let walk = std::mem::replace(&mut self.walk, Walk::new(&self.config));
        let done = (self.position >= segment.next_offset).then(|| {
            let (max_timestamp, times) = walk.times.finish();
            CleanedSegment { bytes: walk.bytes, max_timestamp, times }
        });
        if done.is_some() && self.transactions.as_ref().is_none_or(Transactions::none_open) {
            self.resume = PassValue {
                end: self.end,
                position: segment.next_offset,
                next_horizon_ms: self.next_horizon_ms.unwrap_or(-1),
            };
        }
        self.segments.pop_front();
        self.commit(segment.base_offset, done).await
    }

    async fn commit(&mut self, segment: i64, done: Option<CleanedSegment>) -> Result<(), CleanError> {
        let gone = self.take_gone();
        if self.edits.is_empty() && done.is_none() && gone.is_empty() {
            return Ok(());
        }
        let edits = std::mem::take(&mut self.edits);
        self.report.written_bytes += edits.put_bytes() as u64;
        self.changed |= !edits.is_empty();
        let checkpoint = Checkpoint::Under(self.resume);
        self.write(CleanCommit {
            segment,
            edits: &edits,
            done,
            position: self.position,
            checkpoint,
            gone: &gone,
        })
        .await
    }

    fn take_gone(&mut self) -> Vec<AbortedTxn> {
        self.transactions.as_mut().map(Transactions::take_gone).unwrap_or_default()
    }

    async fn complete(&mut self) -> Result<(), CleanError> {
        let gone = self.take_gone();
        let commit = CleanCommit {
            segment: self.start,
            edits: &Edits::default(),
            done: None,
            position: self.end,
            checkpoint: Checkpoint::Complete {
                next_horizon_ms: self.next_horizon_ms.unwrap_or(-1),
                now_ms: self.options.now_ms,
                reclaim_from: self.changed.then_some(self.start),
            },
            gone: &gone,
        };
        self.write(commit).await?;
        self.phase = Phase::Done;
        Ok(())
    }

    async fn write(&self, commit: CleanCommit<'_>) -> Result<(), CleanError> {
        if self.options.dry_run {
            return Ok(());
        }
        // Appends are not made to wait behind a queue that the cleaner has filled.
        self.log.store.ready().await.map_err(ReadError::Store)?;
        self.log.commit_clean(commit)?.await.map_err(ReadError::Store)?;
        Ok(())
    }
}

/// The batch, if it is what was written once: what is wrong must not get a new checksum.
fn checked(bytes: &Bytes) -> Result<BatchView<'_>, CleanError> {
    let view = BatchView::new(bytes).map_err(|error| CleanError::Batch { offset: -1, error })?;
    view.verify_crc().map_err(|error| unreadable(view.header(), error))?;
    Ok(view)
}

fn unreadable(header: &BatchHeader, error: BatchError) -> CleanError {
    CleanError::Batch { offset: header.base_offset, error }
}
