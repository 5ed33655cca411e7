//! Builds batches: for tests, benches and markers. The produce and fetch paths never rebuild a client's batch.
//!
//! Records are encoded as they are added; the batch is compressed and its CRC computed at the end.

use bytes::Bytes;

use super::header::{
    ATTRIBUTES_AT, BatchError, BatchHeader, CODEC_MASK, CONTROL, CRC_AT, DELETE_HORIZON, HEADER_SIZE,
    LOG_APPEND_TIME, LOG_OVERHEAD, NO_TIMESTAMP, TRANSACTIONAL, TimestampType, put,
};
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
        if self.header.record_count == 0 && self.header.base_timestamp == NO_TIMESTAMP {
            self.header.base_timestamp = timestamp_ms;
        }
        self.header.max_timestamp = self.header.max_timestamp.max(timestamp_ms);
        self.header.last_offset_delta = offset_delta;
        self.header.record_count = self.header.record_count.saturating_add(1);
        let body = &mut self.scratch;
        body.clear();
        body.push(0);
        put_varlong(body, timestamp_ms.wrapping_sub(self.header.base_timestamp));
        put_varint(body, offset_delta);
        put_nullable(body, key);
        put_nullable(body, value);
        put_length(body, headers.len());
        for (key, value) in headers {
            put_nullable(body, Some(key.as_bytes()));
            put_nullable(body, *value);
        }
        put_length(&mut self.records, self.scratch.len());
        self.records.extend_from_slice(&self.scratch);
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
