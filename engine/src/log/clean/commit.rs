//! How the changes of a pass reach the log and its store: in one atomic batch with the segment's figures and the
//! checkpoint, made under the log's lock, so that retention, deletion and appends see either all of it or nothing.

use std::sync::Arc;

use bytes::Bytes;

use super::super::{AbortedTxn, LogState, PartitionLog, Segment, Status};
use super::plan;
use super::{Cleanable, CleanedTo};
use crate::error::ReadError;
use crate::keys;
use crate::keys::clean::{CleanValue, PassValue};
use crate::limits::{CLEAN_COMMIT_BATCHES, CLEAN_COMMIT_BYTES};
use crate::log::append::{seal_active, tail_value};
use crate::store::{Durability, Keyspace, Ticket, WriteBatch};

/// Changes that wait for the next commit, all of one segment.
#[derive(Debug, Default)]
pub(super) struct Edits {
    /// Last offset of a batch, and what takes its place.
    changes: Vec<(i64, Option<Bytes>)>,
    put_bytes: usize,
    /// By how much the segment grows; a batch of few records may, when its timestamps move to a horizon.
    grown_bytes: i64,
}

impl Edits {
    pub(super) fn rewrite(&mut self, last_offset: i64, old_bytes: u64, batch: Bytes) {
        self.put_bytes += batch.len();
        self.grown_bytes += batch.len() as i64 - old_bytes as i64;
        self.changes.push((last_offset, Some(batch)));
    }

    pub(super) fn drop_batch(&mut self, last_offset: i64, old_bytes: u64) {
        self.grown_bytes -= old_bytes as i64;
        self.changes.push((last_offset, None));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Bytes that a commit writes.
    pub(super) fn put_bytes(&self) -> usize {
        self.put_bytes
    }

    /// Whether it is time to commit.
    pub(super) fn is_full(&self) -> bool {
        self.put_bytes >= CLEAN_COMMIT_BYTES || self.changes.len() >= CLEAN_COMMIT_BATCHES
    }

    /// A segment's batches come whole, in order, and end before the next: only those that retention has left.
    fn write_into(&self, log: &PartitionLog, state: &LogState, write: &mut WriteBatch) {
        let there = self.changes.iter().filter(|(last_offset, _)| *last_offset >= state.local_from());
        for (last_offset, batch) in there {
            let key = keys::batch::key(log.id, *last_offset);
            match batch {
                Some(batch) => write.put(Keyspace::Batches, key, batch.clone()),
                None => write.delete(Keyspace::Batches, key),
            }
        }
    }
}

/// A segment whose last batch was looked at.
#[derive(Debug)]
pub(super) struct CleanedSegment {
    /// Bytes of what is left.
    pub(super) bytes: u64,
    /// Largest timestamp of what is left; -1 without one.
    pub(super) max_timestamp: i64,
    /// Its time index, made anew.
    pub(super) times: Vec<(i64, i64)>,
}

/// Where a pass stands once its changes are in.
#[derive(Clone, Copy, Debug)]
pub(super) enum Checkpoint {
    /// It goes on.
    Under(PassValue),
    /// It is complete.
    Complete {
        next_horizon_ms: i64,
        now_ms: i64,
        /// First offset of the range whose space to give back.
        reclaim_from: Option<i64>,
    },
}

impl Checkpoint {
    fn resumes_at(self, position: i64) -> bool {
        matches!(self, Self::Under(pass) if pass.position == position)
    }
}

/// One commit of a pass.
#[derive(Debug)]
pub(super) struct CleanCommit<'a> {
    /// Base offset of the segment that the edits belong to.
    pub(super) segment: i64,
    pub(super) edits: &'a Edits,
    /// The segment, if it is done with these edits.
    pub(super) done: Option<CleanedSegment>,
    /// Every batch before this offset was looked at.
    pub(super) position: i64,
    pub(super) checkpoint: Checkpoint,
    /// Aborted transactions without data, of which no reader has to hear any more.
    pub(super) gone: &'a [AbortedTxn],
}

impl PartitionLog {
    /// How far the log was cleaned.
    pub fn cleaned_to(&self) -> CleanedTo {
        let state = self.state.lock();
        CleanedTo {
            first_dirty: state.clean.first_dirty_offset.max(state.log_start_offset),
            cleaned_ms: Some(state.clean.cleaned_ms).filter(|cleaned_ms| *cleaned_ms > 0),
            interrupted: state.clean.pass.is_some(),
        }
    }

    /// Closes the active segment of a compacted log that has grown too old, or with `any_age` whatever its age, so that
    /// it can be cleaned although nothing is appended any more. Returns the ticket of the change, if there was one.
    pub fn roll_for_cleaning(&self, now_ms: i64, any_age: bool) -> Option<Ticket> {
        let config = self.config();
        config.cleanup_compact.then_some(())?;
        self.roll_if(|active| any_age || now_ms.saturating_sub(active.created_ms) > config.roll_ms())
    }

    /// Closes the active segment if all of it is durable, and `is_due` says so of it.
    pub(in crate::log) fn roll_if(&self, is_due: impl FnOnce(&Segment) -> bool) -> Option<Ticket> {
        let mut state = self.state.lock();
        let roll = state.status == Status::Online
            && !state.active.is_empty()
            && state.active.next_offset <= self.high_watermark()
            && is_due(&state.active);
        roll.then(|| {
            let mut write = WriteBatch::new();
            seal_active(self.id, &mut state, &mut write);
            write.put(Keyspace::Index, keys::log::tail_key(self.id), tail_value(&state));
            let ticket = self.store.commit(write, Durability::Sync);
            state.last_ticket = ticket.clone();
            ticket
        })
    }

    /// Where a pass begins: what can be cleaned, the segments, the last batch of each producer, a pass cut short.
    pub(super) fn begin_clean(&self, now_ms: i64, with_active: bool) -> Result<Begin, ReadError> {
        let config = self.config();
        let stable = self.offsets().last_stable_offset;
        let state = self.state.lock();
        state.check_readable()?;
        let mut cleanable = plan::cleanable(&state, &config, stable, now_ms);
        let mut segments: Vec<Segment> = state.sealed.iter().copied().collect();
        let young = state.sealed.back().map_or(0, |last| last.next_offset) > cleanable.end;
        let open = state.active;
        if with_active && !young && !open.is_empty() && !plan::too_young(&open, &config, now_ms) {
            cleanable.end = open.next_offset.min(stable).max(cleanable.end);
            cleanable.dirty_bytes += open.bytes;
            segments.push(open);
        }
        let producers = state.producers.iter().filter_map(|(id, producer)| {
            let last = producer.batches.back()?;
            (last.last_offset < cleanable.end).then_some((*id, last.last_offset))
        });
        Ok(Begin {
            cleanable,
            start: state.local_from(),
            segments,
            last_of_producers: producers.collect(),
            interrupted: state.clean.pass,
            remote: state.copied_to().map(|to| RemotePart {
                dirty: state.clean.remote_dirty_offset.max(state.log_start_offset).min(to),
                to,
                horizon_ms: state.clean.horizon_ms(),
            }),
        })
    }

    /// Makes the changes of a pass.
    pub(super) fn commit_clean(self: &Arc<Self>, commit: CleanCommit<'_>) -> Result<Ticket, ReadError> {
        let config = self.config();
        let mut state = self.state.lock();
        state.check_readable()?;
        let mut write = WriteBatch::new();
        commit.edits.write_into(self, &state, &mut write);
        match commit.done {
            Some(done) => {
                // Joined only where the pass could be taken up, so that it never has to be inside a segment.
                let resumable = commit.checkpoint.resumes_at(commit.position);
                let join_up_to = resumable.then_some(config.segment_bytes);
                self.finish_segment(&mut state, &mut write, commit.segment, done, join_up_to);
            }
            None => self.resize_segment(&mut state, &mut write, commit.segment, commit.edits.grown_bytes),
        }
        for aborted in commit.gone {
            write.delete(Keyspace::Index, keys::aborted::key(self.id, aborted.last_offset));
        }
        state.transactions.forget(commit.gone);
        let before = state.clean;
        // In force before the store has the gaps: a reader that meets one asks afterwards.
        let gaps_below = before.gaps_below.max(commit.position);
        state.clean = match commit.checkpoint {
            Checkpoint::Under(pass) => CleanValue { gaps_below, pass: Some(pass), ..before },
            Checkpoint::Complete { next_horizon_ms, now_ms, .. } => CleanValue {
                first_dirty_offset: commit.position,
                gaps_below,
                pass: None,
                next_horizon_ms,
                cleaned_ms: now_ms,
                ..before
            },
        };
        self.put_clean(&state, &mut write);
        if let Checkpoint::Complete { reclaim_from: Some(from), .. } = commit.checkpoint {
            let range = keys::batch::range(self.id, from, commit.position);
            write.reclaim(Keyspace::Batches, range.start, range.end);
        }
        // What a pass has done can be done again, so only its end is worth an fsync; the order holds in any case.
        let durability = match commit.checkpoint {
            Checkpoint::Under(_) => Durability::Os,
            Checkpoint::Complete { .. } => Durability::Sync,
        };
        let ticket = self.store.commit(write, durability);
        state.last_ticket = ticket.clone();
        // The ring may still have what was aborted, of which its readers are not told any more, or what the pass dropped.
        let is_changed = matches!(commit.checkpoint, Checkpoint::Complete { reclaim_from: Some(_), .. });
        if is_changed || !commit.gone.is_empty() {
            let (count, cost) = state.ring.drop_below(commit.position);
            drop(state);
            self.budget.dropped(self, count, cost);
        }
        Ok(ticket)
    }

    fn put_clean(&self, state: &LogState, write: &mut WriteBatch) {
        let value = prost::Message::encode_to_vec(&state.clean);
        write.put(Keyspace::Index, keys::clean::key(self.id), value);
    }

    /// Notes that what is in object storage was compared with all records below `to`, and the earliest horizon there.
    pub(super) fn commit_remote(&self, to: i64, horizon_ms: Option<i64>) -> Result<Ticket, ReadError> {
        let mut state = self.state.lock();
        state.check_readable()?;
        let known_ms = state.clean.horizon_ms();
        state.clean.next_horizon_ms = known_ms.into_iter().chain(horizon_ms).min().unwrap_or(-1);
        state.clean.remote_dirty_offset = to;
        let mut write = WriteBatch::new();
        self.put_clean(&state, &mut write);
        state.last_ticket = self.store.commit(write, Durability::Sync);
        Ok(state.last_ticket.clone())
    }

    /// What was known of a part in object storage that is no more.
    pub(in crate::log) fn forget_remote(&self, state: &mut LogState, write: &mut WriteBatch) {
        if state.clean.remote_dirty_offset > 0 {
            state.clean.remote_dirty_offset = 0;
            self.put_clean(state, write);
        }
    }

    fn resize_segment(&self, state: &mut LogState, write: &mut WriteBatch, base_offset: i64, by: i64) {
        let Ok(index) = state.sealed.binary_search_by_key(&base_offset, |segment| segment.base_offset) else {
            // Retention was faster.
            return;
        };
        if let Some(segment) = state.sealed.get_mut(index).filter(|_| by != 0) {
            segment.bytes = segment.bytes.saturating_add_signed(by);
            put_segment(self, write, segment);
        }
    }

    /// Puts a cleaned segment's new figures and time index in force, and joins it to the one before if they fit together
    /// (Kafka's `groupSegmentsBySize`): a log that is cleaned again and again must not consist of ever more, ever
    /// smaller segments.
    fn finish_segment(
        &self,
        state: &mut LogState,
        write: &mut WriteBatch,
        base_offset: i64,
        done: CleanedSegment,
        join_up_to: Option<u64>,
    ) {
        let Ok(index) = state.sealed.binary_search_by_key(&base_offset, |segment| segment.base_offset) else {
            return;
        };
        let before = state.sealed[index];
        let cleaned = Segment { bytes: done.bytes, max_timestamp: done.max_timestamp, ..before };
        let previous = index.checked_sub(1).and_then(|index| state.sealed.get(index)).copied();
        let into = previous.filter(|previous| {
            previous.next_offset == cleaned.base_offset
                && join_up_to.is_some_and(|most| previous.bytes + cleaned.bytes <= most)
        });
        if into.is_none() && cleaned == before {
            return;
        }
        let old_times = keys::log::time_range(self.id, cleaned.base_offset, i64::MIN);
        write.trim(Keyspace::Index, old_times.start, old_times.end);
        let (kept, indexed_max) = match into {
            Some(previous) => {
                write.delete(Keyspace::Index, keys::log::segment_key(self.id, cleaned.base_offset));
                state.sealed.remove(index);
                (joined(previous, cleaned), previous.max_timestamp)
            }
            None => (cleaned, -1),
        };
        for (timestamp, offset) in done.times.iter().filter(|(timestamp, _)| *timestamp > indexed_max) {
            let key = keys::log::time_key(self.id, kept.base_offset, *timestamp);
            write.put(Keyspace::Index, key, keys::log::time_value(*offset));
        }
        let index = index - usize::from(into.is_some());
        state.sealed[index] = kept;
        put_segment(self, write, &kept);
    }
}

fn put_segment(log: &PartitionLog, write: &mut WriteBatch, segment: &Segment) {
    let value = prost::Message::encode_to_vec(&segment.to_value());
    write.put(Keyspace::Index, keys::log::segment_key(log.id, segment.base_offset), value);
}

/// Two neighbours as one.
fn joined(first: Segment, second: Segment) -> Segment {
    Segment {
        next_offset: second.next_offset,
        bytes: first.bytes + second.bytes,
        max_timestamp: first.max_timestamp.max(second.max_timestamp),
        appended_ms: first.appended_ms.max(second.appended_ms),
        time_indexed_to: second.next_offset,
        time_indexed_max: first.max_timestamp.max(second.max_timestamp),
        ..first
    }
}

/// Where a pass begins.
#[derive(Debug)]
pub(super) struct Begin {
    pub(super) cleanable: Cleanable,
    /// First offset of the log.
    pub(super) start: i64,
    /// Sealed segments, oldest first.
    pub(super) segments: Vec<Segment>,
    /// Last offset of the newest batch of each producer, where a pass may meet it.
    pub(super) last_of_producers: std::collections::HashMap<i64, i64>,
    /// A pass that was cut short.
    pub(super) interrupted: Option<PassValue>,
    /// What is in object storage, if anything is.
    pub(super) remote: Option<RemotePart>,
}

/// How far what is in object storage was cleaned.
#[derive(Clone, Copy, Debug)]
pub(super) struct RemotePart {
    /// First offset there with which nothing there was compared.
    pub(super) dirty: i64,
    /// First offset that is not there.
    pub(super) to: i64,
    /// When a tombstone of the log may go, ms.
    pub(super) horizon_ms: Option<i64>,
}
