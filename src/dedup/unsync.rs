//! `unsync::DedupMap`: the core that owns one map's data, or one shard's.
//!
//! Public methods read the clock and hash the key; each has a twin ending in `_at` that is told both, for the shared map,
//! which does these two outside its locks. Every call that writes first lets expire what is due, so that from
//! there on whatever is in a window is live. What leaves is dropped last.

mod claiming;
pub(super) mod figures;
mod set;

use std::hash::BuildHasher;
use std::mem::take;
use std::sync::Arc;
use std::time::Duration;

use super::builder::{DedupBuilder, Limits};
use super::claim::{Permits, Recorded};
use crate::clock::{Clock, Nanos};
use crate::dedup::log::store::Store;
use crate::dedup::log::{Seq, Trash, Window};
use crate::hash::DefaultHashBuilder;
use crate::key::Key;
use crate::limits::Unsync;
use crate::sweep::Swept;

/// Ids of which the index lines are fetched together: enough misses to overlap, few enough to stay in the cache.
pub(super) const BATCH: usize = 32;

/// Remembers ids for a time, at most so many: the single-threaded core of [`DedupMap`](crate::DedupMap).
///
/// The semantics are those of the shared map, of which this is one shard; see there. Methods that write take
/// `&mut self`, and a claim is a plain [`Token`](crate::unsync::Token) that is handed back to [`commit`](Self::commit) or
/// [`release`](Self::release).
///
/// ```
/// use leakproof::unsync::DedupMap;
/// use leakproof::{Claim, Recorded};
/// use std::time::Duration;
///
/// let mut seen = DedupMap::<str, u32>::new(1_000, Duration::from_secs(60));
/// assert_eq!(seen.record("a", 1), Recorded::New);
/// assert!(matches!(seen.record("a", 2), Recorded::Duplicate { value: 1, .. }));
/// assert_eq!(seen.get("a"), Some(&1));
///
/// if let Claim::Fresh(token) = seen.claim("b") {
///     assert_eq!(seen.record("b", 3), Recorded::InFlight);
///     seen.commit(token, 4)?;
/// }
/// assert_eq!(seen.get("b"), Some(&4));
/// # Ok::<(), leakproof::LeaseExpired<u32>>(())
/// ```
// In this order, as in a shard: see `Sharded`.
#[repr(C)]
pub struct DedupMap<K: ?Sized + Key, V, S = DefaultHashBuilder> {
    /// The latest time that a write was told; later ones are never taken to be earlier.
    latest: Nanos,
    counts: Counts,
    permits: Arc<Permits>,
    next_number: u64,
    recorded: Window<K, V>,
    in_flight: Window<K, u64>,
    limits: Limits,
    garbage: Garbage<K, V>,
    clock: Clock,
    hasher: S,
}

/// A [`DedupMap`] of ids alone.
pub type DedupSet<K, S = DefaultHashBuilder> = DedupMap<K, (), S>;

#[derive(Default)]
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
    lapsed: u64,
    shed: u64,
}

/// What left and is still to be dropped.
pub(super) struct Garbage<K: ?Sized + Key, V> {
    recorded: Trash<K, V>,
    in_flight: Trash<K, u64>,
}

impl<K: ?Sized + Key, V> Default for Garbage<K, V> {
    fn default() -> Self {
        Self {
            recorded: Trash::default(),
            in_flight: Trash::default(),
        }
    }
}

/// What a record or a claim found, before any value is cloned.
pub(super) enum Found<T> {
    Fresh(T),
    InFlight {
        since: Duration,
    },
    /// How old it is, only who asks for it looks up: its time is another cache miss.
    Duplicate(Seq),
    Full,
}

impl<K: ?Sized + Key, V> DedupMap<K, V> {
    /// A map that remembers up to `max_entries` ids for `ttl` each.
    ///
    /// # Panics
    ///
    /// Where `ttl` or `max_entries` is zero, or `max_entries` above 2<sup>28</sup>; [`builder`](Self::builder) returns
    /// an error instead.
    #[must_use]
    #[track_caller]
    pub fn new(max_entries: usize, ttl: Duration) -> Self {
        match Self::builder().ttl(ttl).max_entries(max_entries).build() {
            Ok(map) => map,
            Err(error) => panic!("unsync::DedupMap::new: {error}"),
        }
    }

    /// All knobs.
    #[must_use]
    pub fn builder() -> DedupBuilder<K, V, DefaultHashBuilder, Unsync> {
        DedupBuilder::new()
    }
}

impl<K: ?Sized + Key, V, S> DedupMap<K, V, S> {
    pub(super) fn with(limits: Limits, permits: Arc<Permits>, clock: Clock, hasher: S) -> Self {
        Self {
            recorded: Window::new(limits.ttl, limits.max_entries),
            in_flight: Window::new(limits.lease, permits.max()),
            permits,
            limits,
            next_number: 0,
            latest: 0,
            counts: Counts {
                shortest_window: Nanos::MAX,
                ..Counts::default()
            },
            garbage: Garbage::default(),
            clock,
            hasher,
        }
    }

    fn now(&self) -> Nanos {
        self.clock.nanos()
    }

    /// What left, for the caller to drop where no lock is held.
    pub(super) fn take_garbage(&mut self) -> Option<Garbage<K, V>> {
        let none = self.garbage.recorded.is_empty() && self.garbage.in_flight.is_empty();
        (!none).then(|| take(&mut self.garbage))
    }

    /// Lets expire what is due; the time that counts.
    fn expire(&mut self, now: Nanos) -> Nanos {
        self.latest = self.latest.max(now);
        self.counts.expired += self.recorded.expire(self.latest) as u64;
        let lapsed = self.in_flight.expire(self.latest);
        if lapsed > 0 {
            self.counts.lapsed += lapsed as u64;
            self.permits.give_back(lapsed);
        }
        self.latest
    }

    /// Evicts until there is room for an entry of `bytes`, beside what is in flight; whether there is.
    #[inline]
    fn make_room(&mut self, now: Nanos, entries: usize, bytes: u64) -> bool {
        if self.limits.max_bytes.is_some() && !self.make_room_for_bytes(now, bytes) {
            return false;
        }
        while self.recorded.len() + entries > self.limits.max_entries
            || self.recorded.is_exhausted()
        {
            self.evict(now);
        }
        true
    }

    fn make_room_for_bytes(&mut self, now: Nanos, bytes: u64) -> bool {
        let max_bytes = self.limits.max_bytes.map_or(u64::MAX, |max| max as u64);
        let kept = self.in_flight.bytes().saturating_add(bytes);
        let Some(left) = max_bytes.checked_sub(kept) else {
            return false;
        };
        let before = self.counts.evicted;
        // Where keys are about as long as each other, one or two have to go. For a much longer one it may be thousands.
        for _ in 0..4 {
            if self.recorded.bytes() <= left {
                self.counts.evicted_by_bytes += self.counts.evicted - before;
                return true;
            }
            self.evict(now);
        }
        let over = self.recorded.bytes().saturating_sub(left);
        if over > 0 {
            let (evicted, youngest) = self.recorded.evict_bytes(over);
            self.count_evicted(now, evicted, youngest);
        }
        self.counts.evicted_by_bytes += self.counts.evicted - before;
        true
    }

    #[inline]
    fn evict(&mut self, now: Nanos) {
        let time = self.recorded.evict();
        self.count_evicted(now, 1, time);
    }

    /// Counts entries that were evicted, of which the youngest came at `time`.
    #[inline]
    fn count_evicted(&mut self, now: Nanos, count: usize, time: Nanos) {
        self.counts.evicted += count as u64;
        self.counts.shortest_window = self.counts.shortest_window.min(now - time);
    }

    fn is_too_long(&self, bytes: u64) -> bool {
        self.limits.max_bytes.is_some_and(|max| bytes > max as u64)
    }

    pub(super) fn value(&self, seq: Seq) -> &V {
        self.recorded.value(seq)
    }

    /// Forgets all recorded ids, in time proportional to their number. Claims stay with their tokens.
    pub fn clear(&mut self) {
        self.clear_at(self.now());
        drop(self.take_garbage());
    }

    pub(super) fn clear_at(&mut self, now: Nanos) {
        self.expire(now);
        self.counts.removed += self.recorded.len() as u64;
        self.recorded.clear(&mut self.garbage.recorded);
    }
}

impl<K: ?Sized + Key, V, S: BuildHasher> DedupMap<K, V, S> {
    fn hash(&self, key: &K) -> u64 {
        K::Store::hash(&self.hasher, key)
    }

    /// Records an id with a value, unless it was recorded within the ttl or is in flight.
    ///
    /// At the bound the oldest id is evicted. Costs at most one cache miss for a new id in most cases.
    pub fn record(&mut self, key: &K, value: V) -> Recorded<V>
    where
        V: Clone,
    {
        let found = self.record_at(self.now(), self.hash(key), key, &mut Some(value));
        let seen = self.seen(&found);
        drop(self.take_garbage());
        seen
    }

    /// What a caller of `record` is told of what was found.
    pub(super) fn seen(&self, found: &Found<()>) -> Recorded<V>
    where
        V: Clone,
    {
        match *found {
            Found::Duplicate(seq) => Recorded::Duplicate {
                age: self.age_of(seq),
                value: self.recorded.value(seq).clone(),
            },
            Found::InFlight { .. } => Recorded::InFlight,
            Found::Fresh(()) | Found::Full => Recorded::New,
        }
    }

    /// The age of an entry that a write has just found.
    pub(super) fn age_of(&self, seq: Seq) -> Duration {
        Duration::from_nanos(self.recorded.age(self.latest, seq))
    }

    /// Takes the value if it is stored. One that is not stays with the caller, to be dropped where no lock is held.
    #[inline]
    pub(super) fn record_at(
        &mut self,
        now: Nanos,
        hash: u64,
        key: &K,
        value: &mut Option<V>,
    ) -> Found<()> {
        let now = self.catch_up(now);
        if let Some(found) = self.look_up(hash, key) {
            return found;
        }
        if self.make_room(now, 1, K::Store::weigh(key)) {
            self.recorded.push(now, hash, key, value);
            self.count_inserted();
        } else {
            self.counts.rejected += 1;
        }
        Found::Fresh(())
    }

    /// Where the id is, if it is anywhere.
    #[inline]
    fn look_up<T>(&mut self, hash: u64, key: &K) -> Option<Found<T>> {
        if let Some(seq) = self.recorded.find(hash, key) {
            self.counts.duplicates += 1;
            return Some(Found::Duplicate(seq));
        }
        if self.in_flight.len() > 0
            && let Some(seq) = self.in_flight.find(hash, key)
        {
            self.counts.in_flight_hits += 1;
            return Some(Found::InFlight {
                since: Duration::from_nanos(self.in_flight.age(self.latest, seq)),
            });
        }
        None
    }

    /// What comes before every write: lets expire what is due, and does a piece of the standing work. The time that
    /// counts.
    #[inline]
    fn catch_up(&mut self, now: Nanos) -> Nanos {
        self.latest = self.latest.max(now);
        if self.recorded.is_due(self.latest) || self.in_flight.is_due(self.latest) {
            self.do_catch_up();
        }
        self.latest
    }

    #[inline(never)]
    fn do_catch_up(&mut self) {
        self.expire(self.latest);
        let Self {
            recorded,
            in_flight,
            hasher,
            garbage,
            ..
        } = self;
        recorded.maintain(hasher, &mut garbage.recorded);
        in_flight.maintain(hasher, &mut garbage.in_flight);
    }

    #[inline]
    fn count_inserted(&mut self) {
        self.counts.inserted += 1;
        self.counts.high_water = self.counts.high_water.max(self.recorded.len());
    }

    /// Whether an id is recorded and live. Refreshes nothing.
    #[must_use]
    pub fn contains_key(&self, key: &K) -> bool {
        self.find_at(self.now(), self.hash(key), key).is_some()
    }

    /// The value recorded with a live id. Refreshes nothing.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<&V> {
        self.find_at(self.now(), self.hash(key), key)
            .map(|(seq, _)| self.value(seq))
    }

    /// How long ago a live id was recorded. Refreshes nothing.
    #[must_use]
    pub fn age(&self, key: &K) -> Option<Duration> {
        self.find_at(self.now(), self.hash(key), key)
            .map(|(_, age)| age)
    }

    /// The entry that is live under this key, and its age.
    pub(super) fn find_at(&self, now: Nanos, hash: u64, key: &K) -> Option<(Seq, Duration)> {
        let now = self.latest.max(now);
        let seq = self.recorded.find_live(now, hash, key)?;
        Some((seq, Duration::from_nanos(self.recorded.age(now, seq))))
    }

    /// Forgets a recorded id, whose next delivery is fresh; whether it was live. An id in flight stays with its token.
    pub fn remove(&mut self, key: &K) -> bool {
        let removed = self.remove_at(self.now(), self.hash(key), key);
        drop(self.take_garbage());
        removed
    }

    pub(super) fn remove_at(&mut self, now: Nanos, hash: u64, key: &K) -> bool {
        self.catch_up(now);
        let Some(seq) = self.recorded.find(hash, key) else {
            return false;
        };
        self.counts.removed += 1;
        let Self {
            recorded,
            hasher,
            garbage,
            ..
        } = self;
        recorded.remove(hash, seq, hasher, &mut garbage.recorded);
        true
    }

    /// Frees the memory of ids that left (expired or evicted); how many were freed. Changes no answer.
    pub fn sweep(&mut self) -> usize {
        let mut freed = 0;
        loop {
            let swept = self.sweep_at(self.now(), 1024);
            drop(self.take_garbage());
            freed += swept.freed;
            if !swept.more {
                return freed;
            }
        }
    }

    /// Frees up to `budget` entries, of which the recorded ones are told.
    pub(super) fn sweep_at(&mut self, now: Nanos, budget: usize) -> Swept {
        self.expire(now);
        let Self {
            recorded,
            in_flight,
            hasher,
            garbage,
            ..
        } = self;
        let (freed, more) = recorded.sweep(budget, hasher, &mut garbage.recorded);
        let (_, more_in_flight) = in_flight.sweep(budget, hasher, &mut garbage.in_flight);
        Swept {
            freed,
            more: more || more_in_flight,
        }
    }

    /// Brings what a look for each of these hashes will read into the cache.
    pub(super) fn touch(&self, hashes: impl Iterator<Item = u64>) {
        self.recorded.touch(hashes);
    }
}
