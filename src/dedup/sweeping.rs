//! Sweeping the shared map.

use std::hash::BuildHasher;

use super::{DedupMap, Inner};
use crate::dedup::log::store::SendStore;
use crate::key::Key;
use crate::stats::Stats;
use crate::sweep::{PIECE, Sweep, Swept, Task};

impl<K: ?Sized + Key, V, S: BuildHasher> Inner<K, V, S> {
    /// Frees up to `budget` entries of one shard, under one lock.
    pub(super) fn sweep_piece(&self, shard: usize, budget: usize) -> Swept {
        let now = self.clock.nanos();
        self.with(shard, |core| core.sweep_at(now, budget))
    }

    fn sweep_some(&self, budget: usize) -> Swept {
        self.shards
            .sweep_some(budget, |shard, piece| self.sweep_piece(shard, piece))
    }
}

/// The process-wide sweeper holds this, and not the map, which is but a handle on it.
impl<K, V, S> Task for Inner<K, V, S>
where
    K: ?Sized + Key<Store: SendStore>,
    V: Send,
    S: BuildHasher + Send + Sync,
{
    fn run_piece(&self) -> Swept {
        self.sweep_some(PIECE)
    }
}

impl<K, V, S> Sweep for DedupMap<K, V, S>
where
    K: ?Sized + Key<Store: SendStore>,
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
