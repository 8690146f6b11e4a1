//! The single-threaded map of ids alone: a set.

use std::hash::BuildHasher;

use super::{BATCH, DedupMap, Found};
use crate::clock::Nanos;
use crate::key::{AsKey, Key};

impl<K: ?Sized + Key, S: BuildHasher> DedupMap<K, (), S> {
    /// Returns `true` if the id is recorded and live. Refreshes nothing.
    #[must_use]
    pub fn contains(&self, key: &K) -> bool {
        self.contains_key(key)
    }

    /// Records an id; whether it is new, as of [`HashSet::insert`](std::collections::HashSet::insert). `false` where
    /// it was recorded within the ttl, or is in flight.
    pub fn insert(&mut self, key: &K) -> bool {
        let new = self.insert_at(self.now(), self.hash(key), key);
        drop(self.take_garbage());
        new
    }

    #[inline]
    pub(in crate::dedup) fn insert_at(&mut self, now: Nanos, hash: u64, key: &K) -> bool {
        matches!(
            self.record_at(now, hash, key, &mut Some(())),
            Found::Fresh(())
        )
    }

    /// [`insert`](Self::insert)s many ids: an answer for each. Of equal ids the first is new. Faster than one by one,
    /// since the cache misses of up to 32 ids overlap.
    pub fn insert_batch<Q: AsKey<K>>(&mut self, keys: impl IntoIterator<Item = Q>) -> Vec<bool> {
        let mut keys = keys.into_iter();
        let mut answers = Vec::with_capacity(keys.size_hint().0);
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            batch.extend(
                keys.by_ref()
                    .take(BATCH)
                    .map(|key| (self.hash(key.as_key()), key)),
            );
            if batch.is_empty() {
                return answers;
            }
            let now = self.now();
            self.touch(batch.iter().map(|&(hash, _)| hash));
            for (hash, key) in batch.drain(..) {
                answers.push(self.insert_at(now, hash, key.as_key()));
            }
            drop(self.take_garbage());
        }
    }
}
