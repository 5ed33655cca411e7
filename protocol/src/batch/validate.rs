//! The checks of a produce: bytes of one partition in, one trustworthy batch out.
//!
//! In the order of Kafka's `ProduceRequest.validateRecords`, `UnifiedLog.analyzeAndValidateRecords` and
//! `LogValidator`, so that a batch with several faults is refused for the same one. The good path allocates nothing
//! and returns the bytes that came; a corrected header costs one copy, another codec a recompression.
//! Refuses nothing for what the log knows (sequence windows, epochs, transactions), and names no Kafka error code.

use std::cell::Cell;

use bytes::Bytes;

use super::builder::{assemble, seal};
use super::header::{
    BatchHeader, CODEC_MASK, HEADER_SIZE, LOG_APPEND_TIME, LOG_OVERHEAD, MAGIC, MAGIC_AT, NO_TIMESTAMP,
    TimestampType, compute_crc,
};
use super::record::{self, RecordError, RecordView};
use crate::compression::{Compression, CompressionError, compress, decompress};
use crate::limits::{RECORD_ERRORS_MAX, SCRATCH_BYTES_MAX};
use crate::varint::Reader;

/// The smallest batch length that any record format has (Kafka's `LegacyRecord.RECORD_OVERHEAD_V0`).
const LEGACY_LENGTH_MIN: i32 = 14;

/// What a topic demands of a batch.
#[derive(Clone, Copy, Debug)]
pub struct ValidateOptions {
    /// The time, ms.
    pub now_ms: i64,
    /// Bytes of the largest batch, before and after recompression (`max.message.bytes`).
    pub max_batch_bytes: usize,
    /// Who sets timestamps (`message.timestamp.type`).
    pub timestamp_type: TimestampType,
    /// How old a producer's timestamp may be, ms (`message.timestamp.before.max.ms`).
    pub before_max_ms: i64,
    /// How far ahead a producer's timestamp may be, ms (`message.timestamp.after.max.ms`).
    pub after_max_ms: i64,
    /// Whether records need keys: `cleanup.policy` contains `compact`.
    pub require_keys: bool,
    /// The codec to store with (`compression.type`).
    pub compression: TargetCompression,
    /// Bytes that the records may decompress to.
    pub max_decompressed_bytes: usize,
}

/// The codec that a topic stores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TargetCompression {
    /// Whatever the producer chose.
    #[default]
    Producer,
    /// This one, with this level or the codec's default (KIP-390). A batch that has the codec is left alone.
    To(Compression, Option<i32>),
}

/// A batch that has passed [`validate`]; there is no other way to make one.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ValidBatch {
    /// What its first 61 bytes say.
    pub header: BatchHeader,
    /// All of it and nothing else.
    pub bytes: Bytes,
}

/// Which of Kafka's two errors a refusal with record errors is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecordErrorKind {
    /// At least one record has a timestamp out of range.
    InvalidTimestamp,
    /// Something else is wrong with the records named.
    InvalidRecord,
}

/// Why a batch is refused; nothing of it may be stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValidateError {
    /// No records, or not one complete batch.
    #[error("the partition's records hold no complete batch")]
    Empty,
    /// More than one batch.
    #[error("a partition's records must be exactly one batch")]
    NotOneBatch,
    /// A record format of before 0.11.
    #[error("record format {0} is not supported, only 2 is")]
    Magic(i8),
    /// The base offset is the broker's to give.
    #[error("a producer's batch must have base offset 0, not {0}")]
    BaseOffset(i64),
    /// Over `max.message.bytes`.
    #[error("the batch of {size} bytes is larger than the {max} allowed")]
    TooLarge {
        /// Its bytes.
        size: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// The CRC does not match, or the length cannot be.
    #[error("the batch is corrupt: {0}")]
    Corrupt(&'static str),
    /// Last offset delta and record count contradict each other, or are impossible.
    #[error("the batch claims {record_count} records and {last_offset_delta} as its last offset delta")]
    OffsetRange {
        /// In the header.
        last_offset_delta: i32,
        /// In the header.
        record_count: i32,
    },
    /// A client sent a control batch.
    #[error("clients may not write control records")]
    Control,
    /// A producer id without a sequence number.
    #[error("the batch has a producer id but the sequence number {0}")]
    SequenceWithoutProducer(i32),
    /// A client claims to be the broker's clock.
    #[error("a producer may not set the timestamp type to LogAppendTime")]
    TimestampTypeFromClient,
    /// The codec has no meaning.
    #[error("compression type {0} is unknown")]
    UnsupportedCompression(u8),
    /// The compressed bytes are damaged.
    #[error("the records cannot be decompressed: {0}")]
    Decompress(CompressionError),
    /// The records become too many bytes.
    #[error("the records decompress to more than {max} bytes")]
    DecompressedTooLarge {
        /// Bytes allowed.
        max: usize,
    },
    /// A record cannot be read, or has a header without a key.
    #[error("record {index} is malformed: {error}")]
    MalformedRecord {
        /// Its place in the batch.
        index: i32,
        /// What is wrong.
        error: RecordError,
    },
    /// The batch does not hold the records it counts.
    #[error("the batch claims {declared} records, but more or fewer are there")]
    RecordCount {
        /// In the header.
        declared: i32,
    },
    /// Offset deltas are not 0, 1, 2, …
    #[error("record {index} has offset delta {found}")]
    OffsetDelta {
        /// Its place in the batch.
        index: i32,
        /// Its delta.
        found: i32,
    },
    /// Single records are at fault.
    #[error("{message}")]
    Records {
        /// Which of Kafka's errors it is; a bad timestamp outweighs the rest.
        kind: RecordErrorKind,
        /// Place in the batch and reason, at most [`RECORD_ERRORS_MAX`] of them.
        errors: Vec<(i32, String)>,
        /// About the whole.
        message: String,
    },
    /// The topic's codec or its level cannot be applied.
    #[error("the batch cannot be recompressed: {0}")]
    Recompress(CompressionError),
}

/// Checks one partition's records of a produce request, and gives them the form that the topic stores.
///
/// # Errors
/// [`ValidateError`]; see there.
pub fn validate(records: Bytes, options: &ValidateOptions) -> Result<ValidBatch, ValidateError> {
    let size = one_batch(&records)?;
    if base_offset(&records) != 0 {
        return Err(ValidateError::BaseOffset(base_offset(&records)));
    }
    check_size(size, options)?;
    let bytes = records.slice(..size);
    let header =
        BatchHeader::parse(&bytes).map_err(|_| ValidateError::Corrupt("it is shorter than its header"))?;
    if compute_crc(&bytes) != header.crc {
        return Err(ValidateError::Corrupt("the CRC does not match"));
    }
    check_header(&header)?;
    let [codec_id, _] = (header.attributes & CODEC_MASK).to_le_bytes();
    let source = Compression::from_id(codec_id).ok_or(ValidateError::UnsupportedCompression(codec_id))?;
    let payload = bytes.get(HEADER_SIZE..).unwrap_or_default();
    if source == Compression::None {
        let max_timestamp = walk(&header, payload, options)?;
        return finish(header, &bytes, payload, source, max_timestamp, options);
    }
    with_scratch(|scratch| {
        decompress(source, payload, options.max_decompressed_bytes, scratch).map_err(
            |error| match error {
                CompressionError::TooLarge { max, .. } => ValidateError::DecompressedTooLarge { max },
                error @ CompressionError::Malformed { .. } => ValidateError::Decompress(error),
            },
        )?;
        let max_timestamp = walk(&header, scratch, options)?;
        finish(header, &bytes, scratch, source, max_timestamp, options)
    })
}

/// The size of the first batch, if it is the only one. What follows it and is no complete batch is trimmed, as Kafka's
/// `ByteBufferLogInputStream` does.
fn one_batch(records: &[u8]) -> Result<usize, ValidateError> {
    let (size, magic) = next_batch(records)?.ok_or(ValidateError::Empty)?;
    if magic != MAGIC {
        return Err(ValidateError::Magic(magic));
    }
    match next_batch(records.get(size..).unwrap_or_default())? {
        None => Ok(size),
        Some(_) => Err(ValidateError::NotOneBatch),
    }
}

/// Size and format of the complete batch that `bytes` begin with.
fn next_batch(bytes: &[u8]) -> Result<Option<(usize, i8)>, ValidateError> {
    let Some((head, _)) = bytes.split_first_chunk::<{ MAGIC_AT + 1 }>() else { return Ok(None) };
    let &[_, _, _, _, _, _, _, _, l0, l1, l2, l3, _, _, _, _, magic] = head;
    let length = i32::from_be_bytes([l0, l1, l2, l3]);
    if length < LEGACY_LENGTH_MIN {
        return Err(ValidateError::Corrupt("its length is impossible"));
    }
    if magic > MAGIC.cast_unsigned() {
        return Err(ValidateError::Corrupt("its record format does not exist"));
    }
    let size = LOG_OVERHEAD.saturating_add(length.unsigned_abs() as usize);
    Ok((size <= bytes.len()).then_some((size, magic.cast_signed())))
}

fn base_offset(batch: &[u8]) -> i64 {
    batch.first_chunk().map_or(0, |raw| i64::from_be_bytes(*raw))
}

fn check_size(size: usize, options: &ValidateOptions) -> Result<(), ValidateError> {
    let max = options.max_batch_bytes;
    if size > max { Err(ValidateError::TooLarge { size, max }) } else { Ok(()) }
}

/// `LogValidator.validateBatch`.
fn check_header(header: &BatchHeader) -> Result<(), ValidateError> {
    let &BatchHeader { last_offset_delta, record_count, .. } = header;
    if record_count <= 0 || last_offset_delta < 0 || last_offset_delta != record_count - 1 {
        return Err(ValidateError::OffsetRange { last_offset_delta, record_count });
    }
    if header.is_control() {
        return Err(ValidateError::Control);
    }
    if header.producer_id >= 0 && header.base_sequence < 0 {
        return Err(ValidateError::SequenceWithoutProducer(header.base_sequence));
    }
    if header.timestamp_type() == TimestampType::LogAppendTime {
        return Err(ValidateError::TimestampTypeFromClient);
    }
    Ok(())
}

/// Looks at every record once, and returns the largest timestamp.
fn walk(header: &BatchHeader, records: &[u8], options: &ValidateOptions) -> Result<i64, ValidateError> {
    let mut reader = Reader::new(records);
    let mut max_timestamp = NO_TIMESTAMP;
    let mut faults = Faults::default();
    let declared = header.record_count;
    for index in 0..declared {
        if reader.remaining() == 0 {
            return Err(ValidateError::RecordCount { declared });
        }
        let record =
            record::parse(&mut reader).map_err(|error| ValidateError::MalformedRecord { index, error })?;
        if record.offset_delta != index {
            return Err(ValidateError::OffsetDelta { index, found: record.offset_delta });
        }
        // As Java adds; the window below refuses what comes of an overflow, if there is a window.
        let timestamp = header.base_timestamp.wrapping_add(record.timestamp_delta);
        if let Some((kind, reason)) = fault(&record, timestamp, options) {
            faults.add(kind, index, reason);
        }
        max_timestamp = max_timestamp.max(timestamp);
    }
    if reader.remaining() > 0 {
        return Err(ValidateError::RecordCount { declared });
    }
    faults.into_result()?;
    Ok(max_timestamp)
}

/// `LogValidator.validateKey` and `validateTimestamp`: the first fault of a record counts.
#[inline]
fn fault(
    record: &RecordView<'_>,
    timestamp: i64,
    options: &ValidateOptions,
) -> Option<(RecordErrorKind, String)> {
    if options.require_keys && record.key.is_none() {
        let reason = "a compacted topic does not accept a record without a key".to_owned();
        return Some((RecordErrorKind::InvalidRecord, reason));
    }
    if options.timestamp_type == TimestampType::LogAppendTime || timestamp == NO_TIMESTAMP {
        return None;
    }
    let age_ms = options.now_ms.saturating_sub(timestamp);
    if age_ms <= options.before_max_ms && age_ms.saturating_neg() <= options.after_max_ms {
        return None;
    }
    let earliest = options.now_ms.saturating_sub(options.before_max_ms);
    let latest = options.now_ms.saturating_add(options.after_max_ms);
    let reason = format!("the timestamp {timestamp} is not within {earliest} to {latest}");
    Some((RecordErrorKind::InvalidTimestamp, reason))
}

#[derive(Default)]
struct Faults {
    errors: Vec<(i32, String)>,
    count: usize,
    timestamp: bool,
}

impl Faults {
    #[cold]
    fn add(&mut self, kind: RecordErrorKind, index: i32, reason: String) {
        self.count += 1;
        self.timestamp |= kind == RecordErrorKind::InvalidTimestamp;
        if self.errors.len() < RECORD_ERRORS_MAX {
            self.errors.push((index, reason));
        }
    }

    fn into_result(self) -> Result<(), ValidateError> {
        if self.count == 0 {
            return Ok(());
        }
        let (kind, what) = match self.timestamp {
            true => (RecordErrorKind::InvalidTimestamp, "timestamps out of range"),
            false => (RecordErrorKind::InvalidRecord, "invalid records"),
        };
        let message = format!("the batch was refused for {what}: {} of its records are at fault", self.count);
        Err(ValidateError::Records { kind, errors: self.errors, message })
    }
}

/// Gives the batch the timestamps and the codec of the topic. `records` are its records, decompressed.
fn finish(
    mut header: BatchHeader,
    bytes: &Bytes,
    records: &[u8],
    source: Compression,
    max_timestamp: i64,
    options: &ValidateOptions,
) -> Result<ValidBatch, ValidateError> {
    let before = header;
    match options.timestamp_type {
        TimestampType::CreateTime => header.max_timestamp = max_timestamp,
        TimestampType::LogAppendTime => {
            header.max_timestamp = options.now_ms;
            header.attributes |= LOG_APPEND_TIME;
        }
    }
    if let TargetCompression::To(target, level) = options.compression
        && target != source
    {
        return recompress(header, records, target, level, options);
    }
    if header == before {
        return Ok(ValidBatch { header, bytes: bytes.clone() });
    }
    let mut batch = bytes.to_vec();
    if let Some(head) = batch.first_chunk_mut() {
        *head = header.to_bytes();
    }
    header.crc = seal(&mut batch);
    Ok(ValidBatch { header, bytes: batch.into() })
}

fn recompress(
    mut header: BatchHeader,
    records: &[u8],
    target: Compression,
    level: Option<i32>,
    options: &ValidateOptions,
) -> Result<ValidBatch, ValidateError> {
    header.attributes = (header.attributes & !CODEC_MASK) | i16::from(target.id());
    let mut compressed = Vec::new();
    let payload = match target {
        Compression::None => records,
        target => {
            compress(target, level, records, &mut compressed).map_err(ValidateError::Recompress)?;
            &compressed
        }
    };
    check_size(HEADER_SIZE.saturating_add(payload.len()), options)?;
    let too_large = ValidateError::TooLarge { size: payload.len(), max: options.max_batch_bytes };
    let bytes = assemble(header, payload).map_err(|_| too_large)?;
    // What was just written reads back; the length and the CRC are new.
    let header = BatchHeader::parse(&bytes).map_err(|_| ValidateError::Corrupt("it was rebuilt wrongly"))?;
    Ok(ValidBatch { header, bytes })
}

thread_local! {
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Lends the thread's decompression buffer, and frees it afterwards if it grew large.
fn with_scratch<T>(work: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    let mut scratch = SCRATCH.take();
    let result = work(&mut scratch);
    if scratch.capacity() <= SCRATCH_BYTES_MAX {
        SCRATCH.set(scratch);
    }
    result
}

#[cfg(test)]
mod tests;
