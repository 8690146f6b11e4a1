//! The public methods of the single-threaded cache: they read the clock, hash the key, and see off what left.

use std::borrow::Borrow;
use std::convert::Infallible;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::time::Duration;

use super::{End, LruCache};
use crate::clock::{Clock, Nanos};
use crate::hash::{DefaultHashBuilder, hash};
use crate::limits::{self, BuildError, Unsync};
use crate::lru::builder::{LruBuilder, MAX_ENTRIES_PER_SHARD, weigh};
use crate::lru::error::TooHeavy;
use crate::lru::left::{Call, Left, Listener, Tells};
use crate::lru::slab::Place;
use crate::removal::RemovalCause;
use crate::stats::CacheStats;

impl<K, V, S> Tells<K, V> for &mut LruCache<K, V, S> {
    #[inline(always)]
    fn listener(&self) -> &Listener<K, V> {
        &self.listener
    }
}

impl<K, V> LruCache<K, V> {
    /// A cache of up to `max_entries` entries, each for up to `ttl` after it was last written.
    ///
    /// # Panics
    ///
    /// Where `max_entries` or `ttl` is zero, or `max_entries` above 2<sup>31</sup>; [`builder`](Self::builder)
    /// returns an error instead.
    #[must_use]
    #[track_caller]
    pub fn new(max_entries: usize, ttl: Duration) -> Self {
        match Self::builder().max_entries(max_entries).ttl(ttl).build() {
            Ok(cache) => cache,
            Err(error) => panic!("unsync::LruCache::new: {error}"),
        }
    }

    /// All knobs.
    #[must_use]
    pub fn builder() -> LruBuilder<K, V, DefaultHashBuilder, Unsync> {
        LruBuilder::new()
    }
}

impl<K, V, S> LruCache<K, V, S> {
    #[inline(always)]
    fn now(&self) -> Nanos {
        self.clock.nanos()
    }

    /// Calls `work` with the time, and sees off what left.
    #[inline(always)]
    fn at<R>(&mut self, work: impl FnOnce(&mut Self, Nanos, &mut Left<K, V>) -> R) -> R {
        self.at_telling(work, |_, result| result)
    }

    /// [`at`](Self::at), where `tell` tells of what left and is for the caller.
    #[inline(always)]
    fn at_telling<R, T>(
        &mut self,
        work: impl FnOnce(&mut Self, Nanos, &mut Left<K, V>) -> R,
        tell: impl FnOnce(&Listener<K, V>, R) -> T,
    ) -> T {
        let now = self.clock.nanos();
        let mut call = Call::new(self);
        let result = work(call.by, now, &mut call.left);
        call.end(|listener| tell(listener, result))
    }

    /// The number of live entries. Takes a step for each that is held though its time is over; each write, and each
    /// `get` that finds something, frees a few of those.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len_at(self.now())
    }

    /// Whether no entry is live.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the live entries weigh. As for [`len`](Self::len).
    #[must_use]
    pub fn weight(&self) -> u64 {
        self.weight_at(self.now())
    }

    /// What the cache holds, and what left it and why. As for [`len`](Self::len).
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        CacheStats {
            callback_panics: self.listener.panics(),
            ..self.stats_at(self.now())
        }
    }

    /// The live entries, the most recently used first. Refreshes nothing.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.by_recency(self.now())
            .map(|(key, value, _)| (key, value))
    }

    /// Removes the live entry that was used longest ago. Passes over entries whose time is over, and frees them.
    pub fn pop_lru(&mut self) -> Option<(K, V)> {
        self.pop_end(End::LeastRecent)
    }

    /// Removes the live entry that was written longest ago. Passes over entries whose time is over, and frees them.
    pub fn pop_oldest(&mut self) -> Option<(K, V)> {
        self.pop_end(End::Oldest)
    }

    fn pop_end(&mut self, end: End) -> Option<(K, V)> {
        self.at_telling(
            |core, now, left| core.pop_at(now, end, left),
            |listener, popped| {
                popped.inspect(|(key, value)| listener.tell(key, value, RemovalCause::Removed))
            },
        )
    }

    /// Removes every entry that `keep` does not want. In time proportional to the number of entries.
    pub fn retain(&mut self, mut keep: impl FnMut(&K, &V) -> bool) {
        self.at(|core, now, left| core.retain_at(now, usize::MAX, usize::MAX, &mut keep, left));
    }

    /// Sets another bound on the number of entries; what is above it is evicted, in time proportional to its number.
    ///
    /// # Errors
    ///
    /// [`BuildError`] where the bound is zero or beyond reach; the former one holds on.
    pub fn set_max_entries(&mut self, max_entries: usize) -> Result<(), BuildError> {
        limits::count("max_entries", Some(max_entries), MAX_ENTRIES_PER_SHARD)?;
        self.rebound(|core| core.limits.max_entries = max_entries);
        Ok(())
    }

    /// Sets another bound on the weight of all entries; what is above it is evicted, in time proportional to its number.
    ///
    /// # Errors
    ///
    /// [`BuildError`] where the bound is zero, or the cache has no weigher; the former one holds on.
    pub fn set_max_weight(&mut self, max_weight: u64) -> Result<(), BuildError> {
        limits::weight(Some(max_weight), self.weigher.is_some())?;
        self.rebound(|core| core.limits.max_weight = max_weight);
        Ok(())
    }

    fn rebound(&mut self, set: impl FnOnce(&mut Self)) {
        self.at(|core, now, left| {
            set(core);
            core.evict_at(now, usize::MAX, left);
            let _all = core.sweep_at(now, usize::MAX, left);
        });
    }

    /// Removes all entries, in time proportional to their number.
    pub fn clear(&mut self) {
        self.at(Self::clear_at);
    }

    /// Frees the entries whose time is over; how many. Changes no answer.
    pub fn sweep(&mut self) -> usize {
        self.at(|core, now, left| core.sweep_at(now, usize::MAX, left).freed)
    }

    /// Checks every invariant of the structure, in time proportional to its size; for tests and fuzzing.
    ///
    /// # Panics
    ///
    /// Where one does not hold.
    #[doc(hidden)]
    pub fn validate(&self) {
        self.check();
        assert!(!self.is_above_bounds(), "the bounds");
    }
}

impl<K: Hash + Eq, V, S: BuildHasher> LruCache<K, V, S> {
    /// The live value under a key, whose entry is now the most recently used.
    #[inline]
    pub fn get<Q>(&mut self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
    {
        self.get_mut(key).map(|value| &*value)
    }

    /// [`get`](Self::get), to be changed in place. That is no write as far as age and weight go.
    #[inline]
    pub fn get_mut<Q>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
    {
        let hash = hash(&self.hasher, key);
        self.look(Clock::nanos, hash, key, |core| core.get_when_due(hash, key))
    }

    #[cold]
    #[inline(never)]
    fn get_when_due<Q>(&mut self, hash: u64, key: &Q) -> Option<Place>
    where
        K: Borrow<Q>,
        Q: ?Sized + Eq,
    {
        self.at(|core, now, left| core.get_at(now, hash, key, left))
    }

    /// The live value under a key. Refreshes nothing, and counts as neither hit nor miss.
    #[must_use]
    pub fn peek<Q>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
    {
        self.peek_at(self.now(), hash(&self.hasher, key), key)
    }

    /// Whether there is a live entry under a key. Refreshes nothing, and counts as neither hit nor miss.
    #[must_use]
    pub fn contains_key<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
    {
        self.peek(key).is_some()
    }

    /// Stores a value under a key; the live value that was there.
    ///
    /// What has to go to make room is what is past its time, then the least recently used. An entry that alone is heavier
    /// than `max_weight` is not stored: it goes to the callback with [`RemovalCause::Rejected`], and is counted;
    /// [`insert_checked`](Self::insert_checked) gives it back.
    #[inline]
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.insert_checked(key, value).unwrap_or_else(|refused| {
            self.listener
                .tell(&refused.key, &refused.value, RemovalCause::Rejected);
            None
        })
    }

    /// [`insert`](Self::insert), with an error where the entry is not stored.
    ///
    /// # Errors
    ///
    /// [`TooHeavy`], with the key and the value. What was stored under the key is gone all the same, as out of date.
    #[inline]
    pub fn insert_checked(&mut self, key: K, value: V) -> Result<Option<V>, TooHeavy<K, V>> {
        let hash = hash(&self.hasher, &key);
        if self.weigher.is_none() && self.is_light(self.now()) {
            let left = self.insert_light(hash, key, value);
            return Ok(self.listener.see_off_light(left));
        }
        self.insert_in_any_case(hash, key, value)
    }

    #[inline(never)]
    fn insert_in_any_case(
        &mut self,
        hash: u64,
        key: K,
        value: V,
    ) -> Result<Option<V>, TooHeavy<K, V>> {
        let weight = weigh(&self.weigher, &key, &value);
        self.at_telling(
            |core, now, left| core.insert_at(now, hash, key, value, weight, left),
            |listener, former| {
                Ok(former?.map(|former| listener.hand_back(former, RemovalCause::Replaced)))
            },
        )
    }

    /// The live value under a key, or else the one that `compute` returns, which is stored.
    #[inline]
    pub fn get_or_insert_with<Q>(&mut self, key: &Q, compute: impl FnOnce() -> V) -> V
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq + ToOwned<Owned = K>,
        V: Clone,
    {
        match self.try_get_or_insert_with(key, || Ok::<V, Infallible>(compute())) {
            Ok(value) => value,
        }
    }

    /// [`get_or_insert_with`](Self::get_or_insert_with), where computing may fail: then nothing is stored.
    ///
    /// # Errors
    ///
    /// What `compute` returned.
    #[inline]
    pub fn try_get_or_insert_with<Q, E>(
        &mut self,
        key: &Q,
        compute: impl FnOnce() -> Result<V, E>,
    ) -> Result<V, E>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq + ToOwned<Owned = K>,
        V: Clone,
    {
        if let Some(value) = self.get(key) {
            return Ok(value.clone());
        }
        let value = compute()?;
        self.insert(key.to_owned(), value.clone());
        Ok(value)
    }

    /// Removes the live entry under a key; its value.
    pub fn remove<Q>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
    {
        let hash = hash(&self.hasher, key);
        self.at_telling(
            |core, now, left| core.remove_at(now, hash, key, left),
            |listener, removed| {
                removed.map(|removed| listener.hand_back(removed, RemovalCause::Removed))
            },
        )
    }
}

impl<K, V, S> fmt::Debug for LruCache<K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LruCache")
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
