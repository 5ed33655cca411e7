//! Snappy as Kafka's clients write it: xerial's framing from Java, one raw block from librdkafka.
//!
//! | bytes | xerial stream |
//! |-|-|
//! | 0..8 | `82 S N A P P Y 00` |
//! | 8..12 | version, i32 (1) |
//! | 12..16 | lowest compatible version, i32 (1) |
//! | then | chunks: length i32, one snappy block; a stream header may come again in place of a chunk |

use crate::compression::{Compression, CompressionError, malformed};
use crate::varint::Reader;

const MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
/// The magic's first four bytes, where a chunk's length would be; as a length it is negative.
const MAGIC_AS_LENGTH: i32 = i32::from_be_bytes([0x82, b'S', b'N', b'A']);
const VERSION: i32 = 1;
/// Bytes of a chunk before compression, as in xerial's `SnappyOutputStream`.
const CHUNK_BYTES: usize = 32 << 10;
/// The most that one byte of a block can become: three bytes copy up to 64.
const EXPANSION_MAX: usize = 64;

const CODEC: Compression = Compression::Snappy;

/// Appends the decompressed `src` to the empty `out`.
pub(crate) fn decompress(src: &[u8], max_out: usize, out: &mut Vec<u8>) -> Result<(), CompressionError> {
    if !src.starts_with(&MAGIC) {
        return block(src, max_out, out);
    }
    let mut reader = Reader::new(src);
    while reader.remaining() > 0 {
        let length = reader.i32_be().ok_or_else(cut)?;
        if length == MAGIC_AS_LENGTH {
            // The rest of the magic, and two versions that nobody ever raised.
            let head = reader.take(12).ok_or_else(cut)?;
            if !head.starts_with(b"PPY\0") {
                return Err(malformed(CODEC, "a damaged stream header"));
            }
            continue;
        }
        let length = usize::try_from(length).map_err(|_| malformed(CODEC, "a negative chunk length"))?;
        block(reader.take(length).ok_or_else(cut)?, max_out, out)?;
    }
    Ok(())
}

fn cut() -> CompressionError {
    malformed(CODEC, "cut short")
}

fn block(src: &[u8], max_out: usize, out: &mut Vec<u8>) -> Result<(), CompressionError> {
    let size = snap::raw::decompress_len(src).map_err(|error| malformed(CODEC, error))?;
    let start = out.len();
    let end = start.saturating_add(size);
    if end > max_out {
        return Err(CompressionError::TooLarge { codec: CODEC, max: max_out });
    }
    if size > src.len().saturating_mul(EXPANSION_MAX) {
        return Err(malformed(CODEC, "a block announces more than its bytes can hold"));
    }
    out.resize(end, 0);
    let room = out.get_mut(start..).unwrap_or_default();
    let written = snap::raw::Decoder::new().decompress(src, room).map_err(|error| malformed(CODEC, error))?;
    if written == size { Ok(()) } else { Err(cut()) }
}

/// Appends `src` in xerial's framing to the empty `out`.
pub(crate) fn compress(src: &[u8], out: &mut Vec<u8>) -> Result<(), CompressionError> {
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_be_bytes());
    out.extend_from_slice(&VERSION.to_be_bytes());
    let mut encoder = snap::raw::Encoder::new();
    let mut chunk = vec![0; snap::raw::max_compress_len(CHUNK_BYTES.min(src.len()))];
    for piece in src.chunks(CHUNK_BYTES) {
        let size = encoder.compress(piece, &mut chunk).map_err(|error| malformed(CODEC, error))?;
        let length = i32::try_from(size).map_err(|error| malformed(CODEC, error))?;
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(chunk.get(..size).unwrap_or_default());
    }
    Ok(())
}
