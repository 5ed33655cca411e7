//! A whole batch, borrowed: its header, its CRC, its records under an output ceiling.
//!
//! Reads; never changes a byte, and judges nothing that only a produce must fulfil (see [`super::validate`]).

use bytes::Bytes;

use super::header::{BatchError, BatchHeader, HEADER_SIZE, LOG_OVERHEAD, compute_crc};
use super::record::{self, RecordError, RecordView};
use crate::compression::{Compression, decompress};
use crate::varint::Reader;

/// A batch that is all there. Bytes after it are not part of the view.
#[derive(Clone, Copy, Debug)]
pub struct BatchView<'a> {
    header: BatchHeader,
    bytes: &'a [u8],
}

impl<'a> BatchView<'a> {
    /// The batch that `bytes` begin with. The CRC is not checked.
    ///
    /// # Errors
    /// [`BatchError`] for a header that cannot be, or when the end is missing.
    pub fn new(bytes: &'a [u8]) -> Result<Self, BatchError> {
        let header = BatchHeader::parse(bytes)?;
        let needed = header.size_bytes();
        match bytes.get(..needed) {
            Some(bytes) => Ok(Self { header, bytes }),
            None => Err(BatchError::Truncated { needed, available: bytes.len() }),
        }
    }

    /// Its header.
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// All its bytes.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// What follows the header: the records, as they are stored.
    pub fn payload(&self) -> &'a [u8] {
        self.bytes.get(HEADER_SIZE..).unwrap_or_default()
    }

    /// Compares the CRC with the bytes.
    ///
    /// # Errors
    /// [`BatchError::Crc`].
    pub fn verify_crc(&self) -> Result<(), BatchError> {
        let computed = compute_crc(self.bytes);
        if computed == self.header.crc {
            Ok(())
        } else {
            Err(BatchError::Crc { stored: self.header.crc, computed })
        }
    }

    /// Begins to walk over the records. A compressed batch is decompressed here, to at most `limit` bytes; an
    /// uncompressed one is borrowed, and the limit does not concern it.
    ///
    /// # Errors
    /// [`BatchError`] for an unknown codec, compressed bytes that are damaged or become too many, a negative count.
    pub fn records(&self, limit: usize) -> Result<RecordWalker<'a>, BatchError> {
        let count = self.header.record_count;
        if count < 0 {
            return Err(BatchError::Count(count));
        }
        let source = match self.header.compression()? {
            Compression::None => Source::Borrowed(self.payload()),
            codec => {
                let mut records = Vec::new();
                decompress(codec, self.payload(), limit, &mut records)?;
                Source::Owned(records)
            }
        };
        Ok(RecordWalker { source, position: 0, index: 0, count })
    }
}

#[derive(Debug)]
enum Source<'a> {
    Borrowed(&'a [u8]),
    Owned(Vec<u8>),
}

/// Walks over the records of one batch, and holds them decompressed for that long.
#[derive(Debug)]
pub struct RecordWalker<'a> {
    source: Source<'a>,
    position: usize,
    index: i32,
    count: i32,
}

impl RecordWalker<'_> {
    /// Back to the first record, without decompressing again.
    pub fn rewind(&mut self) {
        (self.position, self.index) = (0, 0);
    }

    /// The next record, `None` after the last.
    ///
    /// # Errors
    /// [`BatchError`] when a record is malformed, missing, or followed by bytes that belong to none.
    pub fn next_record(&mut self) -> Result<Option<RecordView<'_>>, BatchError> {
        let bytes = match &self.source {
            Source::Borrowed(bytes) => bytes,
            Source::Owned(bytes) => bytes.as_slice(),
        };
        let mut reader = Reader::new(bytes.get(self.position..).unwrap_or_default());
        let index = self.index;
        if index == self.count {
            return match reader.remaining() {
                0 => Ok(None),
                left => Err(BatchError::TrailingBytes(left)),
            };
        }
        let before = reader.remaining();
        let record =
            record::parse(&mut reader).map_err(|error: RecordError| BatchError::Record { index, error })?;
        self.position += before - reader.remaining();
        self.index += 1;
        Ok(Some(record))
    }
}

/// Cuts concatenated batches apart, as in a fetch response, sharing their memory. Ends at a partial batch, and at
/// bytes that cannot begin one; the CRC is not checked.
pub fn split_batches(bytes: Bytes) -> impl Iterator<Item = Bytes> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let size = BatchHeader::parse(&rest).ok()?.size_bytes();
        debug_assert!(size > LOG_OVERHEAD);
        if size > rest.len() {
            return None;
        }
        Some(rest.split_to(size))
    })
}

#[cfg(test)]
mod tests {
    use super::super::{BatchBuilder, HeaderView};
    use super::*;

    fn batch(codec: Compression, base_offset: i64) -> Bytes {
        BatchBuilder::new()
            .compression(codec, None)
            .base_offset(base_offset)
            .record(10, Some(b"k"), Some(b"one"))
            .record_with_headers(12, None, None, &[("a", Some(b"1")), ("a", Some(b"2")), ("", None)])
            .build()
            .unwrap()
    }

    #[test]
    fn records_come_back_from_every_codec_with_duplicate_header_keys() {
        for codec in Compression::ALL {
            let bytes = batch(codec, 0);
            let view = BatchView::new(&bytes).unwrap();
            view.verify_crc().unwrap();
            assert_eq!((view.header().base_timestamp, view.header().max_timestamp), (10, 12));
            let mut records = view.records(1000).unwrap();
            let first = records.next_record().unwrap().unwrap();
            assert_eq!((first.offset_delta, first.timestamp_delta), (0, 0));
            assert_eq!((first.key, first.value), (Some(&b"k"[..]), Some(&b"one"[..])));
            assert_eq!(first.headers().count(), 0);
            let second = records.next_record().unwrap().unwrap();
            assert_eq!((second.offset_delta, second.timestamp_delta), (1, 2));
            assert_eq!((second.key, second.value), (None, None));
            let headers: Vec<_> = second.headers().collect();
            let header = |key: &'static str, value| HeaderView { key: key.as_bytes(), value };
            assert_eq!(
                headers,
                [header("a", Some(&b"1"[..])), header("a", Some(&b"2"[..])), header("", None)]
            );
            assert!(records.next_record().unwrap().is_none());
        }
    }

    #[test]
    fn batches_are_split_and_a_partial_one_ends_them() {
        let (first, second) = (batch(Compression::None, 5), batch(Compression::Lz4, 7));
        let mut joined = [&first[..], &second[..]].concat();
        let whole: Vec<_> = split_batches(joined.clone().into()).collect();
        assert_eq!(whole, [first.clone(), second]);
        joined.pop();
        let cut: Vec<_> = split_batches(joined.into()).collect();
        assert_eq!(cut, [first]);
        assert_eq!(split_batches(Bytes::new()).count(), 0);
    }

    #[test]
    fn a_wrong_count_is_found_at_the_end() {
        let header = BatchHeader::parse(&batch(Compression::None, 0)).unwrap();
        for (count, expected) in [(1, "follow the last record"), (3, "cut short")] {
            let mut bytes = batch(Compression::None, 0).to_vec();
            let header = BatchHeader { record_count: count, ..header };
            bytes[..HEADER_SIZE].copy_from_slice(&header.to_bytes());
            let view = BatchView::new(&bytes).unwrap();
            let mut records = view.records(0).unwrap();
            let error = loop {
                match records.next_record() {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("the end was reached"),
                    Err(error) => break error,
                }
            };
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}
