//! Makes the tail of a segment while its batches go by. Holds no batch: whoever sends them pushes each here first.

use bytes::Bytes;
use chronik_engine::keys::log::EpochValue;
use chronik_engine::log::AbortedTxn;
use chronik_protocol::batch::BatchView;

use super::layout::{self, BLOCK_TARGET_BYTES, HEADER_BYTES};
use super::tail::{Block, Description, Tail};
use super::{Producers, SegmentError};

/// See the module.
#[derive(Debug)]
pub struct SegmentWriter {
    description: Description,
    blocks: Vec<Block>,
    /// The block under way.
    open: Option<Block>,
    position: u64,
    producers: Producers,
    data_crc: u32,
}

/// A segment whose batches are all there.
#[derive(Debug)]
pub struct Finished {
    /// What follows the batches.
    pub tail_bytes: Bytes,
    /// The same, decoded.
    pub tail: Tail,
    /// Bytes of the whole object.
    pub size: u64,
}

impl SegmentWriter {
    /// For the range, topic and times of `description`; what it counts is counted here.
    pub fn new(description: Description) -> Self {
        Self {
            description: Description { batches: 0, records: 0, max_timestamp: -1, ..description },
            blocks: Vec::new(),
            open: None,
            position: HEADER_BYTES as u64,
            producers: Producers::default(),
            data_crc: 0,
        }
    }

    /// What the object begins with.
    pub fn header(&self) -> Bytes {
        let Description { base_offset, next_offset, .. } = self.description;
        Bytes::copy_from_slice(&layout::header(base_offset, next_offset))
    }

    /// Takes note of the batch that is written next. Its CRC is checked: what was damaged on the disk must not become the
    /// only copy.
    ///
    /// # Errors
    /// [`SegmentError::Batch`] when it cannot be read, or does not follow the one before.
    pub fn push(&mut self, batch: &[u8]) -> Result<(), SegmentError> {
        let position = self.position;
        let failed = |reason: String| SegmentError::Batch { position, reason };
        let view = BatchView::new(batch).map_err(|error| failed(error.to_string()))?;
        view.verify_crc().map_err(|error| failed(error.to_string()))?;
        let header = view.header();
        if view.bytes().len() != batch.len() {
            return Err(failed("bytes follow it that belong to none".to_owned()));
        }
        let last = self.open.as_ref().or(self.blocks.last());
        let next = last.map_or(self.description.base_offset, |last| last.last_offset + 1);
        // The log's start may lie inside the first batch.
        let begins_before = last.is_none() && header.last_offset() >= next;
        if (header.base_offset < next && !begins_before)
            || header.last_offset() >= self.description.next_offset
        {
            let (base, last) = (header.base_offset, header.last_offset());
            return Err(failed(format!("it holds {base}..={last}, and does not fit behind {next}")));
        }
        self.producers.observe(&view, self.description.appended_ms);
        self.description.batches += 1;
        self.description.records += u64::try_from(header.record_count).unwrap_or(0);
        self.description.max_timestamp = self.description.max_timestamp.max(header.max_timestamp);
        let block = self.open.get_or_insert(Block {
            base_offset: header.base_offset,
            last_offset: header.base_offset,
            position,
            length: 0,
            crc: 0,
            max_timestamp: -1,
        });
        block.crc = crc32c::crc32c_append(block.crc, batch);
        block.last_offset = header.last_offset();
        block.max_timestamp = block.max_timestamp.max(header.max_timestamp);
        let length = u32::try_from(batch.len()).map_err(|_| failed("it has 4 GiB".to_owned()))?;
        block.length += length;
        self.position += u64::from(length);
        if block.length as usize >= BLOCK_TARGET_BYTES {
            self.close_block();
        }
        Ok(())
    }

    /// Ends the range at `next_offset`, which is behind all batches and not behind the end that was given: whoever cuts
    /// segments by size knows only now. `cleaned` says that offsets are missing. What was taken for the header is void.
    pub fn end_at(&mut self, next_offset: i64, cleaned: bool) {
        assert!(next_offset <= self.description.next_offset, "a range may only become shorter");
        let last = self.open.as_ref().or(self.blocks.last());
        assert!(last.is_none_or(|last| last.last_offset < next_offset), "every batch stays inside");
        (self.description.next_offset, self.description.cleaned) = (next_offset, cleaned);
    }

    /// Bytes so far, without the tail.
    pub fn position(&self) -> u64 {
        self.position
    }

    fn close_block(&mut self) {
        if let Some(block) = self.open.take() {
            self.data_crc = crc32c::crc32c_combine(self.data_crc, block.crc, block.length as usize);
            self.blocks.push(block);
        }
    }

    /// The rest of the object. `aborted` are all aborted transactions with an offset in the range, `epochs` the leader
    /// epochs of it.
    pub fn finish(mut self, aborted: Vec<AbortedTxn>, epochs: Vec<EpochValue>) -> Finished {
        self.close_block();
        let tail = Tail {
            blocks: self.blocks,
            producers: self.producers,
            aborted,
            epochs,
            description: self.description,
            data_crc: self.data_crc,
        };
        let tail_bytes = Bytes::from(tail.encode());
        Finished { size: self.position + tail_bytes.len() as u64, tail_bytes, tail }
    }
}
