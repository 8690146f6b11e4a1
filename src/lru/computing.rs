//! `get_or_insert_with`: a value is computed once for all that ask for it, while no lock is held.

use std::borrow::Borrow;
use std::convert::Infallible;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use super::LruCache;
use super::builder::weigh;
use super::error::{ComputeError, TooHeavy};
use super::flight::{Cycle, Flight};
use super::inner::Shard;
use super::left::Left;
use crate::removal::RemovalCause;

/// What a caller is to do about a key.
enum Turn<V> {
    LookAgain,
    Take(V),
    Wait(Arc<Flight<V>>),
    Compute(Arc<Flight<V>>),
}

impl<K: Hash + Eq, V: Clone, S: BuildHasher> LruCache<K, V, S> {
    /// The live value under a key, or else the one that `compute` returns, which is stored.
    ///
    /// Of callers that ask for the same key at the same time, one computes and the others wait for its value. No lock is
    /// held meanwhile, so that `compute` may use the cache. Where it panics, one of those who wait computes in its place.
    /// Where the key is written or removed meanwhile, the callers get the value all the same, and it is not stored; nor is
    /// one that is too heavy, which is computed again by the next call.
    ///
    /// Those who wait block their threads, without a timeout: in async code, compute where blocking is allowed.
    ///
    /// # Panics
    ///
    /// Where the value is needed to compute itself: `compute` asks for the same key, or waits for a thread that does so.
    /// [`try_get_or_insert_with`](Self::try_get_or_insert_with) returns an error instead.
    pub fn get_or_insert_with<Q>(&self, key: &Q, compute: impl FnOnce() -> V) -> V
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq + ToOwned<Owned = K>,
    {
        match self.try_get_or_insert_with(key, || Ok::<V, Infallible>(compute())) {
            Ok(value) => value,
            Err(ComputeError::Cycle) => panic!(
                "LruCache::get_or_insert_with: {}",
                ComputeError::<Infallible>::Cycle
            ),
        }
    }

    /// [`get_or_insert_with`](Self::get_or_insert_with), where computing may fail: then nothing is stored, and one of
    /// those who wait computes in its place.
    ///
    /// # Errors
    ///
    /// [`ComputeError::Failed`] with what this caller's own `compute` returned, and [`ComputeError::Cycle`] where the
    /// value is needed to compute itself. With an `E` that is an `Error` they go with `?`, and with others by
    /// [`ComputeError::into_error`].
    ///
    /// ```
    /// use leakproof::LruCache;
    /// use std::time::Duration;
    ///
    /// fn first_line(files: &LruCache<String, String>, path: &str) -> Result<String, Box<dyn std::error::Error>> {
    ///     let text = files.try_get_or_insert_with(path, || std::fs::read_to_string(path))?;
    ///     Ok(text.lines().next().unwrap_or_default().to_string())
    /// }
    ///
    /// let files = LruCache::new(100, Duration::from_secs(60));
    /// assert!(first_line(&files, "no such file").is_err());
    /// assert!(files.is_empty());
    /// ```
    pub fn try_get_or_insert_with<Q, E>(
        &self,
        key: &Q,
        compute: impl FnOnce() -> Result<V, E>,
    ) -> Result<V, ComputeError<E>>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq + ToOwned<Owned = K>,
    {
        let mut has_looked = false;
        loop {
            match self.take_turn(key, has_looked) {
                Turn::LookAgain => {}
                Turn::Take(value) => return Ok(value),
                Turn::Wait(flight) => match self.inner.waiting.wait_for(&flight) {
                    Ok(Some(value)) => return Ok(value),
                    Ok(None) => {}
                    Err(Cycle) => return Err(ComputeError::Cycle),
                },
                Turn::Compute(flight) => {
                    let landing = Landing {
                        cache: self,
                        flight,
                    };
                    let value = compute().map_err(ComputeError::Failed)?;
                    landing.store(key.to_owned(), value.clone());
                    return Ok(value);
                }
            }
            has_looked = true;
        }
    }

    fn take_turn<Q>(&self, key: &Q, has_looked: bool) -> Turn<V>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq + ToOwned<Owned = K>,
    {
        self.on(key, |now, hash, shard, left| {
            let found = if has_looked {
                shard.core.get_again_at(now, hash, key)
            } else {
                shard.core.get_at(now, hash, key, left)
            };
            if let Some(at) = found {
                return Turn::Take(shard.core.value(at).clone());
            }
            // No computation begins before what left is seen off: a callback may compute the same key, and where a drop
            // panics, nobody would end what has begun.
            if !left.is_empty() {
                return Turn::LookAgain;
            }
            match shard.flights.find(hash, key) {
                Some(flight) => Turn::Wait(Arc::clone(flight)),
                None => Turn::Compute(shard.flights.begin(hash, key.to_owned())),
            }
        })
    }
}

/// A computation by this thread, which has failed unless it is stored: by an error or a panic.
struct Landing<'a, K: Hash + Eq, V: Clone, S: BuildHasher> {
    cache: &'a LruCache<K, V, S>,
    flight: Arc<Flight<V>>,
}

impl<K: Hash + Eq, V: Clone, S: BuildHasher> Landing<'_, K, V, S> {
    fn store(self, key: K, value: V) {
        let inner = &self.cache.inner;
        let weight = weigh(&inner.weigher, &key, &value);
        let for_others = value.clone();
        let hash = self.flight.hash;
        let now = inner.clock.nanos();
        let work = |shard: &mut Shard<K, V, S>, left: &mut Left<K, V>| {
            let noted = shard.flights.end(&self.flight);
            let stored = match noted {
                Some(_) => Ok(shard.core.insert_at(now, hash, key, value, weight, left)),
                // Superseded. Dropped by the caller, where nothing is locked.
                None => Err((key, value)),
            };
            // Before callbacks run, which may need what those who wait for this compute.
            self.flight.land(Some(for_others));
            (stored, noted)
        };
        inner.with_telling(
            inner.shards.shard_of(hash),
            work,
            |listener, (stored, _noted)| match stored {
                // What was there was past its time when this began, or came from elsewhere meanwhile.
                Ok(Ok(Some((key, former)))) => listener.tell(&key, &former, RemovalCause::Replaced),
                Ok(Err(TooHeavy { key, value, .. })) => {
                    listener.tell(&key, &value, RemovalCause::Rejected);
                }
                Ok(Ok(None)) | Err(_) => {}
            },
        );
    }
}

impl<K: Hash + Eq, V: Clone, S: BuildHasher> Drop for Landing<'_, K, V, S> {
    fn drop(&mut self) {
        if self.flight.is_computing() {
            let shard = self.cache.inner.shards.shard_of(self.flight.hash);
            let noted = self
                .cache
                .inner
                .with(shard, |shard, _| shard.flights.end(&self.flight));
            self.flight.land(None);
            drop(noted);
        }
    }
}
