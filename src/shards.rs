//! `Shards`: one collection cut into independently locked parts.

use std::num::NonZeroUsize;
use std::thread::available_parallelism;

use crossbeam_utils::CachePadded;

use crate::hash::choose;
use crate::sweep::Swept;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{Mutex, MutexGuard};

/// No more shards than this are useful.
pub(crate) const MAX_SHARDS: usize = 1 << 12;
/// The most entries that a sweep frees before it lets go of the lock.
const PIECE: usize = 1024;

/// Parts that are locked one by one, each on cache lines of its own.
///
/// A thread that locks a part which another core had before fetches each line of it that this one wrote. So the structs of
/// parts are laid out as they are written down (`repr(C)`), what nearly every call writes first, beside the lock: with two
/// threads that share a cache, a call takes a seventh less than it does where the compiler chooses.
pub(crate) struct Shards<T> {
    shards: Box<[CachePadded<Mutex<T>>]>,
    /// The shard at which the next piece of a sweep begins.
    next_swept: AtomicUsize,
}

impl<T> Shards<T> {
    pub(crate) fn new(parts: impl Iterator<Item = T>) -> Self {
        let shards = parts
            .map(|part| CachePadded::new(Mutex::new(part)))
            .collect();
        Self {
            shards,
            next_swept: AtomicUsize::new(0),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.shards.len()
    }

    /// The shard that a hash belongs to.
    #[inline]
    pub(crate) fn of(&self, hash: u64) -> usize {
        choose(hash, self.shards.len())
    }

    #[inline]
    pub(crate) fn lock(&self, shard: usize) -> MutexGuard<'_, T> {
        self.shards[shard].lock()
    }

    /// Has `sweep` free an equal part of `budget` entries in each shard, in pieces that are each done under one lock.
    pub(crate) fn sweep_some(
        &self,
        budget: usize,
        mut sweep: impl FnMut(usize, usize) -> Swept,
    ) -> Swept {
        let shards = self.len();
        let first = self.next_swept.load(Ordering::Relaxed);
        let mut all = Swept {
            freed: 0,
            more: false,
        };
        for shard in (first..first + shards).map(|shard| shard % shards) {
            let swept = in_pieces((budget / shards).max(1), |piece| sweep(shard, piece));
            all.freed += swept.freed;
            all.more |= swept.more;
        }
        self.next_swept
            .store((first + 1) % shards, Ordering::Relaxed);
        all
    }

    /// Has `sweep` free all that it can, in pieces that are each done under one lock; how many entries were freed.
    pub(crate) fn sweep_all(&self, mut sweep: impl FnMut(usize, usize) -> Swept) -> usize {
        (0..self.len())
            .map(|shard| in_pieces(usize::MAX, |piece| sweep(shard, piece)).freed)
            .sum()
    }
}

/// Sweeps by the piece until nothing is left to do, or `budget` entries' worth of work was done.
fn in_pieces(mut budget: usize, mut sweep: impl FnMut(usize) -> Swept) -> Swept {
    let mut all = Swept {
        freed: 0,
        more: true,
    };
    while all.more && budget > 0 {
        let piece = budget.min(PIECE);
        let swept = sweep(piece);
        all = Swept {
            freed: all.freed + swept.freed,
            more: swept.more,
        };
        budget -= piece;
    }
    all
}

/// The number of shards that suits this machine, where the bounds are enough for so many `at_most`.
pub(crate) fn default_count(at_most: usize) -> usize {
    let cores = available_parallelism().map_or(1, NonZeroUsize::get);
    (8 * cores).next_power_of_two().min(256).min(at_most).max(1)
}

/// The share of shard `shard` of `shards` in a bound. The shares add up to the bound exactly.
pub(crate) fn share(bound: u64, shard: usize, shards: usize) -> u64 {
    let (shard, shards) = (shard as u64, shards as u64);
    bound / shards + u64::from(shard < bound % shards)
}

/// [`share`] of a bound on a count.
pub(crate) fn share_of_count(bound: usize, shard: usize, shards: usize) -> usize {
    // A share is no larger than the bound, which fits.
    share(bound as u64, shard, shards) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_to_the_bound_exactly() {
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

    #[test]
    fn there_are_no_more_shards_than_the_bounds_are_enough_for_and_at_least_one() {
        assert_eq!([0, 1, 2].map(default_count), [1, 1, 2]);
        assert!((2..=256).contains(&default_count(1_000_000)));
    }
}
