//! Which keys the database certainly has not, nor what waits for it: nearly every key of a first attempt, told by one look at memory in
//! place of a lock, and of a search through the pages of a tree.
//!
//! A Bloom filter of one word a key: a few bits of one word say whether it may be there. Keys are only ever added. One that was removed
//! from the database is looked up in vain, as any would be without the filter.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::store::Key;

/// Bits for each key that there is room for: one in a hundred is looked up in vain.
const BITS: usize = 16;

/// Fewest keys there is room for: 128 KiB.
const MIN_KEYS: usize = 1 << 16;

/// Bits that are set for each key.
const SET: u32 = 4;

/// The filter. Beyond its room more and more keys are looked up in vain, until it is made anew when the store is opened next.
pub(super) struct Filter(Box<[AtomicU64]>);

impl Filter {
    /// A filter with room for twice as many keys as there are.
    pub(super) fn new(keys: u64) -> Self {
        let room = usize::try_from(keys).unwrap_or(usize::MAX).saturating_mul(2).max(MIN_KEYS);
        Self((0..room.div_ceil(64 / BITS)).map(|_| AtomicU64::new(0)).collect())
    }

    /// Adds a key, before anybody may find it.
    pub(super) fn insert(&self, key: &Key) {
        let (word, bits) = self.place(key);
        if let Some(word) = self.0.get(word) {
            word.fetch_or(bits, Ordering::Relaxed);
        }
    }

    /// Whether the key may be found.
    pub(super) fn may_have(&self, key: &Key) -> bool {
        let (word, bits) = self.place(key);
        self.0.get(word).is_none_or(|word| word.load(Ordering::Relaxed) & bits == bits)
    }

    /// The word of a key, and its bits there. Keys are hashes, but with parts that are zero: multiplied they are spread over all bits.
    fn place(&self, key: &Key) -> (usize, u64) {
        let number = u128::from_le_bytes(*key.as_bytes());
        let hash =
            (number as u64 ^ ((number >> 64) as u64).rotate_left(29)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let hash = (hash ^ (hash >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        let word = (u128::from(hash) * self.0.len() as u128) >> 64;
        let bits = (0..SET).fold(0, |bits, n| bits | 1 << ((hash >> (6 * n)) & 63));
        (word as usize, bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pairs lack the middle bytes.
    fn keys(salt: u64, count: u64) -> impl Iterator<Item = Key> {
        (0..count).map(move |n| {
            let hash = (u128::from(n) << 64 | u128::from(n ^ salt))
                .wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
            let mut bytes = (hash ^ (hash >> 61)).to_le_bytes();
            if n % 2 == 0 {
                bytes[5..10].fill(0);
            }
            Key::from_bytes(bytes)
        })
    }

    #[test]
    fn what_was_added_is_found_and_hardly_anything_else() {
        let filter = Filter::new(50_000);
        keys(0, 100_000).for_each(|key| filter.insert(&key));
        assert!(keys(0, 100_000).all(|key| filter.may_have(&key)));
        let in_vain = keys(1 << 40, 100_000).filter(|key| filter.may_have(key)).count();
        assert!(in_vain < 3_000, "{in_vain} of 100,000");
    }

    #[test]
    fn an_empty_one_has_nothing() {
        assert!(!keys(0, 1_000).any(|key| Filter::new(0).may_have(&key)));
    }
}
