//! Conditional removal, and changes of a value in place, of a shared cache.

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash};

use super::LruCache;
use crate::lru::removal::RemovedEntries;

impl<K: Hash + Eq, V, S: BuildHasher> LruCache<K, V, S> {
    /// Changes the live value of a key in place, and returns what `change` returns.
    ///
    /// Makes the entry the most recently used, and counts a hit or a miss, as
    /// [`get`](Self::get) does. The ttl goes on: it counts from the last write. The weigher is
    /// called again. If the entry grew, others are evicted, or the entry itself if it now exceeds
    /// its shard's share of `max_weight`.
    ///
    /// `change` and the weigher are called while a shard is locked. They must not call back into
    /// the cache, which would deadlock.
    ///
    /// ```
    /// use leakproof::LruCache;
    /// use std::time::Duration;
    ///
    /// let calls = LruCache::<&str, u32>::new(1_000, Duration::from_secs(60));
    /// let count = |user| {
    ///     let more = calls.update(user, |count| {
    ///         *count += 1;
    ///         *count
    ///     });
    ///     more.unwrap_or_else(|| calls.get_or_insert_with(user, || 1))
    /// };
    /// assert_eq!([count(&"ada"), count(&"ada"), count(&"bob")], [1, 2, 1]);
    /// ```
    ///
    /// If two callers insert the first value at once, `count` loses one of their changes. The loop
    /// in [`coming_from`](crate::docs::coming_from) loses none.
    #[doc(alias = "get_mut")]
    #[doc(alias = "alter")]
    #[doc(alias = "entry")]
    pub fn update<Q, R>(&self, key: &Q, change: impl FnOnce(&mut V) -> R) -> Option<R>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
    {
        let hash = self.hash(key);
        let now = self.now();
        let change = |key: &K, value: &mut V| {
            let result = change(value);
            (result, self.rules().weight(key, value))
        };
        let mut removed = RemovedEntries::new(self.notifier());
        self.with_shard(self.shard_of(hash), |shard| {
            shard.core.update(now, hash, key, change, &mut removed)
        })
    }

    /// Removes the live entry of a key if `condition` returns `true`, and returns its value.
    ///
    /// `condition` is called while a shard is locked. It must not call back into the cache, which
    /// would deadlock.
    pub fn remove_if<Q>(&self, key: &Q, condition: impl FnOnce(&K, &V) -> bool) -> Option<V>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
    {
        let hash = self.hash(key);
        let now = self.now();
        let mut removed = RemovedEntries::new(self.notifier());
        let entry = self.with_shard(self.shard_of(hash), |shard| {
            (shard.core).remove_if(now, hash, key, condition, &mut removed)
        });
        let (_, value, _) = removed.finish(entry)?;
        Some(value)
    }
}
