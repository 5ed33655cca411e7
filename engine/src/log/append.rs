//! Append: check the producer's sequence, assign offsets, hand one atomic batch to the store. Synchronous and ordered;
//! what is slow is behind the returned ticket.

use std::sync::Arc;

use bytes::Bytes;
use chronik_protocol::batch::{BatchHeader, TimestampType, ValidBatch, prefix};
use parking_lot::MutexGuard;

use super::ring::RingEntry;
use super::{LogConfig, LogState, PartitionLog, Segment, Status};
use crate::error::AppendError;
use crate::keys::log::TailValue;
use crate::keys::producer::ProducerBatchValue;
use crate::keys::{self, PartitionId};
use crate::producer::{self, ProducerState, Verdict};
use crate::store::{Keyspace, Ticket, Value, WriteBatch};

/// Bytes at the head of a batch that its CRC does not cover and the log fills in: base offset, length, leader epoch.
const PREFIX_BYTES: usize = 16;

/// A batch that was accepted; acknowledged once `ticket` resolves.
#[derive(Clone, Debug)]
pub struct Appended {
    /// Offset of the first record.
    pub base_offset: i64,
    /// Offset of the last record.
    pub last_offset: i64,
    /// When it was appended, ms, if the log stamps records itself; else -1.
    pub log_append_time_ms: i64,
    /// The log's first offset at that moment.
    pub log_start_offset: i64,
    /// The batch was in the log already; the offsets are those it got the first time.
    pub duplicate: bool,
    /// Resolves when the records are durable.
    pub ticket: Ticket,
}

/// Who says that a transaction includes the partition, and of which kind it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vouched {
    /// The client added the partition before it wrote to it (transactions of version 1).
    Explicitly,
    /// The partition was added because of this write (version 2, KIP-890). Every such transaction has an epoch of its
    /// own, so whoever is not known here must begin at sequence 0: an earlier batch may have been refused while the
    /// coordinator was not ready, and must not be overtaken.
    Implicitly,
}

/// A batch with its offsets, and the commit that carries it.
pub(super) struct Placed {
    pub(super) write: WriteBatch,
    entry: RingEntry,
}

impl PartitionLog {
    /// Appends one batch. A transactional one needs a transaction that its producer has open here. Offsets are used up
    /// only when this succeeds.
    ///
    /// # Errors
    /// See [`AppendError`]; nothing was written.
    pub fn append(self: &Arc<Self>, batch: &ValidBatch, now_ms: i64) -> Result<Appended, AppendError> {
        self.append_with(batch, now_ms, None)
    }

    /// As [`Self::append`], for a producer whose transaction the coordinator says to include this partition. The caller
    /// keeps the transaction from ending until this returns.
    ///
    /// # Errors
    /// See [`AppendError`]; nothing was written.
    pub fn append_vouched(
        self: &Arc<Self>,
        batch: &ValidBatch,
        now_ms: i64,
        vouched: Vouched,
    ) -> Result<Appended, AppendError> {
        self.append_with(batch, now_ms, Some(vouched))
    }

    fn append_with(
        self: &Arc<Self>,
        batch: &ValidBatch,
        now_ms: i64,
        vouched: Option<Vouched>,
    ) -> Result<Appended, AppendError> {
        let config = self.config();
        let mut state = self.state.lock();
        check_appendable(&state)?;
        let header = &batch.header;
        let append_ms = match header.timestamp_type() {
            TimestampType::LogAppendTime => header.max_timestamp,
            TimestampType::CreateTime => -1,
        };
        if let Some(first) = duplicate_of(&state, header)? {
            return Ok(Appended {
                base_offset: first.base_offset,
                last_offset: first.last_offset,
                log_append_time_ms: first.append_ms,
                log_start_offset: self.durable_start(),
                duplicate: true,
                // The first copy may not be durable yet; the newest commit covers it.
                ticket: state.last_ticket.clone(),
            });
        }
        check_transaction(&state, header, vouched)?;
        let mut placed = self.place(&mut state, header, &batch.bytes, now_ms, &config)?;
        if header.producer_id >= 0 {
            self.advance_producer(&mut state, &mut placed, header, append_ms, now_ms);
        }
        Ok(self.hand_over(state, placed, append_ms, &config))
    }

    /// Gives the batch its offsets and its place in the active segment, and makes the commit that carries it.
    pub(super) fn place(
        &self,
        state: &mut LogState,
        header: &BatchHeader,
        bytes: &Bytes,
        now_ms: i64,
        config: &LogConfig,
    ) -> Result<Placed, AppendError> {
        let base_offset = state.next_offset;
        let last_offset = base_offset
            .checked_add(i64::from(header.last_offset_delta))
            .filter(|last| *last < i64::MAX)
            .ok_or(AppendError::OffsetsExhausted)?;
        let next_offset = last_offset + 1;
        let size = bytes.len() as u64;
        let mut write = WriteBatch::new();

        if state.active.must_roll(size, header.max_timestamp, now_ms, config) {
            seal_active(self.id, state, &mut write);
        }
        index_time(self.id, &mut state.active, &mut write, base_offset, header.max_timestamp, size, config);
        state.active.push(next_offset, size, header.max_timestamp, now_ms);
        state.next_offset = next_offset;
        write.put(Keyspace::Index, keys::log::tail_key(self.id), tail_value(state));

        let head = Bytes::copy_from_slice(&prefix(base_offset, header.batch_length, state.leader_epoch()));
        let body = bytes.slice(PREFIX_BYTES..);
        write.put(
            Keyspace::Batches,
            keys::batch::key(self.id, last_offset),
            Value { head: head.clone(), body: body.clone() },
        );
        Ok(Placed { write, entry: RingEntry { base_offset, last_offset, head, body } })
    }

    /// Hands the commit to the store.
    pub(super) fn hand_over(
        self: &Arc<Self>,
        mut state: MutexGuard<'_, LogState>,
        placed: Placed,
        append_ms: i64,
        config: &LogConfig,
    ) -> Appended {
        let Placed { mut write, entry } = placed;
        let (base_offset, last_offset) = (entry.base_offset, entry.last_offset);
        write.observe(self.clone(), state.next_offset as u64);
        // Still under the lock: the store's order must be the order of offsets.
        let ticket = self.store.commit(write, config.durability);
        state.last_ticket = ticket.clone();
        let ring_cost = state.ring.push(entry);
        drop(state);
        self.budget.added(self, ring_cost);
        Appended {
            base_offset,
            last_offset,
            log_append_time_ms: append_ms,
            log_start_offset: self.durable_start(),
            duplicate: false,
            ticket,
        }
    }

    /// Puts the batch into its producer's window, in memory and in the commit that carries the batch.
    fn advance_producer(
        &self,
        state: &mut LogState,
        placed: &mut Placed,
        header: &BatchHeader,
        append_ms: i64,
        now_ms: i64,
    ) {
        let (id, base_offset) = (header.producer_id, placed.entry.base_offset);
        let next = producer::advance(state.producers.get(&id), header, base_offset, append_ms, now_ms);
        if next.txn_first_offset == Some(base_offset) {
            state.transactions.begin(id, base_offset);
        }
        self.put_producer(state, &mut placed.write, id, next);
    }

    /// Remembers what is known of a producer, in memory and in a commit.
    pub(super) fn put_producer(
        &self,
        state: &mut LogState,
        write: &mut WriteBatch,
        id: i64,
        producer: ProducerState,
    ) {
        let value = prost::Message::encode_to_vec(&producer.to_value());
        write.put(Keyspace::Index, keys::producer::key(self.id, id), value);
        state.producers.insert(id, producer);
    }

    /// Copies a batch that the ring still has, so that it no longer keeps the buffer alive that it is a slice of; for a
    /// buffer of which the log took a small part only.
    pub fn detach(&self, base_offset: i64) {
        self.state.lock().ring.detach(base_offset);
    }
}

pub(super) fn check_appendable(state: &LogState) -> Result<(), AppendError> {
    match state.status {
        Status::Online => Ok(()),
        Status::Offline => Err(AppendError::Offline),
        Status::Deleted => Err(AppendError::Deleted),
    }
}

/// Whether the batch may be where it is: inside or outside of a transaction.
fn check_transaction(
    state: &LogState,
    header: &BatchHeader,
    vouched: Option<Vouched>,
) -> Result<(), AppendError> {
    if header.producer_id < 0 {
        return Ok(());
    }
    let producer_id = header.producer_id;
    let known = state.producers.get(&producer_id);
    let open = known.is_some_and(|producer| producer.txn_first_offset.is_some());
    if !header.is_transactional() {
        return if open { Err(AppendError::TransactionOpen { producer_id }) } else { Ok(()) };
    }
    // A newer epoch has to be vouched for, even while a transaction of an older one is open.
    if open && known.is_some_and(|producer| producer.epoch == header.producer_epoch) {
        return Ok(());
    }
    match vouched {
        None => Err(AppendError::NoTransaction { producer_id }),
        Some(Vouched::Implicitly) if known.is_none() && header.base_sequence != 0 => {
            Err(AppendError::OutOfOrderSequence {
                producer_id,
                epoch: header.producer_epoch,
                got: header.base_sequence,
                expected: 0,
            })
        }
        Some(_) => Ok(()),
    }
}

/// The batch that this one repeats, if its producer's window has it.
fn duplicate_of(state: &LogState, header: &BatchHeader) -> Result<Option<ProducerBatchValue>, AppendError> {
    if header.producer_id < 0 {
        return Ok(None);
    }
    Ok(match producer::check(state.producers.get(&header.producer_id), header)? {
        Verdict::Duplicate(first) => Some(first),
        Verdict::New => None,
    })
}

/// Seals the active segment and begins an empty one behind it. `write` must also carry the new tail.
pub(super) fn seal_active(id: PartitionId, state: &mut LogState, write: &mut WriteBatch) {
    let active = &mut state.active;
    if active.max_timestamp > active.time_indexed_max {
        // The last entry of a sealed segment's index bears the segment's maximum, so a lookup always ends in it.
        put_time_entry(id, active, write, active.max_timestamp, active.next_offset);
    }
    write.put(
        Keyspace::Index,
        keys::log::segment_key(id, active.base_offset),
        prost::Message::encode_to_vec(&active.to_value()),
    );
    let next = Segment::empty(active.next_offset);
    let sealed = std::mem::replace(active, next);
    state.sealed.push_back(sealed);
}

/// Adds the batch about to be pushed to the time index, if it raises the maximum and the last entry is far enough.
fn index_time(
    id: PartitionId,
    active: &mut Segment,
    write: &mut WriteBatch,
    base_offset: i64,
    max_timestamp: i64,
    bytes: u64,
    config: &LogConfig,
) {
    active.time_pending_bytes += bytes;
    if active.time_pending_bytes < config.index_interval_bytes {
        return;
    }
    // Indexes what came before this batch: the entry says where the first batch that raised the maximum may be.
    let before = active.max_timestamp;
    if !active.is_empty() && before > active.time_indexed_max {
        put_time_entry(id, active, write, before, base_offset);
    } else if max_timestamp > before {
        // Nothing new before this batch: whatever it raises begins here.
        active.time_indexed_to = base_offset;
        active.time_pending_bytes = bytes;
    }
}

fn put_time_entry(
    id: PartitionId,
    active: &mut Segment,
    write: &mut WriteBatch,
    timestamp: i64,
    indexed_to: i64,
) {
    write.put(
        Keyspace::Index,
        keys::log::time_key(id, active.base_offset, timestamp),
        keys::log::time_value(active.time_indexed_to),
    );
    active.time_indexed_max = timestamp;
    active.time_indexed_to = indexed_to;
    active.time_pending_bytes = 0;
}

/// The stored form of where the log ends.
pub(super) fn tail_value(state: &LogState) -> Vec<u8> {
    prost::Message::encode_to_vec(&TailValue {
        next_offset: state.next_offset,
        active: Some(state.active.to_value()),
        active_base: state.active.base_offset,
        time_indexed_to: state.active.time_indexed_to,
        time_indexed_max: state.active.time_indexed_max,
        aborted_to: state.transactions.newest_aborted() + 1,
    })
}
