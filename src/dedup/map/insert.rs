//! Inserts of ids without values, one by one and in batches.

use std::hash::BuildHasher;

use super::super::BATCH;
use super::DedupMap;
use super::journal::Pending;
use crate::dedup::{AsKey, Key};

impl<K: ?Sized + Key, S: BuildHasher> DedupMap<K, (), S> {
    #[inline]
    pub(crate) fn insert(&self, key: &K) -> bool {
        let journal = &self.inner.journal;
        let (is_new, pending) = self.with_key(key, |now, hash, core, hasher| {
            let mut outcome = core.record(now, hash, key, &mut Some(()), hasher);
            let pending = journal.recorded((hash, key), &mut outcome, core, &mut Some(()));
            (outcome.is_new(), pending)
        });
        // A refused id is new as well.
        !self.settle(key, pending, &mut Some(())) || is_new
    }

    pub(crate) fn insert_batch<Q: AsKey<K>>(&self, keys: impl IntoIterator<Item = Q>) -> Vec<bool> {
        let shards = &self.inner.shards;
        let keys: Vec<(u64, Q)> = keys
            .into_iter()
            .map(|key| (self.hash(key.as_key()), key))
            .collect();
        let shard_of = |&at: &usize| shards.shard_of(keys[at].0);
        let mut order: Vec<usize> = (0..keys.len()).collect();
        // A stable sort: of equal ids, the first is new.
        order.sort_by_key(shard_of);
        let mut answers = vec![false; keys.len()];
        let journal = &self.inner.journal;
        let mut pending = vec![Pending::default(); keys.len()];
        for same_shard in order.chunk_by(|a, b| shard_of(a) == shard_of(b)) {
            for batch in same_shard.chunks(BATCH) {
                let now = self.now();
                self.with_shard(shard_of(&batch[0]), |core, hasher| {
                    core.touch(batch.iter().map(|&at| keys[at].0));
                    for &at in batch {
                        let (hash, key) = &keys[at];
                        let key = key.as_key();
                        let mut outcome = core.record(now, *hash, key, &mut Some(()), hasher);
                        let none = &mut Some(());
                        pending[at] = journal.recorded((*hash, key), &mut outcome, core, none);
                        answers[at] = outcome.is_new();
                    }
                });
            }
        }
        // The drain that the first waits for serves all of them.
        for (at, pending) in pending.into_iter().enumerate() {
            answers[at] |= !self.settle(keys[at].1.as_key(), pending, &mut Some(()));
        }
        answers
    }
}
