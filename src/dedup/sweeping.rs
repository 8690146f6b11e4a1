//! Sweeping the shared map: shard by shard, in bounded pieces per lock.

use std::hash::BuildHasher;
use std::sync::atomic::Ordering;

use super::{DedupMap, Inner};
use crate::key::Key;
use crate::stats::Stats;
use crate::sweep::{Sweep, Swept};

/// The most entries that a sweep frees before it lets go of the lock.
const PIECE: usize = 1024;

impl<K: ?Sized + Key, V, S: BuildHasher> Inner<K, V, S> {
    /// Sweeps one shard until nothing is left to do, or `budget` entries' worth of work was done.
    pub(super) fn sweep_shard(&self, shard: usize, mut budget: usize) -> Swept {
        let mut swept = Swept { freed: 0, more: true };
        while swept.more && budget > 0 {
            let piece = budget.min(PIECE);
            let now = self.clock.nanos();
            let (freed, more) = self.with(shard, |core| core.sweep_at(now, piece));
            swept = Swept { freed: swept.freed + freed, more };
            budget -= piece;
        }
        swept
    }
}

impl<K, V, S> Sweep for Inner<K, V, S>
where
    K: ?Sized + Key<Store: Send>,
    V: Send,
    S: BuildHasher + Send + Sync,
{
    fn sweep_some(&self, budget: usize) -> Swept {
        let shards = self.shards.len();
        let first = self.next_swept.load(Ordering::Relaxed);
        let piece = (budget / shards).max(1);
        let mut all = Swept { freed: 0, more: false };
        for shard in (first..first + shards).map(|shard| shard % shards) {
            let swept = self.sweep_shard(shard, piece);
            all.freed += swept.freed;
            all.more |= swept.more;
        }
        self.next_swept.store((first + 1) % shards, Ordering::Relaxed);
        all
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
