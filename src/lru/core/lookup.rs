//! Lookups: they remove nothing.

use std::borrow::Borrow;
use std::cell::Cell;

use super::{Core, index_hash};
use crate::clock::Nanos;
use crate::lru::slab::Slot;

impl<K, V> Core<K, V> {
    #[inline(always)]
    pub(super) fn find<Q: ?Sized + Eq>(&self, hash: u64, key: &Q) -> Option<Slot>
    where
        K: Borrow<Q>,
    {
        self.index
            .find(index_hash(hash), |slot| self.has_key(slot, key))
    }

    /// Returns `true` if there is an entry with this key in a slot, which may be out of range.
    #[inline(always)]
    fn has_key<Q: ?Sized + Eq>(&self, slot: Slot, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        let node = self.nodes.get(slot);
        node.is_some_and(|node| node.entry.key.borrow() == key)
    }

    /// Returns the live value of a key, makes its entry the most recently used, and counts a hit or
    /// a miss.
    ///
    /// `now` is called if there is an entry. The caches read their clock then, which overlaps with
    /// the cache misses of the lookup, and a miss does not read it at all.
    #[inline(always)]
    pub(in crate::lru) fn get<Q: ?Sized + Eq>(
        &mut self,
        now: impl FnOnce() -> Nanos,
        hash: u64,
        key: &Q,
    ) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        let Some(slot) = self.find_live(now, hash, key) else {
            self.counts.misses += 1;
            return None;
        };
        self.counts.hits += 1;
        Some(self.access(slot))
    }

    /// Does what [`get`](Self::get) does, for a call that was counted before.
    pub(in crate::lru) fn get_again<Q: ?Sized + Eq>(
        &mut self,
        now: Nanos,
        hash: u64,
        key: &Q,
    ) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        let slot = self.find_live(|| now, hash, key)?;
        Some(self.access(slot))
    }

    #[inline(always)]
    pub(super) fn find_live<Q: ?Sized + Eq>(
        &mut self,
        now: impl FnOnce() -> Nanos,
        hash: u64,
        key: &Q,
    ) -> Option<Slot>
    where
        K: Borrow<Q>,
    {
        let compared = Cell::new(false);
        let found = self.index.find(index_hash(hash), |slot| {
            compared.set(true);
            self.has_key(slot, key)
        });
        let Some(slot) = found else {
            // Nothing was compared, so no entry has the hash. A different key with the same hash
            // would be compared.
            if !compared.get() {
                self.missing = Some(index_hash(hash));
            }
            return None;
        };
        let now = self.advance(now());
        self.expiry_cause(now, slot).is_none().then_some(slot)
    }

    /// Returns the live value of a key, and changes nothing.
    #[inline(always)]
    pub(in crate::lru) fn peek<Q: ?Sized + Eq>(&self, now: Nanos, hash: u64, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let slot = self.peek_slot(now, hash, key)?;
        Some(&self.nodes[slot].entry.value)
    }

    pub(in crate::lru) fn peek_mut<Q: ?Sized + Eq>(
        &mut self,
        now: Nanos,
        hash: u64,
        key: &Q,
    ) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        let slot = self.peek_slot(now, hash, key)?;
        Some(&mut self.nodes[slot].entry.value)
    }

    #[inline(always)]
    fn peek_slot<Q: ?Sized + Eq>(&self, now: Nanos, hash: u64, key: &Q) -> Option<Slot>
    where
        K: Borrow<Q>,
    {
        let slot = self.find(hash, key)?;
        let cause = self.expiry_cause(self.latest.max(now), slot);
        cause.is_none().then_some(slot)
    }
}
