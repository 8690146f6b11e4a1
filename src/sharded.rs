//! `Sharded`: a collection that is divided into independently locked shards.

use crossbeam_utils::CachePadded;

use crate::hash::choose;
use crate::sweep::Swept;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{Mutex, MutexGuard};

/// The largest number of entries that a sweep frees under one lock.
const PIECE: usize = 1024;

/// Shards that are locked one at a time, each on cache lines of its own.
///
/// Shard structs are `repr(C)`, frequently written fields first, next to the lock. This reduces the
/// cache lines that move between cores. With two threads that share a cache it saves a seventh of a
/// call.
pub(crate) struct Sharded<C> {
    shards: Box<[CachePadded<Mutex<C>>]>,
    /// The shard at which the next call of [`sweep_some`](Self::sweep_some) begins.
    next_swept: AtomicUsize,
}

impl<C> Sharded<C> {
    pub(crate) fn new(shards: impl Iterator<Item = C>) -> Self {
        let shards = shards
            .map(|shard| CachePadded::new(Mutex::new(shard)))
            .collect();
        Self {
            shards,
            next_swept: AtomicUsize::new(0),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.shards.len()
    }

    /// Returns the index of the shard that a hash belongs to.
    #[inline]
    pub(crate) fn shard_of(&self, hash: u64) -> usize {
        choose(hash, self.shards.len())
    }

    /// Locks one shard.
    #[inline]
    pub(crate) fn lock(&self, shard: usize) -> MutexGuard<'_, C> {
        self.shards[shard].lock()
    }

    /// Frees about `budget` entries, divided equally among the shards.
    ///
    /// Calls `sweep` with a shard and a number of entries; `sweep` takes the lock once per call.
    pub(crate) fn sweep_some(
        &self,
        budget: usize,
        mut sweep: impl FnMut(usize, usize) -> Swept,
    ) -> Swept {
        let shards = self.len();
        // Relaxed: the value guards no other data. Two sweeps at once may begin at the same shard.
        let first = self.next_swept.load(Ordering::Relaxed);
        let mut total = Swept::default();
        for shard in (first..first + shards).map(|shard| shard % shards) {
            let swept = in_pieces((budget / shards).max(1), |piece| sweep(shard, piece));
            total.freed += swept.freed;
            total.more |= swept.more;
        }
        self.next_swept
            .store((first + 1) % shards, Ordering::Relaxed);
        total
    }

    /// Frees everything that can be freed, and returns the number of freed entries.
    pub(crate) fn sweep_all(&self, mut sweep: impl FnMut(usize, usize) -> Swept) -> usize {
        (0..self.len())
            .map(|shard| in_pieces(usize::MAX, |piece| sweep(shard, piece)).freed)
            .sum()
    }
}

/// Sweeps in pieces until there is no more to do or the budget is used up.
fn in_pieces(mut budget: usize, mut sweep: impl FnMut(usize) -> Swept) -> Swept {
    let mut total = Swept {
        freed: 0,
        more: true,
    };
    while total.more && budget > 0 {
        let piece = budget.min(PIECE);
        let swept = sweep(piece);
        total = Swept {
            freed: total.freed + swept.freed,
            more: swept.more,
        };
        budget -= piece;
    }
    total
}

/// Returns the share of one shard in a bound. The shares of all shards add up to the bound exactly.
pub(crate) fn share(bound: u64, shard: usize, shards: usize) -> u64 {
    let (shard, shards) = (shard as u64, shards as u64);
    bound / shards + u64::from(shard < bound % shards)
}

/// Returns the [`share`] in a bound on a count.
pub(crate) fn share_of_count(bound: usize, shard: usize, shards: usize) -> usize {
    // A share never exceeds the bound, so it fits into `usize`.
    share(bound as u64, shard, shards) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_to_the_bound() {
        for (bound, shards) in [
            (1, 1),
            (10, 3),
            (1_000_000, 7),
            (4095, 4095),
            (u64::MAX, 12),
        ] {
            let shares = (0..shards).map(|shard| share(bound, shard, shards));
            assert_eq!(shares.sum::<u64>(), bound);
        }
    }
}
