//! `Permits`: the exact bound on claims in flight in all shards.

use std::sync::Arc;

use crate::sync::atomic::{AtomicUsize, Ordering};

/// The number of claims in flight, shared by all shards so that its bound is exact.
#[derive(Debug)]
pub(crate) struct Permits {
    pub(super) max: usize,
    used: AtomicUsize,
}

impl Permits {
    pub(in crate::dedup) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self {
            max,
            used: AtomicUsize::new(0),
        })
    }

    /// Takes a permit, if one is left.
    pub(in crate::dedup) fn take(&self) -> Option<Permit<'_>> {
        let more = |used| (used < self.max).then(|| used + 1);
        // Relaxed: the count guards no other data.
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .ok()
            .map(|_| Permit { permits: self })
    }

    /// Returns a guard that gives back a permit which was kept earlier.
    pub(super) fn taken(&self) -> Permit<'_> {
        Permit { permits: self }
    }

    pub(super) fn give_back(&self, count: usize) {
        // An atomic write would move the cache line between cores on every call.
        if count > 0 {
            self.used.fetch_sub(count, Ordering::Relaxed);
        }
    }
}

/// A place in flight. Dropping it gives the place back, so that a panic does not lose it.
pub(in crate::dedup) struct Permit<'a> {
    permits: &'a Permits,
}

impl Permit<'_> {
    /// Keeps the place until [`Permits::taken`] or [`Permits::give_back`].
    pub(in crate::dedup) fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.permits.give_back(1);
    }
}
