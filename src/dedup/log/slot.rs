//! `Slot`: the place of one block in the ring, with the figures that save looking into it.

use std::ops::Range;

use super::block::{BLOCK, Block};
use crate::clock::Nanos;
use crate::key::Key;

/// The place of the 1,024 consecutive sequence numbers of one block.
pub(crate) struct Slot<K: ?Sized + Key, V> {
    /// No entry from here on came before this time, and none further back came after it. So it is for slots from the
    /// ring's `head` on, but those that packing has emptied.
    pub(crate) first: Nanos,
    /// Entries that are present, and the bytes of their keys; those before the ring's head count until they are freed.
    pub(crate) present: usize,
    pub(crate) bytes: u64,
    /// The entries. `None` once none is left.
    pub(crate) block: Option<Box<Block<K, V>>>,
    /// Entries that packing moved here (see `pack.rs`). All are younger than those of `block`.
    pub(crate) packed: Option<Box<Block<K, V>>>,
}

impl<K: ?Sized + Key, V> Slot<K, V> {
    pub(crate) fn new(first: Nanos, block: Option<Block<K, V>>) -> Self {
        Self {
            first,
            present: 0,
            bytes: 0,
            block: block.map(Box::new),
            packed: None,
        }
    }

    /// The block that holds position `at`, if any does.
    #[inline]
    pub(crate) fn part(&self, at: usize) -> Option<&Block<K, V>> {
        match &self.block {
            Some(block) if block.positions().contains(&at) => Some(block),
            _ => self
                .packed
                .as_deref()
                .filter(|block| block.positions().contains(&at)),
        }
    }

    pub(crate) fn part_mut(&mut self, at: usize) -> Option<&mut Block<K, V>> {
        self.parts_mut()
            .find(|block| block.positions().contains(&at))
    }

    /// The blocks of this slot, the older one first.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &Block<K, V>> {
        self.block.iter().chain(&self.packed).map(|block| &**block)
    }

    /// Whether the packed part is the one whose newest entry packing moves next: yes, if it is not being filled.
    pub(super) fn packs_from_packed(&self, filling: bool) -> bool {
        self.packed.is_some() && !filling
    }

    pub(super) fn part_to_pack(&mut self, packed: bool) -> &mut Option<Box<Block<K, V>>> {
        if packed {
            &mut self.packed
        } else {
            &mut self.block
        }
    }

    /// The oldest position held.
    pub(crate) fn first_held(&self) -> Option<usize> {
        self.parts()
            .find(|block| !block.is_empty())
            .map(|block| block.positions().start)
    }

    pub(crate) fn parts_mut(&mut self) -> impl Iterator<Item = &mut Block<K, V>> {
        self.block
            .iter_mut()
            .chain(&mut self.packed)
            .map(|block| &mut **block)
    }

    /// The first present position at or above `from`.
    pub(crate) fn next(&self, from: usize) -> Option<usize> {
        self.parts().find_map(|block| block.next(from))
    }

    /// The last present position below `before`.
    pub(crate) fn previous(&self, before: usize) -> Option<usize> {
        self.parts()
            .filter_map(|block| block.previous(before))
            .last()
    }

    /// The first position that is younger than `cutoff`, or the end.
    pub(crate) fn first_after(&self, cutoff: Nanos) -> usize {
        let older = |block: &&Block<K, V>| block.first_after(cutoff) < block.positions().end;
        self.parts()
            .find(older)
            .map_or(BLOCK, |block| block.first_after(cutoff))
    }

    /// The number of entries present in `range`, and the bytes of their keys.
    pub(crate) fn tally(&self, range: &Range<usize>) -> (usize, u64) {
        if *range == (0..BLOCK) {
            return (self.present, self.bytes);
        }
        self.parts().fold((0, 0), |(count, bytes), block| {
            (count + block.count(range), bytes + block.bytes(range))
        })
    }
}
