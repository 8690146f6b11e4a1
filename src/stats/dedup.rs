//! The statistics of deduplication.

use std::fmt;
use std::time::Duration;

#[cfg(feature = "serde")]
use super::milliseconds::{as_ms, optional_ms};
use super::usage::{CollectionKind, Usage, add_bounds, add_fields, counters, is_full, names};

/// The statistics of a [`DedupMap`](crate::DedupMap) or [`DedupSet`](crate::DedupSet).
///
/// Reading them locks each shard once. Shards are read one after another, so the counters may
/// differ slightly if other threads write at the same time.
///
/// `Display` prints one line for a log. With the feature `serde` they serialize, durations as
/// integer milliseconds (`ttl_ms`, `oldest_entry_age_ms`).
///
/// ```
/// # use leakproof::DedupSet;
/// # use std::time::Duration;
/// let seen = DedupSet::<str>::new(1_000, Duration::from_secs(86_400));
/// seen.insert("a");
/// seen.insert("a");
/// let stats = seen.stats();
/// assert_eq!((stats.len, stats.inserted, stats.duplicates), (1, 1, 1));
/// assert!(stats.to_string().starts_with("1 of 1000 entries (0.1%), oldest 0"));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct DedupStats {
    /// The number of live ids.
    pub len: usize,
    /// The bound on `len`.
    pub max_entries: usize,
    /// The largest number of ids that were held at once, summed over the shards.
    pub high_water: usize,
    /// The time since the oldest live id was recorded.
    #[cfg_attr(
        feature = "serde",
        serde(rename = "oldest_entry_age_ms", serialize_with = "optional_ms")
    )]
    pub oldest_entry_age: Option<Duration>,
    /// The time for which an id is remembered.
    #[cfg_attr(feature = "serde", serde(rename = "ttl_ms", serialize_with = "as_ms"))]
    pub ttl: Duration,
    /// The bytes of the keys, including those in flight, if keys are `str` or `[u8]`.
    pub bytes: u64,
    /// The bound on `bytes`.
    pub max_bytes: Option<u64>,
    /// The age of the youngest id that a bound evicted. Duplicates were recognised for at least
    /// this long. `None` if nothing was evicted.
    #[cfg_attr(
        feature = "serde",
        serde(rename = "shortest_window_ms", serialize_with = "optional_ms")
    )]
    pub shortest_window: Option<Duration>,
    /// The number of claims that are neither committed, released nor expired.
    pub in_flight: usize,
    /// The bound on `in_flight`.
    pub max_in_flight: usize,
    /// Ids that were recorded.
    pub inserted: u64,
    /// Calls that found the id recorded.
    pub duplicates: u64,
    /// Calls that found the id in flight.
    pub in_flight_hits: u64,
    /// Ids whose ttl ended.
    pub expired: u64,
    /// Live ids that were evicted because of a bound.
    pub evicted: u64,
    /// Evicted ids that had to go because of `max_bytes`; part of `evicted`.
    pub evicted_by_bytes: u64,
    /// Ids that were removed by `remove` or `clear`.
    pub removed: u64,
    /// Ids that were not stored because they did not fit into `max_bytes`.
    pub rejected: u64,
    /// Claims that were released without a commit.
    pub released: u64,
    /// Claims whose lease expired.
    pub leases_expired: u64,
    /// Claims that were answered with `Full`.
    pub claims_rejected: u64,
    /// Ids that were restored after a restart.
    pub restored: u64,
    /// The number of callers that wait for claims.
    pub waiting: usize,
    /// The bound on `waiting`. Zero for a single-threaded map, which has no waiting callers.
    pub max_waiting: usize,
    /// Calls that waited for a claim.
    pub waits: u64,
    /// Calls that did not wait because `max_waiting` callers did.
    pub waits_rejected: u64,
    /// The size of the journal's files. `None` if there is no journal.
    pub journal_bytes: Option<u64>,
    /// The longest time that a write of the journal took, with its synchronisation. If a process is
    /// killed, the ids of one interval and of such a time may be lost. `None` if there is no
    /// journal.
    #[cfg_attr(
        feature = "serde",
        serde(rename = "journal_longest_write_ms", serialize_with = "optional_ms")
    )]
    pub journal_longest_write: Option<Duration>,
    /// Failed operations of the journal. Failed writes are repeated.
    pub journal_errors: u64,
    /// Records that will never be in the journal, because they could not be encoded or the disk
    /// failed for too long.
    pub unsaved: u64,
}

impl DedupStats {
    /// Adds the statistics of another shard.
    pub(crate) fn merge(&mut self, shard: &Self) {
        add_fields!(self, shard, len max_entries high_water bytes in_flight inserted duplicates in_flight_hits expired
            evicted evicted_by_bytes removed rejected released leases_expired claims_rejected restored);
        self.oldest_entry_age = self.oldest_entry_age.max(shard.oldest_entry_age);
        self.max_bytes = add_bounds(self.max_bytes, shard.max_bytes);
        let windows = [self.shortest_window, shard.shortest_window];
        self.shortest_window = windows.into_iter().flatten().min();
    }

    /// Returns the common view.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let reached = [
            (
                "max_entries",
                is_full(self.len, self.max_entries) || self.evicted > self.evicted_by_bytes,
            ),
            ("max_bytes", self.evicted_by_bytes + self.rejected > 0),
            ("max_in_flight", self.claims_rejected > 0),
            ("max_waiting", self.waits_rejected > 0),
        ];
        Usage {
            kind: CollectionKind::Dedup,
            len: self.len,
            max_entries: self.max_entries,
            high_water: self.high_water,
            oldest_entry_age: self.oldest_entry_age,
            ttl: Some(self.ttl),
            weight: Some(self.bytes),
            max_weight: self.max_bytes,
            shortest_window: self.shortest_window,
            in_flight: Some(self.in_flight),
            max_in_flight: Some(self.max_in_flight),
            limits_reached: names(reached),
            counters: counters![self,
                inserted: "Entries that were added",
                duplicates: "Calls that found the id recorded",
                in_flight_hits: "Calls that found the id in flight",
                expired: "Entries that expired",
                evicted: "Live entries that were evicted because of a bound",
                evicted_by_bytes: "Live ids that were evicted because of max_bytes",
                removed: "Entries that were removed by a call or a dropped guard",
                rejected: "Entries that were refused because of a bound",
                released: "Claims that were released without a commit",
                leases_expired: "Claims whose lease expired",
                claims_rejected: "Claims that were rejected because too many were in flight",
                restored: "Ids that were restored after a restart",
                waits: "Calls that waited for another caller",
                waits_rejected: "Calls that did not wait because too many callers did",
                journal_errors: "Failed operations of the journal",
                unsaved: "Records that will never be in the journal",
            ],
            ..Usage::default()
        }
    }
}

impl fmt::Display for DedupStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.usage().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_prints_bounds_ages_and_nonzero_counters() {
        let stats = DedupStats {
            len: 250,
            max_entries: 1000,
            oldest_entry_age: Some(Duration::from_secs(3 * 3600 + 120)),
            ttl: Duration::from_secs(86_400),
            inserted: 300,
            evicted: 50,
            shortest_window: Some(Duration::from_secs(61)),
            ..DedupStats::default()
        };
        assert_eq!(
            stats.to_string(),
            "250 of 1000 entries (25.0%), oldest 3 h 2 min, ttl 24 h 0 min, shortest window 1 min 1 s, \
             300 inserted, 50 evicted"
        );
    }
}
