//! `Limits`: the limits of a core.

use std::time::Duration;

use crate::clock::Nanos;
use crate::lru::policy::Policy;

/// The limits of one core. The highest value of a type means no limit.
#[derive(Clone, Copy, Debug)]
pub(in crate::lru) struct Limits {
    pub(in crate::lru) max_entries: usize,
    pub(in crate::lru) max_weight: u64,
    pub(in crate::lru) ttl: Nanos,
    pub(in crate::lru) idle_timeout: Nanos,
    /// The time for which an entry stays after its ttl ended, unless a bound is reached. 0: none.
    pub(in crate::lru) stale: Nanos,
    pub(in crate::lru) policy: Policy,
}

impl Limits {
    /// Returns the most entries that there can be: every entry weighs at least 1.
    pub(in crate::lru) fn reachable_entries(&self) -> usize {
        self.max_entries
            .min(usize::try_from(self.max_weight).unwrap_or(usize::MAX))
    }

    pub(in crate::lru) fn max_weight(&self) -> Option<u64> {
        (self.max_weight != u64::MAX).then_some(self.max_weight)
    }

    pub(in crate::lru) fn ttl(&self) -> Option<Duration> {
        (self.ttl != Nanos::MAX).then(|| Duration::from_nanos(self.ttl))
    }

    pub(in crate::lru) fn idle_timeout(&self) -> Option<Duration> {
        (self.idle_timeout != Nanos::MAX).then(|| Duration::from_nanos(self.idle_timeout))
    }
}
