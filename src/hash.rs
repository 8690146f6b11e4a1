//! Which bits of a hash are used for what.

use std::hash::{BuildHasher, Hash};

/// The hash of a key, its bits spread.
///
/// The upper half chooses the line of an index, the upper 16 bits of the lower half choose the shard. In a window the lowest
/// bits are the tag in the index, and the lowest eight of the upper half the hint in the ring; a cache's index knows the
/// upper half alone, of which the lower bits are its tag. Hashers that leave some of these bits constant (identity hashing of
/// small integers, say) must not send all keys to one line, so the bits are folded once more: one multiplication.
#[inline]
pub(crate) fn hash<K: ?Sized + Hash>(hasher: &impl BuildHasher, key: &K) -> u64 {
    let product = u128::from(hasher.hash_one(key)) * 0x9E37_79B9_7F4A_7C15;
    (product as u64) ^ (product >> 64) as u64
}

/// What tells entries apart that the index does not.
#[inline]
pub(crate) fn hint(hash: u64) -> u8 {
    (hash >> 32) as u8
}

/// A choice among `choices`, at most 65,536, by bits of the hash that nothing else uses.
#[inline]
pub(crate) fn choose(hash: u64, choices: usize) -> usize {
    (((hash >> 16) & 0xffff) as usize * choices) >> 16
}
