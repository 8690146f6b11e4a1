//! What a cache holds, and whether all of it agrees.
//!
//! Entries past their time may still be held; no figure counts them.

use std::time::Duration;

use super::LruCache;
use crate::clock::Nanos;
use crate::removal::RemovalCause;
use crate::stats::CacheStats;

/// Entries that are held though their time is over.
#[derive(Default)]
struct Dead {
    expired: usize,
    idle: usize,
    weight: u64,
}

impl Dead {
    fn len(&self) -> usize {
        self.expired + self.idle
    }
}

impl<K, V, S> LruCache<K, V, S> {
    /// What is held though its time is over: it is at the ends of the two orders, and freed by later calls.
    fn dead(&self, now: Nanos) -> Dead {
        let mut dead = Dead::default();
        if now < self.next_due {
            return dead;
        }
        // Each is told by the order at the old end of which it is for its cause.
        let (writes, recency) = (self.store.writes(), self.store.recency());
        let too_old = writes
            .oldest_first()
            .take_while(|&at| now - writes.time(at) >= self.limits.ttl);
        let unused = recency
            .oldest_first()
            .take_while(|&at| now - recency.time(at) >= self.limits.idle_timeout);
        let of = |at, cause| self.over(now, at) == Some(cause);
        for at in too_old.filter(|&at| of(at, RemovalCause::Expired)) {
            dead.expired += 1;
            dead.weight += u64::from(self.store.entry(at).weight.get());
        }
        for at in unused.filter(|&at| of(at, RemovalCause::Idle)) {
            dead.idle += 1;
            dead.weight += u64::from(self.store.entry(at).weight.get());
        }
        dead
    }

    pub(in crate::lru) fn len_at(&self, now: Nanos) -> usize {
        self.store.len() - self.dead(self.latest.max(now)).len()
    }

    pub(in crate::lru) fn weight_at(&self, now: Nanos) -> u64 {
        self.weight - self.dead(self.latest.max(now)).weight
    }

    pub(in crate::lru) fn stats_at(&self, now: Nanos) -> CacheStats {
        let now = self.latest.max(now);
        let dead = self.dead(now);
        let writes = self.store.writes();
        let oldest = writes
            .oldest_first()
            .find(|&at| self.over(now, at).is_none());
        let limit = |nanos: Nanos| (nanos != Nanos::MAX).then(|| Duration::from_nanos(nanos));
        CacheStats {
            len: self.store.len() - dead.len(),
            // No entry weighs nothing.
            max_entries: self
                .limits
                .max_entries
                .min(usize::try_from(self.limits.max_weight).unwrap_or(usize::MAX)),
            high_water: self.counts.high_water,
            oldest_entry_age: oldest.map(|at| Duration::from_nanos(now - writes.time(at))),
            ttl: limit(self.limits.ttl),
            idle_timeout: limit(self.limits.idle_timeout),
            weight: self.weight - dead.weight,
            max_weight: (self.limits.max_weight != u64::MAX).then_some(self.limits.max_weight),
            inserted: self.counts.inserted,
            hits: self.counts.hits,
            misses: self.counts.misses,
            expired: self.counts.expired + dead.expired as u64,
            idle: self.counts.idle + dead.idle as u64,
            evicted: self.counts.evicted,
            replaced: self.counts.replaced,
            removed: self.counts.removed,
            rejected: self.counts.rejected,
            evicted_by_weight: 0,
            callback_panics: 0,
        }
    }

    /// Checks all but the bounds, above which a shard is while another thread lowers them.
    pub(in crate::lru) fn check(&self) {
        self.store.validate();
        let places = || self.store.recency().newest_first();
        let weight: u64 = places()
            .map(|at| u64::from(self.store.entry(at).weight.get()))
            .sum();
        assert_eq!(weight, self.weight, "the weight");
        let due = |at| {
            let age = self.store.writes().time(at).saturating_add(self.limits.ttl);
            age.min(
                self.store
                    .recency()
                    .time(at)
                    .saturating_add(self.limits.idle_timeout),
            )
        };
        assert!(
            places().all(|at| due(at) >= self.next_due),
            "no entry's time is over before the next that is due"
        );
        let counts = &self.counts;
        let gone = counts.expired + counts.idle + counts.evicted + counts.replaced + counts.removed;
        assert_eq!(
            counts.inserted - gone,
            self.store.len() as u64,
            "every entry that came and is not here left"
        );
    }
}
