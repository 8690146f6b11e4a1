//! `get_or_insert_with`, its fallible form, and the async forms of both.

use std::borrow::Borrow;
use std::convert::Infallible;
use std::future::poll_fn;
use std::hash::{BuildHasher, Hash};
use std::pin::Pin;

use super::cycle::{Computing, Cycle, Dependency};
use super::{Lookup, Reservation};
use crate::lru::cache::LruCache;
use crate::lru::error::ComputeError;

impl<K: Hash + Eq, V: Clone, S: BuildHasher> LruCache<K, V, S> {
    /// Returns the live value of a key, or stores and returns what `compute` returns.
    ///
    /// If several callers ask for one key at once, one computes and the others wait for its value,
    /// threads and tasks alike. No lock is held during that, so `compute` may use the cache. If it
    /// panics, one of the waiting callers computes instead.
    ///
    /// If the key is written or removed during the computation, the callers get the computed value,
    /// and it is not stored. A value that is too heavy is not stored either, so the next call
    /// computes it again. If [`max_waiting`](crate::LruBuilder::max_waiting) callers wait already,
    /// a further one computes for itself, and its value is not stored.
    ///
    /// Waiting blocks the thread, without a timeout. In async code use
    /// [`get_or_insert_async`](Self::get_or_insert_async).
    ///
    /// # Panics
    ///
    /// Panics if the computation needs its own value: `compute` asks for the same key, or waits for
    /// a computation that does. [`try_get_or_insert_with`](Self::try_get_or_insert_with) returns an
    /// error instead.
    #[doc(alias = "get_with")]
    #[doc(alias = "get_or_insert")]
    pub fn get_or_insert_with<Q>(&self, key: &Q, compute: impl FnOnce() -> V) -> V
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq + ToOwned<Owned = K>,
    {
        let result = self.try_get_or_insert_with(key, || Ok::<V, Infallible>(compute()));
        infallible("get_or_insert_with", result)
    }

    /// Does what [`get_or_insert_with`](Self::get_or_insert_with) does, for a computation that can
    /// fail.
    ///
    /// If it fails, nothing is stored, and one of the waiting callers computes instead.
    ///
    /// # Errors
    ///
    /// Returns [`ComputeError::Failed`] with the error of this caller's own `compute`, or
    /// [`ComputeError::Cycle`] if the computation needs its own value. Both convert by `?` if `E`
    /// implements `Error`, and otherwise by [`ComputeError::into_error`].
    ///
    /// ```
    /// use leakproof::LruCache;
    /// use std::time::Duration;
    ///
    /// type Files = LruCache<String, String>;
    ///
    /// fn first_line(files: &Files, path: &str) -> Result<String, Box<dyn std::error::Error>> {
    ///     let text = files.try_get_or_insert_with(path, || std::fs::read_to_string(path))?;
    ///     Ok(text.lines().next().unwrap_or_default().to_string())
    /// }
    ///
    /// let files = Files::new(100, Duration::from_secs(60));
    /// assert!(first_line(&files, "no such file").is_err());
    /// assert!(files.is_empty());
    /// ```
    #[doc(alias = "try_get_with")]
    #[doc(alias = "optionally_get_with")]
    pub fn try_get_or_insert_with<Q, E>(
        &self,
        key: &Q,
        compute: impl FnOnce() -> Result<V, E>,
    ) -> Result<V, ComputeError<E>>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq + ToOwned<Owned = K>,
    {
        if let Some(value) = self.get(key) {
            return Ok(value);
        }
        let reservation = match self.look_up_blocking(key)? {
            Lookup::Hit(value) => return Ok(value),
            Lookup::Vacant(reservation) => reservation,
        };
        let value = reservation.run_blocking(compute)?;
        Ok(reservation.insert(value.map_err(ComputeError::Failed)?))
    }

    /// Returns the live value of a key, or runs `future`, and stores and returns its value.
    ///
    /// If several callers ask for one key at once, one of them runs its future and the others wait
    /// for the value, without blocking their threads. Threads in
    /// [`get_or_insert_with`](Self::get_or_insert_with) share the same computation. The future of a
    /// caller that gets a value from the cache or from another caller is never polled.
    ///
    /// The computation runs in the caller's task. If that is cancelled, or the future panics, the
    /// first of the waiting callers runs its own future. Any number of callers may be cancelled.
    /// Spawn the computation if it is to survive its caller.
    ///
    /// A hit costs what `get` costs. A miss allocates once for the future and once for the waiting
    /// callers.
    ///
    /// ```
    /// use leakproof::LruCache;
    /// use std::time::Duration;
    ///
    /// # async fn fetch(url: &str) -> String { url.to_uppercase() }
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let pages = LruCache::<String, String>::new(1_000, Duration::from_secs(60));
    /// let page = pages.get_or_insert_async("/index", fetch("/index")).await;
    /// assert_eq!(page, "/INDEX");
    /// # });
    /// ```
    ///
    /// # Panics
    ///
    /// Panics if the computation needs its own value: the future asks for the same key, or waits
    /// for a computation that does. [`try_get_or_insert_async`](Self::try_get_or_insert_async)
    /// returns an error instead. This is detected if the futures are polled within each other. It
    /// is not detected if the future waits for a task that it spawned.
    #[allow(
        clippy::manual_async_fn,
        reason = "an async fn has its arguments twice"
    )]
    pub fn get_or_insert_async<Q>(
        &self,
        key: &Q,
        future: impl Future<Output = V>,
    ) -> impl Future<Output = V>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq + ToOwned<Owned = K>,
    {
        async move {
            if let Some(value) = self.get(key) {
                return value;
            }
            let found = self.look_up(key).await;
            let reservation = match Cycle::panic_if_any("get_or_insert_async", found) {
                Lookup::Hit(value) => return value,
                Lookup::Vacant(reservation) => reservation,
            };
            match reservation.run(Box::pin(future)).await {
                Ok(value) => reservation.insert(value),
                Err(cycle) => infallible("get_or_insert_async", Err(cycle.into())),
            }
        }
    }

    /// Does what [`get_or_insert_async`](Self::get_or_insert_async) does, for a computation that
    /// can fail.
    ///
    /// If it fails, nothing is stored, and the first of the waiting callers runs its own future.
    ///
    /// # Errors
    ///
    /// Returns [`ComputeError::Failed`] with the error of this caller's own future, or
    /// [`ComputeError::Cycle`] if the computation needs its own value.
    #[allow(
        clippy::manual_async_fn,
        reason = "an async fn has its arguments twice"
    )]
    pub fn try_get_or_insert_async<Q, E>(
        &self,
        key: &Q,
        future: impl Future<Output = Result<V, E>>,
    ) -> impl Future<Output = Result<V, ComputeError<E>>>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq + ToOwned<Owned = K>,
    {
        async move {
            if let Some(value) = self.get(key) {
                return Ok(value);
            }
            let reservation = match self.look_up(key).await? {
                Lookup::Hit(value) => return Ok(value),
                Lookup::Vacant(reservation) => reservation,
            };
            let value = reservation.run(Box::pin(future)).await?;
            Ok(reservation.insert(value.map_err(ComputeError::Failed)?))
        }
    }
}

impl<K, V, S> Reservation<K, V, S> {
    /// Runs the closure that computes the value.
    pub(super) fn run_blocking<R>(&self, compute: impl FnOnce() -> R) -> Result<R, Cycle> {
        let _dependency = Dependency::enter(&self.leader.computation)?;
        let _computing = Computing::enter(&self.leader.computation);
        Ok(compute())
    }

    /// Runs the future that computes the value.
    ///
    /// It is boxed, because a future that pins another one in itself has twice its size, also on a
    /// hit.
    pub(super) async fn run<F: Future>(&self, mut future: Pin<Box<F>>) -> Result<F::Output, Cycle> {
        let _dependency = Dependency::enter(&self.leader.computation)?;
        let run = poll_fn(|context| {
            let _computing = Computing::enter(&self.leader.computation);
            future.as_mut().poll(context)
        });
        Ok(run.await)
    }
}

/// Returns the value of a computation that can only fail because of a cycle.
fn infallible<V>(method: &str, result: Result<V, ComputeError<Infallible>>) -> V {
    match result {
        Ok(value) => value,
        Err(error) => panic!("LruCache::{method}: {error}"),
    }
}

impl<E> From<Cycle> for ComputeError<E> {
    fn from(Cycle: Cycle) -> Self {
        Self::Cycle
    }
}
