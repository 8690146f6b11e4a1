//! Statistics of a core, and the check of its invariants. Expired entries may still be there; no
//! figure counts them.

use std::time::Duration;

use super::Core;
use crate::clock::Nanos;
use crate::lru::slab::Slot;
use crate::removal::RemovalCause;
use crate::stats::CacheStats;

#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(in crate::lru) struct Counts {
    pub(in crate::lru) hits: u64,
    pub(in crate::lru) misses: u64,
    pub(in crate::lru) inserted: u64,
    pub(in crate::lru) evicted: u64,
    /// The part of `evicted` that the bound on weight caused.
    pub(in crate::lru) evicted_by_weight: u64,
    pub(in crate::lru) expired: u64,
    pub(in crate::lru) idle: u64,
    pub(in crate::lru) replaced: u64,
    pub(in crate::lru) removed: u64,
    pub(in crate::lru) rejected: u64,
    pub(in crate::lru) stale_hits: u64,
    pub(in crate::lru) high_water: usize,
}

impl Counts {
    pub(super) fn count_removal(&mut self, cause: RemovalCause) {
        *match cause {
            RemovalCause::Expired => &mut self.expired,
            RemovalCause::Idle => &mut self.idle,
            RemovalCause::Evicted => &mut self.evicted,
            RemovalCause::Replaced => &mut self.replaced,
            _ => &mut self.removed,
        } += 1;
    }
}

/// Entries that are expired and not yet removed.
#[derive(Default)]
struct Expired {
    by_ttl: usize,
    by_idle_timeout: usize,
    weight: u64,
}

impl<K, V> Core<K, V> {
    /// Counts the expired entries, in a step for each.
    fn expired(&self, now: Nanos) -> Expired {
        let mut expired = Expired::default();
        if now < self.next_expiry {
            return expired;
        }
        // An entry is counted in the list whose limit is its cause.
        let weight = |slot: Slot| u64::from(self.nodes[slot].entry.weight.get());
        for slot in self.writes.oldest_first(&self.nodes) {
            if now - self.nodes[slot].written.time < self.limits.ttl {
                break;
            }
            if self.expiry_cause(now, slot) == Some(RemovalCause::Expired) {
                expired.by_ttl += 1;
                expired.weight += weight(slot);
            }
        }
        if let Some(own) = &self.own_ttls {
            own.deadlines.for_each_reached(now, |slot| {
                if self.expiry_cause(now, slot) == Some(RemovalCause::Expired) {
                    expired.by_ttl += 1;
                    expired.weight += weight(slot);
                }
            });
        }
        for slot in self.recency.oldest_first(&self.nodes) {
            if now - self.nodes[slot].accessed.time < self.limits.idle_timeout {
                break;
            }
            if self.expiry_cause(now, slot) == Some(RemovalCause::Idle) {
                expired.by_idle_timeout += 1;
                expired.weight += weight(slot);
            }
        }
        expired
    }

    pub(in crate::lru) fn len(&self, now: Nanos) -> usize {
        let expired = self.expired(self.latest.max(now));
        self.nodes.len() - expired.by_ttl - expired.by_idle_timeout
    }

    pub(in crate::lru) fn weight(&self, now: Nanos) -> u64 {
        self.weight - self.expired(self.latest.max(now)).weight
    }

    pub(in crate::lru) fn stats(&self, now: Nanos) -> CacheStats {
        let now = self.latest.max(now);
        let expired = self.expired(now);
        let oldest = [
            Some(&self.writes),
            self.own_ttls.as_ref().map(|own| &own.writes),
        ]
        .into_iter()
        .flatten()
        .filter_map(|writes| {
            let mut oldest_first = writes.oldest_first(&self.nodes);
            oldest_first.find(|&slot| self.expiry_cause(now, slot).is_none())
        })
        .map(|slot| self.nodes[slot].written.time)
        .min();
        CacheStats {
            len: self.nodes.len() - expired.by_ttl - expired.by_idle_timeout,
            max_entries: self.limits.reachable_entries(),
            high_water: self.counts.high_water,
            oldest_entry_age: oldest.map(|time| Duration::from_nanos(now - time)),
            ttl: self.limits.ttl(),
            idle_timeout: self.limits.idle_timeout(),
            weight: self.weight - expired.weight,
            max_weight: self.limits.max_weight(),
            inserted: self.counts.inserted,
            hits: self.counts.hits,
            misses: self.counts.misses,
            stale_hits: self.counts.stale_hits,
            expired: self.counts.expired + expired.by_ttl as u64,
            idle: self.counts.idle + expired.by_idle_timeout as u64,
            evicted: self.counts.evicted,
            replaced: self.counts.replaced,
            removed: self.counts.removed,
            rejected: self.counts.rejected,
            evicted_by_weight: self.counts.evicted_by_weight,
            callback_panics: 0,
            waiting: 0,
            max_waiting: 0,
            waits: 0,
            waits_rejected: 0,
        }
    }

    /// Checks every invariant but the bounds. A shard exceeds them while another thread lowers
    /// them.
    pub(in crate::lru) fn validate(&self) {
        let len = self.nodes.len();
        self.index.validate(len, |slot| self.nodes[slot].entry.hash);
        let by_recency = self.recency.validate(&self.nodes);
        let expected = if self.keeps_recency() { len } else { 0 };
        assert_eq!(by_recency, expected, "every entry is in the recency list");
        if let Some(s3_fifo) = &self.s3_fifo {
            s3_fifo.validate(&self.nodes);
        }
        self.validate_writes();
        self.validate_backoffs();
        let slots = || 0..len as Slot;
        let weights = slots().map(|slot| u64::from(self.nodes[slot].entry.weight.get()));
        assert_eq!(weights.sum::<u64>(), self.weight, "the weight");
        for slot in slots() {
            let node = &self.nodes[slot];
            let ttl_end = self.limits.ttl_end(slot, node, self.own_ttls.as_deref());
            let idle_end = node.accessed.time.saturating_add(self.limits.idle_timeout);
            assert!(
                ttl_end.min(idle_end) >= self.next_expiry,
                "no entry expires before `next_expiry`"
            );
            assert!(
                ttl_end.saturating_add(self.limits.stale).min(idle_end) >= self.next_removal,
                "no entry is removed before `next_removal`"
            );
            assert!(
                node.written.time <= self.access_time(slot).saturating_add(7),
                "a write is an access"
            );
        }
        let missing = self.missing;
        assert!(
            slots().all(|slot| missing != Some(self.nodes[slot].entry.hash)),
            "no entry has the missing hash"
        );
        let counts = &self.counts;
        let removed =
            counts.expired + counts.idle + counts.evicted + counts.replaced + counts.removed;
        assert_eq!(
            counts.inserted - removed,
            len as u64,
            "every entry that was inserted is here or was removed"
        );
    }

    /// Checks that the bounds hold.
    pub(in crate::lru) fn validate_bounds(&self) {
        assert!(!self.is_above_bounds(), "the bounds hold");
    }
}
