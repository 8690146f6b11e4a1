//! Other bounds than a cache was built with.

use super::builder::{MAX_ENTRIES_PER_SHARD, share_of_weight};
use super::{LruCache, unsync};
use crate::limits::{self, BuildError};
use crate::panic::FirstPanic;
use crate::sharded::share_of_count;

/// The most entries that are evicted under one lock.
const PIECE: usize = 1024;

impl<K, V, S> LruCache<K, V, S> {
    /// Sets another bound on the number of entries; what is above it is evicted, in time proportional to its number.
    ///
    /// In pieces of 1,024 a lock; an insert that comes meanwhile evicts what its shard still has to.
    ///
    /// # Errors
    ///
    /// [`BuildError`] where the bound is zero, beyond reach, or too small for each shard to have a part; the former one
    /// holds on.
    pub fn set_max_entries(&self, max_entries: usize) -> Result<(), BuildError> {
        let shards = self.inner.shards.len();
        limits::count(
            "max_entries",
            Some(max_entries),
            shards.saturating_mul(MAX_ENTRIES_PER_SHARD),
        )?;
        limits::shards(shards, [max_entries])?;
        self.rebound(|core, shard| {
            core.limits.max_entries = share_of_count(max_entries, shard, shards);
        });
        Ok(())
    }

    /// Sets another bound on the weight of all entries; what is above it is evicted, in time proportional to its number,
    /// as by [`set_max_entries`](Self::set_max_entries).
    ///
    /// # Errors
    ///
    /// [`BuildError`] where the bound is zero, too small for each shard to have a part, or the cache has no weigher; the
    /// former one holds on.
    pub fn set_max_weight(&self, max_weight: u64) -> Result<(), BuildError> {
        let shards = self.inner.shards.len();
        limits::weight(Some(max_weight), self.inner.weigher.is_some())?;
        limits::shards(shards, usize::try_from(max_weight))?;
        self.rebound(|core, shard| {
            core.limits.max_weight = share_of_weight(max_weight, shard, shards);
        });
        Ok(())
    }

    fn rebound(&self, set: impl Fn(&mut unsync::LruCache<K, V, S>, usize)) {
        let shards = 0..self.inner.shards.len();
        // In all shards before anything leaves: then callbacks and drops, which may change a bound too, find one bound, and
        // no lock.
        let one_at_a_time = self.inner.resizing.lock();
        shards
            .clone()
            .for_each(|at| self.inner.with(at, |shard, _| set(&mut shard.core, at)));
        drop(one_at_a_time);
        let mut panics = FirstPanic::default();
        for at in shards {
            let now = self.now();
            let evict = || {
                self.inner
                    .with(at, |shard, left| shard.core.evict_at(now, PIECE, left))
            };
            // Where a drop panicked, something left, and there may be more.
            while panics.catch(evict).unwrap_or(true) {}
            let sweep = || {
                self.inner
                    .with(at, |shard, left| shard.core.sweep_at(now, PIECE, left))
                    .more
            };
            while panics.catch(sweep).unwrap_or(true) {}
        }
        panics.resume();
    }
}
