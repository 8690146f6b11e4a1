//! `LruCache`: cores behind locks, with a clock, a hasher and notification, behind `&self`.
//!
//! A method reads the clock and hashes the key, locks the shard, and calls its core. What the core
//! removed is notified and dropped after the lock is released. `get` and `with` read the clock
//! after the lookup.

mod in_place;
mod limits;
mod operations;

use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::attributes::EntryRules;
use super::builder::LruBuilder;
use super::core::{Core, Limits};
use super::removal::{RemovalNotifier, RemovedEntries};
use super::single_flight::InFlight;
use crate::clock::{Clock, Nanos};
use crate::hash::DefaultHashBuilder;
use crate::sharded::Sharded;
use crate::stats::{CacheStats, Usage};
use crate::sweep::{Sweep, Swept, Watch};
use crate::sync::Mutex;
use crate::wait::Room;

/// A cache with a bound on entries, on weight, or on both, and with an optional ttl and idle
/// timeout.
///
/// It replaces a `HashMap` that only grows. All bounds hold after every call. An expired
/// entry is never returned, independent of any sweep. If the cache is full, expired entries are
/// evicted first, then the least recently used one. [`Policy::S3Fifo`](crate::Policy::S3Fifo) is
/// another choice, for keys that are mostly used once.
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
/// chunks of 64 entries, so no such call moves more than 64 entries and 30 words of the index. A
/// weak hasher adds time in proportion to the entries that collide.
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
/// An entry with a ttl of its own ([`insert_with_ttl`](Self::insert_with_ttl), `expire_after`,
/// `ttl_jitter`) takes about 20 bytes more, and a few such entries up to 1 kB each.
///
/// A stale entry whose refresh failed takes up to 64 bytes more. They are freed by a sweep, or by a
/// call for a stale value, after at most two back-offs.
///
/// [`Policy::S3Fifo`](crate::Policy::S3Fifo) adds 2.1 bytes per entry, and 16 more with an idle
/// timeout.
///
/// Below its bound, a cache takes up to a quarter more, at most the storage of 64 entries per
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
/// A key's `Hash`, `Eq` and `Clone`, a value's `Clone`, the closures of `with`, `update`,
/// `remove_if`, `retain` and `for_each`, the weigher in `update`, and the function of a
/// [`Clock::custom`] run while a shard is locked and must not call back into the cache.
/// Computations, the weigher elsewhere, the removal callback and `Drop` run while none is locked.
/// The exception is the `Drop` of an argument if a key's `Eq` panics. A panic in any of them leaves
/// the cache consistent.
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
    /// The callers that wait for a computation.
    room: Room,
    /// The limits of the whole cache. It is locked while the shards' shares change, so that all are
    /// of the same limits.
    limits: Mutex<Limits>,
    clock: Clock,
    hasher: S,
    rules: EntryRules<K, V>,
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
        rules: EntryRules<K, V>,
        notifier: RemovalNotifier<K, V>,
        room: Room,
    ) -> Self {
        let inner = Inner {
            shards: Sharded::new((0..shards).map(|shard| Shard {
                core: Core::new(limits.share(shard, shards)),
                in_flight: InFlight::new(),
            })),
            room,
            limits: Mutex::new(limits),
            clock,
            hasher,
            rules,
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

    #[cfg(feature = "persist")]
    pub(super) fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    #[inline]
    pub(super) fn notifier(&self) -> &RemovalNotifier<K, V> {
        &self.inner.notifier
    }

    pub(super) fn room(&self) -> &Room {
        &self.inner.room
    }

    #[inline]
    pub(super) fn rules(&self) -> &EntryRules<K, V> {
        &self.inner.rules
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
        let room = self.room.stats();
        CacheStats {
            callback_panics: self.notifier.panics(),
            waiting: room.waiting,
            max_waiting: room.max_waiting,
            waits: room.waits,
            waits_rejected: room.rejected,
            ..stats
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
