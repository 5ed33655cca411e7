//! One record, parsed in place; nothing is copied and nothing allocated.
//!
//! | field | |
//! |-|-|
//! | length | varint: bytes of the rest |
//! | attributes | 1 byte, unused |
//! | timestamp delta | varlong, to the batch's base timestamp |
//! | offset delta | varint, to the batch's base offset |
//! | key | varint length (-1: null), bytes |
//! | value | varint length (-1: null), bytes |
//! | headers | varint count; each: varint length and bytes of the key, the same of the value (-1: null) |

use crate::varint::Reader;

/// What is wrong with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The batch ends inside it.
    #[error("cut short")]
    Truncated,
    /// Its length is negative.
    #[error("the length is negative")]
    NegativeLength,
    /// A field does not fit the record's length, or is no varint.
    #[error("a field does not fit the record")]
    Field,
    /// The number of headers is negative, or more than its bytes can hold.
    #[error("the header count is impossible")]
    HeaderCount,
    /// A header has no key.
    #[error("a header key is null")]
    NullHeaderKey,
    /// Its fields end before its length does.
    #[error("the fields end before the record does")]
    TrailingBytes,
}

/// A record, borrowed from its batch.
#[derive(Clone, Copy, Debug)]
pub struct RecordView<'a> {
    /// Unused bits of the format.
    pub attributes: i8,
    /// Offset less the batch's base offset.
    pub offset_delta: i32,
    /// Timestamp less the batch's base timestamp, ms.
    pub timestamp_delta: i64,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value; none is a tombstone in a compacted topic.
    pub value: Option<&'a [u8]>,
    headers: Headers<'a>,
}

impl<'a> RecordView<'a> {
    /// The headers in their order, duplicates and all.
    pub fn headers(&self) -> Headers<'a> {
        self.headers
    }
}

/// One header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderView<'a> {
    /// The key; UTF-8 by convention, not checked.
    pub key: &'a [u8],
    /// The value.
    pub value: Option<&'a [u8]>,
}

/// Iterates over a record's headers.
#[derive(Clone, Copy, Debug)]
pub struct Headers<'a> {
    reader: Reader<'a>,
    left: i32,
}

impl<'a> Iterator for Headers<'a> {
    type Item = HeaderView<'a>;

    fn next(&mut self) -> Option<HeaderView<'a>> {
        if self.left <= 0 {
            return None;
        }
        self.left -= 1;
        header(&mut self.reader).ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::try_from(self.left).unwrap_or(0);
        (left, Some(left))
    }
}

impl ExactSizeIterator for Headers<'_> {}

/// Reads the next record, checking every bound of it.
#[inline]
pub(super) fn parse<'a>(reader: &mut Reader<'a>) -> Result<RecordView<'a>, RecordError> {
    let length = reader.varint().ok_or(RecordError::Truncated)?;
    let length = usize::try_from(length).map_err(|_| RecordError::NegativeLength)?;
    let mut body = Reader::new(reader.take(length).ok_or(RecordError::Truncated)?);
    let attributes = body.u8().ok_or(RecordError::Field)?.cast_signed();
    let timestamp_delta = body.varlong().ok_or(RecordError::Field)?;
    let offset_delta = body.varint().ok_or(RecordError::Field)?;
    let key = nullable_bytes(&mut body)?;
    let value = nullable_bytes(&mut body)?;
    let headers = headers(&mut body)?;
    if body.remaining() > 0 {
        return Err(RecordError::TrailingBytes);
    }
    Ok(RecordView { attributes, offset_delta, timestamp_delta, key, value, headers })
}

/// Walks over the headers once, so that [`Headers`] cannot fail later.
#[inline]
fn headers<'a>(body: &mut Reader<'a>) -> Result<Headers<'a>, RecordError> {
    let left = body.varint().ok_or(RecordError::Field)?;
    let count = usize::try_from(left).map_err(|_| RecordError::HeaderCount)?;
    // A header takes at least the two bytes of its lengths.
    if count > body.remaining() / 2 {
        return Err(RecordError::HeaderCount);
    }
    let headers = Headers { reader: *body, left };
    for _ in 0..count {
        header(body)?;
    }
    Ok(headers)
}

#[inline]
fn header<'a>(body: &mut Reader<'a>) -> Result<HeaderView<'a>, RecordError> {
    let key = nullable_bytes(body)?.ok_or(RecordError::NullHeaderKey)?;
    Ok(HeaderView { key, value: nullable_bytes(body)? })
}

/// As Kafka reads them, any negative length is null.
#[inline]
fn nullable_bytes<'a>(body: &mut Reader<'a>) -> Result<Option<&'a [u8]>, RecordError> {
    let length = body.varint().ok_or(RecordError::Field)?;
    match usize::try_from(length) {
        Ok(length) => body.take(length).map(Some).ok_or(RecordError::Field),
        Err(_) => Ok(None),
    }
}
