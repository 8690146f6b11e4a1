//! `DedupBuilder`: the knobs of both dedup maps, and their validation.

use std::fmt;
use std::hash::BuildHasher;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use super::claim::Permits;
use super::{DedupMap, unsync};
use crate::clock::{Clock, nanos};
use crate::config::DedupConfig;
use crate::dedup::log::store::{Places, SendStore};
use crate::hash::DefaultHashBuilder;
use crate::key::{ByteKey, Key};
use crate::limits::CommonOptions;
use crate::limits::{self, BuildError, Shared, Unsync};
use crate::sharded::{Sharded, share_of_count};

/// The entries that one shard can hold at most: the index tells 2<sup>30</sup> numbers apart, of which some are holes.
const MAX_ENTRIES_PER_SHARD: usize = 1 << 28;
/// By default no shard has less of the bounds than this: small maps have one.
const ENTRIES_PER_SHARD: usize = 4096;
const BYTES_PER_SHARD: usize = 1 << 20;
const DEFAULT_LEASE: Duration = Duration::from_secs(60);
const DEFAULT_MAX_IN_FLIGHT: usize = 10_000;

/// Builds a [`DedupMap`], or with `M =` [`Unsync`] an [`unsync::DedupMap`](crate::unsync::DedupMap).
///
/// `ttl` and `max_entries` must be given. All values are judged by `build`, none by its method.
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
pub struct DedupBuilder<K: ?Sized + Key, V, S = DefaultHashBuilder, M = Shared> {
    ttl: Option<Duration>,
    max_entries: Option<usize>,
    max_bytes: Option<usize>,
    lease: Duration,
    max_in_flight: usize,
    knobs: CommonOptions<S>,
    stored: PhantomData<fn(&K) -> V>,
    made: PhantomData<M>,
}

impl<K: ?Sized + Key, V, M> DedupBuilder<K, V, DefaultHashBuilder, M> {
    pub(super) fn new() -> Self {
        Self {
            ttl: None,
            max_entries: None,
            max_bytes: None,
            lease: DEFAULT_LEASE,
            max_in_flight: DEFAULT_MAX_IN_FLIGHT,
            knobs: CommonOptions::default(),
            stored: PhantomData,
            made: PhantomData,
        }
    }
}

impl<K: ?Sized + Key, V, S, M> DedupBuilder<K, V, S, M> {
    /// All limits of a config. Those given before are replaced, those given afterwards replace the config's.
    ///
    /// Its `max_bytes` bounds keys that are `str` or `[u8]`; others have no bytes in this sense, and are built as without
    /// it. Single-threaded maps have neither shards nor a background thread.
    #[must_use]
    pub fn config(mut self, config: &DedupConfig) -> Self {
        self.ttl = Some(config.ttl);
        self.max_entries = Some(config.max_entries);
        self.max_bytes = config.max_bytes.filter(|_| K::Store::WEIGHS);
        self.lease = config.lease;
        self.max_in_flight = config.max_in_flight;
        self.knobs.shards = config.shards;
        self.knobs.sweep_every = config.sweep_every;
        self
    }

    /// How long an id is remembered. Must be given.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// How many ids are remembered at most, ids in flight aside. Must be given. At most 2<sup>28</sup> a shard.
    #[must_use]
    pub fn max_entries(mut self, max: usize) -> Self {
        self.max_entries = Some(max);
        self
    }

    /// How long a claim may take until it is void and its id free for another claimant: 60 s unless given.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// How many ids may be in flight at once: 10,000 unless given.
    #[must_use]
    pub fn max_in_flight(mut self, max: usize) -> Self {
        self.max_in_flight = max;
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
    pub fn hasher<T>(self, hasher: T) -> DedupBuilder<K, V, T, M> {
        DedupBuilder {
            ttl: self.ttl,
            max_entries: self.max_entries,
            max_bytes: self.max_bytes,
            lease: self.lease,
            max_in_flight: self.max_in_flight,
            knobs: self.knobs.hasher(hasher),
            stored: PhantomData,
            made: PhantomData,
        }
    }

    fn limits(&self, shards: usize) -> Result<Limits, BuildError> {
        limits::count(
            "max_in_flight",
            Some(self.max_in_flight),
            MAX_ENTRIES_PER_SHARD,
        )?;
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

/// The limits of one map, judged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) ttl: u64,
    pub(super) lease: u64,
    pub(super) max_entries: usize,
    pub(super) max_bytes: Option<usize>,
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

impl<K: ?Sized + ByteKey, V, S, M> DedupBuilder<K, V, S, M> {
    /// How many bytes of keys are held at most, those in flight included; no bound unless given.
    ///
    /// A key that alone exceeds its shard's share of this is answered as new and not stored. So is one for which the ids in
    /// flight leave no room, as nothing of theirs can be evicted; `claim` then answers `Full`. By default no shard has
    /// a share below 1 MiB unless there is only one.
    #[must_use]
    pub fn max_bytes(mut self, max: usize) -> Self {
        self.max_bytes = Some(max);
        self
    }
}

impl<K: ?Sized + Key, V, S> DedupBuilder<K, V, S, Shared> {
    /// Into how many independently locked parts the map is cut.
    ///
    /// Unless given, this suits the machine's cores, and no shard has less than 4,096 entries. The bounds are split
    /// exactly among the shards, so that a shard may have to evict when the whole is not quite full: with one shard
    /// eviction is in global order.
    #[must_use]
    pub fn shards(mut self, shards: usize) -> Self {
        self.knobs.shards = Some(shards);
        self
    }

    /// Has a process-wide background thread free what expired, at this interval. Without it, expired entries are freed
    /// by later writes, a few by each; nothing else changes.
    #[must_use]
    pub fn sweep_every(mut self, every: Duration) -> Self {
        self.knobs.sweep_every = Some(every);
        self
    }

    fn shard_count(&self) -> Result<usize, BuildError> {
        let by_entries = self.max_entries.unwrap_or(0) / ENTRIES_PER_SHARD;
        let by_bytes = self.max_bytes.unwrap_or(usize::MAX) / BYTES_PER_SHARD;
        self.knobs.shard_count(
            self.max_entries.into_iter().chain(self.max_bytes),
            by_entries.min(by_bytes),
        )
    }
}

impl<K, V, S> DedupBuilder<K, V, S, Shared>
where
    K: ?Sized + Key<Store: SendStore> + 'static,
    V: Send + 'static,
    S: BuildHasher + Clone + Send + Sync + 'static,
{
    /// Builds the map. It allocates as it fills.
    ///
    /// # Errors
    ///
    /// [`BuildError`] where a limit is missing, zero or beyond reach.
    pub fn build(self) -> Result<DedupMap<K, V, S>, BuildError> {
        let shards = self.shard_count()?;
        let limits = self.limits(shards)?;
        let permits = Permits::new(self.max_in_flight);
        let parts = (0..shards).map(|shard| {
            let limits = limits.share(shard, shards);
            unsync::DedupMap::with(
                limits,
                Arc::clone(&permits),
                self.knobs.clock.clone(),
                self.knobs.hasher.clone(),
            )
        });
        let map = DedupMap::new_inner(
            Sharded::new(parts),
            self.knobs.clock.clone(),
            self.knobs.hasher.clone(),
        );
        crate::sweeper::watch_globally("dedup", &map, self.knobs.sweep_every)?;
        Ok(map)
    }
}

impl<K: ?Sized + Key, V, S: BuildHasher> DedupBuilder<K, V, S, Unsync> {
    /// Builds the map. It allocates as it fills.
    ///
    /// # Errors
    ///
    /// [`BuildError`] where a limit is missing, zero or beyond reach.
    pub fn build(self) -> Result<unsync::DedupMap<K, V, S>, BuildError> {
        let limits = self.limits(1)?;
        Ok(unsync::DedupMap::with(
            limits,
            Permits::new(self.max_in_flight),
            self.knobs.clock,
            self.knobs.hasher,
        ))
    }
}

impl<K: ?Sized + Key, V, S, M> fmt::Debug for DedupBuilder<K, V, S, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DedupBuilder")
            .field("ttl", &self.ttl)
            .field("max_entries", &self.max_entries)
            .field("max_bytes", &self.max_bytes)
            .field("lease", &self.lease)
            .field("max_in_flight", &self.max_in_flight)
            .field("knobs", &self.knobs)
            .finish_non_exhaustive()
    }
}
