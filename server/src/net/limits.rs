//! Bounds of the network layer, each with its unit.

use std::time::Duration;

pub use chronik_protocol::limits::DECODED_BYTES_PER_BYTE;

/// Requests of one connection whose answers are outstanding; more are left in the socket.
pub const IN_FLIGHT_REQUESTS_MAX: usize = 64;

/// Bytes read ahead of a frame whose length is not known yet.
pub const STAGING_BYTES: usize = 8 * 1024;

/// Slices given to one vectored write.
pub const WRITE_SLICES_MAX: usize = 64;

/// Bytes of finished answers gathered into one write.
pub const WRITE_GATHER_BYTES: usize = 256 * 1024;

/// Frames up to this many bytes reserve memory from a share of their own.
pub const SMALL_FRAME_BYTES: usize = 64 * 1024;

/// Frames up to this many bytes get their memory in one piece; a larger one gets it as it arrives.
pub const WHOLE_FRAME_BYTES: usize = 1024 * 1024;

/// What a peer is granted to send or take a frame, besides the time its bytes need at [`SLOWEST_BYTES_PER_SECOND`].
pub const STALL_GRACE: Duration = Duration::from_secs(30);

/// A peer slower than this, in bytes per second, is cut off: it holds memory that others need.
pub const SLOWEST_BYTES_PER_SECOND: usize = 64 * 1024;

/// What bodies up to this many bytes decode into is reserved from a share of its own.
pub const SMALL_BODY_BYTES: usize = 4 * 1024;

/// Bytes of a body other than Produce's: records aside, nothing that a broker is told is so long, and what it decodes
/// into may be [`DECODED_BYTES_PER_BYTE`] times as much. Kafka itself cannot keep a group or an offset commit of more
/// than its `message.max.bytes`.
pub const BODY_BYTES_MAX: usize = 8 << 20;

/// Partitions of one Produce.
pub const PRODUCE_PARTITIONS_MAX: usize = 100_000;

/// Memory that one partition of a Produce takes besides its records, decoded and answered; bytes.
pub const PRODUCE_PARTITION_BYTES: usize = 512;

/// How long requests under way may take once the peer has closed its direction. Most who do are gone: a Produce is worth
/// finishing all the same, a long poll is not.
pub const HALF_CLOSED_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a stopping broker waits for requests under way.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// When a frame of `bytes` must have been sent or taken.
pub fn transfer_time(bytes: usize) -> Duration {
    STALL_GRACE + Duration::from_secs((bytes / SLOWEST_BYTES_PER_SECOND) as u64)
}

/// What the operator sets, and does not change while the broker runs.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// `socket.request.max.bytes`.
    pub max_frame_bytes: usize,
    /// `connections.max.idle.ms`.
    pub max_idle: Duration,
}

impl ConnectionLimits {
    /// How long a peer may take nothing of an answer.
    pub fn stall(&self) -> Duration {
        self.max_idle.min(STALL_GRACE)
    }
}
