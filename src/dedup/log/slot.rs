//! `Slot`: the place of one block in the ring, with sums that save reading the block.

use std::ops::Range;

use super::block::{BLOCK, Block};
use crate::clock::Nanos;
use crate::dedup::Key;

/// The place of the 1,024 consecutive sequence numbers of one block.
pub(crate) struct Slot<K: ?Sized + Key, V> {
    /// No entry from this slot on is older than this time, and no entry in an earlier slot is
    /// newer. Holds for the slots from the ring's `head` on, except those that compaction has
    /// emptied.
    pub(crate) first: Nanos,
    /// The number of live entries, and the bytes of their keys.
    pub(crate) live: usize,
    pub(crate) bytes: u64,
    /// The entries. `None` if none is left.
    pub(crate) block: Option<Box<Block<K, V>>>,
    /// Entries that compaction moved here. All of them are newer than those of `block`.
    pub(crate) packed: Option<Box<Block<K, V>>>,
}

impl<K: ?Sized + Key, V> Slot<K, V> {
    pub(crate) fn new(first: Nanos, block: Block<K, V>) -> Self {
        Self {
            first,
            live: 0,
            bytes: 0,
            block: Some(Box::new(block)),
            packed: None,
        }
    }

    /// Returns the block that holds position `at`.
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

    /// Returns the blocks of this slot, the older one first.
    pub(crate) fn parts(&self) -> impl DoubleEndedIterator<Item = &Block<K, V>> {
        self.block.iter().chain(&self.packed).map(|block| &**block)
    }

    pub(crate) fn parts_mut(&mut self) -> impl Iterator<Item = &mut Block<K, V>> {
        self.block
            .iter_mut()
            .chain(&mut self.packed)
            .map(|block| &mut **block)
    }

    /// Returns `true` if the newest entry that compaction moves next is in the packed part. This
    /// part is newer, unless it is being filled.
    pub(super) fn moves_packed(&self, is_target: bool) -> bool {
        self.packed.is_some() && !is_target
    }

    pub(super) fn packed_or_block(&mut self, packed: bool) -> &mut Option<Box<Block<K, V>>> {
        if packed {
            &mut self.packed
        } else {
            &mut self.block
        }
    }

    /// Returns `true` if compaction can move nothing into the slot: it has no position left, or, if
    /// compaction would move its own entries, no holes.
    pub(super) fn is_filled(&self, by_itself: bool) -> bool {
        match &self.packed {
            Some(packed) => !packed.has_room_in_front(),
            None => {
                by_itself
                    && self
                        .block
                        .as_ref()
                        .is_some_and(|block| block.is_full_of_entries())
            }
        }
    }

    /// Returns `true` if there is no block, or no position left in it.
    pub(super) fn is_block_empty(&self) -> bool {
        self.block.as_ref().is_none_or(|block| block.is_empty())
    }

    /// Makes the packed part the block, if that is empty.
    pub(super) fn settle(&mut self) {
        if let Some(packed) = &mut self.packed {
            packed.seal();
        }
        if self.is_block_empty() {
            self.block = self.packed.take();
        }
    }

    /// Returns `true` if dropping the blocks drops entries one by one.
    #[inline]
    pub(crate) fn needs_drop(&self) -> bool {
        self.parts().any(Block::needs_drop)
    }

    /// Returns the oldest held position.
    pub(crate) fn first_held(&self) -> Option<usize> {
        self.parts()
            .find(|block| !block.is_empty())
            .map(|block| block.positions().start)
    }

    /// Returns the first present position at or above `from`.
    pub(crate) fn next(&self, from: usize) -> Option<usize> {
        self.parts().find_map(|block| block.next(from))
    }

    /// Returns the last present position below `before`.
    pub(crate) fn previous(&self, before: usize) -> Option<usize> {
        self.parts().rev().find_map(|block| block.previous(before))
    }

    /// Returns the first held position whose time is above `cutoff`, or the end.
    pub(crate) fn first_after(&self, cutoff: Nanos) -> usize {
        self.parts()
            .map(|block| (block.first_after(cutoff), block.positions().end))
            .find(|&(after, end)| after < end)
            .map_or(BLOCK, |(after, _)| after)
    }

    /// Returns the number of entries present in `range`, and the bytes of their keys.
    pub(crate) fn tally(&self, range: &Range<usize>) -> (usize, u64) {
        self.parts().fold((0, 0), |(count, bytes), block| {
            let (its, its_bytes) = block.tally(range);
            (count + its, bytes + its_bytes)
        })
    }
}
