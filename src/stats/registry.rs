//! The statistics of a registry.

use std::fmt;
use std::time::Duration;

#[cfg(feature = "serde")]
use super::milliseconds::optional_ms;
use super::usage::{CollectionKind, Usage, counters, is_full, names};

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
                inserted: "Entries that were added",
                expired: "Entries that expired",
                evicted: "Live entries that were evicted because of a bound",
                replaced: "Entries that were replaced under the same key",
                removed: "Entries that were removed by a call or a dropped guard",
                rejected: "Entries that were refused because of a bound",
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

impl fmt::Display for RegistryStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.usage().fmt(f)
    }
}
