//! `BoundedStateStoreBuilder`: the options of a bounded state store and their validation.

use std::fmt;
use std::marker::PhantomData;

use governor::Quota;

use super::store::BoundedStateStore;
use crate::hash::DefaultHashBuilder;
use crate::limits::{self, BuildError};

/// The most keys of one shard: slots have 32 bits.
const MAX_ENTRIES_PER_SHARD: usize = 1 << 31;

/// By default no shard has a smaller share of the bound. The first full shard rejects new keys, so
/// the shards are to fill at nearly the same time.
const MIN_SHARD_ENTRIES: usize = 4096;

/// The answer of a full store to a new key, if none of its keys is replenished.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhenFull {
    /// Denies the check until the first key is replenished. Every key keeps its history, so a flood
    /// of new keys resets no limit. This is the default.
    #[default]
    Reject,
    /// Evicts the least recently used key, which then counts as never seen. No new key is denied,
    /// but a flood of new keys resets the limits of all others.
    EvictLru,
}

/// Builds a [`BoundedStateStore`].
///
/// `max_entries` and `quota` are mandatory. Every other option has a default. `build` validates all
/// values.
#[must_use = "a builder does nothing until `build` is called"]
pub struct BoundedStateStoreBuilder<K, S = DefaultHashBuilder> {
    max_entries: Option<usize>,
    quota: Option<Quota>,
    when_full: WhenFull,
    shards: Option<usize>,
    hasher: S,
    // So that `BoundedStateStore::<K>::builder()` determines the key.
    key: PhantomData<fn() -> K>,
}

impl<K> BoundedStateStoreBuilder<K> {
    pub(super) fn new() -> Self {
        Self {
            max_entries: None,
            quota: None,
            when_full: WhenFull::default(),
            shards: None,
            hasher: DefaultHashBuilder::default(),
            key: PhantomData,
        }
    }
}

impl<K, S> BoundedStateStoreBuilder<K, S> {
    /// Sets the bound on the number of keys. At most 2<sup>31</sup> per shard.
    ///
    /// A store of several shards is full when the first of them is. This is at about 97% of the
    /// bound with 4,096 keys per shard. If that matters, set a tenth more, or use one shard.
    pub fn max_entries(mut self, max: usize) -> Self {
        self.max_entries = Some(max);
        self
    }

    /// Sets the quota of each key. [`limiter`](BoundedStateStore::limiter) creates a limiter with
    /// the same one.
    pub fn quota(mut self, quota: Quota) -> Self {
        self.quota = Some(quota);
        self
    }

    /// Sets the answer to a new key if the store is full and none of its keys is replenished.
    /// Defaults to [`WhenFull::Reject`].
    pub fn when_full(mut self, when_full: WhenFull) -> Self {
        self.when_full = when_full;
        self
    }

    /// Sets the number of independently locked shards, from 1 to 4,096.
    ///
    /// Defaults to 8 per core, rounded up to a power of two, at most 256, with at least 4,096 keys
    /// per shard. The bound is split exactly among the shards. Each shard looks for replenished and
    /// least recently used keys among its own.
    pub fn shards(mut self, shards: usize) -> Self {
        self.shards = Some(shards);
        self
    }

    /// Sets the hasher. Defaults to a randomly seeded one. Clones must hash alike.
    pub fn hasher<R>(self, hasher: R) -> BoundedStateStoreBuilder<K, R> {
        BoundedStateStoreBuilder {
            max_entries: self.max_entries,
            quota: self.quota,
            when_full: self.when_full,
            shards: self.shards,
            hasher,
            key: PhantomData,
        }
    }

    /// Builds the store. It allocates as it fills.
    ///
    /// # Errors
    ///
    /// Returns [`BuildError`] if `max_entries` or `quota` is missing, or if a limit is zero or too
    /// large.
    pub fn build(self) -> Result<BoundedStateStore<K, S>, BuildError> {
        let default_shards =
            || limits::default_shards(self.max_entries.unwrap_or(0) / MIN_SHARD_ENTRIES);
        let shards = self.shards.unwrap_or_else(default_shards);
        let shards = limits::shards(shards, self.max_entries)?;
        let most = shards.saturating_mul(MAX_ENTRIES_PER_SHARD);
        let max_entries = limits::count("max_entries", self.max_entries, most)?;
        let quota = self.quota.ok_or(BuildError::Missing { limit: "quota" })?;
        let Self {
            when_full, hasher, ..
        } = self;
        Ok(BoundedStateStore::with_shards(
            max_entries,
            shards,
            quota,
            when_full,
            hasher,
        ))
    }
}

impl<K, S> fmt::Debug for BoundedStateStoreBuilder<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoundedStateStoreBuilder")
            .field("max_entries", &self.max_entries)
            .field("quota", &self.quota)
            .field("when_full", &self.when_full)
            .field("shards", &self.shards)
            .finish_non_exhaustive()
    }
}
