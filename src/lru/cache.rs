//! `LruCache`: cores behind locks, with a clock, a hasher and notification, behind `&self`.
//!
//! A method reads the clock and hashes the key, locks the shard, and calls its core. What the core
//! removed is notified and dropped after the lock is released.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::num::NonZeroU32;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::builder::{LruBuilder, MAX_ENTRIES_PER_SHARD, Weigher, share_of_weight};
use super::core::{Core, Limits, Order};
use super::error::{InvalidLimit, TooHeavy};
use super::removal::{RemovalNotifier, RemovedEntries};
use super::single_flight::{InFlight, WaitGraph};
use crate::clock::{Clock, Nanos};
use crate::hash::{DefaultHashBuilder, hash};
use crate::panic::FirstPanic;
use crate::removal::RemovalCause;
use crate::sharded::{Sharded, share_of_count};
use crate::stats::{CacheStats, Usage};
use crate::sweep::{Sweep, Swept, Watch};
use crate::sync::Mutex;

/// Entries that are evicted under one lock after a bound was lowered.
const EVICTED_PER_LOCK: usize = 1024;

/// A cache bounded by size, weight, age and idleness, in any combination that bounds size or
/// weight.
///
/// It replaces the `HashMap` that only grows, and the `max_size = 1000, max_age = 30 min` that
/// everyone writes again. All bounds hold after every call. An expired entry is never returned,
/// independent of any sweep. If the cache is full, expired entries are evicted first, then the
/// least recently used one.
///
/// `ttl` counts from the last write. `idle_timeout` counts from the last access: a write,
/// [`get`](Self::get), [`with`](Self::with) or [`get_or_insert_with`](Self::get_or_insert_with).
/// [`peek`](Self::peek) and [`contains_key`](Self::contains_key) refresh nothing.
///
/// Clones are handles on the same cache. Keys are owned, and borrowed for lookups: `get("key")`
/// works if keys are `String`s.
///
/// # Cost
///
/// `get`, `insert`, `remove`, an eviction and an expiry take constant time. A heavy entry evicts as
/// many as it needs room for. The index is resized one bucket per call, and storage grows in
/// chunks, so no such call moves more than a thousand entries, and only a cache that is still small
/// moves more than 30. A weak hasher adds time in proportion to the entries that collide.
///
/// Reads remove nothing: an expired entry is removed by a later write or a sweep. Calls that visit
/// many entries take time in proportion: [`clear`](Self::clear), [`retain`](Self::retain),
/// [`set_max_entries`](Self::set_max_entries), [`set_max_weight`](Self::set_max_weight) and
/// [`sweep`](Self::sweep), and [`pop_lru`](Self::pop_lru) and [`pop_oldest`](Self::pop_oldest) for
/// the expired entries before the live one.
///
/// # Memory
///
/// A cache at its bound allocates, to within a tenth:
///
/// * **`entries × (key + value + 46)` bytes**, with the sizes of the two types, plus what keys and
///   values own.
///
/// A million entries of `u64` to `u64` thus take about 62 MB. The two lists take 32 of the 46
/// bytes, and the index 6. Each shard adds about 1 kB.
///
/// Below its bound, a cache takes up to a quarter more, at most the storage of 1,024 entries per
/// shard. Its index takes up to 7 bytes per entry more. While the index is resized, the old one and
/// the new one exist: up to 14 bytes per entry more, for a tenth as many calls as there are
/// entries. Memory is returned in chunks as entries are removed.
///
/// # Shards
///
/// The cache is divided into independently locked shards. The bounds are split exactly among them.
/// Each shard has its own recency list and evicts when it is full, which can be a little before the
/// whole cache is. With `shards(1)` recency is global.
///
/// A key's `Hash`, `Eq` and `Clone`, a value's `Clone`, and the closures of `with` and `retain` run
/// while a shard is locked and must not call back into the cache. Weigher, computations, the
/// removal callback and `Drop` run while none is locked. The exception is the `Drop` of an argument
/// if a key's `Eq` panics. A panic in any of them leaves the cache consistent.
///
/// # Examples
///
/// A response cache of 1,000 entries and 30 minutes:
///
/// ```
/// use leakproof::LruCache;
/// use std::time::Duration;
///
/// let cache = LruCache::<String, String>::new(1_000, Duration::from_secs(1800));
/// let page = cache.get_or_insert_with("/index.html", || "<h1>rendered once</h1>".to_string());
/// assert_eq!(cache.get("/index.html"), Some(page));
/// ```
///
/// Sessions that are closed after 5 minutes without access:
///
/// ```
/// use leakproof::{LruCache, ManualClock, RemovalCause};
/// use std::sync::{Arc, atomic::{AtomicU32, Ordering}};
/// use std::time::Duration;
///
/// struct Session {
///     user: String,
/// }
///
/// let closed = Arc::new(AtomicU32::new(0));
/// let count = Arc::clone(&closed);
/// let time = ManualClock::new();
/// let sessions = LruCache::<u64, Session>::builder()
///     .max_entries(100_000)
///     .idle_timeout(Duration::from_secs(300))
///     .on_removal(move |id, session, cause| {
///         println!("session {id} of {} ended: {cause}", session.user);
///         count.fetch_add(u32::from(cause == RemovalCause::Idle), Ordering::Relaxed);
///     })
///     .sweep_every(Duration::from_secs(60)) // closes them even if the cache is not used
///     .clock(&time)
///     .build()?;
///
/// sessions.insert(7, Session { user: "ada".to_string() });
/// time.advance(Duration::from_secs(299));
/// let is_ada = sessions.with(&7, |session| session.user == "ada"); // an access
/// assert_eq!(is_ada, Some(true));
/// time.advance(Duration::from_secs(300));
/// assert!(!sessions.contains_key(&7));
/// sessions.sweep();
/// assert_eq!(closed.load(Ordering::Relaxed), 1);
/// # Ok::<(), leakproof::BuildError>(())
/// ```
///
/// Finished jobs, the last 1,000 and none older than an hour:
///
/// ```
/// use leakproof::LruCache;
/// use std::time::Duration;
///
/// let finished = LruCache::<u64, String>::new(1_000, Duration::from_secs(3600));
/// for job in 0..5_000 {
///     finished.insert(job, "done".to_string());
/// }
/// assert_eq!(finished.len(), 1_000);
/// assert_eq!(finished.peek(&4_999).as_deref(), Some("done"));
/// assert_eq!(finished.stats().evicted, 4_000);
/// ```
///
/// One client per tenant, created on first use, and only once for concurrent callers:
///
/// ```
/// use leakproof::LruCache;
/// use std::sync::{Arc, Weak};
/// use std::time::Duration;
///
/// struct Client {
///     tenant: String,
/// }
///
/// let clients = LruCache::<String, Arc<Client>>::builder()
///     .max_entries(500)
///     .idle_timeout(Duration::from_secs(600))
///     .build()?;
/// let client = |tenant: &str| {
///     clients.get_or_insert_with(tenant, || Arc::new(Client { tenant: tenant.to_string() }))
/// };
/// assert!(Arc::ptr_eq(&client("acme"), &client("acme")));
/// # assert_eq!(client("acme").tenant, "acme");
/// # Ok::<(), leakproof::BuildError>(())
/// ```
///
/// A cache of at most 64 MiB:
///
/// ```
/// use leakproof::LruCache;
///
/// let images = LruCache::<String, Vec<u8>>::builder()
///     .max_weight(64 << 20)
///     .weigher(|name, bytes| u32::try_from(name.len() + bytes.len()).unwrap_or(u32::MAX))
///     .build()?;
/// images.insert("logo.png".to_string(), vec![0; 10_000]);
/// assert_eq!(images.weight(), 10_008);
///
/// let too_large = images.insert_checked("map.png".to_string(), vec![0; 100 << 20]).unwrap_err();
/// assert_eq!(too_large.key, "map.png"); // refused and returned
/// # Ok::<(), leakproof::BuildError>(())
/// ```
pub struct LruCache<K, V, S = DefaultHashBuilder> {
    inner: Arc<Inner<K, V, S>>,
}

/// The state that the handles share. The sweeper holds it weakly.
struct Inner<K, V, S> {
    shards: Sharded<Shard<K, V>>,
    wait_graph: WaitGraph<V>,
    /// The limits of the whole cache. It is locked while the shards' shares change, so that all are
    /// of the same limits.
    limits: Mutex<Limits>,
    clock: Clock,
    hasher: S,
    weigher: Weigher<K, V>,
    notifier: RemovalNotifier<K, V>,
}

// In this order, see `Sharded`.
#[repr(C)]
pub(super) struct Shard<K, V> {
    pub(super) core: Core<K, V>,
    pub(super) in_flight: InFlight<K, V>,
}

impl<K, V> LruCache<K, V>
where
    K: Hash + Eq + Send + 'static,
    V: Send + 'static,
{
    /// Creates a cache of up to `max_entries` entries, each of which lives for `ttl` after it was
    /// last written.
    ///
    /// # Panics
    ///
    /// Panics if `max_entries` or `ttl` is zero, or if `max_entries` is too large.
    /// [`builder`](Self::builder) returns an error instead.
    #[must_use]
    #[track_caller]
    pub fn new(max_entries: usize, ttl: Duration) -> Self {
        match Self::builder().max_entries(max_entries).ttl(ttl).build() {
            Ok(cache) => cache,
            Err(error) => panic!("LruCache::new: {error}"),
        }
    }
}

impl<K, V> LruCache<K, V> {
    /// Returns a builder with every option at its default.
    pub fn builder() -> LruBuilder<K, V> {
        LruBuilder::default()
    }
}

/// Accessors for the other modules of the cache.
impl<K, V, S> LruCache<K, V, S> {
    pub(super) fn with_shards(
        limits: Limits,
        shards: usize,
        clock: Clock,
        hasher: S,
        weigher: Weigher<K, V>,
        notifier: RemovalNotifier<K, V>,
    ) -> Self {
        let inner = Inner {
            shards: Sharded::new((0..shards).map(|shard| Shard {
                core: Core::new(limits.share(shard, shards)),
                in_flight: InFlight::new(),
            })),
            wait_graph: WaitGraph::new(),
            limits: Mutex::new(limits),
            clock,
            hasher,
            weigher,
            notifier,
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    #[inline]
    pub(super) fn now(&self) -> Nanos {
        self.inner.clock.nanos()
    }

    #[inline]
    pub(super) fn notifier(&self) -> &RemovalNotifier<K, V> {
        &self.inner.notifier
    }

    pub(super) fn wait_graph(&self) -> &WaitGraph<V> {
        &self.inner.wait_graph
    }

    #[inline]
    pub(super) fn weigh(&self, key: &K, value: &V) -> NonZeroU32 {
        self.inner.weigher.weigh(key, value)
    }

    pub(super) fn shard_count(&self) -> usize {
        self.inner.shards.len()
    }

    #[inline]
    pub(super) fn shard_of(&self, hash: u64) -> usize {
        self.inner.shards.shard_of(hash)
    }

    /// Calls `work` with a shard locked.
    #[inline]
    pub(super) fn with_shard<R>(
        &self,
        shard: usize,
        work: impl FnOnce(&mut Shard<K, V>) -> R,
    ) -> R {
        work(&mut self.inner.shards.lock(shard))
    }

    /// Calls `work` with a shard locked, and notifies of what it removed after that is unlocked.
    pub(super) fn write_shard<R>(
        &self,
        shard: usize,
        work: impl FnOnce(&mut Shard<K, V>, &mut RemovedEntries<'_, K, V>) -> R,
    ) -> R {
        self.inner.write_shard(shard, work)
    }
}

impl<K, V, S> Inner<K, V, S> {
    fn write_shard<R>(
        &self,
        shard: usize,
        work: impl FnOnce(&mut Shard<K, V>, &mut RemovedEntries<'_, K, V>) -> R,
    ) -> R {
        // Before the guard, so that it is dropped after it, even if `work` panics.
        let mut removed = RemovedEntries::new(&self.notifier);
        let mut guard = self.shards.lock(shard);
        work(&mut guard, &mut removed)
    }

    fn sweep_shard(&self, shard: usize, budget: usize) -> Swept {
        let now = self.clock.nanos();
        self.write_shard(shard, |shard, removed| {
            shard.core.sweep(now, budget, removed)
        })
    }

    fn stats(&self) -> CacheStats {
        let now = self.clock.nanos();
        let of = |shard| self.shards.lock(shard).core.stats(now);
        let mut stats = of(0);
        (1..self.shards.len()).for_each(|shard| stats.merge(&of(shard)));
        CacheStats {
            callback_panics: self.notifier.panics(),
            ..stats
        }
    }
}

/// Figures and limits.
impl<K, V, S> LruCache<K, V, S> {
    fn sum<N: std::iter::Sum>(&self, figure: impl Fn(&Core<K, V>, Nanos) -> N) -> N {
        let now = self.now();
        (0..self.shard_count())
            .map(|shard| self.with_shard(shard, |shard| figure(&shard.core, now)))
            .sum()
    }

    /// Returns the number of live entries.
    ///
    /// Locks each shard once, and takes a step for every entry that is expired and not yet removed.
    /// Writes and sweeps remove these.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sum(Core::len)
    }

    /// Returns `true` if no entry is live. Costs as much as [`len`](Self::len).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the weight of the live entries. Costs as much as [`len`](Self::len).
    #[must_use]
    pub fn weight(&self) -> u64 {
        self.sum(Core::weight)
    }

    /// Returns the size, the bounds, the age of the oldest entry, and counters. Costs as much as
    /// [`len`](Self::len).
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        self.inner.stats()
    }

    /// Returns the bound on the number of entries. Without one, it is
    /// [`max_weight`](Self::max_weight), because every entry weighs at least 1.
    #[must_use]
    pub fn max_entries(&self) -> usize {
        self.inner.limits.lock().reachable_entries()
    }

    /// Returns the bound on the weight of all entries, if there is one.
    #[must_use]
    pub fn max_weight(&self) -> Option<u64> {
        self.inner.limits.lock().max_weight()
    }

    /// Returns how long an entry lives after it was last written, if that is limited.
    #[must_use]
    pub fn ttl(&self) -> Option<Duration> {
        self.inner.limits.lock().ttl()
    }

    /// Returns how long an entry lives after its last access, if that is limited.
    #[must_use]
    pub fn idle_timeout(&self) -> Option<Duration> {
        self.inner.limits.lock().idle_timeout()
    }

    /// Changes the bound on the number of entries, and evicts what exceeds it, in time proportional
    /// to its number.
    ///
    /// It evicts up to 1,024 entries per lock. An insert in between evicts what its shard still has
    /// to.
    ///
    /// # Errors
    ///
    /// Returns [`InvalidLimit`], and changes nothing, if the bound is less than the number of
    /// shards or too large.
    pub fn set_max_entries(&self, max_entries: usize) -> Result<(), InvalidLimit> {
        let shards = self.shard_count();
        let most = (shards as u64).saturating_mul(MAX_ENTRIES_PER_SHARD as u64);
        InvalidLimit::check("max_entries", max_entries as u64, shards as u64, most)?;
        self.set_limits(
            |limits| limits.max_entries = max_entries,
            |core, shard| core.set_max_entries(share_of_count(max_entries, shard, shards)),
        );
        Ok(())
    }

    /// Changes the bound on the weight of all entries, and evicts what exceeds it, as
    /// [`set_max_entries`](Self::set_max_entries) does.
    ///
    /// # Errors
    ///
    /// Returns [`InvalidLimit`], and changes nothing, if the bound is less than the number of
    /// shards, or the cache has no weigher.
    pub fn set_max_weight(&self, max_weight: u64) -> Result<(), InvalidLimit> {
        if !self.inner.weigher.is_given() {
            return Err(InvalidLimit::NoWeigher);
        }
        let shards = self.shard_count();
        InvalidLimit::check("max_weight", max_weight, shards as u64, u64::MAX)?;
        self.set_limits(
            |limits| limits.max_weight = max_weight,
            |core, shard| core.set_max_weight(share_of_weight(max_weight, shard, shards)),
        );
        Ok(())
    }

    fn set_limits(
        &self,
        set: impl FnOnce(&mut Limits),
        set_share: impl Fn(&mut Core<K, V>, usize),
    ) {
        let mut limits = self.inner.limits.lock();
        set(&mut limits);
        // In all shards before anything is removed: callbacks and drops, which may change a bound
        // too, then find one bound, and no lock.
        for shard in 0..self.shard_count() {
            self.with_shard(shard, |it| set_share(&mut it.core, shard));
        }
        drop(limits);
        let mut panics = FirstPanic::default();
        for shard in 0..self.shard_count() {
            let evict = || {
                let now = self.now();
                self.write_shard(shard, |shard, removed| {
                    shard.core.shrink_to_bounds(now, EVICTED_PER_LOCK, removed)
                })
            };
            // If a drop panicked, something was removed, and there may be more.
            while panics.catch(evict).unwrap_or(true) {}
            let sweep = || self.inner.sweep_shard(shard, EVICTED_PER_LOCK).more;
            while panics.catch(sweep).unwrap_or(true) {}
        }
        panics.resume();
    }

    /// Checks every invariant, in time proportional to the size; for tests and fuzzing.
    ///
    /// # Panics
    ///
    /// Panics if an invariant does not hold.
    #[doc(hidden)]
    pub fn validate(&self) {
        for shard in 0..self.shard_count() {
            self.with_shard(shard, |shard| shard.core.validate());
        }
    }
}

/// Removal.
impl<K, V, S> LruCache<K, V, S> {
    /// Removes and returns the live entry with the oldest access.
    ///
    /// Locks each shard, and removes the expired entries before the live one, in a step for each.
    pub fn pop_lru(&self) -> Option<(K, V)> {
        self.pop(Order::Recency)
    }

    /// Removes and returns the live entry with the oldest write. Costs as much as
    /// [`pop_lru`](Self::pop_lru).
    pub fn pop_oldest(&self) -> Option<(K, V)> {
        self.pop(Order::Write)
    }

    fn pop(&self, order: Order) -> Option<(K, V)> {
        let now = self.now();
        loop {
            let time = |shard| {
                self.write_shard(shard, |shard, removed| {
                    shard.core.time_of_first(now, order, removed)
                })
            };
            let (_, shard) = (0..self.shard_count())
                .filter_map(|shard| Some((time(shard)?, shard)))
                .min()?;
            let mut removed = RemovedEntries::new(&self.inner.notifier);
            let popped = self.with_shard(shard, |shard| shard.core.pop(now, order, &mut removed));
            let popped = removed.finish(popped, RemovalCause::Removed);
            // Another thread may have emptied the shard since.
            if popped.is_some() {
                return popped;
            }
        }
    }

    /// Removes all entries, in time proportional to their number, and frees their memory. A value
    /// whose computation is in progress is not stored.
    pub fn clear(&self) {
        let now = self.now();
        let mut panics = FirstPanic::default();
        for shard in 0..self.shard_count() {
            let empty = || {
                self.write_shard(shard, |shard, removed| {
                    shard.core.clear(now, removed);
                    shard.in_flight.supersede_all()
                })
            };
            panics.catch(|| drop(empty()));
        }
        panics.resume();
    }

    /// Removes the expired entries, and returns how many it removed. It changes no answer.
    ///
    /// It removes a bounded number of entries per lock.
    pub fn sweep(&self) -> usize {
        self.inner
            .shards
            .sweep_all(|shard, budget| self.inner.sweep_shard(shard, budget))
    }
}

impl<K: Hash + Eq, V, S: BuildHasher> LruCache<K, V, S> {
    #[inline]
    pub(super) fn hash<Q: ?Sized + Hash>(&self, key: &Q) -> u64 {
        hash(&self.inner.hasher, key)
    }

    /// Returns a clone of the live value of a key, and makes its entry the most recently used.
    #[inline]
    pub fn get<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
        V: Clone,
    {
        self.with(key, V::clone)
    }

    /// Calls `read` with the live value of a key, and makes its entry the most recently used.
    ///
    /// `read` is called while a shard is locked. It must not call back into the cache, which may
    /// deadlock.
    #[inline]
    pub fn with<Q, R>(&self, key: &Q, read: impl FnOnce(&V) -> R) -> Option<R>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
    {
        let hash = self.hash(key);
        let now = self.now();
        let mut shard = self.inner.shards.lock(self.shard_of(hash));
        match shard.core.get(|| now, hash, key) {
            Some(value) => Some(read(value)),
            None => {
                // Before `read`, whose captures may use the cache when they are dropped.
                drop(shard);
                None
            }
        }
    }

    /// Returns a clone of the live value of a key. Refreshes nothing, and counts neither a hit nor
    /// a miss.
    #[must_use]
    pub fn peek<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
        V: Clone,
    {
        let hash = self.hash(key);
        let now = self.now();
        self.with_shard(self.shard_of(hash), |shard| {
            shard.core.peek(now, hash, key).cloned()
        })
    }

    /// Returns `true` if a key has a live entry. Refreshes nothing, and counts neither a hit nor a
    /// miss.
    #[must_use]
    pub fn contains_key<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
    {
        let hash = self.hash(key);
        let now = self.now();
        self.with_shard(self.shard_of(hash), |shard| {
            shard.core.peek(now, hash, key).is_some()
        })
    }

    /// Stores a value, and returns the live value that it replaces.
    ///
    /// If the shard is full, expired entries are evicted first, then the least recently used one.
    /// An entry that alone exceeds its shard's share of `max_weight` is not stored. It is counted
    /// and passed to the removal callback with [`RemovalCause::Rejected`], and what it was to
    /// replace is removed. [`insert_checked`](Self::insert_checked) returns it instead.
    #[inline]
    pub fn insert(&self, key: K, value: V) -> Option<V> {
        self.insert_checked(key, value).unwrap_or_else(|refused| {
            self.inner
                .notifier
                .notify(&refused.key, &refused.value, RemovalCause::Rejected);
            None
        })
    }

    /// Does what [`insert`](Self::insert) does, and returns an entry that is too heavy as an error.
    ///
    /// # Errors
    ///
    /// Returns [`TooHeavy`] with the key and the value. What they were to replace is removed
    /// nevertheless, because it is out of date.
    #[inline]
    pub fn insert_checked(&self, key: K, value: V) -> Result<Option<V>, TooHeavy<K, V>> {
        let weight = self.weigh(&key, &value);
        let hash = self.hash(&key);
        let now = self.now();
        let mut removed = RemovedEntries::new(&self.inner.notifier);
        let (replaced, _superseded) = self.with_shard(self.shard_of(hash), |shard| {
            let superseded = shard.in_flight.supersede(hash, &key);
            let Shard { core, .. } = shard;
            let replaced = core.insert(now, hash, key, value, weight, &mut removed);
            (replaced, superseded)
        });
        let replaced = removed.finish(replaced?, RemovalCause::Replaced);
        Ok(replaced.map(|(_, value)| value))
    }

    /// Removes the live entry of a key, and returns its value. If a value is being computed for the
    /// key, it is not stored.
    pub fn remove<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
    {
        let hash = self.hash(key);
        let now = self.now();
        let mut taken = RemovedEntries::new(&self.inner.notifier);
        let (entry, _superseded) = self.with_shard(self.shard_of(hash), |shard| {
            // First, because it compares keys, which may panic, and an entry that was taken out is
            // to be notified.
            let superseded = shard.in_flight.supersede(hash, key);
            (shard.core.remove(now, hash, key, &mut taken), superseded)
        });
        let entry = taken.finish(entry, RemovalCause::Removed);
        entry.map(|(_, value)| value)
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

/// A clone is a handle on the same cache.
impl<K, V, S> Clone for LruCache<K, V, S> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

impl<K, V, S> fmt::Debug for LruCache<K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LruCache")
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

impl<K, V, S> Sweep for Inner<K, V, S>
where
    K: Send + 'static,
    V: Send + 'static,
    S: Send + Sync + 'static,
{
    fn sweep_some(&self, budget: usize) -> Swept {
        self.shards
            .sweep_some(budget, |shard, budget| self.sweep_shard(shard, budget))
    }

    fn usage(&self) -> Usage {
        self.stats().usage()
    }
}

impl<K, V, S> Watch for LruCache<K, V, S>
where
    K: Send + 'static,
    V: Send + 'static,
    S: Send + Sync + 'static,
{
    fn downgrade_to_sweep(&self) -> Weak<dyn Sweep> {
        Arc::downgrade(&self.inner) as Weak<dyn Sweep>
    }
}
