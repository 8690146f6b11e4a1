//! `Options`: the values that an [`LruBuilder`](super::LruBuilder) collects, and their validation.

use std::sync::Arc;
use std::time::Duration;

use super::attributes::{EntryRules, ExpireAfter, TtlRule, Weigh};
use super::core::Limits;
use super::policy::Policy;
use super::removal::{OnDiscard, OnRemoval};
use crate::clock::{Clock, Nanos, nanos};
use crate::limits::{self, BuildError};
use crate::sync::atomic::AtomicU64;
use crate::wait::DEFAULT_MAX_WAITING;

/// The most entries of one shard: slots have 32 bits.
pub(super) const MAX_ENTRIES_PER_SHARD: usize = 1 << 31;

/// By default no shard has a smaller share of a bound on entries. A small shard that fills before
/// the others costs a cache a few hits. In return more threads find their shard unlocked.
const MIN_SHARD_ENTRIES: usize = 512;
/// By default no shard has a smaller share of a bound on weight. If weights are bytes, large
/// entries are common, and an entry that is heavier than its shard's share cannot be stored.
const MIN_SHARD_WEIGHT: usize = 1 << 24;

/// The options that both caches have.
pub(super) struct Options<K, V> {
    pub(super) max_entries: Option<usize>,
    pub(super) max_weight: Option<u64>,
    pub(super) weigher: Option<Box<Weigh<K, V>>>,
    pub(super) expire_after: Option<Box<ExpireAfter<K, V>>>,
    pub(super) ttl_jitter: f64,
    pub(super) stale: Option<Duration>,
    pub(super) policy: Policy,
    pub(super) ttl: Option<Duration>,
    pub(super) idle_timeout: Option<Duration>,
    pub(super) on_removal: Option<Arc<OnRemoval<K, V>>>,
    pub(super) on_discard: Option<Arc<OnDiscard<K, V>>>,
    pub(super) clock: Clock,
}

impl<K, V> Options<K, V> {
    /// Validates the options that determine the attributes of entries.
    pub(super) fn rules(&mut self) -> Result<EntryRules<K, V>, BuildError> {
        if !(0.0..=1.0).contains(&self.ttl_jitter) {
            return Err(BuildError::NoFraction {
                limit: "ttl_jitter",
            });
        }
        let expire_after = self.expire_after.take();
        if self.ttl_jitter > 0.0 && self.ttl.is_none() && expire_after.is_none() {
            return Err(BuildError::Missing {
                limit: "ttl or expire_after",
            });
        }
        let has_rule = self.ttl_jitter > 0.0 || expire_after.is_some();
        Ok(EntryRules {
            weigher: self.weigher.take(),
            ttl: has_rule.then(|| {
                Box::new(TtlRule {
                    expire_after,
                    jitter: self.ttl_jitter,
                    jittered: AtomicU64::new(0),
                    ttl: self.ttl.map_or(Nanos::MAX, nanos),
                })
            }),
        })
    }

    /// Validates the limits of a cache with this number of shards.
    pub(super) fn limits(&self, shards: usize) -> Result<Limits, BuildError> {
        let most = shards.saturating_mul(MAX_ENTRIES_PER_SHARD);
        let max_weight = limits::weight(self.max_weight, self.weigher.is_some())?;
        if self.max_entries.is_none() && max_weight.is_none() {
            return Err(BuildError::Missing {
                limit: "max_entries or max_weight",
            });
        }
        let max_entries = self.max_entries.unwrap_or(most);
        let time = |name, limit: Option<Duration>| match limit {
            None => Ok(Nanos::MAX),
            limit => limits::duration(name, limit).map(nanos),
        };
        Ok(Limits {
            max_entries: limits::count("max_entries", Some(max_entries), most)?,
            max_weight: max_weight.unwrap_or(u64::MAX),
            ttl: time("ttl", self.ttl)?,
            idle_timeout: time("idle_timeout", self.idle_timeout)?,
            stale: self.stale.map_or(0, nanos),
            policy: self.policy,
        })
    }
}

/// The options that only a shared cache has.
#[derive(Debug)]
pub struct SharedOptions {
    pub(super) shards: Option<usize>,
    pub(super) sweep_every: Option<Duration>,
    pub(super) max_waiting: usize,
}

impl Default for SharedOptions {
    fn default() -> Self {
        Self {
            shards: None,
            sweep_every: None,
            max_waiting: DEFAULT_MAX_WAITING,
        }
    }
}

impl SharedOptions {
    pub(super) fn shard_count<K, V>(&self, options: &Options<K, V>) -> Result<usize, BuildError> {
        let max_weight = options
            .max_weight
            .map(|max| usize::try_from(max).unwrap_or(usize::MAX));
        let Some(shards) = self.shards else {
            let by_entries = options.max_entries.unwrap_or(usize::MAX) / MIN_SHARD_ENTRIES;
            let by_weight = max_weight.unwrap_or(usize::MAX) / MIN_SHARD_WEIGHT;
            return Ok(limits::default_shards(by_entries.min(by_weight)));
        };
        limits::shards(shards, options.max_entries.into_iter().chain(max_weight))
    }
}
