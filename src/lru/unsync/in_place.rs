//! Conditional removal, and changes of a value in place, of an unsync cache.

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash};

use super::LruCache;
use crate::hash::hash;
use crate::lru::core::Order;
use crate::lru::removal::RemovedEntries;

impl<K: Hash + Eq, V, S: BuildHasher> LruCache<K, V, S> {
    /// Changes the live value of a key in place, and returns what `change` returns.
    ///
    /// Makes the entry the most recently used, and counts a hit or a miss, as
    /// [`get`](Self::get) does. The ttl goes on: it counts from the last write. Unlike with
    /// [`get_mut`](Self::get_mut), the weigher is called again. If the entry grew, others are
    /// evicted, or the entry itself if it now exceeds `max_weight`.
    pub fn update<Q, R>(&mut self, key: &Q, change: impl FnOnce(&mut V) -> R) -> Option<R>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
    {
        let hash = hash(&self.hasher, key);
        let now = self.now();
        let mut removed = RemovedEntries::new(&self.notifier);
        let change = |key: &K, value: &mut V| {
            let result = change(value);
            (result, self.rules.weight(key, value))
        };
        self.core.update(now, hash, key, change, &mut removed)
    }

    /// Removes the live entry of a key if `condition` returns `true`, and returns its value.
    pub fn remove_if<Q>(&mut self, key: &Q, condition: impl FnOnce(&K, &V) -> bool) -> Option<V>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
    {
        let hash = hash(&self.hasher, key);
        self.take(|core, now, removed| core.remove_if(now, hash, key, condition, removed))
            .map(|(_, value)| value)
    }

    /// Returns the stored key and the live value of a key, and makes its entry the most recently
    /// used.
    pub fn get_key_value<Q>(&mut self, key: &Q) -> Option<(&K, &V)>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
    {
        let hash = hash(&self.hasher, key);
        let now = self.now();
        let slot = self.core.get_slot(now, hash, key)?;
        Some(self.core.entry(slot))
    }

    /// Removes the live entry of a key, and returns the stored key and the value.
    #[doc(alias = "pop_entry")]
    pub fn remove_entry<Q>(&mut self, key: &Q) -> Option<(K, V)>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
    {
        let hash = hash(&self.hasher, key);
        self.take(|core, now, removed| core.remove(now, hash, key, removed))
    }
}

impl<K, V, S> LruCache<K, V, S> {
    /// Returns the live entry with the oldest access, which [`pop_lru`](Self::pop_lru) would
    /// remove. Refreshes nothing.
    ///
    /// Expired entries before it are removed, in a step for each.
    pub fn peek_lru(&mut self) -> Option<(&K, &V)> {
        let (slot, _) =
            self.write(|core, now, removed| core.first_live(now, Order::Recency, removed))?;
        Some(self.core.entry(slot))
    }
}
