//! Kafka's wire: framing, message codec, record batches, compression. Bytes in, bytes out.
//!
//! A leaf of the workspace: no I/O, no clock, no broker state, and no Kafka error code. Everything here may be fed by
//! a hostile peer, so no length on the wire is believed before it is compared with what is there and with a ceiling.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::cast_possible_truncation))]

pub mod batch;
pub mod codec;
pub mod compression;
pub mod frame;
pub mod limits;
mod lz4;
mod snappy;
mod varint;
mod xxh32;

pub use codec::messages;

/// Builds a message of [`messages`]: its default, with the named fields set.
///
/// The generated structs are `#[non_exhaustive]`, so that a struct literal is not possible outside their crate.
///
/// ```
/// use chronik_protocol::{message, messages::HeartbeatRequest};
/// let request = message!(HeartbeatRequest { group_id: "g".into(), generation_id: 3 });
/// assert_eq!(request.generation_id, 3);
/// ```
#[macro_export]
macro_rules! message {
    ($type:path { $($field:ident : $value:expr),* $(,)? }) => {{
        #[allow(unused_mut, reason = "without fields there is nothing to set")]
        let mut message: $type = ::core::default::Default::default();
        $(message.$field = $value;)*
        message
    }};
}
