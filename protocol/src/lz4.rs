//! The LZ4 frame format, read straight into the output. Legacy frames and dictionaries are refused.
//!
//! A reader of our own over the block codec: a library's frame reader allocates 12 MB for the 7 bytes of a header
//! that asks for linked blocks of 4 MB, and copies everything twice.
//!
//! | bytes | frame |
//! |-|-|
//! | 0..4 | `04 22 4D 18` |
//! | 4 | FLG: version 01 in bits 7-6, 5 independent blocks, 4 block checksums, 3 content size, 2 content checksum, 0 dictionary |
//! | 5 | BD: block size in bits 6-4: 4 = 64 KB, 5 = 256 KB, 6 = 1 MB, 7 = 4 MB |
//! | 6.. | content size u64 if FLG says so, then one byte of xxHash32 over FLG to here |
//! | then | blocks: length u32 (bit 31: stored uncompressed), bytes, xxHash32 if FLG says so; length 0 ends |
//! | then | xxHash32 of the content if FLG says so |

use std::io::Write;

use crate::compression::{Compression, CompressionError, malformed};
use crate::varint::Reader;
use crate::xxh32::{Xxh32, xxh32};

const CODEC: Compression = Compression::Lz4;
const MAGIC: u32 = 0x184D_2204;
/// `184D2A50` to `184D2A5F` begin frames that carry no data.
const SKIPPABLE_MAGIC: u32 = 0x184D_2A50;
const SKIPPABLE_MASK: u32 = 0xffff_fff0;
const STORED_BIT: u32 = 1 << 31;
/// How far back a linked block may refer.
const WINDOW_BYTES: usize = 64 << 10;
/// The most that one byte of a block can become: a length byte of 255.
const EXPANSION_MAX: usize = 255;

struct Descriptor {
    independent: bool,
    block_checksums: bool,
    content_size: Option<u64>,
    content_checksum: bool,
    block_bytes_max: usize,
}

/// Appends the decompressed `src` to the empty `out`.
pub(crate) fn decompress(src: &[u8], max_out: usize, out: &mut Vec<u8>) -> Result<(), CompressionError> {
    let mut reader = Reader::new(src);
    while reader.remaining() > 0 {
        let magic = reader.u32_le().ok_or_else(cut)?;
        if magic & SKIPPABLE_MASK == SKIPPABLE_MAGIC {
            let length = reader.u32_le().ok_or_else(cut)?;
            reader.take(length as usize).ok_or_else(cut)?;
            continue;
        }
        if magic != MAGIC {
            return Err(malformed(CODEC, "not an LZ4 frame"));
        }
        let descriptor = descriptor(&mut reader)?;
        frame(&mut reader, &descriptor, max_out, out)?;
    }
    Ok(())
}

fn cut() -> CompressionError {
    malformed(CODEC, "cut short")
}

fn descriptor(reader: &mut Reader<'_>) -> Result<Descriptor, CompressionError> {
    let start = reader.rest();
    let flags = reader.u8().ok_or_else(cut)?;
    let block = reader.u8().ok_or_else(cut)?;
    if flags >> 6 != 1 || flags & 0b10 != 0 || block & 0x8f != 0 {
        return Err(malformed(CODEC, "an unknown frame version"));
    }
    if flags & 1 != 0 {
        return Err(malformed(CODEC, "dictionaries are not supported"));
    }
    let content_size = match flags & 0b1000 {
        0 => None,
        _ => Some(reader.u64_le().ok_or_else(cut)?),
    };
    let hashed = start.get(..start.len() - reader.remaining()).unwrap_or_default();
    let [_, expected, ..] = xxh32(hashed).to_le_bytes();
    if reader.u8().ok_or_else(cut)? != expected {
        // Kafka's old message formats had writers that hashed too much here (KIP-57); batches of format 2 never did.
        return Err(malformed(CODEC, "the header checksum does not match"));
    }
    let block_bytes_max = match (block >> 4) & 7 {
        4 => 64 << 10,
        5 => 256 << 10,
        6 => 1 << 20,
        7 => 4 << 20,
        _ => return Err(malformed(CODEC, "an unknown block size")),
    };
    Ok(Descriptor {
        independent: flags & 0b10_0000 != 0,
        block_checksums: flags & 0b1_0000 != 0,
        content_size,
        content_checksum: flags & 0b100 != 0,
        block_bytes_max,
    })
}

fn frame(
    reader: &mut Reader<'_>,
    descriptor: &Descriptor,
    max_out: usize,
    out: &mut Vec<u8>,
) -> Result<(), CompressionError> {
    let frame_start = out.len();
    let mut hasher = Xxh32::new();
    loop {
        let length = reader.u32_le().ok_or_else(cut)?;
        if length == 0 {
            break;
        }
        let stored = length & STORED_BIT != 0;
        let size = (length & !STORED_BIT) as usize;
        if size > descriptor.block_bytes_max {
            return Err(malformed(CODEC, "a block is larger than its frame allows"));
        }
        let bytes = reader.take(size).ok_or_else(cut)?;
        if descriptor.block_checksums && reader.u32_le().ok_or_else(cut)? != xxh32(bytes) {
            return Err(malformed(CODEC, "a block checksum does not match"));
        }
        let block_start = out.len();
        if stored {
            if block_start.saturating_add(size) > max_out {
                return Err(CompressionError::TooLarge { codec: CODEC, max: max_out });
            }
            out.extend_from_slice(bytes);
        } else {
            let window_start = match descriptor.independent {
                true => block_start,
                false => frame_start.max(block_start.saturating_sub(WINDOW_BYTES)),
            };
            block(bytes, window_start, descriptor.block_bytes_max, max_out, out)?;
        }
        if descriptor.content_checksum {
            hasher.update(out.get(block_start..).unwrap_or_default());
        }
    }
    if descriptor.content_size.is_some_and(|size| size != (out.len() - frame_start) as u64) {
        return Err(malformed(CODEC, "the content size does not match"));
    }
    if descriptor.content_checksum && reader.u32_le().ok_or_else(cut)? != hasher.finish() {
        return Err(malformed(CODEC, "the content checksum does not match"));
    }
    Ok(())
}

/// Appends one compressed block; a linked one may copy from `out[window_start..]`.
fn block(
    bytes: &[u8],
    window_start: usize,
    block_bytes_max: usize,
    max_out: usize,
    out: &mut Vec<u8>,
) -> Result<(), CompressionError> {
    let start = out.len();
    let ceiling = max_out.saturating_sub(start);
    let possible = bytes.len().saturating_mul(EXPANSION_MAX).min(block_bytes_max);
    out.resize(start + possible.min(ceiling), 0);
    let Some((before, room)) = out.split_at_mut_checked(start) else { return Err(cut()) };
    let window = before.get(window_start..).unwrap_or_default();
    let written = match window.is_empty() {
        true => lz4_flex::block::decompress_into(bytes, room),
        false => lz4_flex::block::decompress_into_with_dict(bytes, room, window),
    };
    match written {
        Ok(written) => {
            out.truncate(start + written);
            Ok(())
        }
        Err(lz4_flex::block::DecompressError::OutputTooSmall { .. }) if possible > ceiling => {
            Err(CompressionError::TooLarge { codec: CODEC, max: max_out })
        }
        Err(error) => Err(malformed(CODEC, error)),
    }
}

/// Appends `src` as Kafka's Java client writes it: independent blocks of 64 KB, no checksums, no content size.
pub(crate) fn compress(src: &[u8], out: &mut Vec<u8>) -> Result<(), CompressionError> {
    use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
    let info = FrameInfo::new().block_mode(BlockMode::Independent).block_size(BlockSize::Max64KB);
    let mut encoder = FrameEncoder::with_frame_info(info, out);
    encoder.write_all(src).map_err(|error| malformed(CODEC, error))?;
    encoder.finish().map_err(|error| malformed(CODEC, error))?;
    Ok(())
}
