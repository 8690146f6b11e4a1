//! Expiry of entries, by their ttl and the idle timeout.

use super::own_ttl::OwnTtls;
use super::{Core, Limits, Node};
use crate::clock::Nanos;
use crate::lru::removal::RemovedEntries;
use crate::lru::slab::Slot;
use crate::removal::RemovalCause;
use crate::sweep::Swept;

/// Expired entries that a write removes in addition to its own work.
const EXPIRED_PER_WRITE: usize = 4;
/// The expired entries that are to be removed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Expired {
    /// The entries that are not within their stale window.
    NotStale,
    /// All. At a bound, stale entries are evicted before live ones.
    All,
}

impl Limits {
    /// Returns why an entry is expired, or `None` if it is live. If both of its limits ended, the
    /// one that ended first is the cause.
    pub(super) fn expiry_cause<K, V>(
        &self,
        now: Nanos,
        slot: Slot,
        node: &Node<K, V>,
        own_ttls: Option<&OwnTtls>,
    ) -> Option<RemovalCause> {
        let ttl_end = self.ttl_end(slot, node, own_ttls);
        let idle_end = node.accessed.time.saturating_add(self.idle_timeout);
        let end = ttl_end.min(idle_end);
        // The highest time means "never".
        (now >= end && end != Nanos::MAX).then_some(if ttl_end <= idle_end {
            RemovalCause::Expired
        } else {
            RemovalCause::Idle
        })
    }
}

impl<K, V> Core<K, V> {
    /// Returns why an entry is expired, or `None` if it is live.
    #[inline]
    pub(super) fn expiry_cause(&self, now: Nanos, slot: Slot) -> Option<RemovalCause> {
        if now < self.next_expiry {
            return None;
        }
        self.limits
            .expiry_cause(now, slot, &self.nodes[slot], self.own_ttls.as_deref())
    }

    /// Returns an expired entry, if there is one. It has the earliest deadline, or is at the old
    /// end of one list, which is sorted by its time.
    #[cold]
    pub(super) fn next_expired(&self, which: Expired) -> Option<(Slot, RemovalCause)> {
        let now = self.latest;
        let first_deadline = self.first_own_deadline().map(|(slot, _)| slot);
        [self.writes.oldest(), first_deadline, self.recency.oldest()]
            .into_iter()
            .flatten()
            .filter(|&slot| which == Expired::All || !self.is_within_stale_window(now, slot))
            .find_map(|slot| Some((slot, self.expiry_cause(now, slot)?)))
    }

    /// Removes up to `budget` expired entries, and returns how many it removed.
    #[cold]
    pub(super) fn remove_expired(
        &mut self,
        budget: usize,
        which: Expired,
        removed: &mut RemovedEntries<'_, K, V>,
    ) -> usize {
        for count in 0..budget {
            let Some((slot, cause)) = self.next_expired(which) else {
                self.update_next_expiry();
                return count;
            };
            self.remove_entry(slot, cause, removed);
        }
        budget
    }

    /// Sets the next times at which an entry can expire, and be removed for that.
    pub(super) fn update_next_expiry(&mut self) {
        let node = |slot: Option<Slot>| slot.map(|slot| &self.nodes[slot]);
        let end = |time: Option<Nanos>, limit: Nanos| {
            time.map_or(Nanos::MAX, |time| time.saturating_add(limit))
        };
        let written = node(self.writes.oldest()).map(|node| node.written.time);
        let accessed = node(self.recency.oldest()).map(|node| node.accessed.time);
        let ttl_end = match self.first_own_deadline() {
            None => end(written, self.limits.ttl),
            // See `set_own_ttl`.
            Some((_, deadline)) => end(written, self.limits.ttl)
                .min(deadline)
                .min(self.latest.saturating_add(self.limits.ttl)),
        };
        let idle_end = end(accessed, self.limits.idle_timeout);
        self.next_expiry = ttl_end.min(idle_end);
        self.next_removal = ttl_end.saturating_add(self.limits.stale).min(idle_end);
    }

    /// Runs before every write: removes a few expired entries. Returns the time that counts.
    #[inline]
    pub(super) fn prepare_write(
        &mut self,
        now: Nanos,
        removed: &mut RemovedEntries<'_, K, V>,
    ) -> Nanos {
        let now = self.advance(now);
        if now >= self.next_removal {
            self.remove_expired(EXPIRED_PER_WRITE, Expired::NotStale, removed);
        }
        now
    }

    /// Notes when an entry that is written at `now` expires.
    #[inline]
    pub(super) fn schedule_expiry(&mut self, now: Nanos) {
        // If there are others, they expire no later.
        if self.next_expiry == Nanos::MAX {
            self.next_expiry = self.limits.earliest_expiry(now);
            self.next_removal = self.limits.earliest_removal(now);
        }
    }

    /// Removes up to `budget` expired entries and, within the same budget, resizes the index.
    pub(in crate::lru) fn sweep(
        &mut self,
        now: Nanos,
        budget: usize,
        removed: &mut RemovedEntries<'_, K, V>,
    ) -> Swept {
        let now = self.advance(now);
        self.remove_ended_backoffs();
        let freed = if now >= self.next_removal {
            self.remove_expired(budget, Expired::NotStale, removed)
        } else {
            0
        };
        let Self { nodes, index, .. } = self;
        let steps = (freed..budget)
            .take_while(|_| index.maintain(nodes.len(), |slot| nodes[slot].entry.hash))
            .count();
        Swept {
            freed,
            more: freed + steps == budget,
        }
    }

    /// Removes an entry if it is expired, and returns whether it was live.
    #[inline]
    pub(super) fn stays_live(
        &mut self,
        now: Nanos,
        slot: Slot,
        removed: &mut RemovedEntries<'_, K, V>,
    ) -> bool {
        match self.expiry_cause(now, slot) {
            None => true,
            Some(cause) => {
                self.remove_entry(slot, cause, removed);
                false
            }
        }
    }
}
