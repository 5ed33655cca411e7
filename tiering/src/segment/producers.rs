//! The producers of a span of offsets, gathered from its batches as a broker would have while appending them; what a
//! restored broker needs to go on recognising retries (Kafka's producer snapshots).

use std::collections::BTreeMap;

use chronik_engine::producer::{self, ProducerState};
use chronik_protocol::batch::{BatchHeader, BatchView};

use super::SegmentError;
use super::layout::{Reader, Writer};
use chronik_engine::keys::producer::ProducerBatchValue;

/// Bytes that a marker's record may have decompressed; it has ten.
const MARKER_BYTES_MAX: usize = 1 << 16;

/// What a span says of one producer.
#[derive(Clone, Debug, PartialEq)]
pub struct SpanProducer {
    /// As a log would remember it.
    pub state: ProducerState,
    /// The span holds the end of a transaction of its; if not, one that was open before goes on.
    pub ended: bool,
}

/// By producer id.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Producers(BTreeMap<i64, SpanProducer>);

impl Producers {
    /// Takes a batch into account. `now_ms` stands in for when it was appended.
    pub(super) fn observe(&mut self, view: &BatchView<'_>, now_ms: i64) {
        let header = view.header();
        if header.producer_id < 0 {
            return;
        }
        let known = self.0.get(&header.producer_id);
        let ended = known.is_some_and(|known| known.ended) || header.is_control();
        let state = match header.is_control() {
            true => after_marker(known.map(|known| &known.state), view, now_ms),
            false => {
                producer::advance(known.map(|known| &known.state), header, header.base_offset, -1, now_ms)
            }
        };
        self.0.insert(header.producer_id, SpanProducer { state, ended });
    }

    /// What both spans say, `later` being the one that follows.
    pub fn followed_by(&mut self, later: &Producers) {
        for (id, new) in &later.0 {
            let Some(old) = self.0.get_mut(id) else {
                self.0.insert(*id, new.clone());
                continue;
            };
            let mut state = new.state.clone();
            if old.state.epoch == state.epoch {
                let kept = chronik_engine::limits::PRODUCER_BATCHES_KEPT;
                let missing = kept.saturating_sub(state.batches.len());
                for batch in old.state.batches.iter().rev().take(missing) {
                    state.batches.push_front(*batch);
                }
            }
            if !new.ended && old.state.txn_first_offset.is_some() {
                state.txn_first_offset = old.state.txn_first_offset;
            }
            state.coordinator_epoch = state.coordinator_epoch.max(old.state.coordinator_epoch);
            *old = SpanProducer { state, ended: old.ended || new.ended };
        }
    }

    /// Each producer, by id.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (i64, &ProducerState)> {
        self.0.iter().map(|(id, producer)| (*id, &producer.state))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn encode(&self, out: &mut Writer) {
        for (id, SpanProducer { state, ended }) in &self.0 {
            out.i64(*id).bytes(&state.epoch.to_be_bytes()).i32(state.coordinator_epoch);
            out.i64(state.txn_first_offset.unwrap_or(-1)).i64(state.last_ms).u16(u16::from(*ended));
            out.u16(u16::try_from(state.batches.len()).expect("five batches at most"));
            for batch in &state.batches {
                out.i32(batch.first_sequence).i32(batch.last_sequence);
                out.i64(batch.base_offset).i64(batch.last_offset).i64(batch.append_ms);
            }
        }
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, SegmentError> {
        let mut reader = Reader::new(bytes);
        let mut producers = BTreeMap::new();
        while !reader.is_empty() {
            let id = reader.i64()?;
            let (epoch, coordinator_epoch) = (reader.i16()?, reader.i32()?);
            let txn_first_offset = Some(reader.i64()?).filter(|first| *first >= 0);
            let last_ms = reader.i64()?;
            let ended = reader.u16()? & 1 == 1;
            let count = reader.u16()?;
            let mut batches = std::collections::VecDeque::new();
            for _ in 0..count {
                batches.push_back(ProducerBatchValue {
                    first_sequence: reader.i32()?,
                    last_sequence: reader.i32()?,
                    base_offset: reader.i64()?,
                    last_offset: reader.i64()?,
                    append_ms: reader.i64()?,
                });
            }
            let state = ProducerState { epoch, batches, last_ms, txn_first_offset, coordinator_epoch };
            producers.insert(id, SpanProducer { state, ended });
        }
        Ok(Self(producers))
    }
}

fn after_marker(known: Option<&ProducerState>, view: &BatchView<'_>, now_ms: i64) -> ProducerState {
    let header = view.header();
    let mut state = known.cloned().unwrap_or(ProducerState {
        epoch: header.producer_epoch,
        batches: std::collections::VecDeque::new(),
        last_ms: now_ms,
        txn_first_offset: None,
        coordinator_epoch: -1,
    });
    if header.producer_epoch > state.epoch {
        state.batches.clear();
        state.epoch = header.producer_epoch;
    }
    state.txn_first_offset = None;
    state.last_ms = now_ms;
    state.coordinator_epoch = coordinator_epoch(header, view).unwrap_or(state.coordinator_epoch);
    state
}

/// Of the value of a marker: version (2 bytes), coordinator epoch (4).
fn coordinator_epoch(header: &BatchHeader, view: &BatchView<'_>) -> Option<i32> {
    if header.record_count == 0 {
        return None;
    }
    let mut records = view.records(MARKER_BYTES_MAX).ok()?;
    let record = records.next_record().ok()??;
    let epoch = record.value?.get(2..6)?.try_into().ok()?;
    Some(i32::from_be_bytes(epoch))
}
