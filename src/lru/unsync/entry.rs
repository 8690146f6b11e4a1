//! `Entry`: a key of an unsync cache whose entry is read or written after one lookup.

use std::fmt;
use std::hash::{BuildHasher, Hash};

use super::LruCache;
use crate::lru::slab::Slot;

impl<K: Hash + Eq, V, S: BuildHasher> LruCache<K, V, S> {
    /// Returns the entry of a key for reading or writing.
    ///
    /// Counts a hit or a miss, and makes a live entry the most recently used. If it is expired, the
    /// entry is vacant.
    ///
    /// ```
    /// use leakproof::unsync::LruCache;
    /// use std::time::Duration;
    ///
    /// let mut calls = LruCache::<&str, u32>::new(1_000, Duration::from_secs(60));
    /// for user in ["ada", "bob", "ada"] {
    ///     calls.entry(user).and_modify(|count| *count += 1).or_insert(1);
    /// }
    /// assert_eq!(calls.get("ada"), Some(&2));
    /// ```
    pub fn entry(&mut self, key: K) -> Entry<'_, K, V, S> {
        let hash = crate::hash::hash(&self.hasher, &key);
        let now = self.now();
        match self.core.get_slot(now, hash, &key) {
            Some(slot) => Entry::Occupied(OccupiedEntry {
                cache: self,
                key,
                slot,
            }),
            None => Entry::Vacant(VacantEntry { cache: self, key }),
        }
    }
}

/// An entry of an [`unsync::LruCache`](LruCache), from [`entry`](LruCache::entry).
pub enum Entry<'a, K, V, S> {
    /// The key has a live entry.
    Occupied(OccupiedEntry<'a, K, V, S>),
    /// The key has none.
    Vacant(VacantEntry<'a, K, V, S>),
}

/// A live entry.
pub struct OccupiedEntry<'a, K, V, S> {
    cache: &'a mut LruCache<K, V, S>,
    key: K,
    slot: Slot,
}

/// A key without a live entry.
pub struct VacantEntry<'a, K, V, S> {
    cache: &'a mut LruCache<K, V, S>,
    key: K,
}

impl<'a, K: Hash + Eq, V, S: BuildHasher> Entry<'a, K, V, S> {
    /// Returns the key.
    pub fn key(&self) -> &K {
        match self {
            Self::Occupied(entry) => &entry.key,
            Self::Vacant(entry) => &entry.key,
        }
    }

    /// Changes the value if there is one. This is no write: ttl and weight stay.
    #[must_use]
    pub fn and_modify(mut self, change: impl FnOnce(&mut V)) -> Self {
        if let Self::Occupied(entry) = &mut self {
            change(entry.get_mut());
        }
        self
    }

    /// Returns the value, and inserts `value` before if there is none.
    ///
    /// Returns `None` if the new entry was not stored: it is too heavy, or its own ttl is zero.
    pub fn or_insert(self, value: V) -> Option<&'a mut V> {
        self.or_insert_with(|| value)
    }

    /// Returns the value, and inserts what `compute` returns before if there is none.
    ///
    /// Returns `None` if the new entry was not stored: it is too heavy, or its own ttl is zero.
    pub fn or_insert_with(self, compute: impl FnOnce() -> V) -> Option<&'a mut V> {
        match self {
            Self::Occupied(entry) => Some(entry.into_mut()),
            Self::Vacant(entry) => entry.insert(compute()),
        }
    }

    /// Returns the value, and inserts what `compute` returns for the key before if there is none.
    ///
    /// Returns `None` if the new entry was not stored: it is too heavy, or its own ttl is zero.
    pub fn or_insert_with_key(self, compute: impl FnOnce(&K) -> V) -> Option<&'a mut V> {
        let value = match self {
            Self::Occupied(entry) => return Some(entry.into_mut()),
            Self::Vacant(ref entry) => compute(&entry.key),
        };
        self.or_insert(value)
    }

    /// Does what [`or_insert_with`](Self::or_insert_with) does, and inserts nothing if `compute`
    /// fails.
    ///
    /// # Errors
    ///
    /// Returns the error of `compute`.
    pub fn or_try_insert_with<E>(
        self,
        compute: impl FnOnce() -> Result<V, E>,
    ) -> Result<Option<&'a mut V>, E> {
        match self {
            Self::Occupied(entry) => Ok(Some(entry.into_mut())),
            Self::Vacant(entry) => Ok(entry.insert(compute()?)),
        }
    }

    /// Returns the value, and inserts the default one before if there is none.
    ///
    /// Returns `None` if the new entry was not stored: it is too heavy, or its own ttl is zero.
    pub fn or_default(self) -> Option<&'a mut V>
    where
        V: Default,
    {
        self.or_insert_with(V::default)
    }
}

impl<'a, K: Hash + Eq, V, S: BuildHasher> OccupiedEntry<'a, K, V, S> {
    /// Returns the key that was passed to `entry`.
    pub fn key(&self) -> &K {
        &self.key
    }

    /// Returns the value.
    pub fn get(&self) -> &V {
        self.cache.core.entry(self.slot).1
    }

    /// Returns the value for modification, which is no write: ttl and weight stay.
    pub fn get_mut(&mut self) -> &mut V {
        self.cache.core.entry_mut(self.slot).1
    }

    /// Converts the entry into its value, for as long as the cache is borrowed.
    pub fn into_mut(self) -> &'a mut V {
        self.cache.core.entry_mut(self.slot).1
    }

    /// Replaces the value, and returns the former one if it is still live. This is a write, as
    /// [`LruCache::insert`] is.
    pub fn insert(self, value: V) -> Option<V> {
        self.cache.insert(self.key, value)
    }

    /// Removes the entry, and returns its value.
    pub fn remove(self) -> V {
        self.remove_entry().1
    }

    /// Removes the entry, and returns its key and its value.
    pub fn remove_entry(self) -> (K, V) {
        let LruCache { core, notifier, .. } = self.cache;
        let (key, value, cause) = core.remove_slot(self.slot);
        notifier.notify(&key, &value, cause);
        (key, value)
    }
}

impl<'a, K: Hash + Eq, V, S: BuildHasher> VacantEntry<'a, K, V, S> {
    /// Returns the key that was passed to `entry`.
    pub fn key(&self) -> &K {
        &self.key
    }

    /// Converts the entry into its key.
    pub fn into_key(self) -> K {
        self.key
    }

    /// Stores a value, as [`LruCache::insert`] does, and returns it.
    ///
    /// Returns `None` if it was not stored: it is too heavy, or its own ttl is zero. It is then
    /// passed to the removal callback.
    pub fn insert(self, value: V) -> Option<&'a mut V> {
        let Self { cache, key } = self;
        let stored = match cache.rules.ttl(&key, &value) {
            None => cache.store(key, value, None),
            Some(ttl) => cache.store_with_ttl(key, value, ttl),
        };
        let slot = match stored {
            Ok((slot, _)) => slot?,
            Err(refused) => {
                cache.reject(refused);
                return None;
            }
        };
        Some(cache.core.entry_mut(slot).1)
    }
}

impl<K: fmt::Debug, V, S> fmt::Debug for Entry<'_, K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Occupied(entry) => f.debug_tuple("Occupied").field(&entry.key).finish(),
            Self::Vacant(entry) => f.debug_tuple("Vacant").field(&entry.key).finish(),
        }
    }
}

impl<K: fmt::Debug, V, S> fmt::Debug for OccupiedEntry<'_, K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OccupiedEntry").field(&self.key).finish()
    }
}

impl<K: fmt::Debug, V, S> fmt::Debug for VacantEntry<'_, K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("VacantEntry").field(&self.key).finish()
    }
}
