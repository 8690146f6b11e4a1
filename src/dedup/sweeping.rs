//! Sweeping the shared map.

use std::hash::BuildHasher;
use std::sync::{Arc, Weak};

use super::{DedupMap, Inner};
use crate::dedup::log::store::SendStore;
use crate::key::Key;
use crate::stats::Usage;
use crate::sweep::{Sweep, Swept, Watch};

impl<K: ?Sized + Key, V, S: BuildHasher> Inner<K, V, S> {
    /// Frees up to `budget` entries of one shard, under one lock.
    pub(super) fn sweep_piece(&self, shard: usize, budget: usize) -> Swept {
        let now = self.clock.nanos();
        self.with(shard, |core| core.sweep_at(now, budget))
    }
}

impl<K, V, S> Sweep for Inner<K, V, S>
where
    K: ?Sized + Key<Store: SendStore> + 'static,
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
}

impl<K, V, S> Watch for DedupMap<K, V, S>
where
    K: ?Sized + Key<Store: SendStore> + 'static,
    V: Send + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    fn downgrade_to_sweep(&self) -> Weak<dyn Sweep> {
        Arc::downgrade(&self.inner) as Weak<dyn Sweep>
    }
}
