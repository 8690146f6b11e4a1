//! `Flight`: work that one caller does and others wait for, and `Waiter`: a place in its list.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::Wakers;
use crate::sync::Mutex;

/// Work that one caller does. `V` is its value, and `T` is what the next owner needs.
pub(crate) struct Flight<V, T> {
    state: Mutex<State<V, T>>,
}

/// Maps instead of a linked list: a waiter leaves in logarithmic time, and an empty map takes no
/// memory.
struct State<V, T> {
    /// Waiters in the order of their arrival, with the waker of the last poll.
    waiting: BTreeMap<u64, Option<Waker>>,
    /// Turns that were passed to a waiter, which has not taken them yet.
    turns: BTreeMap<u64, T>,
    next_number: u64,
    closed: Option<Closed<V>>,
}

enum Closed<V> {
    Done(V),
    Abandoned,
}

/// The end of a wait.
pub(crate) enum End<V, T> {
    /// The owner finished. This is a clone of its value.
    Done(V),
    /// The owner gave up, and the waiter is the next owner.
    Turn(T),
    /// The flight was closed without a value, so the waiter starts again.
    Abandoned,
}

impl<V, T> Flight<V, T> {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                waiting: BTreeMap::new(),
                turns: BTreeMap::new(),
                next_number: 0,
                closed: None,
            }),
        }
    }

    /// Adds a waiter to the end of the list.
    ///
    /// The caller holds the lock under which the flight ends, so no end is missed.
    pub(crate) fn join(self: &Arc<Self>) -> Waiter<V, T> {
        let mut state = self.state.lock();
        let number = state.next_number;
        state.next_number += 1;
        state.waiting.insert(number, None);
        Waiter {
            flight: Arc::clone(self),
            number,
        }
    }

    /// Passes the turn to the first waiter. Returns `false` if there is none.
    pub(crate) fn hand_over(&self, turn: T, wakers: &mut Wakers) -> bool {
        let mut state = self.state.lock();
        let Some((number, waker)) = state.waiting.pop_first() else {
            return false;
        };
        state.turns.insert(number, turn);
        wakers.extend(waker);
        true
    }

    /// Ends the flight with a value for every waiter.
    pub(crate) fn finish(&self, value: V, wakers: &mut Wakers) {
        self.close(Closed::Done(value), wakers);
    }

    /// Ends the flight without a value, unless it has ended.
    pub(crate) fn abandon(&self, wakers: &mut Wakers) {
        self.close(Closed::Abandoned, wakers);
    }

    fn close(&self, closed: Closed<V>, wakers: &mut Wakers) {
        let mut state = self.state.lock();
        if state.closed.is_some() {
            return;
        }
        state.closed = Some(closed);
        for waker in std::mem::take(&mut state.waiting).into_values() {
            wakers.extend(waker);
        }
    }

    /// Returns `true` if no waiter is in the list or has a turn.
    pub(crate) fn is_unattended(&self) -> bool {
        let state = self.state.lock();
        state.waiting.is_empty() && state.turns.is_empty()
    }
}

/// A place in the list of a flight.
///
/// The owner of a waiter calls [`leave`](Self::leave) when it drops it, and passes on the turn that
/// this returns.
pub(crate) struct Waiter<V, T> {
    flight: Arc<Flight<V, T>>,
    number: u64,
}

impl<V: Clone, T> Waiter<V, T> {
    /// Waits for the end of the flight, or for the turn.
    pub(crate) async fn wait(&self) -> End<V, T> {
        poll_fn(|context| self.poll(context)).await
    }

    /// The state is checked and the waker is stored under one lock, so no wake-up falls between.
    fn poll(&self, context: &mut Context<'_>) -> Poll<End<V, T>> {
        let waker = context.waker();
        // Cloned and dropped without a lock, because wakers are user code.
        let mut new = Some(waker.clone());
        let mut state = self.state();
        match &state.closed {
            Some(Closed::Done(value)) => return Poll::Ready(End::Done(value.clone())),
            Some(Closed::Abandoned) => return Poll::Ready(End::Abandoned),
            None => {}
        }
        if let Some(turn) = state.turns.remove(&self.number) {
            return Poll::Ready(End::Turn(turn));
        }
        if let Some(old) = state.waiting.get_mut(&self.number) {
            std::mem::swap(old, &mut new);
        }
        Poll::Pending
    }
}

impl<V, T> Waiter<V, T> {
    fn state(&self) -> crate::sync::MutexGuard<'_, State<V, T>> {
        self.flight.state.lock()
    }

    pub(crate) fn flight(&self) -> &Arc<Flight<V, T>> {
        &self.flight
    }

    /// Removes the waiter, and returns the turn that it has not taken.
    pub(crate) fn leave(&self) -> Option<T> {
        let mut state = self.state();
        let waker = state.waiting.remove(&self.number);
        let turn = state.turns.remove(&self.number);
        // The waker is user code, and may be the last handle on a task.
        drop(state);
        drop(waker);
        turn
    }
}
