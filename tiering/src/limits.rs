//! Fixed bounds, each with its unit.

/// Bytes of a part of an upload. All parts of an object but the last are as long, which some stores ask for.
pub const PART_BYTES: usize = 8 << 20;

/// Parts of one upload that are on their way.
pub const PARTS_MAX: usize = 4;

/// Bytes that one read from the log brings up while it is copied.
pub const COPY_SCAN_BYTES: usize = 4 << 20;

/// Bytes of an object that are read back at once.
pub const PROOF_BYTES: u64 = 8 << 20;

/// Deltas after which a snapshot of the manifest is written.
pub const SNAPSHOT_EVERY: u64 = 256;

/// Bytes of the end of a segment that are asked for when it is not known how long its tail is.
pub const TAIL_GUESS_BYTES: u64 = 64 << 10;

/// Bytes that a tail may have: 250 MB of the smallest batches have less than 1 MiB.
pub const TAIL_BYTES_MAX: u64 = 256 << 20;

/// Bytes that an object of the manifest may have.
pub const MANIFEST_BYTES_MAX: u64 = 1 << 30;

/// Objects of garbage that are looked at in one turn.
pub const GARBAGE_TURN: usize = 10_000;

/// Segments of one partition that are put in the queue of one round of copying.
pub const COPY_ROUND_SEGMENTS: usize = 4;

/// Bytes of segment indexes in memory: 40 for a MiB of a segment.
pub const INDEX_CACHE_BYTES: usize = 16 << 20;

/// Aborted transactions of a segment that are kept with its index; of more, the object is asked.
pub const ABORTED_KEPT_MAX: usize = 4096;

/// Bytes of blocks that are on their way from object storage.
pub const READ_BYTES_MAX: usize = 128 << 20;

/// Tails of segments that a restore reads at the same time.
pub const TAILS_AT_ONCE: usize = 16;
