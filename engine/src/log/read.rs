//! Read: whole batches from the one that contains an offset, up to a budget in bytes, never past what is durable.

use std::sync::Arc;

use bytes::Bytes;

use super::transactions::overlapping;
use super::{AbortedTxn, Isolation, Offsets, PartitionLog};
use crate::error::ReadError;
use crate::keys::aborted::AbortedValue;
use crate::keys::{self, decode};
use crate::limits::ABORTED_SCAN_ENTRIES;
use crate::store::{Chunk, Keyspace, ScanLimit, StoreError};

/// Batches of one moment.
#[derive(Clone, Debug)]
pub struct LogRead {
    /// The bytes of the batches, in order; cut at any point, so only their concatenation means something.
    pub chunks: Vec<Bytes>,
    /// Bytes of all chunks.
    pub bytes: usize,
    /// Aborted transactions with records in the chunks, in the order of their ends; for readers of committed data alone,
    /// who have to skip them (Kafka's broker leaves that to the client, too).
    pub aborted: Vec<AbortedTxn>,
    /// The log's offsets when the read was made.
    pub offsets: Offsets,
}

impl PartitionLog {
    /// Reads from `offset`: the first batch may begin before it. At most `max_bytes`, except that with
    /// `at_least_one` the first batch is returned whatever its size. Empty at the end of what `isolation` lets see.
    ///
    /// # Errors
    /// [`ReadError::OffsetOutOfRange`], [`ReadError::Tiered`], and failures of the partition or the store.
    pub async fn read(
        self: &Arc<Self>,
        offset: i64,
        max_bytes: usize,
        at_least_one: bool,
        isolation: Isolation,
    ) -> Result<LogRead, ReadError> {
        loop {
            if let Some(read) = self.read_memory(offset, max_bytes, at_least_one, isolation)? {
                return Ok(read);
            }
            // Before the scan: whatever ends before this ended before it, and the index has it if it was aborted.
            let (before, forgotten) = {
                let state = self.state.lock();
                (self.offsets_of(&state), state.transactions.forgotten())
            };
            if before.local_from > offset {
                return Err(ReadError::Tiered { offset, local_start_offset: before.local_from });
            }
            let end = before.visible_end(isolation);
            let range = keys::batch::range(self.id, offset, end.max(offset));
            let scanned = self.store.scan(Keyspace::Batches, range, ScanLimit::bytes(max_bytes.max(1))).await;
            let chunk = scanned.map_err(|error| self.read_failed(error))?;
            let aborted = match (isolation, last_of(&chunk)) {
                (Isolation::Committed, Some(last)) => self.aborted_between(offset, last + 1).await?,
                _ => Vec::new(),
            };
            let (offsets, gaps_below, still_known) = {
                let state = self.state.lock();
                let still_known = state.transactions.forgotten() == forgotten;
                (self.offsets_of(&state), state.clean.gaps_below, still_known)
            };
            // A batch dropped between the start check and the scan would be skipped in silence, since clients accept
            // gaps, and an aborted transaction dropped meanwhile would be shown: look at the start again, and refuse
            // (the next turn does) when it has passed the position.
            if offsets.readable_from > offset {
                continue;
            }
            if offsets.local_from > offset {
                return Err(ReadError::Tiered { offset, local_start_offset: offsets.local_from });
            }
            // Nor may the cleaner have dropped the data of an aborted transaction, and then word of it, in between.
            if isolation == Isolation::Committed && !still_known {
                continue;
            }
            if chunk.entries.is_empty() && end < gaps_below {
                // The log went on since the end was read, and all before it was cleaned away.
                continue;
            }
            self.check_contains(offset, end, gaps_below, &chunk)?;
            let offsets = Offsets {
                high_watermark: before.high_watermark,
                last_stable_offset: before.last_stable_offset,
                ..offsets
            };
            let mut read = gather(chunk, max_bytes, at_least_one, offsets);
            read.aborted = aborted;
            return Ok(read);
        }
    }

    /// Reads without waiting, if the answer is in memory: out of range, empty, or in the tail ring.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_memory(
        &self,
        offset: i64,
        max_bytes: usize,
        at_least_one: bool,
        isolation: Isolation,
    ) -> Result<Option<LogRead>, ReadError> {
        let state = self.state.lock();
        state.check_readable()?;
        let offsets = self.offsets_of(&state);
        if offset < offsets.readable_from || offset > offsets.next_offset {
            return Err(ReadError::OffsetOutOfRange {
                offset,
                log_start_offset: offsets.readable_from,
                next_offset: offsets.next_offset,
            });
        }
        let mut read = LogRead { chunks: Vec::new(), bytes: 0, aborted: Vec::new(), offsets };
        let end = offsets.visible_end(isolation);
        if offset >= end {
            return Ok(Some(read));
        }
        if !state.ring.covers(offset) {
            return Ok(None);
        }
        let mut next = offset;
        for entry in state.ring.from(offset) {
            let fits = read.bytes + entry.bytes() <= max_bytes || (at_least_one && read.bytes == 0);
            if entry.last_offset >= end || !fits {
                break;
            }
            read.bytes += entry.bytes();
            read.chunks.push(entry.head.clone());
            read.chunks.push(entry.body.clone());
            next = entry.last_offset + 1;
        }
        if isolation == Isolation::Committed && next > offset {
            let Some(aborted) = state.transactions.aborted_between(offset, next) else { return Ok(None) };
            read.aborted = aborted;
        }
        Ok(Some(read))
    }

    /// The aborted transactions with an offset in `from..end`, from memory or from the index.
    pub(super) async fn aborted_between(&self, from: i64, end: i64) -> Result<Vec<AbortedTxn>, ReadError> {
        if let Some(known) = self.state.lock().transactions.aborted_between(from, end) {
            return Ok(known);
        }
        let mut found = Vec::new();
        let mut range = keys::aborted::range_from(self.id, from);
        loop {
            let limit = ScanLimit::entries(ABORTED_SCAN_ENTRIES);
            let scanned = self.store.scan(Keyspace::Index, range.clone(), limit).await;
            let chunk = scanned.map_err(|error| self.read_failed(error))?;
            let entries: Result<Vec<AbortedTxn>, StoreError> =
                chunk.entries.iter().map(parse_aborted).collect();
            let entries = entries.map_err(|error| self.read_failed(error))?;
            let Some(last) = entries.last().map(|entry| entry.last_offset) else { return Ok(found) };
            let (overlapping, complete) = overlapping(entries, end);
            found.extend(overlapping);
            if complete || !chunk.more {
                return Ok(found);
            }
            range.start = keys::aborted::key(self.id, last + 1);
        }
    }

    /// Bytes that a read from `offset` could return, roughly, counted up to `enough`; for a long poll's `min_bytes`.
    pub fn available_bytes(&self, offset: i64, enough: usize, isolation: Isolation) -> usize {
        let state = self.state.lock();
        let end = self.offsets_of(&state).visible_end(isolation);
        if offset >= end || offset < state.log_start_offset {
            return 0;
        }
        if !state.ring.covers(offset) {
            // Older than the ring: whole segments' worth; near enough, and never zero when there is something.
            return enough.max(1);
        }
        let mut bytes = 0;
        for entry in state.ring.from(offset) {
            if entry.last_offset >= end || bytes >= enough {
                break;
            }
            bytes += entry.bytes();
        }
        bytes
    }

    /// There is a batch at every offset between the start and the watermark, but for where the cleaner has been. None
    /// where one must be means that the store lost it, which a client would pass over in silence.
    pub(super) fn check_contains(
        &self,
        offset: i64,
        end: i64,
        gaps_below: i64,
        chunk: &Chunk,
    ) -> Result<(), ReadError> {
        first_gap(offset, end, gaps_below, chunk).map_or(Ok(()), |missing| {
            let reason = format!("no batch at offset {missing}, and there are {end} durable ones");
            Err(self.read_failed(StoreError::Corrupt(reason.into())))
        })
    }

    /// A corrupt read takes the partition offline; any other failure is the read's own.
    pub(super) fn read_failed(&self, error: StoreError) -> ReadError {
        if let StoreError::Corrupt(reason) = &error {
            self.mark_offline(reason);
            return ReadError::Offline;
        }
        ReadError::Store(error)
    }
}

/// The first offset from `offset` on that no batch of the chunk holds, though a batch behind it is there, or none is.
/// Gaps that end at or below `gaps_below` are the cleaner's, which leaves a batch at the end of what it cleans.
fn first_gap(offset: i64, end: i64, gaps_below: i64, chunk: &Chunk) -> Option<i64> {
    let mut next = offset;
    for (key, batch) in &chunk.entries {
        let base = batch.first_chunk().map_or(i64::MAX, |base| i64::from_be_bytes(*base));
        // The first may begin before the offset asked for.
        let follows = if next == offset { base <= next } else { base == next };
        let follows = follows || (base > next && base <= gaps_below);
        let last = keys::batch::parse(key).ok().map(|(_, last)| last);
        match last {
            Some(last) if follows && last >= next => next = last + 1,
            _ => return Some(next),
        }
    }
    (chunk.entries.is_empty() && offset < end).then_some(offset)
}

/// The last offset of a scan.
fn last_of(chunk: &Chunk) -> Option<i64> {
    chunk.entries.last().and_then(|(key, _)| keys::batch::parse(key).ok()).map(|(_, last)| last)
}

fn parse_aborted((key, value): &(Bytes, Bytes)) -> Result<AbortedTxn, StoreError> {
    let (_, last_offset) = keys::aborted::parse(key)?;
    let value: AbortedValue = decode(value, "aborted transaction")?;
    Ok(AbortedTxn::from_value(last_offset, &value))
}

/// As much of a scan as the budget allows.
fn gather(chunk: Chunk, max_bytes: usize, at_least_one: bool, offsets: Offsets) -> LogRead {
    let mut read =
        LogRead { chunks: Vec::with_capacity(chunk.entries.len()), bytes: 0, aborted: Vec::new(), offsets };
    for (_, batch) in chunk.entries {
        if read.bytes + batch.len() > max_bytes && !(at_least_one && read.bytes == 0) {
            break;
        }
        read.bytes += batch.len();
        read.chunks.push(batch);
    }
    read
}
