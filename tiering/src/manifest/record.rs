//! One object of a chain.
//!
//! ```text
//! 0           8         10       14
//! | CHRONMAN  | version | CRC-32C | protobuf: Record |      numbers are big-endian; the CRC covers the protobuf
//! ```

use bytes::Bytes;
use chronik_engine::keys::tier::RemoteSegmentValue;
use prost::Message;

const MAGIC: [u8; 8] = *b"CHRONMAN";
const VERSION: u16 = 1;
const HEAD_BYTES: usize = 14;

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum Kind {
    /// Nothing that is known.
    Unknown = 0,
    /// The first of a chain: `added` is all that there is.
    Opening = 1,
    /// `added` came and `removed` went.
    Changes = 2,
    /// The last of a chain: `claim` has taken the next epoch.
    Seal = 3,
    /// Beside the chain: `added` is all that there is after the delta of this number.
    Snapshot = 4,
}

/// See the module.
#[derive(Clone, PartialEq, Message)]
pub struct Record {
    /// What it is.
    #[prost(enumeration = "Kind", tag = "1")]
    pub kind: i32,
    /// The epoch whose chain it is in.
    #[prost(uint64, tag = "2")]
    pub epoch: u64,
    /// Its number there.
    #[prost(uint64, tag = "3")]
    pub number: u64,
    /// Random id of whoever wrote it.
    #[prost(bytes = "vec", tag = "4")]
    pub claim: Vec<u8>,
    /// When it was written, ms by the writer's clock.
    #[prost(int64, tag = "5")]
    pub written_ms: i64,
    /// Segments that are there from here on.
    #[prost(message, repeated, tag = "6")]
    pub added: Vec<Entry>,
    /// Objects that are not needed from here on.
    #[prost(string, repeated, tag = "7")]
    pub removed: Vec<String>,
}

/// One segment.
#[derive(Clone, PartialEq, Message)]
pub struct Entry {
    /// The topic's id, 16 bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub topic_id: Vec<u8>,
    /// The topic's name.
    #[prost(string, tag = "2")]
    pub topic: String,
    /// The partition's index.
    #[prost(int32, tag = "3")]
    pub partition: i32,
    /// First offset.
    #[prost(int64, tag = "4")]
    pub base_offset: i64,
    /// The rest of what is known of it.
    #[prost(message, required, tag = "5")]
    pub segment: RemoteSegmentValue,
}

/// Why bytes are no record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Damaged, or another kind of file.
    #[error("it is no part of a manifest, or damaged: {0}")]
    Damaged(String),
    /// Written by a newer version.
    #[error("it has format version {0}, this binary knows version {VERSION}")]
    Newer(u16),
}

impl Record {
    /// As an object.
    pub fn encode_object(&self) -> Bytes {
        let body = self.encode_to_vec();
        let mut bytes = Vec::with_capacity(HEAD_BYTES + body.len());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_be_bytes());
        bytes.extend_from_slice(&crc32c::crc32c(&body).to_be_bytes());
        bytes.extend_from_slice(&body);
        bytes.into()
    }

    /// From an object.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn decode_object(bytes: &[u8]) -> Result<Self, RecordError> {
        let damaged = |what: &str| RecordError::Damaged(what.to_owned());
        let (head, body) =
            bytes.split_at_checked(HEAD_BYTES).ok_or_else(|| damaged("it is shorter than a head"))?;
        if head[..8] != MAGIC {
            return Err(damaged("it does not begin with CHRONMAN"));
        }
        let version = u16::from_be_bytes([head[8], head[9]]);
        if version != VERSION {
            return Err(RecordError::Newer(version));
        }
        if u32::from_be_bytes([head[10], head[11], head[12], head[13]]) != crc32c::crc32c(body) {
            return Err(damaged("its CRC-32C does not match"));
        }
        Self::decode(body).map_err(|error| RecordError::Damaged(error.to_string()))
    }
}
