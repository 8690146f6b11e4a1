//! `get_or_insert_with`: one computation per key for all concurrent callers, while no lock is held.
//!
//! A computation is in its shard's table from when a caller starts it until its value is stored. If
//! the key is written or removed before that, the computation is taken out of the table: its value
//! goes to those who wait for it, and is not stored.
//!
//! Waiting threads are listed in a [`WaitGraph`], so that no thread ever waits for a value that a
//! thread computes which waits for it, through any number of keys.

use std::borrow::Borrow;
use std::convert::Infallible;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use hashbrown::HashTable;

use super::cache::{LruCache, Shard};
use super::error::{ComputeError, TooHeavy};
use super::removal::RemovedEntries;
use crate::removal::RemovalCause;
use crate::sync::{Condvar, Mutex, ThreadId, current_thread};

/// A shard's table is freed if its capacity exceeds this and it is empty again.
const KEPT_CAPACITY: usize = 64;

/// One computation.
struct Computation<V> {
    hash: u64,
    /// The thread that computes.
    leader: ThreadId,
    state: Mutex<State<V>>,
    done: Condvar,
}

enum State<V> {
    Computing,
    Done(V),
    Failed,
}

impl<V> Computation<V> {
    fn is_computing(&self) -> bool {
        matches!(*self.state.lock(), State::Computing)
    }

    /// Ends the computation, and wakes those who wait.
    fn complete(&self, state: State<V>) {
        *self.state.lock() = state;
        self.done.notify_all();
    }

    /// Waits for the end, and returns the value, or `None` if the computation failed.
    fn wait(&self) -> Option<V>
    where
        V: Clone,
    {
        let mut state = self.state.lock();
        loop {
            match &*state {
                State::Computing => self.done.wait(&mut state),
                State::Done(value) => return Some(value.clone()),
                State::Failed => return None,
            }
        }
    }
}

/// The computations of one shard's keys.
pub(super) struct InFlight<K, V> {
    table: HashTable<(K, Arc<Computation<V>>)>,
}

impl<K, V> InFlight<K, V> {
    pub(super) const fn new() -> Self {
        Self {
            table: HashTable::new(),
        }
    }

    fn find<Q: ?Sized + Eq>(&self, hash: u64, key: &Q) -> Option<&Arc<Computation<V>>>
    where
        K: Borrow<Q>,
    {
        let found = self.table.find(hash, |(other, computation)| {
            computation.hash == hash && other.borrow() == key
        });
        found.map(|(_, computation)| computation)
    }

    /// Starts a computation by this thread.
    fn start(&mut self, hash: u64, key: K) -> Arc<Computation<V>> {
        let computation = Arc::new(Computation {
            hash,
            leader: current_thread().id(),
            state: Mutex::new(State::Computing),
            done: Condvar::new(),
        });
        let entry = (key, Arc::clone(&computation));
        self.table
            .insert_unique(hash, entry, |(_, computation)| computation.hash);
        computation
    }

    /// Takes a computation out, and returns its key, or `None` if it was superseded.
    fn end(&mut self, computation: &Arc<Computation<V>>) -> Option<K> {
        let found = self
            .table
            .find_entry(computation.hash, |(_, it)| Arc::ptr_eq(it, computation));
        let key = found.ok().map(|entry| entry.remove().0.0);
        if self.table.is_empty() && self.table.capacity() > KEPT_CAPACITY {
            self.table = HashTable::new();
        }
        key
    }

    /// Makes sure that a computation of this key is not stored over what happens to the key now.
    ///
    /// The result is to be dropped after the lock is released, because it contains a key.
    #[inline]
    pub(super) fn supersede<Q: ?Sized + Eq>(
        &mut self,
        hash: u64,
        key: &Q,
    ) -> Option<impl Sized + use<K, V, Q>>
    where
        K: Borrow<Q>,
    {
        // Nearly always, nothing is computed.
        if self.table.is_empty() {
            return None;
        }
        let found = self.table.find_entry(hash, |(other, computation)| {
            computation.hash == hash && other.borrow() == key
        });
        found.ok().map(|entry| entry.remove().0)
    }

    /// Does for all keys what [`supersede`](Self::supersede) does for one.
    pub(super) fn supersede_all(&mut self) -> impl Sized + use<K, V> {
        std::mem::replace(self, Self::new())
    }
}

/// Which thread waits for which computation.
pub(super) struct WaitGraph<V> {
    waiting: Mutex<Vec<(ThreadId, Arc<Computation<V>>)>>,
}

/// This thread computes the value already, or a thread does that waits for this one.
struct Cycle;

impl<V> WaitGraph<V> {
    pub(super) fn new() -> Self {
        Self {
            waiting: Mutex::new(Vec::new()),
        }
    }

    /// Waits for a computation, and returns its value, or `None` if it failed.
    fn wait_for(&self, computation: &Arc<Computation<V>>) -> Result<Option<V>, Cycle>
    where
        V: Clone,
    {
        let thread = current_thread().id();
        self.enter(thread, computation)?;
        let _guard = WaitGuard {
            graph: self,
            thread,
        };
        Ok(computation.wait())
    }

    fn enter(&self, thread: ThreadId, computation: &Arc<Computation<V>>) -> Result<(), Cycle> {
        let mut waiting = self.waiting.lock();
        // Each leader waits for the next computation, up to one that waits for none. There is no
        // cycle among those that wait, because the one that would have closed it was refused. A
        // finished computation blocks no thread, the first one included: its leader may wait for
        // this thread by now, and will not be waited for.
        let mut next = computation;
        while next.is_computing() {
            if next.leader == thread {
                return Err(Cycle);
            }
            match waiting.iter().find(|(waiter, _)| *waiter == next.leader) {
                Some((_, computation)) => next = computation,
                None => break,
            }
        }
        waiting.push((thread, Arc::clone(computation)));
        Ok(())
    }
}

/// Removes a thread from the graph, also if cloning the value panics.
struct WaitGuard<'a, V> {
    graph: &'a WaitGraph<V>,
    thread: ThreadId,
}

impl<V> Drop for WaitGuard<'_, V> {
    fn drop(&mut self) {
        let mut waiting = self.graph.waiting.lock();
        let at = waiting.iter().position(|(it, _)| *it == self.thread);
        let removed = at.map(|at| waiting.swap_remove(at));
        // This may be the last handle on the value, whose `Drop` may use the cache.
        drop(waiting);
        drop(removed);
    }
}

/// The next step of a caller.
enum Step<V> {
    Return(V),
    Wait(Arc<Computation<V>>),
    Compute(Arc<Computation<V>>),
}

impl<K: Hash + Eq, V: Clone, S: BuildHasher> LruCache<K, V, S> {
    /// Returns the live value of a key, or stores and returns what `compute` returns.
    ///
    /// If several callers ask for one key at once, one computes and the others wait for its value.
    /// No lock is held during that, so `compute` may use the cache. If it panics, one of the
    /// waiting callers computes instead.
    ///
    /// If the key is written or removed during the computation, the callers get the computed value,
    /// and it is not stored. A value that is too heavy is not stored either, so the next call
    /// computes it again.
    ///
    /// Waiting blocks the thread, without a timeout. In async code, compute where blocking is
    /// allowed.
    ///
    /// # Panics
    ///
    /// Panics if the computation needs its own value: `compute` asks for the same key, or waits for
    /// a thread that does. [`try_get_or_insert_with`](Self::try_get_or_insert_with) returns an
    /// error instead.
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
    pub fn try_get_or_insert_with<Q, E>(
        &self,
        key: &Q,
        compute: impl FnOnce() -> Result<V, E>,
    ) -> Result<V, ComputeError<E>>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq + ToOwned<Owned = K>,
    {
        let hash = self.hash(key);
        let mut is_counted = false;
        loop {
            match self.next_step(hash, key, is_counted) {
                Step::Return(value) => return Ok(value),
                Step::Wait(computation) => match self.wait_graph().wait_for(&computation) {
                    Ok(Some(value)) => return Ok(value),
                    Ok(None) => is_counted = true,
                    Err(Cycle) => return Err(ComputeError::Cycle),
                },
                Step::Compute(computation) => {
                    let guard = ComputationGuard {
                        cache: self,
                        computation,
                    };
                    let value = compute().map_err(ComputeError::Failed)?;
                    guard.store(key.to_owned(), value.clone());
                    return Ok(value);
                }
            }
        }
    }

    /// A call counts as one hit or miss, however often it gets here.
    fn next_step<Q>(&self, hash: u64, key: &Q, is_counted: bool) -> Step<V>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq + ToOwned<Owned = K>,
    {
        let now = self.now();
        self.with_shard(self.shard_of(hash), |shard| {
            let Shard { core, in_flight } = shard;
            let found = if is_counted {
                core.get_again(now, hash, key)
            } else {
                core.get(|| now, hash, key)
            };
            if let Some(value) = found {
                return Step::Return(value.clone());
            }
            match in_flight.find(hash, key) {
                Some(computation) => Step::Wait(Arc::clone(computation)),
                None => Step::Compute(in_flight.start(hash, key.to_owned())),
            }
        })
    }
}

/// A computation by this thread. It fails unless its value is stored: because of an error or a
/// panic.
struct ComputationGuard<'a, K: Hash + Eq, V: Clone, S: BuildHasher> {
    cache: &'a LruCache<K, V, S>,
    computation: Arc<Computation<V>>,
}

impl<K: Hash + Eq, V: Clone, S: BuildHasher> ComputationGuard<'_, K, V, S> {
    fn store(self, key: K, value: V) {
        let Self { cache, computation } = &self;
        let attributes = cache.rules().attributes(&key, &value);
        let for_waiting = value.clone();
        let hash = computation.hash;
        let now = cache.now();
        let mut removed = RemovedEntries::new(cache.notifier());
        let (stored, _key) = cache.with_shard(cache.shard_of(hash), |shard| {
            let in_flight = shard.in_flight.end(computation);
            let stored = match in_flight {
                Some(_) => Ok((shard.core).insert(now, hash, key, value, attributes, &mut removed)),
                // Superseded. The value is dropped after the lock is released.
                None => Err((key, value)),
            };
            // Before callbacks are called, which may need what a waiting thread computes from this
            // value.
            computation.complete(State::Done(for_waiting));
            (stored, in_flight)
        });
        match stored {
            // A live value is there if another key's computation of this thread stored it.
            Ok(Ok(replaced)) => drop(removed.finish(replaced, RemovalCause::Replaced)),
            Ok(Err(TooHeavy { key, value, .. })) => {
                drop(removed.finish(Some((key, value)), RemovalCause::Rejected));
            }
            Err(_) => {}
        }
    }
}

impl<K: Hash + Eq, V: Clone, S: BuildHasher> Drop for ComputationGuard<'_, K, V, S> {
    fn drop(&mut self) {
        if self.computation.is_computing() {
            let shard = self.cache.shard_of(self.computation.hash);
            let key = self
                .cache
                .with_shard(shard, |shard| shard.in_flight.end(&self.computation));
            self.computation.complete(State::Failed);
            drop(key);
        }
    }
}
