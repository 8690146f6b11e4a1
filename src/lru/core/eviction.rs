//! Eviction: removal of the entries for which there is no room.

use super::Core;
use super::expiry::Expired;
use crate::clock::Nanos;
use crate::lru::removal::RemovedEntries;
use crate::lru::slab::{NIL, Slot};
use crate::removal::RemovalCause;

impl<K, V> Core<K, V> {
    pub(super) fn is_above_bounds(&self) -> bool {
        self.nodes.len() > self.limits.max_entries || self.weight > self.limits.max_weight
    }

    /// Makes room for a new entry with this hash, whose weight is counted already. If that takes
    /// one more eviction, returns the entry that is to be evicted. If weight is the reason, that is
    /// counted.
    #[inline]
    pub(super) fn make_room(
        &mut self,
        now: Nanos,
        hash: u32,
        removed: &mut RemovedEntries<'_, K, V>,
    ) -> Option<Slot> {
        let len = self.nodes.len();
        if self.s3_fifo.is_some()
            || now >= self.next_expiry
            || len > self.limits.max_entries
            || self.weight > self.limits.max_weight
        {
            return self.remove_for_room(now, hash, removed);
        }
        if len < self.limits.max_entries {
            return None;
        }
        self.recency.oldest()
    }

    /// Does what [`make_room`](Self::make_room) does if it may have to remove other entries.
    #[inline(never)]
    fn remove_for_room(
        &mut self,
        now: Nanos,
        hash: u32,
        removed: &mut RemovedEntries<'_, K, V>,
    ) -> Option<Slot> {
        if let Some(s3_fifo) = &mut self.s3_fifo {
            s3_fifo.admit(hash, self.nodes.len());
        }
        while self.nodes.len() >= self.limits.max_entries || self.weight > self.limits.max_weight {
            let (slot, cause) = self.next_for_room(now, NIL)?;
            let rest = self.weight - u64::from(self.nodes[slot].entry.weight.get());
            let is_last =
                self.nodes.len() <= self.limits.max_entries && rest <= self.limits.max_weight;
            if cause == RemovalCause::Evicted {
                self.counts.evicted_by_weight += u64::from(self.weight > self.limits.max_weight);
                if is_last {
                    if let Some(s3_fifo) = &mut self.s3_fifo {
                        s3_fifo.unlink(&mut self.nodes, slot, cause);
                    }
                    return Some(slot);
                }
            }
            self.remove_entry(slot, cause, removed);
        }
        None
    }

    /// Evicts until the bounds hold, but not the entry in slot `kept`, which is within the bounds
    /// alone. Returns the slot in which that entry is then. If `kept` is `NIL`, any may be evicted.
    #[inline]
    pub(super) fn evict_others(
        &mut self,
        kept: Slot,
        removed: &mut RemovedEntries<'_, K, V>,
    ) -> Slot {
        if self.is_above_bounds() {
            self.evict(usize::MAX, kept, removed)
        } else {
            kept
        }
    }

    /// Evicts up to `budget` entries that exceed lowered bounds, and returns whether there are
    /// more.
    pub(in crate::lru) fn shrink_to_bounds(
        &mut self,
        now: Nanos,
        budget: usize,
        removed: &mut RemovedEntries<'_, K, V>,
    ) -> bool {
        self.prepare_write(now, removed);
        self.evict(budget, NIL, removed);
        self.is_above_bounds()
    }

    /// Does what [`evict_others`](Self::evict_others) does, for up to `budget` entries.
    #[cold]
    fn evict(
        &mut self,
        budget: usize,
        mut kept: Slot,
        removed: &mut RemovedEntries<'_, K, V>,
    ) -> Slot {
        for _ in 0..budget {
            if !self.is_above_bounds() {
                break;
            }
            let next = self.next_for_room(self.latest, kept);
            let (slot, cause) = next.expect("an empty cache exceeds no bound");
            self.remove_surplus(slot, cause, removed);
            // The last entry takes the slot of a removed one.
            if kept as usize == self.nodes.len() {
                kept = slot;
            }
        }
        kept
    }

    /// Returns the entry that is removed next to make room, which is not the live one in slot
    /// `kept`: an expired one if there is one, otherwise the one that the policy chooses.
    fn next_for_room(&mut self, now: Nanos, kept: Slot) -> Option<(Slot, RemovalCause)> {
        if now >= self.next_expiry {
            let expired = self.next_expired(Expired::All);
            if expired.is_some() {
                return expired;
            }
            self.update_next_expiry();
        }
        Some((self.victim(kept)?, RemovalCause::Evicted))
    }

    /// Removes an entry to make room.
    pub(super) fn remove_surplus(
        &mut self,
        slot: Slot,
        cause: RemovalCause,
        removed: &mut RemovedEntries<'_, K, V>,
    ) {
        if cause == RemovalCause::Evicted {
            self.counts.evicted_by_weight += u64::from(self.weight > self.limits.max_weight);
        }
        self.remove_entry(slot, cause, removed);
    }
}
