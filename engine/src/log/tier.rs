//! A log whose oldest part is in object storage: which ranges are there, and where the local part begins.
//!
//! ```text
//!  log_start        local_start        copied_to        high_watermark
//!     | remote alone     | remote and local  | local alone      |
//! ```
//!
//! Invariants: remote segments follow each other without a gap; the local part begins where one of them ends, or before;
//! list, starts and trims of one change are one commit. Knows objects by name alone: who calls has put them there and
//! proven them ([ADR 11](../../../docs/adr/0011-tiered-storage.md)).

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::{AbortedTxn, LogConfig, LogState, PartitionLog, Segment, StartObserver, Status};
use crate::error::{ReadError, TierError};
use crate::keys;
use crate::keys::log::EpochValue;
use crate::keys::tier::RemoteSegmentValue;
use crate::store::{Durability, Keyspace, ScanLimit, Ticket, WriteBatch};

/// A range of a log that an object holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteSegment {
    /// First offset.
    pub base_offset: i64,
    /// First offset after it.
    pub next_offset: i64,
    /// Bytes of its batches.
    pub bytes: u64,
    /// Largest record timestamp, ms; -1 when none has one.
    pub max_timestamp: i64,
    /// Timestamp of its first batch, ms; -1 when it has none.
    pub first_timestamp: i64,
    /// When its first batch was appended, ms by our clock.
    pub created_ms: i64,
    /// When its last batch was appended, ms by our clock.
    pub appended_ms: i64,
    /// The object's name in the bucket.
    pub object: Arc<str>,
    /// Bytes of the object.
    pub size: u64,
    /// Bytes at its end that describe it.
    pub tail_bytes: u64,
}

impl RemoteSegment {
    /// The time that retention compares, ms.
    pub fn retention_timestamp(&self) -> i64 {
        if self.max_timestamp >= 0 { self.max_timestamp } else { self.appended_ms }
    }

    /// As stored.
    pub fn to_value(&self) -> RemoteSegmentValue {
        RemoteSegmentValue {
            next_offset: self.next_offset,
            bytes: self.bytes,
            max_timestamp: self.max_timestamp,
            first_timestamp: self.first_timestamp,
            appended_ms: self.appended_ms,
            created_ms: self.created_ms,
            object: self.object.to_string(),
            size: self.size,
            tail_bytes: self.tail_bytes,
        }
    }

    /// From what was stored.
    pub fn from_value(base_offset: i64, value: RemoteSegmentValue) -> Self {
        Self {
            base_offset,
            next_offset: value.next_offset,
            bytes: value.bytes,
            max_timestamp: value.max_timestamp,
            first_timestamp: value.first_timestamp,
            created_ms: value.created_ms,
            appended_ms: value.appended_ms,
            object: value.object.into(),
            size: value.size,
            tail_bytes: value.tail_bytes,
        }
    }
}

/// A part of the log that can be copied: whole batches, of one local segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First offset.
    pub base_offset: i64,
    /// First offset after it.
    pub next_offset: i64,
    /// Bytes of its batches, at most.
    pub bytes: u64,
    /// Timestamp of the first batch, ms; -1 when it has none.
    pub first_timestamp: i64,
    /// When the first batch was appended, ms by our clock.
    pub created_ms: i64,
    /// When the last batch was appended, ms by our clock.
    pub appended_ms: i64,
    /// The cleaner has been here: offsets may be missing.
    pub cleaned: bool,
}

/// Keeps the cleaner from a log while it is copied, so that a copy is of one moment; given back when dropped.
#[derive(Debug)]
pub struct CleaningHold(Arc<PartitionLog>);

impl Drop for CleaningHold {
    fn drop(&mut self) {
        self.0.cleaning.store(false, Ordering::Release);
    }
}

/// What of a log is where, of one moment.
#[derive(Clone, Debug)]
pub struct TierFigures {
    /// Remote segments.
    pub segments: usize,
    /// Bytes of their batches.
    pub remote_bytes: u64,
    /// Bytes of local segments.
    pub local_bytes: u64,
    /// Bytes that are local alone, the active segment included.
    pub uncopied_bytes: u64,
    /// First offset that is local alone.
    pub copied_to: i64,
    /// When the oldest batch was appended that is local alone and could be copied, ms.
    pub oldest_uncopied_ms: Option<i64>,
}

impl PartitionLog {
    /// The ranges that are in object storage, oldest first.
    pub fn remote_segments(&self) -> Vec<Arc<RemoteSegment>> {
        self.state.lock().remote.iter().cloned().collect()
    }

    /// Whether anything of the log is in object storage.
    pub fn has_remote(&self) -> bool {
        !self.state.lock().remote.is_empty()
    }

    /// The remote segment to read `offset` from; `None` when it is local, or nowhere.
    pub fn remote_at(&self, offset: i64) -> Option<Arc<RemoteSegment>> {
        let state = self.state.lock();
        if offset >= state.local_start_offset || offset < state.log_start_offset {
            return None;
        }
        state.remote_index(offset).and_then(|index| state.remote.get(index)).cloned()
    }

    /// The remote segment that follows `segment`, if it has the local part behind it too.
    pub fn remote_after(&self, segment: &RemoteSegment) -> Option<Arc<RemoteSegment>> {
        self.remote_at(segment.next_offset)
    }

    /// First offset that is local alone; `None` when nothing was copied.
    pub fn copied_to(&self) -> Option<i64> {
        self.state.lock().copied_to()
    }

    /// What is where.
    pub fn tier_figures(&self) -> TierFigures {
        let stable = self.offsets().last_stable_offset;
        let state = self.state.lock();
        let copied_to = state.copied_to().unwrap_or(state.local_start_offset);
        let local_bytes = state.local_bytes();
        let uncopied = || state.sealed.iter().filter(|segment| segment.next_offset > copied_to);
        TierFigures {
            segments: state.remote.len(),
            remote_bytes: state.remote.iter().map(|segment| segment.bytes).sum(),
            local_bytes,
            uncopied_bytes: uncopied().map(|segment| segment.bytes).sum::<u64>() + state.active.bytes,
            copied_to,
            oldest_uncopied_ms: uncopied()
                .find(|segment| segment.next_offset <= stable)
                .map(|segment| segment.created_ms),
        }
    }

    /// Closes the active segment of a tiered log that has grown too old, so that it can be copied although nothing is
    /// appended any more. Returns the ticket of the change, if there was one.
    pub fn roll_for_copy(&self, now_ms: i64) -> Option<Ticket> {
        let config = self.config();
        config.remote_storage.then_some(())?;
        self.roll_if(|active| now_ms.saturating_sub(active.created_ms) > config.roll_ms())
    }

    /// The next parts to copy, oldest first, at most `max`: closed segments below the stable offset, and of a compacted
    /// log those that the cleaner is done with.
    pub fn to_copy(&self, max: usize) -> Vec<Span> {
        let config = self.config();
        let stable = self.offsets().last_stable_offset;
        let state = self.state.lock();
        if state.status != Status::Online || !config.remote_storage || config.remote_copy_disable {
            return Vec::new();
        }
        let end = if config.cleanup_compact { stable.min(state.clean.first_dirty_offset) } else { stable };
        // DeleteRecords may have cut into a segment, and into a batch of it.
        let from = state.copied_to().unwrap_or(0).max(state.local_from());
        state
            .sealed
            .iter()
            .filter(|segment| segment.next_offset > from && segment.next_offset <= end)
            .take(max)
            .map(|segment| span(segment, from, state.clean.gaps_below))
            .collect()
    }

    /// Keeps the cleaner away; `None` while it is at work here.
    pub fn hold_cleaning(self: &Arc<Self>) -> Option<CleaningHold> {
        (!self.cleaning.swap(true, Ordering::AcqRel)).then(|| CleaningHold(self.clone()))
    }

    /// Whether a batch contains `from`.
    async fn straddles(&self, from: i64, end: i64) -> Result<bool, ReadError> {
        let range = keys::batch::range(self.id, from, end);
        let scanned = self.store.scan(Keyspace::Batches, range, ScanLimit::entries(1)).await;
        let chunk = scanned.map_err(|error| self.read_failed(error))?;
        let base = chunk.entries.first().and_then(|(_, batch)| batch.first_chunk());
        Ok(base.is_some_and(|base| i64::from_be_bytes(*base) <= from))
    }

    /// Batches from the one that contains `from`, up to `to`, for copying: about `bytes`, never none while there are any
    /// that end below `to`.
    ///
    /// # Errors
    /// [`ReadError::OffsetOutOfRange`] when they were deleted meanwhile, and failures of the partition or the store.
    pub async fn read_span(&self, from: i64, to: i64, bytes: usize) -> Result<Vec<Bytes>, ReadError> {
        let range = keys::batch::range(self.id, from, to);
        let scanned = self.store.scan(Keyspace::Batches, range, ScanLimit::bytes(bytes)).await;
        let chunk = scanned.map_err(|error| self.read_failed(error))?;
        let (offsets, gaps_below) = {
            let state = self.state.lock();
            state.check_readable()?;
            (self.offsets_of(&state), state.clean.gaps_below)
        };
        // An end that is not there says nothing of what is.
        if offsets.local_from > from || to > offsets.next_offset {
            return Err(ReadError::OffsetOutOfRange {
                offset: from,
                log_start_offset: offsets.local_from,
                next_offset: offsets.next_offset,
            });
        }
        if chunk.entries.is_empty() && self.straddles(from, offsets.next_offset).await? {
            return Ok(Vec::new());
        }
        // The cleaner leaves the last batch of what it cleans, but nothing need be in one segment of it.
        if !(chunk.entries.is_empty() && to <= gaps_below) {
            self.check_contains(from, to, gaps_below, &chunk)?;
        }
        Ok(chunk.entries.into_iter().map(|(_, batch)| batch).collect())
    }

    /// Every aborted transaction with an offset in `from..end`, in the order of the markers.
    ///
    /// # Errors
    /// Failures of the store.
    pub async fn aborted_in(&self, from: i64, end: i64) -> Result<Vec<AbortedTxn>, ReadError> {
        self.aborted_between(from, end).await
    }

    /// Leader epochs with an offset in `from..end`.
    pub fn epochs_in(&self, from: i64, end: i64) -> Vec<EpochValue> {
        let state = self.state.lock();
        let first = state.epochs.iter().rposition(|entry| entry.start_offset <= from).unwrap_or(0);
        state.epochs.iter().skip(first).filter(|entry| entry.start_offset < end).copied().collect()
    }

    /// Takes in a segment that was copied and proven; `blocks` is its block index. In force at once; until the ticket
    /// resolves no local data goes because of it.
    ///
    /// # Errors
    /// [`TierError`], when the log has changed meanwhile so that the segment has no place; nothing was changed.
    pub fn add_remote(self: &Arc<Self>, segment: RemoteSegment, blocks: Bytes) -> Result<Ticket, TierError> {
        let mut state = self.state.lock();
        state.check_readable().map_err(|_| TierError::NotServing)?;
        if segment.next_offset <= state.log_start_offset {
            return Err(TierError::Deleted);
        }
        let fits = match state.copied_to() {
            Some(copied_to) => segment.base_offset == copied_to,
            // Whatever is before it was deleted, or is local.
            None => segment.base_offset <= state.log_start_offset.max(state.local_start_offset),
        };
        if !fits || segment.next_offset <= segment.base_offset || segment.next_offset > state.next_offset {
            return Err(TierError::NoPlace {
                base_offset: segment.base_offset,
                next_offset: segment.next_offset,
                copied_to: state.copied_to(),
            });
        }
        let mut write = WriteBatch::new();
        self.put_remote(&mut write, &segment, blocks);
        state.remote.push_back(Arc::new(segment));
        state.last_ticket = self.store.commit(write, Durability::Sync);
        Ok(state.last_ticket.clone())
    }

    /// Puts another object in the place of a remote segment: the same offsets, cleaned again.
    ///
    /// # Errors
    /// [`TierError`] when the segment is no longer there as it was; nothing was changed.
    pub fn swap_remote(
        self: &Arc<Self>,
        old: &RemoteSegment,
        new: RemoteSegment,
        blocks: Bytes,
    ) -> Result<Ticket, TierError> {
        let mut state = self.state.lock();
        state.check_readable().map_err(|_| TierError::NotServing)?;
        let index = state.remote_index(old.base_offset);
        let there =
            index.and_then(|index| state.remote.get_mut(index)).filter(|there| there.object == old.object);
        let place = there.ok_or(TierError::Deleted)?;
        if (new.base_offset, new.next_offset) != (old.base_offset, old.next_offset) {
            return Err(TierError::NoPlace {
                base_offset: new.base_offset,
                next_offset: new.next_offset,
                copied_to: None,
            });
        }
        let mut write = WriteBatch::new();
        self.put_remote(&mut write, &new, blocks);
        write.put(Keyspace::Index, keys::tier::garbage_key(&old.object), Bytes::new());
        *place = Arc::new(new);
        state.last_ticket = self.store.commit(write, Durability::Sync);
        Ok(state.last_ticket.clone())
    }

    /// Keeps the block index of a remote segment that was read from its object.
    pub fn put_blocks(&self, segment: &RemoteSegment, blocks: Bytes) {
        let state = self.state.lock();
        let known = state.remote.iter().any(|known| known.object == segment.object);
        if known && state.status == Status::Online {
            let mut write = WriteBatch::new();
            let value = keys::tier::blocks_value(&blocks, &segment.object);
            write.put(Keyspace::Index, keys::tier::blocks_key(self.id, segment.base_offset), value);
            // Can be read again.
            drop(self.store.commit(write, Durability::Os));
        }
    }

    /// The block index of a remote segment, if it is kept; that of another object, which has taken its place or is about to,
    /// is not it.
    ///
    /// # Errors
    /// Failures of the store.
    pub async fn blocks(&self, segment: &RemoteSegment) -> Result<Option<Bytes>, ReadError> {
        let key = keys::tier::blocks_key(self.id, segment.base_offset);
        let value = self.store.get(Keyspace::Index, key).await.map_err(|error| self.read_failed(error))?;
        Ok(value.and_then(|value| keys::tier::parse_blocks(&value, &segment.object)))
    }

    fn put_remote(&self, write: &mut WriteBatch, segment: &RemoteSegment, blocks: Bytes) {
        let blocks = keys::tier::blocks_value(&blocks, &segment.object);
        let value = prost::Message::encode_to_vec(&segment.to_value());
        write.put(Keyspace::Index, keys::tier::segment_key(self.id, segment.base_offset), value);
        write.put(Keyspace::Index, keys::tier::blocks_key(self.id, segment.base_offset), blocks);
    }

    /// Drops the local copies that the local retention settings no longer keep. Returns how many segments went.
    pub fn apply_local_retention(self: &Arc<Self>, now_ms: i64) -> usize {
        let config = self.config();
        let mut state = self.state.lock();
        let Some(copied_to) = state.copied_to().filter(|_| config.remote_storage) else { return 0 };
        if state.status != Status::Online {
            return 0;
        }
        let count = local_to_drop(&state, &config, copied_to, now_ms);
        let Some(last) = count.checked_sub(1).and_then(|last| state.sealed.get(last)) else { return 0 };
        let to = last.next_offset;
        self.move_local_start(&mut state, to);
        count
    }

    /// Ends tiering of this log: its start moves to the local start, and every remote segment becomes garbage.
    pub fn drop_remote(self: &Arc<Self>) {
        let mut state = self.state.lock();
        if state.remote.is_empty() || state.status == Status::Deleted {
            return;
        }
        let mut write = WriteBatch::new();
        let all = state.remote.len();
        self.discard_remote(&mut state, &mut write, all);
        self.forget_remote(&mut state, &mut write);
        let start = state.local_start_offset.max(state.log_start_offset);
        self.move_start(&mut state, start, write);
        drop(state);
        self.waiters.wake();
    }

    /// Takes the oldest `count` remote segments out of the log; their objects become garbage.
    pub(super) fn discard_remote(&self, state: &mut LogState, write: &mut WriteBatch, count: usize) {
        for segment in state.remote.drain(..count) {
            write.delete(Keyspace::Index, keys::tier::segment_key(self.id, segment.base_offset));
            write.delete(Keyspace::Index, keys::tier::blocks_key(self.id, segment.base_offset));
            write.put(Keyspace::Index, keys::tier::garbage_key(&segment.object), Bytes::new());
        }
    }

    /// Drops what is local below `to`, where a remote segment, or a local one before it, ends.
    fn move_local_start(self: &Arc<Self>, state: &mut LogState, to: i64) {
        let from = state.local_start_offset.max(state.log_start_offset);
        assert!(to > from && state.copied_to().is_some_and(|copied_to| to <= copied_to));
        let mut write = WriteBatch::new();
        state.local_start_offset = to;
        self.trim_local(state, &mut write, from, to);
        write.put(Keyspace::Index, keys::log::log_key(self.id), state.log_value());
        write.observe(Arc::new(StartObserver(self.clone())), state.log_start_offset as u64);
        state.last_ticket = self.store.commit(write, Durability::Sync);
    }
}

impl LogState {
    /// First offset that is local alone; `None` when nothing was copied.
    pub(super) fn copied_to(&self) -> Option<i64> {
        self.remote.back().map(|last| last.next_offset)
    }

    /// Bytes of segments that are not local as well.
    pub(super) fn remote_alone_bytes(&self) -> u64 {
        let alone = self.remote.iter().take_while(|segment| segment.next_offset <= self.local_from());
        alone.map(|segment| segment.bytes).sum()
    }

    /// The place in the list of the segment that contains `offset`.
    fn remote_index(&self, offset: i64) -> Option<usize> {
        let index = self.remote.partition_point(|segment| segment.next_offset <= offset);
        self.remote.get(index).filter(|segment| segment.base_offset <= offset).map(|_| index)
    }
}

fn span(segment: &Segment, from: i64, gaps_below: i64) -> Span {
    Span {
        base_offset: segment.base_offset.max(from),
        next_offset: segment.next_offset,
        bytes: segment.bytes,
        first_timestamp: segment.first_timestamp,
        created_ms: segment.created_ms,
        appended_ms: segment.appended_ms,
        cleaned: segment.base_offset < gaps_below,
    }
}

/// How many of the oldest closed segments local retention drops: by age, then by the size of all that is local.
fn local_to_drop(state: &LogState, config: &LogConfig, copied_to: i64, now_ms: i64) -> usize {
    let local = state.local_bytes();
    let mut excess = config.local_retention_bytes.map_or(0, |keep| local.saturating_sub(keep));
    let mut by_age = true;
    let mut count = 0;
    for segment in state.sealed.iter().take_while(|segment| segment.next_offset <= copied_to) {
        let old = |keep_ms| now_ms.saturating_sub(segment.retention_timestamp()) > keep_ms;
        by_age = by_age && config.local_retention_ms.is_some_and(old);
        let by_size = excess > 0 && excess >= segment.bytes;
        if !by_age && !by_size {
            break;
        }
        excess = excess.saturating_sub(segment.bytes);
        count += 1;
    }
    count
}

/// What must hold between remote segments and the local start.
pub(super) fn check_remote(
    remote: &VecDeque<Arc<RemoteSegment>>,
    local_start: i64,
) -> Result<(), &'static str> {
    let follow = remote.iter().zip(remote.iter().skip(1));
    if follow.into_iter().any(|(one, next)| one.next_offset != next.base_offset) {
        return Err("there is a gap between two remote segments");
    }
    match remote.back() {
        Some(last) if last.next_offset < local_start => Err("the remote segments end before the local part"),
        _ => Ok(()),
    }
}
