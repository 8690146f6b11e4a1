//! Restores entries that another process recorded.

use std::hash::BuildHasher;

use super::super::log::columns::KeyColumn;
use super::Core;
use crate::clock::Nanos;
use crate::key::Key;

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
}
