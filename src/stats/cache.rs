//! The statistics of a cache.

use std::fmt;
use std::time::Duration;

#[cfg(feature = "serde")]
use super::milliseconds::optional_ms;
use super::usage::{CollectionKind, Usage, add_bounds, add_fields, counters, is_full, names};

/// The statistics of an [`LruCache`](crate::LruCache).
///
/// Reading them locks each shard once and takes one step for each expired entry that is still held.
/// `Display` prints one line for a log. With the feature `serde` they serialize, durations as
/// integer milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct CacheStats {
    /// The number of live entries.
    pub len: usize,
    /// The bound on `len`. Without one of its own it equals `max_weight`, because each entry weighs
    /// at least 1.
    pub max_entries: usize,
    /// The largest number of entries that were held at once, summed over the shards.
    pub high_water: usize,
    /// The time since the oldest live entry was written.
    #[cfg_attr(
        feature = "serde",
        serde(rename = "oldest_entry_age_ms", serialize_with = "optional_ms")
    )]
    pub oldest_entry_age: Option<Duration>,
    /// The time to live since the last write.
    #[cfg_attr(
        feature = "serde",
        serde(rename = "ttl_ms", serialize_with = "optional_ms")
    )]
    pub ttl: Option<Duration>,
    /// The time to live since the last access.
    #[cfg_attr(
        feature = "serde",
        serde(rename = "idle_timeout_ms", serialize_with = "optional_ms")
    )]
    pub idle_timeout: Option<Duration>,
    /// The total weight of the live entries.
    pub weight: u64,
    /// The bound on `weight`.
    pub max_weight: Option<u64>,
    /// Calls that found a live entry.
    pub hits: u64,
    /// Calls that did not find a live entry.
    pub misses: u64,
    /// Stale values that `get_or_refresh_async` and `get_or_refresh_with` returned; part of
    /// `misses`.
    pub stale_hits: u64,
    /// Entries that were stored.
    pub inserted: u64,
    /// Entries whose ttl ended.
    pub expired: u64,
    /// Entries whose idle timeout ended.
    pub idle: u64,
    /// Live entries that were evicted because of a bound.
    pub evicted: u64,
    /// Evicted entries that had to go because of `max_weight`; part of `evicted`.
    pub evicted_by_weight: u64,
    /// Entries that were replaced by a new value under the same key.
    pub replaced: u64,
    /// Entries that were removed by a call such as `remove` or `clear`.
    pub removed: u64,
    /// Entries that were not stored because they weigh more than a shard allows.
    pub rejected: u64,
    /// Panics of the removal callback.
    pub callback_panics: u64,
    /// The number of callers that wait for a computation of another caller.
    pub waiting: usize,
    /// The bound on `waiting`. Zero for a single-threaded cache, which has no waiting callers.
    pub max_waiting: usize,
    /// Calls that waited for a computation of another caller.
    pub waits: u64,
    /// Calls that computed for themselves because `max_waiting` callers waited.
    pub waits_rejected: u64,
}

impl CacheStats {
    /// Adds the statistics of another shard.
    pub(crate) fn merge(&mut self, shard: &Self) {
        add_fields!(self, shard, len max_entries high_water weight hits misses stale_hits inserted expired idle evicted
            evicted_by_weight replaced removed rejected callback_panics);
        self.oldest_entry_age = self.oldest_entry_age.max(shard.oldest_entry_age);
        self.max_weight = add_bounds(self.max_weight, shard.max_weight);
    }

    /// Returns the common view.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let reached = [
            (
                "max_entries",
                is_full(self.len, self.max_entries) || self.evicted > self.evicted_by_weight,
            ),
            ("max_weight", self.evicted_by_weight + self.rejected > 0),
            ("max_waiting", self.waits_rejected > 0),
        ];
        Usage {
            kind: CollectionKind::Cache,
            len: self.len,
            max_entries: self.max_entries,
            high_water: self.high_water,
            oldest_entry_age: self.oldest_entry_age,
            ttl: self.ttl,
            idle_timeout: self.idle_timeout,
            weight: Some(self.weight),
            max_weight: self.max_weight,
            limits_reached: names(reached),
            counters: counters![self,
                hits: "Calls that found a live entry",
                misses: "Calls that did not find a live entry",
                stale_hits: "Calls that got a stale value",
                inserted: "Entries that were added",
                expired: "Entries that expired",
                idle: "Entries whose idle timeout ended",
                evicted: "Live entries that were evicted because of a bound",
                evicted_by_weight: "Live entries that were evicted because of max_weight",
                replaced: "Entries that were replaced under the same key",
                removed: "Entries that were removed by a call or a dropped guard",
                rejected: "Entries that were refused because of a bound",
                callback_panics: "Panics of the removal callback",
                waits: "Calls that waited for another caller",
                waits_rejected: "Calls that did not wait because too many callers did",
            ],
            ..Usage::default()
        }
    }
}

impl fmt::Display for CacheStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.usage().fmt(f)
    }
}
