//! What follows the batches of a segment: everything that a reader needs to know before it asks for a block.

use chronik_engine::keys::log::EpochValue;
use chronik_engine::log::AbortedTxn;
use uuid::Uuid;

use super::layout::{
    ABORTED_ENTRY_BYTES, BLOCK_ENTRY_BYTES, EPOCH_ENTRY_BYTES, FLAG_CLEANED, FOOTER_BYTES, FOOTER_MAGIC,
    HEADER_BYTES, Reader, VERSION, Writer, check_crc, check_version,
};
use super::{Producers, SegmentError};

/// A run of whole batches that is read and checked as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Base offset of its first batch.
    pub base_offset: i64,
    /// Last offset of its last batch.
    pub last_offset: i64,
    /// Where it begins, in bytes from the beginning of the object.
    pub position: u64,
    /// Bytes it has.
    pub length: u32,
    /// CRC-32C of its bytes.
    pub crc: u32,
    /// Largest timestamp of its batches, ms; -1 when none has one.
    pub max_timestamp: i64,
}

impl Block {
    /// Its bytes' place in the object.
    pub fn range(&self) -> std::ops::Range<u64> {
        self.position..self.position + u64::from(self.length)
    }

    pub(super) fn encode(&self, out: &mut Writer) {
        out.i64(self.base_offset).i64(self.last_offset).u64(self.position);
        out.u32(self.length).u32(self.crc).i64(self.max_timestamp);
    }

    fn decode(bytes: &[u8]) -> Result<Self, SegmentError> {
        let mut reader = Reader::new(bytes);
        Ok(Self {
            base_offset: reader.i64()?,
            last_offset: reader.i64()?,
            position: reader.u64()?,
            length: reader.u32()?,
            crc: reader.u32()?,
            max_timestamp: reader.i64()?,
        })
    }
}

/// What a segment holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// First offset of the range.
    pub base_offset: i64,
    /// First offset after it.
    pub next_offset: i64,
    /// Largest record timestamp, ms; -1 when none has one.
    pub max_timestamp: i64,
    /// Timestamp of the first batch, ms; -1 when it has none.
    pub first_timestamp: i64,
    /// When the first batch was appended, ms by the broker's clock.
    pub created_ms: i64,
    /// When the last batch was appended, ms.
    pub appended_ms: i64,
    /// When the object was made, ms.
    pub exported_ms: i64,
    /// Batches in it.
    pub batches: u64,
    /// Records in it.
    pub records: u64,
    /// A cleaner has been here: offsets may be missing.
    pub cleaned: bool,
    /// The cluster it comes from.
    pub cluster_id: String,
    /// The topic's id.
    pub topic_id: Uuid,
    /// The topic's name.
    pub topic: String,
    /// The partition's index.
    pub partition: i32,
}

/// The tail, decoded.
#[derive(Clone, Debug, PartialEq)]
pub struct Tail {
    /// The sparse index: by offset, position and time.
    pub blocks: Vec<Block>,
    /// Producers that wrote in the span.
    pub producers: Producers,
    /// Every aborted transaction with an offset in the span, in the order of their markers.
    pub aborted: Vec<AbortedTxn>,
    /// Leader epochs of the span and where each began.
    pub epochs: Vec<EpochValue>,
    /// What the segment holds.
    pub description: Description,
    /// CRC-32C of all batches.
    pub data_crc: u32,
}

impl Tail {
    /// Where the batches end.
    pub fn data_end(&self) -> u64 {
        self.blocks.last().map_or(HEADER_BYTES as u64, |last| last.range().end)
    }

    /// The block in which a reader of `offset` begins: the first that ends at it or behind.
    pub fn block_for(&self, offset: i64) -> Option<usize> {
        block_for(&self.blocks, offset)
    }

    /// The bytes from the end of the batches to the end of the object.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        let mut lengths = Vec::with_capacity(5);
        let mut begun = 0;
        let mut section = |out: &Writer| {
            lengths.push(u32::try_from(out.0.len() - begun).expect("a tail is far below 4 GiB"));
            begun = out.0.len();
        };
        out.bytes(&encode_blocks(&self.blocks));
        section(&out);
        self.producers.encode(&mut out);
        section(&out);
        out.bytes(&encode_aborted(&self.aborted));
        section(&out);
        for epoch in &self.epochs {
            out.i32(epoch.epoch).i64(epoch.start_offset);
        }
        section(&out);
        self.description.encode(&mut out);
        section(&out);
        let crc = crc32c::crc32c(&out.0);
        let mut footer = Writer::default();
        footer.u64(self.data_end());
        for length in lengths {
            footer.u32(length);
        }
        footer.u32(crc).u32(self.data_crc).u16(VERSION);
        footer.u16(if self.description.cleaned { FLAG_CLEANED } else { 0 });
        let crc = crc32c::crc32c(&footer.0);
        footer.u32(crc).bytes(&FOOTER_MAGIC);
        assert_eq!(footer.0.len(), FOOTER_BYTES);
        out.bytes(&footer.0);
        out.0
    }

    /// How many of an object's last bytes [`Self::decode`] needs, told by its last [`FOOTER_BYTES`].
    ///
    /// # Errors
    /// [`SegmentError`] when this is no footer.
    pub fn length(end: &[u8]) -> Result<u64, SegmentError> {
        Ok(Footer::decode(end)?.sections.iter().map(|length| u64::from(*length)).sum::<u64>()
            + FOOTER_BYTES as u64)
    }

    /// Decodes the last bytes of an object of `size` bytes; `bytes` may begin before the tail.
    ///
    /// # Errors
    /// [`SegmentError`] for what is not the tail of a segment of this size.
    pub fn decode(bytes: &[u8], size: u64) -> Result<Self, SegmentError> {
        let footer = Footer::decode(bytes)?;
        let length = Self::length(bytes)?;
        if footer.data_end.checked_add(length) != Some(size) {
            return Err(SegmentError::Contradiction(format!(
                "the footer tells of {} bytes of batches and {length} after them, the object has {size}",
                footer.data_end
            )));
        }
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let tail = bytes
            .len()
            .checked_sub(length)
            .and_then(|begin| bytes.get(begin..bytes.len() - FOOTER_BYTES))
            .ok_or(SegmentError::NotASegment("the tail begins before the bytes at hand"))?;
        check_crc("the tail", footer.tail_crc, tail)?;
        let mut reader = Reader::new(tail);
        let mut section = |index: usize| reader.take(footer.sections[index] as usize);
        let blocks = decode_blocks(section(0)?)?;
        let producers = Producers::decode(section(1)?)?;
        let aborted = decode_aborted(section(2)?)?;
        let epochs = whole(section(3)?, EPOCH_ENTRY_BYTES)?.map(decode_epoch).collect::<Result<_, _>>()?;
        let description = Description::decode(section(4)?, footer.cleaned)?;
        let tail = Self { blocks, producers, aborted, epochs, description, data_crc: footer.data_crc };
        tail.check(footer.data_end)?;
        Ok(tail)
    }

    /// What must hold between the parts.
    fn check(&self, data_end: u64) -> Result<(), SegmentError> {
        let wrong = |what: &str| Err(SegmentError::Contradiction(what.to_owned()));
        let Description { base_offset, next_offset, .. } = self.description;
        if base_offset < 0 || next_offset < base_offset {
            return wrong("its range of offsets ends before it begins");
        }
        check_blocks(&self.blocks)?;
        if self.data_end() != data_end {
            return wrong("the blocks do not end where the footer says");
        }
        let inside = |offset: i64| (base_offset..next_offset).contains(&offset);
        // The first batch may begin before the range.
        let ends = [
            self.blocks.first().map(|first| first.last_offset),
            self.blocks.last().map(|last| last.last_offset),
        ];
        if !ends.into_iter().flatten().all(inside) {
            return wrong("a block lies outside its range of offsets");
        }
        Ok(())
    }
}

/// The block in which a reader of `offset` begins: the first that ends at it or behind.
pub(crate) fn block_for(blocks: &[Block], offset: i64) -> Option<usize> {
    let index = blocks.partition_point(|block| block.last_offset < offset);
    (index < blocks.len()).then_some(index)
}

/// Encodes a block index as it stands in a tail.
pub(crate) fn encode_blocks(blocks: &[Block]) -> Vec<u8> {
    let mut out = Writer::default();
    blocks.iter().for_each(|block| block.encode(&mut out));
    out.0
}

/// Encodes aborted transactions as they stand in a tail.
pub(crate) fn encode_aborted(aborted: &[AbortedTxn]) -> Vec<u8> {
    let mut out = Writer::default();
    for txn in aborted {
        out.i64(txn.producer_id).i64(txn.first_offset).i64(txn.last_offset).i64(txn.stable_offset);
    }
    out.0
}

/// Decodes aborted transactions.
///
/// # Errors
/// [`SegmentError`] when they are not whole.
pub(crate) fn decode_aborted(bytes: &[u8]) -> Result<Vec<AbortedTxn>, SegmentError> {
    whole(bytes, ABORTED_ENTRY_BYTES)?.map(decode_aborted_entry).collect()
}

/// Decodes a block index.
///
/// # Errors
/// [`SegmentError`] when it is not whole, or its blocks do not follow each other.
pub(crate) fn decode_blocks(bytes: &[u8]) -> Result<Vec<Block>, SegmentError> {
    let blocks: Vec<Block> = whole(bytes, BLOCK_ENTRY_BYTES)?.map(Block::decode).collect::<Result<_, _>>()?;
    check_blocks(&blocks)?;
    Ok(blocks)
}

fn check_blocks(blocks: &[Block]) -> Result<(), SegmentError> {
    let (mut position, mut next) = (HEADER_BYTES as u64, 0);
    for block in blocks {
        if block.position != position || block.base_offset < next || block.last_offset < block.base_offset {
            return Err(SegmentError::Contradiction(format!(
                "the block at byte {} does not follow the one before",
                block.position
            )));
        }
        (position, next) = (block.range().end, block.last_offset.saturating_add(1));
    }
    Ok(())
}

fn whole(bytes: &[u8], entry: usize) -> Result<std::slice::ChunksExact<'_, u8>, SegmentError> {
    let chunks = bytes.chunks_exact(entry);
    match chunks.remainder() {
        [] => Ok(chunks),
        _ => Err(SegmentError::NotASegment("a part of its tail is not a whole number of entries")),
    }
}

fn decode_aborted_entry(bytes: &[u8]) -> Result<AbortedTxn, SegmentError> {
    let mut reader = Reader::new(bytes);
    Ok(AbortedTxn {
        producer_id: reader.i64()?,
        first_offset: reader.i64()?,
        last_offset: reader.i64()?,
        stable_offset: reader.i64()?,
    })
}

fn decode_epoch(bytes: &[u8]) -> Result<EpochValue, SegmentError> {
    let mut reader = Reader::new(bytes);
    Ok(EpochValue { epoch: reader.i32()?, start_offset: reader.i64()? })
}

impl Description {
    fn encode(&self, out: &mut Writer) {
        out.i64(self.base_offset).i64(self.next_offset).i64(self.max_timestamp).i64(self.first_timestamp);
        out.i64(self.created_ms).i64(self.appended_ms).i64(self.exported_ms);
        out.u64(self.batches).u64(self.records).bytes(self.topic_id.as_bytes()).i32(self.partition);
        out.text(&self.cluster_id).text(&self.topic);
    }

    fn decode(bytes: &[u8], cleaned: bool) -> Result<Self, SegmentError> {
        let mut reader = Reader::new(bytes);
        Ok(Self {
            base_offset: reader.i64()?,
            next_offset: reader.i64()?,
            max_timestamp: reader.i64()?,
            first_timestamp: reader.i64()?,
            created_ms: reader.i64()?,
            appended_ms: reader.i64()?,
            exported_ms: reader.i64()?,
            batches: reader.u64()?,
            records: reader.u64()?,
            topic_id: reader.uuid()?,
            partition: reader.i32()?,
            cluster_id: reader.text()?,
            topic: reader.text()?,
            cleaned,
        })
    }
}

/// The last [`FOOTER_BYTES`] of an object.
struct Footer {
    data_end: u64,
    /// Bytes of blocks, producers, aborted transactions, epochs, description.
    sections: [u32; 5],
    tail_crc: u32,
    data_crc: u32,
    cleaned: bool,
}

impl Footer {
    fn decode(bytes: &[u8]) -> Result<Self, SegmentError> {
        let begin = bytes.len().checked_sub(FOOTER_BYTES);
        let bytes = begin
            .and_then(|begin| bytes.get(begin..))
            .ok_or(SegmentError::NotASegment("it is shorter than a footer"))?;
        let mut reader = Reader::new(bytes);
        let data_end = reader.u64()?;
        let sections = [reader.u32()?, reader.u32()?, reader.u32()?, reader.u32()?, reader.u32()?];
        let (tail_crc, data_crc) = (reader.u32()?, reader.u32()?);
        let (version, flags, crc) = (reader.u16()?, reader.u16()?, reader.u32()?);
        if reader.take(8)? != FOOTER_MAGIC {
            return Err(SegmentError::NotASegment("it does not end with CHRONEND"));
        }
        check_crc("the footer", crc, &bytes[..FOOTER_BYTES - 12])?;
        check_version(version)?;
        Ok(Self { data_end, sections, tail_crc, data_crc, cleaned: flags & FLAG_CLEANED != 0 })
    }
}
