//! The listeners of one topic in call order.
//!
//! The table owns the current list. An emit pins a list, by a clone of its `Arc`, and calls through
//! it without a lock. To change a pinned list, the table changes a copy and marks the old list as
//! stale. An emit releases a stale list before its next call. Therefore every listener of a list
//! that is not stale is attached, and emits need no check of their own. A listener that must not be
//! called directly is represented by [`ConsultTable`](super::handler::ConsultTable).

use std::cell::Cell;
use std::hint::black_box;
use std::mem;
use std::sync::Arc;

use super::counters::{Counters, contain};
use super::handler::{Handler, Invocation};
use super::listener::{CallOrder, Listener};
use super::scope::Generation;
use crate::clock::Clock;
use crate::steps;
use crate::sync::{
    self,
    atomic::{AtomicU8, Ordering},
};

/// A reference to a list, held by the table or by an emit. Loom's `Arc` in models.
pub(super) type Pin<E> = sync::Arc<List<E>>;

pub(super) struct List<E> {
    // Handlers and listeners are separate, because the calls of an emit touch the handlers only.
    pub(super) handlers: Vec<Arc<dyn Handler<E>>>,
    pub(super) listeners: Vec<Arc<Listener>>,
    /// 0, or 1 once a copy has replaced the list. Not a `bool`, so that `call_from` tests it and a
    /// result in one instruction.
    stale: AtomicU8,
    counters: Arc<Counters>,
}

/// Why [`List::call_from`] stopped.
pub(super) enum Stop {
    /// Every listener was called.
    End,
    /// The list must not be used for further calls.
    Stale,
    /// The next listener is not meant by this emit.
    NotMeant,
    /// The next listener was invoked with a result other than [`Invocation::Completed`].
    At(Invocation),
}

/// Stores the index of a handler that panics. Only unwinding drops it: storing the index before
/// each call would cost more than the rest of the loop.
struct NoteOnUnwind<'a> {
    at: usize,
    noted: &'a Cell<usize>,
}

impl Drop for NoteOnUnwind<'_> {
    fn drop(&mut self) {
        self.noted.set(self.at);
    }
}

/// The length above which the handlers of a list, one cache line each, may not fit into a nearest
/// cache of 32 KiB.
const LONG: usize = 256;
/// The number of handlers that are read ahead at once.
const PIECE: usize = 32;

/// Reads the first cache line of each handler, so that these cache misses overlap.
///
/// A handler is a `Fn`, so it writes through an atomic or a lock. Common processors start no load
/// behind such a write before it is done, so without this each handler waits for its own miss. It
/// takes a quarter off an emit to 1,000 listeners that count. The reference count lies right before
/// the captures.
fn read_ahead<E>(handlers: &[Arc<dyn Handler<E>>]) {
    let counts = handlers.iter().map(Arc::strong_count);
    black_box(counts.fold(0, |all, count| all | count));
}

impl<E> List<E> {
    pub(super) fn new(counters: Arc<Counters>) -> Self {
        Self {
            handlers: Vec::new(),
            listeners: Vec::new(),
            stale: AtomicU8::new(0),
            counters,
        }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.listeners.len()
    }

    pub(super) fn is_stale(&self) -> bool {
        self.staleness() != 0
    }

    #[inline]
    fn staleness(&self) -> u8 {
        // `detach` marks the list before it returns. Coherence makes any load after the return
        // observe the mark. Acquire pairs with the Release in `edit`: what happened before the
        // change is visible too.
        self.stale.load(Ordering::Acquire)
    }

    /// Calls the listeners from index `from` on, until `veto` or a result other than a success
    /// stops it. Returns the index of the listener that it stopped at. The listeners before that
    /// index were called.
    ///
    /// Before each call, checks that the list is not stale. One `catch_unwind` covers all calls.
    #[inline]
    pub(super) fn call_from(
        &self,
        from: usize,
        event: &E,
        clock: &Clock,
        veto: impl Fn(usize) -> Option<Stop>,
    ) -> (usize, Stop) {
        const { assert!(Invocation::Completed as u8 == 0) };
        let at_panic = Cell::new(0);
        let calls = || {
            if self.is_stale() {
                return (from, Stop::Stale);
            }
            let mut at = from;
            for piece in self.handlers[from..].chunks(PIECE) {
                if self.len() > LONG {
                    read_ahead(piece);
                }
                for handler in piece {
                    if let Some(stop) = veto(at) {
                        return (at, stop);
                    }
                    let note = NoteOnUnwind {
                        at,
                        noted: &at_panic,
                    };
                    let invocation = handler.call(event, clock);
                    mem::forget(note);
                    // One branch for both: it takes 5% of an emit to 100 listeners. `is_stale`
                    // counts after the last call too, because the listener may have failed in
                    // another emit during this call.
                    if (invocation as u8) | self.staleness() != 0 {
                        return if invocation == Invocation::Completed {
                            (at + 1, Stop::Stale)
                        } else {
                            (at, Stop::At(invocation))
                        };
                    }
                    at += 1;
                }
            }
            (at, Stop::End)
        };
        contain(&self.counters, calls)
            .unwrap_or_else(|| (at_panic.get(), Stop::At(Invocation::Panicked)))
    }

    /// Returns the number of listeners that an emit for this generation reaches.
    pub(super) fn count_for(&self, generation: &Generation) -> usize {
        self.listeners
            .iter()
            .filter(|listener| listener.belongs_to(generation))
            .count()
    }

    /// Returns the index of the first listener behind `order`.
    pub(super) fn index_after(&self, order: CallOrder) -> usize {
        self.listeners
            .partition_point(|listener| listener.call_order() <= order)
    }

    pub(super) fn index_of(&self, order: CallOrder) -> Option<usize> {
        self.listeners
            .binary_search_by_key(&order, |listener| listener.call_order())
            .ok()
    }

    /// Returns the number of the listener that was registered first. Takes one binary search per
    /// distinct priority.
    pub(super) fn oldest(&self) -> Option<u64> {
        let mut oldest = None;
        let mut at = 0;
        // Each run of equal priority is in order of registration.
        while let Some(first) = self.listeners.get(at) {
            oldest = Some(oldest.unwrap_or(u64::MAX).min(first.number()));
            at = self.index_after((first.call_order().0, u64::MAX));
        }
        oldest
    }

    /// Returns the list for a change. Replaces it by a copy if an emit has pinned it.
    pub(super) fn edit(list: &mut Pin<E>) -> &mut Self {
        if Pin::get_mut(list).is_none() {
            list.stale.store(1, Ordering::Release);
            let copy = Self {
                handlers: list.handlers.clone(),
                listeners: list.listeners.clone(),
                stale: AtomicU8::new(0),
                counters: Arc::clone(&list.counters),
            };
            *list = Pin::new(copy);
        }
        Pin::get_mut(list).expect("only the table, which is locked, pins lists")
    }

    pub(super) fn insert(&mut self, listener: Arc<Listener>, handler: Arc<dyn Handler<E>>) {
        let at = self.index_after(listener.call_order());
        self.handlers.insert(at, handler);
        self.listeners.insert(at, listener);
    }

    /// Removes the listeners at these ascending indices, and moves each listener behind the first
    /// of them once.
    pub(super) fn remove(&mut self, indices: &[usize]) {
        steps::count(self.len() - indices[0]);
        remove_all(&mut self.handlers, indices);
        remove_all(&mut self.listeners, indices);
        if let Some(capacity) = capacity_after_spike(self.len(), self.listeners.capacity()) {
            self.handlers.shrink_to(capacity);
            self.listeners.shrink_to(capacity);
        }
    }
}

fn remove_all<T>(items: &mut Vec<T>, indices: &[usize]) {
    let first = indices[0];
    if indices.len() == 1 {
        items.remove(first);
        return;
    }
    let mut next_removed = indices.iter().copied().peekable();
    let mut kept = first;
    for at in first..items.len() {
        if next_removed.next_if_eq(&at).is_none() {
            items.swap(kept, at);
            kept += 1;
        }
    }
    items.truncate(kept);
}

/// Returns the capacity to keep if less than an eighth of it is in use.
///
/// The removals since the spike pay for the copy.
pub(super) fn capacity_after_spike(len: usize, capacity: usize) -> Option<usize> {
    (capacity > 64 && len < capacity / 8).then_some(2 * len)
}

impl<E> Drop for List<E> {
    fn drop(&mut self) {
        // The last reference to a stale list drops the captures of the detached listeners: handlers
        // first, then listeners (see `Listener`).
        while let Some(handler) = self.handlers.pop() {
            contain(&self.counters, || drop(handler));
        }
    }
}
