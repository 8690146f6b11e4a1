//! `DedupBuilder`: the options of all four collections and their validation.
//!
//! One builder serves maps and sets, shared and single-threaded. Its first parameter is the
//! collection that it builds, so no option is written twice. A setter that means nothing to a
//! collection does not exist on its builder. `build` returns the type whose `builder` was called.

use std::fmt;
use std::hash::BuildHasher;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use super::config::DedupConfig;
use super::core::{Core, Limits};
use super::in_flight::Permits;
use super::log::columns::Column;
#[cfg(feature = "persist")]
use super::map::journal::Attachment;
use super::{DedupMap, DedupSet, unsync};
use crate::clock::{Clock, nanos};
#[cfg(feature = "persist")]
use crate::codec::Codec;
use crate::dedup::{ByteKey, Key};
use crate::hash::DefaultHashBuilder;
use crate::limits::{self, BuildError};
#[cfg(feature = "persist")]
use crate::persist::Journal;
use crate::sharded::{Sharded, share_of_count};
use crate::sweep::Watch;
use crate::wait::{DEFAULT_MAX_WAITING, Room};

/// The largest number of entries in a shard. The index tells 2<sup>30</sup> numbers apart, and a
/// log takes up to 2.3 numbers per entry.
const MAX_ENTRIES_PER_SHARD: usize = 1 << 28;
/// By default, no shard has a smaller share of the bounds, so small maps have one shard.
const MIN_ENTRIES_PER_SHARD: usize = 4096;
const MIN_BYTES_PER_SHARD: usize = 1 << 20;

/// A collection that [`DedupBuilder`] builds.
pub trait Collection {
    /// The type of its ids.
    type Key: ?Sized + Key;
}

/// A collection with shards.
pub trait Shared: Collection {}

impl<K: ?Sized + Key, V> Collection for DedupMap<K, V> {
    type Key = K;
}
impl<K: ?Sized + Key, V> Shared for DedupMap<K, V> {}

impl<K: ?Sized + Key> Collection for DedupSet<K> {
    type Key = K;
}
impl<K: ?Sized + Key> Shared for DedupSet<K> {}

impl<K: ?Sized + Key, V> Collection for unsync::DedupMap<K, V> {
    type Key = K;
}

impl<K: ?Sized + Key> Collection for unsync::DedupSet<K> {
    type Key = K;
}

/// The options, except for the hasher.
#[derive(Debug)]
struct Options {
    ttl: Option<Duration>,
    max_entries: Option<usize>,
    max_bytes: Option<usize>,
    lease: Duration,
    max_in_flight: usize,
    max_waiting: usize,
    clock: Clock,
    shards: Option<usize>,
    sweep_every: Option<Duration>,
    #[cfg(feature = "persist")]
    journal: Option<Attachment>,
}

impl Options {
    fn shard_count(&self) -> Result<usize, BuildError> {
        let Some(shards) = self.shards else {
            let by_entries = self.max_entries.unwrap_or(0) / MIN_ENTRIES_PER_SHARD;
            let by_bytes = self.max_bytes.unwrap_or(usize::MAX) / MIN_BYTES_PER_SHARD;
            return Ok(limits::default_shards(by_entries.min(by_bytes)));
        };
        limits::shards(shards, self.max_entries.into_iter().chain(self.max_bytes))
    }

    fn limits(&self, shards: usize) -> Result<Limits, BuildError> {
        limits::count(
            "max_in_flight",
            Some(self.max_in_flight),
            MAX_ENTRIES_PER_SHARD,
        )?;
        limits::count("max_waiting", Some(self.max_waiting), usize::MAX)?;
        if let Some(max) = self.max_bytes {
            limits::count("max_bytes", Some(max), usize::MAX)?;
        }
        Ok(Limits {
            ttl: nanos(limits::duration("ttl", self.ttl)?),
            lease: nanos(limits::duration("lease", Some(self.lease))?),
            max_entries: limits::count(
                "max_entries",
                self.max_entries,
                shards.saturating_mul(MAX_ENTRIES_PER_SHARD),
            )?,
            max_bytes: self.max_bytes,
        })
    }
}

impl Limits {
    fn share(self, shard: usize, shards: usize) -> Self {
        Self {
            max_entries: share_of_count(self.max_entries, shard, shards),
            max_bytes: self.max_bytes.map(|max| share_of_count(max, shard, shards)),
            ..self
        }
    }
}

/// Builds the collection `C`: a [`DedupMap`], a [`DedupSet`], or one of their single-threaded
/// forms.
///
/// `ttl` and `max_entries` are required. `build` validates all options. A single-threaded
/// collection has neither [`shards`](Self::shards) nor [`sweep_every`](Self::sweep_every).
///
/// ```
/// use leakproof::{BuildError, Clock, DedupMap};
/// use std::time::Duration;
///
/// let seen = DedupMap::<str, u32>::builder()
///     .ttl(Duration::from_secs(24 * 3600))
///     .max_entries(1_000_000)
///     .max_bytes(256 << 20)
///     .lease(Duration::from_secs(60))
///     .max_in_flight(10_000)
///     .clock(Clock::precise())
///     .shards(8)
///     .sweep_every(Duration::from_secs(3600))
///     .build()?;
/// assert!(seen.is_empty());
///
/// let unbounded = DedupMap::<str, u32>::builder().ttl(Duration::from_secs(60)).build();
/// assert_eq!(unbounded.unwrap_err(), BuildError::Missing { limit: "max_entries" });
/// # Ok::<(), BuildError>(())
/// ```
#[must_use = "a builder does nothing until `build` is called"]
pub struct DedupBuilder<C, S = DefaultHashBuilder> {
    options: Options,
    hasher: S,
    built: PhantomData<fn() -> C>,
}

impl<C: Collection> DedupBuilder<C> {
    pub(super) fn new() -> Self {
        Self {
            options: Options {
                ttl: None,
                max_entries: None,
                max_bytes: None,
                lease: Duration::from_secs(60),
                max_in_flight: 10_000,
                max_waiting: DEFAULT_MAX_WAITING,
                clock: Clock::default(),
                shards: None,
                sweep_every: None,
                #[cfg(feature = "persist")]
                journal: None,
            },
            hasher: DefaultHashBuilder::default(),
            built: PhantomData,
        }
    }
}

impl<C: Collection, S> DedupBuilder<C, S> {
    /// Sets all options that the config has. Later calls replace them.
    ///
    /// `max_bytes` is ignored unless keys are `str` or `[u8]`. A single-threaded collection ignores
    /// `shards`, `max_waiting` and `sweep_every`.
    pub fn config(mut self, config: &DedupConfig) -> Self {
        let weighs = <C::Key as Key>::Column::WEIGHS;
        self.options = Options {
            ttl: Some(config.ttl),
            max_entries: Some(config.max_entries),
            max_bytes: config.max_bytes.filter(|_| weighs),
            lease: config.lease,
            max_in_flight: config.max_in_flight,
            max_waiting: config.max_waiting,
            clock: self.options.clock,
            shards: config.shards,
            sweep_every: config.sweep_every,
            #[cfg(feature = "persist")]
            journal: self.options.journal,
        };
        self
    }

    /// Sets the time for which an id is remembered, above zero. Required.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.options.ttl = Some(ttl);
        self
    }

    /// Sets the largest number of recorded ids, at most 2<sup>28</sup> per shard. Required.
    pub fn max_entries(mut self, max: usize) -> Self {
        self.options.max_entries = Some(max);
        self
    }

    /// Sets the largest sum of the keys' bytes, including keys in flight. Defaults to no bound.
    ///
    /// A key that is longer than its shard's share is not stored. Neither is a key for which the
    /// ids in flight leave no room, because no bound evicts them. By default, no shard has a share
    /// below 1 MiB unless there is only one.
    pub fn max_bytes(mut self, max: usize) -> Self
    where
        C::Key: ByteKey,
    {
        self.options.max_bytes = Some(max);
        self
    }

    /// Sets the time after which a claim is void, above zero. Defaults to 60 s.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.options.lease = lease;
        self
    }

    /// Sets the largest number of ids in flight, at least 1. Defaults to 10,000.
    pub fn max_in_flight(mut self, max: usize) -> Self {
        self.options.max_in_flight = max;
        self
    }

    /// Sets the clock. Defaults to [`Clock::coarse`]. Tests pass a `&ManualClock`.
    pub fn clock(mut self, clock: impl Into<Clock>) -> Self {
        self.options.clock = clock.into();
        self
    }

    /// Sets the hasher. Defaults to [`DefaultHashBuilder`]. Clones must hash alike.
    ///
    /// If a hasher gives many keys one hash, each call takes time in proportion to the number of
    /// these keys, as with `HashMap`. No call moves more than one of them to a resized index.
    pub fn hasher<T>(self, hasher: T) -> DedupBuilder<C, T> {
        DedupBuilder {
            options: self.options,
            hasher,
            built: PhantomData,
        }
    }

    /// Returns `true` if a journal is set. A journal has the codecs of the collection for which it
    /// was set, so it must not be `cast`.
    #[cfg(all(feature = "persist", feature = "redis"))]
    pub(crate) fn has_journal(&self) -> bool {
        self.options.journal.is_some()
    }

    /// Returns the same options for another collection.
    pub(crate) fn cast<D>(self) -> DedupBuilder<D, S> {
        DedupBuilder {
            options: self.options,
            hasher: self.hasher,
            built: PhantomData,
        }
    }
}

impl<C: Shared, S> DedupBuilder<C, S> {
    /// Sets the number of independently locked shards, from 1 to 4,096.
    ///
    /// Defaults to 8 per core, rounded up to a power of two, at most 256, with at least 4,096
    /// entries per shard. The bounds are divided exactly among the shards, so a shard may evict
    /// when the whole is not quite full. With one shard, eviction is in global order.
    pub fn shards(mut self, shards: usize) -> Self {
        self.options.shards = Some(shards);
        self
    }

    /// Sets the largest number of callers that wait for claims at once, at least 1. Defaults to
    /// 10,000. Above it, `claim_wait` returns [`Claim::Full`](crate::Claim::Full).
    pub fn max_waiting(mut self, max: usize) -> Self {
        self.options.max_waiting = max;
        self
    }

    /// Lets a process-wide background thread free expired entries at this interval. Defaults to no
    /// background thread: later writes free expired entries, a few per call.
    pub fn sweep_every(mut self, every: Duration) -> Self {
        self.options.sweep_every = Some(every);
        self
    }
}

#[cfg(feature = "persist")]
#[cfg_attr(docsrs, doc(cfg(feature = "persist")))]
impl<K, V, S> DedupBuilder<DedupMap<K, V>, S>
where
    K: ?Sized + Key + Codec + 'static,
    V: Codec<Owned = V> + 'static,
{
    /// Keeps the ids in a journal on disk, which survives a crash. Defaults to none.
    ///
    /// `build` replays the journal: ids that have not expired are restored with their ages, and
    /// [`replayed`](DedupMap::replayed) returns a report.
    pub fn journal(mut self, journal: Journal) -> Self {
        self.options.journal = Some(Attachment::new::<K, V>(journal));
        self
    }
}

#[cfg(feature = "persist")]
#[cfg_attr(docsrs, doc(cfg(feature = "persist")))]
impl<K: ?Sized + Key + Codec + 'static, S> DedupBuilder<DedupSet<K>, S> {
    /// Keeps the ids in a journal on disk, which survives a crash. Defaults to none.
    ///
    /// `build` replays the journal: ids that have not expired are restored with their ages, and
    /// [`replayed`](DedupSet::replayed) returns a report.
    pub fn journal(mut self, journal: Journal) -> Self {
        self.options.journal = Some(Attachment::new::<K, ()>(journal));
        self
    }
}

impl<K: ?Sized + Key, V, S> DedupBuilder<DedupMap<K, V>, S> {
    /// Builds the map. It allocates as it fills.
    ///
    /// # Errors
    ///
    /// Returns [`BuildError`] if an option is missing or out of range.
    pub fn build(self) -> Result<DedupMap<K, V, S>, BuildError>
    where
        K: Send + 'static,
        V: Send + 'static,
        S: BuildHasher + Send + Sync + 'static,
    {
        let shards = self.options.shard_count()?;
        let limits = self.options.limits(shards)?;
        let permits = Permits::new(self.options.max_in_flight);
        let cores =
            (0..shards).map(|shard| Core::new(limits.share(shard, shards), Arc::clone(&permits)));
        let room = Room::new(self.options.max_waiting);
        let clock = self.options.clock;
        let map = DedupMap::from_parts(Sharded::new(cores), limits, clock, self.hasher, room);
        #[cfg(feature = "persist")]
        let map = match self.options.journal {
            Some(journal) => map.attach(journal)?,
            None => map,
        };
        map.keep_leases(map.downgrade_to_sweep());
        crate::sweeper::watch_globally("dedup", &map, "sweep_every", self.options.sweep_every)?;
        Ok(map)
    }
}

impl<K: ?Sized + Key, S> DedupBuilder<DedupSet<K>, S> {
    /// Builds the set. It allocates as it fills.
    ///
    /// # Errors
    ///
    /// Returns [`BuildError`] if an option is missing or out of range.
    pub fn build(self) -> Result<DedupSet<K, S>, BuildError>
    where
        K: Send + 'static,
        S: BuildHasher + Send + Sync + 'static,
    {
        self.cast::<DedupMap<K, ()>>().build().map(DedupSet)
    }
}

impl<K: ?Sized + Key, V, S> DedupBuilder<unsync::DedupMap<K, V>, S> {
    /// Builds the map. It allocates as it fills.
    ///
    /// # Errors
    ///
    /// Returns [`BuildError`] if an option is missing or out of range.
    pub fn build(self) -> Result<unsync::DedupMap<K, V, S>, BuildError> {
        let limits = self.options.limits(1)?;
        let core = Core::new(limits, Permits::new(self.options.max_in_flight));
        Ok(unsync::DedupMap::from_parts(
            core,
            self.options.clock,
            self.hasher,
        ))
    }
}

impl<K: ?Sized + Key, S> DedupBuilder<unsync::DedupSet<K>, S> {
    /// Builds the set. It allocates as it fills.
    ///
    /// # Errors
    ///
    /// Returns [`BuildError`] if an option is missing or out of range.
    pub fn build(self) -> Result<unsync::DedupSet<K, S>, BuildError> {
        self.cast::<unsync::DedupMap<K, ()>>()
            .build()
            .map(unsync::DedupSet)
    }
}

impl<C, S> fmt::Debug for DedupBuilder<C, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DedupBuilder").field(&self.options).finish()
    }
}
