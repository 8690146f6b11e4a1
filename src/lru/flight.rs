//! `Flight`: one computation of a value that several callers wait for.
//!
//! A flight is in its shard's [`Flights`] from when a caller begins to compute until the value is stored, or until
//! somebody writes or removes the key meanwhile: then it still serves those who wait, and stores nothing.
//!
//! Waiting threads stand in [`Waiting`], so that no thread ever waits for a value that is being computed by one that
//! waits for it, through however many keys.

use std::borrow::Borrow;
use std::sync::Arc;

use hashbrown::HashTable;

use crate::sync::{Condvar, Mutex, ThreadId, current_thread};

/// A shard's table is freed where it was larger than this and is empty again.
const KEPT: usize = 64;

/// One computation.
pub(super) struct Flight<V> {
    pub(super) hash: u64,
    owner: ThreadId,
    state: Mutex<State<V>>,
    landed: Condvar,
}

enum State<V> {
    Computing,
    Done(V),
    Failed,
}

/// The computations of one shard's keys.
pub(super) struct Flights<K, V> {
    table: HashTable<(K, Arc<Flight<V>>)>,
}

impl<K, V> Flights<K, V> {
    pub(super) const fn new() -> Self {
        Self {
            table: HashTable::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    pub(super) fn find<Q: ?Sized + Eq>(&self, hash: u64, key: &Q) -> Option<&Arc<Flight<V>>>
    where
        K: Borrow<Q>,
    {
        self.table
            .find(hash, |(of, flight)| {
                flight.hash == hash && of.borrow() == key
            })
            .map(|(_, flight)| flight)
    }

    /// Begins a computation by this thread.
    pub(super) fn begin(&mut self, hash: u64, key: K) -> Arc<Flight<V>> {
        let (owner, state) = (current_thread().id(), Mutex::new(State::Computing));
        let flight = Arc::new(Flight {
            hash,
            owner,
            state,
            landed: Condvar::new(),
        });
        self.table
            .insert_unique(hash, (key, Arc::clone(&flight)), |(_, flight)| flight.hash);
        flight
    }

    /// Takes a computation out, with its key, unless it was superseded.
    pub(super) fn end(&mut self, flight: &Arc<Flight<V>>) -> Option<K> {
        let found = self
            .table
            .find_entry(flight.hash, |(_, it)| Arc::ptr_eq(it, flight));
        let ended = found.ok().map(|entry| entry.remove().0.0);
        if self.table.is_empty() && self.table.capacity() > KEPT {
            self.table = HashTable::new();
        }
        ended
    }

    /// Takes the computation of a key out, as superseded.
    pub(super) fn supersede<Q: ?Sized + Eq>(
        &mut self,
        hash: u64,
        key: &Q,
    ) -> Option<impl Sized + use<K, V, Q>>
    where
        K: Borrow<Q>,
    {
        let found = self.table.find_entry(hash, |(of, flight)| {
            flight.hash == hash && of.borrow() == key
        });
        found.ok().map(|entry| entry.remove().0)
    }

    /// Takes all computations out, as superseded.
    pub(super) fn supersede_all(&mut self) -> impl Sized + use<K, V> {
        std::mem::replace(self, Self::new())
    }
}

impl<V: Clone> Flight<V> {
    /// Ends the computation, with a value or as failed, and wakes those who wait.
    pub(super) fn land(&self, value: Option<V>) {
        *self.state.lock() = value.map_or(State::Failed, State::Done);
        self.landed.notify_all();
    }

    /// The value once it is computed; `None` where that failed.
    fn wait(&self) -> Option<V> {
        let mut state = self.state.lock();
        loop {
            match &*state {
                State::Computing => self.landed.wait(&mut state),
                State::Done(value) => return Some(value.clone()),
                State::Failed => return None,
            }
        }
    }
}

impl<V> Flight<V> {
    pub(super) fn is_computing(&self) -> bool {
        matches!(*self.state.lock(), State::Computing)
    }
}

/// Which thread waits for which computation.
pub(super) struct Waiting<V> {
    threads: Mutex<Vec<(ThreadId, Arc<Flight<V>>)>>,
}

/// The value is being computed by this thread, or by one that waits for it.
pub(super) struct Cycle;

impl<V> Waiting<V> {
    pub(super) fn new() -> Self {
        Self {
            threads: Mutex::new(Vec::new()),
        }
    }

    /// Waits for a computation; its value, or `None` where it failed.
    pub(super) fn wait_for(&self, flight: &Arc<Flight<V>>) -> Result<Option<V>, Cycle>
    where
        V: Clone,
    {
        let me = current_thread().id();
        self.enter(me, flight)?;
        let _leave = Leave { waiting: self, me };
        Ok(flight.wait())
    }

    fn enter(&self, me: ThreadId, flight: &Arc<Flight<V>>) -> Result<(), Cycle> {
        let mut threads = self.threads.lock();
        // Each owner waits for the next flight, up to one that waits for none. They cannot go in a circle, since none was
        // let in that would have closed it. A flight that has landed keeps nobody waiting, the first one included: its
        // owner may be on the way to what this thread computes.
        let mut next = flight;
        while next.is_computing() {
            if next.owner == me {
                return Err(Cycle);
            }
            match threads.iter().find(|(thread, _)| *thread == next.owner) {
                Some((_, flight)) => next = flight,
                None => break,
            }
        }
        threads.push((me, Arc::clone(flight)));
        Ok(())
    }
}

/// Takes a thread out that waits no more, even where cloning the value panicked.
struct Leave<'a, V> {
    waiting: &'a Waiting<V>,
    me: ThreadId,
}

impl<V> Drop for Leave<'_, V> {
    fn drop(&mut self) {
        let mut threads = self.waiting.threads.lock();
        let at = threads.iter().position(|(thread, _)| *thread == self.me);
        let gone = at.map(|at| threads.swap_remove(at));
        drop(threads);
        drop(gone);
    }
}
