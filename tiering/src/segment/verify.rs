//! Whether an object is what it says: read once from front to back, holding one block at a time. What a damaged disk changes
//! is found by checksums; what a faulty writer would have changed, checksums included, by what must hold between the parts.

use bytes::Bytes;
use chronik_protocol::batch::{BatchView, split_batches};

use super::contents::Contents;
use super::layout::{self, parse_header};
use super::tail::{Block, Tail};
use super::{SegmentError, SegmentWriter};

/// Something wrong with a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where, in bytes from the beginning of the object.
    pub position: u64,
    /// What.
    pub problem: String,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Blocks read.
    pub blocks: usize,
    /// Batches in them.
    pub batches: u64,
    /// Records in them, by the batches' headers.
    pub records: u64,
    /// All that is wrong, by position; at most [`FAULTS_MAX`].
    pub faults: Vec<Fault>,
}

/// Faults that are told of one object.
const FAULTS_MAX: usize = 100;

/// Takes the parts of an object one after another: the tail first, then header and blocks in their order.
#[derive(Debug)]
pub struct Verifier {
    tail: Tail,
    again: SegmentWriter,
    contents: Contents,
    report: Report,
    /// A block could not be read, so what is counted over all of them means nothing.
    incomplete: bool,
}

impl Verifier {
    /// For an object with this tail.
    pub fn new(tail: Tail) -> Self {
        let again = SegmentWriter::new(tail.description.clone());
        let contents = Contents::new(tail.description.base_offset);
        Self { tail, again, contents, report: Report::default(), incomplete: false }
    }

    /// The tail.
    pub fn tail(&self) -> &Tail {
        &self.tail
    }

    fn fault(&mut self, position: u64, problem: impl Into<String>) {
        if self.report.faults.len() < FAULTS_MAX {
            self.report.faults.push(Fault { position, problem: problem.into() });
        }
    }

    /// The first bytes of the object.
    pub fn header(&mut self, bytes: &[u8]) {
        let description = &self.tail.description;
        let told = (description.base_offset, description.next_offset);
        match parse_header(bytes) {
            Ok(found) if found == told => {
                if bytes.get(..layout::HEADER_BYTES) != Some(&layout::header(told.0, told.1)) {
                    self.fault(0, "the header's reserved bytes are not 0");
                }
            }
            Ok((base, next)) => {
                self.fault(0, format!("the header says {base}..{next}, the tail {}..{}", told.0, told.1));
            }
            Err(error) => self.fault(0, error.to_string()),
        }
    }

    /// The bytes of the tail, which were decoded before: nothing may be in them that decoding passes over.
    pub fn tail_bytes(&mut self, bytes: &[u8]) {
        if self.tail.encode() != bytes {
            self.fault(self.tail.data_end(), "the tail has bytes that mean nothing");
        }
    }

    /// The bytes of the next block.
    pub fn block(&mut self, block: &Block, bytes: &Bytes) {
        self.report.blocks += 1;
        if let Err(error) = check_block(block, bytes) {
            self.incomplete = true;
            return self.fault(block.position, error.to_string());
        }
        let mut seen = 0;
        for batch in split_batches(bytes.clone()) {
            seen += batch.len();
            if let Err(error) = self.again.push(&batch) {
                self.incomplete = true;
                self.fault(block.position, error.to_string());
                return;
            }
            let at = block.position + (seen - batch.len()) as u64;
            let Ok(view) = BatchView::new(&batch) else { continue };
            let records = view.header().record_count;
            for problem in self.contents.problems(&view, &self.tail) {
                self.fault(at, problem);
            }
            self.report.batches += 1;
            self.report.records += u64::try_from(records).unwrap_or(0);
        }
        if seen != bytes.len() {
            self.incomplete = true;
            let at = block.position + seen as u64;
            self.fault(at, "here no whole batch begins, and the block is not at its end");
        }
    }

    /// All there is to say. What the blocks come to is compared with the tail.
    pub fn finish(mut self) -> Report {
        if self.incomplete {
            return self.report;
        }
        let again = std::mem::replace(&mut self.again, SegmentWriter::new(self.tail.description.clone()))
            .finish(self.tail.aborted.clone(), self.tail.epochs.clone())
            .tail;
        let at = self.tail.data_end();
        let pairs = [
            (again.blocks == self.tail.blocks, "the block index is not that of the batches"),
            (again.producers == self.tail.producers, "the producers are not those of the batches"),
            (again.description == self.tail.description, "the description is not that of the batches"),
            (again.data_crc == self.tail.data_crc, "the CRC-32C of all batches does not match"),
        ];
        for (_, problem) in pairs.iter().filter(|(same, _)| !same) {
            self.fault(at, *problem);
        }
        for problem in self.contents.problems_at_the_end(&self.tail) {
            self.fault(at, problem);
        }
        self.report
    }
}

/// Whether bytes are those of a block.
///
/// # Errors
/// [`SegmentError`] when they are not.
pub fn check_block(block: &Block, bytes: &[u8]) -> Result<(), SegmentError> {
    if bytes.len() != block.length as usize {
        return Err(SegmentError::Contradiction(format!(
            "the block at byte {} should have {} bytes, not {}",
            block.position,
            block.length,
            bytes.len()
        )));
    }
    super::layout::check_crc("a block", block.crc, bytes)
}
