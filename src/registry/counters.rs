//! The counters of a registry, and the containment of user panics that they count.

use crate::panic_counter::PanicCounter;
use crate::removal::RemovalCause;
use crate::stats::RegistryStats;
use crate::sync::atomic::{AtomicU64, Ordering};

/// Counters that change without the registry's lock. The table owns the others.
///
/// All accesses are Relaxed: the counters order nothing.
#[derive(Default)]
pub(super) struct Counters {
    failures: AtomicU64,
    skipped: AtomicU64,
    /// Listeners that an emit to a scope's generation passed over because they belong to another
    /// one.
    passed_over: AtomicU64,
    dropped: AtomicU64,
    panics: PanicCounter,
}

impl Counters {
    /// Adds the calls of an emit that were counted when it began and were not made, and those that
    /// failed.
    pub(super) fn count_emit(&self, failed: usize, skipped: usize, passed_over: usize) {
        // Skips the write to a shared cache line in the common case.
        for (counter, count) in [
            (&self.failures, failed),
            (&self.skipped, skipped),
            (&self.passed_over, passed_over),
        ] {
            if count > 0 {
                counter.fetch_add(count as u64, Ordering::Relaxed);
            }
        }
    }

    #[cfg(feature = "queue")]
    pub(super) fn count_dropped(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn report(&self, stats: &mut RegistryStats) {
        stats.failures = self.failures.load(Ordering::Relaxed);
        stats.skipped = self.skipped.load(Ordering::Relaxed);
        let not_called = stats.skipped + self.passed_over.load(Ordering::Relaxed);
        // An emit in progress may have counted its skipped calls twice over for an instant.
        stats.calls = stats.calls.saturating_sub(not_called);
        stats.dropped = self.dropped.load(Ordering::Relaxed);
        stats.panics = self.panics.get();
    }
}

/// Runs user code. Returns `None` if it panicked, and counts the panic.
#[inline]
pub(super) fn contain<R>(counters: &Counters, work: impl FnOnce() -> R) -> Option<R> {
    counters
        .panics
        .catch("listeners", "callback or handler", work)
}

/// Counters that change under the registry's lock.
#[derive(Default)]
pub(super) struct TableCounters {
    pub(super) inserted: u64,
    pub(super) rejected: u64,
    pub(super) emitted: u64,
    /// The listeners on the lists that emits have pinned. Counting them costs the emit nothing,
    /// because it holds the lock. `Counters::skipped` is subtracted in the end.
    pub(super) begun_calls: u64,
    pub(super) high_water: usize,
    removed_by: [u64; 8],
}

impl TableCounters {
    pub(super) fn count_removal(&mut self, cause: RemovalCause) {
        self.removed_by[Self::index(cause)] += 1;
    }

    fn index(cause: RemovalCause) -> usize {
        match cause {
            RemovalCause::Expired => 0,
            RemovalCause::Evicted => 1,
            RemovalCause::Replaced => 2,
            RemovalCause::ScopeEnded => 3,
            RemovalCause::OwnerDropped => 4,
            RemovalCause::CallLimitReached => 5,
            RemovalCause::Failed => 6,
            // The other causes do not occur in a registry.
            _ => 7,
        }
    }

    pub(super) fn report(&self, stats: &mut RegistryStats) {
        let removed_by = |cause| self.removed_by[Self::index(cause)];
        stats.inserted = self.inserted;
        stats.rejected = self.rejected;
        stats.emitted = self.emitted;
        stats.calls = self.begun_calls;
        stats.high_water = self.high_water;
        stats.expired = removed_by(RemovalCause::Expired);
        stats.evicted = removed_by(RemovalCause::Evicted);
        stats.replaced = removed_by(RemovalCause::Replaced);
        stats.scope_ended = removed_by(RemovalCause::ScopeEnded);
        stats.owner_dropped = removed_by(RemovalCause::OwnerDropped);
        stats.call_limit_reached = removed_by(RemovalCause::CallLimitReached);
        stats.failed = removed_by(RemovalCause::Failed);
        stats.removed = removed_by(RemovalCause::Removed);
    }
}
