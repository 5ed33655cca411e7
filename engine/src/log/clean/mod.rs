//! Log cleaning: of a compacted log only the latest value of each key stays. See ADR 9.
//!
//! | file | owns |
//! |---|---|
//! | `plan` | which part can be cleaned, and whether it is time |
//! | `pass` | one pass over a log, step by step |
//! | `offset_map` | the latest offset of each key, in bounded memory |
//! | `txn` | aborted data, and markers whose data is gone |
//! | `batch` | what is left of one batch |
//! | `time_index` | the index of a segment that was cleaned |
//! | `commit` | how changes reach log and store together |
//!
//! Invariants: no offset changes; a batch that stays keeps its base and last offset, so its key stays, too; nothing at
//! or above the stable offset, and nothing of the active segment, is touched; every commit is atomic, bounded, and leaves
//! a log that a reader, a restart or another pass can take as it is. Reads no clock and never sleeps: who calls
//! [`CleanPass::step`] decides how fast it goes, and on which thread.

mod batch;
mod commit;
mod offset_map;
mod pass;
mod plan;
#[cfg(test)]
mod tests;
mod time_index;
mod txn;

use chronik_protocol::batch::BatchError;

pub use pass::{CleanPass, RemoteFate};
pub use plan::Cleanable;

use crate::error::ReadError;

/// How a pass is made.
#[derive(Clone, Copy, Debug)]
pub struct CleanOptions {
    /// The time, ms.
    pub now_ms: i64,
    /// Bytes that the map of latest offsets may take.
    pub map_bytes_max: usize,
    /// Finds out what would go, and changes nothing.
    pub dry_run: bool,
}

/// What one step has cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CleanStep {
    /// Bytes of batches read.
    pub read_bytes: u64,
    /// Bytes of batches written.
    pub written_bytes: u64,
    /// What is in object storage has its turn: whoever can read it asks [`CleanPass::judge_remote`] for each batch there,
    /// and says [`CleanPass::remote_done`].
    pub wants_remote: bool,
    /// The pass is complete.
    pub done: bool,
}

/// What a pass has done so far; for a dry run, what it would have done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CleanReport {
    /// Bytes of batches read, for the map and for cleaning.
    pub read_bytes: u64,
    /// Bytes that will have been read at the end, by the segments' sizes.
    pub expected_bytes: u64,
    /// Bytes of batches written.
    pub written_bytes: u64,
    /// Bytes of the batches looked at for cleaning, and of what was left of them.
    pub before_bytes: u64,
    /// See `before_bytes`.
    pub after_bytes: u64,
    /// Records in those batches.
    pub records: u64,
    /// Records of them that went.
    pub records_dropped: u64,
    /// Keys in the map.
    pub keys: u64,
    /// Bytes of the map.
    pub map_bytes: u64,
}

/// How far a log has been cleaned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CleanedTo {
    /// First offset that no complete pass has looked at.
    pub first_dirty: i64,
    /// When the last complete pass ended, ms; `None` before the first.
    pub cleaned_ms: Option<i64>,
    /// A pass was cut short and goes on where it was.
    pub interrupted: bool,
}

/// Why a log cannot be cleaned. What was cleaned before stays.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CleanError {
    /// The partition or the store failed.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A batch cannot be read. It is left as it is.
    #[error("the batch at offset {offset} cannot be read: {error}")]
    Batch {
        /// Where it begins.
        offset: i64,
        /// What is wrong with it.
        error: BatchError,
    },
    /// The keys of a single batch do not fit.
    #[error(
        "the keys of the batch at offset {offset} alone need more than the {bytes_max} bytes for keys; raise \
         log.cleaner.dedupe.buffer.size"
    )]
    BufferTooSmall {
        /// Where the batch begins.
        offset: i64,
        /// Bytes there are.
        bytes_max: usize,
    },
    /// What is in object storage could not be cleaned; nothing else was, either.
    #[error("the part in object storage could not be cleaned: {0}")]
    Remote(String),
    /// Another pass over this log is under way.
    #[error("the log is being cleaned already")]
    Busy,
    /// `cleanup.policy` does not contain `compact`.
    #[error("cleanup.policy does not contain compact")]
    NotCompacted,
}
