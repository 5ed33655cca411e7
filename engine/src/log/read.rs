//! Read: whole batches from the one that contains an offset, up to a budget in bytes, never past what is durable.

use std::sync::Arc;

use bytes::Bytes;

use super::{Offsets, PartitionLog};
use crate::error::ReadError;
use crate::keys;
use crate::store::{Chunk, Keyspace, ScanLimit, StoreError};

/// Batches of one moment.
#[derive(Clone, Debug)]
pub struct LogRead {
    /// The bytes of the batches, in order; cut at any point, so only their concatenation means something.
    pub chunks: Vec<Bytes>,
    /// Bytes of all chunks.
    pub bytes: usize,
    /// The log's offsets when the read was made.
    pub offsets: Offsets,
}

impl PartitionLog {
    /// Reads from `offset`: the first batch may begin before it. At most `max_bytes`, except that with
    /// `at_least_one` the first batch is returned whatever its size. Empty at the high watermark.
    ///
    /// # Errors
    /// [`ReadError::OffsetOutOfRange`], and failures of the partition or the store.
    pub async fn read(
        self: &Arc<Self>,
        offset: i64,
        max_bytes: usize,
        at_least_one: bool,
    ) -> Result<LogRead, ReadError> {
        loop {
            if let Some(read) = self.read_memory(offset, max_bytes, at_least_one)? {
                return Ok(read);
            }
            let high_watermark = self.high_watermark();
            let range = keys::batch::range(self.id, offset, high_watermark);
            let scanned = self.store.scan(Keyspace::Batches, range, ScanLimit::bytes(max_bytes.max(1))).await;
            let chunk = match scanned {
                Ok(chunk) => chunk,
                Err(error) => return Err(self.read_failed(error)),
            };
            let offsets = self.offsets();
            // A batch dropped between the start check and the scan would be skipped in silence, since clients accept
            // gaps: look at the start again, and refuse (the next turn does) when it has passed the position.
            if offsets.readable_from > offset {
                continue;
            }
            self.check_contains(offset, high_watermark, &chunk)?;
            return Ok(gather(chunk, max_bytes, at_least_one, Offsets { high_watermark, ..offsets }));
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
        let mut read = LogRead { chunks: Vec::new(), bytes: 0, offsets };
        if offset >= offsets.high_watermark {
            return Ok(Some(read));
        }
        if !state.ring.covers(offset) {
            return Ok(None);
        }
        for entry in state.ring.from(offset) {
            let fits = read.bytes + entry.bytes() <= max_bytes || (at_least_one && read.bytes == 0);
            if entry.last_offset >= offsets.high_watermark || !fits {
                break;
            }
            read.bytes += entry.bytes();
            read.chunks.push(entry.head.clone());
            read.chunks.push(entry.body.clone());
        }
        Ok(Some(read))
    }

    /// Bytes that a read from `offset` could return, roughly, counted up to `enough`; for a long poll's `min_bytes`.
    pub fn available_bytes(&self, offset: i64, enough: usize) -> usize {
        let state = self.state.lock();
        let high_watermark = self.high_watermark();
        if offset >= high_watermark || offset < state.log_start_offset {
            return 0;
        }
        if !state.ring.covers(offset) {
            // Older than the ring: whole segments' worth; near enough, and never zero when there is something.
            return enough.max(1);
        }
        let mut bytes = 0;
        for entry in state.ring.from(offset) {
            if entry.last_offset >= high_watermark || bytes >= enough {
                break;
            }
            bytes += entry.bytes();
        }
        bytes
    }

    /// There is a batch at every offset between the start and the watermark of a log that is not compacted. None
    /// where one must be means that the store lost it, which a client would pass over in silence.
    fn check_contains(&self, offset: i64, high_watermark: i64, chunk: &Chunk) -> Result<(), ReadError> {
        first_gap(offset, high_watermark, chunk).map_or(Ok(()), |missing| {
            let reason = format!("no batch at offset {missing} below the watermark {high_watermark}");
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
fn first_gap(offset: i64, high_watermark: i64, chunk: &Chunk) -> Option<i64> {
    let mut next = offset;
    for (key, batch) in &chunk.entries {
        let base = batch.first_chunk().map_or(i64::MAX, |base| i64::from_be_bytes(*base));
        // The first may begin before the offset asked for.
        let follows = if next == offset { base <= next } else { base == next };
        let last = keys::batch::parse(key).ok().map(|(_, last)| last);
        match last {
            Some(last) if follows && last >= next => next = last + 1,
            _ => return Some(next),
        }
    }
    (chunk.entries.is_empty() && offset < high_watermark).then_some(offset)
}

/// As much of a scan as the budget allows.
fn gather(chunk: Chunk, max_bytes: usize, at_least_one: bool, offsets: Offsets) -> LogRead {
    let mut read = LogRead { chunks: Vec::with_capacity(chunk.entries.len()), bytes: 0, offsets };
    for (_, batch) in chunk.entries {
        if read.bytes + batch.len() > max_bytes && !(at_least_one && read.bytes == 0) {
            break;
        }
        read.bytes += batch.len();
        read.chunks.push(batch);
    }
    read
}
