//! Length-prefixed frames: what the first four bytes may say, and the eight that every request begins with.
//!
//! Owns no buffer and reads from no socket; the caller allocates after [`frame_length`] has agreed.
//!
//! | bytes | request frame |
//! |-|-|
//! | 0..4 | length of the rest, i32 |
//! | 4..6 | api key, i16 |
//! | 6..8 | api version, i16 |
//! | 8..12 | correlation id, i32 |
//! | 12.. | client id, tagged fields, body |

/// Bytes that every request has after its length: key, version, correlation id.
pub const PREAMBLE_BYTES: usize = 8;

/// What a connection accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameLimits {
    /// Bytes of the largest frame, its length prefix not counted (Kafka's `socket.request.max.bytes`).
    pub max_bytes: usize,
}

/// Why a connection must be closed without an answer (Kafka's `NetworkReceive`, `InvalidReceiveException`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The length prefix is below zero.
    #[error("the frame length {0} is negative")]
    Negative(i32),
    /// The length prefix is beyond the limit.
    #[error("the frame length {size} is over the limit of {max} bytes")]
    TooLarge {
        /// Bytes announced.
        size: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// No room for a request's first fields.
    #[error("a frame of {0} bytes cannot hold a request")]
    TooShort(usize),
}

/// Reads a length prefix.
///
/// # Errors
/// [`FrameError`] when negative, over `max` bytes, or too short for any request.
pub fn frame_length(prefix: [u8; 4], max: usize) -> Result<usize, FrameError> {
    let length = i32::from_be_bytes(prefix);
    let size = usize::try_from(length).map_err(|_| FrameError::Negative(length))?;
    if size > max {
        return Err(FrameError::TooLarge { size, max });
    }
    if size < PREAMBLE_BYTES {
        return Err(FrameError::TooShort(size));
    }
    Ok(size)
}

/// The fields of a request that have one place in every header version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestPreamble {
    /// Which API.
    pub api_key: i16,
    /// Which version of it.
    pub api_version: i16,
    /// Comes back in the response.
    pub correlation_id: i32,
}

impl RequestPreamble {
    /// Reads the beginning of a frame without its length prefix.
    ///
    /// # Errors
    /// [`FrameError::TooShort`].
    pub fn parse(frame: &[u8]) -> Result<Self, FrameError> {
        let Some(&[k0, k1, v0, v1, c0, c1, c2, c3]) = frame.first_chunk::<PREAMBLE_BYTES>() else {
            return Err(FrameError::TooShort(frame.len()));
        };
        Ok(Self {
            api_key: i16::from_be_bytes([k0, k1]),
            api_version: i16::from_be_bytes([v0, v1]),
            correlation_id: i32::from_be_bytes([c0, c1, c2, c3]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // semantics 3.1.1
    #[test]
    fn lengths_outside_the_bounds_are_refused() {
        assert_eq!(frame_length((-1i32).to_be_bytes(), 100), Err(FrameError::Negative(-1)));
        assert_eq!(frame_length(i32::MIN.to_be_bytes(), 100), Err(FrameError::Negative(i32::MIN)));
        assert_eq!(
            frame_length(101i32.to_be_bytes(), 100),
            Err(FrameError::TooLarge { size: 101, max: 100 })
        );
        assert_eq!(frame_length(7i32.to_be_bytes(), 100), Err(FrameError::TooShort(7)));
        assert_eq!(frame_length(8i32.to_be_bytes(), 100), Ok(8));
        assert_eq!(frame_length(100i32.to_be_bytes(), 100), Ok(100));
    }

    #[test]
    fn the_preamble_is_read_from_its_place() {
        let frame = [0, 18, 0, 3, 0x7f, 0, 0, 1, 0xff];
        let expected = RequestPreamble { api_key: 18, api_version: 3, correlation_id: 0x7f00_0001 };
        assert_eq!(RequestPreamble::parse(&frame), Ok(expected));
        assert_eq!(RequestPreamble::parse(&frame[..7]), Err(FrameError::TooShort(7)));
    }
}
