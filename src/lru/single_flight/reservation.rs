//! `Reservation`: the right to compute the value of a key.

use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::time::Duration;

use super::Leader;
use crate::clock::nanos;
use crate::hash::DefaultHashBuilder;
use crate::lru::attributes::Attributes;
use crate::lru::removal::RemovedEntries;
use crate::wait::Wakers;

/// The result of [`LruCache::get_or_reserve`](crate::LruCache::get_or_reserve).
#[derive(Debug)]
#[must_use = "a reservation is given up when it is dropped"]
pub enum Lookup<K, V, S = DefaultHashBuilder> {
    /// A clone of the value.
    Hit(V),
    /// The key has no value, and no other caller computes it.
    Vacant(Reservation<K, V, S>),
}

/// The right to compute the value of a key. All other callers that need it wait.
///
/// A reservation that is dropped, by an early return, a panic or a cancelled future, passes on to
/// the first of the waiting callers. It owns a handle on the cache, and is `Send` if key and value
/// are, so it may be held across `.await` and move to a spawned task.
#[must_use = "a reservation is given up when it is dropped"]
pub struct Reservation<K, V, S = DefaultHashBuilder> {
    pub(super) leader: Leader<K, V, S>,
    key: K,
}

impl<K, V, S> Reservation<K, V, S> {
    pub(super) fn new(leader: Leader<K, V, S>, key: K) -> Self {
        Self { leader, key }
    }

    /// Returns the key.
    #[must_use]
    pub fn key(&self) -> &K {
        &self.key
    }
}

impl<K: Hash + Eq, V: Clone, S: BuildHasher> Reservation<K, V, S> {
    /// Stores the value, and returns it. Every waiting caller gets a clone.
    ///
    /// The value is not stored if the key was written or removed since the reservation, or if it is
    /// too heavy. The waiting callers get it nevertheless.
    pub fn insert(self, value: V) -> V {
        let attributes = self.leader.cache.rules().attributes(&self.key, &value);
        self.store(value, attributes)
    }

    /// Does the same as [`insert`](Self::insert), with a ttl of the entry's own, for values that
    /// come with one, such as a token.
    ///
    /// ```
    /// # use leakproof::{Lookup, LruCache, ManualClock};
    /// # use std::time::Duration;
    /// # let (hour, time) = (Duration::from_secs(3600), ManualClock::new());
    /// let tokens = LruCache::<String, String>::builder()
    ///     .max_entries(100)
    ///     .ttl(hour)
    ///     .clock(&time)
    ///     .build()?;
    /// if let Lookup::Vacant(reservation) = tokens.get_or_reserve("ada") {
    ///     let (token, expires_in) = ("secret".to_string(), hour / 2);
    ///     reservation.insert_with_ttl(token, expires_in);
    /// }
    /// time.advance(hour / 2);
    /// assert_eq!(tokens.get("ada"), None);
    /// # Ok::<(), leakproof::BuildError>(())
    /// ```
    pub fn insert_with_ttl(self, value: V, ttl: Duration) -> V {
        let attributes = Attributes {
            weight: self.leader.cache.rules().weight(&self.key, &value),
            ttl: Some(nanos(ttl)),
        };
        self.store(value, attributes)
    }

    fn store(self, value: V, attributes: Attributes) -> V {
        let Self { mut leader, key } = self;
        let (cache, hash) = (&leader.cache, leader.hash);
        let (for_waiting, returned) = (value.clone(), value.clone());
        let now = cache.now();
        let mut removed = RemovedEntries::new(cache.notifier());
        let mut wakers = Wakers::default();
        let (stored, _key) = cache.with_shard(cache.shard_of(hash), |shard| {
            let in_flight = shard.in_flight.end(hash, &leader.computation);
            let stored = match in_flight {
                Some(_) => {
                    let core = &mut shard.core;
                    let inserted = core.insert(now, hash, key, value, attributes, &mut removed);
                    Ok(inserted.displaced)
                }
                // Superseded. The value is dropped after the lock is released.
                None => Err((key, value)),
            };
            leader.computation.finish(for_waiting, &mut wakers);
            (stored, in_flight)
        });
        // Before callbacks are called, which may need what a waiting caller computes from this
        // value.
        drop(wakers);
        if let Ok(displaced) = stored {
            if let Some(removal) = removed.finish(displaced) {
                cache.notifier().discard(removal);
            }
        }
        drop(removed);
        leader.is_finished = true;
        returned
    }
}

impl<K, V, S> fmt::Debug for Reservation<K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation").finish_non_exhaustive()
    }
}
