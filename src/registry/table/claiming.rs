//! What emits ask of the table: where to begin, whom to call next, and what became of who failed.

use std::borrow::Borrow;
use std::sync::Arc;

use hashbrown::HashTable;

use super::{Departed, Place, Table, Topic};
use crate::clock::{Nanos, nanos};
use crate::events::BreakerState;
use crate::registry::builder::CircuitBreaker;
use crate::registry::call::Call;
use crate::registry::list::{List, Pin};
use crate::registry::slot::{Key, Slot};
use crate::removal::RemovalCause;

/// After so many emits on a topic during which no listener left it, emits pin its list.
///
/// Until then they hold one handler at a time, so that what leaves is dropped at once even while others run. That takes
/// some 60 ns a call, which pinning saves; in return, one that leaves a pinned list is dropped when the calls under way
/// have returned. Where nothing has left for long that is a good bet.
const CALM: u32 = 64;

/// What an emit began with.
#[derive(Clone, Copy)]
pub(in crate::registry) struct Snapshot {
    pub(in crate::registry) topic: Place,
    /// Listeners from this number on were registered later than the emit began.
    pub(in crate::registry) before: u64,
    /// How many it is for.
    pub(in crate::registry) total: usize,
}

impl Snapshot {
    fn of_nobody() -> Self {
        Self {
            topic: Place::new(0, 0),
            before: 0,
            total: 0,
        }
    }
}

/// How far an emit is.
pub(in crate::registry) struct Walk {
    pub(in crate::registry) snapshot: Snapshot,
    /// The last one called, or passed over.
    pub(in crate::registry) last: Option<Key>,
    /// Where the next one stands; one at a time, only if the list is the same as it was.
    pub(in crate::registry) next: usize,
    /// The generation on whose behalf this is.
    pub(in crate::registry) only: Option<u64>,
    /// How many had ended when it was seen last that this one had not, or before.
    pub(in crate::registry) ended: u64,
}

impl Walk {
    pub(in crate::registry) fn new(snapshot: Snapshot, only: Option<u64>, ended: u64) -> Self {
        Self {
            snapshot,
            last: None,
            next: 0,
            only,
            ended,
        }
    }

    pub(in crate::registry) fn is_for(&self, slot: &Slot) -> bool {
        self.only.is_none_or(|generation| slot.is_for(generation))
    }
}

/// A listener to be called, held until the call has returned. What it captured is dropped before the slot.
pub(in crate::registry) struct Claim<E> {
    pub(in crate::registry) call: Arc<dyn Call<E>>,
    pub(in crate::registry) slot: Arc<Slot>,
    pub(in crate::registry) probe: bool,
}

/// What came of how a call ended: who left by it, and what the breaker did.
pub(in crate::registry) struct Settled<T, E> {
    pub(in crate::registry) gone: Option<Departed<T, E>>,
    pub(in crate::registry) breaker: Option<BreakerState>,
}

/// How an emit goes on.
pub(in crate::registry) enum Resumed<E> {
    /// With this list, from where the next one stands.
    Pinned(Pin<E>),
    /// With one handler at a time.
    Single,
    /// Not at all.
    Ended,
}

impl<T, E: 'static> Table<T, E> {
    /// Begins an emit.
    #[inline]
    pub(in crate::registry) fn begin<Q: ?Sized + Eq>(
        &mut self,
        hash: u64,
        name: &Q,
        only: Option<u64>,
    ) -> (Snapshot, Resumed<E>)
    where
        T: Borrow<Q>,
    {
        self.departures.emitted += 1;
        if self.has_ended(only) {
            return (Snapshot::of_nobody(), Resumed::Ended);
        }
        // Nearly always, a topic with this hash is the one of this name: to look at names while searching costs more.
        let topic = match self.topics.find_mut(hash, |topic| topic.at.hash == hash) {
            Some(topic) if (*topic.name).borrow() == name => Some(topic),
            Some(_) => Self::namesake(&mut self.topics, hash, name),
            None => None,
        };
        let Some(topic) = topic else {
            return (Snapshot::of_nobody(), Resumed::Ended);
        };
        let total = only.map_or(topic.list.len(), |generation| {
            topic.list.count_for(generation)
        });
        let snapshot = Snapshot {
            topic: topic.at,
            before: self.next,
            total,
        };
        self.departures.begun += total as u64;
        if topic.calm < CALM {
            topic.calm += 1;
            (snapshot, Resumed::Single)
        } else {
            topic.passes += 1;
            (snapshot, Resumed::Pinned(Pin::clone(&topic.list)))
        }
    }

    /// The topic of this name, where one of another name has the same hash.
    #[cold]
    fn namesake<'a, Q: ?Sized + Eq>(
        topics: &'a mut HashTable<Topic<T, E>>,
        hash: u64,
        name: &Q,
    ) -> Option<&'a mut Topic<T, E>>
    where
        T: Borrow<Q>,
    {
        topics.find_mut(hash, |topic| (*topic.name).borrow() == name)
    }

    /// How an emit goes on whose list was stale, or not current any more by the time.
    pub(in crate::registry) fn resume(
        &mut self,
        walk: &mut Walk,
        now: Nanos,
        gone: &mut Vec<Departed<T, E>>,
    ) -> Resumed<E> {
        if self.has_ended(walk.only) {
            return Resumed::Ended;
        }
        let Snapshot {
            topic: at, before, ..
        } = walk.snapshot;
        if self
            .topic(at)
            .is_some_and(|topic| topic.list.earliest() <= now)
        {
            self.expire_topic(at, now, gone);
        }
        let Some(topic) = self.topic_mut(at) else {
            return Resumed::Ended;
        };
        walk.next = topic.list.after(walk.last);
        let later = |slot: &Arc<Slot>| slot.number() >= before;
        // Calling straight from a list means calling all of it.
        if topic.calm < CALM || topic.list.slots[walk.next..].iter().any(later) {
            Resumed::Single
        } else {
            // One from the beginning is counted as a whole pass, whether or not another one was broken off there.
            topic.passes += u64::from(walk.next == 0);
            Resumed::Pinned(Pin::clone(&topic.list))
        }
    }

    fn has_ended(&self, only: Option<u64>) -> bool {
        only.is_some_and(|generation| !self.generations.contains_key(&generation))
    }

    fn expire_topic(&mut self, at: Place, now: Nanos, gone: &mut Vec<Departed<T, E>>) {
        let Some(topic) = self.topic_mut(at) else {
            return;
        };
        let due = List::edit(&mut topic.list).due(now);
        gone.extend(
            due.into_iter()
                .filter_map(|listener| self.remove(listener, RemovalCause::Expired)),
        );
    }

    /// The next listener to be called, one at a time.
    pub(in crate::registry) fn claim_next(
        &mut self,
        walk: &mut Walk,
        now: Nanos,
        gone: &mut Vec<Departed<T, E>>,
    ) -> Option<Claim<E>> {
        if self.has_ended(walk.only) {
            return None;
        }
        loop {
            let list = &self.topic(walk.snapshot.topic)?.list;
            let is_next = |at: usize| {
                at.checked_sub(1)
                    .and_then(|at| list.slots.get(at))
                    .map(|slot| slot.key())
                    == walk.last
            };
            let at = if is_next(walk.next) {
                walk.next
            } else {
                list.after(walk.last)
            };
            let slot = list.slots.get(at)?;
            (walk.last, walk.next) = (Some(slot.key()), at + 1);
            if slot.number() >= walk.snapshot.before || !walk.is_for(slot) {
                continue;
            }
            let call = &list.calls[at];
            if slot.deadline > now && !Arc::ptr_eq(call, &self.asks) {
                let (call, slot) = (Arc::clone(call), Arc::clone(slot));
                return Some(Claim {
                    call,
                    slot,
                    probe: false,
                });
            }
            let listener = slot.number();
            if let Some(claim) = self.claim(walk.only, listener, now, gone) {
                return Some(claim);
            }
        }
    }

    /// A listener, to be called if it is due, on behalf of a generation or not.
    pub(in crate::registry) fn claim(
        &mut self,
        only: Option<u64>,
        listener: u64,
        now: Nanos,
        gone: &mut Vec<Departed<T, E>>,
    ) -> Option<Claim<E>> {
        if self.has_ended(only) {
            return None;
        }
        let record = self.records.get_mut(&listener)?;
        if record.slot.deadline <= now {
            gone.extend(self.remove(listener, RemovalCause::Expired));
            return None;
        }
        let is_silent = record
            .silenced_until
            .is_some_and(|until| now < until || record.probed);
        if is_silent || record.slot.is_paused() {
            return None;
        }
        let probe = record.silenced_until.is_some();
        record.probed |= probe;
        let (call, slot) = (Arc::clone(&record.call), Arc::clone(&record.slot));
        Some(Claim { call, slot, probe })
    }

    /// Takes note of how a call ended: whether it failed, or nothing where it was not made after all.
    pub(in crate::registry) fn settle(
        &mut self,
        listener: u64,
        probe: bool,
        failed: Option<bool>,
        now: Nanos,
    ) -> Settled<T, E> {
        let Some(record) = self.records.get_mut(&listener) else {
            return Settled {
                gone: None,
                breaker: None,
            };
        };
        record.probed &= !probe;
        let mut breaker = None;
        match failed {
            None => {}
            // A call that began before it was silenced is no probe.
            Some(false) if record.silenced_until.is_some() && !probe => {}
            Some(false) => {
                record.failures = 0;
                if record.silenced_until.take().is_some() {
                    self.silenced -= 1;
                    breaker = Some(BreakerState::Closed);
                }
            }
            Some(true) => {
                record.failures = record.failures.saturating_add(1);
                let so_far = record.failures;
                if let Some(CircuitBreaker {
                    failures,
                    retry_after,
                }) = self.limits.breaker
                    && so_far >= failures
                {
                    let Some(pause) = retry_after else {
                        let gone = self.remove(listener, RemovalCause::Failed);
                        return Settled {
                            gone,
                            breaker: Some(BreakerState::Detached { failures: so_far }),
                        };
                    };
                    let until = now.saturating_add(nanos(pause));
                    if record.silenced_until.replace(until).is_none() {
                        self.silenced += 1;
                        breaker = Some(BreakerState::Silenced { failures: so_far });
                    }
                }
            }
        }
        record.slot.note_failing(record.failures > 0);
        self.arm(listener);
        Settled {
            gone: None,
            breaker,
        }
    }

    /// Whether there is such a listener.
    pub(in crate::registry) fn pause(&mut self, listener: u64, paused: bool) -> bool {
        let Some(record) = self.records.get(&listener) else {
            return false;
        };
        record.slot.pause(paused);
        self.arm(listener);
        true
    }

    /// Has a listener be called straight, or not, as its record says.
    fn arm(&mut self, listener: u64) {
        let Some(record) = self.records.get(&listener) else {
            return;
        };
        let straight = !record.slot.is_paused() && record.failures == 0;
        let call = Arc::clone(if straight { &record.call } else { &self.asks });
        let (at, key) = (record.topic, record.slot.key());
        let Some(topic) = self.topic_mut(at) else {
            return;
        };
        let Some(position) = topic.list.position(key) else {
            return;
        };
        if !Arc::ptr_eq(&topic.list.calls[position], &call) {
            List::edit(&mut topic.list).calls[position] = call;
        }
    }
}
