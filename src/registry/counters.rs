//! What happened in a registry, counted; panics, which are contained, too.

use crate::panic::catch_user_panic;
use crate::removal::RemovalCause;
use crate::stats::RegistryStats;
use crate::sync::atomic::{AtomicU64, Ordering};

/// Counters that are written where no lock is held. Those written under the lock are the table's.
#[derive(Default)]
pub(super) struct Counters {
    failures: AtomicU64,
    skipped: AtomicU64,
    dropped: AtomicU64,
    panics: AtomicU64,
}

impl Counters {
    #[inline]
    pub(super) fn add(&self, failures: usize, skipped: usize) {
        // Relaxed: they guard nothing. Most of the time both are zero.
        if failures > 0 {
            self.failures.fetch_add(failures as u64, Ordering::Relaxed);
        }
        if skipped > 0 {
            self.skipped.fetch_add(skipped as u64, Ordering::Relaxed);
        }
    }

    #[cfg(feature = "queue")]
    pub(super) fn count_dropped(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn report(&self, stats: &mut RegistryStats) {
        stats.failures = self.failures.load(Ordering::Relaxed);
        stats.skipped = self.skipped.load(Ordering::Relaxed);
        stats.calls = stats.calls.saturating_sub(stats.skipped);
        stats.dropped = self.dropped.load(Ordering::Relaxed);
        stats.panics = self.panics.load(Ordering::Relaxed);
    }
}

/// Runs a user's code; a panic in it is counted.
#[inline]
pub(super) fn contained<R>(counters: &Counters, work: impl FnOnce() -> R) -> Option<R> {
    let result = catch_user_panic(work);
    if result.is_none() {
        counters.panics.fetch_add(1, Ordering::Relaxed);
    }
    result
}

/// What came and went, by cause.
#[derive(Default)]
pub(super) struct Departures {
    pub(super) inserted: u64,
    pub(super) rejected: u64,
    pub(super) emitted: u64,
    /// Calls that emits were to make: those that were made, and those that were skipped. Counting them when an emit begins,
    /// under the lock, costs it nothing.
    pub(super) begun: u64,
    pub(super) high_water: usize,
    by_cause: [u64; 8],
}

impl Departures {
    pub(super) fn count(&mut self, cause: RemovalCause) {
        self.by_cause[Self::place(cause)] += 1;
    }

    fn place(cause: RemovalCause) -> usize {
        match cause {
            RemovalCause::Expired => 0,
            RemovalCause::Evicted => 1,
            RemovalCause::Replaced => 2,
            RemovalCause::ScopeEnded => 3,
            RemovalCause::OwnerDropped => 4,
            RemovalCause::CallLimitReached => 5,
            RemovalCause::Failed => 6,
            // A listener is neither idle nor rejected once it is in.
            RemovalCause::Removed | RemovalCause::Idle | RemovalCause::Rejected => 7,
        }
    }

    pub(super) fn report(&self, stats: &mut RegistryStats) {
        stats.inserted = self.inserted;
        stats.rejected = self.rejected;
        stats.emitted = self.emitted;
        stats.calls = self.begun;
        stats.high_water = self.high_water;
        let of = |cause| self.by_cause[Self::place(cause)];
        stats.expired = of(RemovalCause::Expired);
        stats.evicted = of(RemovalCause::Evicted);
        stats.replaced = of(RemovalCause::Replaced);
        stats.scope_ended = of(RemovalCause::ScopeEnded);
        stats.owner_dropped = of(RemovalCause::OwnerDropped);
        stats.call_limit_reached = of(RemovalCause::CallLimitReached);
        stats.failed = of(RemovalCause::Failed);
        stats.removed = of(RemovalCause::Removed);
    }
}
