//! The segment: one object that holds a range of a partition's record batches exactly as sent, and describes itself. See
//! `docs/segment-format.md`, which says byte by byte what `layout` encodes.
//!
//! | file | owns |
//! |---|---|
//! | `layout` | numbers, sizes and the order of bytes |
//! | `tail` | what follows the batches: indexes, producers, aborted transactions, description, footer |
//! | `writer` | makes a tail while batches go by |
//! | `producers` | the producers of a span, gathered from its batches |
//! | `verify`, `contents` | whether an object is what it says; what must hold between its batches and its tail |

mod contents;
mod layout;
mod producers;
mod tail;
#[cfg(test)]
mod tests;
mod verify;
mod writer;

pub use contents::{Marker, marker_of};
pub use layout::{BLOCK_TARGET_BYTES, FOOTER_BYTES, HEADER_BYTES, VERSION, parse_header};
pub use producers::Producers;
pub use tail::{Block, Description, Tail};
pub(crate) use tail::{block_for, decode_aborted, decode_blocks, encode_aborted, encode_blocks};
pub use verify::{Fault, Report, Verifier, check_block};
pub use writer::{Finished, SegmentWriter};

/// Why bytes are not a segment, or not the one they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SegmentError {
    /// Too short, or another kind of file.
    #[error("not a Chronik segment: {0}")]
    NotASegment(&'static str),
    /// Written by a newer version.
    #[error(
        "the segment has format version {0}; this binary knows version {VERSION}: read it with a newer one"
    )]
    NewerVersion(u16),
    /// A checksum does not match.
    #[error("{what} is damaged: its CRC-32C is {computed:08x}, it should be {stored:08x}")]
    Checksum {
        /// The part.
        what: &'static str,
        /// As stored.
        stored: u32,
        /// Of the bytes.
        computed: u32,
    },
    /// The parts contradict each other.
    #[error("the segment contradicts itself: {0}")]
    Contradiction(String),
    /// A batch that cannot be read.
    #[error("the batch at byte {position}: {reason}")]
    Batch {
        /// Where it begins, in bytes from the beginning of the object.
        position: u64,
        /// What is wrong.
        reason: String,
    },
}
