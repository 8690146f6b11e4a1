//! `unsync::DedupSet`: an [`unsync::DedupMap`](DedupMap) without values.

use std::fmt;
use std::hash::BuildHasher;
use std::time::Duration;

use super::super::BATCH;
use super::super::builder::DedupBuilder;
use super::super::claim::{Claim, LeaseExpired, Recorded, Token};
use super::DedupMap;
use crate::dedup::{AsKey, Key};
use crate::hash::DefaultHashBuilder;
use crate::stats::DedupStats;

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
pub struct DedupSet<K: ?Sized + Key, S = DefaultHashBuilder>(pub(crate) DedupMap<K, (), S>);

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

    /// Returns the time after which a claim expires.
    #[must_use]
    pub fn lease(&self) -> Duration {
        self.0.lease()
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
