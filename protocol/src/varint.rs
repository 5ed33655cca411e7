//! A cursor over untrusted bytes, with the varints of record batches and of flexible messages (Kafka's `ByteUtils`).
//!
//! Reads nothing past its slice; a varint longer than its type needs (5 or 10 bytes) is an error, as in Kafka.

/// The bytes not yet read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn remaining(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.0
    }

    #[inline]
    pub(crate) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    #[inline]
    pub(crate) fn u8(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    pub(crate) fn u32_le(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn i16_be(&mut self) -> Option<i16> {
        self.array().map(i16::from_be_bytes)
    }

    pub(crate) fn i32_be(&mut self) -> Option<i32> {
        self.array().map(i32::from_be_bytes)
    }

    pub(crate) fn u64_le(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (&taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(taken)
    }

    /// A zig-zag varint of 32 bits. Bits beyond the 32nd are dropped, as Java's shift does.
    #[inline]
    pub(crate) fn varint(&mut self) -> Option<i32> {
        // Most are one byte.
        if let Some((&byte, rest)) = self.0.split_first()
            && byte < 0x80
        {
            self.0 = rest;
            return Some(i32::from(byte >> 1) ^ -i32::from(byte & 1));
        }
        self.long_varint()
    }

    fn long_varint(&mut self) -> Option<i32> {
        let raw = self.unsigned_varint()?;
        Some((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
    }

    /// A varint of 32 bits without a sign. Bits beyond the 32nd are dropped, too.
    pub(crate) fn unsigned_varint(&mut self) -> Option<u32> {
        let mut raw = 0u32;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.u8()?;
            raw |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(raw);
            }
        }
        None
    }

    /// A zig-zag varint of 64 bits.
    #[inline]
    pub(crate) fn varlong(&mut self) -> Option<i64> {
        if let Some((&byte, rest)) = self.0.split_first()
            && byte < 0x80
        {
            self.0 = rest;
            return Some(i64::from(byte >> 1) ^ -i64::from(byte & 1));
        }
        self.long_varlong()
    }

    fn long_varlong(&mut self) -> Option<i64> {
        let mut raw = 0u64;
        for shift in [0, 7, 14, 21, 28, 35, 42, 49, 56, 63] {
            let byte = self.u8()?;
            raw |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed());
            }
        }
        None
    }
}

/// Appends a zig-zag varint of 32 bits.
pub(crate) fn put_varint(out: &mut Vec<u8>, value: i32) {
    put_varlong(out, i64::from(value));
}

/// Appends a zig-zag varint of 64 bits; of a value that fits in 32 the bytes are the same as [`put_varint`]'s.
pub(crate) fn put_varlong(out: &mut Vec<u8>, value: i64) {
    let mut raw = ((value << 1) ^ (value >> 63)).cast_unsigned();
    loop {
        let [low, ..] = raw.to_le_bytes();
        raw >>= 7;
        if raw == 0 {
            out.push(low & 0x7f);
            return;
        }
        out.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn golden_bytes() {
        let cases: [(i32, &[u8]); 6] = [
            (0, &[0]),
            (-1, &[1]),
            (1, &[2]),
            (-64, &[0x7f]),
            (64, &[0x80, 1]),
            (i32::MIN, &[0xff, 0xff, 0xff, 0xff, 0x0f]),
        ];
        for (value, bytes) in cases {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(out, bytes, "{value}");
            assert_eq!(Reader::new(bytes).varint(), Some(value));
        }
    }

    #[test]
    fn too_long_and_cut_varints_are_refused() {
        assert_eq!(Reader::new(&[0x80; 5]).varint(), None);
        assert_eq!(Reader::new(&[0x80, 0x80, 0x80, 0x80, 0x80, 0]).varint(), None);
        assert_eq!(Reader::new(&[0x80; 11]).varlong(), None);
        assert_eq!(Reader::new(&[0x80]).varint(), None);
        assert_eq!(Reader::new(&[]).varlong(), None);
    }

    proptest! {
        #[test]
        fn round_trips(small: i32, large: i64) {
            let mut out = Vec::new();
            put_varint(&mut out, small);
            put_varlong(&mut out, large);
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.varint(), Some(small));
            prop_assert_eq!(reader.varlong(), Some(large));
            prop_assert_eq!(reader.remaining(), 0);
        }
    }
}
