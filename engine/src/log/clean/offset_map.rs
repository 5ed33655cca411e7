//! From a key's hash to the latest offset it was seen at, in a fixed number of bytes (Kafka's `SkimpyOffsetMap`).
//!
//! Keys themselves are not kept: 128 bits of a hash that is seeded afresh for each map stand for one, so that nobody can
//! prepare two keys that are taken for each other. A slot takes 24 bytes. The table is cut into parts that grow one at
//! a time, so that growing needs little besides; when the bytes are used up the map is full, and the cleaner ends its
//! pass there.

use std::hash::{BuildHasher, RandomState};

/// Parts that grow by themselves.
const PARTS: usize = 64;

/// Slots of a part when it first holds something.
const FIRST_SLOTS: usize = 64;

/// Bytes of a slot.
const SLOT_BYTES: usize = size_of::<Slot>();
const _: () = assert!(SLOT_BYTES == 24);

/// Filled slots, in percent, from which a part grows, and up to which it fills when it cannot.
const GROW_AT_PERCENT: usize = 80;
const FULL_AT_PERCENT: usize = 94;

#[derive(Clone, Copy, Debug)]
struct Slot {
    high: u64,
    low: u64,
    /// -1: nothing is here.
    offset: i64,
}

const EMPTY: Slot = Slot { high: 0, low: 0, offset: -1 };

/// See the module.
#[derive(Debug)]
pub(super) struct OffsetMap {
    high: RandomState,
    low: RandomState,
    parts: Vec<Part>,
    bytes: usize,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct Part {
    slots: Vec<Slot>,
    used: usize,
}

/// The map's bytes are used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

impl OffsetMap {
    /// An empty map, which takes up to `bytes_max` bytes as it fills.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            high: RandomState::new(),
            low: RandomState::new(),
            parts: (0..PARTS).map(|_| Part::default()).collect(),
            bytes: 0,
            bytes_max,
        }
    }

    /// Bytes that its slots take.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Keys.
    pub(super) fn len(&self) -> usize {
        self.parts.iter().map(|part| part.used).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.parts.iter().all(|part| part.used == 0)
    }

    /// The offset that the key was last put at.
    pub(super) fn get(&self, key: &[u8]) -> Option<i64> {
        let (part, high, low) = self.place(key);
        let part = &self.parts[part];
        if part.used == 0 {
            return None;
        }
        Some(part.slots[part.find(high, low)].offset).filter(|offset| *offset >= 0)
    }

    /// Remembers that the key was seen at `offset`, which is not below any before it.
    pub(super) fn put(&mut self, key: &[u8], offset: i64) -> Result<(), Full> {
        let (index, high, low) = self.place(key);
        let part = &mut self.parts[index];
        if part.used * 100 >= part.slots.len() * GROW_AT_PERCENT {
            let slots = (part.slots.len() * 3 / 2).max(FIRST_SLOTS);
            // The old slots are there until the new ones hold what they held.
            if self.bytes + slots * SLOT_BYTES <= self.bytes_max {
                self.bytes += (slots - part.slots.len()) * SLOT_BYTES;
                part.grow(slots);
            }
        }
        if part.slots.is_empty() {
            return Err(Full);
        }
        let at = part.find(high, low);
        if part.slots[at].offset < 0 {
            if part.used * 100 >= part.slots.len() * FULL_AT_PERCENT {
                return Err(Full);
            }
            part.used += 1;
        }
        part.slots[at] = Slot { high, low, offset };
        Ok(())
    }

    fn place(&self, key: &[u8]) -> (usize, u64, u64) {
        let (high, low) = (self.high.hash_one(key), self.low.hash_one(key));
        // The place inside a part comes from the other half.
        ((low % PARTS as u64) as usize, high, low)
    }
}

impl Part {
    /// The slot that holds the hash, or the free one where it belongs. There is always a free one.
    fn find(&self, high: u64, low: u64) -> usize {
        // Spreads 64 bits over any number of slots.
        let mut at = ((u128::from(high) * self.slots.len() as u128) >> 64) as usize;
        loop {
            let slot = &self.slots[at];
            if slot.offset < 0 || (slot.high == high && slot.low == low) {
                return at;
            }
            at += 1;
            if at == self.slots.len() {
                at = 0;
            }
        }
    }

    fn grow(&mut self, slots: usize) {
        let old = std::mem::replace(&mut self.slots, vec![EMPTY; slots]);
        for slot in old.into_iter().filter(|slot| slot.offset >= 0) {
            let at = self.find(slot.high, slot.low);
            self.slots[at] = slot;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_offset_of_each_key_is_found_through_every_growth() {
        let mut map = OffsetMap::new(16 << 20);
        assert!(map.is_empty() && map.get(b"k").is_none());
        for round in 0..3i64 {
            for key in 0..40_000i64 {
                map.put(&key.to_be_bytes(), round * 40_000 + key).unwrap();
            }
        }
        assert_eq!(map.len(), 40_000);
        for key in 0..40_000i64 {
            assert_eq!(map.get(&key.to_be_bytes()), Some(80_000 + key));
        }
        assert_eq!(map.get(b""), None);
        assert!(map.bytes() <= 40_000 * SLOT_BYTES * 3);
    }

    #[test]
    fn it_is_full_at_its_bytes_and_still_takes_keys_it_knows() {
        let bytes_max = 1 << 20;
        let mut map = OffsetMap::new(bytes_max);
        let full_at = (0i64..).find(|key| map.put(&key.to_be_bytes(), *key) == Err(Full)).unwrap();
        assert!(map.bytes() <= bytes_max);
        // At least half of the bytes hold keys, though parts grow in steps and fill unevenly.
        assert!(full_at as usize * SLOT_BYTES > bytes_max / 2, "{full_at}");
        assert_eq!(map.put(&0i64.to_be_bytes(), full_at), Ok(()));
        assert_eq!(map.get(&0i64.to_be_bytes()), Some(full_at));
        assert_eq!(map.get(&1i64.to_be_bytes()), Some(1));
    }

    #[test]
    fn no_bytes_hold_no_key() {
        assert_eq!(OffsetMap::new(0).put(b"k", 1), Err(Full));
    }
}
