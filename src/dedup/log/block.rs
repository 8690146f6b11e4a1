//! `Block`: up to 1,024 consecutive entries, in order of arrival.
//!
//! Owns their times, keys and values, and which of them are present. An entry stands at a *position* below 1,024
//! that never changes while it is in the block; a removed one leaves a hole. Positions `lo..hi` are held: a block
//! grows at its back while entries arrive, shrinks at its front as they expire, and while a window is packed
//! one block grows at its front as the older one shrinks at its back.

use std::hash::BuildHasher;
use std::ops::Range;

use super::group::Grouping;
use super::store::{Lane, Places, Store};
use crate::clock::Nanos;
use crate::key::Key;

/// The number of entries in a full block.
///
/// Large, so that whole blocks leave with a handful of frees; small, so that a part of one is a small piece of work.
pub(crate) const BLOCK: usize = 1024;
/// Hints that are compared together: those of the smallest group, of which all others are multiples.
const HINTS: usize = Grouping::SMALLEST_SIZE as usize;
/// Entries whose presence and bytes are kept together.
const GROUP: usize = u32::BITS as usize;

/// In this order, what a look reads stands together, mostly in one page of memory.
#[repr(C)]
pub(crate) struct Block<K: ?Sized + Key, V> {
    lo: usize,
    hi: usize,
    /// Entries that were removed, and the bytes that their keys still take up.
    pub(super) holes: usize,
    pub(super) hole_bytes: u64,
    values: Lane<V>,
    keys: K::Store,
    /// Eight bits of the hash of each entry, by position: which of a group it may be that the index refers to.
    hints: [u8; BLOCK],
    /// Which positions hold an entry that was removed, a bit each.
    removed: [u32; BLOCK / GROUP],
    /// The bytes of the removed keys of each group, so that those of a range can be summed without looking at each.
    removed_bytes: [u64; BLOCK / GROUP],
    /// When each entry came, by position.
    times: [Nanos; BLOCK],
}

impl<K: ?Sized + Key, V> Block<K, V> {
    /// Whether entries leave anything to drop; blocks of those that do not are freed without looking into them.
    pub(crate) const REMAINS: bool = K::Store::REMAINS || Lane::<V>::REMAINS;

    /// An empty block whose first entry will stand at `lo`, with room for as much as `previous` held.
    pub(crate) fn new(lo: usize, previous: Option<&Self>) -> Self {
        Self {
            lo,
            hi: lo,
            keys: K::Store::new(lo, previous.map(|block| &block.keys)),
            values: Lane::new(lo, previous.map(|block| &block.values)),
            times: [0; BLOCK],
            hints: [0; BLOCK],
            removed: [0; BLOCK / GROUP],
            removed_bytes: [0; BLOCK / GROUP],
            holes: 0,
            hole_bytes: 0,
        }
    }

    /// The positions held.
    pub(crate) fn positions(&self) -> Range<usize> {
        self.lo..self.hi
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lo == self.hi
    }

    #[inline]
    pub(crate) fn is_present(&self, at: usize) -> bool {
        // Most blocks have no holes, and then the bits, a cache line of their own, need not be read.
        self.positions().contains(&at)
            && (self.holes == 0 || self.removed[at / GROUP] >> (at % GROUP) & 1 == 0)
    }

    pub(crate) fn time(&self, at: usize) -> Nanos {
        self.times[at]
    }

    pub(crate) fn key(&self, at: usize) -> &K {
        self.keys.get(at - self.lo)
    }

    pub(crate) fn value(&self, at: usize) -> &V {
        self.values.get(at - self.lo)
    }

    pub(crate) fn hash(&self, hasher: &impl BuildHasher, at: usize) -> u64 {
        self.keys.hash_at(hasher, at - self.lo)
    }

    pub(crate) fn weight(&self, at: usize) -> u64 {
        self.keys.weight(at - self.lo)
    }

    pub(crate) fn matches(&self, at: usize, key: &K) -> bool {
        self.keys.matches(at - self.lo, key)
    }

    /// Some position in `range`, which is of whole groups, with this hint for which `is` holds.
    #[inline]
    pub(crate) fn find_hinted(
        &self,
        range: Range<usize>,
        hint: u8,
        mut is: impl FnMut(usize) -> bool,
    ) -> Option<usize> {
        let start = range.start;
        for (nth, hints) in self.hints[range].as_chunks::<HINTS>().0.iter().enumerate() {
            // In large groups most have none.
            if hints.iter().fold(false, |any, &its| any | (its == hint)) {
                let mut found = equal(hints, hint).map(|at| start + nth * HINTS + at);
                let found = found.find(|&at| is(at));
                if found.is_some() {
                    return found;
                }
            }
        }
        None
    }

    /// The newest position held.
    pub(crate) fn last(&self) -> Option<usize> {
        (!self.is_empty()).then(|| self.hi - 1)
    }

    /// Whether an entry may be pushed at the back.
    pub(crate) fn has_room(&self) -> bool {
        self.hi < BLOCK && self.keys.has_room()
    }

    /// Whether an entry may be moved to the front.
    pub(crate) fn has_room_in_front(&self) -> bool {
        self.lo > 0 && self.keys.has_room()
    }

    /// Adds an entry at the back, and takes the value that is there. May panic in the key's `Clone`, then changes nothing.
    #[inline]
    pub(crate) fn push_back(&mut self, time: Nanos, hint: u8, key: &K, value: &mut Option<V>) {
        self.keys.push_back(key);
        self.values.push_back(value);
        (self.times[self.hi], self.hints[self.hi]) = (time, hint);
        self.hi += 1;
    }

    /// Moves the newest entry, which must be present, before the oldest one of `to`; returns its position there.
    pub(crate) fn move_last(&mut self, to: &mut Self) -> usize {
        (self.hi, to.lo) = (self.hi - 1, to.lo - 1);
        self.keys.move_last(&mut to.keys);
        self.values.move_last(&mut to.values);
        (to.times[to.lo], to.hints[to.lo]) = (self.times[self.hi], self.hints[self.hi]);
        to.lo
    }

    /// Gives up the newest position, which must be a hole.
    pub(crate) fn pop_hole(&mut self) {
        self.forget_hole(self.hi - 1);
        self.hi -= 1;
        self.keys.pop_back();
        self.values.pop_back();
    }

    /// Gives up the oldest position; the bytes of its key, if an entry was present there.
    pub(crate) fn pop_front(&mut self, trash: &mut Trash<K, V>) -> Option<u64> {
        let present = self.is_present(self.lo).then(|| self.weight(self.lo));
        if present.is_none() {
            self.forget_hole(self.lo);
        }
        self.keys.pop_front(&mut trash.keys);
        self.values.pop_front(&mut trash.values);
        self.lo += 1;
        present
    }

    /// Makes a hole of a present entry.
    pub(crate) fn discard(&mut self, at: usize, trash: &mut Trash<K, V>) {
        let bytes = self.weight(at);
        self.removed[at / GROUP] |= 1 << (at % GROUP);
        self.removed_bytes[at / GROUP] += bytes;
        self.hole_bytes += bytes;
        self.holes += 1;
        self.keys.discard(at - self.lo, &mut trash.keys);
        self.values.discard(at - self.lo, &mut trash.values);
    }

    /// Gives back unused capacity, once nothing will be pushed any more.
    pub(crate) fn seal(&mut self) {
        self.keys.shrink();
        self.values.shrink();
    }

    /// A hole is given up with its position.
    fn forget_hole(&mut self, at: usize) {
        self.removed_bytes[at / GROUP] -= self.weight(at);
    }

    /// The first present position at or above `from`.
    pub(crate) fn next(&self, from: usize) -> Option<usize> {
        let range = from..BLOCK;
        let mut groups = self
            .groups(&range)
            .map(|group| (group, self.held_in(group, &range) & !self.removed[group]));
        let (group, ahead) = groups.find(|&(_, ahead)| ahead != 0)?;
        Some(group * GROUP + ahead.trailing_zeros() as usize)
    }

    /// The last present position below `before`.
    pub(crate) fn previous(&self, before: usize) -> Option<usize> {
        let range = 0..before;
        let mut groups = self
            .groups(&range)
            .rev()
            .map(|group| (group, self.held_in(group, &range) & !self.removed[group]));
        let (group, behind) = groups.find(|&(_, behind)| behind != 0)?;
        Some(group * GROUP + GROUP - 1 - behind.leading_zeros() as usize)
    }

    /// The first position that is younger than `cutoff`.
    pub(crate) fn first_after(&self, cutoff: Nanos) -> usize {
        self.lo + self.times[self.lo..self.hi].partition_point(|&time| time <= cutoff)
    }

    /// How many entries are present in `range`.
    pub(crate) fn count(&self, range: &Range<usize>) -> usize {
        let present = |group| self.held_in(group, range) & !self.removed[group];
        self.groups(range)
            .map(|group| present(group).count_ones() as usize)
            .sum()
    }

    /// The bytes of the keys present in `range`. Looks at no more than 62 keys, and at none where nothing was removed.
    pub(crate) fn bytes(&self, range: &Range<usize>) -> u64 {
        let held = self.positions();
        let (start, end) = (range.start.max(held.start), range.end.min(held.end));
        if start >= end {
            return 0;
        }
        let removed = |group| {
            let removed = self.removed[group] & self.held_in(group, range);
            if removed == self.removed[group] & self.held_in(group, &held) {
                self.removed_bytes[group]
            } else {
                ones(removed)
                    .map(|bit| self.weight(group * GROUP + bit))
                    .sum()
            }
        };
        let removed: u64 = if self.holes == 0 {
            0
        } else {
            self.groups(range).map(removed).sum()
        };
        self.keys.bytes(start - self.lo..end - self.lo) - removed
    }

    /// The groups that `range` touches.
    fn groups(&self, range: &Range<usize>) -> Range<usize> {
        let held = self.positions();
        let (start, end) = (range.start.max(held.start), range.end.min(held.end));
        if start < end {
            start / GROUP..(end - 1) / GROUP + 1
        } else {
            0..0
        }
    }

    /// The positions held of `group` that lie in `range`, a bit each.
    fn held_in(&self, group: usize, range: &Range<usize>) -> u32 {
        let held = self.positions();
        let first = group * GROUP;
        let above = u32::MAX << range.start.max(held.start).saturating_sub(first);
        let below = u32::MAX >> (first + GROUP).saturating_sub(range.end.min(held.end));
        above & below
    }
}

/// What left a window and is still to be dropped, by whoever holds no lock.
pub(crate) struct Trash<K: ?Sized + Key, V> {
    pub(super) blocks: Vec<Box<Block<K, V>>>,
    keys: Vec<<K::Store as Places>::Remains>,
    values: Vec<V>,
}

impl<K: ?Sized + Key, V> Trash<K, V> {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        let nothing_single =
            !Block::<K, V>::REMAINS || (self.keys.is_empty() && self.values.is_empty());
        self.blocks.is_empty() && nothing_single
    }
}

impl<K: ?Sized + Key, V> Default for Trash<K, V> {
    fn default() -> Self {
        Self {
            blocks: Vec::new(),
            keys: Vec::new(),
            values: Vec::new(),
        }
    }
}

/// The positions of the hints that are equal to `hint`, in some order.
///
/// Eight at a time in a word, without a branch until there is one: which of them it is, no processor predicts.
#[inline]
fn equal(hints: &[u8; HINTS], hint: u8) -> impl Iterator<Item = usize> {
    const { assert!(HINTS == u64::BITS as usize, "a bit of a word for each") };
    const LOW: u64 = u64::from_ne_bytes([0x7f; 8]);
    let all = u64::from_ne_bytes([hint; 8]);
    let words = hints.as_chunks::<8>().0.iter().enumerate();
    let found = words.fold(0, |found, (word, &eight)| {
        let different = u64::from_le_bytes(eight) ^ all;
        // The highest bit of each byte that has no bit. The sum carries into no other byte.
        let none = !(((different & LOW) + LOW) | different | LOW);
        found | none >> 7 << word
    });
    ones(found).map(|bit| bit % 8 * 8 + bit / 8)
}

/// The positions of the bits that are set.
fn ones(word: impl Into<u64>) -> impl Iterator<Item = usize> {
    let mut word: u64 = word.into();
    std::iter::from_fn(move || {
        let bit = (word != 0).then(|| word.trailing_zeros() as usize)?;
        word &= word - 1;
        Some(bit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_equal_hint_is_found_and_no_other() {
        for at in 0..HINTS {
            for (hint, other) in [(0, 1), (0, 0x80), (0x7f, 0xff), (0x80, 0), (0xff, 0xfe)] {
                let mut hints = [other; HINTS];
                (hints[at], hints[HINTS / 2]) = (hint, hint);
                let mut found: Vec<usize> = equal(&hints, hint).collect();
                found.sort_unstable();
                let mut expected = vec![at, HINTS / 2];
                expected.sort_unstable();
                expected.dedup();
                assert_eq!(found, expected, "{hint} among {other}");
            }
        }
    }
}
