//! The statistics of a bounded state store.

use std::fmt;

use super::usage::{CollectionKind, Usage, add_fields, counters, names};

/// The statistics of a [`BoundedStateStore`](crate::governor::BoundedStateStore).
///
/// Reading them locks each shard once. `Display` prints one line for a log. With the feature
/// `serde` they serialize.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct RateLimitStats {
    /// The number of keys, including replenished ones that no other key has replaced yet.
    pub len: usize,
    /// The bound on `len`.
    pub max_entries: usize,
    /// The largest number of keys that were held at once, summed over the shards.
    pub high_water: usize,
    /// Checks that were allowed.
    pub allowed: u64,
    /// Checks that exceeded the quota of their key.
    pub limited: u64,
    /// Keys that were stored.
    pub inserted: u64,
    /// Keys that were replenished again and were removed.
    pub expired: u64,
    /// Keys that were evicted before they were replenished. The limiter forgot their history.
    pub evicted: u64,
    /// Checks of new keys that were denied because the store was full.
    pub rejected: u64,
}

impl RateLimitStats {
    /// Adds the statistics of another shard.
    pub(crate) fn merge(&mut self, shard: &Self) {
        add_fields!(self, shard, len max_entries high_water allowed limited inserted expired evicted rejected);
    }

    /// Returns the common view.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let reached = [("max_entries", self.evicted + self.rejected > 0)];
        Usage {
            kind: CollectionKind::RateLimits,
            len: self.len,
            max_entries: self.max_entries,
            high_water: self.high_water,
            limits_reached: names(reached),
            counters: counters![self,
                allowed: "Checks that were allowed",
                limited: "Checks that exceeded the quota of their key",
                inserted: "Entries that were added",
                expired: "Entries that expired",
                evicted: "Live entries that were evicted because of a bound",
                rejected: "Entries that were refused because of a bound",
            ],
            ..Usage::default()
        }
    }
}

impl fmt::Display for RateLimitStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.usage().fmt(f)
    }
}
