//! `DefaultHashBuilder`, and the assignment of hash bits to index and shards.

use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};

/// The default hasher of all collections: fast, and randomly seeded for each collection.
///
/// The algorithm is not part of the public API and may change in any release.
#[derive(Clone, Default)]
pub struct DefaultHashBuilder(ahash::RandomState);

/// The [`Hasher`] that [`DefaultHashBuilder`] creates.
#[derive(Clone)]
pub struct DefaultHasher(ahash::AHasher);

impl BuildHasher for DefaultHashBuilder {
    type Hasher = DefaultHasher;

    #[inline]
    fn build_hasher(&self) -> DefaultHasher {
        DefaultHasher(self.0.build_hasher())
    }

    #[inline]
    fn hash_one<T: Hash>(&self, value: T) -> u64 {
        self.0.hash_one(value)
    }
}

/// Forwards every method, because `AHasher` has a faster path for each integer type.
impl Hasher for DefaultHasher {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }

    #[inline]
    fn write_u8(&mut self, value: u8) {
        self.0.write_u8(value);
    }

    #[inline]
    fn write_u16(&mut self, value: u16) {
        self.0.write_u16(value);
    }

    #[inline]
    fn write_u32(&mut self, value: u32) {
        self.0.write_u32(value);
    }

    #[inline]
    fn write_u64(&mut self, value: u64) {
        self.0.write_u64(value);
    }

    #[inline]
    fn write_u128(&mut self, value: u128) {
        self.0.write_u128(value);
    }

    #[inline]
    fn write_usize(&mut self, value: usize) {
        self.0.write_usize(value);
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0.finish()
    }
}

impl fmt::Debug for DefaultHashBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DefaultHashBuilder").finish_non_exhaustive()
    }
}

impl fmt::Debug for DefaultHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DefaultHasher").finish_non_exhaustive()
    }
}

/// Returns the hash of a key with its bits mixed once more.
///
/// | bits | use |
/// | --- | --- |
/// | 32..64 | bucket of the index; the cache's index also takes its fingerprint from here |
/// | 16..32 | shard |
/// | 0..11 | fingerprint in the index of the dedup log |
///
/// A user's hasher may leave some of these bits constant, as an identity hasher does for small
/// integers. One multiplication spreads its entropy over all bits, so that the keys do not share
/// one bucket.
#[inline]
pub(crate) fn hash<K: ?Sized + Hash>(hasher: &impl BuildHasher, key: &K) -> u64 {
    let product = u128::from(hasher.hash_one(key)) * 0x9E37_79B9_7F4A_7C15;
    (product as u64) ^ (product >> 64) as u64
}

/// Chooses one of at most 65,536 shards by bits of the hash that the index does not use.
#[inline]
pub(crate) fn choose(hash: u64, choices: usize) -> usize {
    (((hash >> 16) & 0xffff) as usize * choices) >> 16
}
