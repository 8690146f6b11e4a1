//! Reclaiming: frees what lies before the head of the ring, a bounded piece at a time.
//!
//! Entries that leave something to drop are given up one by one, since their drops are the work. Those that do not are
//! freed by the block, without a look into it.

use super::block::{BLOCK, Block, Trash};
use super::ring::Ring;
use crate::key::Key;

impl<K: ?Sized + Key, V> Ring<K, V> {
    /// Frees what lies before `head`, and returns how many entries that was.
    ///
    /// Up to `budget` entries are given to `trash` one by one; blocks of entries that leave nothing to drop are given
    /// as a whole, and count as 16. With `keep_last` the last block stays, for the entries to come.
    pub(crate) fn reclaim(
        &mut self,
        mut budget: usize,
        keep_last: bool,
        trash: &mut Trash<K, V>,
    ) -> usize {
        let mut freed = 0;
        while budget > 0 && self.has_garbage(keep_last) {
            let whole = self.front_is_dead(keep_last);
            let (head_slot, head_at) = self.locate(self.head);
            let slot = self.slots.front_mut().expect("there is garbage");
            if whole && (!Block::<K, V>::REMAINS || slot.parts().all(Block::is_empty)) {
                freed += slot.present;
                budget = budget.saturating_sub(16);
                self.pop_slot(trash);
                continue;
            }
            let until = if whole { BLOCK } else { head_at };
            let block = slot
                .parts_mut()
                .find(|block| !block.is_empty())
                .expect("there is garbage");
            let (mut present, mut bytes) = (0, 0);
            while budget > 0 && !block.is_empty() && block.positions().start < until {
                if let Some(freed_bytes) = block.pop_front(trash) {
                    (present, bytes) = (present + 1, bytes + freed_bytes);
                }
                budget -= 1;
            }
            slot.present -= present;
            slot.bytes -= bytes;
            self.held_bytes -= if head_slot == 0 { bytes } else { 0 };
            freed += present;
        }
        freed
    }

    /// Whether a call that writes should [`reclaim`](Self::reclaim): entries that leave nothing to drop leave with their
    /// block, since looking for them each time would cost more.
    #[inline]
    pub(crate) fn needs_reclaim(&self) -> bool {
        if Block::<K, V>::REMAINS {
            self.has_garbage(true)
        } else {
            self.front_is_dead(true)
        }
    }

    fn pop_slot(&mut self, trash: &mut Trash<K, V>) {
        let slot = self.slots.pop_front().expect("there is a front");
        self.base = self.base.wrapping_add(BLOCK as u32);
        for block in slot.block.into_iter().chain(slot.packed) {
            self.forget_holes(&block);
            trash.blocks.push(block);
        }
        if self.slots.is_empty() {
            // Nothing is held: the next entry opens a slot of its own.
            (self.head, self.tail, self.held_bytes) = (self.base, self.base, 0);
        }
        if self.slots.capacity() > 64 && self.slots.len() < self.slots.capacity() / 4 {
            self.slots.shrink_to(self.slots.len() * 2);
        }
    }

    /// Whether [`reclaim`](Self::reclaim) has anything to do.
    pub(crate) fn has_garbage(&self, keep_last: bool) -> bool {
        let (_, head_at) = self.locate(self.head);
        self.front_is_dead(keep_last)
            || self
                .slots
                .front()
                .is_some_and(|slot| slot.first_held().is_some_and(|first| first < head_at))
    }

    /// Gives up all that is held.
    pub(crate) fn clear(self, trash: &mut Trash<K, V>) {
        trash.blocks.extend(
            self.slots
                .into_iter()
                .flat_map(|slot| slot.block.into_iter().chain(slot.packed)),
        );
    }

    fn front_is_dead(&self, keep_last: bool) -> bool {
        let dead = if self.live == 0 && !keep_last {
            self.slots.len()
        } else {
            self.locate(self.head).0
        };
        dead > 0 && !self.slots.is_empty()
    }
}
