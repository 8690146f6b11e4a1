//! Removal of entries: by key, at the old end of a list, and of all.

use std::borrow::Borrow;
use std::mem::replace;

use super::Core;
use super::expiry::Expired;
use crate::clock::Nanos;
use crate::lru::removal::{Removal, RemovedEntries};
use crate::lru::slab::Slot;
use crate::removal::RemovalCause;

/// The list at whose old end an entry is popped.
#[derive(Clone, Copy)]
pub(in crate::lru) enum Order {
    Recency,
    Write,
}

impl<K, V> Core<K, V> {
    pub(super) fn remove_entry(
        &mut self,
        slot: Slot,
        cause: RemovalCause,
        removed: &mut RemovedEntries<'_, K, V>,
    ) {
        removed.push(self.take(slot, cause));
    }

    /// Takes an entry out, and counts it.
    pub(super) fn take(&mut self, slot: Slot, cause: RemovalCause) -> Removal<K, V> {
        self.unlink_access(slot, cause);
        self.unlink_write(slot);
        let entry = self.nodes.swap_remove(slot).entry;
        let len = self.nodes.len();
        self.index.remove(entry.hash, slot);
        if slot as usize != len {
            self.relocate_access(slot);
            self.relocate_write(len as Slot, slot);
            let hash = self.nodes[slot].entry.hash;
            self.index.relocate(hash, len as Slot, slot);
        }
        let Self { nodes, index, .. } = self;
        index.after_remove(len, |slot| nodes[slot].entry.hash);
        self.weight -= u64::from(entry.weight.get());
        self.counts.count_removal(cause);
        (entry.key, entry.value, cause)
    }

    /// Removes the live entry of a key, and returns it.
    pub(in crate::lru) fn remove<Q: ?Sized + Eq>(
        &mut self,
        now: Nanos,
        hash: u64,
        key: &Q,
        removed: &mut RemovedEntries<'_, K, V>,
    ) -> Option<Removal<K, V>>
    where
        K: Borrow<Q>,
    {
        let now = self.prepare_write(now, removed);
        let slot = self.find(hash, key)?;
        self.stays_live(now, slot, removed)
            .then(|| self.take(slot, RemovalCause::Removed))
    }

    /// Returns the live entry at the old end of a list, which [`pop`](Self::pop) would return, and
    /// its time. Removes the expired ones before it.
    pub(in crate::lru) fn first_live(
        &mut self,
        now: Nanos,
        order: Order,
        removed: &mut RemovedEntries<'_, K, V>,
    ) -> Option<(Slot, Nanos)> {
        let now = self.prepare_write(now, removed);
        loop {
            let (slot, time) = match order {
                Order::Recency => {
                    let slot = self.least_recent()?;
                    (slot, self.access_time(slot))
                }
                Order::Write => self
                    .oldest_writes()
                    .into_iter()
                    .flatten()
                    .map(|slot| (slot, self.nodes[slot].written.time))
                    .min_by_key(|&(_, time)| time)?,
            };
            if self.stays_live(now, slot, removed) {
                return Some((slot, time));
            }
        }
    }

    /// Removes the live entry at the old end of a list, and the expired ones before it.
    pub(in crate::lru) fn pop(
        &mut self,
        now: Nanos,
        order: Order,
        removed: &mut RemovedEntries<'_, K, V>,
    ) -> Option<Removal<K, V>> {
        let (slot, _) = self.first_live(now, order, removed)?;
        Some(self.take(slot, RemovalCause::Removed))
    }

    /// Removes all entries.
    pub(in crate::lru) fn clear(&mut self, now: Nanos, removed: &mut RemovedEntries<'_, K, V>) {
        if self.advance(now) >= self.next_expiry {
            self.remove_expired(usize::MAX, Expired::All, removed);
        }
        let (limits, counts, latest) = (self.limits, self.counts, self.latest);
        let emptied = replace(self, Self::new(limits));
        (self.counts, self.latest) = (counts, latest);
        for node in emptied.nodes {
            self.counts.count_removal(RemovalCause::Removed);
            removed.push((node.entry.key, node.entry.value, RemovalCause::Removed));
        }
    }
}
