//! `SharedStats`: the statistics of a shared deduplicator.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::stats::{Counter, DedupStats, Usage};

/// The statistics of a [`SharedDedup`](crate::redis::SharedDedup) of this instance.
///
/// The counters tell what to alert on: `degraded` and `refused` count answers without the server,
/// `recovery_dropped` ids that other instances will not know, `conflicts` ids that were handled
/// twice, and `late_commits` handlers that outlived their lease.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct SharedStats {
    /// The local tier. Its `inserted` includes ids that the server reported as recorded. Its
    /// `released` counts the tickets that were released or dropped without a commit.
    pub local: DedupStats,
    /// Answers that the server decided.
    pub shared: u64,
    /// Answers without a round trip: the id was known to be recorded, or is in flight here.
    pub local_hits: u64,
    /// Answers that the local tier decided, because the server was unavailable.
    pub degraded: u64,
    /// Calls that failed, because the server was unavailable.
    pub refused: u64,
    /// Commits that were rejected, because the lease had expired.
    pub late_commits: u64,
    /// Attempts to reach the server, including repeated ones.
    pub round_trips: u64,
    /// Attempts that repeated a command without a reply.
    pub repeated: u64,
    /// Attempts without a reply in time.
    pub timeouts: u64,
    /// Connections that replaced a former one.
    pub reconnects: u64,
    /// Times that the circuit breaker opened.
    pub breaker_opened: u64,
    /// `true` if the circuit breaker is open at present.
    pub breaker_open: bool,
    /// Ids that wait to be pushed to the server.
    pub recovery_len: usize,
    /// Ids that were pushed to the server after it was unavailable.
    pub recovered: u64,
    /// Ids that were dropped, because too many waited.
    pub recovery_dropped: u64,
    /// Ids that were committed locally, and claimed or recorded by another instance as well.
    pub conflicts: u64,
    /// The server's `maxmemory-policy` when the connection was made. With another one than
    /// `noeviction`, the server may forget ids before their ttl.
    pub eviction_policy: Option<String>,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) shared: AtomicU64,
    pub(super) local_hits: AtomicU64,
    pub(super) degraded: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) late_commits: AtomicU64,
    pub(super) released: AtomicU64,
}

pub(super) fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl SharedStats {
    /// Returns the view that collections have in common: the local tier, and the counters of both.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let mut usage = self.local.usage();
        let counters = [
            ("shared", "Answers that the server decided", self.shared),
            (
                "local_hits",
                "Answers without a round trip",
                self.local_hits,
            ),
            ("degraded", "Answers without the server", self.degraded),
            (
                "refused",
                "Calls that failed without the server",
                self.refused,
            ),
            (
                "late_commits",
                "Commits after the end of the lease",
                self.late_commits,
            ),
            (
                "round_trips",
                "Attempts to reach the server",
                self.round_trips,
            ),
            (
                "timeouts",
                "Attempts without a reply in time",
                self.timeouts,
            ),
            (
                "reconnects",
                "Connections that replaced a former one",
                self.reconnects,
            ),
            (
                "breaker_opened",
                "Times that the breaker opened",
                self.breaker_opened,
            ),
            (
                "recovered",
                "Ids that were pushed after a failure",
                self.recovered,
            ),
            (
                "recovery_dropped",
                "Ids that were not pushed",
                self.recovery_dropped,
            ),
            (
                "conflicts",
                "Ids that two instances have handled",
                self.conflicts,
            ),
        ];
        let counters = counters.map(|(name, description, value)| Counter {
            name,
            description,
            value,
        });
        usage.counters.extend(counters);
        usage.open_breakers = Some(usize::from(self.breaker_open));
        usage
    }
}

impl fmt::Display for SharedStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.usage().fmt(f)
    }
}
