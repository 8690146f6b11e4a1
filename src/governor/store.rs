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
use super::shard::{Rules, Shard};
use crate::hash::{DefaultHashBuilder, hash};
use crate::sharded::{Sharded, share_of_count};
use crate::stats::{RateLimitStats, Usage};
use crate::sweep::{Sweep, Swept, Watch};

/// Keys that [`retain_recent`](ShrinkableKeyedStateStore::retain_recent) removes under one lock.
const REMOVED_PER_LOCK: usize = 1024;

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
        let share = |shard| share_of_count(max_entries, shard, shards);
        let inner = Inner {
            shards: Sharded::new((0..shards).map(|shard| Shard::new(share(shard)))),
            max_entries,
            quota,
            rules: Rules::new(quota, when_full),
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
                let mut locked = shards.lock(shard);
                locked.remove_replenished(drop_below.as_u64(), REMOVED_PER_LOCK, &mut removed);
                drop(locked);
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
