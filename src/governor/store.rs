//! `BoundedStateStore`: keys behind locks, with a hasher, behind `&self`.

use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::sync::{Arc, Weak};

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::state::keyed::ShrinkableKeyedStateStore;
use governor::{Quota, RateLimiter};

use super::builder::{BoundedStateStoreBuilder, WhenFull};
use crate::clock::nanos;
use crate::hash::{DefaultHashBuilder, hash};
use crate::lru::KeyedDeadlines;
use crate::removal::RemovalCause;
use crate::sharded::{Sharded, share_of_count};
use crate::stats::{RateLimitStats, Usage};
use crate::sweep::{Sweep, Swept, Watch};

/// Keys that [`retain_recent`](ShrinkableKeyedStateStore::retain_recent) removes under one lock.
const REMOVED_PER_LOCK: usize = 1024;

/// A state that no clock reaches: in 292 years.
const NEVER: u64 = u64::MAX / 2;

/// The state of a keyed [`RateLimiter`] for a bounded number of keys.
///
/// The stores of `governor` keep a state for each key that was ever checked, until the application
/// calls `retain_recent`. This store holds at most `max_entries` keys and needs no such call.
///
/// A key is *replenished* if its quota is as unused as that of a key that was never checked. The
/// limiter treats both alike, so a full store replaces replenished keys first. While nothing is
/// evicted or rejected, the answers are exactly those of the stores of `governor`. If no key of a
/// full shard is replenished, [`WhenFull`] determines the answer to a new key: by default, the
/// check is denied.
///
/// Clones are handles on the same store. A limiter owns its store, so keep a clone to read the
/// statistics and to watch the store with a `Monitor`. Use a store for one limiter only.
///
/// # Cost
///
/// A check locks one shard. A check that is allowed takes up to `log4(n)` steps in a heap for `n`
/// keys in the shard, 10 for a million. With 1,000 keys, a check takes up to 1.6 times as long
/// as with the `DashMap` store of `governor`, and with 100,000 keys 2 to 3 times as long. A key
/// takes its own size and about 60 bytes, in a store that is full. There is no background thread.
///
/// A key's `Hash`, `Eq` and `Clone`, and the limiter's middleware, run while a shard is locked and
/// must not call back into the limiter. A panic in them leaves the store consistent. In a full
/// store, a check of a new key calls the middleware up to three times. The last call is the answer.
///
/// # Examples
///
/// A chat sends up to 20 messages at once, and then one every 3 seconds, for 100,000 chats at a
/// time. A steady flood from one chat thus gets 39 messages through in its first minute. For at
/// most 20 in any minute, use half of it: `Quota::per_minute(10)` is 10 at once, and one every 6
/// seconds.
///
/// ```
/// use governor::clock::{Clock, DefaultClock};
/// use governor::{Quota, RateLimiter};
/// use leakproof::governor::BoundedStateStore;
/// use std::num::NonZeroU32;
///
/// type ChatLimiter = RateLimiter<i64, BoundedStateStore<i64>, DefaultClock>;
///
/// let quota = Quota::per_minute(NonZeroU32::new(20).unwrap());
/// let chats = BoundedStateStore::<i64>::new(100_000, quota);
/// let limiter: ChatLimiter = chats.limiter(DefaultClock::default());
///
/// for _ in 0..20 {
///     assert!(limiter.check_key(&1_203_630).is_ok());
/// }
/// let denied = limiter.check_key(&1_203_630).unwrap_err();
/// let retry_after = denied.wait_time_from(limiter.clock().now());
/// assert!(retry_after.as_secs() <= 3, "one message every 3 seconds");
/// assert_eq!((chats.stats().allowed, chats.stats().limited), (20, 1));
/// ```
pub struct BoundedStateStore<K, S = DefaultHashBuilder> {
    inner: Arc<Inner<K, S>>,
}

/// The state that the handles share. A monitor holds it weakly.
struct Inner<K, S> {
    shards: Sharded<Shard<K>>,
    max_entries: usize,
    quota: Quota,
    rules: Rules,
    hasher: S,
}

/// The rules of a full shard.
#[derive(Clone, Copy)]
struct Rules {
    when_full: WhenFull,
    /// The time by which a state may be in the future for a check to be allowed: GCRA's tau.
    tolerance: u64,
}

// In this order, see `Sharded`.
#[repr(C)]
struct Shard<K> {
    allowed: u64,
    limited: u64,
    inserted: u64,
    expired: u64,
    evicted: u64,
    rejected: u64,
    high_water: usize,
    max_entries: usize,
    /// The deadline of a key is its state: from then on the key is replenished.
    keys: KeyedDeadlines<K>,
}

impl<K> Shard<K> {
    fn new(max_entries: usize) -> Self {
        Self {
            allowed: 0,
            limited: 0,
            inserted: 0,
            expired: 0,
            evicted: 0,
            rejected: 0,
            high_water: 0,
            max_entries,
            keys: KeyedDeadlines::new(),
        }
    }

    /// Checks a key. `decide` returns the successor of a state, or denies the check. The caller
    /// drops the `removed` key after it unlocks.
    fn check<T, E>(
        &mut self,
        hash: u64,
        key: &K,
        decide: impl Fn(Option<u64>) -> Result<(T, u64), E>,
        rules: Rules,
        removed: &mut Option<K>,
    ) -> Result<T, E>
    where
        K: Eq + Clone,
    {
        let found = self.keys.find(hash, key);
        let state = found.map(|slot| self.keys.deadline(slot));
        if let (Some(slot), WhenFull::EvictLru) = (found, rules.when_full) {
            // Even if the check is denied: a key that always exceeds its quota keeps its history.
            self.keys.access(slot);
        }
        let (outcome, next) = decide(state).inspect_err(|_| self.limited += 1)?;
        if let Some(slot) = found {
            self.keys.set(slot, next);
        } else {
            let victim = if self.keys.len() < self.max_entries {
                None
            } else {
                let victim = self.victim(next, &decide, rules.when_full);
                if victim.is_none() {
                    return self.reject(decide, rules.tolerance);
                }
                victim
            };
            // Before anything is removed, because it may panic.
            let key = key.clone();
            if let Some((slot, cause)) = victim {
                *removed = Some(self.remove(slot, cause));
            }
            self.keys.push(hash, key, next, self.max_entries);
            self.inserted += 1;
            self.high_water = self.high_water.max(self.keys.len());
        }
        self.allowed += 1;
        Ok(outcome)
    }

    /// Returns the key that a new one replaces, and why. `next` is the successor of no state.
    fn victim<T, E>(
        &self,
        next: u64,
        decide: impl Fn(Option<u64>) -> Result<(T, u64), E>,
        when_full: WhenFull,
    ) -> Option<(u32, RemovalCause)> {
        let (first, state) = self.keys.first()?;
        // In GCRA the successor is `max(state, now) + cost`. So equal successors mean that the
        // state is not after the present time. `next` itself is after it, because cells cost time.
        let is_fresh = state < next && matches!(decide(Some(state)), Ok((_, it)) if it == next);
        if is_fresh {
            return Some((first, RemovalCause::Expired));
        }
        match when_full {
            WhenFull::Reject => None,
            WhenFull::EvictLru => Some((self.keys.least_recent()?, RemovalCause::Evicted)),
        }
    }

    /// Denies the check of a new key until the first key is replenished.
    ///
    /// Only `decide` can make the answer, for a state whose excess over the tolerance ends then.
    #[cold]
    fn reject<T, E>(
        &mut self,
        decide: impl Fn(Option<u64>) -> Result<(T, u64), E>,
        tolerance: u64,
    ) -> Result<T, E> {
        self.rejected += 1;
        let until = self.keys.first().map_or(NEVER, |(_, state)| state);
        decide(Some(until.saturating_add(tolerance)))
            // The quota of this limiter has a longer burst than that of the store.
            .and_then(|_| decide(Some(NEVER)))
            .map(|(outcome, _)| outcome)
    }

    fn remove(&mut self, slot: u32, cause: RemovalCause) -> K {
        *match cause {
            RemovalCause::Expired => &mut self.expired,
            _ => &mut self.evicted,
        } += 1;
        self.keys.remove(slot)
    }

    fn stats(&self) -> RateLimitStats {
        RateLimitStats {
            len: self.keys.len(),
            max_entries: self.max_entries,
            high_water: self.high_water,
            allowed: self.allowed,
            limited: self.limited,
            inserted: self.inserted,
            expired: self.expired,
            evicted: self.evicted,
            rejected: self.rejected,
        }
    }

    fn validate(&self) {
        self.keys.validate();
        assert!(self.keys.len() <= self.max_entries, "the bound holds");
        assert_eq!(
            self.inserted - self.expired - self.evicted,
            self.keys.len() as u64,
            "every key that was stored is here or was removed"
        );
    }
}

impl<K> BoundedStateStore<K> {
    /// Creates a store of up to `max_entries` keys, each with this quota, that rejects new keys if
    /// it is full.
    ///
    /// # Panics
    ///
    /// Panics if `max_entries` is zero or too large. [`builder`](Self::builder) returns an error
    /// instead.
    #[must_use]
    #[track_caller]
    pub fn new(max_entries: usize, quota: Quota) -> Self {
        let builder = Self::builder().max_entries(max_entries).quota(quota);
        match builder.build() {
            Ok(store) => store,
            Err(error) => panic!("BoundedStateStore::new: {error}"),
        }
    }

    /// Returns a builder with every option at its default.
    pub fn builder() -> BoundedStateStoreBuilder<K> {
        BoundedStateStoreBuilder::new()
    }
}

impl<K, S> BoundedStateStore<K, S> {
    pub(super) fn with_shards(
        max_entries: usize,
        shards: usize,
        quota: Quota,
        when_full: WhenFull,
        hasher: S,
    ) -> Self {
        // The same rule as in `governor`: a cell takes at least a nanosecond.
        let interval = nanos(quota.replenish_interval()).max(1);
        let rules = Rules {
            when_full,
            tolerance: interval.saturating_mul(u64::from(quota.burst_size().get() - 1)),
        };
        let share = |shard| share_of_count(max_entries, shard, shards);
        let inner = Inner {
            shards: Sharded::new((0..shards).map(|shard| Shard::new(share(shard)))),
            max_entries,
            quota,
            rules,
            hasher,
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Returns the bound on the number of keys.
    #[must_use]
    pub fn max_entries(&self) -> usize {
        self.inner.max_entries
    }

    /// Returns the quota of each key.
    #[must_use]
    pub fn quota(&self) -> Quota {
        self.inner.quota
    }

    /// Returns the number of keys, including replenished ones. Locks each shard once.
    #[must_use]
    pub fn len(&self) -> usize {
        self.stats().len
    }

    /// Returns `true` if there is no key. Costs as much as [`len`](Self::len).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the size, the bound, and counters. Costs as much as [`len`](Self::len).
    #[must_use]
    pub fn stats(&self) -> RateLimitStats {
        self.inner.stats()
    }

    /// Checks every invariant, in time proportional to the size; for tests and fuzzing.
    ///
    /// # Panics
    ///
    /// Panics if an invariant does not hold.
    #[doc(hidden)]
    pub fn validate(&self) {
        let shards = &self.inner.shards;
        (0..shards.len()).for_each(|shard| shards.lock(shard).validate());
    }
}

impl<K: Hash + Eq + Clone, S: BuildHasher> BoundedStateStore<K, S> {
    /// Creates the limiter with this store, with the quota of the store.
    ///
    /// `RateLimiter::new` does the same, but accepts another quota. A quota with a longer burst
    /// changes one answer: the check of a rejected key is then denied for centuries.
    pub fn limiter<C: Clock>(
        &self,
        clock: C,
    ) -> RateLimiter<K, Self, C, NoOpMiddleware<C::Instant>> {
        RateLimiter::new(self.quota(), self.clone(), clock)
    }
}

impl<K: Hash + Eq + Clone, S: BuildHasher> StateStore for BoundedStateStore<K, S> {
    type Key = K;

    fn measure_and_replace<T, F, E>(&self, key: &K, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let Inner {
            shards,
            rules,
            hasher,
            ..
        } = &*self.inner;
        let hash = hash(hasher, key);
        let decide = |state: Option<u64>| {
            let (outcome, next) = f(state.map(Nanos::from))?;
            Ok((outcome, next.as_u64()))
        };
        // Before the guard, so that it is dropped after it.
        let mut removed = None;
        let mut shard = shards.lock(shards.shard_of(hash));
        shard.check(hash, key, decide, *rules, &mut removed)
    }
}

/// Not needed to bound the memory. It returns the memory of replenished keys after a spike.
impl<K: Hash + Eq + Clone, S: BuildHasher> ShrinkableKeyedStateStore<K>
    for BoundedStateStore<K, S>
{
    fn retain_recent(&self, drop_below: Nanos) {
        let shards = &self.inner.shards;
        for shard in 0..shards.len() {
            let mut removed = Vec::new();
            loop {
                let mut shard = shards.lock(shard);
                while let Some((slot, state)) = shard.keys.first() {
                    if state > drop_below.as_u64() || removed.len() == REMOVED_PER_LOCK {
                        break;
                    }
                    removed.push(shard.remove(slot, RemovalCause::Expired));
                }
                drop(shard);
                if removed.is_empty() {
                    break;
                }
                removed.clear();
            }
        }
    }

    fn len(&self) -> usize {
        self.len()
    }

    fn is_empty(&self) -> bool {
        self.is_empty()
    }
}

impl<K, S> Inner<K, S> {
    fn stats(&self) -> RateLimitStats {
        let mut stats = RateLimitStats::default();
        for shard in 0..self.shards.len() {
            stats.merge(&self.shards.lock(shard).stats());
        }
        stats
    }
}

/// A clone is a handle on the same store.
impl<K, S> Clone for BoundedStateStore<K, S> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

impl<K, S> fmt::Debug for BoundedStateStore<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoundedStateStore")
            .field("quota", &self.inner.quota)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

impl<K, S> Sweep for Inner<K, S>
where
    K: Send + 'static,
    S: Send + Sync + 'static,
{
    /// Frees nothing: without a check, the store does not know the time of its limiter.
    fn sweep_some(&self, _budget: usize) -> Swept {
        Swept::default()
    }

    fn usage(&self) -> Usage {
        self.stats().usage()
    }
}

impl<K, S> Watch for BoundedStateStore<K, S>
where
    K: Send + 'static,
    S: Send + Sync + 'static,
{
    fn downgrade_to_sweep(&self) -> Weak<dyn Sweep> {
        Arc::downgrade(&self.inner) as Weak<dyn Sweep>
    }
}
