//! Restores entries that another process recorded.

use std::hash::BuildHasher;

use super::super::log::Seq;
use super::super::log::columns::KeyColumn;
use super::Core;
use crate::clock::Nanos;
use crate::dedup::Key;

/// The result of restoring an entry.
pub(crate) struct Restored {
    /// `true` if an earlier record of the same id was replaced.
    pub(crate) replaced: bool,
    /// Entries that a bound evicted or rejected.
    pub(crate) over_bound: u64,
}

impl<K: ?Sized + Key, V> Core<K, V> {
    /// Prepares an empty core for [`restore`](Self::restore). Returns `false` if it is not empty.
    pub(crate) fn prepare_restore(&mut self, now: Nanos, hasher: &impl BuildHasher) -> bool {
        self.expire(now, hasher);
        let is_empty = self.recorded.len() == 0;
        if is_empty {
            // Restored entries may be older than those that were held before.
            self.recorded.clear(&mut self.drops.recorded);
            self.newest = 0;
        }
        is_empty
    }

    /// Records an id that was recorded at `time` before a restart, and replaces an earlier record
    /// of it.
    ///
    /// A time before that of the previous entry counts as that one.
    pub(crate) fn restore(
        &mut self,
        now: Nanos,
        (time, hash): (Nanos, u64),
        key: &K,
        value: &mut Option<V>,
        hasher: &impl BuildHasher,
    ) -> Restored {
        let now = self.prepare_write(now, hasher);
        let replaced = self.remove_restored(hash, key, hasher);
        let before = self.counts.clone();
        let has_room = self.make_room(now, 1, K::Column::weigh(key));
        let evicted = self.counts.evicted - before.evicted;
        // The caller reports these.
        self.counts = before;
        if has_room {
            self.newest = self.newest.max(time);
            self.recorded.push(self.newest, hash, key, value);
            self.counts.restored = (self.counts.restored + 1).saturating_sub(evicted);
            self.counts.high_water = self.counts.high_water.max(self.recorded.len());
        }
        Restored {
            replaced,
            over_bound: evicted + u64::from(!has_room),
        }
    }

    /// Removes an id during a restore. Returns `true` if it was recorded.
    pub(crate) fn remove_restored(
        &mut self,
        hash: u64,
        key: &K,
        hasher: &impl BuildHasher,
    ) -> bool {
        let Some(seq) = self.recorded.find(hash, key) else {
            return false;
        };
        self.recorded
            .remove(hash, seq, hasher, &mut self.drops.recorded);
        self.counts.restored = self.counts.restored.saturating_sub(1);
        true
    }

    /// Removes all ids during a restore.
    pub(crate) fn clear_restored(&mut self) {
        self.recorded.clear(&mut self.drops.recorded);
        self.counts.restored = 0;
    }

    /// Adds the numbers of live entries that were recorded after each of these times.
    pub(crate) fn add_live_after(&self, now: Nanos, times: &[Nanos], live: &mut [u64]) {
        let now = self.latest.max(now);
        for (&time, live) in times.iter().zip(live) {
            *live += self.recorded.live_after(now, time) as u64;
        }
    }

    /// Returns the time at which a live entry was recorded.
    pub(crate) fn recorded_at(&self, now: Nanos, hash: u64, key: &K) -> Option<Nanos> {
        let (seq, _) = self.find(now, hash, key)?;
        Some(self.recorded.time(seq))
    }

    /// Returns the key of the entry that was recorded last, which must have been by the previous
    /// call.
    pub(crate) fn newest_key(&self) -> &K {
        self.recorded.key(self.recorded.end().wrapping_sub(1))
    }

    /// Returns the value of that entry, and its time.
    #[inline]
    pub(crate) fn newest_value(&self) -> (&V, Nanos) {
        let seq = self.recorded.end().wrapping_sub(1);
        (self.recorded.value(seq), self.newest)
    }

    /// Takes back the id that the previous call recorded, as if there had been no room for it.
    pub(crate) fn take_back_newest(&mut self, hash: u64) -> Option<V>
    where
        V: Clone,
    {
        let seq = self.recorded.end().wrapping_sub(1);
        self.take_back_at(hash, seq)
    }

    /// Takes back an id that was recorded at `time`, as if there had been no room for it. Returns
    /// `None` if another call has removed it.
    pub(crate) fn take_back(&mut self, hash: u64, key: &K, time: Nanos) -> Option<V>
    where
        V: Clone,
    {
        let seq = self.recorded.find(hash, key)?;
        if self.recorded.time(seq) != time {
            return None;
        }
        self.take_back_at(hash, seq)
    }

    fn take_back_at(&mut self, hash: u64, seq: Seq) -> Option<V>
    where
        V: Clone,
    {
        let value = self.recorded.take(hash, seq, &mut self.drops.recorded)?;
        self.counts.inserted -= 1;
        self.counts.rejected += 1;
        Some(value)
    }
}
