//! `DedupSet`: a [`DedupMap`] without values.

use std::fmt;
use std::hash::BuildHasher;
use std::sync::Weak;
use std::time::Duration;

use super::DedupMap;
use super::builder::DedupBuilder;
use super::claim::{Claim, Recorded, SetTicket};
use crate::dedup::{AsKey, Key};
use crate::hash::DefaultHashBuilder;
use crate::stats::DedupStats;
use crate::sweep::{Sweep, Watch};

/// Remembers ids for a time, up to a bound: a [`DedupMap`] without values.
///
/// If ids are `String`s, use a `DedupSet<str>`. A `DedupSet<String>` would allocate for each id.
///
/// ```
/// use leakproof::DedupSet;
/// use std::time::Duration;
///
/// let seen = DedupSet::<str>::new(1_000_000, Duration::from_secs(24 * 3600));
/// assert!(seen.insert("1203630@g.us:3EB0C767D26A")); // new: handle it
/// assert!(!seen.insert("1203630@g.us:3EB0C767D26A")); // a redelivery
/// ```
pub struct DedupSet<K: ?Sized + Key, S = DefaultHashBuilder>(pub(super) DedupMap<K, (), S>);

impl<K: ?Sized + Key, S> Clone for DedupSet<K, S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: ?Sized + Key + Send + 'static> DedupSet<K> {
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
            Err(error) => panic!("DedupSet::new: {error}"),
        }
    }
}

impl<K: ?Sized + Key> DedupSet<K> {
    /// Returns a builder with every option at its default.
    pub fn builder() -> DedupBuilder<Self> {
        DedupBuilder::new()
    }
}

impl<K: ?Sized + Key, S> DedupSet<K, S> {
    /// Returns the number of live ids. Locks each shard once.
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

    /// Returns the present size and the counters. Locks each shard once.
    #[must_use]
    pub fn stats(&self) -> DedupStats {
        self.0.stats()
    }

    /// Calls `visit` with every live id and its age, oldest first: see [`DedupMap::for_each`].
    pub fn for_each(&self, mut visit: impl FnMut(&K, Duration))
    where
        K: ToOwned,
    {
        self.0.for_each(|id, (), age| visit(id, age));
    }
}

impl<K: ?Sized + Key, S: BuildHasher> DedupSet<K, S> {
    /// Records an id. Returns `true` if it is new, as
    /// [`HashSet::insert`](std::collections::HashSet::insert) does, and `false` if it was recorded
    /// within the ttl or is in flight.
    ///
    /// Checking and recording are one step: exactly one of any number of concurrent calls returns
    /// `true`. At a bound, the oldest ids are evicted, never the new one. Costs about one cache
    /// miss for a new id.
    ///
    /// Every call returns `true` for an id that does not fit into `max_bytes`. Such an id is not
    /// stored, and counted as rejected. [`record`](Self::record) distinguishes the two cases.
    ///
    /// The id is borrowed, and copied only if it is new: pass `&id`, and clone nothing.
    #[inline]
    pub fn insert(&self, key: &K) -> bool {
        self.0.insert(key)
    }

    /// Records an id, and returns the age of a duplicate: see [`DedupMap::record`].
    pub fn record(&self, key: &K) -> Recorded<()> {
        self.0.record(key, ())
    }

    /// [`insert`](Self::insert)s many ids. Returns one answer for each. The first of equal ids is
    /// new.
    ///
    /// This is faster than one call per id, because a lock is taken once for many ids, and the
    /// cache misses of up to 32 overlap. Other threads may insert between two ids of a batch.
    ///
    /// ```
    /// # use leakproof::DedupSet;
    /// # use std::time::Duration;
    /// let seen = DedupSet::<str>::new(1_000, Duration::from_secs(3600));
    /// assert_eq!(seen.insert_batch(["a", "b", "a"]), [true, true, false]);
    /// ```
    pub fn insert_batch<Q: AsKey<K>>(&self, keys: impl IntoIterator<Item = Q>) -> Vec<bool> {
        self.0.insert_batch(keys)
    }

    /// Returns `true` if the id is recorded and live. An id in flight is not recorded, so it
    /// returns `false`. Refreshes nothing.
    #[must_use]
    pub fn contains(&self, key: &K) -> bool {
        self.0.contains_key(key)
    }

    /// Returns the time since a live id was recorded, or `None` if the id is not live. Refreshes
    /// nothing.
    #[must_use]
    pub fn age(&self, key: &K) -> Option<Duration> {
        self.0.age(key)
    }

    /// Removes a recorded id. Returns `true` if it was live. Its next delivery is new. An id in
    /// flight stays with its ticket.
    pub fn remove(&self, key: &K) -> bool {
        self.0.remove(key).is_some()
    }

    /// Claims an id before it is handled: see [`DedupMap::claim`].
    ///
    /// ```
    /// use leakproof::{Claim, DedupSet};
    /// use std::time::Duration;
    ///
    /// let seen = DedupSet::<str>::new(1_000, Duration::from_secs(3600));
    /// if let Claim::Fresh(ticket) = seen.claim("id") {
    ///     // Handle it here. If that fails, the ticket is dropped, and the redelivery is fresh.
    ///     ticket.commit()?;
    /// }
    /// assert!(seen.contains("id"));
    /// # Ok::<(), leakproof::LeaseExpired>(())
    /// ```
    pub fn claim(&self, key: &K) -> Claim<SetTicket<'_, K, S>, ()> {
        self.0.claim(key).map(SetTicket)
    }

    /// Like [`claim`](Self::claim), but the ticket owns a handle on the set, for a thread or a
    /// task.
    pub fn claim_owned(&self, key: &K) -> Claim<SetTicket<'static, K, S>, ()> {
        self.0.claim_owned(key).map(SetTicket)
    }

    /// Claims an id, and waits while it is in flight: see [`DedupMap::claim_wait`].
    pub async fn claim_wait<'a>(&'a self, key: &K) -> Claim<SetTicket<'a, K, S>, ()> {
        self.0.claim_wait(key).await.map(SetTicket)
    }

    /// Like [`claim_wait`](Self::claim_wait), but future and ticket own a handle on the set and a
    /// copy of the key, for a task that is spawned.
    pub fn claim_wait_owned(
        &self,
        key: &K,
    ) -> impl Future<Output = Claim<SetTicket<'static, K, S>, ()>> + use<K, S>
    where
        K: ToOwned + 'static,
        S: 'static,
    {
        let claim = self.0.claim_wait_owned(key);
        async move { claim.await.map(SetTicket) }
    }

    /// Does what [`claim_wait`](Self::claim_wait) does, and blocks the thread for at most
    /// `timeout`: see [`DedupMap::claim_wait_blocking`].
    pub fn claim_wait_blocking(
        &self,
        key: &K,
        timeout: Duration,
    ) -> Claim<SetTicket<'_, K, S>, ()> {
        self.0.claim_wait_blocking(key, timeout).map(SetTicket)
    }

    /// Removes all recorded ids, in time proportional to their number. Claims stay with their
    /// tickets.
    pub fn clear(&self) {
        self.0.clear();
    }

    /// Frees the memory of expired, evicted and removed ids: see [`DedupMap::sweep`].
    pub fn sweep(&self) -> usize {
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

impl<K, S> Watch for DedupSet<K, S>
where
    K: ?Sized + Key + Send + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    fn downgrade_to_sweep(&self) -> Weak<dyn Sweep> {
        self.0.downgrade_to_sweep()
    }
}

impl<K: ?Sized + Key, S> fmt::Debug for DedupSet<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DedupSet")
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
