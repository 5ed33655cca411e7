//! The codecs of record batches, each under an output ceiling.
//!
//! No size in the compressed bytes is believed: output grows with what the input can pay for, and stops at the
//! ceiling. Reads every form real clients write: gzip members and zstd frames may repeat, snappy comes framed by
//! xerial (Java) or as one raw block (librdkafka), lz4 as its frame format with linked or independent blocks.

use std::cell::RefCell;
use std::io::{Read, Write};

use crate::{lz4, snappy};

/// A codec, by its number in the batch attributes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Compression {
    /// Records as they are.
    #[default]
    None = 0,
    /// RFC 1952.
    Gzip = 1,
    /// Snappy blocks, framed as the Java library xerial does.
    Snappy = 2,
    /// LZ4 frames.
    Lz4 = 3,
    /// Zstandard frames (KIP-110).
    Zstd = 4,
}

impl Compression {
    /// All of them, by number.
    pub const ALL: [Compression; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// The number on the wire.
    pub const fn id(self) -> u8 {
        self as u8
    }

    /// The codec of a number.
    pub const fn from_id(id: u8) -> Option<Self> {
        match id {
            0 => Some(Self::None),
            1 => Some(Self::Gzip),
            2 => Some(Self::Snappy),
            3 => Some(Self::Lz4),
            4 => Some(Self::Zstd),
            _ => None,
        }
    }

    /// Kafka's name, as in `compression.type`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

/// Why bytes cannot be decompressed, or compressed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompressionError {
    /// More would come out than is allowed.
    #[error("decompressing {codec} needs more than {max} bytes", codec = codec.name())]
    TooLarge {
        /// Which codec.
        codec: Compression,
        /// Bytes allowed.
        max: usize,
    },
    /// The bytes are not of this codec, or are damaged.
    #[error("malformed {codec} data: {reason}", codec = codec.name())]
    Malformed {
        /// Which codec.
        codec: Compression,
        /// What is wrong.
        reason: String,
    },
}

pub(crate) fn malformed(codec: Compression, reason: impl ToString) -> CompressionError {
    CompressionError::Malformed { codec, reason: reason.to_string() }
}

/// Bytes by which output is grown when its size is not known.
const GROWTH_BYTES: usize = 64 << 10;

/// Replaces what is in `out` by the decompressed `src`, at most `max_out` bytes.
///
/// Whatever `src` says, `out` grows to no more than `max_out` bytes, give or take one step of a vector's growth below
/// that. After an error `out` holds anything.
///
/// # Errors
/// [`CompressionError`].
pub fn decompress(
    codec: Compression,
    src: &[u8],
    max_out: usize,
    out: &mut Vec<u8>,
) -> Result<(), CompressionError> {
    out.clear();
    match codec {
        Compression::None => {
            if src.len() > max_out {
                return Err(CompressionError::TooLarge { codec, max: max_out });
            }
            out.extend_from_slice(src);
            Ok(())
        }
        Compression::Gzip => read_bounded(flate2::bufread::MultiGzDecoder::new(src), src.len(), max_out, out),
        Compression::Snappy => snappy::decompress(src, max_out, out),
        Compression::Lz4 => lz4::decompress(src, max_out, out),
        Compression::Zstd => decompress_zstd(src, max_out, out),
    }
}

/// Replaces what is in `out` by the compressed `src`. Without a level, or with one the codec has no use for (snappy;
/// lz4, whose encoder here knows only its fast mode), the codec's default is used. Levels are Kafka's (KIP-390).
///
/// # Errors
/// [`CompressionError`] when the codec refuses the level.
pub fn compress(
    codec: Compression,
    level: Option<i32>,
    src: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), CompressionError> {
    out.clear();
    match codec {
        Compression::None => {
            out.extend_from_slice(src);
            Ok(())
        }
        Compression::Gzip => compress_gzip(level, src, out),
        Compression::Snappy => snappy::compress(src, out),
        Compression::Lz4 => lz4::compress(src, out),
        Compression::Zstd => compress_zstd(level, src, out),
    }
}

fn compress_gzip(level: Option<i32>, src: &[u8], out: &mut Vec<u8>) -> Result<(), CompressionError> {
    let failed = |error| malformed(Compression::Gzip, error);
    let level = match level {
        None | Some(-1) => flate2::Compression::default(),
        Some(level) => match u32::try_from(level) {
            Ok(level @ 0..=9) => flate2::Compression::new(level),
            _ => return Err(malformed(Compression::Gzip, format!("no level {level}"))),
        },
    };
    let mut encoder = flate2::write::GzEncoder::new(out, level);
    encoder.write_all(src).map_err(failed)?;
    encoder.finish().map_err(failed)?;
    Ok(())
}

/// Reads everything from a decoder, growing `out` in steps and never past `max_out`.
fn read_bounded(
    mut decoder: impl Read,
    src_len: usize,
    max_out: usize,
    out: &mut Vec<u8>,
) -> Result<(), CompressionError> {
    let codec = Compression::Gzip;
    let mut filled = 0usize;
    loop {
        if filled == out.len() {
            // One byte is asked for past the ceiling, to tell an exact fit from too much.
            if filled >= max_out {
                return match decoder.read(&mut [0]) {
                    Ok(0) => Ok(()),
                    Ok(_) => Err(CompressionError::TooLarge { codec, max: max_out }),
                    Err(error) => Err(malformed(codec, error)),
                };
            }
            let step = filled.max(src_len).max(GROWTH_BYTES);
            let len = filled.saturating_add(step).min(max_out);
            out.reserve_exact(len - filled);
            out.resize(len, 0);
        }
        let room = out.get_mut(filled..).unwrap_or_default();
        match decoder.read(room) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(malformed(codec, error)),
        }
    }
    out.truncate(filled);
    Ok(())
}

thread_local! {
    // A context is some 100 KB, and making one for each small batch would cost more than the batch.
    static ZSTD_DECODER: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
    static ZSTD_ENCODER: RefCell<Option<zstd::bulk::Compressor<'static>>> = const { RefCell::new(None) };
}

/// In one go into `out`, so that no window is allocated whatever size the frame header asks for (up to 4 GB).
/// Without a content size in the frame (every streaming encoder) the room is doubled until it fits.
fn decompress_zstd(src: &[u8], max_out: usize, out: &mut Vec<u8>) -> Result<(), CompressionError> {
    let codec = Compression::Zstd;
    let too_large = CompressionError::TooLarge { codec, max: max_out };
    let announced = zstd::bulk::Decompressor::upper_bound(src);
    let most = max_zstd_output(src).min(max_out);
    let guess = src.len().saturating_mul(4).max(GROWTH_BYTES);
    let mut room = announced.unwrap_or(guess).min(most);
    ZSTD_DECODER.with_borrow_mut(|slot| {
        let decoder = match slot {
            Some(decoder) => decoder,
            None => slot.insert(zstd::bulk::Decompressor::new().map_err(|error| malformed(codec, error))?),
        };
        loop {
            out.clear();
            out.reserve_exact(room);
            match decoder.decompress_to_buffer(src, out) {
                Ok(size) if size > max_out => return Err(too_large),
                Ok(_) => return Ok(()),
                Err(error) if !is_room_error(&error) => return Err(malformed(codec, error)),
                Err(_) if room >= max_out => return Err(too_large),
                Err(error) if room >= most => return Err(malformed(codec, error)),
                Err(_) => room = room.saturating_mul(2).max(GROWTH_BYTES).min(most),
            }
        }
    })
}

/// The most that these bytes can become: a block makes at most 128 KB, and takes at least its header of 3 bytes and
/// one more.
fn max_zstd_output(src: &[u8]) -> usize {
    const BLOCK_BYTES_MAX: usize = 128 << 10;
    (src.len() / 4 + 1).saturating_mul(BLOCK_BYTES_MAX)
}

/// The binding has only zstd's text (`ZSTD_error_dstSize_tooSmall`); a test holds it to this.
fn is_room_error(error: &std::io::Error) -> bool {
    error.to_string().contains("estination buffer is too small")
}

fn compress_zstd(level: Option<i32>, src: &[u8], out: &mut Vec<u8>) -> Result<(), CompressionError> {
    let failed = |error| malformed(Compression::Zstd, error);
    let level = level.unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL);
    if !zstd::compression_level_range().contains(&level) {
        return Err(malformed(Compression::Zstd, format!("no level {level}")));
    }
    ZSTD_ENCODER.with_borrow_mut(|slot| {
        let encoder = match slot {
            Some(encoder) => encoder,
            None => slot.insert(zstd::bulk::Compressor::new(level).map_err(failed)?),
        };
        encoder.set_compression_level(level).map_err(failed)?;
        out.reserve(zstd::zstd_safe::compress_bound(src.len()));
        encoder.compress_to_buffer(src, out).map_err(failed)?;
        Ok(())
    })
}

#[cfg(test)]
mod tests;
