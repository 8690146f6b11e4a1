//! `Cursor`: iterates over the live entries, oldest first, while the map changes.

use std::time::Duration;

use super::super::log::Seq;
use super::Core;
use crate::clock::Nanos;
use crate::dedup::Key;
use crate::steps;

/// The progress of an iteration, and the state at which it began.
///
/// An iteration ends at the first entry that was recorded after it began. Otherwise it might never
/// catch up. An entry's time tells this, because compaction changes numbers, and its number does
/// while the time does not change.
#[derive(Clone)]
pub(crate) struct Cursor {
    next: Option<Seq>,
    begun: Nanos,
    end: Seq,
}

impl Cursor {
    /// Returns `true` if an entry was recorded after the iteration began.
    fn is_new(&self, seq: Seq, time: Nanos) -> bool {
        // Numbers wrap. Live ones never span half of them.
        let is_after = (seq.wrapping_sub(self.end) as i32) >= 0;
        time > self.begun || (time == self.begun && is_after)
    }
}

impl<K: ?Sized + Key, V> Core<K, V> {
    /// Returns the position from which to iterate.
    pub(crate) fn cursor(&self, now: Nanos) -> Cursor {
        Cursor {
            next: None,
            begun: self.latest.max(now),
            end: self.recorded.end(),
        }
    }

    /// Visits the next live entries of an iteration with their times. Examines at most `budget`
    /// entries. Returns `false` at the end.
    pub(crate) fn visit_some(
        &self,
        now: Nanos,
        cursor: &mut Cursor,
        budget: usize,
        mut visit: impl FnMut(&K, &V, Nanos),
    ) -> bool {
        let now = self.latest.max(now);
        for _ in 0..budget {
            let Some(seq) = self.recorded.next(cursor.next) else {
                return false;
            };
            steps::count(1);
            let time = self.recorded.time(seq);
            if cursor.is_new(seq, time) {
                return false;
            }
            cursor.next = Some(seq.wrapping_add(1));
            if self.recorded.is_live(now, seq) {
                visit(self.recorded.key(seq), self.recorded.value(seq), time);
            }
        }
        true
    }

    /// Returns the next live entry of an iteration during which nothing changes. `next` is its
    /// position.
    pub(crate) fn next_entry(
        &self,
        now: Nanos,
        next: &mut Option<Seq>,
    ) -> Option<(&K, &V, Duration)> {
        let now = self.latest.max(now);
        loop {
            let seq = self.recorded.next(*next)?;
            *next = Some(seq.wrapping_add(1));
            if self.recorded.is_live(now, seq) {
                let age = Duration::from_nanos(self.recorded.age(now, seq));
                return Some((self.recorded.key(seq), self.recorded.value(seq), age));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::in_flight::Permits;
    use super::super::super::log::columns::KeyColumn;
    use super::super::Limits;
    use super::*;
    use crate::hash::DefaultHashBuilder;

    #[test]
    fn iteration_examines_at_most_its_budget() {
        let limits = Limits {
            ttl: 10,
            lease: 10,
            max_entries: 1_000,
            max_bytes: None,
        };
        let mut core = Core::<u32, u32>::new(limits, Permits::new(1));
        let hasher = DefaultHashBuilder::default();
        for key in 0..200 {
            let hash = <u32 as Key>::Column::hash(&hasher, &key);
            let now = if key < 150 { 1 } else { 5 };
            core.record(now, hash, &key, &mut Some(key), &hasher);
        }
        // At 11, the first 150 have expired, and no write has removed them.
        let mut cursor = core.cursor(11);
        let mut pieces = Vec::new();
        loop {
            let mut visited = 0;
            let more = core.visit_some(11, &mut cursor, 64, |_, _, time| {
                assert_eq!(time, 5);
                visited += 1;
            });
            pieces.push(visited);
            if !more {
                break;
            }
        }
        assert_eq!(pieces, [0, 0, 42, 8]);
    }
}
