//! Looks at the heads of record batches that lie in pieces, without joining them.

use bytes::Bytes;
use chronik_protocol::batch::Compression;

/// The codec in a batch's attributes.
const CODEC_MASK: u8 = 0x07;

/// The fields of a batch header that the walk needs end here: base offset 0..8, length 8..12, attributes 21..23,
/// last offset delta 23..27.
const WALKED_HEADER_BYTES: usize = 27;
const LENGTH_END: usize = 12;

/// Calls `visit` with the head of each batch.
fn walk(chunks: &[Bytes], mut visit: impl FnMut(&[u8; WALKED_HEADER_BYTES])) {
    let mut rest = Pieces { chunks, at: 0 };
    let mut head = [0; WALKED_HEADER_BYTES];
    while rest.copy(&mut head) {
        visit(&head);
        let length = i32::from_be_bytes([head[8], head[9], head[10], head[11]]);
        let length = usize::try_from(length).unwrap_or(0);
        // The log holds whole batches only; a shorter one would end the walk here.
        let Some(skip) = (LENGTH_END + length).checked_sub(WALKED_HEADER_BYTES) else { return };
        rest.skip(skip);
    }
}

/// A place in bytes that lie in pieces.
struct Pieces<'a> {
    chunks: &'a [Bytes],
    at: usize,
}

impl Pieces<'_> {
    fn skip(&mut self, mut bytes: usize) {
        while let Some(first) = self.chunks.first() {
            let here = first.len() - self.at;
            if bytes < here {
                self.at += bytes;
                return;
            }
            bytes -= here;
            self.at = 0;
            self.chunks = &self.chunks[1..];
        }
    }

    /// Takes as many bytes as `out` has; false when there are fewer.
    fn copy(&mut self, out: &mut [u8]) -> bool {
        let mut filled = 0;
        while filled < out.len() {
            let Some(first) = self.chunks.first() else { return false };
            let piece = &first[self.at..];
            let taken = piece.len().min(out.len() - filled);
            out[filled..filled + taken].copy_from_slice(&piece[..taken]);
            filled += taken;
            self.skip(taken);
        }
        true
    }
}

/// Whether any batch is compressed with zstd.
pub(super) fn has_zstd(chunks: &[Bytes]) -> bool {
    let zstd = Compression::Zstd.id();
    let mut found = false;
    walk(chunks, |head| found |= head[22] & CODEC_MASK == zstd);
    found
}

/// The offset after the last record.
pub(super) fn end_offset(chunks: &[Bytes]) -> Option<i64> {
    let mut end = None;
    walk(chunks, |head| {
        let (base, rest) = head.split_at(8);
        let base = base.try_into().map_or(0, i64::from_be_bytes);
        let delta = rest[15..].try_into().map_or(0, i32::from_be_bytes);
        end = Some(base + i64::from(delta) + 1);
    });
    end
}

#[cfg(test)]
mod tests {
    use super::*;
    use chronik_protocol::batch::BatchBuilder;

    #[test]
    fn batches_are_walked_however_they_are_cut() {
        let plain =
            BatchBuilder::new().base_offset(5).record(1, None, Some(b"a")).record(1, None, Some(b"b"));
        let zstd = BatchBuilder::new().base_offset(7).compression(Compression::Zstd, None).record(
            1,
            None,
            Some(b"c"),
        );
        let (plain, zstd) = (plain.build().unwrap(), zstd.build().unwrap());
        let both = Bytes::from([&plain[..], &zstd[..]].concat());
        for size in 1..both.len() {
            let pieces: Vec<Bytes> =
                (0..both.len()).step_by(size).map(|at| both.slice(at..both.len().min(at + size))).collect();
            assert!(has_zstd(&pieces));
            assert_eq!(end_offset(&pieces), Some(8));
        }
        assert!(!has_zstd(std::slice::from_ref(&plain)));
        assert_eq!(end_offset(&[plain]), Some(7));
        assert_eq!(end_offset(&[]), None);
    }
}
