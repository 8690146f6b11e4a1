//! `get_or_refresh_async` and its blocking form: a stale value is served while one caller refreshes
//! it.

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use super::{Flight, Lookup, Reservation};
use crate::lru::cache::{LruCache, Shard};
use crate::lru::core::Freshness;
use crate::lru::error::ComputeError;

/// The next step of a caller.
enum Step<K, V, S> {
    Return(V),
    Refresh(Reservation<K, V, S>),
    /// There is neither a live nor a stale value.
    Compute,
}

impl<K: Hash + Eq, V: Clone, S: BuildHasher> LruCache<K, V, S> {
    /// Returns the live value of a key. If it is stale, the first caller runs `future` and stores
    /// its value, and until then all other callers get the stale value without waiting.
    ///
    /// If the future fails, the caller gets the stale value too, until the
    /// [`stale`](crate::LruBuilder::stale) window ends. The error is then dropped: log it in the
    /// future. No caller refreshes the entry again for a tenth of the stale window, at most for 30
    /// seconds. If the caller is cancelled or the future panics, the next caller tries at once. The
    /// refresh runs in the caller's task. Spawn the call if no request should wait for it.
    ///
    /// A stale value counts as a miss, and in
    /// [`CacheStats::stale_hits`](crate::CacheStats::stale_hits).
    ///
    /// If there is neither a live nor a stale value, this is
    /// [`try_get_or_insert_async`](Self::try_get_or_insert_async).
    ///
    /// # Errors
    ///
    /// Returns [`ComputeError::Failed`] with the error of this caller's own future if there is no
    /// stale value, or [`ComputeError::Cycle`] if the computation needs its own value.
    ///
    /// ```
    /// use leakproof::{LruCache, ManualClock};
    /// use std::time::Duration;
    ///
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let time = ManualClock::new();
    /// let minute = Duration::from_secs(60);
    /// let rates = LruCache::<String, f64>::builder()
    ///     .max_entries(1_000)
    ///     .ttl(minute)
    ///     .stale(10 * minute)
    ///     .clock(&time)
    ///     .build()?;
    ///
    /// rates.get_or_refresh_async("EUR", async { Ok::<_, &str>(1.08) }).await.unwrap();
    /// time.advance(minute);
    /// assert_eq!(rates.get("EUR"), None);
    /// let rate = rates.get_or_refresh_async("EUR", async { Err("the bank is closed") }).await;
    /// assert_eq!(rate, Ok(1.08));
    /// # Ok::<(), leakproof::BuildError>(())
    /// # }).unwrap();
    /// ```
    #[allow(
        clippy::manual_async_fn,
        reason = "an async fn has its arguments twice"
    )]
    pub fn get_or_refresh_async<Q, E>(
        &self,
        key: &Q,
        future: impl Future<Output = Result<V, E>>,
    ) -> impl Future<Output = Result<V, ComputeError<E>>>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq + ToOwned<Owned = K>,
    {
        async move {
            let reservation = match self.begin_refresh(key) {
                Step::Return(value) => return Ok(value),
                Step::Refresh(reservation) => reservation,
                Step::Compute => match self.look_up(key).await? {
                    Lookup::Hit(value) => return Ok(value),
                    Lookup::Vacant(reservation) => reservation,
                },
            };
            let result = reservation.run(Box::pin(future)).await?;
            self.end_refresh(key, reservation, result)
        }
    }

    /// Does what [`get_or_refresh_async`](Self::get_or_refresh_async) does, with a closure that
    /// blocks the thread of the one caller that refreshes.
    ///
    /// # Errors
    ///
    /// Returns the errors of `get_or_refresh_async`.
    pub fn get_or_refresh_with<Q, E>(
        &self,
        key: &Q,
        compute: impl FnOnce() -> Result<V, E>,
    ) -> Result<V, ComputeError<E>>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq + ToOwned<Owned = K>,
    {
        let reservation = match self.begin_refresh(key) {
            Step::Return(value) => return Ok(value),
            Step::Refresh(reservation) => reservation,
            Step::Compute => match self.look_up_blocking(key)? {
                Lookup::Hit(value) => return Ok(value),
                Lookup::Vacant(reservation) => reservation,
            },
        };
        let result = reservation.run_blocking(compute)?;
        self.end_refresh(key, reservation, result)
    }

    /// Counts a hit or a miss.
    fn begin_refresh<Q>(&self, key: &Q) -> Step<K, V, S>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq + ToOwned<Owned = K>,
    {
        let hash = self.hash(key);
        let now = self.now();
        self.with_shard(self.shard_of(hash), |shard| {
            let Shard { core, in_flight } = shard;
            let (value, may_refresh) = match core.get_or_stale(now, hash, key) {
                None => return Step::Compute,
                Some(Freshness::Live(value)) => return Step::Return(value.clone()),
                Some(Freshness::Stale { value, may_refresh }) => (value, may_refresh),
            };
            if !may_refresh || in_flight.find(hash, key).is_some() {
                let value = value.clone();
                core.count_stale_hit();
                return Step::Return(value);
            }
            let (stored, own) = (key.to_owned(), key.to_owned());
            let computation = Arc::new(Flight::new());
            in_flight.start(hash, stored, Arc::clone(&computation));
            Step::Refresh(Reservation::new(self.leader(hash, &computation), own))
        })
    }

    fn end_refresh<Q, E>(
        &self,
        key: &Q,
        reservation: Reservation<K, V, S>,
        result: Result<V, E>,
    ) -> Result<V, ComputeError<E>>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
    {
        match result {
            Ok(value) => Ok(reservation.insert(value)),
            Err(error) => {
                // Before the reservation is given up, so that no caller refreshes in between.
                let served = self.serve_after_failure(key, &reservation);
                drop(reservation);
                served.ok_or(ComputeError::Failed(error))
            }
        }
    }

    fn serve_after_failure<Q>(&self, key: &Q, failed: &Reservation<K, V, S>) -> Option<V>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
    {
        let leader = &failed.leader;
        let (hash, now) = (leader.hash, self.now());
        self.with_shard(self.shard_of(hash), |shard| {
            let Shard { core, in_flight } = shard;
            let found = if in_flight.contains(hash, &leader.computation) {
                core.peek_after_failure(now, hash, key)
            } else {
                // The key was written since, and no refresh of that entry has failed.
                core.peek_or_stale(now, hash, key)
            };
            match found? {
                Freshness::Live(value) => Some(value.clone()),
                Freshness::Stale { value, .. } => {
                    let value = value.clone();
                    core.count_stale_hit();
                    Some(value)
                }
            }
        })
    }
}
