//! The builders of shared and single-threaded maps and sets.

use std::fmt;
use std::hash::BuildHasher;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use super::core::{Core, Limits};
use super::in_flight::Permits;
use super::log::columns::Column;
use super::{DedupMap, DedupSet, unsync};
use crate::clock::{Clock, nanos};
use crate::config::DedupConfig;
use crate::hash::DefaultHashBuilder;
use crate::key::{ByteKey, Key};
use crate::limits::{self, BuildError, CommonOptions};
use crate::sharded::{Sharded, share_of_count};

/// The largest number of entries in a shard. The index tells 2<sup>30</sup> numbers apart, and a
/// log takes up to 2.3 numbers per entry.
const MAX_ENTRIES_PER_SHARD: usize = 1 << 28;
/// By default, no shard has a smaller share of the bounds, so small maps have one shard.
const MIN_ENTRIES_PER_SHARD: usize = 4096;
const MIN_BYTES_PER_SHARD: usize = 1 << 20;
const DEFAULT_LEASE: Duration = Duration::from_secs(60);
const DEFAULT_MAX_IN_FLIGHT: usize = 10_000;

/// The options of all four collections.
struct Options<S> {
    ttl: Option<Duration>,
    max_entries: Option<usize>,
    max_bytes: Option<usize>,
    lease: Duration,
    max_in_flight: usize,
    common: CommonOptions<S>,
}

impl Options<DefaultHashBuilder> {
    fn new() -> Self {
        Self {
            ttl: None,
            max_entries: None,
            max_bytes: None,
            lease: DEFAULT_LEASE,
            max_in_flight: DEFAULT_MAX_IN_FLIGHT,
            common: CommonOptions::default(),
        }
    }
}

impl<S> Options<S> {
    fn hasher<T>(self, hasher: T) -> Options<T> {
        Options {
            ttl: self.ttl,
            max_entries: self.max_entries,
            max_bytes: self.max_bytes,
            lease: self.lease,
            max_in_flight: self.max_in_flight,
            common: self.common.hasher(hasher),
        }
    }

    fn config(&mut self, config: &DedupConfig, has_bytes: bool) {
        self.ttl = Some(config.ttl);
        self.max_entries = Some(config.max_entries);
        self.max_bytes = config.max_bytes.filter(|_| has_bytes);
        self.lease = config.lease;
        self.max_in_flight = config.max_in_flight;
        self.common.shards = config.shards;
        self.common.sweep_every = config.sweep_every;
    }

    fn shard_count(&self) -> Result<usize, BuildError> {
        let by_entries = self.max_entries.unwrap_or(0) / MIN_ENTRIES_PER_SHARD;
        let by_bytes = self.max_bytes.unwrap_or(usize::MAX) / MIN_BYTES_PER_SHARD;
        self.common.shard_count(
            self.max_entries.into_iter().chain(self.max_bytes),
            by_entries.min(by_bytes),
        )
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

impl Limits {
    fn share(self, shard: usize, shards: usize) -> Self {
        Self {
            max_entries: share_of_count(self.max_entries, shard, shards),
            max_bytes: self.max_bytes.map(|max| share_of_count(max, shard, shards)),
            ..self
        }
    }
}

impl<S> fmt::Debug for Options<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("ttl", &self.ttl)
            .field("max_entries", &self.max_entries)
            .field("max_bytes", &self.max_bytes)
            .field("lease", &self.lease)
            .field("max_in_flight", &self.max_in_flight)
            .field("common", &self.common)
            .finish()
    }
}

/// Implements the setters that all builders have.
macro_rules! setters {
    ($Builder:ident<$($parameter:ident),+>) => {
        impl<K: ?Sized + Key $(, $parameter)+> $Builder<K $(, $parameter)+> {
            /// Sets all options that the config has. Later calls replace them.
            ///
            /// `max_bytes` is ignored unless keys are `str` or `[u8]`. A single-threaded collection
            /// has neither shards nor a background thread.
            #[must_use]
            pub fn config(mut self, config: &DedupConfig) -> Self {
                self.options.config(config, K::Column::WEIGHS);
                self
            }

            /// Sets the time for which an id is remembered. Required.
            #[must_use]
            pub fn ttl(mut self, ttl: Duration) -> Self {
                self.options.ttl = Some(ttl);
                self
            }

            /// Sets the largest number of recorded ids, at most 2<sup>28</sup> per shard. Required.
            #[must_use]
            pub fn max_entries(mut self, max: usize) -> Self {
                self.options.max_entries = Some(max);
                self
            }

            /// Sets the largest sum of the keys' bytes, including keys in flight. Defaults to no
            /// bound.
            ///
            /// A key that alone exceeds its shard's share is not stored. Nor is a key for which the
            /// ids in flight leave no room, because no bound evicts them. By default, no shard has
            /// a share below 1 MiB unless there is only one.
            #[must_use]
            pub fn max_bytes(mut self, max: usize) -> Self
            where
                K: ByteKey,
            {
                self.options.max_bytes = Some(max);
                self
            }

            /// Sets the time after which a claim is void. Defaults to 60 s.
            #[must_use]
            pub fn lease(mut self, lease: Duration) -> Self {
                self.options.lease = lease;
                self
            }

            /// Sets the largest number of ids in flight. Defaults to 10,000.
            #[must_use]
            pub fn max_in_flight(mut self, max: usize) -> Self {
                self.options.max_in_flight = max;
                self
            }

            /// Sets the clock. Defaults to [`Clock::coarse`]. Tests pass a `&ManualClock`.
            #[must_use]
            pub fn clock(mut self, clock: impl Into<Clock>) -> Self {
                self.options.common.clock = clock.into();
                self
            }
        }

        impl<K: ?Sized + Key $(, $parameter)+> fmt::Debug for $Builder<K $(, $parameter)+> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($Builder)).field(&self.options).finish()
            }
        }
    };
}

/// Implements the setters that the builders of shared collections have.
macro_rules! shared_setters {
    ($Builder:ident<$($parameter:ident),+>) => {
        impl<K: ?Sized + Key $(, $parameter)+> $Builder<K $(, $parameter)+> {
            /// Sets the number of independently locked shards.
            ///
            /// Defaults to a number that suits the machine's cores, with at least 4,096 entries per
            /// shard. The bounds are divided exactly among the shards, so a shard may evict when
            /// the whole is not quite full. With one shard, eviction is in global order.
            #[must_use]
            pub fn shards(mut self, shards: usize) -> Self {
                self.options.common.shards = Some(shards);
                self
            }

            /// Lets a process-wide background thread free expired entries at this interval.
            /// Defaults to no background thread: later writes free expired entries, a few per call.
            #[must_use]
            pub fn sweep_every(mut self, every: Duration) -> Self {
                self.options.common.sweep_every = Some(every);
                self
            }
        }
    };
}

/// Builds a [`DedupMap`].
///
/// `ttl` and `max_entries` are required. `build` validates all options.
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
pub struct DedupBuilder<K: ?Sized + Key, V, S = DefaultHashBuilder> {
    options: Options<S>,
    stored: PhantomData<fn(&K) -> V>,
}

setters!(DedupBuilder<V, S>);
shared_setters!(DedupBuilder<V, S>);

impl<K: ?Sized + Key, V> DedupBuilder<K, V> {
    pub(super) fn new() -> Self {
        Self {
            options: Options::new(),
            stored: PhantomData,
        }
    }
}

impl<K: ?Sized + Key, V, S> DedupBuilder<K, V, S> {
    /// Sets the hasher. Defaults to [`DefaultHashBuilder`]. Clones must hash alike.
    ///
    /// If a hasher gives many keys one hash, each call takes time in proportion to the number of
    /// these keys, as with `HashMap`.
    #[must_use]
    pub fn hasher<T>(self, hasher: T) -> DedupBuilder<K, V, T> {
        DedupBuilder {
            options: self.options.hasher(hasher),
            stored: PhantomData,
        }
    }

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
        let CommonOptions { clock, hasher, .. } = self.options.common;
        let every = self.options.common.sweep_every;
        let map = DedupMap::from_parts(Sharded::new(cores), limits, clock, hasher);
        crate::sweeper::watch_globally("dedup", &map, every)?;
        Ok(map)
    }
}

/// Builds a [`DedupSet`]: see [`DedupBuilder`].
pub struct DedupSetBuilder<K: ?Sized + Key, S = DefaultHashBuilder> {
    options: Options<S>,
    stored: PhantomData<fn(&K)>,
}

setters!(DedupSetBuilder<S>);
shared_setters!(DedupSetBuilder<S>);

impl<K: ?Sized + Key> DedupSetBuilder<K> {
    pub(super) fn new() -> Self {
        Self {
            options: Options::new(),
            stored: PhantomData,
        }
    }
}

impl<K: ?Sized + Key, S> DedupSetBuilder<K, S> {
    /// Sets the hasher: see [`DedupBuilder::hasher`].
    #[must_use]
    pub fn hasher<T>(self, hasher: T) -> DedupSetBuilder<K, T> {
        DedupSetBuilder {
            options: self.options.hasher(hasher),
            stored: PhantomData,
        }
    }

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
        let map = DedupBuilder {
            options: self.options,
            stored: PhantomData,
        };
        map.build().map(DedupSet)
    }
}

/// The builders of single-threaded collections.
pub(super) mod single {
    use super::*;

    /// Builds an [`unsync::DedupMap`](crate::unsync::DedupMap): see
    /// [`DedupBuilder`](crate::DedupBuilder).
    pub struct DedupBuilder<K: ?Sized + Key, V, S = DefaultHashBuilder> {
        options: Options<S>,
        stored: PhantomData<fn(&K) -> V>,
    }

    setters!(DedupBuilder<V, S>);

    impl<K: ?Sized + Key, V> DedupBuilder<K, V> {
        pub(in crate::dedup) fn new() -> Self {
            Self {
                options: Options::new(),
                stored: PhantomData,
            }
        }
    }

    impl<K: ?Sized + Key, V, S> DedupBuilder<K, V, S> {
        /// Sets the hasher: see [`DedupBuilder::hasher`](crate::DedupBuilder::hasher).
        #[must_use]
        pub fn hasher<T>(self, hasher: T) -> DedupBuilder<K, V, T> {
            DedupBuilder {
                options: self.options.hasher(hasher),
                stored: PhantomData,
            }
        }

        /// Builds the map. It allocates as it fills.
        ///
        /// # Errors
        ///
        /// Returns [`BuildError`] if an option is missing or out of range.
        pub fn build(self) -> Result<unsync::DedupMap<K, V, S>, BuildError>
        where
            S: BuildHasher,
        {
            let limits = self.options.limits(1)?;
            let core = Core::new(limits, Permits::new(self.options.max_in_flight));
            let CommonOptions { clock, hasher, .. } = self.options.common;
            Ok(unsync::DedupMap::from_parts(core, clock, hasher))
        }
    }

    /// Builds an [`unsync::DedupSet`](crate::unsync::DedupSet): see
    /// [`DedupBuilder`](crate::DedupBuilder).
    pub struct DedupSetBuilder<K: ?Sized + Key, S = DefaultHashBuilder> {
        options: Options<S>,
        stored: PhantomData<fn(&K)>,
    }

    setters!(DedupSetBuilder<S>);

    impl<K: ?Sized + Key> DedupSetBuilder<K> {
        pub(in crate::dedup) fn new() -> Self {
            Self {
                options: Options::new(),
                stored: PhantomData,
            }
        }
    }

    impl<K: ?Sized + Key, S> DedupSetBuilder<K, S> {
        /// Sets the hasher: see [`DedupBuilder::hasher`](crate::DedupBuilder::hasher).
        #[must_use]
        pub fn hasher<T>(self, hasher: T) -> DedupSetBuilder<K, T> {
            DedupSetBuilder {
                options: self.options.hasher(hasher),
                stored: PhantomData,
            }
        }

        /// Builds the set. It allocates as it fills.
        ///
        /// # Errors
        ///
        /// Returns [`BuildError`] if an option is missing or out of range.
        pub fn build(self) -> Result<unsync::DedupSet<K, S>, BuildError>
        where
            S: BuildHasher,
        {
            let map = DedupBuilder {
                options: self.options,
                stored: PhantomData,
            };
            map.build().map(unsync::DedupSet)
        }
    }
}
