//! The end of a transaction on one log: a control batch of one record, the aborted transaction's entry, and the
//! producer's new state, in one commit.

use std::sync::Arc;

use bytes::Bytes;
use chronik_protocol::batch::{BatchBuilder, BatchHeader, TimestampType};

use super::append::check_appendable;
use super::transactions::AbortedTxn;
use super::{Appended, LogState, PartitionLog};
use crate::error::AppendError;
use crate::keys;
use crate::producer::{self, Marker};
use crate::store::Keyspace;

/// Version of a marker's key and of its value (Kafka's `ControlRecordType`, `EndTransactionMarker`).
const MARKER_VERSION: i16 = 0;
const ABORT: i16 = 0;
const COMMIT: i16 = 1;

impl PartitionLog {
    /// Ends the producer's transaction here. The marker takes one offset, also where no transaction was open.
    ///
    /// # Errors
    /// [`AppendError::StaleProducerEpoch`], [`AppendError::StaleCoordinatorEpoch`], and the partition's own state;
    /// nothing was written.
    pub fn append_marker(self: &Arc<Self>, marker: &Marker, now_ms: i64) -> Result<Appended, AppendError> {
        let config = self.config();
        let bytes = marker_batch(marker, now_ms, config.timestamp_type);
        let header = BatchHeader::parse(&bytes).expect("it was just built");
        let mut state = self.state.lock();
        check_appendable(&state)?;
        let known = state.producers.get(&marker.producer_id);
        let (producer, ended) = producer::end_transaction(known, marker, now_ms)?;
        let last_offset = state.next_offset;
        let aborted = ended.and_then(|first_offset| self.end(&mut state, marker, first_offset, last_offset));
        let mut placed = self.place(&mut state, &header, &bytes, now_ms, &config)?;
        if let Some(aborted) = aborted {
            let value = prost::Message::encode_to_vec(&aborted.to_value());
            placed.write.put(Keyspace::Index, keys::aborted::key(self.id, last_offset), value);
        }
        self.put_producer(&mut state, &mut placed.write, marker.producer_id, producer);
        Ok(self.hand_over(state, placed, -1, &config))
    }

    fn end(
        &self,
        state: &mut LogState,
        marker: &Marker,
        first_offset: i64,
        last_offset: i64,
    ) -> Option<AbortedTxn> {
        state.transactions.end(first_offset, last_offset, self.high_watermark());
        if marker.commit {
            return None;
        }
        let stable_offset = state.transactions.first_open().unwrap_or(last_offset + 1);
        let aborted =
            AbortedTxn { producer_id: marker.producer_id, first_offset, last_offset, stable_offset };
        state.transactions.aborted(aborted);
        Some(aborted)
    }
}

/// A marker as Kafka's `MemoryRecords.withEndTransactionMarker` writes it.
fn marker_batch(marker: &Marker, now_ms: i64, timestamp_type: TimestampType) -> Bytes {
    let kind = if marker.commit { COMMIT } else { ABORT };
    let key = [MARKER_VERSION.to_be_bytes(), kind.to_be_bytes()].concat();
    let value = [&MARKER_VERSION.to_be_bytes()[..], &marker.coordinator_epoch.to_be_bytes()].concat();
    BatchBuilder::new()
        .producer(marker.producer_id, marker.producer_epoch, -1)
        .timestamp_type(timestamp_type)
        .transactional(true)
        .control(true)
        .record(now_ms, Some(&key), Some(&value))
        .build()
        .expect("a marker is small and not compressed")
}
