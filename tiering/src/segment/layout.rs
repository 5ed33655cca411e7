//! The bytes of a segment. All numbers are big-endian.
//!
//! ```text
//! 0        32                        data end                                    size
//! | header | record batches as sent … | blocks | producers | aborted | epochs | description | footer |
//!          '-- in blocks of whole batches --'  '------------------ tail -----------------'
//! ```

use super::SegmentError;

/// The version that is written.
pub const VERSION: u16 = 1;
/// Bytes before the first batch.
pub const HEADER_BYTES: usize = 32;
/// Bytes of the footer, which ends the object.
pub const FOOTER_BYTES: usize = 52;
/// A block ends with the batch that makes it this long.
pub const BLOCK_TARGET_BYTES: usize = 1 << 20;

/// What an object begins with.
pub(super) const HEADER_MAGIC: [u8; 8] = *b"CHRONSEG";
/// What it ends with.
pub(super) const FOOTER_MAGIC: [u8; 8] = *b"CHRONEND";

/// Bytes of one entry of the block index.
pub(super) const BLOCK_ENTRY_BYTES: usize = 40;
/// Bytes of one aborted transaction.
pub(super) const ABORTED_ENTRY_BYTES: usize = 32;
/// Bytes of one leader epoch.
pub(super) const EPOCH_ENTRY_BYTES: usize = 12;

/// Flag: a cleaner has been here, so offsets may be missing.
pub(super) const FLAG_CLEANED: u16 = 1;

/// The header of a segment of `base_offset..next_offset`.
pub(super) fn header(base_offset: i64, next_offset: i64) -> [u8; HEADER_BYTES] {
    let mut out = Writer::default();
    out.bytes(&HEADER_MAGIC).u16(VERSION).u16(0).i64(base_offset).i64(next_offset);
    let crc = crc32c::crc32c(&out.0);
    out.u32(crc);
    out.0.try_into().expect("8 + 2 + 2 + 8 + 8 + 4 bytes")
}

/// First offset, and first offset after the segment.
///
/// # Errors
/// [`SegmentError`] when this is no header.
pub fn parse_header(bytes: &[u8]) -> Result<(i64, i64), SegmentError> {
    let bytes = bytes.get(..HEADER_BYTES).ok_or(SegmentError::NotASegment("it is shorter than a header"))?;
    let mut reader = Reader::new(bytes);
    if reader.take(8)? != HEADER_MAGIC {
        return Err(SegmentError::NotASegment("it does not begin with CHRONSEG"));
    }
    check_version(reader.u16()?)?;
    let _flags = reader.u16()?;
    let offsets = (reader.i64()?, reader.i64()?);
    check_crc("the header", reader.u32()?, &bytes[..HEADER_BYTES - 4])?;
    Ok(offsets)
}

pub(super) fn check_version(version: u16) -> Result<(), SegmentError> {
    if version == VERSION { Ok(()) } else { Err(SegmentError::NewerVersion(version)) }
}

pub(super) fn check_crc(what: &'static str, stored: u32, bytes: &[u8]) -> Result<(), SegmentError> {
    let computed = crc32c::crc32c(bytes);
    if computed == stored { Ok(()) } else { Err(SegmentError::Checksum { what, stored, computed }) }
}

/// Appends numbers.
#[derive(Default)]
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }
    pub(super) fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }
    pub(super) fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }
    pub(super) fn i32(&mut self, value: i32) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }
    pub(super) fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }
    pub(super) fn i64(&mut self, value: i64) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }
    /// A length of two bytes and the text.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        let length = u16::try_from(text.len()).expect("names have at most 249 bytes");
        self.u16(length).bytes(text.as_bytes())
    }
}

/// Reads numbers; running out of bytes is an error of the segment.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], SegmentError> {
        let (taken, rest) =
            self.0.split_at_checked(count).ok_or(SegmentError::NotASegment("a part ends too early"))?;
        self.0 = rest;
        Ok(taken)
    }
    fn array<const N: usize>(&mut self) -> Result<[u8; N], SegmentError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }
    pub(super) fn u16(&mut self) -> Result<u16, SegmentError> {
        self.array().map(u16::from_be_bytes)
    }
    pub(super) fn i16(&mut self) -> Result<i16, SegmentError> {
        self.array().map(i16::from_be_bytes)
    }
    pub(super) fn u32(&mut self) -> Result<u32, SegmentError> {
        self.array().map(u32::from_be_bytes)
    }
    pub(super) fn i32(&mut self) -> Result<i32, SegmentError> {
        self.array().map(i32::from_be_bytes)
    }
    pub(super) fn u64(&mut self) -> Result<u64, SegmentError> {
        self.array().map(u64::from_be_bytes)
    }
    pub(super) fn i64(&mut self) -> Result<i64, SegmentError> {
        self.array().map(i64::from_be_bytes)
    }
    pub(super) fn uuid(&mut self) -> Result<uuid::Uuid, SegmentError> {
        self.array().map(uuid::Uuid::from_bytes)
    }
    pub(super) fn text(&mut self) -> Result<String, SegmentError> {
        let length = self.u16()?;
        let bytes = self.take(length.into())?;
        String::from_utf8(bytes.to_vec()).map_err(|_| SegmentError::NotASegment("a name is not UTF-8"))
    }
}
