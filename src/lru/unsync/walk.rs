//! Going through a cache, a bounded piece at a time.

use super::LruCache;
use crate::clock::Nanos;
use crate::lru::left::Left;
use crate::lru::slab::Place;
use crate::removal::RemovalCause;

impl<K, V, S> LruCache<K, V, S> {
    /// Drops, of the places below `from`, up to `budget` whose entries `keep` does not want; where to go on.
    pub(in crate::lru) fn retain_at(
        &mut self,
        now: Nanos,
        from: usize,
        budget: usize,
        keep: &mut impl FnMut(&K, &V) -> bool,
        left: &mut Left<K, V>,
    ) -> Option<usize> {
        let now = self.tick(now, left);
        // Downwards: what takes the place of a removed entry comes from above, where all was seen before.
        let from = from.min(self.store.len());
        let to = from.saturating_sub(budget);
        for at in (to..from).rev().map(|at| at as Place) {
            let entry = self.store.entry(at);
            if let Some(cause) = self.over(now, at) {
                self.take(at, cause, left);
            } else if !keep(&entry.key, &entry.value) {
                self.take(at, RemovalCause::Removed, left);
            }
        }
        (to > 0).then_some(to)
    }

    /// Calls `visit` with the live entries among the `budget` places below `from`; where to go on.
    pub(in crate::lru) fn scan_at(
        &self,
        now: Nanos,
        from: usize,
        budget: usize,
        mut visit: impl FnMut(&K, &V),
    ) -> Option<usize> {
        let now = self.latest.max(now);
        let from = from.min(self.store.len());
        let to = from.saturating_sub(budget);
        for at in (to..from)
            .rev()
            .map(|at| at as Place)
            .filter(|&at| self.over(now, at).is_none())
        {
            let entry = self.store.entry(at);
            visit(&entry.key, &entry.value);
        }
        (to > 0).then_some(to)
    }

    /// The live entries, the most recently used first, and when they were.
    pub(in crate::lru) fn by_recency(&self, now: Nanos) -> impl Iterator<Item = (&K, &V, Nanos)> {
        let now = self.latest.max(now);
        let recency = self.store.recency();
        recency
            .newest_first()
            .filter(move |&at| self.over(now, at).is_none())
            .map(move |at| {
                let entry = self.store.entry(at);
                (&entry.key, &entry.value, recency.time(at))
            })
    }
}
