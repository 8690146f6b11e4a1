//! `Room`: the bound on callers that wait, and its counters.

use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// The default bound on waiting callers.
pub(crate) const DEFAULT_MAX_WAITING: usize = 10_000;

/// Counts the waiting callers of a collection. Only callers that wait write to it.
#[derive(Debug)]
pub(crate) struct Room {
    max: usize,
    waiting: AtomicUsize,
    waits: AtomicU64,
    rejected: AtomicU64,
}

/// The figures of a [`Room`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct RoomStats {
    pub(crate) waiting: usize,
    pub(crate) max_waiting: usize,
    pub(crate) waits: u64,
    pub(crate) rejected: u64,
}

impl Room {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            max,
            waiting: AtomicUsize::new(0),
            waits: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
        }
    }

    /// Takes a place, or counts a rejected caller if there is none.
    pub(crate) fn enter(&self) -> Option<Place<'_>> {
        let more = |waiting| (waiting < self.max).then(|| waiting + 1);
        // Relaxed, here and below: the counts guard no other data.
        let entered = self
            .waiting
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        let count = if entered.is_ok() {
            &self.waits
        } else {
            &self.rejected
        };
        count.fetch_add(1, Ordering::Relaxed);
        entered.is_ok().then(|| Place { room: self })
    }

    pub(crate) fn stats(&self) -> RoomStats {
        RoomStats {
            waiting: self.waiting.load(Ordering::Relaxed),
            max_waiting: self.max,
            waits: self.waits.load(Ordering::Relaxed),
            rejected: self.rejected.load(Ordering::Relaxed),
        }
    }
}

/// The place of a waiting caller. Dropping it gives the place back.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    room: &'a Room,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.room.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}
