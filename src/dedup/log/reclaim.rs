//! Reclaiming: frees the memory before the head of the ring, a bounded piece at a time.
//!
//! Two kinds of garbage lie there, and each call frees more of a kind than it adds:
//!
//! * Entries. A call adds at most one and frees up to eight, or one whole block if nothing in it
//!   needs to be dropped.
//! * Key bytes. A call that adds a key of `n` bytes frees at least `n` of them, see
//!   [`Ring::drain`], whether or not the values of these entries are dropped yet. Otherwise long
//!   keys would wait behind a million short ones.
//!
//! So the entries and bytes that are held, live or not, never exceed what was live at once since
//! the last time when there was no garbage.

use super::block::{BLOCK, Block, DeferredDrops};
use super::ring::Ring;
use crate::dedup::Key;

impl<K: ?Sized + Key, V> Ring<K, V> {
    /// Frees what lies before `head`, and returns the number of entries freed.
    ///
    /// Moves up to `budget` entries to `drops` one by one. A block in which nothing needs to be
    /// dropped is moved as a whole, and counts as 16. If `keep_last`, the last block stays for the
    /// next entries.
    pub(crate) fn reclaim(
        &mut self,
        mut budget: usize,
        keep_last: bool,
        drops: &mut DeferredDrops<K, V>,
    ) -> usize {
        self.settle();
        let mut freed = 0;
        while budget > 0 && self.has_garbage(keep_last) {
            let whole = self.front_is_dead(keep_last);
            let (_, head_at) = self.locate(self.head);
            let slot = self.slots.front_mut().expect("there is garbage");
            if whole && (!slot.needs_drop() || slot.parts().all(Block::is_empty)) {
                freed += self.pop_slot(drops);
                budget = budget.saturating_sub(16);
                continue;
            }
            let until = if whole { BLOCK } else { head_at };
            let block = slot
                .parts_mut()
                .find(|block| !block.is_empty())
                .expect("there is garbage");
            while budget > 0 && !block.is_empty() && block.positions().start < until {
                let present = block.pop_front(drops);
                freed += usize::from(present);
                self.holes -= usize::from(!present);
                budget -= 1;
            }
        }
        freed
    }

    /// Frees key bytes before `head`, oldest first, until `bytes` are freed or none are left.
    pub(crate) fn drain(&mut self, bytes: u64) {
        self.settle();
        let (head, head_at) = self.locate(self.head);
        let mut freed = 0;
        while freed < bytes && self.drained <= head && self.drained < self.slots.len() {
            // The head's own block may still take entries, so only its long keys are freed.
            let all = self.drained < head;
            let until = if all { BLOCK } else { head_at };
            for block in self.slots[self.drained].parts_mut() {
                freed += block.drain(until, all, bytes.saturating_sub(freed));
            }
            if freed < bytes {
                if self.drained == head {
                    break;
                }
                self.drained += 1;
            }
        }
    }

    /// Returns `true` if a call that writes should [`reclaim`](Self::reclaim). A block in which
    /// nothing needs to be dropped is freed when all of it is dead, because looking for the dead
    /// part on every call would cost more.
    #[inline]
    pub(crate) fn needs_reclaim(&self) -> bool {
        self.front_is_dead(true)
            || self
                .slots
                .front()
                .is_some_and(super::slot::Slot::needs_drop)
                && self.has_garbage(true)
    }

    fn pop_slot(&mut self, drops: &mut DeferredDrops<K, V>) -> usize {
        let slot = self.slots.pop_front().expect("there is a front");
        let mut freed = 0;
        for block in slot.block.into_iter().chain(slot.packed) {
            freed += block.positions().len() - block.holes();
            self.holes -= block.holes();
            drops.blocks.push(block);
        }
        self.base = self.base.wrapping_add(BLOCK as u32);
        self.drained = self.drained.saturating_sub(1);
        if self.slots.is_empty() {
            // The next entry opens a slot of its own.
            (self.head, self.tail, self.settled) = (self.base, self.base, self.base);
        }
        if self.slots.capacity() > 64 && self.slots.len() < self.slots.capacity() / 4 {
            self.slots.shrink_to(self.slots.len() * 2);
        }
        freed
    }

    /// Returns `true` if [`reclaim`](Self::reclaim) has something to free.
    pub(crate) fn has_garbage(&self, keep_last: bool) -> bool {
        let (_, head_at) = self.locate(self.head);
        self.front_is_dead(keep_last)
            || self
                .slots
                .front()
                .is_some_and(|slot| slot.first_held().is_some_and(|first| first < head_at))
    }

    /// Moves everything to `drops`.
    pub(crate) fn clear(self, drops: &mut DeferredDrops<K, V>) {
        drops.blocks.extend(
            self.slots
                .into_iter()
                .flat_map(|slot| slot.block.into_iter().chain(slot.packed)),
        );
    }

    /// Returns `true` if no entry of the first slot is live.
    fn front_is_dead(&self, keep_last: bool) -> bool {
        let dead = if self.live == 0 && !keep_last {
            self.slots.len()
        } else {
            self.locate(self.head).0
        };
        dead > 0 && !self.slots.is_empty()
    }
}
