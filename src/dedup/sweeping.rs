//! Sweeping the shared map.

use std::hash::BuildHasher;

use super::{DedupMap, Inner};
use crate::key::Key;
use crate::stats::Stats;
use crate::sweep::{Sweep, Swept};

impl<K: ?Sized + Key, V, S: BuildHasher> Inner<K, V, S> {
    /// Frees up to `budget` entries of one shard, under one lock.
    pub(super) fn sweep_piece(&self, shard: usize, budget: usize) -> Swept {
        let now = self.clock.nanos();
        self.with(shard, |core| core.sweep_at(now, budget))
    }
}

impl<K, V, S> Sweep for Inner<K, V, S>
where
    K: ?Sized + Key<Store: Send>,
    V: Send,
    S: BuildHasher + Send + Sync,
{
    fn sweep_some(&self, budget: usize) -> Swept {
        self.shards.sweep_some(budget, |shard, piece| self.sweep_piece(shard, piece))
    }

    fn stats(&self) -> Stats {
        self.stats()
    }
}

impl<K, V, S> Sweep for DedupMap<K, V, S>
where
    K: ?Sized + Key<Store: Send>,
    V: Send,
    S: BuildHasher + Send + Sync,
{
    fn sweep_some(&self, budget: usize) -> Swept {
        self.inner.sweep_some(budget)
    }

    fn stats(&self) -> Stats {
        self.inner.stats()
    }
}
