//! `LruBuilder`: the knobs of both caches, and their validation.

use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::marker::PhantomData;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::inner::Inner;
use super::left::{Listener, OnRemoval};
use super::{LruCache, unsync};
use crate::clock::{Clock, Nanos, nanos};
use crate::config::LruConfig;
use crate::hash::DefaultHashBuilder;
use crate::limits::CommonOptions;
use crate::limits::{self, BuildError, Shared, Unsync};
use crate::removal::RemovalCause;
use crate::sharded::{share, share_of_count};

/// The entries that one shard can hold at most: places have 32 bits.
pub(super) const MAX_ENTRIES_PER_SHARD: usize = 1 << 31;

/// By default no shard has less of a bound on entries. A cache, unlike a map of ids, loses nothing but a few hits where a
/// small shard fills before the others, and its callers are in the shard for longer, since a hit changes it too.
const ENTRIES_PER_SHARD: usize = 512;
/// By default no shard has less of a bound on weight: where that is bytes, large entries are common, and one that is
/// larger than its shard could not be stored.
const WEIGHT_PER_SHARD: usize = 1 << 24;

/// Says what entries weigh, if they do.
pub(super) type Weigher<K, V> = Option<Arc<dyn Fn(&K, &V) -> u32 + Send + Sync>>;

/// What an entry weighs: never nothing, or a bound on weight would not bound the number of entries.
#[inline(always)]
pub(super) fn weigh<K, V>(weigher: &Weigher<K, V>, key: &K, value: &V) -> NonZeroU32 {
    weigher
        .as_ref()
        .and_then(|weigh| NonZeroU32::new(weigh(key, value)))
        .unwrap_or(NonZeroU32::MIN)
}

/// Builds an [`LruCache`], or with `M =` [`Unsync`] an [`unsync::LruCache`](crate::unsync::LruCache).
///
/// `max_entries`, or `max_weight` with a `weigher`, must be given; the other limits are as you like. All values are
/// judged by `build`, none by its method.
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
pub struct LruBuilder<K, V, S = DefaultHashBuilder, M = Shared> {
    max_entries: Option<usize>,
    max_weight: Option<u64>,
    weigher: Weigher<K, V>,
    ttl: Option<Duration>,
    idle_timeout: Option<Duration>,
    on_removal: Option<Arc<OnRemoval<K, V>>>,
    knobs: CommonOptions<S>,
    made: PhantomData<M>,
}

impl<K, V, M> LruBuilder<K, V, DefaultHashBuilder, M> {
    pub(super) fn new() -> Self {
        Self {
            max_entries: None,
            max_weight: None,
            weigher: None,
            ttl: None,
            idle_timeout: None,
            on_removal: None,
            knobs: CommonOptions::default(),
            made: PhantomData,
        }
    }
}

impl<K, V, S, M> LruBuilder<K, V, S, M> {
    /// All limits of a config. Those given before are replaced, those given afterwards replace the config's.
    ///
    /// Single-threaded caches have neither shards nor a background thread.
    #[must_use]
    pub fn config(mut self, config: &LruConfig) -> Self {
        self.max_entries = Some(config.max_entries);
        self.max_weight = config.max_weight;
        self.ttl = config.max_age;
        self.idle_timeout = config.max_idle;
        self.knobs.shards = config.shards;
        self.knobs.sweep_every = config.sweep_every;
        self
    }

    /// How many entries are held at most. At most 2<sup>31</sup> a shard.
    ///
    /// With several shards, as large caches have, eviction begins when the first of them is full: at some 90% of this with
    /// 500 entries a shard, at 99% with 60,000. Ask for a tenth more where that matters, or for one shard.
    #[must_use]
    pub fn max_entries(mut self, max: usize) -> Self {
        self.max_entries = Some(max);
        self
    }

    /// What all entries may weigh at most, in units of the [`weigher`](Self::weigher).
    ///
    /// The heaviest entry that can be stored is a shard's share of this, `max_weight / shards`: see
    /// [`shards`](LruBuilder::shards). By default no shard has a share below 2<sup>24</sup> unless there is only one.
    #[must_use]
    pub fn max_weight(mut self, max: u64) -> Self {
        self.max_weight = Some(max);
        self
    }

    /// What an entry weighs: bytes, say. Asked once when the entry is written, and while no lock is held. A weight of 0
    /// counts as 1, so that a bound on weight bounds the number of entries too.
    #[must_use]
    pub fn weigher(mut self, weigh: impl Fn(&K, &V) -> u32 + Send + Sync + 'static) -> Self {
        self.weigher = Some(Arc::new(weigh));
        self
    }

    /// How old an entry can get, counted from when it was last written; no limit unless given.
    #[must_use]
    pub fn ttl(mut self, max: Duration) -> Self {
        self.ttl = Some(max);
        self
    }

    /// How long an entry may go without being written or read; no limit unless given.
    #[must_use]
    pub fn idle_timeout(mut self, max: Duration) -> Self {
        self.idle_timeout = Some(max);
        self
    }

    /// Has `call` told of every entry that leaves and why, once each, and of every one that was too heavy for `insert` or
    /// `get_or_insert_with` to store; `insert_checked` gives that back to its caller instead.
    ///
    /// It is called by whoever caused the departure, a sweeper for example, while no lock is held; so it may use the cache.
    /// Where that makes others leave, it is called for those within: let that come to an end. A panic in it is
    /// contained and counted.
    ///
    /// Entries that are dropped with the cache itself are not told of: where each has to be, call `clear` before the cache
    /// is dropped. And an entry whose time is over is told of when somebody comes across it: on a quiet cache that is a
    /// sweep, so that a session is closed up to `idle_timeout` and [`sweep_every`](LruBuilder::sweep_every) after its last use.
    ///
    /// ```
    /// use leakproof::LruCache;
    /// use std::sync::atomic::{AtomicU32, Ordering};
    ///
    /// static CLOSED: AtomicU32 = AtomicU32::new(0);
    /// let cache = || {
    ///     let closing = LruCache::builder().max_entries(10).on_removal(|_, _, _| {
    ///         CLOSED.fetch_add(1, Ordering::Relaxed);
    ///     });
    ///     let cache: LruCache<u32, &str> = closing.build().unwrap();
    ///     cache.insert(7, "ada");
    ///     cache
    /// };
    ///
    /// drop(cache());
    /// assert_eq!(CLOSED.load(Ordering::Relaxed), 0, "dropped with the cache");
    /// let sessions = cache();
    /// sessions.clear();
    /// assert_eq!(CLOSED.load(Ordering::Relaxed), 1);
    /// ```
    #[must_use]
    pub fn on_removal(
        mut self,
        call: impl Fn(&K, &V, RemovalCause) + Send + Sync + 'static,
    ) -> Self {
        self.on_removal = Some(Arc::new(call));
        self
    }

    /// Where the time comes from: [`Clock::coarse`] unless given. For tests, a `&ManualClock`.
    #[must_use]
    pub fn clock(mut self, clock: impl Into<Clock>) -> Self {
        self.knobs.clock = clock.into();
        self
    }

    /// What hashes the keys: randomly seeded `ahash` unless given. Clones must hash alike.
    #[must_use]
    pub fn hasher<T>(self, hasher: T) -> LruBuilder<K, V, T, M> {
        LruBuilder {
            max_entries: self.max_entries,
            max_weight: self.max_weight,
            weigher: self.weigher,
            ttl: self.ttl,
            idle_timeout: self.idle_timeout,
            on_removal: self.on_removal,
            knobs: self.knobs.hasher(hasher),
            made: PhantomData,
        }
    }

    fn limits(&self, shards: usize) -> Result<Limits, BuildError> {
        let most = shards.saturating_mul(MAX_ENTRIES_PER_SHARD);
        let max_weight = limits::weight(self.max_weight, self.weigher.is_some())?;
        if self.max_entries.is_none() && max_weight.is_none() {
            return Err(BuildError::Missing {
                limit: "max_entries or max_weight",
            });
        }
        let time = |name, limit: Option<Duration>| match limit {
            None => Ok(Nanos::MAX),
            limit => limits::duration(name, limit).map(nanos),
        };
        Ok(Limits {
            max_entries: limits::count(
                "max_entries",
                Some(self.max_entries.unwrap_or(most)),
                most,
            )?,
            max_weight: max_weight.unwrap_or(u64::MAX),
            ttl: time("ttl", self.ttl)?,
            idle_timeout: time("idle_timeout", self.idle_timeout)?,
        })
    }
}

/// The limits of one cache, judged. What is not limited has the highest value there is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) max_entries: usize,
    pub(super) max_weight: u64,
    pub(super) ttl: Nanos,
    pub(super) idle_timeout: Nanos,
}

impl Limits {
    fn share(self, shard: usize, shards: usize) -> Self {
        Self {
            max_entries: share_of_count(self.max_entries, shard, shards),
            max_weight: share_of_weight(self.max_weight, shard, shards),
            ..self
        }
    }
}

/// A shard's share of a bound on weight. No bound at all is no bound for each.
pub(super) fn share_of_weight(max_weight: u64, shard: usize, shards: usize) -> u64 {
    if max_weight == u64::MAX {
        u64::MAX
    } else {
        share(max_weight, shard, shards)
    }
}

impl<K, V, S> LruBuilder<K, V, S, Shared> {
    /// Into how many independently locked parts the cache is cut.
    ///
    /// Unless given, this suits the machine's cores, and no shard has less than 512 entries. The bounds are split
    /// exactly among the shards, each of which keeps its own order of use: with one shard the order is global.
    #[must_use]
    pub fn shards(mut self, shards: usize) -> Self {
        self.knobs.shards = Some(shards);
        self
    }

    /// Has a process-wide background thread free the entries whose time is over, at this interval. Without it, they
    /// are freed by later calls, a few by each; nothing else changes.
    #[must_use]
    pub fn sweep_every(mut self, every: Duration) -> Self {
        self.knobs.sweep_every = Some(every);
        self
    }

    fn shard_count(&self) -> Result<usize, BuildError> {
        let max_weight = self
            .max_weight
            .map(|max| usize::try_from(max).unwrap_or(usize::MAX));
        let by_entries = self.max_entries.unwrap_or(usize::MAX) / ENTRIES_PER_SHARD;
        let by_weight = max_weight.unwrap_or(usize::MAX) / WEIGHT_PER_SHARD;
        self.knobs.shard_count(
            self.max_entries.into_iter().chain(max_weight),
            by_entries.min(by_weight),
        )
    }
}

impl<K, V, S> LruBuilder<K, V, S, Shared>
where
    K: Hash + Eq + Send + 'static,
    V: Send + 'static,
    S: BuildHasher + Clone + Send + Sync + 'static,
{
    /// Builds the cache. It allocates as it fills.
    ///
    /// # Errors
    ///
    /// [`BuildError`] where a bound is missing, zero or beyond reach.
    pub fn build(self) -> Result<LruCache<K, V, S>, BuildError> {
        let shards = self.shard_count()?;
        let limits = self.limits(shards)?;
        let listener = Listener::new(self.on_removal);
        let cores = (0..shards).map(|shard| {
            let (weigher, listener) = (self.weigher.clone(), Arc::clone(&listener));
            let (clock, hasher) = (self.knobs.clock.clone(), self.knobs.hasher.clone());
            unsync::LruCache::with(
                limits.share(shard, shards),
                clock,
                hasher,
                weigher,
                listener,
            )
        });
        let (clock, hasher) = (self.knobs.clock.clone(), self.knobs.hasher.clone());
        let inner = Inner::new(
            cores.collect(),
            clock,
            hasher,
            self.weigher.clone(),
            Arc::clone(&listener),
        );
        let cache = LruCache {
            inner: Arc::new(inner),
        };
        crate::sweeper::watch_globally("lru", &cache, self.knobs.sweep_every)?;
        Ok(cache)
    }
}

impl<K, V, S> LruBuilder<K, V, S, Unsync> {
    /// Builds the cache. It allocates as it fills.
    ///
    /// # Errors
    ///
    /// [`BuildError`] where a bound is missing, zero or beyond reach.
    pub fn build(self) -> Result<unsync::LruCache<K, V, S>, BuildError> {
        let limits = self.limits(1)?;
        let CommonOptions { clock, hasher, .. } = self.knobs;
        Ok(unsync::LruCache::with(
            limits,
            clock,
            hasher,
            self.weigher,
            Listener::new(self.on_removal),
        ))
    }
}

impl<K, V, S, M> fmt::Debug for LruBuilder<K, V, S, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LruBuilder")
            .field("max_entries", &self.max_entries)
            .field("max_weight", &self.max_weight)
            .field("ttl", &self.ttl)
            .field("idle_timeout", &self.idle_timeout)
            .field("knobs", &self.knobs)
            .finish_non_exhaustive()
    }
}
