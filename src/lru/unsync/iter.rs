//! The iterators of an unsync cache, and `Extend`.

use std::hash::{BuildHasher, Hash};

use super::LruCache;
use crate::lru::core::{Drain, IntoIter, Iter, IterMut, Keys, Values};
use crate::lru::removal::RemovedEntries;

/// Iterators.
impl<K, V, S> LruCache<K, V, S> {
    /// Returns the live entries, the most recently used first. Refreshes nothing.
    ///
    /// With [`Policy::S3Fifo`](crate::Policy::S3Fifo) and without an idle timeout, they have no
    /// particular order.
    pub fn iter(&self) -> Iter<'_, K, V> {
        self.core.iter(self.now())
    }

    /// Returns the live entries with mutable values, in no particular order. Refreshes nothing.
    pub fn iter_mut(&mut self) -> IterMut<'_, K, V> {
        let now = self.now();
        self.core.iter_mut(now)
    }

    /// Returns the keys of the live entries, in the order of [`iter`](Self::iter).
    pub fn keys(&self) -> Keys<'_, K, V> {
        Keys(self.iter())
    }

    /// Returns the values of the live entries, in the order of [`iter`](Self::iter).
    pub fn values(&self) -> Values<'_, K, V> {
        Values(self.iter())
    }

    /// Returns the mutable values of the live entries, in no particular order. Refreshes nothing.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.iter_mut().map(|(_, value)| value)
    }

    /// Removes all entries, and returns the live ones in no particular order.
    ///
    /// The removal callback is called for all of them before this returns.
    pub fn drain(&mut self) -> Drain<K, V> {
        let now = self.now();
        let mut removed = RemovedEntries::new(&self.notifier);
        self.core.clear(now, &mut removed);
        Drain(removed.finish_all().into_iter())
    }
}

impl<'a, K, V, S> IntoIterator for &'a LruCache<K, V, S> {
    type Item = (&'a K, &'a V);
    type IntoIter = Iter<'a, K, V>;

    fn into_iter(self) -> Iter<'a, K, V> {
        self.iter()
    }
}

impl<'a, K, V, S> IntoIterator for &'a mut LruCache<K, V, S> {
    type Item = (&'a K, &'a mut V);
    type IntoIter = IterMut<'a, K, V>;

    fn into_iter(self) -> IterMut<'a, K, V> {
        self.iter_mut()
    }
}

impl<K, V, S> IntoIterator for LruCache<K, V, S> {
    type Item = (K, V);
    type IntoIter = IntoIter<K, V>;

    /// Returns the live entries, in no particular order. The removal callback is not called.
    fn into_iter(self) -> IntoIter<K, V> {
        let now = self.now();
        self.core.into_live(now)
    }
}

impl<K: Hash + Eq, V, S: BuildHasher> Extend<(K, V)> for LruCache<K, V, S> {
    /// Inserts every entry.
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, entries: I) {
        for (key, value) in entries {
            self.insert(key, value);
        }
    }
}
