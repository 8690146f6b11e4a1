//! The shared knowledge of all threads about one id, without a lock. It is enough to notice that
//! two recordings were too close together, or that one lasted too long.
//!
//! A thread that uses an id visits its cell. An event within a visit happens between two readings
//! of the clock, one before and one after. A comparison of the outermost readings never reports a
//! promise as broken that holds. If no other thread visits at the same time, the cell is complete.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use crate::round::Time;

const NEVER: u64 = u64::MAX;

#[derive(Default)]
pub(crate) struct Cell {
    begun: AtomicU64,
    ended: AtomicU64,
    /// The time of the last recording.
    pub(crate) recorded: Stamp,
    /// The start of the claim that is in flight.
    pub(crate) claimed: Stamp,
}

/// The earliest and the latest time of the last event.
pub(crate) struct Stamp {
    since: AtomicU64,
    until: AtomicU64,
}

impl Default for Stamp {
    fn default() -> Self {
        Self {
            since: AtomicU64::new(NEVER),
            until: AtomicU64::new(0),
        }
    }
}

impl Stamp {
    /// Records an event of a visit. Returns the longest time since the previous one.
    pub(crate) fn set(&self, visit: &Visit<'_>) -> u64 {
        let other = self.since.swap(visit.before, SeqCst);
        let now = visit.time.now();
        self.until.fetch_max(now, SeqCst);
        if other == NEVER {
            NEVER
        } else {
            now - other.min(visit.before)
        }
    }

    /// Removes the event if it is still that of this reading.
    pub(crate) fn forget(&self, before: u64) {
        // A later event stays.
        self.since
            .compare_exchange(before, NEVER, SeqCst, SeqCst)
            .ok();
    }

    /// Returns the longest time since the event.
    pub(crate) fn at_most(&self, time: &Time) -> u64 {
        // First, because an event that is recorded afterwards is more recent.
        let since = self.since.load(SeqCst);
        if since == NEVER {
            NEVER
        } else {
            time.now().saturating_sub(since)
        }
    }

    /// Returns the shortest time between the event and a reading.
    pub(crate) fn at_least(&self, before: u64) -> u64 {
        before.saturating_sub(self.until.load(SeqCst))
    }

    pub(crate) fn is_set(&self) -> bool {
        self.since.load(SeqCst) != NEVER
    }
}

impl Cell {
    pub(crate) fn visit<'a>(&'a self, time: &'a Time) -> Visit<'a> {
        let number = self.begun.fetch_add(1, SeqCst);
        let was_alone = self.ended.load(SeqCst) == number;
        let recorded_since = self.recorded.since.load(SeqCst);
        Visit {
            cell: self,
            time,
            number,
            was_alone,
            recorded_since,
            before: time.now(),
        }
    }
}

/// A visit, which ends when dropped.
pub(crate) struct Visit<'a> {
    cell: &'a Cell,
    time: &'a Time,
    number: u64,
    was_alone: bool,
    recorded_since: u64,
    /// The time of its start.
    pub(crate) before: u64,
}

impl Visit<'_> {
    /// Returns `true` if no other thread visited at the same time.
    pub(crate) fn is_alone(&self) -> bool {
        self.was_alone && self.cell.begun.load(SeqCst) == self.number + 1
    }

    /// Returns the longest time since the last recording before this visit.
    pub(crate) fn recorded_at_most(&self) -> u64 {
        if self.recorded_since == NEVER {
            NEVER
        } else {
            self.time.now() - self.recorded_since
        }
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        self.cell.ended.fetch_add(1, SeqCst);
    }
}

/// A claim that is in flight until this is dropped, also by a task that is cancelled.
pub(crate) struct Claimed<'a> {
    cell: &'a Cell,
    before: u64,
}

impl<'a> Claimed<'a> {
    pub(crate) fn new(cell: &'a Cell, before: u64) -> Self {
        Self { cell, before }
    }
}

impl Drop for Claimed<'_> {
    fn drop(&mut self) {
        self.cell.claimed.forget(self.before);
    }
}
