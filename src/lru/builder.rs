//! `LruBuilder`: sets the options of both caches, and builds them.
//!
//! One builder serves both types, so no option is written twice. Its last parameter holds the
//! options that only one type has: [`SharedOptions`] or, for the unsync cache, nothing. A setter
//! that means nothing to a cache thus does not exist on its builder, and `build` returns the type
//! whose `builder` was called.

use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;
use std::time::Duration;

use super::cache::LruCache;
use super::config::LruConfig;
use super::options::{Options, SharedOptions};
use super::policy::Policy;
use super::removal::RemovalNotifier;
use super::unsync;
use crate::clock::Clock;
use crate::hash::DefaultHashBuilder;
use crate::limits::{self, BuildError};
use crate::removal::RemovalCause;
use crate::sweeper;
use crate::wait::Room;

/// Builds an [`LruCache`], or an [`unsync::LruCache`](crate::unsync::LruCache).
///
/// A bound is mandatory: `max_entries`, or `max_weight` with a `weigher`. Every other option has a
/// default. `build` validates all values.
///
/// The builder of the unsync cache, [`unsync::LruBuilder`](crate::unsync::LruBuilder), has the same
/// options without `shards` and `sweep_every`. What they say about shards and locks does not apply
/// to it.
///
/// ```
/// use leakproof::{BuildError, LruCache};
/// use std::time::Duration;
///
/// let cache = LruCache::<String, Vec<u8>>::builder()
///     .max_entries(100_000)
///     .max_weight(64 << 20)
///     .weigher(|key, value| u32::try_from(key.len() + value.len()).unwrap_or(u32::MAX))
///     .ttl(Duration::from_secs(1800))
///     .idle_timeout(Duration::from_secs(300))
///     .on_removal(|key, _value, cause| println!("{key}: {cause}"))
///     .shards(8)
///     .sweep_every(Duration::from_secs(60))
///     .build()?;
/// assert!(cache.is_empty());
///
/// let unbounded = LruCache::<String, Vec<u8>>::builder().ttl(Duration::from_secs(60)).build();
/// assert_eq!(unbounded.unwrap_err(), BuildError::Missing { limit: "max_entries or max_weight" });
/// # Ok::<(), BuildError>(())
/// ```
#[must_use = "a builder does nothing until `build` is called"]
pub struct LruBuilder<K, V, S = DefaultHashBuilder, T = SharedOptions> {
    options: Options<K, V>,
    hasher: S,
    /// The options that only this type of cache has.
    own: T,
}

impl<K, V, T: Default> Default for LruBuilder<K, V, DefaultHashBuilder, T> {
    /// Returns a builder with every option at its default.
    fn default() -> Self {
        Self {
            options: Options {
                max_entries: None,
                max_weight: None,
                weigher: None,
                expire_after: None,
                ttl_jitter: 0.0,
                stale: None,
                policy: Policy::default(),
                ttl: None,
                idle_timeout: None,
                on_removal: None,
                on_discard: None,
                clock: Clock::default(),
            },
            hasher: DefaultHashBuilder::default(),
            own: T::default(),
        }
    }
}

/// The options of both caches.
impl<K, V, S, T> LruBuilder<K, V, S, T> {
    /// Sets the bound on the number of entries. At most 2<sup>31</sup> per shard.
    ///
    /// A cache of several shards evicts when the first shard is full. This is at about 90% of the
    /// bound with 500 entries per shard, and at 99% with 60,000. If that matters, set a tenth more,
    /// or use one shard.
    #[doc(alias = "max_capacity")]
    pub fn max_entries(mut self, max: usize) -> Self {
        self.options.max_entries = Some(max);
        self
    }

    /// Sets the bound on the weight of all entries, in units of the [`weigher`](Self::weigher).
    ///
    /// The heaviest entry that can be stored is a shard's share of this, `max_weight / shards`. By
    /// default no shard has a share below 2<sup>24</sup> unless there is only one.
    pub fn max_weight(mut self, max: u64) -> Self {
        self.options.max_weight = Some(max);
        self
    }

    /// Sets the function that returns the weight of an entry, for example in bytes.
    ///
    /// It is called once per write, while no lock is held. A weight of 0 counts as 1. Required if
    /// `max_weight` is set. A panic in it reaches the caller of the write.
    pub fn weigher(mut self, weigh: impl Fn(&K, &V) -> u32 + Send + Sync + 'static) -> Self {
        self.options.weigher = Some(Box::new(weigh));
        self
    }

    /// Sets how long an entry lives after it was last written, above zero. Defaults to no limit.
    #[doc(alias = "time_to_live")]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.options.ttl = Some(ttl);
        self
    }

    /// Sets a function that returns the ttl of an entry, for example from the `max-age` of a
    /// response. `None` means that of the cache.
    ///
    /// It is called once per write, while no lock is held.
    /// [`insert_with_ttl`](LruCache::insert_with_ttl), which says more about such entries, does not
    /// call it.
    ///
    /// ```
    /// use leakproof::{LruCache, ManualClock};
    /// use std::time::Duration;
    ///
    /// #[derive(Clone)]
    /// struct Response {
    ///     body: String,
    ///     max_age: Option<Duration>,
    /// }
    ///
    /// let time = ManualClock::new();
    /// let responses = LruCache::<String, Response>::builder()
    ///     .max_entries(10_000)
    ///     .ttl(Duration::from_secs(60))
    ///     .expire_after(|_url, response| response.max_age)
    ///     .clock(&time)
    ///     .build()?;
    ///
    /// let fetch = || Response { body: "hello".to_string(), max_age: Some(Duration::from_secs(5)) };
    /// responses.get_or_insert_with("/", fetch);
    /// time.advance(Duration::from_secs(5));
    /// assert!(responses.get("/").is_none());
    /// # Ok::<(), leakproof::BuildError>(())
    /// ```
    pub fn expire_after(
        mut self,
        ttl: impl Fn(&K, &V) -> Option<Duration> + Send + Sync + 'static,
    ) -> Self {
        self.options.expire_after = Some(Box::new(ttl));
        self
    }

    /// Shortens the ttl of every entry by a random part of up to this fraction of it, so that
    /// entries that were written together do not expire together. Defaults to 0.
    ///
    /// With `ttl_jitter(0.1)` an entry lives for 90% to 100% of its ttl. This applies to the
    /// [`ttl`](Self::ttl) of the cache and to what [`expire_after`](Self::expire_after) returns.
    /// Every entry then has a ttl of its own, with the costs that
    /// [`insert_with_ttl`](LruCache::insert_with_ttl) explains.
    pub fn ttl_jitter(mut self, fraction: f64) -> Self {
        self.options.ttl_jitter = fraction;
        self
    }

    /// Sets how long an entry can still be served after its ttl ended. Defaults to not at all.
    ///
    /// A stale entry is an expired entry in every respect: `get` does not return it, `len` does not
    /// count it, and it is evicted before live entries. But writes and sweeps remove it only at the
    /// end of the window, and `get_or_refresh_async`, `get_or_refresh_with` and `peek_stale` return
    /// it. An idle timeout that ends before ends the window too.
    ///
    /// If a refresh fails, no caller refreshes that entry for a tenth of the window, at most for 30
    /// seconds. So a database that is down is not asked by every call.
    ///
    /// Stale entries take memory within the bounds, and calls that take a step for every expired
    /// entry, as `len` does, take one for each of them.
    pub fn stale(mut self, window: Duration) -> Self {
        self.options.stale = Some(window);
        self
    }

    /// Sets how long an entry lives after its last access: a write, or a read that refreshes it.
    /// Must be above zero. Defaults to no limit.
    #[doc(alias = "time_to_idle")]
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.options.idle_timeout = Some(timeout);
        self
    }

    /// Sets which entry is evicted if the cache is full. Defaults to [`Policy::Lru`].
    pub fn policy(mut self, policy: Policy) -> Self {
        self.options.policy = policy;
        self
    }

    /// Sets a callback that is called once for every removed entry, with the cause.
    ///
    /// It is also called for an entry that `insert` or `get_or_insert_with` refuses as too heavy.
    /// `insert_checked` returns that entry to its caller instead.
    ///
    /// The thread that caused the removal calls it, while no lock is held, so it may use the cache.
    /// If the callback causes further removals, the cache calls it again before the outer call
    /// returns. Make sure that this ends. A panic in the callback is contained and counted in
    /// [`CacheStats::callback_panics`](crate::CacheStats::callback_panics).
    ///
    /// # Thread
    ///
    /// With [`sweep_every`](Self::sweep_every) or a [`Sweeper`](crate::Sweeper), most expired
    /// entries are removed by a background thread. The background thread belongs to no async
    /// runtime: `tokio::spawn` panics there, and the panic is only counted. Capture a
    /// `tokio::runtime::Handle` and use `Handle::spawn`, or send the key through a channel.
    ///
    /// # Entries without notification
    ///
    /// Entries that are dropped with the cache are not notified; call `clear` first if they must
    /// be. An expired entry is notified when it is removed. Without other calls, the next sweep
    /// removes it, so a session is closed up to `idle_timeout` plus the sweep interval after its
    /// last access.
    ///
    /// ```
    /// use leakproof::LruCache;
    /// use std::sync::atomic::{AtomicU32, Ordering};
    ///
    /// static CLOSED: AtomicU32 = AtomicU32::new(0);
    /// let new_cache = || {
    ///     let builder = LruCache::builder().max_entries(10).on_removal(|_, _, _| {
    ///         CLOSED.fetch_add(1, Ordering::Relaxed);
    ///     });
    ///     let cache: LruCache<u32, &str> = builder.build().unwrap();
    ///     cache.insert(7, "ada");
    ///     cache
    /// };
    ///
    /// drop(new_cache());
    /// assert_eq!(CLOSED.load(Ordering::Relaxed), 0, "dropped with the cache");
    /// new_cache().clear();
    /// assert_eq!(CLOSED.load(Ordering::Relaxed), 1);
    /// ```
    #[doc(alias = "eviction_listener")]
    pub fn on_removal(
        mut self,
        callback: impl Fn(&K, &V, RemovalCause) + Send + Sync + 'static,
    ) -> Self {
        self.options.on_removal = Some(Arc::new(callback));
        self
    }

    /// Sets a callback that takes, by value, every removed entry that no caller receives, with the
    /// cause.
    ///
    /// It is called for what the cache would drop otherwise: entries that are expired, evicted,
    /// rejected by `insert`, or removed by `clear` and `retain`. It is not called for what
    /// `insert`, `remove`, `pop_lru`, `drain` and the like return. It is called after
    /// [`on_removal`](Self::on_removal), under the same conditions.
    ///
    /// ```
    /// use leakproof::LruCache;
    /// use std::sync::{Arc, Mutex};
    ///
    /// let closing = Arc::new(Mutex::new(Vec::new()));
    /// let queue = Arc::clone(&closing);
    /// let connections = LruCache::<u32, String>::builder()
    ///     .max_entries(1)
    ///     .on_discard(move |_id, connection, _cause| queue.lock().unwrap().push(connection))
    ///     .build()?;
    ///
    /// connections.insert(1, "first".to_string());
    /// connections.insert(2, "second".to_string());
    /// assert_eq!(*closing.lock().unwrap(), ["first"]);
    /// # Ok::<(), leakproof::BuildError>(())
    /// ```
    pub fn on_discard(
        mut self,
        callback: impl Fn(K, V, RemovalCause) + Send + Sync + 'static,
    ) -> Self {
        self.options.on_discard = Some(Arc::new(callback));
        self
    }

    /// Sets the clock. Defaults to [`Clock::coarse`]. Tests pass a `&ManualClock`.
    pub fn clock(mut self, clock: impl Into<Clock>) -> Self {
        self.options.clock = clock.into();
        self
    }

    /// Sets the hasher. Defaults to a randomly seeded one. Clones must hash alike.
    ///
    /// With a weak hasher, a call takes time in proportion to the number of entries whose hashes
    /// collide, as in any hash table. No call moves more than 30 entries of the index because of
    /// that.
    pub fn hasher<R>(self, hasher: R) -> LruBuilder<K, V, R, T> {
        LruBuilder {
            options: self.options,
            hasher,
            own: self.own,
        }
    }

    /// Sets the bounds of a config.
    fn bounds(mut self, config: &LruConfig) -> Self {
        self.options.max_entries = Some(config.max_entries);
        self.options.max_weight = config.max_weight;
        self.options.ttl = config.ttl;
        self.options.idle_timeout = config.idle_timeout;
        self.options.ttl_jitter = config.ttl_jitter;
        self.options.stale = config.stale;
        self.options.policy = config.policy;
        self
    }
}

/// The options of a shared cache only.
impl<K, V, S> LruBuilder<K, V, S> {
    /// Sets all limits of a config. Options that are set later replace them.
    pub fn config(self, config: &LruConfig) -> Self {
        Self {
            own: SharedOptions {
                shards: config.shards,
                sweep_every: config.sweep_every,
                ..self.own
            },
            ..self.bounds(config)
        }
    }

    /// Sets the number of independently locked shards, from 1 to 4,096.
    ///
    /// Defaults to 8 per core, rounded up to a power of two, at most 256, with at least 512 entries
    /// per shard. The bounds are split exactly among the shards. Each keeps its own recency list,
    /// so recency is global only with one shard. An empty shard takes about 1 kB.
    pub fn shards(mut self, shards: usize) -> Self {
        self.own.shards = Some(shards);
        self
    }

    /// Sets the largest number of callers that wait for computations of other callers at once, at
    /// least 1. Defaults to 10,000. Above it, a caller computes for itself, and its value is not
    /// stored.
    pub fn max_waiting(mut self, max: usize) -> Self {
        self.own.max_waiting = max;
        self
    }

    /// Makes a process-wide background thread remove expired entries at this interval.
    ///
    /// Defaults to no background thread: writes remove expired entries, a few per call. No answer
    /// depends on it.
    pub fn sweep_every(mut self, interval: Duration) -> Self {
        self.own.sweep_every = Some(interval);
        self
    }

    /// Builds the cache. It allocates as it fills.
    ///
    /// # Errors
    ///
    /// Returns [`BuildError`] if a bound is missing, zero or too large.
    pub fn build(self) -> Result<LruCache<K, V, S>, BuildError>
    where
        K: Hash + Eq + Send + 'static,
        V: Send + 'static,
        S: BuildHasher + Clone + Send + Sync + 'static,
    {
        let Self {
            mut options,
            hasher,
            own,
        } = self;
        let shards = own.shard_count(&options)?;
        let max_waiting = limits::count("max_waiting", Some(own.max_waiting), usize::MAX)?;
        let limits = options.limits(shards)?;
        let rules = options.rules()?;
        let cache = LruCache::with_shards(
            limits,
            shards,
            options.clock,
            hasher,
            rules,
            RemovalNotifier::new(options.on_removal, options.on_discard),
            Room::new(max_waiting),
        );
        sweeper::watch_globally("lru", &cache, "sweep_every", own.sweep_every)?;
        Ok(cache)
    }

    /// Builds the cache and inserts the entries: `FromIterator` for a type that needs a bound.
    ///
    /// # Errors
    ///
    /// Returns [`BuildError`] if a bound is missing, zero or too large.
    pub fn build_from(
        self,
        entries: impl IntoIterator<Item = (K, V)>,
    ) -> Result<LruCache<K, V, S>, BuildError>
    where
        K: Hash + Eq + Send + 'static,
        V: Send + 'static,
        S: BuildHasher + Clone + Send + Sync + 'static,
    {
        let mut cache = self.build()?;
        cache.extend(entries);
        Ok(cache)
    }
}

/// The builder of an unsync cache.
impl<K, V, S> LruBuilder<K, V, S, ()> {
    /// Sets all limits of a config, except shards and the sweep interval. Options that are set
    /// later replace them.
    pub fn config(self, config: &LruConfig) -> Self {
        self.bounds(config)
    }

    /// Builds the cache. It allocates as it fills.
    ///
    /// # Errors
    ///
    /// Returns [`BuildError`] if a bound is missing, zero or too large.
    pub fn build(self) -> Result<unsync::LruCache<K, V, S>, BuildError> {
        let Self {
            mut options,
            hasher,
            ..
        } = self;
        let limits = options.limits(1)?;
        let rules = options.rules()?;
        Ok(unsync::LruCache::with_limits(
            limits,
            options.clock,
            hasher,
            rules,
            RemovalNotifier::new(options.on_removal, options.on_discard),
        ))
    }

    /// Builds the cache and inserts the entries: `FromIterator` for a type that needs a bound.
    ///
    /// # Errors
    ///
    /// Returns [`BuildError`] if a bound is missing, zero or too large.
    pub fn build_from(
        self,
        entries: impl IntoIterator<Item = (K, V)>,
    ) -> Result<unsync::LruCache<K, V, S>, BuildError>
    where
        K: Hash + Eq,
        S: BuildHasher,
    {
        let mut cache = self.build()?;
        cache.extend(entries);
        Ok(cache)
    }
}

impl<K, V, S, T: fmt::Debug> fmt::Debug for LruBuilder<K, V, S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LruBuilder")
            .field("max_entries", &self.options.max_entries)
            .field("max_weight", &self.options.max_weight)
            .field("ttl", &self.options.ttl)
            .field("idle_timeout", &self.options.idle_timeout)
            .field("policy", &self.options.policy)
            .field("clock", &self.options.clock)
            .field("own", &self.own)
            .finish_non_exhaustive()
    }
}
