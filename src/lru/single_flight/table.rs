//! `InFlight`: the computations of one shard's keys.

use std::borrow::Borrow;
use std::sync::Arc;

use hashbrown::HashTable;

use super::Computation;

/// The table is freed if its capacity exceeds this and it is empty again.
const KEPT_CAPACITY: usize = 64;

pub(in crate::lru) struct InFlight<K, V> {
    table: HashTable<Entry<K, V>>,
}

struct Entry<K, V> {
    hash: u64,
    key: K,
    computation: Arc<Computation<V>>,
}

impl<K, V> InFlight<K, V> {
    pub(in crate::lru) const fn new() -> Self {
        Self {
            table: HashTable::new(),
        }
    }

    pub(super) fn find<Q: ?Sized + Eq>(&self, hash: u64, key: &Q) -> Option<&Arc<Computation<V>>>
    where
        K: Borrow<Q>,
    {
        let is = |entry: &Entry<K, V>| entry.hash == hash && entry.key.borrow() == key;
        self.table.find(hash, is).map(|entry| &entry.computation)
    }

    /// Returns `true` unless the computation was superseded or has ended.
    pub(super) fn contains(&self, hash: u64, computation: &Arc<Computation<V>>) -> bool {
        let is = |entry: &Entry<K, V>| Arc::ptr_eq(&entry.computation, computation);
        self.table.find(hash, is).is_some()
    }

    pub(super) fn start(&mut self, hash: u64, key: K, computation: Arc<Computation<V>>) {
        let entry = Entry {
            hash,
            key,
            computation,
        };
        self.table.insert_unique(hash, entry, |entry| entry.hash);
    }

    /// Takes a computation out, and returns its key, or `None` if it was superseded.
    pub(super) fn end(&mut self, hash: u64, computation: &Arc<Computation<V>>) -> Option<K> {
        let is = |entry: &Entry<K, V>| Arc::ptr_eq(&entry.computation, computation);
        let found = self.table.find_entry(hash, is);
        let key = found.ok().map(|entry| entry.remove().0.key);
        if self.table.is_empty() && self.table.capacity() > KEPT_CAPACITY {
            self.table = HashTable::new();
        }
        key
    }

    /// Makes sure that a computation of this key is not stored over what happens to the key now.
    ///
    /// The result is to be dropped after the lock is released, because it contains a key.
    #[inline]
    pub(in crate::lru) fn supersede<Q: ?Sized + Eq>(
        &mut self,
        hash: u64,
        key: &Q,
    ) -> Option<impl Sized + use<K, V, Q>>
    where
        K: Borrow<Q>,
    {
        // Nearly always, nothing is computed.
        if self.table.is_empty() {
            return None;
        }
        let is = |entry: &Entry<K, V>| entry.hash == hash && entry.key.borrow() == key;
        let found = self.table.find_entry(hash, is);
        found.ok().map(|entry| entry.remove().0)
    }

    /// Does for all keys what [`supersede`](Self::supersede) does for one.
    pub(in crate::lru) fn supersede_all(&mut self) -> impl Sized + use<K, V> {
        std::mem::replace(self, Self::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_freed_after_a_spike() {
        let mut in_flight = InFlight::<u64, ()>::new();
        let computations: Vec<_> = (0..1_000)
            .map(|key| {
                let computation = Arc::new(Computation::new());
                in_flight.start(key, key, Arc::clone(&computation));
                computation
            })
            .collect();
        for (key, computation) in (0..).zip(&computations) {
            assert_eq!(in_flight.end(key, computation), Some(key));
        }
        assert_eq!(in_flight.table.capacity(), 0);
    }
}
