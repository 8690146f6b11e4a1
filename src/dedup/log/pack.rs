//! Packing: gives back the room of entries that were removed from the middle.
//!
//! A removed entry leaves a hole, which expiry would reach in the end. But someone who removes most of what
//! they insert, below one entry that stays, would pile up holes without bound. So once there are more holes than entries,
//! each further removal moves a few entries towards the newest end, newest first, until the holes have all gathered
//! before `head`, where whole blocks of them are freed. The order of the entries never changes, only their numbers.
//!
//! A slot that 64 KiB of live keys fill is passed over: what its holes take up is little beside them.
//!
//! The slot being filled has its entries in `packed`, which grows at its front, while the blocks of older slots
//! shrink at their backs. The slots between the two are empty.

use std::ops::Range;

use super::block::{BLOCK, Block};
use super::group::Grouping;
use super::ring::{Ring, Seq};
use super::store::Heap;
use crate::key::Key;

/// How far packing has come. Both are the numbers of position 0 of a slot.
#[derive(Clone, Copy)]
pub(crate) struct Pack {
    source: Seq,
    target: Seq,
}

impl<K: ?Sized + Key, V> Ring<K, V> {
    /// Whether so much of the ring is holes that it should be packed. Some blocks' worth of them never matters.
    pub(crate) fn is_sparse(&self) -> bool {
        self.pack.is_some()
            || self.holes > self.len() + 2 * BLOCK
            || self.hole_bytes > self.bytes() + 2 * Heap::ROOM as u64
    }

    /// The next entry to move, found within `steps` slots and holes. The first call begins a round, which ends once
    /// the oldest live entry has been moved.
    pub(crate) fn next_to_pack(&mut self, steps: usize) -> Option<Seq> {
        if self.pack.is_none() {
            // The last slot still takes entries; the one before is the first to be filled.
            let target = self.seq(self.slots.len().checked_sub(2)?, 0);
            self.pack = Some(Pack {
                source: target,
                target,
            });
        }
        for _ in 0..steps {
            let Some((source, target)) = self.packing() else {
                self.end_packing();
                return None;
            };
            if source == target && self.is_too_heavy(target) {
                // It has no room to spare; the next older slot is the first to be filled.
                let older = self.seq(target, 0).wrapping_sub(BLOCK as u32);
                self.pack = Some(Pack {
                    source: older,
                    target: older,
                });
                continue;
            }
            if self.is_filled(target) {
                self.leave_target(source, target);
                continue;
            }
            let slot = &mut self.slots[source];
            let in_packed = slot.packs_from_packed(source == target);
            match slot.part_to_pack(in_packed) {
                Some(block) if let Some(last) = block.last() => {
                    if !block.is_present(last) {
                        block.pop_hole();
                        continue;
                    }
                    let seq = self.seq(source, last);
                    if seq.wrapping_sub(self.base) < self.head.wrapping_sub(self.base) {
                        self.end_packing();
                        return None;
                    }
                    return Some(seq);
                }
                part => {
                    let emptied = part.take();
                    self.leave_source(source, emptied);
                }
            }
        }
        None
    }

    /// Moves the entry that [`next_to_pack`](Self::next_to_pack) found last, and returns its new number.
    pub(crate) fn pack(&mut self) -> Seq {
        let (source, target) = self.packing().expect("next_to_pack found an entry");
        let in_packed = self.slots[source].packs_from_packed(source == target);
        let mut from = self.slots[source]
            .part_to_pack(in_packed)
            .take()
            .expect("it holds the entry");
        let last = from.last().expect("it holds the entry");
        let (old, time, bytes) = (self.seq(source, last), from.time(last), from.weight(last));
        let slot = &mut self.slots[target];
        let at = from.move_last(
            slot.packed
                .get_or_insert_with(|| Box::new(Block::new(BLOCK, None))),
        );
        // Not above the older entries that the slot may have of its own.
        slot.first = slot.first.min(time);
        slot.present += 1;
        slot.bytes += bytes;
        let slot = &mut self.slots[source];
        slot.present -= 1;
        slot.bytes -= bytes;
        *slot.part_to_pack(in_packed) = Some(from);
        let new = self.seq(target, at);
        if old == self.head {
            self.move_head(new);
        }
        new
    }

    /// The slots between which entries are moved, while both are there and something is left to move.
    fn packing(&self) -> Option<(usize, usize)> {
        let pack = self.pack?;
        let ((source, _), (target, _)) = (self.locate(pack.source), self.locate(pack.target));
        let (head, _) = self.locate(self.head);
        (source <= target && target < self.slots.len() && source >= head && self.len() > 0)
            .then_some((source, target))
    }

    /// Goes on to the next older slot once all parts of a source are empty.
    fn leave_source(&mut self, source: usize, emptied: Option<Box<Block<K, V>>>) {
        if let Some(block) = emptied {
            self.forget_holes(&block);
        }
        if self.slots[source].block.is_none()
            && let Some(pack) = &mut self.pack
        {
            pack.source = pack.source.wrapping_sub(BLOCK as u32);
        }
    }

    /// Whether a slot's own live keys would fill a packed block before all of them were moved.
    fn is_too_heavy(&self, slot: usize) -> bool {
        let slot = &self.slots[slot];
        slot.packed.is_none() && slot.bytes >= Heap::ROOM as u64
    }

    fn is_filled(&self, target: usize) -> bool {
        Grouping::is_reserved(self.seq(target, 0))
            || self.slots[target]
                .packed
                .as_ref()
                .is_some_and(|packed| !packed.has_room_in_front())
    }

    /// Goes on to fill the next older slot. If that has been emptied, nothing in it is as old as its time says: all that
    /// comes there came before what is in the slot just filled.
    fn leave_target(&mut self, source: usize, target: usize) {
        self.settle(target);
        if source < target {
            self.slots[target - 1].first =
                self.slots[target - 1].first.min(self.slots[target].first);
        }
        let older = self.seq(target, 0).wrapping_sub(BLOCK as u32);
        let source = if source == target {
            older
        } else {
            self.seq(source, 0)
        };
        self.pack = Some(Pack {
            source,
            target: older,
        });
    }

    fn end_packing(&mut self) {
        if let Some(pack) = self.pack.take() {
            let (target, _) = self.locate(pack.target);
            if target < self.slots.len() {
                self.settle(target);
            }
        }
    }

    /// Makes the packed part of a slot its block, if it has no other.
    fn settle(&mut self, slot: usize) {
        let slot = &mut self.slots[slot];
        if let Some(packed) = &mut slot.packed {
            packed.seal();
        }
        if slot.block.is_none() {
            slot.block = slot.packed.take();
        }
    }

    /// The slots that packing has emptied: their times say nothing.
    pub(super) fn emptied_by_packing(&self) -> Range<usize> {
        let Some(pack) = self.pack else { return 0..0 };
        let ((source, _), (target, _)) = (self.locate(pack.source), self.locate(pack.target));
        match (source < self.slots.len(), target < self.slots.len()) {
            (true, true) => source + 1..target.max(source + 1),
            (false, true) => 0..target,
            (_, false) => 0..0,
        }
    }
}
