//! `LruCache`: shards of the single-threaded cache, behind `&self`.
//!
//! A thin shell: it reads the clock, hashes the key, locks the shard, calls the core, and sees off what left once the lock
//! is gone. (The default clock, which is no user's code, `get` reads in the lock, and only where it finds something.) Beyond
//! that it owns what only several threads need: computing a value once for all that ask for it.

mod builder;
mod computing;
mod ends;
mod error;
mod flight;
mod index;
mod inner;
mod left;
mod line;
mod order;
mod resizing;
mod scan;
mod slab;
mod store;
mod sweeping;
pub(crate) mod unsync;

use std::borrow::Borrow;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Nanos;
use crate::hash::{DefaultHashBuilder, hash};
use crate::removal::RemovalCause;
use crate::stats::CacheStats;
pub use builder::LruBuilder;
use builder::weigh;
pub use error::{ComputeError, TooHeavy};
use inner::{Inner, Shard};
use left::Left;
pub use scan::{Cursor, InvalidCursor};

/// A cache bounded by size, weight, age and idleness, in any combination that has a bound on size or weight.
///
/// It replaces the `HashMap` that only gains entries, and the `max_size = 1000, ttl = 30 min` that everyone
/// writes by hand. All bounds hold after every call; an entry that is past its time is never returned, whatever any
/// sweep does; at a bound, entries past their time go first, then the least recently used.
///
/// `ttl` counts from when an entry was last written, `idle_timeout` from when it was last used: by [`get`](Self::get),
/// [`with`](Self::with), [`get_or_insert_with`](Self::get_or_insert_with) or being written, not by
/// [`peek`](Self::peek) or [`contains_key`](Self::contains_key).
///
/// Keys are owned: `LruCache<String, _>`, of which `get("key")` takes a `&str`.
///
/// # Cost
///
/// `get`, `insert`, `remove`, an eviction and an expiry take constant time; an insert of much weight evicts as many as
/// have to go for it. No such call moves more than some dozens of entries: the index grows and shrinks by the line, the slab
/// by the chunk, and memory is given back as entries leave. Calls that go through many take as long as there are:
/// [`clear`](Self::clear), [`retain`](Self::retain), [`set_max_entries`](Self::set_max_entries), [`sweep`](Self::sweep), and
/// [`pop_lru`](Self::pop_lru) and [`pop_oldest`](Self::pop_oldest), which free all that is past its time and stands before
/// the live entry.
///
/// # Memory
///
/// A cache at its bound takes, by the allocator's count, and to within a tenth:
///
/// * **`entries × (key + value + 46)` bytes**, with the sizes of the two types, to which comes what keys and values own.
///
/// So a million entries of `u64` to `u64` take some 62 MB. Of the 46 bytes 32 are the two orders', 6 the index's. While a
/// cache is below its bound, its index is larger than it need be: by up to 7 bytes an entry. It doubles by a line a call,
/// and meanwhile old and new are both there: that is up to 14 bytes an entry more, for a tenth as many calls as there are
/// entries.
///
/// Memory comes, and is given back, in chunks of 256 entries for each shard.
///
/// # Shards
///
/// The cache is cut into independently locked shards, among which the bounds are split exactly. Each has its own order
/// of use, and evicts when it is full, which may be a little before the whole is. With `shards(1)` the order is global.
///
/// A key's `Hash`, `Eq` and `Clone`, a value's `Clone`, and closures where it is said run while a shard is locked, and
/// must not call back into the cache. Weigher, computations and the removal callback never do, nor does `Drop`, but for
/// that of what a call was given or has computed, where a key's `Eq` panics in it. A panic in any of them leaves the cache
/// consistent.
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
/// Sessions that end after 5 idle minutes, and are then closed:
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
///     .sweep_every(Duration::from_secs(60)) // so that they are closed even if nobody calls
///     .clock(&time)
///     .build()?;
///
/// sessions.insert(7, Session { user: "ada".to_string() });
/// time.advance(Duration::from_secs(299));
/// assert!(sessions.with(&7, |session| session.user == "ada").unwrap()); // active: 5 more minutes
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
/// One shared client per tenant, made when it is first needed, and once even if many ask at the same time:
///
/// ```
/// use leakproof::LruCache;
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// struct Client {
///     tenant: String,
/// }
///
/// let clients = LruCache::<String, Arc<Client>>::builder().max_entries(500).idle_timeout(Duration::from_secs(600)).build()?;
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
/// assert_eq!(too_large.key, "map.png"); // refused, and given back
/// # Ok::<(), leakproof::BuildError>(())
/// ```
pub struct LruCache<K, V, S = DefaultHashBuilder> {
    inner: Arc<Inner<K, V, S>>,
}

impl<K, V, S> Clone for LruCache<K, V, S> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

impl<K, V> LruCache<K, V>
where
    K: Hash + Eq + Send + 'static,
    V: Send + 'static,
{
    /// A cache of up to `max_entries` entries, each for up to `ttl` after it was last written. (The bound first; of
    /// [`DedupMap::new`](crate::DedupMap::new), which is asked for a time first of all, the ttl.)
    ///
    /// # Panics
    ///
    /// Where `max_entries` or `ttl` is zero, or `max_entries` beyond reach; [`builder`](Self::builder) returns an
    /// error instead.
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
    /// All knobs.
    #[must_use]
    pub fn builder() -> LruBuilder<K, V> {
        LruBuilder::new()
    }
}

impl<K, V, S> LruCache<K, V, S> {
    #[inline(always)]
    fn now(&self) -> Nanos {
        self.inner.clock.nanos()
    }

    fn each_shard<R>(
        &self,
        mut work: impl FnMut(&mut Shard<K, V, S>, &mut Left<K, V>) -> R,
    ) -> impl Iterator<Item = R> {
        (0..self.inner.shards.len()).map(move |shard| self.inner.with(shard, &mut work))
    }

    /// The number of live entries. Locks each shard once, and takes a step for each entry that is held though its time is
    /// over; each write, and each `get` that finds something, frees a few of those.
    #[must_use]
    pub fn len(&self) -> usize {
        let now = self.now();
        self.each_shard(|shard, _| shard.core.len_at(now)).sum()
    }

    /// Whether no entry is live.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the live entries weigh. As for [`len`](Self::len).
    #[must_use]
    pub fn weight(&self) -> u64 {
        let now = self.now();
        self.each_shard(|shard, _| shard.core.weight_at(now)).sum()
    }

    /// What the cache holds, and what left it and why. As for [`len`](Self::len).
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        self.inner.stats()
    }

    /// Checks every invariant of the structure, in time proportional to its size; for tests and fuzzing.
    ///
    /// # Panics
    ///
    /// Where one does not hold.
    #[doc(hidden)]
    pub fn validate(&self) {
        self.each_shard(|shard, _| shard.core.check())
            .for_each(drop);
    }
}

impl<K: Hash + Eq, V, S: BuildHasher> LruCache<K, V, S> {
    /// Calls `work` with the time, the key's hash and its shard.
    #[inline]
    fn on<Q, R>(
        &self,
        key: &Q,
        work: impl FnOnce(Nanos, u64, &mut Shard<K, V, S>, &mut Left<K, V>) -> R,
    ) -> R
    where
        Q: ?Sized + Hash,
    {
        let hash = hash(&self.inner.hasher, key);
        let now = self.now();
        self.inner
            .with(self.inner.shards.shard_of(hash), |shard, left| {
                work(now, hash, shard, left)
            })
    }

    /// A clone of the live value under a key, whose entry is now the most recently used.
    #[inline]
    pub fn get<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
        V: Clone,
    {
        self.with(key, V::clone)
    }

    /// What `read` makes of the live value under a key, whose entry is now the most recently used.
    ///
    /// `read` is called while a shard is locked: it should be short, and must not call back into the cache, which would
    /// wait for itself for ever, if it comes to the same shard.
    #[inline]
    pub fn with<Q, R>(&self, key: &Q, read: impl FnOnce(&V) -> R) -> Option<R>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
    {
        let hash = hash(&self.inner.hasher, key);
        let early = self.inner.clock.early_nanos();
        let mut shard = self.inner.shards.lock(self.inner.shards.shard_of(hash));
        let mut is_due = false;
        let found = shard.core.look(
            |clock| early.unwrap_or_else(|| clock.nanos()),
            hash,
            key,
            |_| {
                is_due = true;
                None
            },
        );
        if let Some(value) = found {
            return Some(read(value));
        }
        drop(shard);
        if is_due {
            self.get_when_due(hash, key, read)
        } else {
            None
        }
    }

    #[cold]
    #[inline(never)]
    fn get_when_due<Q, R>(&self, hash: u64, key: &Q, read: impl FnOnce(&V) -> R) -> Option<R>
    where
        K: Borrow<Q>,
        Q: ?Sized + Eq,
    {
        let now = self.now();
        let result = self
            .inner
            .with(self.inner.shards.shard_of(hash), |shard, left| {
                match shard.core.get_at(now, hash, key, left) {
                    Some(at) => Ok(read(shard.core.value(at))),
                    // Out of the lock with it: what it has captured may use the cache when it is dropped.
                    None => Err(read),
                }
            });
        result.ok()
    }

    /// A clone of the live value under a key. Refreshes nothing, and counts as neither hit nor miss.
    #[must_use]
    pub fn peek<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
        V: Clone,
    {
        self.on(key, |now, hash, shard, _| {
            shard.core.peek_at(now, hash, key).cloned()
        })
    }

    /// Whether there is a live entry under a key. Refreshes nothing, and counts as neither hit nor miss.
    #[must_use]
    pub fn contains_key<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
    {
        self.on(key, |now, hash, shard, _| {
            shard.core.peek_at(now, hash, key).is_some()
        })
    }

    /// Stores a value under a key; the live value that was there.
    ///
    /// What has to go to make room is what is past its time, then the shard's least recently used. An entry that alone is
    /// heavier than its shard's share of `max_weight` is not stored: it goes to the callback with
    /// [`RemovalCause::Rejected`], and is counted; [`insert_checked`](Self::insert_checked) gives it back.
    #[inline]
    pub fn insert(&self, key: K, value: V) -> Option<V> {
        self.insert_checked(key, value).unwrap_or_else(|refused| {
            self.inner
                .listener
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
    pub fn insert_checked(&self, key: K, value: V) -> Result<Option<V>, TooHeavy<K, V>> {
        let hash = hash(&self.inner.hasher, &key);
        let now = self.now();
        if self.inner.weigher.is_some() {
            return self.insert_in_any_case(now, hash, key, value);
        }
        let mut guard = self.inner.shards.lock(self.inner.shards.shard_of(hash));
        if !guard.core.is_light(now) {
            drop(guard);
            return self.insert_in_any_case(now, hash, key, value);
        }
        let superseded = guard.supersede(hash, &key);
        let left = guard.core.insert_light(hash, key, value);
        drop(guard);
        let former = self.inner.listener.see_off_light(left);
        drop(superseded);
        Ok(former)
    }

    #[inline(never)]
    fn insert_in_any_case(
        &self,
        now: Nanos,
        hash: u64,
        key: K,
        value: V,
    ) -> Result<Option<V>, TooHeavy<K, V>> {
        let weight = weigh(&self.inner.weigher, &key, &value);
        let work = |shard: &mut Shard<K, V, S>, left: &mut Left<K, V>| {
            let superseded = shard.supersede(hash, &key);
            (
                shard.core.insert_at(now, hash, key, value, weight, left),
                superseded,
            )
        };
        self.inner.with_telling(
            self.inner.shards.shard_of(hash),
            work,
            |listener, (former, _superseded)| {
                Ok(former?.map(|former| listener.hand_back(former, RemovalCause::Replaced)))
            },
        )
    }

    /// Removes the live entry under a key; its value. A value that is being computed for the key is not stored.
    pub fn remove<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
    {
        let hash = hash(&self.inner.hasher, key);
        let now = self.now();
        // Superseded first: that compares keys, which may panic, and what is taken out is to be told of.
        let work = |shard: &mut Shard<K, V, S>, left: &mut Left<K, V>| {
            let superseded = shard.supersede(hash, key);
            (shard.core.remove_at(now, hash, key, left), superseded)
        };
        self.inner.with_telling(
            self.inner.shards.shard_of(hash),
            work,
            |listener, (removed, _superseded)| {
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
