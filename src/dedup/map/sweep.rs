//! Sweeping of a shared map, by a call or by the sweeper.

use std::hash::BuildHasher;
use std::sync::{Arc, Weak};

use super::super::log::columns::Column;
use super::{DedupMap, Inner};
use crate::dedup::Key;
use crate::panic::FirstPanic;
use crate::stats::Usage;
#[cfg(feature = "persist")]
use crate::sweep::Contents;
use crate::sweep::{Sweep, Swept, Watch};

impl<K: ?Sized + Key, V, S: BuildHasher> DedupMap<K, V, S> {
    /// Frees the memory of expired, evicted and removed ids, and returns the number of expired and
    /// evicted ids freed. Changes no answer.
    ///
    /// Locks a shard for a bounded piece of work at a time.
    pub fn sweep(&self) -> usize {
        let freed = self
            .inner
            .shards
            .sweep_all(|shard, piece| self.inner.sweep_piece(shard, piece));
        self.inner.maintain_journal();
        freed
    }
}

impl<K: ?Sized + Key, V, S: BuildHasher> Inner<K, V, S> {
    /// Frees up to `budget` entries of one shard under one lock.
    fn sweep_piece(&self, shard: usize, budget: usize) -> Swept {
        let now = self.now();
        self.with_shard(shard, |core, hasher| core.sweep(now, budget, hasher))
    }
}

impl<K, V, S> Sweep for Inner<K, V, S>
where
    K: ?Sized + Key<Column: Column<Dropped: Send> + Send> + 'static,
    V: Send + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    fn sweep_some(&self, budget: usize) -> Swept {
        self.shards
            .sweep_some(budget, |shard, piece| self.sweep_piece(shard, piece))
    }

    fn usage(&self) -> Usage {
        self.stats().usage()
    }

    #[cfg(feature = "persist")]
    fn journaled(&self) -> Option<&dyn Contents> {
        Some(self)
    }

    fn end_leases(&self) {
        let Some(alarm) = self.alarm.get() else {
            return;
        };
        // Before the shards are examined, so that a caller which begins to wait during that sets it
        // again.
        alarm.reset();
        let now = self.now();
        let mut panics = FirstPanic::default();
        let next = (0..self.shards.len())
            .filter_map(|shard| {
                let end = || self.with_shard(shard, |core, hasher| core.end_leases(now, hasher));
                panics.catch(end).flatten()
            })
            .min();
        if let Some(next) = next {
            self.set_alarm(next);
        }
        panics.resume();
    }
}

impl<K, V, S> DedupMap<K, V, S>
where
    K: ?Sized + Key<Column: Column<Dropped: Send> + Send> + 'static,
    V: Send + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    /// Implements [`Key::downgrade_to_sweep`].
    pub(crate) fn downgrade_inner(&self) -> Weak<dyn Sweep> {
        let weak: Weak<Inner<K, V, S>> = Arc::downgrade(&self.inner);
        weak
    }
}

impl<K, V, S> Watch for DedupMap<K, V, S>
where
    K: ?Sized + Key + Send + 'static,
    V: Send + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    fn downgrade_to_sweep(&self) -> Weak<dyn Sweep> {
        K::downgrade_to_sweep(self)
    }
}
