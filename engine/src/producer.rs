//! Idempotence: which sequence a producer may write next on one partition.
//!
//! The rules are Kafka's `ProducerAppendInfo` and `ProducerStateEntry`: the five newest batches of the current epoch
//! are remembered, an exact repeat is answered with its first outcome, a gap is refused, and a producer nobody
//! remembers may begin anywhere (KIP-360). Pure: the log applies the outcome and writes it with the records.

use std::collections::VecDeque;

use chronik_protocol::batch::BatchHeader;

use crate::error::AppendError;
use crate::keys::producer::{ProducerBatchValue, ProducerValue};
use crate::limits::PRODUCER_BATCHES_KEPT;

/// What one log remembers of one producer.
#[derive(Clone, Debug, PartialEq)]
pub struct ProducerState {
    /// Newest epoch seen.
    pub epoch: i16,
    /// Newest batches of that epoch, oldest first.
    pub batches: VecDeque<ProducerBatchValue>,
    /// When it last wrote, ms by our clock.
    pub last_ms: i64,
    /// First offset of its open transaction, if one is open.
    pub txn_first_offset: Option<i64>,
    /// Epoch of the coordinator that wrote its last marker; -1 before the first.
    pub coordinator_epoch: i32,
}

/// What to do with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Append it.
    New,
    /// It is in the log already: answer with the first outcome.
    Duplicate(ProducerBatchValue),
}

/// Decides about a batch of an idempotent producer (`header.producer_id >= 0`). Whether it may be part of a transaction
/// is not asked here.
///
/// # Errors
/// [`AppendError::StaleProducerEpoch`] and [`AppendError::OutOfOrderSequence`].
pub fn check(state: Option<&ProducerState>, header: &BatchHeader) -> Result<Verdict, AppendError> {
    let Some(state) = state else { return Ok(Verdict::New) };
    let (epoch, first) = (header.producer_epoch, header.base_sequence);
    if epoch < state.epoch {
        return Err(AppendError::StaleProducerEpoch {
            producer_id: header.producer_id,
            got: epoch,
            current: state.epoch,
        });
    }
    let out_of_order = |expected| AppendError::OutOfOrderSequence {
        producer_id: header.producer_id,
        epoch,
        got: first,
        expected,
    };
    if epoch > state.epoch {
        return if first == 0 { Ok(Verdict::New) } else { Err(out_of_order(0)) };
    }
    let last = header.last_sequence();
    if let Some(batch) =
        state.batches.iter().find(|batch| batch.first_sequence == first && batch.last_sequence == last)
    {
        // A sequence that an ended transaction used is no repeat: the client gave up on a batch that had arrived all the
        // same, and numbers the next transaction's records from there (librdkafka's `abort_transaction` does, where epochs
        // are not raised). Kafka answers it with the old offset, and the new record is lost.
        if header.is_transactional() && state.txn_first_offset.is_none_or(|open| batch.base_offset < open) {
            return Err(out_of_order(expected(state)));
        }
        return Ok(Verdict::Duplicate(*batch));
    }
    // Zero where the epoch is known by a marker alone: its first batch is yet to come.
    let expected = expected(state);
    if first == expected { Ok(Verdict::New) } else { Err(out_of_order(expected)) }
}

/// What the producer's next batch of this epoch begins with.
fn expected(state: &ProducerState) -> i32 {
    state.batches.back().map_or(0, |newest| next_sequence(newest.last_sequence))
}

/// The sequence after `sequence`; wraps from `i32::MAX` to 0.
pub const fn next_sequence(sequence: i32) -> i32 {
    if sequence == i32::MAX { 0 } else { sequence + 1 }
}

/// The state after `header` was appended at `base_offset`.
pub fn advance(
    state: Option<&ProducerState>,
    header: &BatchHeader,
    base_offset: i64,
    append_ms: i64,
    now_ms: i64,
) -> ProducerState {
    let mut batches = match state {
        Some(state) if state.epoch == header.producer_epoch => state.batches.clone(),
        _ => VecDeque::with_capacity(PRODUCER_BATCHES_KEPT),
    };
    if batches.len() == PRODUCER_BATCHES_KEPT {
        batches.pop_front();
    }
    batches.push_back(ProducerBatchValue {
        first_sequence: header.base_sequence,
        last_sequence: header.last_sequence(),
        base_offset,
        last_offset: base_offset + i64::from(header.last_offset_delta),
        append_ms,
    });
    let txn_first_offset = match state.and_then(|state| state.txn_first_offset) {
        None if header.is_transactional() => Some(base_offset),
        open => open,
    };
    ProducerState {
        epoch: header.producer_epoch,
        batches,
        last_ms: now_ms,
        txn_first_offset,
        coordinator_epoch: state.map_or(-1, |state| state.coordinator_epoch),
    }
}

/// The end of a transaction, as a coordinator has it written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marker {
    /// Whose transaction.
    pub producer_id: i64,
    /// The epoch that the producer has from here on; older ones are fenced.
    pub producer_epoch: i16,
    /// The epoch of the coordinator.
    pub coordinator_epoch: i32,
    /// Whether it commits.
    pub commit: bool,
    /// Whether the epoch must have been raised since the producer last wrote: so in transactions of version 2 (KIP-890),
    /// where a marker that comes late could else end the next transaction.
    pub raises_epoch: bool,
}

/// The state after `marker` was appended, and the first offset of the transaction that it ends, if one was open (Kafka's
/// `ProducerAppendInfo.appendEndTxnMarker`).
///
/// # Errors
/// [`AppendError::StaleProducerEpoch`] and [`AppendError::StaleCoordinatorEpoch`].
pub fn end_transaction(
    state: Option<&ProducerState>,
    marker: &Marker,
    now_ms: i64,
) -> Result<(ProducerState, Option<i64>), AppendError> {
    let mut next = state.cloned().unwrap_or(ProducerState {
        epoch: marker.producer_epoch,
        batches: VecDeque::new(),
        last_ms: now_ms,
        txn_first_offset: None,
        coordinator_epoch: -1,
    });
    let too_old = if marker.raises_epoch && state.is_some() {
        marker.producer_epoch <= next.epoch
    } else {
        marker.producer_epoch < next.epoch
    };
    if too_old {
        return Err(AppendError::StaleProducerEpoch {
            producer_id: marker.producer_id,
            got: marker.producer_epoch,
            current: next.epoch,
        });
    }
    if marker.coordinator_epoch < next.coordinator_epoch {
        return Err(AppendError::StaleCoordinatorEpoch {
            got: marker.coordinator_epoch,
            current: next.coordinator_epoch,
        });
    }
    if marker.producer_epoch != next.epoch {
        next.epoch = marker.producer_epoch;
        next.batches.clear();
    }
    next.coordinator_epoch = marker.coordinator_epoch;
    next.last_ms = now_ms;
    let ended = next.txn_first_offset.take();
    Ok((next, ended))
}

impl ProducerState {
    /// As stored.
    pub fn to_value(&self) -> ProducerValue {
        ProducerValue {
            epoch: self.epoch.into(),
            batches: self.batches.iter().copied().collect(),
            last_ms: self.last_ms,
            txn_first_offset: self.txn_first_offset,
            coordinator_epoch_plus_one: self.coordinator_epoch.saturating_add(1),
        }
    }

    /// From what was stored.
    pub fn from_value(value: ProducerValue) -> Self {
        Self {
            epoch: i16::try_from(value.epoch).unwrap_or(i16::MAX),
            batches: value.batches.into(),
            last_ms: value.last_ms,
            txn_first_offset: value.txn_first_offset,
            coordinator_epoch: value.coordinator_epoch_plus_one - 1,
        }
    }

    /// Last sequence written, -1 when none is remembered.
    pub fn last_sequence(&self) -> i32 {
        self.batches.back().map_or(-1, |batch| batch.last_sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(epoch: i16, first: i32, count: i32) -> BatchHeader {
        BatchHeader {
            producer_id: 9,
            producer_epoch: epoch,
            base_sequence: first,
            last_offset_delta: count - 1,
            record_count: count,
            ..BatchHeader::default()
        }
    }

    fn after(batches: &[(i16, i32, i32)]) -> ProducerState {
        let mut state: Option<ProducerState> = None;
        let mut offset = 100;
        for &(epoch, first, count) in batches {
            let header = header(epoch, first, count);
            assert_eq!(check(state.as_ref(), &header).unwrap(), Verdict::New);
            state = Some(advance(state.as_ref(), &header, offset, -1, 0));
            offset += i64::from(count);
        }
        state.expect("at least one batch")
    }

    // semantics 3.3.1
    #[test]
    fn the_five_newest_batches_are_answered_with_their_first_offset() {
        let state = after(&[(0, 0, 2), (0, 2, 2), (0, 4, 2), (0, 6, 2), (0, 8, 2), (0, 10, 2)]);
        for (index, first) in [2, 4, 6, 8, 10].into_iter().enumerate() {
            let verdict = check(Some(&state), &header(0, first, 2)).unwrap();
            let Verdict::Duplicate(batch) = verdict else { panic!("{first} is a duplicate") };
            assert_eq!(batch.base_offset, 102 + 2 * index as i64);
        }
    }

    // semantics 3.3.2
    #[test]
    fn a_gap_and_a_duplicate_older_than_five_batches_are_out_of_order() {
        let state = after(&[(0, 0, 1), (0, 1, 1), (0, 2, 1), (0, 3, 1), (0, 4, 1), (0, 5, 1)]);
        for first in [0, 7, 100] {
            let error = check(Some(&state), &header(0, first, 1)).unwrap_err();
            assert!(matches!(error, AppendError::OutOfOrderSequence { expected: 6, .. }), "{error}");
        }
    }

    // semantics 3.3.3
    #[test]
    fn an_older_epoch_is_fenced_and_a_newer_one_must_begin_at_zero() {
        let state = after(&[(3, 0, 1)]);
        assert!(matches!(
            check(Some(&state), &header(2, 1, 1)),
            Err(AppendError::StaleProducerEpoch { current: 3, .. })
        ));
        assert!(check(Some(&state), &header(4, 1, 1)).is_err());
        assert_eq!(check(Some(&state), &header(4, 0, 1)).unwrap(), Verdict::New);
        let state = advance(Some(&state), &header(4, 0, 1), 7, -1, 0);
        assert_eq!((state.epoch, state.batches.len()), (4, 1));
    }

    // semantics 3.3.4
    #[test]
    fn a_producer_nobody_remembers_may_begin_anywhere() {
        assert_eq!(check(None, &header(0, 4711, 1)).unwrap(), Verdict::New);
    }

    // semantics 3.3.5
    #[test]
    fn sequences_wrap_to_zero() {
        let state = after(&[(0, i32::MAX - 1, 4)]);
        assert_eq!(state.last_sequence(), 1);
        assert_eq!(check(Some(&state), &header(0, 2, 1)).unwrap(), Verdict::New);
        let state = after(&[(0, i32::MAX, 1)]);
        assert_eq!(check(Some(&state), &header(0, 0, 1)).unwrap(), Verdict::New);
    }

    #[test]
    fn state_survives_its_stored_form() {
        let state = after(&[(1, 0, 3), (1, 3, 1)]);
        assert_eq!(ProducerState::from_value(state.to_value()), state);
    }
}
