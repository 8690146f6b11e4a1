//! Freeing what is past its time, and all at once.

use std::sync::{Arc, Weak};

use super::LruCache;
use super::inner::Inner;
use crate::panic::FirstPanic;
use crate::stats::Usage;
use crate::sweep::{Sweep, Swept, Watch};

impl<K, V, S> Inner<K, V, S> {
    /// Frees up to `budget` entries of one shard, under one lock.
    pub(super) fn sweep_piece(&self, shard: usize, budget: usize) -> Swept {
        let now = self.clock.nanos();
        self.with(shard, |shard, left| shard.core.sweep_at(now, budget, left))
    }
}

impl<K, V, S> LruCache<K, V, S> {
    /// Frees the entries whose time is over; how many. Changes no answer.
    ///
    /// Works in bounded pieces per lock.
    pub fn sweep(&self) -> usize {
        self.inner
            .shards
            .sweep_all(|shard, piece| self.inner.sweep_piece(shard, piece))
    }

    /// Removes all entries, in time proportional to their number, and gives their memory back. A value that is being
    /// computed is not stored.
    pub fn clear(&self) {
        let now = self.now();
        let mut panics = FirstPanic::default();
        for shard in 0..self.inner.shards.len() {
            let empty = || {
                self.inner.with(shard, |shard, left| {
                    shard.core.clear_at(now, left);
                    shard.flights.supersede_all()
                })
            };
            panics.catch(|| drop(empty()));
        }
        panics.resume();
    }
}

impl<K, V, S> Sweep for Inner<K, V, S>
where
    K: Send + 'static,
    V: Send + 'static,
    S: Send + Sync + 'static,
{
    fn sweep_some(&self, budget: usize) -> Swept {
        self.shards
            .sweep_some(budget, |shard, piece| self.sweep_piece(shard, piece))
    }

    fn usage(&self) -> Usage {
        self.stats().usage()
    }
}

impl<K, V, S> Watch for LruCache<K, V, S>
where
    K: Send + 'static,
    V: Send + 'static,
    S: Send + Sync + 'static,
{
    fn downgrade_to_sweep(&self) -> Weak<dyn Sweep> {
        Arc::downgrade(&self.inner) as Weak<dyn Sweep>
    }
}
