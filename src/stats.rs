//! Statistics: one struct for each kind of collection, and [`Usage`] as the view that they have in
//! common.

use std::fmt;
use std::time::Duration;

use crate::format::HumanDuration;

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
    /// Failed operations of the journal. Failed writes are repeated.
    pub journal_errors: u64,
    /// Records that will never be in the journal, because they could not be encoded or the disk
    /// failed for too long.
    pub unsaved: u64,
}

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

/// The statistics of a [`ListenerRegistry`](crate::ListenerRegistry).
///
/// `Display` prints one line for a log. With the feature `serde` they serialize, durations as
/// integer milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct RegistryStats {
    /// The number of attached listeners that have not expired.
    pub len: usize,
    /// The bound on `len`.
    pub max_listeners: usize,
    /// The bound on the listeners of one topic.
    pub max_per_topic: usize,
    /// The largest number of listeners that were attached at once.
    pub high_water: usize,
    /// The time since the oldest attached listener was registered.
    #[cfg_attr(
        feature = "serde",
        serde(rename = "oldest_entry_age_ms", serialize_with = "optional_ms")
    )]
    pub oldest_entry_age: Option<Duration>,
    /// The time to live of listeners without one of their own.
    #[cfg_attr(
        feature = "serde",
        serde(rename = "ttl_ms", serialize_with = "optional_ms")
    )]
    pub ttl: Option<Duration>,
    /// Generations of scopes that have listeners.
    pub scopes: usize,
    /// Listeners whose circuit breaker is open.
    pub open_breakers: usize,
    /// Listeners that were registered.
    pub inserted: u64,
    /// Listeners whose ttl ended.
    pub expired: u64,
    /// Listeners that were detached because of a bound.
    pub evicted: u64,
    /// Listeners that were replaced by another one under the same key.
    pub replaced: u64,
    /// Listeners that were detached by a call or by a dropped guard.
    pub removed: u64,
    /// Registrations that were rejected.
    pub rejected: u64,
    /// Listeners whose scope ended.
    pub scope_ended: u64,
    /// Listeners whose owner was dropped.
    pub owner_dropped: u64,
    /// Listeners that reached their call limit.
    pub call_limit_reached: u64,
    /// Listeners that their circuit breaker detached.
    pub failed: u64,
    /// Events that were emitted.
    pub emitted: u64,
    /// Calls of listeners, including those that running emits have yet to make.
    pub calls: u64,
    /// Calls of listeners that returned a failure.
    pub failures: u64,
    /// Listeners that an emit did not call: paused, filtered out, detached, or with an open
    /// breaker.
    pub skipped: u64,
    /// Events that full queues dropped.
    pub dropped: u64,
    /// Panics of handlers, filters, callbacks and captured values.
    pub panics: u64,
}

/// The kind of a collection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CollectionKind {
    /// A [`DedupMap`](crate::DedupMap) or [`DedupSet`](crate::DedupSet).
    Dedup,
    /// An [`LruCache`](crate::LruCache).
    Cache,
    /// A [`ListenerRegistry`](crate::ListenerRegistry).
    Registry,
    /// A collection from outside this crate.
    #[default]
    Other,
}

impl CollectionKind {
    /// Returns `"dedup"`, `"cache"`, `"registry"` or `"other"`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dedup => "dedup",
            Self::Cache => "cache",
            Self::Registry => "registry",
            Self::Other => "other",
        }
    }
}

/// The view that the statistics of all collections have in common, for a
/// [`Sweeper`](crate::Sweeper) or a `Monitor`.
///
/// A collection of your own fills in what it has, starting from `Usage::default()`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// The kind of the collection.
    pub kind: CollectionKind,
    /// The number of live entries.
    pub len: usize,
    /// The bound on `len`.
    pub max_entries: usize,
    /// The largest number of entries that were held at once.
    pub high_water: usize,
    /// The age of the oldest live entry.
    pub oldest_entry_age: Option<Duration>,
    /// The time to live since the last write.
    pub ttl: Option<Duration>,
    /// The time to live since the last access.
    pub idle_timeout: Option<Duration>,
    /// The weight of the live entries: for a dedup map, the bytes of its keys.
    pub weight: Option<u64>,
    /// The bound on `weight`.
    pub max_weight: Option<u64>,
    /// The age of the youngest entry that a bound evicted before its ttl ended. Only for
    /// collections whose purpose is to keep each entry for its ttl.
    pub shortest_window: Option<Duration>,
    /// The number of claims in flight.
    pub in_flight: Option<usize>,
    /// The bound on `in_flight`.
    pub max_in_flight: Option<usize>,
    /// The number of open circuit breakers.
    pub open_breakers: Option<usize>,
    /// The options whose limit was reached since the collection was created, such as
    /// `"max_entries"`.
    pub limits_reached: Vec<&'static str>,
    /// Every counter of the collection.
    pub counters: Vec<Counter>,
}

/// A counter of a collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counter {
    /// The name in snake case, as in the statistics.
    pub name: &'static str,
    /// A description for a metrics endpoint.
    pub description: &'static str,
    /// The count since the collection was created.
    pub value: u64,
}

impl Usage {
    /// Returns the value of a counter, or zero if the collection does not have it.
    #[must_use]
    pub fn counter(&self, name: &str) -> u64 {
        let counter = self.counters.iter().find(|counter| counter.name == name);
        counter.map_or(0, |counter| counter.value)
    }
}

/// Builds the list of counters from field names and descriptions.
macro_rules! counters {
    ($stats:expr, $($name:ident: $description:literal,)*) => {
        vec![$(Counter { name: stringify!($name), description: $description, value: $stats.$name },)*]
    };
}

/// Adds up the named fields of two statistics.
macro_rules! add_fields {
    ($sum:expr, $more:expr, $($name:ident)*) => {$( $sum.$name += $more.$name; )*};
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
                inserted: "Ids that were recorded",
                duplicates: "Calls that found the id recorded",
                in_flight_hits: "Calls that found the id in flight",
                expired: "Ids whose ttl ended",
                evicted: "Live ids that were evicted because of a bound",
                evicted_by_bytes: "Live ids that were evicted because of max_bytes",
                removed: "Ids that were removed by a call",
                rejected: "Ids that did not fit into max_bytes",
                released: "Claims that were released without a commit",
                leases_expired: "Claims whose lease expired",
                claims_rejected: "Claims that were rejected because too many were in flight",
                restored: "Ids that were restored after a restart",
                waits: "Calls that waited for a claim",
                waits_rejected: "Calls that did not wait because too many did",
                journal_errors: "Failed operations of the journal",
                unsaved: "Records that will never be in the journal",
            ],
            ..Usage::default()
        }
    }
}

impl CacheStats {
    /// Adds the statistics of another shard.
    pub(crate) fn merge(&mut self, shard: &Self) {
        add_fields!(self, shard, len max_entries high_water weight hits misses inserted expired idle evicted
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
                inserted: "Entries that were stored",
                expired: "Entries whose ttl ended",
                idle: "Entries whose idle timeout ended",
                evicted: "Live entries that were evicted because of a bound",
                evicted_by_weight: "Live entries that were evicted because of max_weight",
                replaced: "Entries that were replaced under the same key",
                removed: "Entries that were removed by a call",
                rejected: "Entries that were too heavy to be stored",
                callback_panics: "Panics of the removal callback",
                waits: "Calls that waited for a computation of another caller",
                waits_rejected: "Calls that computed for themselves because too many waited",
            ],
            ..Usage::default()
        }
    }
}

impl RegistryStats {
    /// Returns the common view.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let refused = self.evicted + self.rejected > 0;
        // A topic is the only bound left if the registry was never full.
        let was_full = is_full(self.high_water, self.max_listeners);
        let reached = [
            ("max_listeners", was_full),
            ("max_per_topic", refused && !was_full),
        ];
        Usage {
            kind: CollectionKind::Registry,
            len: self.len,
            max_entries: self.max_listeners,
            high_water: self.high_water,
            oldest_entry_age: self.oldest_entry_age,
            ttl: self.ttl,
            open_breakers: Some(self.open_breakers),
            limits_reached: names(reached),
            counters: counters![self,
                inserted: "Listeners that were registered",
                expired: "Listeners whose ttl ended",
                evicted: "Listeners that were detached because of a bound",
                replaced: "Listeners that were replaced under the same key",
                removed: "Listeners that were detached by a call or a dropped guard",
                rejected: "Registrations that were rejected",
                scope_ended: "Listeners whose scope ended",
                owner_dropped: "Listeners whose owner was dropped",
                call_limit_reached: "Listeners that reached their call limit",
                failed: "Listeners that their circuit breaker detached",
                emitted: "Events that were emitted",
                calls: "Calls of listeners",
                failures: "Calls of listeners that returned a failure",
                skipped: "Listeners that an emit did not call",
                dropped: "Events that full queues dropped",
                panics: "Panics of handlers, filters, callbacks and captured values",
            ],
            ..Usage::default()
        }
    }
}

fn is_full(len: usize, max: usize) -> bool {
    len > 0 && len >= max
}

fn names<const N: usize>(limits: [(&'static str, bool); N]) -> Vec<&'static str> {
    let reached = limits.into_iter().filter(|(_, reached)| *reached);
    reached.map(|(name, _)| name).collect()
}

fn add_bounds(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    a.zip(b).map(|(a, b)| a + b)
}

impl fmt::Display for DedupStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.usage().fmt(f)
    }
}

impl fmt::Display for CacheStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.usage().fmt(f)
    }
}

impl fmt::Display for RegistryStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.usage().fmt(f)
    }
}

/// Prints one line: use of the bounds, ages, then every counter that is not zero.
impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |used: f64, max: f64| 100.0 * used / max.max(1.0);
        let (entries, weight) = match self.kind {
            CollectionKind::Dedup => ("entries", "bytes"),
            CollectionKind::Registry => ("listeners", "weight"),
            CollectionKind::Cache | CollectionKind::Other => ("entries", "weight"),
        };
        let used = percent(self.len as f64, self.max_entries as f64);
        write!(
            f,
            "{} of {} {entries} ({used:.1}%)",
            self.len, self.max_entries
        )?;
        if let Some(age) = self.oldest_entry_age {
            write!(f, ", oldest {}", HumanDuration(age))?;
        }
        if let Some(ttl) = self.ttl {
            write!(f, ", ttl {}", HumanDuration(ttl))?;
        }
        if let Some(timeout) = self.idle_timeout {
            write!(f, ", idle timeout {}", HumanDuration(timeout))?;
        }
        if let Some((used, max)) = self.weight.zip(self.max_weight) {
            let percent = percent(used as f64, max as f64);
            write!(f, ", {used} of {max} {weight} ({percent:.1}%)")?;
        }
        if let Some((used, max)) = self
            .in_flight
            .filter(|&used| used > 0)
            .zip(self.max_in_flight)
        {
            write!(f, ", {used} of {max} in flight")?;
        }
        if let Some(open) = self.open_breakers.filter(|&open| open > 0) {
            write!(f, ", {open} open breakers")?;
        }
        if let Some(window) = self.shortest_window {
            write!(f, ", shortest window {}", HumanDuration(window))?;
        }
        for counter in self.counters.iter().filter(|counter| counter.value > 0) {
            write!(f, ", {} {}", counter.value, counter.name.replace('_', " "))?;
        }
        Ok(())
    }
}

/// Converts to milliseconds, saturating.
#[cfg(feature = "serde")]
pub(crate) fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(feature = "serde")]
fn as_ms<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(ms(*time))
}

#[cfg(feature = "serde")]
#[allow(clippy::ref_option, reason = "the signature that serde calls")]
pub(crate) fn optional_ms<S: serde::Serializer>(
    time: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serde::Serialize::serialize(&time.map(ms), serializer)
}

/// Serializes the gauges that the collection has, then the counters.
#[cfg(feature = "serde")]
impl serde::Serialize for Usage {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("kind", self.kind.as_str())?;
        map.serialize_entry("len", &self.len)?;
        map.serialize_entry("max_entries", &self.max_entries)?;
        map.serialize_entry("high_water", &self.high_water)?;
        map.serialize_entry("oldest_entry_age_ms", &self.oldest_entry_age.map(ms))?;
        map.serialize_entry("ttl_ms", &self.ttl.map(ms))?;
        if let Some(timeout) = self.idle_timeout {
            map.serialize_entry("idle_timeout_ms", &ms(timeout))?;
        }
        if let Some(weight) = self.weight {
            map.serialize_entry("weight", &weight)?;
            map.serialize_entry("max_weight", &self.max_weight)?;
        }
        if self.kind == CollectionKind::Dedup {
            map.serialize_entry("shortest_window_ms", &self.shortest_window.map(ms))?;
        }
        if let Some(in_flight) = self.in_flight {
            map.serialize_entry("in_flight", &in_flight)?;
            map.serialize_entry("max_in_flight", &self.max_in_flight)?;
        }
        if let Some(open) = self.open_breakers {
            map.serialize_entry("open_breakers", &open)?;
        }
        for counter in &self.counters {
            map.serialize_entry(counter.name, &counter.value)?;
        }
        map.end()
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
