//! The common view of all statistics, and what the three structs share to build it.

use std::fmt;
use std::time::Duration;

#[cfg(feature = "serde")]
use super::milliseconds::ms;
use crate::format::HumanDuration;

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
    /// A `BoundedStateStore`.
    RateLimits,
    /// A collection from outside this crate.
    #[default]
    Other,
}

impl CollectionKind {
    /// Returns `"dedup"`, `"cache"`, `"registry"`, `"rate_limits"` or `"other"`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dedup => "dedup",
            Self::Cache => "cache",
            Self::Registry => "registry",
            Self::RateLimits => "rate_limits",
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
    /// A description for a metrics endpoint. All collections with this counter have the same one.
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
///
/// A counter that several kinds of collections have has the same description in each: a metrics
/// endpoint shows one for all collections.
macro_rules! counters {
    ($stats:expr, $($name:ident: $description:literal,)*) => {
        vec![$($crate::stats::Counter { name: stringify!($name), description: $description, value: $stats.$name },)*]
    };
}
pub(super) use counters;

/// Adds up the named fields of two statistics.
macro_rules! add_fields {
    ($sum:expr, $more:expr, $($name:ident)*) => {$( $sum.$name += $more.$name; )*};
}
pub(super) use add_fields;

pub(super) fn is_full(len: usize, max: usize) -> bool {
    len > 0 && len >= max
}

pub(super) fn names<const N: usize>(limits: [(&'static str, bool); N]) -> Vec<&'static str> {
    let reached = limits.into_iter().filter(|(_, reached)| *reached);
    reached.map(|(name, _)| name).collect()
}

pub(super) fn add_bounds(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    a.zip(b).map(|(a, b)| a + b)
}

/// Prints one line: use of the bounds, ages, then every counter that is not zero.
impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |used: f64, max: f64| 100.0 * used / max.max(1.0);
        let (entries, weight) = match self.kind {
            CollectionKind::Dedup => ("entries", "bytes"),
            CollectionKind::Registry => ("listeners", "weight"),
            CollectionKind::Cache | CollectionKind::RateLimits | CollectionKind::Other => {
                ("entries", "weight")
            }
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
