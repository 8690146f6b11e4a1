//! Freeing what is past its time, and all at once.

use super::LruCache;
use super::inner::Inner;
use crate::contained::FirstPanic;
use crate::stats::Stats;
use crate::sweep::{PIECE, Sweep, Swept, Task};

impl<K, V, S> Inner<K, V, S> {
    /// Frees up to `budget` entries of one shard, under one lock.
    pub(super) fn sweep_piece(&self, shard: usize, budget: usize) -> Swept {
        let now = self.clock.nanos();
        self.with(shard, |shard, left| shard.core.sweep_at(now, budget, left))
    }

    fn sweep_some(&self, budget: usize) -> Swept {
        self.shards
            .sweep_some(budget, |shard, piece| self.sweep_piece(shard, piece))
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
            panics.hold(|| drop(empty()));
        }
        panics.go_on();
    }
}

/// The process-wide sweeper holds this, and not the cache, which is but a handle on it.
impl<K: Send, V: Send, S: Send + Sync> Task for Inner<K, V, S> {
    fn run_piece(&self) -> Swept {
        self.sweep_some(PIECE)
    }
}

impl<K: Send, V: Send, S: Send + Sync> Sweep for LruCache<K, V, S> {
    fn sweep_some(&self, budget: usize) -> Swept {
        self.inner.sweep_some(budget)
    }

    fn stats(&self) -> Stats {
        self.inner.stats()
    }
}
