//! What a map holds, one after another and in figures, and whether all of it agrees.
//!
//! Ids past their time may still be held; nothing here shows them.

use std::fmt;
use std::hash::BuildHasher;
use std::time::Duration;

use super::DedupMap;
use crate::clock::Nanos;
use crate::dedup::log::Seq;
use crate::key::Key;
use crate::stats::DedupStats;

impl<K: ?Sized + Key, V, S> DedupMap<K, V, S> {
    /// The number of live ids; none of the work of expiring them is done here.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len_at(self.now())
    }

    pub(in crate::dedup) fn len_at(&self, now: Nanos) -> usize {
        self.recorded.live_at(self.latest.max(now)).0
    }

    /// Whether no id is live.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the map holds, and what left it and why.
    #[must_use]
    pub fn stats(&self) -> DedupStats {
        self.stats_at(self.now())
    }

    pub(in crate::dedup) fn stats_at(&self, now: Nanos) -> DedupStats {
        let now = self.latest.max(now);
        let (len, bytes, oldest) = self.recorded.live_at(now);
        let (in_flight, in_flight_bytes, _) = self.in_flight.live_at(now);
        DedupStats {
            len,
            max_entries: self.limits.max_entries,
            high_water: self.counts.high_water,
            oldest_entry_age: oldest.map(Duration::from_nanos),
            ttl: Duration::from_nanos(self.limits.ttl),
            bytes: bytes + in_flight_bytes,
            max_bytes: self.limits.max_bytes.map(|max| max as u64),
            shortest_window: (self.counts.evicted > 0)
                .then(|| Duration::from_nanos(self.counts.shortest_window)),
            in_flight,
            max_in_flight: self.permits.max(),
            inserted: self.counts.inserted,
            duplicates: self.counts.duplicates,
            in_flight_hits: self.counts.in_flight_hits,
            expired: self.counts.expired + (self.recorded.len() - len) as u64,
            evicted: self.counts.evicted,
            removed: self.counts.removed,
            rejected: self.counts.rejected,
            released: self.counts.released,
            leases_expired: self.counts.lapsed + (self.in_flight.len() - in_flight) as u64,
            claims_rejected: self.counts.shed,
            evicted_by_bytes: self.counts.evicted_by_bytes,
        }
    }

    /// The live ids with their values and ages, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V, Duration)> + '_ {
        let now = self.now();
        let mut cursor = self.cursor_at(now);
        std::iter::from_fn(move || self.next_at(now, &mut cursor))
    }

    /// Where a walk begins.
    pub(in crate::dedup) fn cursor_at(&self, now: Nanos) -> Cursor {
        Cursor {
            next: None,
            begun: self.latest.max(now),
            end: self.recorded.end(),
        }
    }

    /// The next live entry of a walk.
    pub(in crate::dedup) fn next_at(
        &self,
        now: Nanos,
        cursor: &mut Cursor,
    ) -> Option<(&K, &V, Duration)> {
        let now = self.latest.max(now);
        loop {
            let seq = self.recorded.next(cursor.next)?;
            if cursor.is_over(seq, self.recorded.time(seq)) {
                return None;
            }
            cursor.next = Some(seq.wrapping_add(1));
            if self.recorded.is_live(now, seq) {
                let age = Duration::from_nanos(self.recorded.age(now, seq));
                return Some((self.recorded.key(seq), self.recorded.value(seq), age));
            }
        }
    }
}

/// How far a walk through the entries has come, and what it began with.
///
/// Of what is recorded meanwhile there may be more than the walk can catch up with, so it ends there. Times tell that, as
/// entries that are packed have their numbers changed; numbers do while the clock stands still.
#[derive(Clone)]
pub(in crate::dedup) struct Cursor {
    next: Option<Seq>,
    begun: Nanos,
    end: Seq,
}

impl Cursor {
    /// Whether an entry was recorded after the walk began.
    fn is_over(&self, seq: Seq, time: Nanos) -> bool {
        time > self.begun || (time == self.begun && seq.wrapping_sub(self.end).cast_signed() >= 0)
    }
}

impl<K: ?Sized + Key, V, S: BuildHasher> DedupMap<K, V, S> {
    /// Checks every invariant of the structure, in time proportional to its size; for tests and fuzzing.
    ///
    /// # Panics
    ///
    /// Where one does not hold.
    #[doc(hidden)]
    pub fn validate(&self) {
        self.recorded.validate(&self.hasher);
        self.in_flight.validate(&self.hasher);
        assert!(
            self.recorded.len() <= self.limits.max_entries,
            "the bound on entries"
        );
        let bytes = self.recorded.bytes() + self.in_flight.bytes();
        assert!(
            self.limits.max_bytes.is_none_or(|max| bytes <= max as u64),
            "the bound on bytes"
        );
    }
}

impl<K: ?Sized + Key, V, S> fmt::Debug for DedupMap<K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DedupMap")
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
