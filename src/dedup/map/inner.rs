//! `Inner`: what the handles of a map share, and how they use a shard.

use std::sync::OnceLock;

use super::super::core::{Core, Limits};
use super::super::wait::Alarm;
use super::journal::Hook;
use crate::clock::{Clock, Nanos};
use crate::dedup::Key;
use crate::sharded::Sharded;
use crate::stats::DedupStats;
use crate::wait::Room;

/// The state that all handles share. The sweeper and the monitor hold it weakly.
pub(super) struct Inner<K: ?Sized + Key, V, S> {
    pub(super) shards: Sharded<Core<K, V>>,
    pub(super) clock: Clock,
    pub(super) hasher: S,
    pub(super) limits: Limits,
    /// Added to every reading of the clock, so that an age up to the ttl can be restored although
    /// the clock began later.
    pub(super) base: Nanos,
    /// The callers that wait for claims.
    pub(super) room: Room,
    /// Set by the builder.
    pub(super) alarm: OnceLock<Alarm>,
    pub(super) journal: Hook<K, V>,
}

impl<K: ?Sized + Key, V, S> Inner<K, V, S> {
    /// Calls `work` with a shard locked, and drops what was removed from it after the lock is
    /// released.
    ///
    /// If such a drop panics, the result is dropped as well. So a ticket in it releases its id.
    #[inline]
    pub(super) fn with_shard<R>(
        &self,
        shard: usize,
        work: impl FnOnce(&mut Core<K, V>, &S) -> R,
    ) -> R {
        let mut core = self.shards.lock(shard);
        let result = work(&mut core, &self.hasher);
        let drops = core.take_drops();
        drop(core);
        drop(drops);
        result
    }

    #[inline]
    pub(super) fn now(&self) -> Nanos {
        self.clock.nanos().saturating_add(self.base)
    }

    pub(super) fn stats(&self) -> DedupStats {
        let now = self.now();
        let mut stats = self.with_shard(0, |core, _| core.stats(now));
        for shard in 1..self.shards.len() {
            stats.merge(&self.with_shard(shard, |core, _| core.stats(now)));
        }
        self.journal.add_to(&mut stats);
        let room = self.room.stats();
        DedupStats {
            waiting: room.waiting,
            max_waiting: room.max_waiting,
            waits: room.waits,
            waits_rejected: room.rejected,
            ..stats
        }
    }

    /// Makes the alarm ring when a lease ends that a caller waits for.
    pub(super) fn set_alarm(&self, at: Nanos) {
        // A lease until `Nanos::MAX` never ends.
        if let Some(alarm) = self.alarm.get().filter(|_| at < Nanos::MAX) {
            // `at` is in the map's time.
            alarm.set(&self.clock, at.saturating_sub(self.base));
        }
    }
}
