//! xxHash32 with seed 0, the checksum of LZ4 frames; after the algorithm's published description.

const P1: u32 = 0x9E37_79B1;
const P2: u32 = 0x85EB_CA77;
const P3: u32 = 0xC2B2_AE3D;
const P4: u32 = 0x27D4_EB2F;
const P5: u32 = 0x1656_67B1;

const STRIPE_BYTES: usize = 16;

/// A running checksum.
pub(crate) struct Xxh32 {
    lanes: [u32; 4],
    pending: [u8; STRIPE_BYTES],
    pending_len: usize,
    total: u32,
    striped: bool,
}

/// The checksum of one slice.
pub(crate) fn xxh32(bytes: &[u8]) -> u32 {
    let mut hasher = Xxh32::new();
    hasher.update(bytes);
    hasher.finish()
}

impl Xxh32 {
    pub(crate) fn new() -> Self {
        let lanes = [P1.wrapping_add(P2), P2, 0, 0u32.wrapping_sub(P1)];
        Self { lanes, pending: [0; STRIPE_BYTES], pending_len: 0, total: 0, striped: false }
    }

    pub(crate) fn update(&mut self, mut bytes: &[u8]) {
        // The length counts modulo 2^32 by definition.
        let [b0, b1, b2, b3, ..] = bytes.len().to_le_bytes();
        self.total = self.total.wrapping_add(u32::from_le_bytes([b0, b1, b2, b3]));
        if self.pending_len > 0 {
            let count = bytes.len().min(STRIPE_BYTES - self.pending_len);
            let (head, rest) = bytes.split_at_checked(count).unwrap_or((bytes, &[]));
            if let Some(room) = self.pending.get_mut(self.pending_len..self.pending_len + count) {
                room.copy_from_slice(head);
            }
            self.pending_len += count;
            bytes = rest;
            if self.pending_len < STRIPE_BYTES {
                return;
            }
            let stripe = self.pending;
            self.stripe(&stripe);
            self.pending_len = 0;
        }
        let (stripes, rest) = bytes.as_chunks::<STRIPE_BYTES>();
        for stripe in stripes {
            self.stripe(stripe);
        }
        if let Some(room) = self.pending.get_mut(..rest.len()) {
            room.copy_from_slice(rest);
        }
        self.pending_len = rest.len();
    }

    #[inline]
    fn stripe(&mut self, stripe: &[u8; STRIPE_BYTES]) {
        self.striped = true;
        for (lane, word) in self.lanes.iter_mut().zip(stripe.as_chunks::<4>().0) {
            let word = u32::from_le_bytes(*word);
            *lane = lane.wrapping_add(word.wrapping_mul(P2)).rotate_left(13).wrapping_mul(P1);
        }
    }

    pub(crate) fn finish(&self) -> u32 {
        let [a, b, c, d] = self.lanes;
        let mut hash = match self.striped {
            true => a
                .rotate_left(1)
                .wrapping_add(b.rotate_left(7))
                .wrapping_add(c.rotate_left(12))
                .wrapping_add(d.rotate_left(18)),
            false => P5,
        };
        hash = hash.wrapping_add(self.total);
        let rest = self.pending.get(..self.pending_len).unwrap_or_default();
        let (words, bytes) = rest.as_chunks::<4>();
        for word in words {
            hash = hash.wrapping_add(u32::from_le_bytes(*word).wrapping_mul(P3));
            hash = hash.rotate_left(17).wrapping_mul(P4);
        }
        for byte in bytes {
            hash = hash.wrapping_add(u32::from(*byte).wrapping_mul(P5)).rotate_left(11).wrapping_mul(P1);
        }
        hash = (hash ^ (hash >> 15)).wrapping_mul(P2);
        hash = (hash ^ (hash >> 13)).wrapping_mul(P3);
        hash ^ (hash >> 16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_checksums() {
        assert_eq!(xxh32(b""), 0x02CC_5D05);
        assert_eq!(xxh32(b"a"), 0x550D_7456);
        assert_eq!(xxh32(b"abc"), 0x32D1_53FF);
        assert_eq!(xxh32(b"Nobody inspects the spammish repetition"), 0xE229_3B2F);
    }

    #[test]
    fn pieces_add_up_to_the_whole() {
        let bytes: Vec<u8> = (0..200u8).collect();
        for cut in 0..bytes.len() {
            for second in [cut, cut + 1, cut + 15, cut + 17] {
                let second = second.min(bytes.len());
                let mut hasher = Xxh32::new();
                hasher.update(&bytes[..cut]);
                hasher.update(&bytes[cut..second]);
                hasher.update(&bytes[second..]);
                assert_eq!(hasher.finish(), xxh32(&bytes), "{cut} {second}");
            }
        }
    }
}
