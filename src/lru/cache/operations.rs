//! The operations of a shared cache on entries: by key, and at the old end of a list.

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash};
use std::time::Duration;

use super::{LruCache, Shard};
use crate::clock::{Nanos, nanos};
use crate::hash::hash;
use crate::lru::attributes::Attributes;
use crate::lru::core::{Core, Drain, Order};
use crate::lru::error::TooHeavy;
use crate::lru::removal::{RemovedEntries, replaced_value};
use crate::panic::FirstPanic;
use crate::removal::RemovalCause;

impl<K: Hash + Eq, V, S: BuildHasher> LruCache<K, V, S> {
    #[inline]
    pub(in crate::lru) fn hash<Q: ?Sized + Hash>(&self, key: &Q) -> u64 {
        hash(&self.inner.hasher, key)
    }

    /// Returns a clone of the live value of a key, and makes its entry the most recently used.
    #[inline]
    pub fn get<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
        V: Clone,
    {
        self.with(key, V::clone)
    }

    /// Calls `read` with the live value of a key, and makes its entry the most recently used.
    ///
    /// `read` is called while a shard is locked. It must not call back into the cache: a call that
    /// needs the same shard deadlocks.
    #[inline]
    #[doc(alias = "view")]
    pub fn with<Q, R>(&self, key: &Q, read: impl FnOnce(&V) -> R) -> Option<R>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
    {
        let hash = self.hash(key);
        let mut shard = self.inner.shards.lock(self.shard_of(hash));
        // The clock is read after the lookup, because the lock would not let the processor overlap
        // an earlier reading with the cache misses of the lookup.
        match shard.core.get(|| self.now(), hash, key) {
            Some(value) => Some(read(value)),
            None => {
                // Before `read`, whose captures may use the cache when they are dropped.
                drop(shard);
                None
            }
        }
    }

    /// Returns a clone of the live value of a key. Refreshes nothing, and counts neither a hit nor
    /// a miss.
    #[must_use]
    pub fn peek<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
        V: Clone,
    {
        self.read(key, |core, now, hash| core.peek(now, hash, key).cloned())
    }

    /// Returns a clone of the live or stale value of a key, as long as the entry is within its
    /// [`stale`](crate::LruBuilder::stale) window. Refreshes nothing, and counts neither a hit nor
    /// a miss.
    #[must_use]
    pub fn peek_stale<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
        V: Clone,
    {
        self.read(key, |core, now, hash| {
            let found = core.peek_or_stale(now, hash, key)?;
            Some(found.into_value().clone())
        })
    }

    /// Returns `true` if a key has a live entry. Refreshes nothing, and counts neither a hit nor a
    /// miss.
    #[must_use]
    #[doc(alias = "contains")]
    pub fn contains_key<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
    {
        self.read(key, |core, now, hash| core.peek(now, hash, key).is_some())
    }

    /// Calls `read` with the core that has a key, the time, and the hash of the key.
    fn read<Q, R>(&self, key: &Q, read: impl FnOnce(&Core<K, V>, Nanos, u64) -> R) -> R
    where
        Q: ?Sized + Hash,
    {
        let hash = self.hash(key);
        let now = self.now();
        self.with_shard(self.shard_of(hash), |shard| read(&shard.core, now, hash))
    }

    /// Stores a value, and returns the live value that it replaces. Calls the removal callback for
    /// that value with [`RemovalCause::Replaced`].
    ///
    /// If the shard is full, expired entries are evicted first, then the one that the
    /// [`Policy`](crate::Policy) chooses: by default the least recently used one.
    /// An entry that alone exceeds its shard's share of `max_weight` is not stored. It is counted
    /// and passed to the removal callback with [`RemovalCause::Rejected`], and what it was to
    /// replace is removed. [`insert_checked`](Self::insert_checked) returns it instead.
    #[inline]
    #[doc(alias = "put")]
    #[doc(alias = "push")]
    pub fn insert(&self, key: K, value: V) -> Option<V> {
        self.insert_checked(key, value)
            .unwrap_or_else(|refused| self.reject(refused))
    }

    /// Does what [`insert`](Self::insert) does, and returns an entry that is too heavy as an error.
    ///
    /// # Errors
    ///
    /// Returns [`TooHeavy`] with the key and the value. What they were to replace is removed
    /// nevertheless, because it is out of date.
    #[inline]
    pub fn insert_checked(&self, key: K, value: V) -> Result<Option<V>, TooHeavy<K, V>> {
        match self.inner.rules.ttl(&key, &value) {
            None => self.store(key, value, None),
            Some(ttl) => self.store_with_ttl(key, value, ttl),
        }
    }

    /// Stores a value that expires after a `ttl` of its own, and returns the live value that it
    /// replaces.
    ///
    /// The ttl may be shorter or longer than that of the cache, which does not apply to this entry.
    /// It is exact: jitter does not apply either. With a ttl of zero, the entry expires at once and
    /// evicts nothing. An idle timeout applies nevertheless. The next write of the key sets a new
    /// ttl.
    ///
    /// Takes up to `O(log n)` steps for `n` entries with an own ttl, as does the removal of such an
    /// entry. It takes about 20 bytes more than others. Too heavy an entry is handled as by
    /// [`insert`](Self::insert).
    ///
    /// ```
    /// use leakproof::{LruCache, ManualClock};
    /// use std::time::Duration;
    ///
    /// let time = ManualClock::new();
    /// let minute = Duration::from_secs(60);
    /// let tokens = LruCache::<&str, &str>::builder().max_entries(100).ttl(minute).clock(&time).build()?;
    /// tokens.insert_with_ttl("short", "a", minute / 2);
    /// tokens.insert("usual", "b");
    /// tokens.insert_with_ttl("long", "c", 2 * minute);
    ///
    /// time.advance(minute / 2);
    /// assert_eq!(["short", "usual", "long"].map(|key| tokens.get(key)), [None, Some("b"), Some("c")]);
    /// time.advance(minute / 2);
    /// assert_eq!(["usual", "long"].map(|key| tokens.get(key)), [None, Some("c")]);
    /// # Ok::<(), leakproof::BuildError>(())
    /// ```
    pub fn insert_with_ttl(&self, key: K, value: V, ttl: Duration) -> Option<V> {
        let stored = self.store_with_ttl(key, value, nanos(ttl));
        stored.unwrap_or_else(|refused| self.reject(refused))
    }

    /// Notifies of an entry that was refused, whose caller does not receive it.
    fn reject(&self, refused: TooHeavy<K, V>) -> Option<V> {
        let TooHeavy { key, value, .. } = refused;
        let notifier = &self.inner.notifier;
        notifier.notify(&key, &value, RemovalCause::Rejected);
        notifier.discard((key, value, RemovalCause::Rejected));
        None
    }

    /// Not inlined: an insert without own ttl would execute 7% more instructions.
    #[inline(never)]
    fn store_with_ttl(&self, key: K, value: V, ttl: Nanos) -> Result<Option<V>, TooHeavy<K, V>> {
        self.store(key, value, Some(ttl))
    }

    #[inline(always)]
    fn store(&self, key: K, value: V, ttl: Option<Nanos>) -> Result<Option<V>, TooHeavy<K, V>> {
        let attributes = Attributes {
            weight: self.inner.rules.weight(&key, &value),
            ttl,
        };
        let hash = self.hash(&key);
        let now = self.now();
        let mut removed = RemovedEntries::new(&self.inner.notifier);
        let shard = self.shard_of(hash);
        let (displaced, _superseded) = self.with_shard(shard, |shard| {
            let superseded = shard.in_flight.supersede(hash, &key);
            let Shard { core, .. } = shard;
            let inserted = core.insert(now, hash, key, value, attributes, &mut removed);
            (inserted.displaced, superseded)
        });
        if let Some((key, value, RemovalCause::Rejected)) = displaced {
            let limits = *self.inner.limits.lock();
            return Err(TooHeavy {
                key,
                value,
                weight: attributes.weight.get(),
                max_weight: limits.share(shard, self.shard_count()).max_weight,
            });
        }
        Ok(replaced_value(removed.finish(displaced)))
    }

    /// Removes the live entry of a key, and returns its value. If a value is being computed for the
    /// key, it is not stored.
    #[doc(alias = "pop")]
    #[doc(alias = "invalidate")]
    pub fn remove<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
    {
        self.remove_entry(key).map(|(_, value)| value)
    }

    /// Does what [`remove`](Self::remove) does, and also returns the stored key.
    #[doc(alias = "pop_entry")]
    pub fn remove_entry<Q>(&self, key: &Q) -> Option<(K, V)>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
    {
        let hash = self.hash(key);
        let now = self.now();
        let mut taken = RemovedEntries::new(&self.inner.notifier);
        let (entry, _superseded) = self.with_shard(self.shard_of(hash), |shard| {
            // First, because it compares keys, which may panic, and an entry that was taken out is
            // to be notified.
            let superseded = shard.in_flight.supersede(hash, key);
            (shard.core.remove(now, hash, key, &mut taken), superseded)
        });
        let (key, value, _) = taken.finish(entry)?;
        Some((key, value))
    }
}

/// Removal.
impl<K, V, S> LruCache<K, V, S> {
    /// Removes and returns the live entry with the oldest access. With
    /// [`Policy::S3Fifo`](crate::Policy::S3Fifo) and without an idle timeout, it is the one that a
    /// shard would evict next.
    ///
    /// Locks each shard, and removes the expired entries before the live one, in a step for each.
    pub fn pop_lru(&self) -> Option<(K, V)> {
        self.pop(Order::Recency)
    }

    /// Removes and returns the live entry with the oldest write. Costs as much as
    /// [`pop_lru`](Self::pop_lru).
    pub fn pop_oldest(&self) -> Option<(K, V)> {
        self.pop(Order::Write)
    }

    fn pop(&self, order: Order) -> Option<(K, V)> {
        let now = self.now();
        loop {
            let first = |shard| {
                self.write_shard(shard, |shard, removed| {
                    shard.core.first_live(now, order, removed)
                })
            };
            let (_, shard) = (0..self.shard_count())
                .filter_map(|shard| Some((first(shard)?.1, shard)))
                .min()?;
            let mut removed = RemovedEntries::new(&self.inner.notifier);
            let popped = self.with_shard(shard, |shard| shard.core.pop(now, order, &mut removed));
            // Another thread may have emptied the shard since.
            if let Some((key, value, _)) = removed.finish(popped) {
                return Some((key, value));
            }
        }
    }

    /// Removes all entries, in time proportional to their number, and frees their memory. A value
    /// whose computation is in progress is not stored.
    #[doc(alias = "invalidate_all")]
    pub fn clear(&self) {
        let now = self.now();
        let mut panics = FirstPanic::default();
        for shard in 0..self.shard_count() {
            let empty = || {
                self.write_shard(shard, |shard, removed| {
                    shard.core.clear(now, removed);
                    shard.in_flight.supersede_all()
                })
            };
            panics.catch(|| drop(empty()));
        }
        panics.resume();
    }

    /// Removes all entries, and returns the live ones in no particular order.
    ///
    /// The removal callback is called for all of them before this returns. A value whose
    /// computation is in progress is not stored.
    pub fn drain(&self) -> Drain<K, V> {
        let now = self.now();
        let mut drained = Vec::new();
        for shard in 0..self.shard_count() {
            let mut removed = RemovedEntries::new(&self.inner.notifier);
            let _superseded = self.with_shard(shard, |shard| {
                shard.core.clear(now, &mut removed);
                shard.in_flight.supersede_all()
            });
            drained.append(&mut removed.finish_all());
        }
        Drain(drained.into_iter())
    }

    /// Removes the expired entries, and returns how many it removed. It changes no answer.
    ///
    /// It removes a bounded number of entries per lock.
    #[doc(alias = "run_pending_tasks")]
    pub fn sweep(&self) -> usize {
        self.inner
            .shards
            .sweep_all(|shard, budget| self.inner.sweep_shard(shard, budget))
    }
}

impl<K: Hash + Eq, V, S: BuildHasher> Extend<(K, V)> for LruCache<K, V, S> {
    /// Inserts every entry.
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, entries: I) {
        for (key, value) in entries {
            self.insert(key, value);
        }
    }
}
