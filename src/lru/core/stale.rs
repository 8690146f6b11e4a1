//! The stale window: for how long an entry can be served after its ttl ended.
//!
//! A stale entry is an expired entry that is not removed yet. So every promise about expired
//! entries holds for it: reads do not return it, no figure counts it, and it is evicted before live
//! ones. The window only delays its removal by writes and sweeps, and only [`get_or_stale`] and
//! [`peek_or_stale`] return it. The idle timeout ends the window as well.
//!
//! [`get_or_stale`]: Core::get_or_stale
//! [`peek_or_stale`]: Core::peek_or_stale

use std::borrow::Borrow;

use super::{Core, Limits};
use crate::clock::Nanos;
use crate::lru::slab::Slot;

/// A value, and whether it is expired.
pub(in crate::lru) enum Freshness<T> {
    Live(T),
    Stale(T),
}

impl Limits {
    /// Returns the earliest time at which an entry that is written at `now`, and has no ttl of its
    /// own, may be removed because it is expired.
    pub(super) fn earliest_removal(&self, now: Nanos) -> Nanos {
        let after = self.ttl.saturating_add(self.stale).min(self.idle_timeout);
        now.saturating_add(after)
    }
}

impl<K, V> Core<K, V> {
    /// Returns `true` if an expired entry can still be served.
    pub(super) fn is_within_stale_window(&self, now: Nanos, slot: Slot) -> bool {
        let node = &self.nodes[slot];
        let ttl_end = self.limits.ttl_end(slot, node, self.own_ttls.as_deref());
        let idle_end = node.accessed.time.saturating_add(self.limits.idle_timeout);
        now < ttl_end.saturating_add(self.limits.stale).min(idle_end)
    }

    /// Does what [`get`](Self::get) does, and also returns a stale value. That counts as a miss and
    /// refreshes nothing.
    pub(in crate::lru) fn get_or_stale<Q: ?Sized + Eq>(
        &mut self,
        now: Nanos,
        hash: u64,
        key: &Q,
    ) -> Option<Freshness<&V>>
    where
        K: Borrow<Q>,
    {
        if let Some(slot) = self.get_slot(now, hash, key) {
            return Some(Freshness::Live(self.entry(slot).1));
        }
        let slot = self.find(hash, key)?;
        let is_stale = self.is_within_stale_window(self.latest.max(now), slot);
        is_stale.then(|| Freshness::Stale(self.entry(slot).1))
    }

    /// Returns the live or stale value of a key, and changes nothing.
    pub(in crate::lru) fn peek_or_stale<Q: ?Sized + Eq>(
        &self,
        now: Nanos,
        hash: u64,
        key: &Q,
    ) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let slot = self.find(hash, key)?;
        let is_served = self.is_within_stale_window(self.latest.max(now), slot);
        is_served.then(|| self.entry(slot).1)
    }
}
