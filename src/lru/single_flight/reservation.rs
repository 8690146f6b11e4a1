//! `Reservation`: the right to compute the value of a key.

use std::fmt;
use std::hash::{BuildHasher, Hash};

use super::Leader;
use crate::lru::removal::RemovedEntries;
use crate::wait::Wakers;

/// The result of [`LruCache::get_or_reserve`](crate::LruCache::get_or_reserve).
#[derive(Debug)]
#[must_use = "a reservation is given up when it is dropped"]
pub enum Lookup<K, V, S = crate::DefaultHashBuilder> {
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
pub struct Reservation<K, V, S = crate::DefaultHashBuilder> {
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
        let Self { mut leader, key } = self;
        let (cache, hash) = (&leader.cache, leader.hash);
        let attributes = cache.rules().attributes(&key, &value);
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
