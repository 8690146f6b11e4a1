//! `DedupMap`: shards of the single-threaded map, behind `&self`.
//!
//! A thin shell: it reads the clock, hashes the key, locks the shard, calls the core, and drops what left once the lock is
//! gone. It knows nothing of windows.

mod builder;
mod claim;
pub(crate) mod log;
mod sweeping;
pub(crate) mod unsync;
mod walk;

use std::fmt;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, Nanos};
use crate::dedup::log::store::{SendStore, Store};
use crate::hash::DefaultHashBuilder;
use crate::key::{AsKey, Key};
use crate::sharded::Sharded;
use crate::stats::DedupStats;
pub use builder::DedupBuilder;
pub use claim::{Claim, LeaseExpired, Recorded, Ticket, Token};
use unsync::BATCH;

/// Remembers ids for a time, at most so many, and for each a value.
///
/// It replaces the `HashSet` of message ids that is never cleared. [`DedupSet`] is the same without values.
///
/// An id recorded at `t` is a duplicate for every call in `t..t + ttl`, and fresh from `t + ttl` on, whatever
/// any sweep does, unless the bound evicted it; every such eviction is counted, and the shortest window so caused is
/// reported in [`DedupStats`].
///
/// # Cost
///
/// A new id costs about one cache miss; a batch overlaps them.
///
/// No call does more than a small constant number of entries' worth of work (but `clear`, walks and `Drop`): the
/// index is resized a few entries a call, and a million ids that expire at once are freed by the block. What the
/// allocator does when it returns freed memory to the system is its own affair.
///
/// # Memory
///
/// A map at its bound takes, by the allocator's count, and to within a tenth:
///
/// * **`ids × (key + value + 17)` bytes** where keys are `str` or `[u8]`, and `key` is their length;
/// * **`ids × (key + value + 15)` bytes** where they are of another type, and `key` is its size, to which comes what keys and
///   values own.
///
/// So a million ids of 45 bytes take some 62 MB. Of the 17 bytes 5 are the index's, 8 the time's. While a map is below its
/// bound, its index is larger than it need be: by up to 7 bytes an id. It grows to twice its size a few entries a call,
/// and meanwhile old and new are both there: that is up to 12 bytes an id more, for an eighth as many calls as there are ids.
///
/// Memory comes, and is given back, in blocks of 1,024 ids: a shard has one that is being filled, and one that is being
/// emptied. So one that holds anything takes some 15 KB: many small maps are better one, whose keys a
/// [`CompoundKey`](crate::CompoundKey) makes. An id in flight takes what one with a value of 8 bytes takes.
///
/// # Shards
///
/// The map is cut into independently locked shards, among which the bounds are split exactly. A shard that is full
/// evicts its own oldest id, at some 1% below the whole bound where there are many ids; with `shards(1)` the order is
/// global.
///
/// A key's `Hash`, `Eq` and `Clone` and a value's `Clone` run while a shard is locked, and must not call back into the
/// map. `Drop` never does. A panic in any of them leaves the map consistent.
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
///     Claim::Fresh(ticket) => ticket.commit("the reply".to_string())?, // dropped uncommitted: released
///     Claim::InFlight { since } => println!("being handled for {since:?}"),
///     Claim::Duplicate { age, value } => println!("answered {age:?} ago: {value}"),
///     Claim::Full => println!("too much at once"),
/// }
/// assert_eq!(seen.get("1203630@g.us:3EB0C767D26A").as_deref(), Some("the reply"));
/// # Ok::<(), leakproof::LeaseExpired<String>>(())
/// ```
pub struct DedupMap<K: ?Sized + Key, V, S = DefaultHashBuilder> {
    inner: Arc<Inner<K, V, S>>,
}

/// Remembers ids for a time, at most so many: a [`DedupMap`] of ids alone.
///
/// For ids that are `String`s write `DedupSet::<str>`: a `DedupSet<String>` would allocate for each id.
///
/// ```
/// use leakproof::DedupSet;
/// use std::time::Duration;
///
/// let seen = DedupSet::<str>::new(1_000_000, Duration::from_secs(24 * 3600));
/// assert!(seen.insert("1203630@g.us:3EB0C767D26A")); // not seen within the ttl: handle it
/// assert!(!seen.insert("1203630@g.us:3EB0C767D26A")); // a redelivery
/// ```
pub type DedupSet<K, S = DefaultHashBuilder> = DedupMap<K, (), S>;

impl<K: ?Sized + Key, V, S> Clone for DedupMap<K, V, S> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

/// What a map consists of, so that the sweeper can hold it weakly.
pub(crate) struct Inner<K: ?Sized + Key, V, S> {
    shards: Sharded<unsync::DedupMap<K, V, S>>,
    clock: Clock,
    hasher: S,
}

impl<K, V> DedupMap<K, V>
where
    K: ?Sized + Key<Store: SendStore> + 'static,
    V: Send + 'static,
{
    /// A map that remembers up to `max_entries` ids for `ttl` each.
    ///
    /// # Panics
    ///
    /// Where `ttl` or `max_entries` is zero, or `max_entries` beyond reach; [`builder`](Self::builder) returns an error
    /// instead.
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
    /// All knobs.
    #[must_use]
    pub fn builder() -> DedupBuilder<K, V> {
        DedupBuilder::new()
    }
}

impl<K: ?Sized + Key, V, S> Inner<K, V, S> {
    /// Calls `work` with a shard locked, and drops what left the shard once it is not locked any more.
    #[inline]
    fn with<R>(&self, shard: usize, work: impl FnOnce(&mut unsync::DedupMap<K, V, S>) -> R) -> R {
        let mut core = self.shards.lock(shard);
        let result = work(&mut core);
        let garbage = core.take_garbage();
        drop(core);
        drop(garbage);
        result
    }

    fn stats(&self) -> DedupStats {
        let now = self.clock.nanos();
        let mut stats = self.with(0, |core| core.stats_at(now));
        for shard in 1..self.shards.len() {
            stats.merge(&self.with(shard, |core| core.stats_at(now)));
        }
        stats
    }
}

impl<K: ?Sized + Key, V, S> DedupMap<K, V, S> {
    fn new_inner(shards: Sharded<unsync::DedupMap<K, V, S>>, clock: Clock, hasher: S) -> Self {
        Self {
            inner: Arc::new(Inner {
                shards,
                clock,
                hasher,
            }),
        }
    }

    fn now(&self) -> Nanos {
        self.inner.clock.nanos()
    }

    fn each_shard<R>(
        &self,
        mut work: impl FnMut(&mut unsync::DedupMap<K, V, S>) -> R,
    ) -> impl Iterator<Item = R> {
        (0..self.inner.shards.len()).map(move |shard| self.inner.with(shard, &mut work))
    }

    /// The number of live ids. Locks each shard once.
    #[must_use]
    pub fn len(&self) -> usize {
        let now = self.now();
        self.each_shard(|core| core.len_at(now)).sum()
    }

    /// Whether no id is live.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the map holds, and what left it and why. Locks each shard once.
    #[must_use]
    pub fn stats(&self) -> DedupStats {
        self.inner.stats()
    }

    /// Forgets all recorded ids, in time proportional to their number. Claims stay with their tickets.
    pub fn clear(&self) {
        let now = self.now();
        self.each_shard(|core| core.clear_at(now)).for_each(drop);
    }
}

impl<K: ?Sized + Key, V, S: BuildHasher> DedupMap<K, V, S> {
    /// Calls `work` with the time, the key's hash and its shard.
    #[inline]
    fn on<R>(
        &self,
        key: &K,
        work: impl FnOnce(Nanos, u64, &mut unsync::DedupMap<K, V, S>) -> R,
    ) -> R {
        let hash = K::Store::hash(&self.inner.hasher, key);
        let now = self.now();
        self.inner.with(self.inner.shards.shard_of(hash), |core| {
            work(now, hash, core)
        })
    }

    /// Records an id with a value, unless it was recorded within the ttl or is in flight.
    ///
    /// Checking and recording are one step: of any number of concurrent calls exactly one gets [`Recorded::New`]. At
    /// the bound the oldest id is evicted, never the new one. A key that alone exceeds the bound on bytes, or for which the
    /// ids in flight leave no room within it, is answered as new, and not stored. About one cache miss for a new id.
    pub fn record(&self, key: &K, value: V) -> Recorded<V>
    where
        V: Clone,
    {
        let mut value = Some(value);
        self.on(key, |now, hash, core| {
            let found = core.record_at(now, hash, key, &mut value);
            core.seen(&found)
        })
    }

    /// Whether an id is recorded and live. Refreshes nothing.
    #[must_use]
    pub fn contains_key(&self, key: &K) -> bool {
        self.on(key, |now, hash, core| {
            core.find_at(now, hash, key).is_some()
        })
    }

    /// The value recorded with a live id. Refreshes nothing.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<V>
    where
        V: Clone,
    {
        self.on(key, |now, hash, core| {
            core.find_at(now, hash, key)
                .map(|(seq, _)| core.value(seq).clone())
        })
    }

    /// How long ago a live id was recorded. Refreshes nothing.
    #[must_use]
    pub fn age(&self, key: &K) -> Option<Duration> {
        self.on(key, |now, hash, core| {
            core.find_at(now, hash, key).map(|(_, age)| age)
        })
    }

    /// Forgets a recorded id, whose next delivery is fresh; whether it was live. An id in flight stays with its ticket.
    pub fn remove(&self, key: &K) -> bool {
        self.on(key, |now, hash, core| core.remove_at(now, hash, key))
    }

    /// Claims an id, to handle it: until the [`Ticket`] is committed, dropped or past its lease, every `claim`,
    /// `insert` and `record` of that id answers that it is in flight.
    ///
    /// A ticket that is dropped uncommitted makes the next delivery fresh, so that a handler that fails loses nothing.
    ///
    /// A key that alone exceeds `max_bytes` is [`Fresh`](Claim::Fresh) for everyone, and never in flight: its `commit`
    /// succeeds and records nothing.
    ///
    /// The ticket borrows the map. One that is to be moved into a thread or a task comes from
    /// [`claim_owned`](Self::claim_owned).
    pub fn claim(&self, key: &K) -> Claim<Ticket<'_, K, V, S>, V>
    where
        V: Clone,
    {
        self.claim_with(key, |token| Ticket::borrowed(self, token))
    }

    /// [`claim`](Self::claim) with a ticket that owns a handle on the map, for a spawned task. While the ticket lives,
    /// so does what the map holds.
    ///
    /// ```
    /// use leakproof::{Claim, DedupSet};
    /// use std::time::Duration;
    ///
    /// let seen = DedupSet::<str>::new(1_000, Duration::from_secs(3600));
    /// if let Claim::Fresh(ticket) = seen.claim_owned("id") {
    ///     std::thread::spawn(move || ticket.commit(())).join().unwrap()?;
    /// }
    /// assert!(seen.contains("id"));
    /// # Ok::<(), leakproof::LeaseExpired<()>>(())
    /// ```
    pub fn claim_owned(&self, key: &K) -> Claim<Ticket<'static, K, V, S>, V>
    where
        V: Clone,
    {
        self.claim_with(key, |token| {
            Ticket::owned(
                Self {
                    inner: Arc::clone(&self.inner),
                },
                token,
            )
        })
    }

    fn claim_with<T>(&self, key: &K, ticket: impl FnOnce(Token) -> T) -> Claim<T, V>
    where
        V: Clone,
    {
        let mut claim = self.try_claim(key);
        if matches!(claim, Claim::Full) {
            // Leases that ran out in other shards may still count.
            let now = self.now();
            self.each_shard(|core| core.lapse_at(now)).for_each(drop);
            claim = self.try_claim(key);
            if matches!(claim, Claim::Full) {
                self.on(key, |_, _, core| core.count_shed());
            }
        }
        claim.map(ticket)
    }

    fn try_claim(&self, key: &K) -> Claim<Token, V>
    where
        V: Clone,
    {
        self.on(key, |now, hash, core| {
            let found = core.claim_at(now, hash, key);
            core.claimed(found)
        })
    }

    fn commit(&self, token: &Token, value: V) -> Result<(), LeaseExpired<V>> {
        let (now, mut value) = (self.now(), Some(value));
        self.inner
            .with(self.inner.shards.shard_of(token.hash), |core| {
                core.commit_at(now, token, &mut value)
            })
    }

    fn release(&self, token: &Token) {
        let now = self.now();
        self.inner
            .with(self.inner.shards.shard_of(token.hash), |core| {
                core.release_at(now, token);
            });
    }

    /// Frees the memory of ids that left (expired or evicted); how many were freed. Changes no answer.
    ///
    /// Works in bounded pieces per lock.
    pub fn sweep(&self) -> usize {
        self.inner
            .shards
            .sweep_all(|shard, piece| self.inner.sweep_piece(shard, piece))
    }

    /// Checks every invariant of the structure, in time proportional to its size; for tests and fuzzing.
    ///
    /// # Panics
    ///
    /// Where one does not hold.
    #[doc(hidden)]
    pub fn validate(&self) {
        self.each_shard(|core| core.validate()).for_each(drop);
    }
}

impl<K: ?Sized + Key, S: BuildHasher> DedupMap<K, (), S> {
    /// Returns `true` if the id is recorded and live. Refreshes nothing.
    #[must_use]
    pub fn contains(&self, key: &K) -> bool {
        self.contains_key(key)
    }

    /// Records an id; whether it is new, as of [`HashSet::insert`](std::collections::HashSet::insert). `false` where
    /// it was recorded within the ttl, or is in flight.
    ///
    /// Checking and recording are one step: of any number of concurrent calls exactly one is told `true`. At the bound
    /// the oldest id is evicted, never the new one. About one cache miss for a new id.
    ///
    /// The id is borrowed, and copied only where it is new: pass `&id`, and clone nothing.
    #[inline]
    pub fn insert(&self, key: &K) -> bool {
        self.on(key, |now, hash, core| core.insert_at(now, hash, key))
    }

    /// [`insert`](Self::insert)s many ids: an answer for each. Of equal ids the first is new.
    ///
    /// Faster than one by one, since locks are taken once for many ids and the cache misses of up to 32 overlap.
    ///
    /// ```
    /// # use leakproof::DedupSet;
    /// # use std::time::Duration;
    /// let seen = DedupSet::<str>::new(1_000, Duration::from_secs(3600));
    /// assert_eq!(seen.insert_batch(["a", "b", "a"]), [true, true, false]);
    /// ```
    pub fn insert_batch<Q: AsKey<K>>(&self, keys: impl IntoIterator<Item = Q>) -> Vec<bool> {
        let shards = &self.inner.shards;
        let keys: Vec<(u64, Q)> = keys
            .into_iter()
            .map(|key| (K::Store::hash(&self.inner.hasher, key.as_key()), key))
            .collect();
        let mut order: Vec<usize> = (0..keys.len()).collect();
        order.sort_by_key(|&at| shards.shard_of(keys[at].0));
        let mut answers = vec![false; keys.len()];
        for same_shard in
            order.chunk_by(|&a, &b| shards.shard_of(keys[a].0) == shards.shard_of(keys[b].0))
        {
            for batch in same_shard.chunks(BATCH) {
                let now = self.now();
                self.inner.with(shards.shard_of(keys[batch[0]].0), |core| {
                    core.touch(batch.iter().map(|&at| keys[at].0));
                    for &at in batch {
                        let (hash, key) = &keys[at];
                        answers[at] = core.insert_at(now, *hash, key.as_key());
                    }
                });
            }
        }
        answers
    }
}

impl<K: ?Sized + Key, V, S> fmt::Debug for DedupMap<K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DedupMap")
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
