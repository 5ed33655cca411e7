//! Repeatable dice for tests (SplitMix64): the same seed, the same run. Not for anything secret.

/// See the module.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Dice of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The seed in the environment variable `name`, or `default`; printed, so that a failure can be repeated.
    pub fn seeded_by(name: &str, default: u64) -> Self {
        let seed = std::env::var(name).ok().and_then(|seed| seed.parse().ok()).unwrap_or(default);
        eprintln!("{name}={seed}");
        Self::new(seed)
    }

    /// Any number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not zero.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next_u64() % bound as u64) as usize
    }

    /// So many random bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next_u64() as u8).collect()
    }
}
