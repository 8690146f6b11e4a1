//! Access to a stored entry by slot, and changes in place.

use std::borrow::Borrow;
use std::mem::replace;
use std::num::NonZeroU32;

use super::Core;
use crate::clock::Nanos;
use crate::lru::removal::{Removal, RemovedEntries};
use crate::lru::slab::{NIL, Slot};
use crate::removal::RemovalCause;

impl<K, V> Core<K, V> {
    /// Does what [`get`](Self::get) does, and returns the slot of the entry, which is valid until
    /// the next write.
    pub(in crate::lru) fn get_slot<Q: ?Sized + Eq>(
        &mut self,
        now: Nanos,
        hash: u64,
        key: &Q,
    ) -> Option<Slot>
    where
        K: Borrow<Q>,
    {
        let Some(slot) = self.find_live(|| now, hash, key) else {
            self.counts.misses += 1;
            return None;
        };
        self.counts.hits += 1;
        self.access(slot);
        Some(slot)
    }

    pub(in crate::lru) fn entry(&self, slot: Slot) -> (&K, &V) {
        let entry = &self.nodes[slot].entry;
        (&entry.key, &entry.value)
    }

    pub(in crate::lru) fn entry_mut(&mut self, slot: Slot) -> (&K, &mut V) {
        let entry = &mut self.nodes[slot].entry;
        (&entry.key, &mut entry.value)
    }

    /// Removes a live entry by its slot.
    pub(in crate::lru) fn remove_slot(&mut self, slot: Slot) -> Removal<K, V> {
        self.take(slot, RemovalCause::Removed)
    }

    /// Changes the live value of a key in place, with `change`, which returns the entry's weight
    /// too. If the bound on weight is exceeded by that, evicts others, or the entry itself if it is
    /// too heavy alone.
    pub(in crate::lru) fn update<Q: ?Sized + Eq, R>(
        &mut self,
        now: Nanos,
        hash: u64,
        key: &Q,
        change: impl FnOnce(&K, &mut V) -> (R, NonZeroU32),
        removed: &mut RemovedEntries<'_, K, V>,
    ) -> Option<R>
    where
        K: Borrow<Q>,
    {
        let now = self.prepare_write(now, removed);
        let slot = self.get_slot(now, hash, key)?;
        let entry = &mut self.nodes[slot].entry;
        let (result, weight) = change(&entry.key, &mut entry.value);
        if let Some(s3_fifo) = &mut self.s3_fifo {
            s3_fifo.reweigh(&mut self.nodes, slot, weight);
        }
        let former = replace(&mut self.nodes[slot].entry.weight, weight);
        self.weight = self.weight - u64::from(former.get()) + u64::from(weight.get());
        let kept = if u64::from(weight.get()) > self.limits.max_weight {
            self.remove_surplus(slot, RemovalCause::Evicted, removed);
            NIL
        } else {
            slot
        };
        self.evict_others(kept, removed);
        Some(result)
    }

    /// Removes the live entry of a key if `condition` returns `true`, and returns it.
    pub(in crate::lru) fn remove_if<Q: ?Sized + Eq>(
        &mut self,
        now: Nanos,
        hash: u64,
        key: &Q,
        condition: impl FnOnce(&K, &V) -> bool,
        removed: &mut RemovedEntries<'_, K, V>,
    ) -> Option<Removal<K, V>>
    where
        K: Borrow<Q>,
    {
        let now = self.prepare_write(now, removed);
        let slot = self.find(hash, key)?;
        if !self.stays_live(now, slot, removed) {
            return None;
        }
        let (key, value) = self.entry(slot);
        condition(key, value).then(|| self.remove_slot(slot))
    }
}
