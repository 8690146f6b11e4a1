//! The columns of a block: one for its keys and one for its values.

mod arena;
mod vec;

use std::hash::{BuildHasher, Hash};
use std::ops::Range;

use crate::hash::hash;

pub use arena::ByteArena;
pub use vec::VecColumn;

/// A queue with one item for each held position of a block.
pub trait Column {
    /// The part of an item that needs to be dropped after its entry was removed.
    type Dropped;
    /// `true` if the items count towards a bound on bytes.
    const WEIGHS: bool;

    /// Returns an empty column with capacity for as much as `previous` holds. If `backwards`, items
    /// are written from the last position down, otherwise from position 0 up.
    fn new(backwards: bool, previous: Option<&Self>) -> Self;
    /// Returns the bytes that an item counts for.
    fn weight(&self, at: usize) -> u64;
    /// Returns `true` if some item owns memory or has drop glue, so that dropping the column drops
    /// items one by one.
    fn needs_drop(&self) -> bool;
    /// Moves the newest item, at `from`, to the front of `to`, at `to_at`.
    fn move_last(&mut self, from: usize, to: &mut Self, to_at: usize);
    /// Removes the newest item, at `at`, which was discarded.
    fn pop_back(&mut self, at: usize);
    /// Removes the oldest item, at `at`.
    fn pop_front(&mut self, at: usize, drops: &mut Vec<Self::Dropped>);
    /// Removes the content of an item. The item keeps its position.
    fn discard(&mut self, at: usize, drops: &mut Vec<Self::Dropped>);
    /// Returns `true` if discarded items take enough memory that [`compact`](Self::compact) should
    /// return it.
    fn is_sparse(&self) -> bool;
    /// Returns the memory of discarded items among the `held` positions.
    fn compact(&mut self, held: Range<usize>, is_present: impl Fn(usize) -> bool);
    /// Frees the bytes of items below `until`, oldest first, until `bytes` are freed. If `all`,
    /// every item is below `until`, and the rest of the memory is freed with them. Returns the
    /// number of freed bytes.
    ///
    /// Afterwards, these items may only be popped.
    fn drain(&mut self, until: usize, all: bool, bytes: u64) -> u64;
    /// Releases unused capacity. Nothing is pushed to the back afterwards.
    fn seal(&mut self);
    /// Releases the memory of items popped from the back. `end` is the position after the last one
    /// left, and a multiple of [`PIECE`](super::block::PIECE).
    fn release_back(&mut self, end: usize);
}

/// A column of keys.
pub trait KeyColumn<K: ?Sized + Hash>: Column {
    /// Returns the hash of a key.
    fn hash(hasher: &impl BuildHasher, key: &K) -> u64 {
        hash(hasher, key)
    }
    /// Returns the hash of a stored key.
    fn hash_at(&self, hasher: &impl BuildHasher, at: usize) -> u64 {
        Self::hash(hasher, self.get(at))
    }
    /// Returns the bytes that `key` counts for.
    fn weigh(key: &K) -> u64;
    /// Returns a stored key.
    fn get(&self, at: usize) -> &K;
    /// Returns `true` if the stored key equals `key`.
    fn matches(&self, at: usize, key: &K) -> bool;
    /// Appends a copy of `key` at `at`. If the key's `Clone` panics, the column is unchanged.
    fn push_back(&mut self, at: usize, key: &K);
}
