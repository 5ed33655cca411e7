//! Builds batches: for tests, benches, markers, and what compaction leaves of a batch. The produce and fetch paths never
//! rebuild a client's batch.
//!
//! Records are encoded as they are added; the batch is compressed and its CRC computed at the end.

use bytes::Bytes;

use super::header::{
    ATTRIBUTES_AT, BatchError, BatchHeader, CODEC_MASK, CONTROL, CRC_AT, DELETE_HORIZON, HEADER_SIZE,
    LOG_APPEND_TIME, LOG_OVERHEAD, NO_TIMESTAMP, TRANSACTIONAL, TimestampType, put,
};
use super::record::RecordView;
use super::view::BatchView;
use crate::compression::{Compression, compress};
use crate::varint::{put_varint, put_varlong};

/// A batch in the making. The first record's timestamp becomes the base timestamp.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct BatchBuilder {
    header: BatchHeader,
    codec: Compression,
    level: Option<i32>,
    records: Vec<u8>,
    scratch: Vec<u8>,
    last_offset_delta: Option<i32>,
}

impl BatchBuilder {
    /// An empty batch: no codec, no producer, offset 0, leader epoch -1.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins what compaction leaves of a batch. All that identifies it stays: base and last offset, leader epoch,
    /// producer, sequence, flags, codec (at its default level), who set the timestamps. A delete horizon, when given,
    /// takes the place of the base timestamp (KIP-534). Records are added with [`retain`](Self::retain).
    ///
    /// # Errors
    /// [`BatchError::UnknownCompression`].
    pub fn rewrite(original: &BatchHeader, delete_horizon_ms: Option<i64>) -> Result<Self, BatchError> {
        let max_timestamp = match original.timestamp_type() {
            TimestampType::CreateTime => NO_TIMESTAMP,
            // Every record bears the batch's time, which is this field.
            TimestampType::LogAppendTime => original.max_timestamp,
        };
        let header = BatchHeader {
            base_timestamp: delete_horizon_ms.unwrap_or(original.base_timestamp),
            max_timestamp,
            record_count: 0,
            ..*original
        };
        let builder = Self {
            header,
            codec: original.compression()?,
            last_offset_delta: Some(original.last_offset_delta),
            ..Self::default()
        };
        Ok(builder.delete_horizon(delete_horizon_ms.is_some()))
    }

    /// The batch without records that compaction leaves where a batch must stay: for its producer's sequence, or for the
    /// last offset of what was cleaned. Kafka's `DefaultRecordBatch.writeEmptyHeader`.
    ///
    /// # Errors
    /// None that a valid header can cause.
    pub fn emptied(original: &BatchHeader) -> Result<Bytes, BatchError> {
        let mut header = BatchHeader { base_timestamp: NO_TIMESTAMP, record_count: 0, ..*original };
        header.attributes &= !(CODEC_MASK | DELETE_HORIZON);
        assemble(header, &[])
    }

    /// The batch as a producer without an id would send it anew: its records as they are, still compressed; at offset 0, and
    /// without epoch, producer, sequence and transaction.
    ///
    /// # Errors
    /// None that a valid batch can cause.
    pub fn anonymous(original: &BatchView<'_>) -> Result<Bytes, BatchError> {
        let mut header = BatchHeader {
            base_offset: 0,
            partition_leader_epoch: -1,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            ..*original.header()
        };
        header.attributes &= !TRANSACTIONAL;
        assemble(header, original.payload())
    }

    /// Compresses the records.
    pub fn compression(mut self, codec: Compression, level: Option<i32>) -> Self {
        (self.codec, self.level) = (codec, level);
        self
    }

    /// The offset of the first record; clients send 0.
    pub fn base_offset(mut self, offset: i64) -> Self {
        self.header.base_offset = offset;
        self
    }

    /// The leader's epoch; clients send -1.
    pub fn leader_epoch(mut self, epoch: i32) -> Self {
        self.header.partition_leader_epoch = epoch;
        self
    }

    /// An idempotent producer's marks.
    pub fn producer(mut self, id: i64, epoch: i16, base_sequence: i32) -> Self {
        self.header.producer_id = id;
        self.header.producer_epoch = epoch;
        self.header.base_sequence = base_sequence;
        self
    }

    /// Says who set the timestamps.
    pub fn timestamp_type(self, timestamp_type: TimestampType) -> Self {
        self.flag(LOG_APPEND_TIME, timestamp_type == TimestampType::LogAppendTime)
    }

    /// Makes it part of a transaction.
    pub fn transactional(self, yes: bool) -> Self {
        self.flag(TRANSACTIONAL, yes)
    }

    /// Makes it a control batch.
    pub fn control(self, yes: bool) -> Self {
        self.flag(CONTROL, yes)
    }

    /// Marks the base timestamp as a delete horizon (KIP-534).
    pub fn delete_horizon(self, yes: bool) -> Self {
        self.flag(DELETE_HORIZON, yes)
    }

    /// Sets the base timestamp before the first record is added.
    pub fn base_timestamp(mut self, timestamp_ms: i64) -> Self {
        if self.header.record_count == 0 {
            self.header.base_timestamp = timestamp_ms;
        }
        self
    }

    /// Overrides the last offset delta, as compaction must when the last record goes.
    pub fn last_offset_delta(mut self, delta: i32) -> Self {
        self.last_offset_delta = Some(delta);
        self
    }

    /// Adds a record without headers at the next offset.
    pub fn record(self, timestamp_ms: i64, key: Option<&[u8]>, value: Option<&[u8]>) -> Self {
        self.record_with_headers(timestamp_ms, key, value, &[])
    }

    /// Adds a record at the next offset.
    pub fn record_with_headers(
        mut self,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, Option<&[u8]>)],
    ) -> Self {
        let delta = self.next_delta();
        self.push(delta, timestamp_ms, key, value, headers);
        self
    }

    /// Adds a record in place, at an offset delta of its own: what [`record_with_headers`](Self::record_with_headers)
    /// does, for loops and for batches with gaps.
    pub fn push(
        &mut self,
        offset_delta: i32,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, Option<&[u8]>)],
    ) {
        let headers = headers.iter().map(|(key, value)| (key.as_bytes(), *value));
        self.push_bytes(offset_delta, timestamp_ms, key, value, headers);
    }

    /// As [`push`](Self::push), for headers whose keys may be anything, as those of records that were read.
    pub fn push_bytes<'a>(
        &mut self,
        offset_delta: i32,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl ExactSizeIterator<Item = (&'a [u8], Option<&'a [u8]>)>,
    ) {
        if self.header.record_count == 0 && self.header.base_timestamp == NO_TIMESTAMP {
            self.header.base_timestamp = timestamp_ms;
        }
        self.header.max_timestamp = self.header.max_timestamp.max(timestamp_ms);
        self.encode(0, offset_delta, timestamp_ms, key, value, headers);
    }

    /// Adds a record of the batch that is being rewritten, whose timestamp is `timestamp_ms`, as it was.
    pub fn retain(&mut self, record: &RecordView<'_>, timestamp_ms: i64) {
        if self.header.timestamp_type() == TimestampType::CreateTime {
            self.header.max_timestamp = self.header.max_timestamp.max(timestamp_ms);
        }
        let headers = record.headers().map(|header| (header.key, header.value));
        self.encode(record.attributes, record.offset_delta, timestamp_ms, record.key, record.value, headers);
    }

    fn encode<'a>(
        &mut self,
        attributes: i8,
        offset_delta: i32,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl ExactSizeIterator<Item = (&'a [u8], Option<&'a [u8]>)>,
    ) {
        self.header.last_offset_delta = offset_delta;
        self.header.record_count = self.header.record_count.saturating_add(1);
        let body = &mut self.scratch;
        body.clear();
        body.push(attributes.cast_unsigned());
        put_varlong(body, timestamp_ms.wrapping_sub(self.header.base_timestamp));
        put_varint(body, offset_delta);
        put_nullable(body, key);
        put_nullable(body, value);
        put_length(body, headers.len());
        for (key, value) in headers {
            put_nullable(body, Some(key));
            put_nullable(body, value);
        }
        put_length(&mut self.records, self.scratch.len());
        self.records.extend_from_slice(&self.scratch);
    }

    /// Records so far.
    pub fn record_count(&self) -> i32 {
        self.header.record_count
    }

    /// The delta that a next record would have.
    pub fn next_delta(&self) -> i32 {
        self.header.last_offset_delta.saturating_add(1)
    }

    /// Bytes of the records so far, before compression.
    pub fn records_bytes(&self) -> usize {
        self.records.len()
    }

    /// The finished batch.
    ///
    /// # Errors
    /// [`BatchError::Compression`] for a level the codec does not have; [`BatchError::Length`] beyond 2 GB.
    pub fn build(&self) -> Result<Bytes, BatchError> {
        let mut compressed = Vec::new();
        let payload = match self.codec {
            Compression::None => &self.records,
            codec => {
                compress(codec, self.level, &self.records, &mut compressed)?;
                &compressed
            }
        };
        let mut header = self.header;
        header.attributes = (header.attributes & !CODEC_MASK) | i16::from(self.codec.id());
        if let Some(delta) = self.last_offset_delta {
            header.last_offset_delta = delta;
        }
        assemble(header, payload)
    }

    fn flag(mut self, bit: i16, yes: bool) -> Self {
        if yes {
            self.header.attributes |= bit;
        } else {
            self.header.attributes &= !bit;
        }
        self
    }
}

/// Header and payload as one batch, with the length and the CRC that they have.
pub(super) fn assemble(mut header: BatchHeader, payload: &[u8]) -> Result<Bytes, BatchError> {
    let size = HEADER_SIZE.saturating_add(payload.len());
    header.batch_length = i32::try_from(size - LOG_OVERHEAD).map_err(|_| BatchError::Length(i32::MAX))?;
    let mut batch = Vec::with_capacity(size);
    batch.extend_from_slice(&header.to_bytes());
    batch.extend_from_slice(payload);
    seal(&mut batch);
    Ok(batch.into())
}

/// Writes the CRC that the rest of the batch has.
pub(super) fn seal(batch: &mut [u8]) -> u32 {
    let crc = crc32c::crc32c(batch.get(ATTRIBUTES_AT..).unwrap_or_default());
    put(batch, CRC_AT, crc.to_be_bytes());
    crc
}

fn put_nullable(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => {
            put_length(out, bytes.len());
            out.extend_from_slice(bytes);
        }
        None => put_varint(out, -1),
    }
}

/// Memory holds no record of 2 GB that [`assemble`] would not refuse afterwards.
fn put_length(out: &mut Vec<u8>, length: usize) {
    put_varint(out, i32::try_from(length).unwrap_or(i32::MAX));
}

#[cfg(test)]
mod tests {
    use super::super::BatchView;
    use super::*;

    fn original(codec: Compression) -> Bytes {
        BatchBuilder::new()
            .compression(codec, None)
            .base_offset(100)
            .leader_epoch(7)
            .producer(5, 2, 40)
            .transactional(true)
            .record_with_headers(1000, Some(b"a"), Some(b"1"), &[("h", Some(b"x")), ("h", None)])
            .record(1500, Some(b"b"), Some(b"2"))
            .record(1200, Some(b"a"), None)
            .build()
            .unwrap()
    }

    fn rewritten(bytes: &[u8], keep: &[i32], horizon_ms: Option<i64>) -> Bytes {
        let view = BatchView::new(bytes).unwrap();
        let header = view.header();
        let mut builder = BatchBuilder::rewrite(header, horizon_ms).unwrap();
        let mut records = view.records(1 << 20).unwrap();
        while let Some(record) = records.next_record().unwrap() {
            if keep.contains(&record.offset_delta) {
                builder.retain(&record, header.base_timestamp + record.timestamp_delta);
            }
        }
        builder.build().unwrap()
    }

    // semantics 3.9.7
    #[test]
    fn what_is_left_of_a_batch_keeps_offsets_producer_epochs_flags_and_codec() {
        for codec in Compression::ALL {
            let before = original(codec);
            let after = rewritten(&before, &[0, 2], None);
            let (old, new) = (BatchView::new(&before).unwrap(), BatchView::new(&after).unwrap());
            new.verify_crc().unwrap();
            let (old, new) = (*old.header(), *new.header());
            assert_eq!((new.record_count, new.max_timestamp), (2, 1200), "the latest of those left");
            let same = |header: BatchHeader| BatchHeader {
                record_count: 0,
                max_timestamp: 0,
                crc: 0,
                batch_length: EMPTY,
                ..header
            };
            assert_eq!(same(new), same(old), "{codec:?}");
            let view = BatchView::new(&after).unwrap();
            let mut records = view.records(1 << 20).unwrap();
            let first = records.next_record().unwrap().unwrap();
            assert_eq!((first.offset_delta, first.key, first.headers().count()), (0, Some(&b"a"[..]), 2));
            let second = records.next_record().unwrap().unwrap();
            assert_eq!((second.offset_delta, second.value), (2, None));
        }
    }

    const EMPTY: i32 = 49;

    // semantics 3.9.7
    #[test]
    fn a_delete_horizon_takes_the_base_timestamps_place_and_changes_no_records_time() {
        let before = original(Compression::None);
        let after = rewritten(&before, &[0, 1, 2], Some(90_000));
        let again = rewritten(&after, &[1], Some(90_000));
        for (bytes, times) in [(after, vec![1000, 1500, 1200]), (again, vec![1500])] {
            let view = BatchView::new(&bytes).unwrap();
            assert!(view.header().has_delete_horizon());
            assert_eq!((view.header().base_timestamp, view.header().max_timestamp), (90_000, 1500));
            let mut records = view.records(1 << 20).unwrap();
            let mut found = Vec::new();
            while let Some(record) = records.next_record().unwrap() {
                found.push(90_000 + record.timestamp_delta);
            }
            assert_eq!(found, times);
        }
    }

    #[test]
    fn a_log_append_time_stays_whatever_the_records_say() {
        let before = BatchBuilder::new()
            .timestamp_type(TimestampType::LogAppendTime)
            .record(9_000, Some(b"a"), None)
            .record(8_000, Some(b"b"), None)
            .build()
            .unwrap();
        let header = BatchHeader { max_timestamp: 5_000, ..BatchHeader::parse(&before).unwrap() };
        let before = assemble(header, &before[HEADER_SIZE..]).unwrap();
        let after = rewritten(&before, &[1], None);
        assert_eq!(BatchHeader::parse(&after).unwrap().max_timestamp, 5_000);
    }

    #[test]
    fn an_emptied_batch_is_a_header_with_the_same_offsets_and_producer() {
        let before = original(Compression::Zstd);
        let old = BatchHeader::parse(&before).unwrap();
        let bytes = BatchBuilder::emptied(&old).unwrap();
        let view = BatchView::new(&bytes).unwrap();
        view.verify_crc().unwrap();
        let new = *view.header();
        assert_eq!(bytes.len(), HEADER_SIZE);
        assert_eq!((new.base_offset, new.last_offset(), new.record_count), (100, 102, 0));
        assert_eq!((new.producer_id, new.producer_epoch, new.base_sequence), (5, 2, 40));
        assert_eq!((new.max_timestamp, new.last_sequence()), (1500, 42));
        assert!(new.is_transactional() && new.compression() == Ok(Compression::None));
        assert!(view.records(0).unwrap().next_record().unwrap().is_none());
    }
}
