//! The 61 bytes that every batch begins with, and what the log patches in them.
//!
//! | bytes | field | in the CRC |
//! |-|-|-|
//! | 0..8 | base offset, i64 | no |
//! | 8..12 | batch length, i32: bytes after this field | no |
//! | 12..16 | partition leader epoch, i32 | no |
//! | 16 | magic, i8: 2 | no |
//! | 17..21 | CRC-32C of everything after it, u32 | no |
//! | 21..23 | attributes, i16: codec in bits 0-2, 3 log append time, 4 transactional, 5 control, 6 delete horizon | yes |
//! | 23..27 | last offset delta, i32 | yes |
//! | 27..35 | base timestamp, i64 ms | yes |
//! | 35..43 | max timestamp, i64 ms | yes |
//! | 43..51 | producer id, i64 | yes |
//! | 51..53 | producer epoch, i16 | yes |
//! | 53..57 | base sequence, i32 | yes |
//! | 57..61 | record count, i32 | yes |
//! | 61.. | records, compressed as one | yes |

use super::record::RecordError;
use crate::compression::{Compression, CompressionError};

/// Bytes of the header.
pub const HEADER_SIZE: usize = 61;
/// Bytes before what the batch length counts.
pub const LOG_OVERHEAD: usize = 12;
/// The batch length of a header without records.
const EMPTY_BATCH_LENGTH: i32 = 49;
const _: () = assert!(EMPTY_BATCH_LENGTH as usize == HEADER_SIZE - LOG_OVERHEAD);
/// Bytes that the log patches on append: base offset, batch length, leader epoch.
pub const PREFIX_SIZE: usize = 16;
/// The only record format served.
pub const MAGIC: i8 = 2;
/// The timestamp of a record that has none.
pub const NO_TIMESTAMP: i64 = -1;

pub(super) const MAGIC_AT: usize = 16;
pub(super) const CRC_AT: usize = 17;
pub(super) const ATTRIBUTES_AT: usize = 21;
pub(super) const MAX_TIMESTAMP_AT: usize = 35;

pub(super) const CODEC_MASK: i16 = 0b111;
pub(super) const LOG_APPEND_TIME: i16 = 1 << 3;
pub(super) const TRANSACTIONAL: i16 = 1 << 4;
pub(super) const CONTROL: i16 = 1 << 5;
pub(super) const DELETE_HORIZON: i16 = 1 << 6;

/// Who set the timestamps of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TimestampType {
    /// The producer, each record its own.
    #[default]
    CreateTime,
    /// The broker, one for the whole batch: its max timestamp.
    LogAppendTime,
}

/// Why bytes cannot be read as a batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// Fewer bytes than the header or the batch length needs.
    #[error("a batch of {needed} bytes has only {available}")]
    Truncated {
        /// Bytes needed.
        needed: usize,
        /// Bytes there.
        available: usize,
    },
    /// The batch length leaves no room for the header.
    #[error("the batch length {0} is impossible")]
    Length(i32),
    /// Not format 2.
    #[error("record format {0} is not supported")]
    Magic(i8),
    /// The checksum does not match.
    #[error("the batch has the CRC {computed:#010x} but says {stored:#010x}")]
    Crc {
        /// In the header.
        stored: u32,
        /// Of the bytes.
        computed: u32,
    },
    /// The codec has no meaning.
    #[error("compression type {0} is unknown")]
    UnknownCompression(u8),
    /// The records cannot be decompressed.
    #[error("{0}")]
    Compression(#[from] CompressionError),
    /// The record count is negative.
    #[error("the record count {0} is negative")]
    Count(i32),
    /// A record is malformed.
    #[error("record {index} is malformed: {error}")]
    Record {
        /// Its place in the batch.
        index: i32,
        /// What is wrong.
        error: RecordError,
    },
    /// There are bytes after the last record.
    #[error("{0} bytes follow the last record")]
    TrailingBytes(usize),
}

/// A batch's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record.
    pub base_offset: i64,
    /// Bytes after this field.
    pub batch_length: i32,
    /// The leader's epoch at the append.
    pub partition_leader_epoch: i32,
    /// The format, 2.
    pub magic: i8,
    /// CRC-32C of all that follows it.
    pub crc: u32,
    /// Codec and flags.
    pub attributes: i16,
    /// Offset of the last record, less the base offset. Compaction may remove that record, and keeps this.
    pub last_offset_delta: i32,
    /// What the records' timestamps are relative to; with a delete horizon, the horizon (KIP-534).
    pub base_timestamp: i64,
    /// The largest timestamp, ms.
    pub max_timestamp: i64,
    /// The idempotent producer, or -1.
    pub producer_id: i64,
    /// Its epoch, or -1.
    pub producer_epoch: i16,
    /// Sequence number of the first record, or -1.
    pub base_sequence: i32,
    /// Records in the batch.
    pub record_count: i32,
}

/// An empty batch of no producer.
impl Default for BatchHeader {
    fn default() -> Self {
        Self {
            base_offset: 0,
            batch_length: EMPTY_BATCH_LENGTH,
            partition_leader_epoch: -1,
            magic: MAGIC,
            crc: 0,
            attributes: 0,
            last_offset_delta: -1,
            base_timestamp: NO_TIMESTAMP,
            max_timestamp: NO_TIMESTAMP,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            record_count: 0,
        }
    }
}

impl BatchHeader {
    /// Reads the first 61 bytes of `bytes`. Checks magic and that the batch length has room for the header; not that
    /// the rest is there, and not the CRC.
    ///
    /// # Errors
    /// [`BatchError::Truncated`], [`BatchError::Magic`], [`BatchError::Length`].
    pub fn parse(bytes: &[u8]) -> Result<Self, BatchError> {
        let truncated = BatchError::Truncated { needed: HEADER_SIZE, available: bytes.len() };
        let raw: &[u8; HEADER_SIZE] = bytes.first_chunk().ok_or(truncated)?;
        let header = Self {
            base_offset: i64::from_be_bytes(field::<0, 8>(raw)),
            batch_length: i32::from_be_bytes(field::<8, 4>(raw)),
            partition_leader_epoch: i32::from_be_bytes(field::<12, 4>(raw)),
            magic: i8::from_be_bytes(field::<MAGIC_AT, 1>(raw)),
            crc: u32::from_be_bytes(field::<CRC_AT, 4>(raw)),
            attributes: i16::from_be_bytes(field::<ATTRIBUTES_AT, 2>(raw)),
            last_offset_delta: i32::from_be_bytes(field::<23, 4>(raw)),
            base_timestamp: i64::from_be_bytes(field::<27, 8>(raw)),
            max_timestamp: i64::from_be_bytes(field::<MAX_TIMESTAMP_AT, 8>(raw)),
            producer_id: i64::from_be_bytes(field::<43, 8>(raw)),
            producer_epoch: i16::from_be_bytes(field::<51, 2>(raw)),
            base_sequence: i32::from_be_bytes(field::<53, 4>(raw)),
            record_count: i32::from_be_bytes(field::<57, 4>(raw)),
        };
        if header.magic != MAGIC {
            return Err(BatchError::Magic(header.magic));
        }
        if usize::try_from(header.batch_length).is_ok_and(|length| length >= HEADER_SIZE - LOG_OVERHEAD) {
            Ok(header)
        } else {
            Err(BatchError::Length(header.batch_length))
        }
    }

    /// The header as 61 bytes, the CRC as it is in the field.
    pub fn to_bytes(&self) -> [u8; HEADER_SIZE] {
        let mut raw = [0; HEADER_SIZE];
        put(&mut raw, 0, self.base_offset.to_be_bytes());
        put(&mut raw, 8, self.batch_length.to_be_bytes());
        put(&mut raw, 12, self.partition_leader_epoch.to_be_bytes());
        put(&mut raw, MAGIC_AT, self.magic.to_be_bytes());
        put(&mut raw, CRC_AT, self.crc.to_be_bytes());
        put(&mut raw, ATTRIBUTES_AT, self.attributes.to_be_bytes());
        put(&mut raw, 23, self.last_offset_delta.to_be_bytes());
        put(&mut raw, 27, self.base_timestamp.to_be_bytes());
        put(&mut raw, MAX_TIMESTAMP_AT, self.max_timestamp.to_be_bytes());
        put(&mut raw, 43, self.producer_id.to_be_bytes());
        put(&mut raw, 51, self.producer_epoch.to_be_bytes());
        put(&mut raw, 53, self.base_sequence.to_be_bytes());
        put(&mut raw, 57, self.record_count.to_be_bytes());
        raw
    }

    /// Bytes of the whole batch: 12 + batch length. Zero for a length that cannot be.
    pub fn size_bytes(&self) -> usize {
        usize::try_from(self.batch_length).map_or(0, |length| LOG_OVERHEAD.saturating_add(length))
    }

    /// Offset of the last record.
    pub fn last_offset(&self) -> i64 {
        self.base_offset.wrapping_add(i64::from(self.last_offset_delta))
    }

    /// Sequence number of the last record; after `i32::MAX` comes 0. -1 without a sequence.
    pub fn last_sequence(&self) -> i32 {
        if self.base_sequence < 0 {
            return -1;
        }
        // In 32 bits, the numbers from 0 to i32::MAX follow each other if the sign bit is dropped.
        self.base_sequence.wrapping_add(self.last_offset_delta) & i32::MAX
    }

    /// The codec of the records.
    ///
    /// # Errors
    /// [`BatchError::UnknownCompression`].
    pub fn compression(&self) -> Result<Compression, BatchError> {
        let [id, _] = (self.attributes & CODEC_MASK).to_le_bytes();
        Compression::from_id(id).ok_or(BatchError::UnknownCompression(id))
    }

    /// Who set the timestamps.
    pub fn timestamp_type(&self) -> TimestampType {
        match self.attributes & LOG_APPEND_TIME {
            0 => TimestampType::CreateTime,
            _ => TimestampType::LogAppendTime,
        }
    }

    /// Whether it is part of a transaction (KIP-98).
    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL != 0
    }

    /// Whether it holds a control record, a transaction's end, instead of data.
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }

    /// Whether the base timestamp is a delete horizon, set by compaction (KIP-534).
    pub fn has_delete_horizon(&self) -> bool {
        self.attributes & DELETE_HORIZON != 0
    }
}

/// The 16 bytes outside the CRC that the log writes in place of a client's on append.
pub fn prefix(base_offset: i64, batch_length: i32, leader_epoch: i32) -> [u8; PREFIX_SIZE] {
    let mut raw = [0; PREFIX_SIZE];
    put(&mut raw, 0, base_offset.to_be_bytes());
    put(&mut raw, 8, batch_length.to_be_bytes());
    put(&mut raw, 12, leader_epoch.to_be_bytes());
    raw
}

/// The CRC-32C that a whole batch should have.
pub(super) fn compute_crc(batch: &[u8]) -> u32 {
    crc32c::crc32c(batch.get(ATTRIBUTES_AT..).unwrap_or_default())
}

/// Bytes `AT..AT + N`; the place is checked when this is compiled.
fn field<const AT: usize, const N: usize>(raw: &[u8; HEADER_SIZE]) -> [u8; N] {
    const { assert!(AT + N <= HEADER_SIZE) };
    let (_, from) = raw.split_at(AT);
    from.first_chunk().copied().unwrap_or([0; N])
}

/// Writes `value` at `at`; outside of `raw` nothing happens, and no caller does that.
pub(super) fn put<const N: usize>(raw: &mut [u8], at: usize, value: [u8; N]) {
    if let Some(room) = raw.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
        *room = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered() -> [u8; HEADER_SIZE] {
        let mut raw: [u8; HEADER_SIZE] = std::array::from_fn(|index| index as u8);
        raw[MAGIC_AT] = 2;
        raw
    }

    #[test]
    fn every_field_is_at_its_place_in_the_table() {
        let header = BatchHeader::parse(&numbered()).unwrap();
        assert_eq!(header.base_offset, 0x0001_0203_0405_0607);
        assert_eq!(header.batch_length, 0x0809_0a0b);
        assert_eq!(header.partition_leader_epoch, 0x0c0d_0e0f);
        assert_eq!(header.crc, 0x1112_1314);
        assert_eq!(header.attributes, 0x1516);
        assert_eq!(header.last_offset_delta, 0x1718_191a);
        assert_eq!(header.base_timestamp, 0x1b1c_1d1e_1f20_2122);
        assert_eq!(header.max_timestamp, 0x2324_2526_2728_292a);
        assert_eq!(header.producer_id, 0x2b2c_2d2e_2f30_3132);
        assert_eq!(header.producer_epoch, 0x3334);
        assert_eq!(header.base_sequence, 0x3536_3738);
        assert_eq!(header.record_count, 0x393a_3b3c);
        assert_eq!(header.to_bytes(), numbered());
    }

    #[test]
    fn impossible_headers_are_refused() {
        let mut raw = numbered();
        assert!(matches!(BatchHeader::parse(&raw[..60]), Err(BatchError::Truncated { available: 60, .. })));
        raw[MAGIC_AT] = 1;
        assert_eq!(BatchHeader::parse(&raw), Err(BatchError::Magic(1)));
        raw[MAGIC_AT] = 2;
        for length in [-1, 0, 48, i32::MIN] {
            put(&mut raw, 8, length.to_be_bytes());
            assert_eq!(BatchHeader::parse(&raw), Err(BatchError::Length(length)));
        }
        put(&mut raw, 8, 49i32.to_be_bytes());
        assert_eq!(BatchHeader::parse(&raw).unwrap().size_bytes(), HEADER_SIZE);
    }

    // semantics 3.3.5
    #[test]
    fn sequences_wrap_to_zero() {
        let last = |base_sequence, count: i32| {
            BatchHeader { base_sequence, last_offset_delta: count - 1, ..BatchHeader::default() }
                .last_sequence()
        };
        assert_eq!(last(5, 1), 5);
        assert_eq!(last(i32::MAX, 1), i32::MAX);
        assert_eq!(last(i32::MAX, 2), 0);
        assert_eq!(last(i32::MAX - 1, 5), 2);
        assert_eq!(last(-1, 5), -1);
    }

    #[test]
    fn attributes_are_read_bit_by_bit() {
        let with = |attributes| BatchHeader { attributes, ..BatchHeader::default() };
        for codec in Compression::ALL {
            assert_eq!(with(i16::from(codec.id())).compression(), Ok(codec));
        }
        assert_eq!(with(5).compression(), Err(BatchError::UnknownCompression(5)));
        assert_eq!(with(8).timestamp_type(), TimestampType::LogAppendTime);
        assert!(with(16).is_transactional() && !with(16).is_control());
        assert!(with(32).is_control() && !with(32).is_transactional());
        assert!(with(64).has_delete_horizon() && !with(63).has_delete_horizon());
    }

    #[test]
    fn the_prefix_replaces_the_first_sixteen_bytes_alone() {
        let mut raw = numbered();
        raw[..PREFIX_SIZE].copy_from_slice(&prefix(77, 1000, 9));
        let header = BatchHeader::parse(&raw).unwrap();
        assert_eq!((header.base_offset, header.batch_length, header.partition_leader_epoch), (77, 1000, 9));
        assert_eq!(raw[PREFIX_SIZE + 1..], numbered()[PREFIX_SIZE + 1..]);
    }
}
