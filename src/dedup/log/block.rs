//! `Block`: up to 1,024 consecutive entries, in order of arrival.
//!
//! Owns the times, keys and values of its entries, and which of them are present. An entry has a
//! *position* below 1,024 that never changes while it is in the block. A removed entry leaves a
//! hole. Positions `lo..hi` are held: a block grows at its back while entries arrive and shrinks at
//! its front as they expire. While a log is compacted, one block grows at its front and an older
//! one shrinks at its back.

use std::hash::BuildHasher;
use std::ops::Range;

use super::columns::{Column, KeyColumn, VecColumn};
use crate::clock::Nanos;
use crate::dedup::Key;

/// The number of entries in a full block.
///
/// Large enough that a million expired entries are freed by some two thousand calls of the
/// allocator: with 256 entries a sweep takes four times as long, and an insert 5% longer. Small
/// enough that one block is a small piece of work.
pub(crate) const BLOCK: usize = 1024;
/// Entries after which a block that is moved away releases memory, and for which the block that
/// takes them reserves it.
pub(crate) const PIECE: usize = BLOCK / 4;
const WORD: usize = u64::BITS as usize;

/// The fields that a lookup reads come first. For byte keys they fill one cache line.
#[repr(C, align(64))]
pub(crate) struct Block<K: ?Sized + Key, V> {
    lo: u16,
    hi: u16,
    /// Held positions whose entry was removed.
    holes: u16,
    keys: K::Column,
    values: VecColumn<V>,
    /// One bit for each position whose entry was removed.
    removed: [u64; BLOCK / WORD],
    /// The time of each entry, by position.
    times: [Nanos; BLOCK],
}

impl<K: ?Sized + Key, V> Block<K, V> {
    /// Returns an empty block, with capacity for as much as `previous` holds. If `backwards`, it
    /// grows from the last position down, otherwise from position 0 up.
    pub(crate) fn new(backwards: bool, previous: Option<&Self>) -> Self {
        let lo = if backwards { BLOCK as u16 } else { 0 };
        Self {
            lo,
            hi: lo,
            holes: 0,
            keys: K::Column::new(backwards, previous.map(|block| &block.keys)),
            values: VecColumn::new(backwards, previous.map(|block| &block.values)),
            removed: [0; BLOCK / WORD],
            times: [0; BLOCK],
        }
    }

    /// Returns the held positions.
    #[inline]
    pub(crate) fn positions(&self) -> Range<usize> {
        usize::from(self.lo)..usize::from(self.hi)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lo == self.hi
    }

    pub(crate) fn holes(&self) -> usize {
        self.holes.into()
    }

    /// Returns `true` if every position of the block holds an entry.
    pub(crate) fn is_full_of_entries(&self) -> bool {
        self.positions() == (0..BLOCK) && self.holes == 0
    }

    #[inline]
    pub(crate) fn is_present(&self, at: usize) -> bool {
        // Most blocks have no holes. Their bits, on a cache line of their own, need not be read.
        self.positions().contains(&at) && (self.holes == 0 || !self.is_removed(at))
    }

    fn is_removed(&self, at: usize) -> bool {
        self.removed[at / WORD] >> (at % WORD) & 1 == 1
    }

    /// Returns `true` if dropping the block drops entries one by one.
    #[inline]
    pub(crate) fn needs_drop(&self) -> bool {
        self.keys.needs_drop() || self.values.needs_drop()
    }

    pub(crate) fn time(&self, at: usize) -> Nanos {
        self.times[at]
    }

    pub(crate) fn key(&self, at: usize) -> &K {
        self.keys.get(at)
    }

    pub(crate) fn value(&self, at: usize) -> &V {
        self.values.item(at)
    }

    pub(crate) fn value_mut(&mut self, at: usize) -> &mut V {
        self.values.item_mut(at)
    }

    pub(crate) fn hash(&self, hasher: &impl BuildHasher, at: usize) -> u64 {
        self.keys.hash_at(hasher, at)
    }

    #[inline]
    pub(crate) fn weight(&self, at: usize) -> u64 {
        self.keys.weight(at)
    }

    #[inline]
    pub(crate) fn matches(&self, at: usize, key: &K) -> bool {
        self.keys.matches(at, key)
    }

    /// Returns the newest held position.
    pub(crate) fn last(&self) -> Option<usize> {
        (!self.is_empty()).then(|| self.positions().end - 1)
    }

    /// Returns `true` if an entry can be pushed to the back.
    #[inline]
    pub(crate) fn has_room(&self) -> bool {
        usize::from(self.hi) < BLOCK
    }

    /// Returns `true` if an entry can be moved to the front.
    pub(crate) fn has_room_in_front(&self) -> bool {
        self.lo > 0
    }

    /// Appends an entry and takes its value. If the key's `Clone` panics, the block is unchanged.
    #[inline]
    pub(crate) fn push_back(&mut self, time: Nanos, key: &K, value: &mut Option<V>) {
        let at = usize::from(self.hi);
        self.keys.push_back(at, key);
        self.values.push(value);
        self.times[at] = time;
        self.hi += 1;
    }

    /// Moves the newest entry, which must be present, to the front of `to`. Returns its new
    /// position.
    pub(crate) fn move_last(&mut self, to: &mut Self) -> usize {
        (self.hi, to.lo) = (self.hi - 1, to.lo - 1);
        let (from, at) = (usize::from(self.hi), usize::from(to.lo));
        self.keys.move_last(from, &mut to.keys, at);
        self.values.move_last(from, &mut to.values, at);
        to.times[at] = self.times[from];
        self.release_popped();
        at
    }

    /// Releases the memory of the entries popped from the back, once per [`PIECE`].
    fn release_popped(&mut self) {
        if usize::from(self.hi) % PIECE == 0 {
            self.keys.release_back(self.hi.into());
            self.values.release_back(self.hi.into());
        }
    }

    /// Removes the newest position, which must be a hole.
    pub(crate) fn pop_hole(&mut self) {
        self.hi -= 1;
        self.holes -= 1;
        self.keys.pop_back(self.hi.into());
        self.values.pop_back(self.hi.into());
        self.release_popped();
    }

    /// Removes the oldest position. Returns `true` if an entry was present there.
    pub(crate) fn pop_front(&mut self, drops: &mut DeferredDrops<K, V>) -> bool {
        let at = usize::from(self.lo);
        let present = self.is_present(at);
        self.holes -= u16::from(!present);
        self.lo += 1;
        self.keys.pop_front(at, &mut drops.keys);
        self.values.pop_front(at, &mut drops.values);
        present
    }

    /// Removes a present entry, which leaves a hole.
    pub(crate) fn discard(&mut self, at: usize, drops: &mut DeferredDrops<K, V>) {
        self.values.discard(at, &mut drops.values);
        self.discard_key(at, drops);
    }

    /// Removes a present entry, which leaves a hole, and returns its value.
    pub(crate) fn take(&mut self, at: usize, drops: &mut DeferredDrops<K, V>) -> Option<V>
    where
        V: Clone,
    {
        // A panicking `Clone` must leave the entry as it is.
        let value = self.values.take_item(at);
        self.discard_key(at, drops);
        value
    }

    fn discard_key(&mut self, at: usize, drops: &mut DeferredDrops<K, V>) {
        self.removed[at / WORD] |= 1 << (at % WORD);
        self.holes += 1;
        self.keys.discard(at, &mut drops.keys);
        self.compact_keys();
    }

    fn compact_keys(&mut self) {
        if self.keys.is_sparse() {
            let (held, removed) = (self.positions(), &self.removed);
            self.keys
                .compact(held, |at| removed[at / WORD] >> (at % WORD) & 1 == 0);
        }
    }

    /// Frees key bytes at positions below `until`: see [`Column::drain`].
    pub(crate) fn drain(&mut self, until: usize, all: bool, bytes: u64) -> u64 {
        self.keys.drain(until, all, bytes)
    }

    /// Releases unused capacity. Nothing is pushed to the back afterwards.
    pub(crate) fn seal(&mut self) {
        self.keys.seal();
        self.values.seal();
        self.compact_keys();
    }

    /// Returns the first present position at or above `from`.
    pub(crate) fn next(&self, from: usize) -> Option<usize> {
        let range = from.max(self.lo.into())..self.hi.into();
        let (word, ahead) = words(&range)
            .map(|(word, mask)| (word, mask & !self.removed[word]))
            .find(|&(_, ahead)| ahead != 0)?;
        Some(word * WORD + ahead.trailing_zeros() as usize)
    }

    /// Returns the last present position below `before`.
    pub(crate) fn previous(&self, before: usize) -> Option<usize> {
        let range = self.lo.into()..before.min(self.hi.into());
        let (word, behind) = words(&range)
            .rev()
            .map(|(word, mask)| (word, mask & !self.removed[word]))
            .find(|&(_, behind)| behind != 0)?;
        Some(word * WORD + WORD - 1 - behind.leading_zeros() as usize)
    }

    /// Returns the first held position whose time is above `cutoff`, or the end.
    pub(crate) fn first_after(&self, cutoff: Nanos) -> usize {
        let held = self.positions();
        held.start + self.times[held].partition_point(|&time| time <= cutoff)
    }

    /// Returns the number of entries present in `range`, and the bytes of their keys. Looks at each
    /// of these entries if keys have bytes.
    pub(crate) fn tally(&self, range: &Range<usize>) -> (usize, u64) {
        let range = range.start.max(self.lo.into())..range.end.min(self.hi.into());
        let present = words(&range).map(|(word, mask)| (word, mask & !self.removed[word]));
        present.fold((0, 0), |(count, bytes), (word, present)| {
            let weight: u64 = if K::Column::WEIGHS {
                ones(present)
                    .map(|bit| self.weight(word * WORD + bit))
                    .sum()
            } else {
                0
            };
            (count + present.count_ones() as usize, bytes + weight)
        })
    }
}

/// Returns each word of a bitmap of positions that `range` touches, with a mask of the bits within
/// the range.
fn words(range: &Range<usize>) -> impl DoubleEndedIterator<Item = (usize, u64)> + use<> {
    let range = range.clone();
    let touched = if range.is_empty() {
        0..0
    } else {
        range.start / WORD..(range.end - 1) / WORD + 1
    };
    touched.map(move |word| {
        let first = word * WORD;
        let above = u64::MAX << range.start.saturating_sub(first);
        let below = u64::MAX >> (first + WORD).saturating_sub(range.end);
        (word, above & below)
    })
}

/// Removed blocks, keys and values, to be dropped by a caller that holds no lock.
pub(crate) struct DeferredDrops<K: ?Sized + Key, V> {
    pub(super) blocks: Vec<Box<Block<K, V>>>,
    keys: Vec<<K::Column as Column>::Dropped>,
    values: Vec<V>,
}

impl<K: ?Sized + Key, V> DeferredDrops<K, V> {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.blocks.is_empty() && self.keys.is_empty() && self.values.is_empty()
    }
}

impl<K: ?Sized + Key, V> Default for DeferredDrops<K, V> {
    fn default() -> Self {
        Self {
            blocks: Vec::new(),
            keys: Vec::new(),
            values: Vec::new(),
        }
    }
}

/// Returns the positions of the bits that are set.
fn ones(mut word: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = (word != 0).then(|| word.trailing_zeros() as usize)?;
        word &= word - 1;
        Some(bit)
    })
}
