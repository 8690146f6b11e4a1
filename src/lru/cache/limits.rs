//! The limits of a shared cache, and its figures.

use std::time::Duration;

use super::LruCache;
use crate::clock::Nanos;
use crate::lru::core::{Core, Limits};
use crate::lru::error::InvalidLimit;
use crate::lru::options::MAX_ENTRIES_PER_SHARD;
use crate::lru::policy::Policy;
use crate::panic::FirstPanic;
use crate::sharded::{share, share_of_count};
use crate::stats::CacheStats;

/// Entries that are evicted under one lock after a bound was lowered.
const EVICTED_PER_LOCK: usize = 1024;

impl Limits {
    /// Returns a shard's share of the limits.
    pub(super) fn share(self, shard: usize, shards: usize) -> Self {
        Self {
            max_entries: share_of_count(self.max_entries, shard, shards),
            max_weight: share_of_weight(self.max_weight, shard, shards),
            ..self
        }
    }
}

/// Returns a shard's share of a bound on weight. If there is no bound, no shard has one.
fn share_of_weight(max_weight: u64, shard: usize, shards: usize) -> u64 {
    if max_weight == u64::MAX {
        u64::MAX
    } else {
        share(max_weight, shard, shards)
    }
}

/// Figures and limits.
impl<K, V, S> LruCache<K, V, S> {
    fn sum<N: std::iter::Sum>(&self, figure: impl Fn(&Core<K, V>, Nanos) -> N) -> N {
        let now = self.now();
        (0..self.shard_count())
            .map(|shard| self.with_shard(shard, |shard| figure(&shard.core, now)))
            .sum()
    }

    /// Returns the number of live entries.
    ///
    /// Locks each shard once, and takes a step for every entry that is expired and not yet removed.
    /// Writes and sweeps remove these.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sum(Core::len)
    }

    /// Returns `true` if no entry is live. Costs as much as [`len`](Self::len).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the weight of the live entries. Costs as much as [`len`](Self::len).
    #[must_use]
    #[doc(alias = "weighted_size")]
    pub fn weight(&self) -> u64 {
        self.sum(Core::weight)
    }

    /// Returns the size, the bounds, the age of the oldest entry, and counters. Costs as much as
    /// [`len`](Self::len).
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        self.inner.stats()
    }

    /// Returns the bound on the number of entries. Without one, it is
    /// [`max_weight`](Self::max_weight), because every entry weighs at least 1.
    #[must_use]
    #[doc(alias = "cap")]
    #[doc(alias = "capacity")]
    #[doc(alias = "max_capacity")]
    pub fn max_entries(&self) -> usize {
        self.inner.limits.lock().reachable_entries()
    }

    /// Returns the bound on the weight of all entries, if there is one.
    #[must_use]
    pub fn max_weight(&self) -> Option<u64> {
        self.inner.limits.lock().max_weight()
    }

    /// Returns how long an entry lives after it was last written, if that is limited.
    #[must_use]
    pub fn ttl(&self) -> Option<Duration> {
        self.inner.limits.lock().ttl()
    }

    /// Returns how long an entry lives after its last access, if that is limited.
    #[must_use]
    pub fn idle_timeout(&self) -> Option<Duration> {
        self.inner.limits.lock().idle_timeout()
    }

    /// Returns which entry is evicted if the cache is full.
    #[must_use]
    pub fn policy(&self) -> Policy {
        self.inner.limits.lock().policy
    }

    /// Returns the number of independently locked shards.
    #[must_use]
    #[doc(alias = "num_shards")]
    pub fn shards(&self) -> usize {
        self.shard_count()
    }

    /// Changes the bound on the number of entries, and evicts what exceeds it, in time proportional
    /// to its number.
    ///
    /// It evicts up to 1,024 entries per lock. An insert in between evicts what its shard still has
    /// to.
    ///
    /// # Errors
    ///
    /// Returns [`InvalidLimit`], and changes nothing, if the bound is less than the number of
    /// shards or too large.
    #[doc(alias = "resize")]
    #[doc(alias = "set_capacity")]
    pub fn set_max_entries(&self, max_entries: usize) -> Result<(), InvalidLimit> {
        let shards = self.shard_count();
        let most = (shards as u64).saturating_mul(MAX_ENTRIES_PER_SHARD as u64);
        InvalidLimit::check("max_entries", max_entries as u64, shards as u64, most)?;
        self.set_limits(
            |limits| limits.max_entries = max_entries,
            |core, shard| core.set_max_entries(share_of_count(max_entries, shard, shards)),
        );
        Ok(())
    }

    /// Changes the bound on the weight of all entries, and evicts what exceeds it, as
    /// [`set_max_entries`](Self::set_max_entries) does.
    ///
    /// # Errors
    ///
    /// Returns [`InvalidLimit`], and changes nothing, if the bound is less than the number of
    /// shards, or the cache has no weigher.
    pub fn set_max_weight(&self, max_weight: u64) -> Result<(), InvalidLimit> {
        if self.inner.rules.weigher.is_none() {
            return Err(InvalidLimit::NoWeigher);
        }
        let shards = self.shard_count();
        InvalidLimit::check("max_weight", max_weight, shards as u64, u64::MAX)?;
        self.set_limits(
            |limits| limits.max_weight = max_weight,
            |core, shard| core.set_max_weight(share_of_weight(max_weight, shard, shards)),
        );
        Ok(())
    }

    fn set_limits(
        &self,
        set: impl FnOnce(&mut Limits),
        set_share: impl Fn(&mut Core<K, V>, usize),
    ) {
        let mut limits = self.inner.limits.lock();
        set(&mut limits);
        // In all shards before anything is removed: callbacks and drops, which may change a bound
        // too, then find one bound, and no lock.
        for shard in 0..self.shard_count() {
            self.with_shard(shard, |it| set_share(&mut it.core, shard));
        }
        drop(limits);
        let mut panics = FirstPanic::default();
        for shard in 0..self.shard_count() {
            let evict = || {
                let now = self.now();
                self.write_shard(shard, |shard, removed| {
                    shard.core.shrink_to_bounds(now, EVICTED_PER_LOCK, removed)
                })
            };
            // If a drop panicked, something was removed, and there may be more.
            while panics.catch(evict).unwrap_or(true) {}
        }
        panics.resume();
    }

    /// Checks every invariant, in time proportional to the size; for tests and fuzzing.
    ///
    /// # Panics
    ///
    /// Panics if an invariant does not hold.
    #[doc(hidden)]
    pub fn validate(&self) {
        for shard in 0..self.shard_count() {
            self.with_shard(shard, |shard| shard.core.validate());
        }
    }
}
