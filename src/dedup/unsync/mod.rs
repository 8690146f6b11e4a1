//! The single-threaded map and set: the core with a clock and a hasher.

mod set;

use std::fmt;
use std::hash::BuildHasher;
use std::time::Duration;

use super::builder::DedupBuilder;
use super::claim::{Claim, LeaseExpired, Recorded, Token};
use super::core::Core;
use super::log::columns::KeyColumn;
use crate::clock::{Clock, Nanos, nanos};
use crate::dedup::Key;
use crate::hash::DefaultHashBuilder;
use crate::panic::FirstPanic;
use crate::stats::DedupStats;

pub use set::DedupSet;

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
    pub(crate) fn from_parts(core: Core<K, V>, clock: Clock, hasher: S) -> Self {
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

    /// Returns the time after which a claim expires.
    #[must_use]
    pub fn lease(&self) -> Duration {
        Duration::from_nanos(self.core.limits().lease)
    }

    /// Returns the present size and the counters.
    #[must_use]
    pub fn stats(&self) -> DedupStats {
        self.core.stats(self.now())
    }

    /// Returns an iterator over the live ids with their values and ages, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V, Duration)> + '_ {
        let now = self.now();
        let mut next = None;
        std::iter::from_fn(move || self.core.next_entry(now, &mut next))
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
    #[doc(alias = "contains")]
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
        let in_time = self.with_core(|core, now, hasher| {
            core.commit(now, &token, &mut value, &mut None, &mut None, hasher)
        });
        match value {
            Some(value) if !in_time => Err(LeaseExpired { value }),
            _ => Ok(()),
        }
    }

    /// Releases a claimed id. Its next delivery is fresh.
    pub fn release(&mut self, token: Token) {
        self.with_core(|core, now, hasher| {
            core.release(now, &token, hasher);
        });
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
