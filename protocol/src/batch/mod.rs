//! Record batches of format 2 (KIP-98): header, borrowed view, the checks of a produce, and building.
//!
//! A batch keeps its bytes from socket to disk to socket. Only the first 16 bytes that its CRC leaves out are patched
//! on append ([`prefix`]); records are looked at, never rewritten, unless a topic asks for another codec.

mod builder;
mod header;
mod record;
mod validate;
mod view;

pub use crate::compression::{Compression, CompressionError};
pub use builder::BatchBuilder;
pub use header::{
    BatchError, BatchHeader, HEADER_SIZE, LOG_OVERHEAD, MAGIC, NO_TIMESTAMP, PREFIX_SIZE, TimestampType,
    prefix,
};
pub use record::{HeaderView, Headers, RecordError, RecordView};
pub use validate::{
    RecordErrorKind, TargetCompression, ValidBatch, ValidateError, ValidateOptions, validate,
};
pub use view::{BatchView, RecordWalker, split_batches};
