//! `Block`: up to 1,024 consecutive entries, in order of arrival.
//!
//! Owns their times, keys and values, and which of them are present. An entry stands at a *position* below 1,024
//! that never changes while it is in the block; a removed one leaves a hole. Positions `lo..hi` are held: a block
//! grows at its back while entries arrive, shrinks at its front as they expire, and while a window is packed
//! one block grows at its front as the older one shrinks at its back.

use std::collections::VecDeque;
use std::ops::Range;

use super::store::{Lane, Places, Store};
use crate::clock::Nanos;
use crate::key::Key;

/// The number of entries in a full block.
///
/// Large, so that whole blocks leave with a handful of frees; small, so that a part of one is a small piece of work.
pub(crate) const BLOCK: usize = 1024;
/// Entries whose presence and bytes are kept together.
const GROUP: usize = u32::BITS as usize;

pub(crate) struct Block<K: ?Sized + Key, V> {
    lo: usize,
    times: VecDeque<Nanos>,
    keys: K::Store,
    values: Lane<V>,
    /// Eight bits of the hash of each entry, by position: which of a group it may be that the index refers to.
    hints: [u8; BLOCK],
    /// Which positions hold an entry that was not removed, a bit each.
    present: [u32; BLOCK / GROUP],
    /// The bytes of the keys of each group, so that a range can be summed without looking at each.
    weights: [u64; BLOCK / GROUP],
    /// Entries that were removed, and the bytes that their keys still take up.
    pub(super) holes: usize,
    pub(super) hole_bytes: u64,
}

impl<K: ?Sized + Key, V> Block<K, V> {
    /// Whether entries leave anything to drop; blocks of those that do not are freed without looking into them.
    pub(crate) const REMAINS: bool = K::Store::REMAINS || Lane::<V>::REMAINS;

    /// An empty block whose first entry will stand at `lo`, with room for as much as `previous` held.
    pub(crate) fn new(lo: usize, previous: Option<&Self>) -> Self {
        Self {
            lo,
            times: VecDeque::with_capacity(previous.map_or(0, |block| block.times.len())),
            keys: K::Store::like(previous.map(|block| &block.keys)),
            values: Lane::like(previous.map(|block| &block.values)),
            hints: [0; BLOCK],
            present: [0; BLOCK / GROUP],
            weights: [0; BLOCK / GROUP],
            holes: 0,
            hole_bytes: 0,
        }
    }

    /// The positions held.
    pub(crate) fn positions(&self) -> Range<usize> {
        self.lo..self.lo + self.times.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    #[inline]
    pub(crate) fn is_present(&self, at: usize) -> bool {
        // Most blocks have no holes, and then the bits, a cache line of their own, need not be read.
        self.positions().contains(&at) && (self.holes == 0 || self.present[at / GROUP] >> (at % GROUP) & 1 == 1)
    }

    pub(crate) fn time(&self, at: usize) -> Nanos {
        self.times[at - self.lo]
    }

    pub(crate) fn key(&self, at: usize) -> &K {
        self.keys.get(at - self.lo)
    }

    pub(crate) fn value(&self, at: usize) -> &V {
        self.values.get(at - self.lo)
    }

    pub(crate) fn weight(&self, at: usize) -> u64 {
        self.keys.weight(at - self.lo)
    }

    pub(crate) fn matches(&self, at: usize, key: &K) -> bool {
        self.keys.matches(at - self.lo, key)
    }

    /// The first position in `range`, whose ends are multiples of 8, with this hint for which `is` holds.
    #[inline]
    pub(crate) fn find_hinted(&self, range: Range<usize>, hint: u8, mut is: impl FnMut(usize) -> bool) -> Option<usize> {
        let mut first = range.start;
        for eight in self.hints[range].as_chunks().0 {
            let mut equal = equal_bytes(*eight, hint);
            while equal != 0 {
                let at = first + equal.trailing_zeros() as usize / 8;
                if is(at) {
                    return Some(at);
                }
                equal &= equal - 1;
            }
            first += 8;
        }
        None
    }

    /// The newest position held.
    pub(crate) fn last(&self) -> Option<usize> {
        (!self.is_empty()).then(|| self.positions().end - 1)
    }

    /// Whether an entry may be pushed at the back.
    pub(crate) fn has_room(&self) -> bool {
        self.positions().end < BLOCK && self.keys.has_room()
    }

    /// Whether an entry may be moved to the front, at `floor` or above.
    pub(crate) fn has_room_in_front(&self, floor: usize) -> bool {
        self.lo > floor && self.keys.has_room()
    }

    /// Adds an entry at the back and returns its position. May panic in the key's `Clone`, then changes nothing.
    #[inline]
    pub(crate) fn push_back(&mut self, time: Nanos, hint: u8, key: &K, value: V) -> usize {
        let at = self.positions().end;
        self.keys.push_back(key);
        self.values.push_back(value);
        self.times.push_back(time);
        self.hints[at] = hint;
        self.mark(at, K::Store::weigh(key));
        at
    }

    /// Moves the newest entry, which must be present, before the oldest one of `to`; returns its position there.
    pub(crate) fn move_last(&mut self, to: &mut Self) -> usize {
        let last = self.positions().end - 1;
        let weight = self.unmark(last);
        self.keys.move_last(&mut to.keys);
        self.values.move_last(&mut to.values);
        to.times.push_front(self.times.pop_back().expect("the last position is held"));
        to.lo -= 1;
        to.hints[to.lo] = self.hints[last];
        to.mark(to.lo, weight);
        to.lo
    }

    /// Gives up the newest position, which must be a hole.
    pub(crate) fn pop_hole(&mut self) {
        self.times.pop_back();
        self.keys.pop_back();
        self.values.pop_back();
    }

    /// Gives up the oldest position; whether an entry was present there.
    pub(crate) fn pop_front(&mut self, trash: &mut Trash<K, V>) -> bool {
        let present = self.is_present(self.lo);
        self.times.pop_front();
        self.keys.pop_front(&mut trash.keys);
        self.values.pop_front(&mut trash.values);
        self.lo += 1;
        present
    }

    /// Makes a hole of a present entry.
    pub(crate) fn discard(&mut self, at: usize, trash: &mut Trash<K, V>) {
        self.hole_bytes += self.unmark(at);
        self.holes += 1;
        self.keys.discard(at - self.lo, &mut trash.keys);
        self.values.discard(at - self.lo, &mut trash.values);
    }

    /// Gives back unused capacity, once nothing will be pushed any more.
    pub(crate) fn seal(&mut self) {
        self.times.shrink_to_fit();
        self.keys.shrink();
        self.values.shrink();
    }

    /// The first present position at or above `from`.
    pub(crate) fn next(&self, from: usize) -> Option<usize> {
        let Range { start, end } = self.positions();
        let mut from = from.max(start);
        while from < end {
            let ahead = self.present[from / GROUP] >> (from % GROUP);
            if ahead != 0 {
                return Some(from + ahead.trailing_zeros() as usize);
            }
            from = (from / GROUP + 1) * GROUP;
        }
        None
    }

    /// The last present position below `before`.
    pub(crate) fn previous(&self, before: usize) -> Option<usize> {
        let Range { start, end } = self.positions();
        let mut before = before.min(end);
        while before > start {
            let group = (before - 1) / GROUP;
            let behind = self.present[group] & (u32::MAX >> (GROUP - (before - group * GROUP)));
            if behind != 0 {
                return Some(group * GROUP + GROUP - 1 - behind.leading_zeros() as usize).filter(|&at| at >= start);
            }
            before = group * GROUP;
        }
        None
    }

    /// The first position that is younger than `cutoff`.
    pub(crate) fn first_after(&self, cutoff: Nanos) -> usize {
        self.lo + self.times.partition_point(|&time| time <= cutoff)
    }

    /// How many entries are present in `range`.
    pub(crate) fn count(&self, range: &Range<usize>) -> usize {
        self.groups(range).map(|group| self.present_in(group, range).count_ones() as usize).sum()
    }

    /// The bytes of the keys in `range`. Looks at no more than 62 keys.
    pub(crate) fn bytes(&self, range: &Range<usize>) -> u64 {
        let bytes = |group| {
            let present = self.present_in(group, range);
            if present == self.present[group] {
                self.weights[group]
            } else {
                ones(present).map(|bit| self.weight(group * GROUP + bit)).sum()
            }
        };
        self.groups(range).map(bytes).sum()
    }

    /// The groups that `range` touches.
    fn groups(&self, range: &Range<usize>) -> Range<usize> {
        let held = self.positions();
        let (start, end) = (range.start.max(held.start), range.end.min(held.end));
        if start < end { start / GROUP..(end - 1) / GROUP + 1 } else { 0..0 }
    }

    /// The present positions of `group` that lie in `range`, a bit each.
    fn present_in(&self, group: usize, range: &Range<usize>) -> u32 {
        let held = self.positions();
        let first = group * GROUP;
        let above = u32::MAX << range.start.max(held.start).saturating_sub(first);
        let below = u32::MAX >> (first + GROUP).saturating_sub(range.end.min(held.end));
        self.present[group] & above & below
    }

    fn mark(&mut self, at: usize, weight: u64) {
        self.present[at / GROUP] |= 1 << (at % GROUP);
        self.weights[at / GROUP] += weight;
    }

    fn unmark(&mut self, at: usize) -> u64 {
        let weight = self.weight(at);
        self.present[at / GROUP] &= !(1 << (at % GROUP));
        self.weights[at / GROUP] -= weight;
        weight
    }
}

/// What left a window and is still to be dropped, by whoever holds no lock.
pub(crate) struct Trash<K: ?Sized + Key, V> {
    pub(super) blocks: Vec<Box<Block<K, V>>>,
    keys: K::Store,
    values: Lane<V>,
}

impl<K: ?Sized + Key, V> Trash<K, V> {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        let nothing_single = !Block::<K, V>::REMAINS || (self.keys.len() == 0 && self.values.len() == 0);
        self.blocks.is_empty() && nothing_single
    }
}

impl<K: ?Sized + Key, V> Default for Trash<K, V> {
    fn default() -> Self {
        Self { blocks: Vec::new(), keys: K::Store::default(), values: Lane::default() }
    }
}

/// The positions of the bits that are set.
fn ones(mut word: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = (word != 0).then(|| word.trailing_zeros() as usize)?;
        word &= word - 1;
        Some(bit)
    })
}

/// The highest bit of each byte that equals `byte`, and now and then of one above such a one.
fn equal_bytes(bytes: [u8; 8], byte: u8) -> u64 {
    const LOWEST: u64 = u64::from_le_bytes([1; 8]);
    let differing = u64::from_le_bytes(bytes) ^ LOWEST * u64::from(byte);
    differing.wrapping_sub(LOWEST) & !differing & (LOWEST << 7)
}
