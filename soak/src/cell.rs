//! What many threads know of one id together, without a lock: enough to tell that two recordings were too near to each
//! other, or that one lasted too long.
//!
//! A thread that uses an id visits its cell. What happens within a visit happened at some time between two readings of
//! the clock, before and after; comparing the outermost readings never accuses wrongly. Where nobody else visited
//! meanwhile, what the cell had before is all that there was.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use crate::round::Time;

const NEVER: u64 = u64::MAX;

#[derive(Default)]
pub(crate) struct Cell {
    begun: AtomicU64,
    ended: AtomicU64,
    /// When it was last recorded.
    pub(crate) recorded: Stamp,
    /// When the claim began that is neither committed nor released.
    pub(crate) claimed: Stamp,
}

/// When something last happened: not before, and not after.
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
    /// Notes that it has happened in a visit; how long ago at most the one before happened, or will have.
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

    /// Forgets it, if it is still that of this reading.
    pub(crate) fn forget(&self, before: u64) {
        // Where another one has come since, that is the one that counts.
        self.since
            .compare_exchange(before, NEVER, SeqCst, SeqCst)
            .ok();
    }

    /// How long ago it was at most, by now.
    pub(crate) fn at_most(&self, time: &Time) -> u64 {
        // First: what is noted afterwards is no longer ago than that.
        let since = self.since.load(SeqCst);
        if since == NEVER {
            NEVER
        } else {
            time.now().saturating_sub(since)
        }
    }

    /// How long before this reading it was at least.
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

/// Ends when it is dropped.
pub(crate) struct Visit<'a> {
    cell: &'a Cell,
    time: &'a Time,
    number: u64,
    was_alone: bool,
    recorded_since: u64,
    /// The time when it began.
    pub(crate) before: u64,
}

impl Visit<'_> {
    /// Whether nobody else has visited since this began, or was still there.
    pub(crate) fn is_alone(&self) -> bool {
        self.was_alone && self.cell.begun.load(SeqCst) == self.number + 1
    }

    /// How long ago, by now, the recording was at most of which the cell knew when this began.
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
