//! `unsync::LruCache`: a core with a clock, a hasher and notification, behind `&mut self`.

mod entry;
mod in_place;
mod iter;
mod limits;

pub use entry::{Entry, OccupiedEntry, VacantEntry};

use std::borrow::Borrow;
use std::convert::Infallible;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::time::Duration;

use super::attributes::{Attributes, EntryRules};
use super::builder;
use super::core::{Core, Inserted, Limits, Order};
use super::error::TooHeavy;
use super::removal::{Removal, RemovalNotifier, RemovedEntries, replaced_value};
use super::slab::Slot;
use crate::clock::{Clock, Nanos, nanos};
use crate::hash::{DefaultHashBuilder, hash};
use crate::removal::RemovalCause;

/// Builds an unsync [`LruCache`]. It has the options of the shared cache's
/// [`LruBuilder`](crate::LruBuilder), without shards and background sweeps.
pub type LruBuilder<K, V, S = DefaultHashBuilder> = builder::LruBuilder<K, V, S, ()>;

/// A single-threaded cache bounded by size, weight, age and idleness.
///
/// The semantics are those of the shared [`LruCache`](crate::LruCache) with one shard. Values are
/// borrowed instead of cloned, and there are iterators.
///
/// ```
/// use leakproof::unsync::LruCache;
/// use std::time::Duration;
///
/// let mut cache = LruCache::<String, u32>::new(2, Duration::from_secs(1800));
/// cache.insert("a".to_string(), 1);
/// cache.insert("b".to_string(), 2);
/// assert_eq!(cache.get("a"), Some(&1)); // "b" is now the least recently used
/// cache.insert("c".to_string(), 3);
/// assert_eq!(cache.get("b"), None);
/// assert!(cache.keys().eq(["c", "a"]));
/// ```
pub struct LruCache<K, V, S = DefaultHashBuilder> {
    pub(super) core: Core<K, V>,
    clock: Clock,
    hasher: S,
    rules: EntryRules<K, V>,
    notifier: RemovalNotifier<K, V>,
}

impl<K, V> LruCache<K, V> {
    /// Creates a cache of up to `max_entries` entries, each of which lives for `ttl` after it was
    /// last written.
    ///
    /// # Panics
    ///
    /// Panics if `max_entries` or `ttl` is zero, or if `max_entries` exceeds 2<sup>31</sup>.
    /// [`builder`](Self::builder) returns an error instead.
    #[must_use]
    #[track_caller]
    pub fn new(max_entries: usize, ttl: Duration) -> Self {
        match Self::builder().max_entries(max_entries).ttl(ttl).build() {
            Ok(cache) => cache,
            Err(error) => panic!("unsync::LruCache::new: {error}"),
        }
    }

    /// Returns a builder with every option at its default.
    pub fn builder() -> LruBuilder<K, V> {
        LruBuilder::default()
    }
}

impl<K, V, S> LruCache<K, V, S> {
    pub(super) fn with_limits(
        limits: Limits,
        clock: Clock,
        hasher: S,
        rules: EntryRules<K, V>,
        notifier: RemovalNotifier<K, V>,
    ) -> Self {
        Self {
            core: Core::new(limits),
            clock,
            hasher,
            rules,
            notifier,
        }
    }

    #[inline]
    pub(super) fn now(&self) -> Nanos {
        self.clock.nanos()
    }

    /// Calls `work` with the core and the time, and notifies of what it removed.
    fn write<R>(
        &mut self,
        work: impl FnOnce(&mut Core<K, V>, Nanos, &mut RemovedEntries<'_, K, V>) -> R,
    ) -> R {
        let now = self.now();
        let mut removed = RemovedEntries::new(&self.notifier);
        work(&mut self.core, now, &mut removed)
    }

    /// Calls `work`, which also removes an entry for the caller, and notifies of all that it
    /// removed.
    fn take(
        &mut self,
        work: impl FnOnce(
            &mut Core<K, V>,
            Nanos,
            &mut RemovedEntries<'_, K, V>,
        ) -> Option<Removal<K, V>>,
    ) -> Option<(K, V)> {
        let now = self.now();
        let mut removed = RemovedEntries::new(&self.notifier);
        let taken = work(&mut self.core, now, &mut removed);
        let (key, value, _) = removed.finish(taken)?;
        Some((key, value))
    }

    /// Removes and returns the live entry with the oldest access. With
    /// [`Policy::S3Fifo`](crate::Policy::S3Fifo) and without an idle timeout, it is the one that is
    /// evicted next.
    ///
    /// Expired entries before it are removed too, in a step for each.
    pub fn pop_lru(&mut self) -> Option<(K, V)> {
        self.take(|core, now, removed| core.pop(now, Order::Recency, removed))
    }

    /// Removes and returns the live entry with the oldest write.
    ///
    /// Expired entries before it are removed too, in a step for each.
    pub fn pop_oldest(&mut self) -> Option<(K, V)> {
        self.take(|core, now, removed| core.pop(now, Order::Write, removed))
    }

    /// Removes the entries for which `keep` returns `false`, in time proportional to the number of
    /// entries.
    pub fn retain(&mut self, mut keep: impl FnMut(&K, &mut V) -> bool) {
        self.write(|core, now, removed| {
            core.retain(now, usize::MAX, usize::MAX, &mut keep, removed)
        });
    }

    /// Removes all entries, in time proportional to their number, and frees their memory.
    pub fn clear(&mut self) {
        self.write(Core::clear);
    }

    /// Removes the expired entries, and returns how many it removed. It changes no answer.
    pub fn sweep(&mut self) -> usize {
        self.write(|core, now, removed| core.sweep(now, usize::MAX, removed).freed)
    }

    /// Checks every invariant, in time proportional to the size; for tests and fuzzing.
    ///
    /// # Panics
    ///
    /// Panics if an invariant does not hold.
    #[doc(hidden)]
    pub fn validate(&self) {
        self.core.validate();
        self.core.validate_bounds();
    }
}

impl<K: Hash + Eq, V, S: BuildHasher> LruCache<K, V, S> {
    /// Returns the live value of a key, and makes its entry the most recently used.
    #[inline]
    pub fn get<Q>(&mut self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
    {
        self.get_mut(key).map(|value| &*value)
    }

    /// Returns the live value of a key for modification, and makes its entry the most recently
    /// used.
    ///
    /// A modification is no write: it does not renew the ttl, and the weight stays.
    #[inline]
    pub fn get_mut<Q>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
    {
        let hash = hash(&self.hasher, key);
        self.core.get(|| self.clock.nanos(), hash, key)
    }

    /// Returns the live value of a key. Refreshes nothing, and counts neither a hit nor a miss.
    #[must_use]
    pub fn peek<Q>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
    {
        self.core.peek(self.now(), hash(&self.hasher, key), key)
    }

    /// Returns the live or stale value of a key, as long as the entry is within its
    /// [`stale`](crate::LruBuilder::stale) window. Refreshes nothing, and counts neither a hit nor
    /// a miss.
    #[must_use]
    pub fn peek_stale<Q>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
    {
        let hash = hash(&self.hasher, key);
        let found = self.core.peek_or_stale(self.now(), hash, key)?;
        Some(found.into_value())
    }

    /// Returns the live value of a key for modification. Refreshes nothing, and counts neither a
    /// hit nor a miss.
    pub fn peek_mut<Q>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
    {
        let hash = hash(&self.hasher, key);
        let now = self.now();
        self.core.peek_mut(now, hash, key)
    }

    /// Returns `true` if a key has a live entry. Refreshes nothing, and counts neither a hit nor a
    /// miss.
    #[must_use]
    #[doc(alias = "contains")]
    pub fn contains_key<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
    {
        self.peek(key).is_some()
    }

    /// Stores a value, and returns the live value that it replaces.
    ///
    /// If the cache is full, expired entries are evicted first, then the one that the
    /// [`Policy`](crate::Policy) chooses: by default the least recently used one.
    /// An entry that alone exceeds `max_weight` is not stored. It is counted and passed to the
    /// removal callback with [`RemovalCause::Rejected`], and what it was to replace is removed.
    /// [`insert_checked`](Self::insert_checked) returns it instead.
    #[inline]
    #[doc(alias = "put")]
    #[doc(alias = "push")]
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.insert_checked(key, value)
            .unwrap_or_else(|refused| self.reject(refused))
    }

    /// Does what [`insert`](Self::insert) does, and returns an entry that is too heavy as an error.
    ///
    /// # Errors
    ///
    /// Returns [`TooHeavy`] with the key and the value. What they were to replace is removed
    /// nevertheless, because it is out of date.
    #[inline]
    pub fn insert_checked(&mut self, key: K, value: V) -> Result<Option<V>, TooHeavy<K, V>> {
        let stored = match self.rules.ttl(&key, &value) {
            None => self.store(key, value, None),
            Some(ttl) => self.store_with_ttl(key, value, ttl),
        };
        stored.map(|(_, former)| former)
    }

    /// Stores a value that expires after a `ttl` of its own, and returns the live value that it
    /// replaces.
    ///
    /// The ttl may be shorter or longer than that of the cache. It is explained with
    /// [the shared cache](crate::LruCache::insert_with_ttl).
    pub fn insert_with_ttl(&mut self, key: K, value: V, ttl: Duration) -> Option<V> {
        let stored = self.store_with_ttl(key, value, nanos(ttl));
        stored.map_or_else(|refused| self.reject(refused), |(_, former)| former)
    }

    /// Notifies of an entry that was refused, whose caller does not receive it.
    fn reject(&self, refused: TooHeavy<K, V>) -> Option<V> {
        let TooHeavy { key, value, .. } = refused;
        let notifier = &self.notifier;
        notifier.notify(&key, &value, RemovalCause::Rejected);
        notifier.discard((key, value, RemovalCause::Rejected));
        None
    }

    /// Not inlined: an insert without own ttl would execute 4% more instructions.
    #[inline(never)]
    fn store_with_ttl(
        &mut self,
        key: K,
        value: V,
        ttl: Nanos,
    ) -> Result<(Option<Slot>, Option<V>), TooHeavy<K, V>> {
        self.store(key, value, Some(ttl))
    }

    /// Stores a value. Returns its slot, if it was stored, and the live value that it replaces.
    #[inline(always)]
    fn store(
        &mut self,
        key: K,
        value: V,
        ttl: Option<Nanos>,
    ) -> Result<(Option<Slot>, Option<V>), TooHeavy<K, V>> {
        let attributes = Attributes {
            weight: self.rules.weight(&key, &value),
            ttl,
        };
        let hash = hash(&self.hasher, &key);
        let now = self.now();
        let mut removed = RemovedEntries::new(&self.notifier);
        let Inserted { slot, displaced } =
            self.core
                .insert(now, hash, key, value, attributes, &mut removed);
        if let Some((key, value, RemovalCause::Rejected)) = displaced {
            return Err(TooHeavy {
                key,
                value,
                weight: attributes.weight.get(),
                max_weight: self.core.limits().max_weight,
            });
        }
        Ok((slot, replaced_value(removed.finish(displaced))))
    }

    /// Returns the live value of a key, or stores and returns what `compute` returns.
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

    /// Does what [`get_or_insert_with`](Self::get_or_insert_with) does, and stores nothing if
    /// `compute` fails.
    ///
    /// # Errors
    ///
    /// Returns the error of `compute`.
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

    /// Removes the live entry of a key, and returns its value.
    #[doc(alias = "pop")]
    pub fn remove<Q>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
    {
        let hash = hash(&self.hasher, key);
        self.take(|core, now, removed| core.remove(now, hash, key, removed))
            .map(|(_, value)| value)
    }
}

impl<K, V, S> fmt::Debug for LruCache<K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LruCache")
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
