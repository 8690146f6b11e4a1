//! Single flight: one computation per key for all concurrent callers, while no lock is held.
//!
//! A computation is in its shard's table from when a caller starts it until its value is stored. If
//! the key is written or removed before that, the computation is taken out of the table: its value
//! goes to those who wait for it, and is not stored.
//!
//! All forms go through one state machine, the future of `look_up`: threads run it with
//! [`block_on`](crate::wait::block_on), so threads and tasks share one flight. If the computing
//! caller fails, panics or is cancelled, its [`Leader`] guard passes the computation on to the
//! first waiter. Until then the computation stays in the table, so a later caller waits as well.
//!
//! | module | concept |
//! | --- | --- |
//! | `table` | the computations of one shard |
//! | `reservation` | the right to compute, and storing the value |
//! | `compute` | `get_or_insert_with` and its async forms |
//! | `refresh` | `get_or_refresh_async` and its blocking form |
//! | `cycle` | computations that need their own value |

mod compute;
mod cycle;
mod refresh;
mod reservation;
mod table;

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use super::cache::{LruCache, Shard};
use crate::wait::{End, Flight, Place, Waiter, Wakers, block_on};
use cycle::{Cycle, Dependency};
pub use reservation::{Lookup, Reservation};
pub(super) use table::InFlight;

/// One computation.
type Computation<V> = Flight<V, ()>;

/// The next step of a caller.
enum Step<'a, K, V, S> {
    Hit(V),
    Wait(Waiting<'a, K, V, S>),
    Compute(Reservation<K, V, S>),
}

/// A caller that waits for a computation.
struct Waiting<'a, K, V, S> {
    cache: &'a LruCache<K, V, S>,
    hash: u64,
    waiter: Waiter<V, ()>,
    _place: Place<'a>,
}

impl<K, V, S> Drop for Waiting<'_, K, V, S> {
    fn drop(&mut self) {
        // The caller was given the computation, and did not take it.
        if self.waiter.leave().is_some() {
            self.cache.give_up(self.hash, self.waiter.flight());
        }
    }
}

/// The caller that computes. Dropping it gives the computation up, unless it is finished.
struct Leader<K, V, S> {
    cache: LruCache<K, V, S>,
    hash: u64,
    computation: Arc<Computation<V>>,
    is_finished: bool,
}

impl<K, V, S> Drop for Leader<K, V, S> {
    fn drop(&mut self) {
        if !self.is_finished {
            self.cache.give_up(self.hash, &self.computation);
        }
    }
}

impl<K, V, S> LruCache<K, V, S> {
    fn leader(&self, hash: u64, computation: &Arc<Computation<V>>) -> Leader<K, V, S> {
        Leader {
            cache: self.clone(),
            hash,
            computation: Arc::clone(computation),
            is_finished: false,
        }
    }

    /// Passes a computation on to the first waiter, or removes it if there is none.
    ///
    /// If it was superseded, its waiters start again, because the key may have a value now.
    fn give_up(&self, hash: u64, computation: &Arc<Computation<V>>) {
        // Before the lock, so that it is dropped after it.
        let mut wakers = Wakers::default();
        let removed = self.with_shard(self.shard_of(hash), |shard| {
            if !shard.in_flight.contains(hash, computation) {
                computation.abandon(&mut wakers);
                return None;
            }
            if computation.hand_over((), &mut wakers) {
                return None;
            }
            shard.in_flight.end(hash, computation)
        });
        drop(wakers);
        drop(removed);
    }
}

impl<K: Hash + Eq, V: Clone, S: BuildHasher> LruCache<K, V, S> {
    /// Returns the value of a key, or the right to compute it. Waits while another caller computes.
    ///
    /// The caller has called `get`, which counted a miss, so this counts nothing. Otherwise a hit
    /// would pass through the states of this future, and take half as long again as `get`.
    async fn look_up<Q>(&self, key: &Q) -> Result<Lookup<K, V, S>, Cycle>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq + ToOwned<Owned = K>,
    {
        let hash = self.hash(key);
        loop {
            let waiting = match self.next_step(hash, key) {
                Step::Hit(value) => return Ok(Lookup::Hit(value)),
                Step::Compute(reservation) => return Ok(Lookup::Vacant(reservation)),
                Step::Wait(waiting) => waiting,
            };
            let _dependency = Dependency::enter(waiting.waiter.flight())?;
            match waiting.waiter.wait().await {
                End::Done(value) => return Ok(Lookup::Hit(value)),
                End::Turn(()) => {
                    if let Some(leader) = self.take_turn(&waiting) {
                        return Ok(Lookup::Vacant(Reservation::new(leader, key.to_owned())));
                    }
                }
                End::Abandoned => {}
            }
        }
    }

    fn next_step<Q>(&self, hash: u64, key: &Q) -> Step<'_, K, V, S>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq + ToOwned<Owned = K>,
    {
        let now = self.now();
        self.with_shard(self.shard_of(hash), |shard| {
            let Shard { core, in_flight } = shard;
            if let Some(value) = core.get_again(now, hash, key) {
                return Step::Hit(value.clone());
            }
            let Some(computation) = in_flight.find(hash, key) else {
                let (stored, own) = (key.to_owned(), key.to_owned());
                let computation = Arc::new(Flight::new());
                in_flight.start(hash, stored, Arc::clone(&computation));
                return Step::Compute(Reservation::new(self.leader(hash, &computation), own));
            };
            match self.room().enter() {
                Some(place) => Step::Wait(Waiting {
                    cache: self,
                    hash,
                    waiter: computation.join(),
                    _place: place,
                }),
                // Too many callers wait. This one computes for itself: its computation is not in
                // the table, so its value is not stored.
                None => {
                    let own = key.to_owned();
                    let computation = Arc::new(Flight::new());
                    Step::Compute(Reservation::new(self.leader(hash, &computation), own))
                }
            }
        })
    }

    /// Takes over a computation, unless it was superseded since the turn was given. Then its other
    /// waiters start again, and so does the caller.
    fn take_turn(&self, waiting: &Waiting<'_, K, V, S>) -> Option<Leader<K, V, S>> {
        let computation = waiting.waiter.flight();
        let leader = self.leader(waiting.hash, computation);
        let is_current = self.with_shard(self.shard_of(waiting.hash), |shard| {
            shard.in_flight.contains(waiting.hash, computation)
        });
        // If it is not, dropping the leader makes the others start again.
        is_current.then_some(leader)
    }

    /// Returns the live value of a key, or the right to compute it.
    ///
    /// While another caller computes the value, the call blocks the thread, and returns its value.
    /// If that caller gives up, exactly one of the waiting callers gets the right to compute. It is
    /// the form of [`get_or_insert_with`](Self::get_or_insert_with) for code that cannot be a
    /// closure.
    ///
    /// ```
    /// use leakproof::{Lookup, LruCache};
    /// use std::time::Duration;
    ///
    /// let pages = LruCache::<String, String>::new(1_000, Duration::from_secs(60));
    /// let page = match pages.get_or_reserve("/") {
    ///     Lookup::Hit(page) => page,
    ///     Lookup::Vacant(reservation) => reservation.insert("<h1>hello</h1>".to_string()),
    /// };
    /// assert_eq!(pages.get("/"), Some(page));
    /// ```
    ///
    /// A thread that holds a reservation and asks for its key waits for itself forever. The cache
    /// cannot detect that, because a reservation may move to another thread.
    ///
    /// # Panics
    ///
    /// Panics if it is called in a computation that needs its own value: see
    /// [`get_or_insert_with`](Self::get_or_insert_with).
    #[doc(alias = "get_value_or_guard")]
    pub fn get_or_reserve<Q>(&self, key: &Q) -> Lookup<K, V, S>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq + ToOwned<Owned = K>,
    {
        match self.get(key) {
            Some(value) => Lookup::Hit(value),
            None => Cycle::panic_if_any("get_or_reserve", self.look_up_blocking(key)),
        }
    }

    /// Does what [`get_or_reserve`](Self::get_or_reserve) does, and waits without blocking the
    /// thread.
    ///
    /// # Panics
    ///
    /// Panics as `get_or_reserve` does.
    #[doc(alias = "get_value_or_guard_async")]
    pub async fn get_or_reserve_async<Q>(&self, key: &Q) -> Lookup<K, V, S>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq + ToOwned<Owned = K>,
    {
        match self.get(key) {
            Some(value) => Lookup::Hit(value),
            None => Cycle::panic_if_any("get_or_reserve_async", self.look_up(key).await),
        }
    }

    fn look_up_blocking<Q>(&self, key: &Q) -> Result<Lookup<K, V, S>, Cycle>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq + ToOwned<Owned = K>,
    {
        let result = block_on(self.look_up(key), None);
        result.expect("there is no timeout")
    }
}
