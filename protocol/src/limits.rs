//! The bounds of this crate, each with its unit. What depends on a topic's configuration comes in with the call.

/// Bytes of one string. The wire could say more in a compact string; Kafka's own generated readers refuse it too.
pub const STRING_BYTES_MAX: usize = i16::MAX as usize;

/// Elements of one array. An array is never longer than the bytes it comes in either.
pub const ARRAY_ELEMENTS_MAX: usize = 1_000_000;

/// Memory that one byte of a hostile request body can become when it is decoded, in bytes. `tests/hostile.rs` climbs
/// towards it over every API: OffsetFetch 8 with nested arrays of one element comes to 112 asked of the allocator,
/// whose size classes add some. A vector that grows holds its old and its new memory, three times its elements.
pub const DECODED_BYTES_PER_BYTE: usize = 128;

/// Unknown tagged fields of one structure (KIP-482). Real peers send none or a few.
pub const TAGGED_FIELDS_MAX: usize = 256;

/// Bytes of a decompression buffer that a thread keeps for its next batch; larger ones are freed.
pub const SCRATCH_BYTES_MAX: usize = 4 << 20;

/// Record errors that one refused batch names; a million messages would not help anybody more than these.
pub const RECORD_ERRORS_MAX: usize = 1_000;

// A bound that does not bound anything would be a lie.
const _: () = assert!(STRING_BYTES_MAX < 1 << 16 && RECORD_ERRORS_MAX > 0 && SCRATCH_BYTES_MAX >= 1 << 20);
