//! The message codec: the one file that names the crate behind it, so that it can be replaced here.
//!
//! Owns header versions and decode limits. Does not know which versions the broker serves, and never looks inside
//! record batches: they pass through as [`Bytes`].

mod shape;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_wire_core::{DecodeLimits, Decoder};

/// All messages of Kafka's schemas, generated.
pub use kafka_wire as messages;
pub use kafka_wire::{KafkaMessage, KafkaRequest, KafkaResponse, RequestResponsePair};
pub use kafka_wire_core::{ApiKey, ApiVersion, KafkaDecode, KafkaEncode, StrBytes, Uuid};

use crate::limits::{ARRAY_ELEMENTS_MAX, STRING_BYTES_MAX, TAGGED_FIELDS_MAX};
pub use crate::message;
pub use shape::produce_partitions;

/// Bytes of a frame's length prefix.
const LENGTH_PREFIX_BYTES: usize = 4;

/// Why bytes are not the message they were taken for, or a message cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The bytes do not follow the schema.
    #[error("{0}")]
    Decode(#[from] kafka_wire_core::DecodeError),
    /// The value has no form in this version.
    #[error("{0}")]
    Encode(#[from] kafka_wire_core::EncodeError),
    /// No schema has this key.
    #[error("no API has the key {0}")]
    UnknownApi(i16),
    /// The schema does not have this version.
    #[error("the API {api_key} has no version {api_version}")]
    UnknownVersion {
        /// Which API.
        api_key: i16,
        /// The version asked for.
        api_version: i16,
    },
    /// The message does not fit a frame.
    #[error("a message of {0} bytes does not fit a frame")]
    TooLarge(usize),
}

/// A request's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHeader {
    /// Which API.
    pub api_key: i16,
    /// Which version of it.
    pub api_version: i16,
    /// Comes back in the response.
    pub correlation_id: i32,
    /// What the client calls itself.
    pub client_id: Option<StrBytes>,
}

/// The versions that the codec can read of an API; the broker's own table says which it serves.
pub fn supported_versions(api_key: i16) -> Option<(i16, i16)> {
    let range = descriptor(api_key)?.supported_versions;
    Some((range.min().value(), range.max().value()))
}

/// Reads a frame's header (version 1, or 2 for flexible request versions) and advances `frame` to the body.
///
/// # Errors
/// [`CodecError`] for an unknown API or version, and for a header that is cut short or malformed.
pub fn decode_request_header(frame: &mut Bytes) -> Result<RequestHeader, CodecError> {
    let preamble = frame.first_chunk::<4>().copied();
    let [k0, k1, v0, v1] = preamble.ok_or(kafka_wire_core::DecodeError::UnexpectedEnd {
        offset: 0,
        needed: 4,
        remaining: frame.len(),
    })?;
    let (api_key, api_version) = (i16::from_be_bytes([k0, k1]), i16::from_be_bytes([v0, v1]));
    let api = descriptor(api_key).ok_or(CodecError::UnknownApi(api_key))?;
    let version = ApiVersion::new(api_version);
    if !api.supported_versions.contains(version) {
        return Err(CodecError::UnknownVersion { api_key, api_version });
    }
    let flexible = api.flexible_versions.is_some_and(|range| range.contains(version));
    let header_version = ApiVersion::new(messages::request_header_version(flexible));
    let mut decoder = Decoder::new(frame.clone(), limits(frame.len()))?;
    let header = messages::RequestHeader::decode(&mut decoder, header_version)?;
    frame.advance(decoder.offset());
    Ok(RequestHeader {
        api_key,
        api_version,
        correlation_id: header.correlation_id,
        client_id: header.client_id,
    })
}

/// Reads a request's body. Bytes behind it are ignored, as Kafka ignores them: librdkafka 2 sends three of them with each
/// Metadata that asks for every topic.
///
/// Byte fields share the memory of `body`. Beyond them a hostile body makes this allocate at most the arrays that its
/// bytes pay for: an element costs at least one byte on the wire and at most a few hundred in memory.
///
/// # Errors
/// [`CodecError`] when the body does not follow the schema.
pub fn decode_body<R: KafkaRequest>(body: Bytes, version: i16) -> Result<R, CodecError> {
    let limits = limits(body.len());
    let mut decoder = Decoder::new(body, limits)?;
    Ok(R::decode(&mut decoder, ApiVersion::new(version))?)
}

/// Reads any message without its header, to the last byte.
///
/// # Errors
/// [`CodecError`] when the bytes do not follow the schema, or are followed by more.
pub fn decode_message<M: KafkaMessage>(body: Bytes, version: i16) -> Result<M, CodecError> {
    let limits = limits(body.len());
    Ok(M::decode_from_bytes(body, ApiVersion::new(version), limits)?)
}

/// Writes a whole response frame: length, header (version 0, or 1 for flexible versions; ApiVersions always 0), body.
///
/// # Errors
/// [`CodecError`] when a field that is set does not exist in this version.
pub fn encode_response<M: KafkaResponse>(
    correlation_id: i32,
    message: &M,
    version: i16,
) -> Result<Bytes, CodecError> {
    let mut frame = BytesMut::new();
    frame.put_i32(0);
    frame.put_i32(correlation_id);
    if response_header_version::<M>(version) >= 1 {
        // No tagged fields (KIP-482).
        frame.put_u8(0);
    }
    encode_response_body_into(message, version, &mut frame)?;
    finish_frame(frame)
}

/// Appends a message without header to `buffer`, and returns how many bytes it took.
///
/// # Errors
/// As [`encode_response`]; `buffer` is then as it was.
pub fn encode_response_body_into<M: KafkaMessage>(
    message: &M,
    version: i16,
    buffer: &mut BytesMut,
) -> Result<usize, CodecError> {
    Ok(message.encode_into(buffer, ApiVersion::new(version))?)
}

/// The header version of a response; the header is the correlation id, and from version 1 on tagged fields.
pub fn response_header_version<M: KafkaResponse>(version: i16) -> i16 {
    let version = ApiVersion::new(version);
    messages::response_header_version(M::API_KEY, version, M::is_flexible(version))
}

/// The client's half: writes a whole request frame, length included.
///
/// # Errors
/// [`CodecError`] when a field that is set does not exist in this version.
pub fn encode_request<'a, R: KafkaRequest>(
    correlation_id: i32,
    client_id: impl Into<Option<&'a str>>,
    request: &R,
    version: i16,
) -> Result<Bytes, CodecError> {
    let version = ApiVersion::new(version);
    let header = message!(messages::RequestHeader {
        request_api_key: R::API_KEY.value(),
        request_api_version: version.value(),
        correlation_id: correlation_id,
        client_id: client_id.into().map(StrBytes::from),
    });
    let header_version = ApiVersion::new(messages::request_header_version(R::is_flexible(version)));
    let mut frame = BytesMut::new();
    frame.put_i32(0);
    header.encode_into(&mut frame, header_version)?;
    request.encode_into(&mut frame, version)?;
    finish_frame(frame)
}

/// The client's half: reads a response frame without its length prefix, and returns its correlation id with it.
///
/// # Errors
/// [`CodecError`] when the frame does not follow the schema.
pub fn decode_response<R: RequestResponsePair>(
    mut frame: Bytes,
    version: i16,
) -> Result<(i32, R::Response), CodecError> {
    let header_version = ApiVersion::new(response_header_version::<R::Response>(version));
    let mut decoder = Decoder::new(frame.clone(), limits(frame.len()))?;
    let header = messages::ResponseHeader::decode(&mut decoder, header_version)?;
    frame.advance(decoder.offset());
    Ok((header.correlation_id, decode_message(frame, version)?))
}

fn descriptor(api_key: i16) -> Option<&'static messages::ApiDescriptor> {
    let index = messages::API_DESCRIPTORS.binary_search_by_key(&api_key, |api| api.api_key.value()).ok()?;
    messages::API_DESCRIPTORS.get(index)
}

fn finish_frame(mut frame: BytesMut) -> Result<Bytes, CodecError> {
    let size = frame.len().saturating_sub(LENGTH_PREFIX_BYTES);
    let length = i32::try_from(size).map_err(|_| CodecError::TooLarge(size))?;
    if let Some(prefix) = frame.first_chunk_mut::<LENGTH_PREFIX_BYTES>() {
        *prefix = length.to_be_bytes();
    }
    Ok(frame.freeze())
}

/// Nothing in a message may be longer than the bytes it came in. Records and the opaque metadata of group protocols
/// are byte fields, and may fill the frame.
fn limits(size: usize) -> DecodeLimits {
    let mut limits = DecodeLimits::default();
    limits.max_frame_bytes = size;
    limits.max_bytes_bytes = size;
    limits.max_string_bytes = size.min(STRING_BYTES_MAX);
    limits.max_array_elements = size.min(ARRAY_ELEMENTS_MAX);
    limits.max_tagged_fields = TAGGED_FIELDS_MAX;
    limits.max_tag_bytes = size;
    limits.max_total_tag_bytes = size;
    limits
}

#[cfg(test)]
mod tests;
