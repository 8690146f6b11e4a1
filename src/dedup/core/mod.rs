//! `Core`: one shard's ids, or those of a single-threaded map, without clock, hasher or lock.
//!
//! Methods take the time and the hash of the key, and leave what they removed for the caller to
//! drop without a lock: see [`take_drops`](Core::take_drops). Every method that writes first
//! expires what is due, so that everything in the logs is live from there on.

mod claims;
mod cursor;
mod leases;
#[cfg(feature = "persist")]
mod restore;

use std::hash::BuildHasher;
use std::mem::take;
use std::sync::Arc;
use std::time::Duration;

use super::claim::Recorded;
use super::in_flight::{InFlight, Permits};
use super::log::columns::KeyColumn;
use super::log::{DeferredDrops, Log, Seq};
use super::wait::Flights;
use crate::clock::Nanos;
use crate::dedup::Key;
use crate::stats::DedupStats;
use crate::sweep::Swept;
use crate::wait::Wakers;

pub(crate) use cursor::Cursor;

/// The validated limits of a map or of one of its shards.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) ttl: Nanos,
    pub(crate) lease: Nanos,
    pub(crate) max_entries: usize,
    pub(crate) max_bytes: Option<usize>,
}

/// `repr(C)`: see `Sharded`.
#[repr(C)]
pub(crate) struct Core<K: ?Sized + Key, V> {
    /// The latest time of any write. An earlier reading counts as this one.
    latest: Nanos,
    /// The time of the entry that was recorded last. No later one may have an earlier time.
    newest: Nanos,
    counts: Counts,
    recorded: Log<K, V>,
    in_flight: InFlight<K>,
    limits: Limits,
    drops: Drops<K, V>,
    /// The callers that wait for claims.
    flights: Flights<V>,
}

#[derive(Clone, Default)]
#[repr(C)]
struct Counts {
    inserted: u64,
    duplicates: u64,
    evicted: u64,
    evicted_by_bytes: u64,
    high_water: usize,
    /// `Nanos::MAX` while nothing was evicted.
    shortest_window: Nanos,
    in_flight_hits: u64,
    expired: u64,
    removed: u64,
    rejected: u64,
    released: u64,
    leases_expired: u64,
    claims_rejected: u64,
    restored: u64,
}

/// Removed keys and values to be dropped, and tasks to be woken, after the lock is released.
pub(crate) struct Drops<K: ?Sized + Key, V> {
    /// First, so that the tasks are woken even if the drop of a value panics.
    wakers: Wakers,
    recorded: DeferredDrops<K, V>,
    in_flight: super::in_flight::Drops<K>,
}

impl<K: ?Sized + Key, V> Default for Drops<K, V> {
    fn default() -> Self {
        Self {
            wakers: Wakers::default(),
            recorded: DeferredDrops::default(),
            in_flight: super::in_flight::Drops::default(),
        }
    }
}

/// The result of a record or a claim, before any value is cloned.
pub(crate) enum Outcome<T> {
    Fresh(T),
    /// The age is not part of it: to read the time is another cache miss, which `insert` does not
    /// need.
    Duplicate(Seq),
    InFlight {
        since: Duration,
    },
    /// There is no room: a claim is full, and a record is rejected.
    Full,
}

impl<T> Outcome<T> {
    /// Returns `true` if the id is neither recorded nor in flight. A rejected id is new as well: to
    /// handle it twice is better than to lose it.
    #[inline]
    pub(crate) fn is_new(&self) -> bool {
        matches!(self, Self::Fresh(_) | Self::Full)
    }
}

impl<K: ?Sized + Key, V> Core<K, V> {
    pub(crate) fn new(limits: Limits, permits: Arc<Permits>) -> Self {
        Self {
            latest: 0,
            newest: 0,
            counts: Counts {
                shortest_window: Nanos::MAX,
                ..Counts::default()
            },
            recorded: Log::new(limits.ttl, limits.max_entries),
            in_flight: InFlight::new(limits.lease, permits),
            limits,
            drops: Drops::default(),
            flights: Flights::new(),
        }
    }

    /// Returns what was removed since the last call, to be dropped without a lock.
    #[inline]
    pub(crate) fn take_drops(&mut self) -> Option<Drops<K, V>> {
        let none = self.drops.recorded.is_empty()
            && self.drops.in_flight.is_empty()
            && self.drops.wakers.is_empty();
        (!none).then(|| take(&mut self.drops))
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    fn evict(&mut self, now: Nanos) {
        let time = self.recorded.evict();
        self.count_evicted(now, 1, time);
    }

    /// Counts evicted entries, the newest of which was recorded at `time`.
    #[inline]
    fn count_evicted(&mut self, now: Nanos, count: usize, time: Nanos) {
        self.counts.evicted += count as u64;
        self.counts.shortest_window = self.counts.shortest_window.min(now - time);
    }

    /// Evicts until there is room for this many more entries and bytes in addition to the ids in
    /// flight. Returns `false` if these leave no room.
    #[inline]
    fn make_room(&mut self, now: Nanos, entries: usize, bytes: u64) -> bool {
        if self.limits.max_bytes.is_some() && !self.make_room_for_bytes(now, bytes) {
            return false;
        }
        while self.recorded.len() + entries > self.limits.max_entries {
            self.evict(now);
        }
        true
    }

    fn make_room_for_bytes(&mut self, now: Nanos, bytes: u64) -> bool {
        let max_bytes = self.limits.max_bytes.map_or(u64::MAX, |max| max as u64);
        let kept = self.in_flight.settled_bytes().saturating_add(bytes);
        let Some(left) = max_bytes.checked_sub(kept) else {
            return false;
        };
        let before = self.counts.evicted;
        // Among keys of similar length, one or two have to go. For a much longer key it may be
        // thousands.
        for _ in 0..4 {
            if self.recorded.settled_bytes() <= left {
                break;
            }
            self.evict(now);
        }
        let excess = self.recorded.settled_bytes().saturating_sub(left);
        if excess > 0 {
            let (evicted, newest) = self.recorded.evict_bytes(excess);
            self.count_evicted(now, evicted, newest);
        }
        self.counts.evicted_by_bytes += self.counts.evicted - before;
        true
    }

    pub(crate) fn value(&self, seq: Seq) -> &V {
        self.recorded.value(seq)
    }

    /// Returns the age of an entry at the latest write.
    fn age_of(&self, seq: Seq) -> Duration {
        Duration::from_nanos(self.recorded.age(self.latest, seq))
    }

    /// Returns the live entry under this key, and its age.
    pub(crate) fn find(&self, now: Nanos, hash: u64, key: &K) -> Option<(Seq, Duration)> {
        let now = self.latest.max(now);
        let seq = self.recorded.find_live(now, hash, key)?;
        Some((seq, Duration::from_nanos(self.recorded.age(now, seq))))
    }

    /// Loads what a lookup of these hashes will read.
    pub(crate) fn touch(&self, hashes: impl Iterator<Item = u64>) {
        self.recorded.touch(hashes);
    }

    pub(crate) fn len(&self, now: Nanos) -> usize {
        self.recorded.live_at(self.latest.max(now)).0
    }

    pub(crate) fn stats(&self, now: Nanos) -> DedupStats {
        let now = self.latest.max(now);
        let (len, bytes, oldest) = self.recorded.live_at(now);
        let (in_flight, in_flight_bytes) = self.in_flight.live_at(now);
        let counts = &self.counts;
        DedupStats {
            len,
            max_entries: self.limits.max_entries,
            high_water: counts.high_water,
            oldest_entry_age: oldest.map(Duration::from_nanos),
            ttl: Duration::from_nanos(self.limits.ttl),
            bytes: bytes + in_flight_bytes,
            max_bytes: self.limits.max_bytes.map(|max| max as u64),
            shortest_window: (counts.evicted > 0)
                .then(|| Duration::from_nanos(counts.shortest_window)),
            in_flight,
            max_in_flight: self.in_flight.max(),
            inserted: counts.inserted,
            duplicates: counts.duplicates,
            in_flight_hits: counts.in_flight_hits,
            expired: counts.expired + (self.recorded.len() - len) as u64,
            evicted: counts.evicted,
            evicted_by_bytes: counts.evicted_by_bytes,
            removed: counts.removed,
            rejected: counts.rejected,
            released: counts.released,
            leases_expired: counts.leases_expired + (self.in_flight.len() - in_flight) as u64,
            claims_rejected: counts.claims_rejected,
            restored: counts.restored,
            ..DedupStats::default()
        }
    }

    /// Converts what [`record`](Self::record) returned. `value` is what it left of the value.
    pub(crate) fn recorded_result(
        &self,
        outcome: &Outcome<()>,
        value: &mut Option<V>,
    ) -> Recorded<V>
    where
        V: Clone,
    {
        match *outcome {
            Outcome::Fresh(()) => Recorded::New,
            Outcome::InFlight { .. } => Recorded::InFlight,
            Outcome::Duplicate(seq) => Recorded::Duplicate {
                age: self.age_of(seq),
                value: self.value(seq).clone(),
            },
            Outcome::Full => Recorded::Rejected {
                value: value.take().expect("it was not stored"),
            },
        }
    }
}

impl<K: ?Sized + Key, V> Core<K, V> {
    /// Expires entries and leases. Returns the effective time.
    pub(crate) fn expire(&mut self, now: Nanos, hasher: &impl BuildHasher) -> Nanos {
        self.latest = self.latest.max(now);
        self.counts.expired += self.recorded.expire(self.latest) as u64;
        self.expire_leases(hasher);
        self.latest
    }

    /// Runs before every write: expires what is due, and does a bounded part of the pending work.
    /// Returns the effective time.
    #[inline]
    fn prepare_write(&mut self, now: Nanos, hasher: &impl BuildHasher) -> Nanos {
        self.latest = self.latest.max(now);
        if self.recorded.is_due(self.latest) || self.in_flight.is_due(self.latest) {
            self.run_maintenance(hasher);
        }
        self.latest
    }

    #[inline(never)]
    fn run_maintenance(&mut self, hasher: &impl BuildHasher) {
        self.expire(self.latest, hasher);
        self.recorded.maintain(hasher, &mut self.drops.recorded);
        self.in_flight.maintain(hasher, &mut self.drops.in_flight);
    }

    /// Looks an id up among the recorded ones and those in flight.
    #[inline]
    fn look_up<T>(&mut self, hash: u64, key: &K, hasher: &impl BuildHasher) -> Option<Outcome<T>> {
        if let Some(seq) = self.recorded.find(hash, key) {
            self.counts.duplicates += 1;
            return Some(Outcome::Duplicate(seq));
        }
        let claim = self.find_claim(hash, key, hasher)?;
        self.counts.in_flight_hits += 1;
        Some(Outcome::InFlight {
            since: Duration::from_nanos(self.latest - claim.since),
        })
    }

    /// Records an id, unless it is recorded or in flight. Takes the value if it is stored;
    /// otherwise the value stays with the caller, who drops it without a lock.
    #[inline]
    pub(crate) fn record(
        &mut self,
        now: Nanos,
        hash: u64,
        key: &K,
        value: &mut Option<V>,
        hasher: &impl BuildHasher,
    ) -> Outcome<()> {
        let now = self.prepare_write(now, hasher);
        if let Some(found) = self.look_up(hash, key, hasher) {
            return found;
        }
        if !self.make_room(now, 1, K::Column::weigh(key)) {
            self.counts.rejected += 1;
            return Outcome::Full;
        }
        self.recorded.push(now, hash, key, value);
        self.newest = now;
        self.count_inserted();
        Outcome::Fresh(())
    }

    #[inline]
    fn count_inserted(&mut self) {
        self.counts.inserted += 1;
        self.counts.high_water = self.counts.high_water.max(self.recorded.len());
    }

    /// Removes a recorded id and returns its value.
    pub(crate) fn remove(
        &mut self,
        now: Nanos,
        hash: u64,
        key: &K,
        hasher: &impl BuildHasher,
    ) -> Option<V>
    where
        V: Clone,
    {
        self.prepare_write(now, hasher);
        let seq = self.recorded.find(hash, key)?;
        let value = self.recorded.take(hash, seq, &mut self.drops.recorded);
        self.counts.removed += 1;
        value
    }

    /// Returns the latest time of any write.
    #[cfg(feature = "persist")]
    pub(crate) fn latest(&self) -> Nanos {
        self.latest
    }

    /// Removes all recorded ids. Claims stay in flight.
    pub(crate) fn clear(&mut self, now: Nanos, hasher: &impl BuildHasher) {
        self.expire(now, hasher);
        self.counts.removed += self.recorded.len() as u64;
        self.recorded.clear(&mut self.drops.recorded);
    }

    /// Frees up to `budget` expired entries. The result counts recorded ones only.
    pub(crate) fn sweep(&mut self, now: Nanos, budget: usize, hasher: &impl BuildHasher) -> Swept {
        self.expire(now, hasher);
        let (freed, more) = self
            .recorded
            .sweep(budget, hasher, &mut self.drops.recorded);
        let more_in_flight = self
            .in_flight
            .sweep(budget, hasher, &mut self.drops.in_flight);
        // An expired lease ends by one of the next pieces: see `expire_leases`.
        let ends_more = self.in_flight.next_expired(self.latest).is_some();
        Swept {
            freed,
            more: more || more_in_flight || ends_more,
        }
    }

    /// Checks every invariant in linear time.
    ///
    /// # Panics
    ///
    /// Panics if an invariant does not hold.
    pub(crate) fn validate(&self, hasher: &impl BuildHasher) {
        self.recorded.validate(hasher);
        self.in_flight.validate(hasher);
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

impl<K: ?Sized + Key> Core<K, ()> {
    /// Records an id without a value. Returns `false` if it is recorded or in flight.
    #[inline]
    pub(crate) fn insert(
        &mut self,
        now: Nanos,
        hash: u64,
        key: &K,
        hasher: &impl BuildHasher,
    ) -> bool {
        self.record(now, hash, key, &mut Some(()), hasher).is_new()
    }
}
