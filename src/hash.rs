//! Which bits of a hash are used for what.

use std::hash::{BuildHasher, Hash};

/// The hash of a key, its bits spread.
///
/// The upper half chooses the line of the index, the lowest 16 bits are the tag there, the 16 above them choose the
/// shard. Hashers that leave some of these bits constant (identity hashing of small integers, say) must not send all keys
/// to one line, so the bits are folded once more: one multiplication.
#[inline]
pub(crate) fn hash<K: ?Sized + Hash>(hasher: &impl BuildHasher, key: &K) -> u64 {
    let product = u128::from(hasher.hash_one(key)) * 0x9E37_79B9_7F4A_7C15;
    (product as u64) ^ (product >> 64) as u64
}

/// A choice among `choices`, at most 65,536, by bits of the hash that nothing else uses.
#[inline]
pub(crate) fn choose(hash: u64, choices: usize) -> usize {
    (((hash >> 16) & 0xffff) as usize * choices) >> 16
}
