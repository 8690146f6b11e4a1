//! `DedupMap`: shards of the core behind `&self`.
//!
//! A thin shell: it reads the clock, hashes the key, locks the shard, calls the core, and drops
//! the removed entries after it has released the lock.

mod claims;
mod inner;
mod insert;
pub(super) mod journal;
mod sweep;

use std::fmt;
use std::hash::BuildHasher;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use super::builder::DedupBuilder;
use super::claim::Recorded;
use super::core::{Core, Limits};
use super::log::columns::KeyColumn;
use super::wait::Alarm;
use crate::clock::{Clock, Nanos};
use crate::dedup::Key;
use crate::hash::DefaultHashBuilder;
use crate::sharded::Sharded;
use crate::stats::DedupStats;
use crate::sweep::Sweep;
use crate::wait::Room;
use inner::Inner;
use journal::{Hook, Owner, Pending};

/// The longest age of an id that can be restored: 146 years. It keeps the readings of a clock that
/// saturate far away.
const LONGEST_AGE: Nanos = 1 << 62;

/// Remembers ids for a time, up to a bound, with a value for each.
///
/// It replaces a `HashSet` of message ids that is never pruned. [`DedupSet`](crate::DedupSet) is
/// the same without values. Clones are handles on the same map.
///
/// An id recorded at `t` is a duplicate in `[t, t + ttl)` and new from `t + ttl` on, independent of
/// any sweep, unless a bound evicted it. Every such eviction is counted, and the shortest window
/// that it caused is reported in [`DedupStats`].
///
/// # Cost
///
/// A new id costs about one cache miss. A batch overlaps the misses.
///
/// No call does more than a small constant number of entries' worth of work, except `clear`,
/// `for_each` and `Drop`: the index is resized a few entries per call, and a million ids that
/// expire at once are freed in blocks of 1,024. A call that adds a key of `n` bytes may do work in
/// proportion to `n`. When an eighth of a block's key bytes is unused, the next removal compacts
/// the keys of this block: 1,024 keys of 45 bytes take about 5 µs, and of 255 bytes about 20 µs, on
/// a shared AMD EPYC (Zen 3).
///
/// # Memory
///
/// A map at its bound takes, as counted by the allocator and to within a tenth:
///
/// * **`ids × (key + value + 17)` bytes** if keys are `str` or `[u8]`, where `key` is their length;
/// * **`ids × (key + value + 15)` bytes** if they have another type, where `key` is its size; what
///   keys and values own comes on top.
///
/// So a million ids of 45 bytes take about 62 MB. 6 of the 17 bytes are the index, 8 the time.
/// Below its bound, a map's index is larger than necessary: by up to 7 bytes per id, and by up to
/// 15 while it is resized.
///
/// In the worst case, after any sequence of calls, a map holds at most the sum of these:
///
/// | part | bytes |
/// | --- | --- |
/// | per id | 1.25 × (value + 30), and 1.25 × key; for keys of another type, `key` is the size |
/// | per key of more than 255 bytes | 1.25 × 24 more |
/// | per shard | 3,072 × (key + value) + 64 KiB, where `key` is the longest key, at most 255 |
/// | per shard that has had claims | the same with a value of 8 bytes |
/// | per shard that has had extended leases | the same with a value of 24 bytes |
///
/// The number of ids is the largest within the last `ids / 4` calls that write, and never exceeds
/// `max_entries`. The same holds for the sum of the key lengths and `max_bytes`. A sweep frees all
/// that can be freed: it leaves the memory of at most one removed id per 32 live ids, and of 1,280
/// more.
///
/// An id in flight takes what an id with a value of 8 bytes takes. An empty map takes next to
/// nothing, and a map with one id about 15 KB, so one map with [`CompoundKey`](crate::CompoundKey)s
/// is better than many small maps.
///
/// # Shards
///
/// The map is divided into independently locked shards, among which the bounds are split exactly. A
/// full shard evicts its own oldest id. If there are many ids, this begins about 1% below the bound
/// of the map. With `shards(1)`, eviction is in global order.
///
/// A key's `Hash`, `Eq` and `Clone` and a value's `Clone` run while a shard is locked, and must not
/// call back into the map. `Drop` never runs under a lock. A panic in any of them leaves the map
/// consistent.
///
/// # Example
///
/// ```
/// use leakproof::{Claim, DedupMap};
/// use std::time::Duration;
///
/// let seen = DedupMap::<str, String>::new(1_000_000, Duration::from_secs(24 * 3600));
///
/// match seen.claim("1203630@g.us:3EB0C767D26A") {
///     Claim::Fresh(ticket) => ticket.commit("the reply".to_string())?, // released if it is dropped
///     Claim::InFlight { since } => println!("in progress for {since:?}"),
///     Claim::Duplicate { age, value } => println!("answered {age:?} ago: {value}"),
///     Claim::Full => println!("overloaded"),
/// }
/// assert_eq!(seen.get("1203630@g.us:3EB0C767D26A").as_deref(), Some("the reply"));
/// # Ok::<(), leakproof::LeaseExpired<String>>(())
/// ```
pub struct DedupMap<K: ?Sized + Key, V, S = DefaultHashBuilder> {
    /// Dropped first: see [`Owner`].
    owner: Owner,
    inner: Arc<Inner<K, V, S>>,
}

impl<K: ?Sized + Key, V, S> Clone for DedupMap<K, V, S> {
    fn clone(&self) -> Self {
        Self {
            owner: self.owner.clone(),
            inner: Arc::clone(&self.inner),
        }
    }
}

impl<K, V> DedupMap<K, V>
where
    K: ?Sized + Key + Send + 'static,
    V: Send + 'static,
{
    /// Returns a map that remembers up to `max_entries` ids for `ttl` each.
    ///
    /// # Panics
    ///
    /// Panics if `max_entries` or `ttl` is out of range. [`builder`](Self::builder) returns an
    /// error instead.
    #[must_use]
    #[track_caller]
    pub fn new(max_entries: usize, ttl: Duration) -> Self {
        match Self::builder().ttl(ttl).max_entries(max_entries).build() {
            Ok(map) => map,
            Err(error) => panic!("DedupMap::new: {error}"),
        }
    }
}

impl<K: ?Sized + Key, V> DedupMap<K, V> {
    /// Returns a builder with every option at its default.
    pub fn builder() -> DedupBuilder<Self> {
        DedupBuilder::new()
    }
}

impl<K: ?Sized + Key, V, S> DedupMap<K, V, S> {
    pub(crate) fn from_parts(
        shards: Sharded<Core<K, V>>,
        limits: Limits,
        clock: Clock,
        hasher: S,
        room: Room,
    ) -> Self {
        Self {
            owner: Owner::default(),
            inner: Arc::new(Inner {
                shards,
                clock,
                hasher,
                limits,
                base: limits.ttl.min(LONGEST_AGE),
                room,
                alarm: OnceLock::new(),
                journal: Hook::none(),
            }),
        }
    }

    /// Lets the ends of leases wake the callers that wait for them.
    pub(crate) fn keep_leases(&self, weak: Weak<dyn Sweep>) {
        let ring = move || {
            if let Some(map) = weak.upgrade() {
                map.end_leases();
            }
        };
        self.inner.alarm.get_or_init(|| Alarm::new(ring));
    }

    pub(crate) fn room(&self) -> &Room {
        &self.inner.room
    }

    pub(crate) fn set_alarm(&self, at: Nanos) {
        self.inner.set_alarm(at);
    }

    pub(crate) fn now(&self) -> Nanos {
        self.inner.now()
    }

    #[cfg(feature = "persist")]
    pub(crate) fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    #[cfg(feature = "persist")]
    pub(crate) fn base(&self) -> Nanos {
        self.inner.base
    }

    #[inline]
    pub(crate) fn with_shard<R>(
        &self,
        shard: usize,
        work: impl FnOnce(&mut Core<K, V>, &S) -> R,
    ) -> R {
        self.inner.with_shard(shard, work)
    }

    pub(crate) fn each_shard<R>(
        &self,
        mut work: impl FnMut(&mut Core<K, V>, &S) -> R,
    ) -> impl Iterator<Item = R> {
        (0..self.inner.shards.len()).map(move |shard| self.with_shard(shard, &mut work))
    }

    /// Returns the number of live ids. Locks each shard once.
    #[must_use]
    pub fn len(&self) -> usize {
        let now = self.now();
        self.each_shard(|core, _| core.len(now)).sum()
    }

    /// Returns `true` if no id is live.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the bound on the number of ids.
    #[must_use]
    pub fn max_entries(&self) -> usize {
        self.inner.limits.max_entries
    }

    /// Returns the time for which an id is remembered.
    #[must_use]
    pub fn ttl(&self) -> Duration {
        Duration::from_nanos(self.inner.limits.ttl)
    }

    /// Returns the time after which a claim expires.
    #[must_use]
    pub fn lease(&self) -> Duration {
        Duration::from_nanos(self.inner.limits.lease)
    }

    /// Returns the present size and the counters. Locks each shard once.
    #[must_use]
    pub fn stats(&self) -> DedupStats {
        self.inner.stats()
    }
}

impl<K: ?Sized + Key, V, S: BuildHasher> DedupMap<K, V, S> {
    fn hash(&self, key: &K) -> u64 {
        K::Column::hash(&self.inner.hasher, key)
    }

    /// Calls `work` with the time, the key's hash, its shard and the hasher.
    #[inline]
    pub(crate) fn with_key<R>(
        &self,
        key: &K,
        work: impl FnOnce(Nanos, u64, &mut Core<K, V>, &S) -> R,
    ) -> R {
        let hash = self.hash(key);
        // The clock is read before the lock, because a custom clock is user code.
        let now = self.now();
        self.with_shard(self.inner.shards.shard_of(hash), |core, hasher| {
            work(now, hash, core, hasher)
        })
    }

    /// Records an id with a value, unless it was recorded within the ttl or is in flight.
    ///
    /// Checking and recording are one step: of any number of concurrent calls, exactly one returns
    /// [`Recorded::New`]. At a bound, the oldest ids are evicted, never the new one. Costs about
    /// one cache miss for a new id.
    pub fn record(&self, key: &K, value: V) -> Recorded<V>
    where
        V: Clone,
    {
        // Outside of the closure: a value that is not stored is dropped without a lock.
        let mut value = Some(value);
        let journal = &self.inner.journal;
        let (result, pending) = self.with_key(key, |now, hash, core, hasher| {
            let mut outcome = core.record(now, hash, key, &mut value, hasher);
            let pending = journal.recorded((hash, key), &mut outcome, core, &mut value);
            (core.recorded_result(&outcome, &mut value), pending)
        });
        if self.settle(key, pending, &mut value) {
            return result;
        }
        match value {
            Some(value) => Recorded::Rejected { value },
            None => result,
        }
    }

    /// Returns `true` if the id is recorded and live. Refreshes nothing.
    #[must_use]
    #[doc(alias = "contains")]
    pub fn contains_key(&self, key: &K) -> bool {
        self.with_key(key, |now, hash, core, _| {
            core.find(now, hash, key).is_some()
        })
    }

    /// Returns the value recorded with a live id. Refreshes nothing.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<V>
    where
        V: Clone,
    {
        self.with_key(key, |now, hash, core, _| {
            core.find(now, hash, key)
                .map(|(seq, _)| core.value(seq).clone())
        })
    }

    /// Returns the time since a live id was recorded. Refreshes nothing.
    #[must_use]
    pub fn age(&self, key: &K) -> Option<Duration> {
        self.with_key(key, |now, hash, core, _| {
            core.find(now, hash, key).map(|(_, age)| age)
        })
    }

    /// Removes a recorded id and returns its value. The id's next delivery is new. An id in flight
    /// stays with its ticket.
    pub fn remove(&self, key: &K) -> Option<V>
    where
        V: Clone,
    {
        let journal = &self.inner.journal;
        let (removed, pending) = self.with_key(key, |now, hash, core, hasher| {
            let removed = core.remove(now, hash, key, hasher);
            let pending = match removed {
                Some(_) => journal.removed(hash, core, key),
                None => Pending::default(),
            };
            (removed, pending)
        });
        journal.wait(pending);
        removed
    }

    /// Removes all recorded ids, in time proportional to their number. Claims stay with their
    /// tickets.
    pub fn clear(&self) {
        let now = self.now();
        let shards = &self.inner.shards;
        // Dropped after the journal is unlocked as well, because a `Drop` may record an id.
        let mut drops = Vec::new();
        self.inner
            .journal
            .clear(shards.len(), |shard, clear_buffer| {
                let mut core = shards.lock(shard);
                core.clear(now, &self.inner.hasher);
                drops.extend(core.take_drops());
                clear_buffer();
            });
    }

    /// Checks every invariant in linear time, for tests and fuzzing.
    ///
    /// # Panics
    ///
    /// Panics if an invariant does not hold.
    #[doc(hidden)]
    pub fn validate(&self) {
        self.each_shard(|core, hasher| core.validate(hasher))
            .for_each(drop);
    }
}

impl<K: ?Sized + Key, V, S> fmt::Debug for DedupMap<K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DedupMap")
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
