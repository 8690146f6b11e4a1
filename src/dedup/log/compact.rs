//! Compaction: returns the memory of entries that were removed from the middle of the ring.
//!
//! A removed entry leaves a hole, which takes as much as an entry, its key and value aside.
//! Compaction moves the entries, newest first, towards the newest end, until all holes lie before
//! `head`, where [`reclaim`](super::reclaim) frees them. The order of the entries does not change,
//! only their numbers.
//!
//! # Bound on holes
//!
//! A pass begins when there are more than `live / 6 + c` holes, where `c` is [`FEW`]. The holes of
//! the last slot and of the one of `head` do not count if a pass could not move them. From then on
//! every removal, or the [`maintain`](super::Log::maintain) before it, and every other write takes
//! [`STEPS`](super::STEPS) steps. A step moves an entry, skips a hole or skips an empty slot. With
//! `n` live entries and `h` holes at the start, the pass ends after `r` removals if
//! `24 r >= n + h + r + slots`. With `h <= n / 6 + c` and one slot per 1,024 entries this gives
//! `r <= 0.052 n + c / 20`. Holes only appear by removal, so during the pass there are at most
//! `n / 6 + c + r`, which is `0.23` of the at least `n - r` live entries, plus `1.1 c`. After the
//! pass, only the `r` holes made during it are left, fewer than begin the next. So at any time
//! there are at most `0.23 live + 1.1 c` such holes, unless entries expire or are evicted: these
//! raise the ratio without a removal, and then the writes that follow take the steps.
//!
//! # Bound on numbers
//!
//! `tail - head` is the number of live entries, holes and numbers of emptied slots. Emptied slots
//! only exist during a pass, and their entries were moved and are live, or have expired, in which
//! case `head` has passed the slot. So `tail - head` is at most 2.3 times the largest number of
//! live entries: below 2<sup>30</sup> for 2<sup>28</sup> entries, and the index tells that many
//! apart. Numbers never run out.
//!
//! # Layout
//!
//! The slot that is filled has its entries in `packed`, which grows at its front, while the blocks
//! of older slots shrink at their backs. The slots between the two are empty.

use std::ops::Range;

use super::block::{BLOCK, Block};
use super::index::Seq;
use super::ring::Ring;
use super::slot::Slot;
use crate::dedup::Key;

/// Holes that never begin a pass, so that a small map does not begin one after every few removals.
const FEW: usize = BLOCK / 4;

/// The state of a pass. Both numbers are those of position 0 of a slot.
#[derive(Clone, Copy)]
pub(crate) struct Compaction {
    source: Seq,
    pub(super) target: Seq,
}

impl Compaction {
    /// Begins to fill the next older slot.
    fn next_target(&mut self, keep_source: bool) {
        self.target = self.target.wrapping_sub(BLOCK as u32);
        if !keep_source {
            self.source = self.target;
        }
    }
}

impl<K: ?Sized + Key, V> Ring<K, V> {
    /// Returns `true` if a pass is in progress, or if there are enough holes to begin one.
    #[inline]
    pub(crate) fn is_sparse(&self) -> bool {
        self.compaction.is_some() || self.movable_holes() > self.live / 6 + FEW
    }

    /// Returns the number of holes that a pass removes. It removes neither those of the last slot
    /// nor those above the dead part of the slot in which a pass has ended.
    fn movable_holes(&self) -> usize {
        let (head, _) = self.locate(self.head);
        let has_dead_part = |slot: &&Slot<K, V>| slot.packed.is_some() && !slot.is_block_empty();
        let ended = self.slots.get(head).filter(has_dead_part);
        let ended = ended.map_or(0, |slot| slot.parts().map(Block::holes).sum());
        let last = self.last_block().map_or(0, Block::holes);
        // The last slot has one part.
        self.holes - last - ended
    }

    /// Returns `true` if a sweep should begin a pass: for fewer holes, because no caller waits for
    /// it.
    pub(crate) fn is_worth_sweeping(&self) -> bool {
        self.compaction.is_some() || self.movable_holes() > self.live / 32 + FEW
    }

    /// Returns the next entry to move. Takes a step off `steps` for it, and for everything that it
    /// skips. Begins a pass if none is in progress, and ends it when all live entries were moved.
    pub(crate) fn next_to_move(&mut self, steps: &mut usize) -> Option<Seq> {
        if self.compaction.is_none() {
            // The last slot still takes entries. The one before it is filled first.
            let target = self.seq(self.slots.len().checked_sub(2)?, 0);
            self.compaction = Some(Compaction {
                source: target,
                target,
            });
        }
        while *steps > 0 {
            *steps -= 1;
            let Some((source, target)) = self.source_and_target() else {
                self.end_compaction();
                return None;
            };
            let is_target = source == target;
            if self.slots[target].is_filled(is_target) {
                self.leave_target(source, target);
                continue;
            }
            let slot = &mut self.slots[source];
            let part = slot.packed_or_block(slot.moves_packed(is_target));
            match part.as_deref().and_then(Block::last) {
                None => {
                    *part = None;
                    self.leave_source(source);
                }
                Some(last) => {
                    let seq = self.seq(source, last);
                    if seq.wrapping_sub(self.base) < self.head.wrapping_sub(self.base) {
                        self.end_compaction();
                        return None;
                    }
                    let block = self.slots[source].part_mut(last).expect("it was found");
                    if block.is_present(last) {
                        return Some(seq);
                    }
                    block.pop_hole();
                    self.holes -= 1;
                }
            }
        }
        None
    }

    /// Moves the entry that [`next_to_move`](Self::next_to_move) returned last. Returns its new
    /// number.
    pub(crate) fn move_entry(&mut self) -> Seq {
        let (source, target) = self.source_and_target().expect("there is an entry to move");
        let slot = &mut self.slots[source];
        // A dead part may lie below a packed one, so the part goes back to where it was.
        let packed = slot.moves_packed(source == target);
        let part = slot.packed_or_block(packed);
        let mut from = part.take().expect("it holds the entry");
        let last = from.last().expect("it holds the entry");
        let (old, time, bytes) = (self.seq(source, last), from.time(last), from.weight(last));
        let slot = &mut self.slots[target];
        let at = from.move_last(
            slot.packed
                .get_or_insert_with(|| Box::new(Block::new(true, None))),
        );
        // The slot's own older entries may be older than the moved one.
        slot.first = slot.first.min(time);
        (slot.live, slot.bytes) = (slot.live + 1, slot.bytes + bytes);
        let slot = &mut self.slots[source];
        (slot.live, slot.bytes) = (slot.live - 1, slot.bytes - bytes);
        *slot.packed_or_block(packed) = Some(from);
        let new = self.seq(target, at);
        if old == self.head {
            self.set_head(new);
        }
        new
    }

    /// Returns the slots between which entries are moved, if both are still held and there may be
    /// something to move.
    fn source_and_target(&self) -> Option<(usize, usize)> {
        let Compaction { source, target } = self.compaction?;
        let ((source, _), (target, _)) = (self.locate(source), self.locate(target));
        let (head, _) = self.locate(self.head);
        (source <= target && target < self.slots.len() && source >= head && self.live > 0)
            .then_some((source, target))
    }

    /// Goes on to the next older slot if the source has no older part left.
    fn leave_source(&mut self, source: usize) {
        if self.slots[source].block.is_none() {
            if let Some(compaction) = &mut self.compaction {
                compaction.source = compaction.source.wrapping_sub(BLOCK as u32);
            }
        }
    }

    /// Goes on to fill the next older slot.
    fn leave_target(&mut self, source: usize, target: usize) {
        self.slots[target].settle();
        if source < target {
            // The next target was emptied. All that is moved there is older than what is in the
            // slot just filled.
            self.slots[target - 1].first =
                self.slots[target - 1].first.min(self.slots[target].first);
        }
        if let Some(compaction) = &mut self.compaction {
            compaction.next_target(source < target);
        }
    }

    fn end_compaction(&mut self) {
        if let Some(compaction) = self.compaction.take() {
            let (target, _) = self.locate(compaction.target);
            if let Some(slot) = self.slots.get_mut(target) {
                slot.settle();
            }
        }
    }

    /// Returns the slots that compaction has emptied. Their times mean nothing.
    pub(super) fn emptied_slots(&self) -> Range<usize> {
        let Some(Compaction { source, target }) = self.compaction else {
            return 0..0;
        };
        let ((source, _), (target, _)) = (self.locate(source), self.locate(target));
        match (source < self.slots.len(), target < self.slots.len()) {
            (true, true) => source + 1..target.max(source + 1),
            (false, true) => 0..target,
            (_, false) => 0..0,
        }
    }
}
