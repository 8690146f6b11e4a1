//! Waiting for a claim: `claim_wait` and its blocking form.
//!
//! A caller that finds its id in flight joins the flight of that claim. `commit` takes the flight
//! under the lock of the shard, and finishes it with the value afterwards: see [`Landed`]. A
//! release and the end of a lease pass the claim itself to the first waiter, under that lock: the
//! id stays in flight, so no other caller overtakes, and the new lease begins at once. If that
//! lease ends before the waiter is polled, the claim passes on to the next one, and the late
//! waiter starts again.
//!
//! An end of a lease is noticed by any call on the shard, and at the latest by an alarm: see
//! [`Alarm`].

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::DedupMap;
use super::claim::{Claim, Ticket, Token};
use crate::clock::{self, Clock, Nanos};
use crate::dedup::Key;
use crate::sweeper;
use crate::sync::Mutex;
use crate::wait::{End, Flight, Place, Waiter, Wakers, block_on};

/// The value of a claim and the time of its commit.
type Committed<V> = (V, Nanos);
type ClaimFlight<V> = Flight<Committed<V>, Token>;

/// The claims of one shard that callers wait for.
pub(super) struct Flights<V> {
    /// Keyed by the claim's origin: see `in_flight.rs`.
    by_origin: BTreeMap<u64, Arc<ClaimFlight<V>>>,
    /// Clones a value. Set when the first caller waits, because only waiting needs
    /// `V: Clone`.
    clone: Option<fn(&V) -> V>,
}

/// A flight whose claim was committed. Dropping it gives the value to the waiting callers.
///
/// The committing call drops it without the shard's lock, and after the record is on disk if the
/// journal's options require that.
#[must_use = "dropping it early acknowledges the id"]
pub(crate) struct Landed<V> {
    flight: Arc<ClaimFlight<V>>,
    committed: Option<Committed<V>>,
}

impl<V> Drop for Landed<V> {
    fn drop(&mut self) {
        if let Some(committed) = self.committed.take() {
            self.flight.finish(committed, &mut Wakers::default());
        }
    }
}

/// A place in the list of a claim.
pub(crate) struct ClaimWaiter<V> {
    origin: u64,
    waiter: Waiter<Committed<V>, Token>,
}

impl<V> Flights<V> {
    pub(super) const fn new() -> Self {
        Self {
            by_origin: BTreeMap::new(),
            clone: None,
        }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.by_origin.is_empty()
    }

    pub(super) fn join(&mut self, origin: u64, clone: fn(&V) -> V) -> ClaimWaiter<V> {
        self.clone = Some(clone);
        let flight = self.by_origin.entry(origin);
        let flight = flight.or_insert_with(|| Arc::new(Flight::new()));
        let waiter = flight.join();
        ClaimWaiter { origin, waiter }
    }

    /// Passes a claim to the first waiter. Returns `false` if there is none.
    pub(super) fn hand_over(&mut self, origin: u64, token: Token, wakers: &mut Wakers) -> bool {
        let flight = self.by_origin.get(&origin);
        flight.is_some_and(|flight| flight.hand_over(token, wakers))
    }

    /// Returns a clone of a value for the callers that wait for this claim, if there are any.
    pub(super) fn copy(&self, origin: u64, value: &V) -> Option<V> {
        let clone = self.clone?;
        self.by_origin.contains_key(&origin).then(|| clone(value))
    }

    /// Takes the flight of a claim that was committed.
    pub(super) fn land(&mut self, origin: u64, committed: Committed<V>) -> Option<Landed<V>> {
        let flight = self.by_origin.remove(&origin)?;
        Some(Landed {
            flight,
            committed: Some(committed),
        })
    }

    /// Forgets the flight of a claim if no caller waits for it.
    pub(super) fn remove_if_unattended(&mut self, origin: u64) {
        let flight = self.by_origin.get(&origin);
        if flight.is_some_and(|flight| flight.is_unattended()) {
            self.by_origin.remove(&origin);
        }
    }
}

/// The alarm of a map: it ends leases that callers wait for, while no other call does.
///
/// It is set for the earliest of these ends. With a [`ManualClock`](crate::ManualClock), the call
/// that sets the time rings it, and otherwise the thread of the process-wide sweeper.
pub(super) struct Alarm {
    ring: Arc<clock::Alarm>,
    /// The time for which it is set, or `Nanos::MAX`.
    set_for: Mutex<Nanos>,
}

impl Alarm {
    pub(super) fn new(ring: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            ring: Arc::new(ring),
            set_for: Mutex::new(Nanos::MAX),
        }
    }

    /// Makes it ring at `at`, unless it rings earlier.
    pub(super) fn set(&self, clock: &Clock, at: Nanos) {
        let mut set_for = self.set_for.lock();
        if at >= *set_for {
            return;
        }
        *set_for = at;
        drop(set_for);
        let ring: Weak<clock::Alarm> = Arc::downgrade(&self.ring);
        if clock.set_manual_alarm(at, &ring) {
            return;
        }
        let delay = Duration::from_nanos(at.saturating_sub(clock.nanos()));
        if sweeper::ring_after(delay, &ring).is_err() {
            // The system has no thread for it. The next call on the shard ends the lease, and the
            // next waiting caller tries to set the alarm again.
            self.reset();
        }
    }

    /// Forgets the time for which it is set.
    pub(super) fn reset(&self) {
        *self.set_for.lock() = Nanos::MAX;
    }
}

/// A caller that waits for a claim.
struct Waiting<'a, K: ?Sized + Key, V, S: BuildHasher> {
    map: &'a DedupMap<K, V, S>,
    hash: u64,
    waiter: ClaimWaiter<V>,
    _place: Place<'a>,
}

impl<K: ?Sized + Key, V, S: BuildHasher> Drop for Waiting<'_, K, V, S> {
    fn drop(&mut self) {
        // Without the lock of the shard, because it drops a waker, which is user code.
        let turn = self.waiter.waiter.leave();
        let origin = self.waiter.origin;
        self.map.with_hash(self.hash, |now, core, hasher| {
            core.leave(now, origin, turn, hasher);
        });
    }
}

impl<K: ?Sized + Key, V, S: BuildHasher> DedupMap<K, V, S> {
    /// Claims an id, and waits while it is in flight. Never returns [`Claim::InFlight`].
    ///
    /// The future is ready
    ///
    /// * with [`Claim::Fresh`] if the id is new, or if its claim is released or its lease ends, and
    ///   this is the first of the callers that wait: exactly one of them gets the claim;
    /// * with [`Claim::Duplicate`] and the value if the id is recorded, or is committed during the
    ///   wait: all waiting callers get the value, even if the id has expired or was removed since;
    /// * with [`Claim::Full`] as for [`claim`](Self::claim), and if
    ///   [`max_waiting`](crate::DedupBuilder::max_waiting) callers wait already.
    ///
    /// Each waiter is woken once, in the order of arrival, and by any runtime: the crate needs
    /// none. A lease ends in time even if no call is made, because a background thread keeps the
    /// deadline while a caller waits. With a `ManualClock`, setting the time ends leases.
    ///
    /// A dropped future leaves nothing behind. If it was given the claim already, the next waiter
    /// gets it. A new id costs what `claim` costs, and a wait takes about 300 bytes.
    ///
    /// ```
    /// use leakproof::{Claim, DedupMap};
    /// use std::time::Duration;
    ///
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let seen = DedupMap::<str, u32>::new(1_000, Duration::from_secs(3600));
    /// let first = match seen.claim_wait_owned("id").await {
    ///     Claim::Fresh(ticket) => ticket,
    ///     other => panic!("{other:?}"),
    /// };
    /// tokio::spawn(async move { first.commit(7) });
    /// let second = seen.claim_wait("id").await; // the redelivery waits for the reply
    /// assert!(matches!(second, Claim::Duplicate { value: 7, .. }));
    /// # });
    /// ```
    pub async fn claim_wait<'a>(&'a self, key: &K) -> Claim<Ticket<'a, K, V, S>, V>
    where
        V: Clone,
    {
        loop {
            match self.claim(key) {
                Claim::InFlight { .. } => {}
                claim => return claim,
            }
            let Some(place) = self.room().enter() else {
                return Claim::Full;
            };
            // `None` if the claim ended since.
            let Some(waiting) = self.join(key, place) else {
                continue;
            };
            match waiting.waiter.waiter.wait().await {
                End::Done((value, at)) => {
                    let age = Duration::from_nanos(self.now().saturating_sub(at));
                    return Claim::Duplicate { age, value };
                }
                End::Turn(token) => {
                    let ticket = Ticket::borrowed(self, token);
                    if ticket.is_live() {
                        return Claim::Fresh(ticket);
                    }
                }
                End::Abandoned => {}
            }
        }
    }

    /// Like [`claim_wait`](Self::claim_wait), but future and ticket own a handle on the map and a
    /// copy of the key, for a task that is spawned.
    pub fn claim_wait_owned(
        &self,
        key: &K,
    ) -> impl Future<Output = Claim<Ticket<'static, K, V, S>, V>> + use<K, V, S>
    where
        K: ToOwned + 'static,
        V: Clone + 'static,
        S: 'static,
    {
        let (map, key) = (self.clone(), key.to_owned());
        async move {
            let claim = map.claim_wait(key.borrow()).await;
            claim.map(Ticket::into_owned)
        }
    }

    /// Does what [`claim_wait`](Self::claim_wait) does, and blocks the thread. Threads and tasks
    /// wait in one list.
    ///
    /// If the id is still in flight after `timeout`, it returns what [`claim`](Self::claim)
    /// returns, which is [`Claim::InFlight`] then. The timeout is in real time with every clock.
    ///
    /// Do not call it in async code: it blocks a worker thread of the runtime, and a claim whose
    /// owner needs that thread is released only when its lease ends.
    ///
    /// ```
    /// use leakproof::{Claim, DedupMap};
    /// use std::{thread, time::Duration};
    ///
    /// let seen = DedupMap::<str, u32>::new(1_000, Duration::from_secs(3600));
    /// let Claim::Fresh(ticket) = seen.claim_owned("id") else { unreachable!() };
    /// let handler = thread::spawn(move || ticket.commit(7));
    /// let claim = seen.claim_wait_blocking("id", Duration::from_secs(60));
    /// assert!(matches!(claim, Claim::Duplicate { value: 7, .. }));
    /// # handler.join().unwrap().unwrap();
    /// ```
    pub fn claim_wait_blocking(&self, key: &K, timeout: Duration) -> Claim<Ticket<'_, K, V, S>, V>
    where
        V: Clone,
    {
        block_on(self.claim_wait(key), Some(timeout)).unwrap_or_else(|| self.claim(key))
    }

    fn join<'a>(&'a self, key: &K, place: Place<'a>) -> Option<Waiting<'a, K, V, S>>
    where
        V: Clone,
    {
        let (waiting, until) = self.with_key(key, |now, hash, core, hasher| {
            let (waiter, until) = core.join(now, hash, key, V::clone, hasher)?;
            let waiting = Waiting {
                map: self,
                hash,
                waiter,
                _place: place,
            };
            Some((waiting, until))
        })?;
        self.set_alarm(until);
        Some(waiting)
    }
}
