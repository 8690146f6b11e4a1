//! The stale window: for how long an entry can be served after its ttl ended.
//!
//! A stale entry is an expired entry that is not removed yet. So every promise about expired
//! entries holds for it: reads do not return it, no figure counts it, and it is evicted before live
//! ones. The window only delays its removal by writes and sweeps, and only the calls of this module
//! return it. The idle timeout ends the window as well.

use std::borrow::Borrow;

use super::{Core, Limits};
use crate::clock::Nanos;
use crate::lru::slab::Slot;

/// A value, and whether it is expired.
pub(in crate::lru) enum Freshness<T> {
    Live(T),
    Stale {
        value: T,
        /// `false` for a while after a refresh has failed.
        may_refresh: bool,
    },
}

impl<T> Freshness<T> {
    pub(in crate::lru) fn into_value(self) -> T {
        let (Self::Live(value) | Self::Stale { value, .. }) = self;
        value
    }
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
        self.remove_ended_backoffs();
        self.peek_or_stale(now, hash, key)
    }

    /// Returns the live or stale value of a key, and changes nothing.
    pub(in crate::lru) fn peek_or_stale<Q: ?Sized + Eq>(
        &self,
        now: Nanos,
        hash: u64,
        key: &Q,
    ) -> Option<Freshness<&V>>
    where
        K: Borrow<Q>,
    {
        let slot = self.find(hash, key)?;
        let now = self.latest.max(now);
        let (_, value) = self.entry(slot);
        if self.expiry_cause(now, slot).is_none() {
            return Some(Freshness::Live(value));
        }
        let may_refresh = !self.backs_off(now, hash, slot);
        self.is_within_stale_window(now, slot)
            .then_some(Freshness::Stale { value, may_refresh })
    }

    /// Does what [`peek_or_stale`](Self::peek_or_stale) does after a refresh has failed. A stale
    /// entry is not refreshed again for a while.
    pub(in crate::lru) fn peek_after_failure<Q: ?Sized + Eq>(
        &mut self,
        now: Nanos,
        hash: u64,
        key: &Q,
    ) -> Option<Freshness<&V>>
    where
        K: Borrow<Q>,
    {
        let now = self.advance(now);
        let slot = self.find(hash, key)?;
        if self.expiry_cause(now, slot).is_some() && self.is_within_stale_window(now, slot) {
            self.start_backoff(hash, slot);
        }
        self.peek_or_stale(now, hash, key)
    }

    /// Counts a stale value that a caller gets.
    pub(in crate::lru) fn count_stale_hit(&mut self) {
        self.counts.stale_hits += 1;
    }
}
