//! `Cursor`: iterates over the live entries, oldest first, while the map changes.

use std::time::Duration;

use super::super::log::Seq;
use super::Core;
use crate::clock::Nanos;
use crate::key::Key;

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

    /// Returns the next live entry of an iteration.
    pub(crate) fn next_entry(&self, now: Nanos, cursor: &mut Cursor) -> Option<(&K, &V, Duration)> {
        let now = self.latest.max(now);
        loop {
            let seq = self.recorded.next(cursor.next)?;
            if cursor.is_new(seq, self.recorded.time(seq)) {
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
