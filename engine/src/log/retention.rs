//! Retention, DeleteRecords and forgotten producers: how a log loses its oldest part, and how its space comes back.
//!
//! One batch moves `log_start_offset` and trims everything before it, so a crash between the two cannot happen and
//! no read walks what is gone.

use std::sync::Arc;

use super::append::{seal_active, tail_value};
use super::{LogConfig, LogState, PartitionLog, Segment, StartObserver, Status};
use crate::error::ReadError;
use crate::keys::log::EpochValue;
use crate::keys::{self};
use crate::store::{Durability, Keyspace, Ticket, WriteBatch};

impl PartitionLog {
    /// Moves the log's start to `offset`, or to the high watermark for `None`; never back. Returns the start in force
    /// and the ticket of the change.
    ///
    /// # Errors
    /// [`ReadError::OffsetOutOfRange`] above the high watermark, and the partition's own state.
    pub fn delete_records(self: &Arc<Self>, offset: Option<i64>) -> Result<(i64, Ticket), ReadError> {
        let mut state = self.state.lock();
        state.check_readable()?;
        let high_watermark = self.high_watermark();
        let offset = offset.unwrap_or(high_watermark);
        if offset < 0 || offset > high_watermark {
            return Err(ReadError::OffsetOutOfRange {
                offset,
                log_start_offset: state.log_start_offset,
                next_offset: state.next_offset,
            });
        }
        if offset > state.log_start_offset {
            self.move_start(&mut state, offset, WriteBatch::new());
        }
        let outcome = (state.log_start_offset, state.last_ticket.clone());
        drop(state);
        self.waiters.wake();
        Ok(outcome)
    }

    /// Drops the oldest segments that the retention settings no longer keep (Kafka's
    /// `UnifiedLog.deleteOldSegments`): by age of their newest record, then by total size. An expired active segment
    /// is sealed first. Returns how many segments went.
    pub fn apply_retention(self: &Arc<Self>, now_ms: i64) -> usize {
        let config = self.config();
        if !config.cleanup_delete {
            return 0;
        }
        let mut state = self.state.lock();
        if state.status != Status::Online {
            return 0;
        }
        let high_watermark = self.high_watermark();
        let mut write = WriteBatch::new();
        let expired = |timestamp_ms: i64| {
            config.retention_ms.is_some_and(|keep_ms| now_ms.saturating_sub(timestamp_ms) > keep_ms)
        };
        let roll = !state.active.is_empty()
            && state.active.next_offset <= high_watermark
            // No bytes at all: only then can size take the active segment, too.
            && (config.retention_bytes == Some(0)
                || (pieces(&state).all(|piece| expired(piece.timestamp_ms))
                    && expired(state.active.retention_timestamp())));
        if roll {
            seal_active(self.id, &mut state, &mut write);
        }
        let (dropped, start) = pieces_to_drop(&state, &config, high_watermark, expired);
        if dropped == 0 && !roll {
            return 0;
        }
        let start = start.max(state.log_start_offset);
        self.move_start(&mut state, start, write);
        drop(state);
        self.waiters.wake();
        dropped
    }

    /// Forgets producers that have not written for `expiration_ms` (`producer.id.expiration.ms`) and have no transaction
    /// open. Returns how many.
    pub fn expire_producers(&self, now_ms: i64, expiration_ms: i64) -> usize {
        let mut state = self.state.lock();
        if state.status != Status::Online {
            return 0;
        }
        let mut write = WriteBatch::new();
        let before = state.producers.len();
        state.producers.retain(|producer_id, producer| {
            let keep = producer.txn_first_offset.is_some()
                || now_ms.saturating_sub(producer.last_ms) <= expiration_ms;
            if !keep {
                write.delete(Keyspace::Index, keys::producer::key(self.id, *producer_id));
            }
            keep
        });
        let expired = before - state.producers.len();
        if expired > 0 {
            // Lazily durable: after a crash they are forgotten again.
            state.last_ticket = self.store.commit(write, Durability::Os);
        }
        expired
    }

    /// Commits a new start with everything that goes with it. `write` may hold other changes already.
    pub(super) fn move_start(self: &Arc<Self>, state: &mut LogState, start: i64, mut write: WriteBatch) {
        assert!(start >= state.log_start_offset && start <= state.next_offset);
        let from = state.local_from();
        state.log_start_offset = start;
        let gone = state.remote.iter().take_while(|segment| segment.next_offset <= start).count();
        self.discard_remote(state, &mut write, gone);
        if start == state.next_offset && state.active.base_offset < start {
            // All is gone: an empty segment begins where the log ends, so its size is zero again.
            state.active = Segment::empty(start);
        }
        state.epochs = trimmed_epochs(&state.epochs, start);
        self.trim_local(state, &mut write, from, state.local_from());
        write.put(Keyspace::Index, keys::log::log_key(self.id), state.log_value());
        write.put(Keyspace::Index, keys::log::tail_key(self.id), tail_value(state));
        write.observe(Arc::new(StartObserver(self.clone())), start as u64);
        state.last_ticket = self.store.commit(write, Durability::Sync);
    }

    /// Takes what is in the store from `from` up to `to` out of it: batches, closed segments that end there, their time
    /// index, and word of aborted transactions.
    pub(super) fn trim_local(&self, state: &mut LogState, write: &mut WriteBatch, from: i64, to: i64) {
        while state.sealed.front().is_some_and(|oldest| oldest.next_offset <= to) {
            if let Some(gone) = state.sealed.pop_front() {
                write.delete(Keyspace::Index, keys::log::segment_key(self.id, gone.base_offset));
            }
        }
        if to <= from {
            return;
        }
        let first_base = state.sealed.front().map_or(state.active.base_offset, |oldest| oldest.base_offset);
        let batches = keys::batch::range(self.id, from, to);
        write.trim(Keyspace::Batches, batches.start, batches.end);
        let times = keys::log::time_before(self.id, first_base);
        write.trim(Keyspace::Index, times.start, times.end);
        if from <= state.transactions.newest_aborted() {
            let aborted = keys::aborted::before(self.id, to);
            write.trim(Keyspace::Index, aborted.start, aborted.end);
        }
    }

    /// Everything the partition holds, as removals; its id is never used again. Its objects become garbage.
    pub(crate) fn remove_all(&self, write: &mut WriteBatch) {
        let mut state = self.state.lock();
        let all = state.remote.len();
        self.discard_remote(&mut state, write, all);
        drop(state);
        let batches = keys::batch::all(self.id);
        write.trim(Keyspace::Batches, batches.start, batches.end);
        let others =
            [keys::producer::all_of(self.id), keys::aborted::all_of(self.id), keys::clean::all_of(self.id)];
        let ranges = keys::log::all_of(self.id).into_iter().chain(keys::tier::all_of(self.id)).chain(others);
        for range in ranges {
            write.trim(Keyspace::Index, range.start, range.end);
        }
    }
}

/// What retention counts in: remote segments, and closed local ones that are not among them.
struct Piece {
    next_offset: i64,
    bytes: u64,
    timestamp_ms: i64,
}

/// Oldest first.
fn pieces(state: &LogState) -> impl Iterator<Item = Piece> {
    let copied_to = state.copied_to().unwrap_or(0);
    let remote = state.remote.iter().map(|segment| Piece {
        next_offset: segment.next_offset,
        bytes: segment.bytes,
        timestamp_ms: segment.retention_timestamp(),
    });
    let local = state.sealed.iter().filter(move |segment| segment.next_offset > copied_to);
    remote.chain(local.map(|segment| Piece {
        next_offset: segment.next_offset,
        bytes: segment.bytes,
        timestamp_ms: segment.retention_timestamp(),
    }))
}

/// How many of the oldest go, and where the log begins then.
fn pieces_to_drop(
    state: &LogState,
    config: &LogConfig,
    high_watermark: i64,
    expired: impl Fn(i64) -> bool,
) -> (usize, i64) {
    let mut excess = config.retention_bytes.map_or(0, |keep| {
        let held = pieces(state).map(|piece| piece.bytes).sum::<u64>() + state.active.bytes;
        held.saturating_sub(keep)
    });
    let mut by_age = true;
    let (mut count, mut start) = (0, 0);
    for piece in pieces(state) {
        if piece.next_offset > high_watermark {
            break;
        }
        by_age = by_age && expired(piece.timestamp_ms);
        let by_size = excess > 0 && excess >= piece.bytes;
        if !by_age && !by_size {
            break;
        }
        excess = excess.saturating_sub(piece.bytes);
        (count, start) = (count + 1, piece.next_offset);
    }
    (count, start)
}

/// Leader epochs that still have an offset at or above `start`; the newest always stays
/// (Kafka's `LeaderEpochFileCache.truncateFromStart`).
fn trimmed_epochs(epochs: &[EpochValue], start: i64) -> Vec<EpochValue> {
    let first = epochs.iter().rposition(|entry| entry.start_offset <= start).unwrap_or(0);
    let mut kept = epochs.get(first..).unwrap_or_default().to_vec();
    if let Some(oldest) = kept.first_mut() {
        oldest.start_offset = oldest.start_offset.max(start);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_below_the_start_go_and_the_newest_stays() {
        let epochs =
            [(0, 0), (1, 10), (2, 20)].map(|(epoch, start_offset)| EpochValue { epoch, start_offset });
        let starts = |start| -> Vec<_> {
            trimmed_epochs(&epochs, start).iter().map(|entry| (entry.epoch, entry.start_offset)).collect()
        };
        assert_eq!(starts(5), [(0, 5), (1, 10), (2, 20)]);
        assert_eq!(starts(10), [(1, 10), (2, 20)]);
        assert_eq!(starts(99), [(2, 99)]);
    }
}
