//! The bytes of records: the same in every run, and about as compressible as application data.
//!
//! Owns the value layout of end-to-end runs: sequence number (8), time it was due in nanoseconds
//! since the run began (8), filler. Both integers are big-endian.

/// Bytes the end-to-end stamp takes; the command line allows no smaller value.
pub const STAMP_BYTES: usize = 16;

/// `length` bytes, half of them random letters and half words seen before: codecs reach a ratio of
/// about two, neither the nothing of random bytes nor the everything of zeros.
pub fn filler(length: usize) -> Vec<u8> {
    const WORDS: [&[u8]; 8] = [
        b"timestamp=",
        b" level=info",
        b" user=",
        b" request=",
        b" status=200",
        b" bytes=",
        b" path=/orders/",
        b" region=eu",
    ];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut out = Vec::with_capacity(length + 32);
    while out.len() < length {
        // xorshift64: any full-period generator would do, this one needs no crate.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let word = WORDS[(state & 7) as usize];
        out.extend_from_slice(word);
        out.extend((0..word.len()).map(|i| b'a' + ((state >> (3 + i * 4)) % 26) as u8));
    }
    out.truncate(length);
    out
}

/// Writes the stamp over the beginning of `value`.
pub fn stamp(value: &mut [u8], sequence: u64, due_ns: u64) {
    value[..8].copy_from_slice(&sequence.to_be_bytes());
    value[8..STAMP_BYTES].copy_from_slice(&due_ns.to_be_bytes());
}

/// Reads sequence and due time back; none when the value is too short to hold them.
pub fn read_stamp(value: &[u8]) -> Option<(u64, u64)> {
    let integer = |at: usize| {
        let bytes = value.get(at..at + 8)?;
        Some(u64::from_be_bytes(bytes.try_into().expect("eight bytes were taken")))
    };
    Some((integer(0)?, integer(8)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filler_is_the_same_every_time_and_of_the_asked_length() {
        for length in [16, 100, 1_000, 65_536] {
            assert_eq!(filler(length).len(), length);
            assert_eq!(filler(length), filler(length));
        }
    }

    #[test]
    fn a_stamp_reads_back() {
        let mut value = filler(100);
        stamp(&mut value, 7, u64::MAX - 1);
        assert_eq!(read_stamp(&value), Some((7, u64::MAX - 1)));
        assert_eq!(read_stamp(&value[..15]), None);
    }
}
