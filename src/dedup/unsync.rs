//! The single-threaded map and set: the core with a clock and a hasher.

use std::fmt;
use std::hash::BuildHasher;
use std::time::Duration;

use super::BATCH;
use super::builder::DedupBuilder;
use super::claim::{Claim, LeaseExpired, Recorded, Token};
use super::core::Core;
use super::log::columns::KeyColumn;
use crate::clock::{Clock, Nanos, nanos};
use crate::hash::DefaultHashBuilder;
use crate::key::{AsKey, Key};
use crate::panic::FirstPanic;
use crate::stats::DedupStats;

/// Entries that one step of a sweep frees, before their values are dropped.
const PIECE: usize = 1024;

/// Remembers ids for a time, up to a bound: the single-threaded [`DedupMap`](crate::DedupMap).
///
/// It has the semantics, costs and memory of one shard of the shared map. Methods that write take
/// `&mut self`. A claim is a plain [`Token`](crate::unsync::Token), to be passed to
/// [`commit`](Self::commit) or [`release`](Self::release).
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
pub struct DedupMap<K: ?Sized + Key, V, S = DefaultHashBuilder> {
    core: Core<K, V>,
    clock: Clock,
    hasher: S,
}

impl<K: ?Sized + Key, V> DedupMap<K, V> {
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
            Err(error) => panic!("unsync::DedupMap::new: {error}"),
        }
    }

    /// Returns a builder with every option at its default.
    pub fn builder() -> DedupBuilder<Self> {
        DedupBuilder::new()
    }
}

impl<K: ?Sized + Key, V, S> DedupMap<K, V, S> {
    pub(super) fn from_parts(core: Core<K, V>, clock: Clock, hasher: S) -> Self {
        Self {
            core,
            clock,
            hasher,
        }
    }

    fn now(&self) -> Nanos {
        self.clock.nanos()
    }

    /// Returns the number of live ids.
    #[must_use]
    pub fn len(&self) -> usize {
        self.core.len(self.now())
    }

    /// Returns `true` if no id is live.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the bound on the number of ids.
    #[must_use]
    pub fn max_entries(&self) -> usize {
        self.core.limits().max_entries
    }

    /// Returns the time for which an id is remembered.
    #[must_use]
    pub fn ttl(&self) -> Duration {
        Duration::from_nanos(self.core.limits().ttl)
    }

    /// Returns the present size and the counters.
    #[must_use]
    pub fn stats(&self) -> DedupStats {
        self.core.stats(self.now())
    }

    /// Returns an iterator over the live ids with their values and ages, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V, Duration)> + '_ {
        let now = self.now();
        let mut cursor = self.core.cursor(now);
        std::iter::from_fn(move || self.core.next_entry(now, &mut cursor))
    }
}

impl<K: ?Sized + Key, V, S: BuildHasher> DedupMap<K, V, S> {
    fn hash(&self, key: &K) -> u64 {
        K::Column::hash(&self.hasher, key)
    }

    /// Calls `work` on the core, and drops what was removed.
    fn with_core<R>(&mut self, work: impl FnOnce(&mut Core<K, V>, Nanos, &S) -> R) -> R {
        let now = self.now();
        let result = work(&mut self.core, now, &self.hasher);
        drop(self.core.take_drops());
        result
    }

    /// Records an id with a value, unless it was recorded within the ttl or is in flight.
    ///
    /// At a bound, the oldest ids are evicted. Costs about one cache miss for a new id.
    pub fn record(&mut self, key: &K, value: V) -> Recorded<V>
    where
        V: Clone,
    {
        let (hash, mut value) = (self.hash(key), Some(value));
        self.with_core(|core, now, hasher| {
            let outcome = core.record(now, hash, key, &mut value, hasher);
            core.recorded_result(&outcome, &mut value)
        })
    }

    /// Returns `true` if the id is recorded and live. Refreshes nothing.
    #[must_use]
    pub fn contains_key(&self, key: &K) -> bool {
        self.core.find(self.now(), self.hash(key), key).is_some()
    }

    /// Returns the value recorded with a live id. Refreshes nothing.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<&V> {
        self.core
            .find(self.now(), self.hash(key), key)
            .map(|(seq, _)| self.core.value(seq))
    }

    /// Returns the time since a live id was recorded. Refreshes nothing.
    #[must_use]
    pub fn age(&self, key: &K) -> Option<Duration> {
        self.core
            .find(self.now(), self.hash(key), key)
            .map(|(_, age)| age)
    }

    /// Removes a recorded id and returns its value. The id's next delivery is new. An id in flight
    /// stays with its token.
    pub fn remove(&mut self, key: &K) -> Option<V>
    where
        V: Clone,
    {
        let hash = self.hash(key);
        self.with_core(|core, now, hasher| core.remove(now, hash, key, hasher))
    }

    /// Claims an id. It is in flight until the token is committed or released, or until its lease
    /// expires.
    ///
    /// A key that alone exceeds `max_bytes` is always fresh: see [`Token::is_stored`].
    pub fn claim(&mut self, key: &K) -> Claim<Token, V>
    where
        V: Clone,
    {
        let (now, hash) = (self.now(), self.hash(key));
        let outcome = self.core.claim(now, hash, key, &self.hasher);
        let claim = self.core.claim_result(outcome);
        if matches!(claim, Claim::Full) {
            self.core.count_claim_rejected();
        }
        let mut panic = FirstPanic::default();
        if panic.catch(|| drop(self.core.take_drops())).is_none() {
            // The caller gets the panic instead of the token.
            if let Claim::Fresh(token) = &claim {
                self.core.release(now, token, &self.hasher);
            }
            panic.resume();
        }
        claim
    }

    /// Records a claimed id as handled. Its ttl begins now. If the key alone exceeds `max_bytes`,
    /// nothing is recorded.
    ///
    /// # Errors
    ///
    /// Returns [`LeaseExpired`] with the value if the lease has expired. Nothing is changed then.
    pub fn commit(&mut self, token: Token, value: V) -> Result<(), LeaseExpired<V>> {
        let mut value = Some(value);
        let in_time =
            self.with_core(|core, now, hasher| core.commit(now, &token, &mut value, hasher));
        match value {
            Some(value) if !in_time => Err(LeaseExpired { value }),
            _ => Ok(()),
        }
    }

    /// Releases a claimed id. Its next delivery is fresh.
    pub fn release(&mut self, token: Token) {
        self.with_core(|core, now, hasher| core.release(now, &token, hasher));
    }

    /// Lets the lease of a claim end `duration` from now, or when it would end anyway if that is
    /// later.
    ///
    /// # Errors
    ///
    /// Returns [`LeaseExpired`] if the lease has expired.
    pub fn extend(&mut self, token: &Token, duration: Duration) -> Result<(), LeaseExpired> {
        let extended =
            self.with_core(|core, now, hasher| core.extend(now, token, nanos(duration), hasher));
        if extended {
            Ok(())
        } else {
            Err(LeaseExpired { value: () })
        }
    }

    /// Returns the key of a claim, or `None` if its lease has expired or the key is not stored.
    #[must_use]
    pub fn claimed_key(&self, token: &Token) -> Option<&K> {
        self.core.claimed_key(self.now(), token)
    }

    /// Removes all recorded ids, in time proportional to their number. Claims stay with their
    /// tokens.
    pub fn clear(&mut self) {
        self.with_core(Core::clear);
    }

    /// Frees the memory of expired, evicted and removed ids, and returns the number of expired and
    /// evicted ids freed. Changes no answer.
    pub fn sweep(&mut self) -> usize {
        let mut freed = 0;
        loop {
            let swept = self.with_core(|core, now, hasher| core.sweep(now, PIECE, hasher));
            freed += swept.freed;
            if !swept.more {
                return freed;
            }
        }
    }

    /// Checks every invariant in linear time, for tests and fuzzing.
    ///
    /// # Panics
    ///
    /// Panics if an invariant does not hold.
    #[doc(hidden)]
    pub fn validate(&self) {
        self.core.validate(&self.hasher);
    }
}

impl<K: ?Sized + Key, V, S> fmt::Debug for DedupMap<K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DedupMap")
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

/// Remembers ids for a time, up to a bound: the single-threaded [`DedupSet`](crate::DedupSet).
///
/// ```
/// use leakproof::unsync::DedupSet;
/// use std::time::Duration;
///
/// let mut seen = DedupSet::<str>::new(1_000, Duration::from_secs(60));
/// assert!(seen.insert("a"));
/// assert!(!seen.insert("a"));
/// ```
pub struct DedupSet<K: ?Sized + Key, S = DefaultHashBuilder>(pub(super) DedupMap<K, (), S>);

impl<K: ?Sized + Key> DedupSet<K> {
    /// Returns a set that remembers up to `max_entries` ids for `ttl` each.
    ///
    /// # Panics
    ///
    /// Panics if `max_entries` or `ttl` is out of range. [`builder`](Self::builder) returns an
    /// error instead.
    #[must_use]
    #[track_caller]
    pub fn new(max_entries: usize, ttl: Duration) -> Self {
        match Self::builder().ttl(ttl).max_entries(max_entries).build() {
            Ok(set) => set,
            Err(error) => panic!("unsync::DedupSet::new: {error}"),
        }
    }

    /// Returns a builder with every option at its default.
    pub fn builder() -> DedupBuilder<Self> {
        DedupBuilder::new()
    }
}

impl<K: ?Sized + Key, S> DedupSet<K, S> {
    /// Returns the number of live ids.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns `true` if no id is live.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the bound on the number of ids.
    #[must_use]
    pub fn max_entries(&self) -> usize {
        self.0.max_entries()
    }

    /// Returns the time for which an id is remembered.
    #[must_use]
    pub fn ttl(&self) -> Duration {
        self.0.ttl()
    }

    /// Returns the present size and the counters.
    #[must_use]
    pub fn stats(&self) -> DedupStats {
        self.0.stats()
    }

    /// Returns an iterator over the live ids and their ages, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (&K, Duration)> + '_ {
        self.0.iter().map(|(key, (), age)| (key, age))
    }
}

impl<K: ?Sized + Key, S: BuildHasher> DedupSet<K, S> {
    /// Records an id. Returns `true` if it is new: see
    /// [`DedupSet::insert`](crate::DedupSet::insert).
    #[inline]
    pub fn insert(&mut self, key: &K) -> bool {
        let hash = self.0.hash(key);
        self.0
            .with_core(|core, now, hasher| core.insert(now, hash, key, hasher))
    }

    /// Records an id, and returns the age of a duplicate: see [`DedupMap::record`].
    pub fn record(&mut self, key: &K) -> Recorded<()> {
        self.0.record(key, ())
    }

    /// [`insert`](Self::insert)s many ids. Returns one answer for each. The first of equal ids is
    /// new.
    ///
    /// Faster than one by one, because the cache misses of up to 32 ids overlap.
    pub fn insert_batch<Q: AsKey<K>>(&mut self, keys: impl IntoIterator<Item = Q>) -> Vec<bool> {
        let mut keys = keys.into_iter();
        let mut answers = Vec::with_capacity(keys.size_hint().0);
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let hashed = keys.by_ref().take(BATCH);
            batch.extend(hashed.map(|key| (self.0.hash(key.as_key()), key)));
            if batch.is_empty() {
                return answers;
            }
            self.0.with_core(|core, now, hasher| {
                core.touch(batch.iter().map(|&(hash, _)| hash));
                for (hash, key) in batch.drain(..) {
                    answers.push(core.insert(now, hash, key.as_key(), hasher));
                }
            });
        }
    }

    /// Returns `true` if the id is recorded and live. Refreshes nothing.
    #[must_use]
    pub fn contains(&self, key: &K) -> bool {
        self.0.contains_key(key)
    }

    /// Returns the time since a live id was recorded. Refreshes nothing.
    #[must_use]
    pub fn age(&self, key: &K) -> Option<Duration> {
        self.0.age(key)
    }

    /// Removes a recorded id. Returns `true` if it was live. Its next delivery is new. An id in
    /// flight stays with its token.
    pub fn remove(&mut self, key: &K) -> bool {
        self.0.remove(key).is_some()
    }

    /// Claims an id: see [`DedupMap::claim`].
    pub fn claim(&mut self, key: &K) -> Claim<Token, ()> {
        self.0.claim(key)
    }

    /// Records a claimed id as handled. Its ttl begins now. If the key alone exceeds `max_bytes`,
    /// nothing is recorded.
    ///
    /// # Errors
    ///
    /// Returns [`LeaseExpired`] if the lease has expired. Nothing is changed then.
    pub fn commit(&mut self, token: Token) -> Result<(), LeaseExpired> {
        self.0.commit(token, ())
    }

    /// Releases a claimed id. Its next delivery is fresh.
    pub fn release(&mut self, token: Token) {
        self.0.release(token);
    }

    /// Lets the lease of a claim end `duration` from now, or when it would end anyway if that is
    /// later.
    ///
    /// # Errors
    ///
    /// Returns [`LeaseExpired`] if the lease has expired.
    pub fn extend(&mut self, token: &Token, duration: Duration) -> Result<(), LeaseExpired> {
        self.0.extend(token, duration)
    }

    /// Returns the key of a claim, or `None` if its lease has expired or the key is not stored.
    #[must_use]
    pub fn claimed_key(&self, token: &Token) -> Option<&K> {
        self.0.claimed_key(token)
    }

    /// Removes all recorded ids, in time proportional to their number. Claims stay with their
    /// tokens.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Frees the memory of expired, evicted and removed ids: see [`DedupMap::sweep`].
    pub fn sweep(&mut self) -> usize {
        self.0.sweep()
    }

    /// Checks every invariant in linear time, for tests and fuzzing.
    ///
    /// # Panics
    ///
    /// Panics if an invariant does not hold.
    #[doc(hidden)]
    pub fn validate(&self) {
        self.0.validate();
    }
}

impl<K: ?Sized + Key, S> fmt::Debug for DedupSet<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DedupSet")
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
