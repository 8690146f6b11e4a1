//! The limits of an unsync cache, and its figures.

use std::time::Duration;

use super::LruCache;
use crate::lru::error::InvalidLimit;
use crate::lru::options::MAX_ENTRIES_PER_SHARD;
use crate::lru::policy::Policy;
use crate::stats::CacheStats;

/// Figures and limits.
impl<K, V, S> LruCache<K, V, S> {
    /// Returns the number of live entries.
    ///
    /// Takes a step for every entry that is expired and not yet removed. Writes and sweeps remove
    /// these.
    #[must_use]
    pub fn len(&self) -> usize {
        self.core.len(self.now())
    }

    /// Returns `true` if no entry is live. Costs as much as [`len`](Self::len).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the weight of the live entries. Costs as much as [`len`](Self::len).
    #[must_use]
    pub fn weight(&self) -> u64 {
        self.core.weight(self.now())
    }

    /// Returns the size, the bounds, the age of the oldest entry, and counters. Costs as much as
    /// [`len`](Self::len).
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        CacheStats {
            callback_panics: self.notifier.panics(),
            ..self.core.stats(self.now())
        }
    }

    /// Returns the bound on the number of entries. Without one, it is
    /// [`max_weight`](Self::max_weight), because every entry weighs at least 1.
    #[must_use]
    #[doc(alias = "cap")]
    pub fn max_entries(&self) -> usize {
        self.core.limits().reachable_entries()
    }

    /// Returns the bound on the weight of all entries, if there is one.
    #[must_use]
    pub fn max_weight(&self) -> Option<u64> {
        self.core.limits().max_weight()
    }

    /// Returns how long an entry lives after it was last written, if that is limited.
    #[must_use]
    pub fn ttl(&self) -> Option<Duration> {
        self.core.limits().ttl()
    }

    /// Returns how long an entry lives after its last access, if that is limited.
    #[must_use]
    pub fn idle_timeout(&self) -> Option<Duration> {
        self.core.limits().idle_timeout()
    }

    /// Returns which entry is evicted if the cache is full.
    #[must_use]
    pub fn policy(&self) -> Policy {
        self.core.limits().policy
    }

    /// Changes the bound on the number of entries, and evicts what exceeds it, in time proportional
    /// to its number.
    ///
    /// # Errors
    ///
    /// Returns [`InvalidLimit`], and changes nothing, if the bound is zero or exceeds
    /// 2<sup>31</sup>.
    #[doc(alias = "resize")]
    pub fn set_max_entries(&mut self, max_entries: usize) -> Result<(), InvalidLimit> {
        let most = MAX_ENTRIES_PER_SHARD as u64;
        InvalidLimit::check("max_entries", max_entries as u64, 1, most)?;
        self.core.set_max_entries(max_entries);
        self.shrink_to_bounds();
        Ok(())
    }

    /// Changes the bound on the weight of all entries, and evicts what exceeds it, in time
    /// proportional to its number.
    ///
    /// # Errors
    ///
    /// Returns [`InvalidLimit`], and changes nothing, if the bound is zero or the cache has no
    /// weigher.
    pub fn set_max_weight(&mut self, max_weight: u64) -> Result<(), InvalidLimit> {
        if self.rules.weigher.is_none() {
            return Err(InvalidLimit::NoWeigher);
        }
        InvalidLimit::check("max_weight", max_weight, 1, u64::MAX)?;
        self.core.set_max_weight(max_weight);
        self.shrink_to_bounds();
        Ok(())
    }

    fn shrink_to_bounds(&mut self) {
        self.write(|core, now, removed| {
            core.shrink_to_bounds(now, usize::MAX, removed);
        });
    }
}
