//! `Emission`: an emit that needs more than one uninterrupted run through a list.
//!
//! [`Emission::finish`] releases the list, handles the listener that stopped the calls, pins the
//! current list and continues behind that listener. So each listener that was registered before the
//! emit is called at most once, in order, and removed listeners are dropped before the next call.

use std::sync::Arc;

use super::counters::{Counters, contain};
use super::emit_stack::EmitFrame;
use super::handler::{Handler, Invocation};
use super::inner::Inner;
use super::list::{List, Pin, Stop};
use super::listener::{CallOrder, Listener};
use super::scope::Generation;
use super::table::TopicId;
use crate::removal::RemovalCause;

/// The result of an emit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EmitSummary {
    /// Listeners called, including those that failed or panicked.
    pub called: usize,
    /// Calls that returned a failure.
    pub failed: usize,
    /// Calls that panicked.
    pub panicked: usize,
    /// Listeners that were registered when the emit began and were not called: paused, skipped by
    /// the circuit breaker, refused by their filter, detached during the emit, expired, or without
    /// their owner.
    pub skipped: usize,
}

/// An emit that needs more than one uninterrupted run through a list.
pub(super) struct Emission<'a, T, E: 'static> {
    registry: &'a Inner<T, E>,
    frame: EmitFrame,
    event: &'a E,
    generation: Option<&'a Generation>,
    topic: TopicId,
    /// Listeners from this number on were registered after the emit began.
    before: u64,
    summary: EmitSummary,
}

/// A handler that an emit calls outside of a pinned list.
struct HeldHandler<'a, E> {
    counters: &'a Counters,
    /// `None` only during the drop.
    handler: Option<Arc<dyn Handler<E>>>,
    // The last field, so that it is dropped after the captures: see `Listener`.
    listener: Arc<Listener>,
}

/// The reason why an emit releases a pinned list.
enum Left<'a, E> {
    /// All listeners were called or skipped.
    AtEnd,
    /// The list is stale.
    Stale,
    /// This listener has to be handled without the list.
    For(HeldHandler<'a, E>, Invocation),
}

impl<'a, T, E: 'static> Emission<'a, T, E> {
    pub(super) fn new(
        registry: &'a Inner<T, E>,
        frame: EmitFrame,
        event: &'a E,
        generation: Option<&'a Generation>,
        hash: u64,
    ) -> Self {
        let (number, before) = frame.pinned();
        Self {
            registry,
            frame,
            event,
            generation,
            topic: TopicId { hash, number },
            before,
            summary: EmitSummary::default(),
        }
    }

    /// Emits to the end, from where the first calls through the list stopped.
    #[cold]
    #[inline(never)]
    pub(super) fn finish(mut self, mut list: Pin<E>, first: Option<(usize, Stop)>) -> EmitSummary {
        let expected = match self.generation {
            None => list.len(),
            Some(generation) => list.count_for(generation),
        };
        let passed_over = list.len() - expected;
        let mut from = 0;
        let mut stopped = first.unwrap_or_else(|| self.call_from(&list, 0));
        let mut is_first_pin = true;
        loop {
            let (reached, left) = self.walk(&list, from, stopped);
            // The first pin has counted a call of every listener, later ones of none.
            if is_first_pin {
                let not_reached = &list.listeners[reached..];
                not_reached.iter().for_each(|it| it.uncount_call());
            } else {
                let reached = &list.listeners[from..reached];
                reached.iter().for_each(|it| it.count_call());
            }
            let last = reached.checked_sub(1);
            let last = last.map(|last| list.listeners[last].call_order());
            // This may be the last reference to listeners that were removed.
            drop(list);
            self.frame.set_unpinned();
            match left {
                Left::AtEnd => break,
                Left::Stale => {}
                Left::For(held, invocation) => self.handle(held, invocation, false),
            }
            match self.repin(last) {
                Some((current, next)) => (list, from) = (current, next),
                None => break,
            }
            stopped = self.call_from(&list, from);
            is_first_pin = false;
        }
        self.summary.skipped = expected.saturating_sub(self.summary.called);
        let EmitSummary {
            failed, skipped, ..
        } = self.summary;
        self.registry
            .counters
            .count_emit(failed, skipped, passed_over);
        self.summary
    }

    fn repin(&mut self, last: Option<CallOrder>) -> Option<(Pin<E>, usize)> {
        if self.has_generation_ended() {
            return None;
        }
        let table = self.registry.table.lock();
        table.repin(self.topic, last, &self.frame)
    }

    fn has_generation_ended(&self) -> bool {
        self.generation.is_some_and(Generation::has_ended)
    }

    /// Calls through a list that may contain listeners that this emit does not reach.
    fn call_from(&self, list: &List<E>, from: usize) -> (usize, Stop) {
        list.call_from(from, self.event, &self.registry.clock, |at| {
            if self.has_generation_ended() {
                return Some(Stop::Stale);
            }
            let listener = &list.listeners[at];
            let is_meant = listener.number() < self.before
                && self.generation.is_none_or(|it| listener.belongs_to(it));
            (!is_meant).then_some(Stop::NotMeant)
        })
    }

    /// Calls through a pinned list for as long as it can be kept pinned. Returns the index behind
    /// the last listener that was called, skipped or returned.
    fn walk(
        &mut self,
        list: &List<E>,
        mut from: usize,
        mut stopped: (usize, Stop),
    ) -> (usize, Left<'a, E>) {
        loop {
            let (at, stop) = stopped;
            self.summary.called += at - from;
            match stop {
                Stop::End => return (at, Left::AtEnd),
                Stop::Stale => {
                    // The last listener may have failed in another emit during its call. Its
                    // success ends that row.
                    let last = at.checked_sub(1).filter(|_| at > from);
                    if let Some(last) = last.map(|last| &list.listeners[last]) {
                        if last.is_failing() {
                            self.registry.record(last.number(), false, Some(false));
                        }
                    }
                    return (at, Left::Stale);
                }
                Stop::NotMeant | Stop::At(Invocation::Skipped) => list.listeners[at].uncount_call(),
                Stop::At(invocation) => {
                    let held = HeldHandler {
                        counters: &self.registry.counters,
                        handler: Some(Arc::clone(&list.handlers[at])),
                        listener: Arc::clone(&list.listeners[at]),
                    };
                    return (at + 1, Left::For(held, invocation));
                }
            }
            from = at + 1;
            stopped = self.call_from(list, from);
        }
    }

    /// Completes the invocation of a listener, which is already counted as a call. No list is
    /// pinned.
    fn handle(&mut self, held: HeldHandler<'a, E>, invocation: Invocation, is_probe: bool) {
        let number = held.listener.number();
        match invocation {
            Invocation::Completed | Invocation::Failed | Invocation::Panicked => {
                self.count_result(invocation);
                let failed = invocation != Invocation::Completed;
                if failed || is_probe || held.listener.is_failing() {
                    // Filling a queue is no success if its consumer reports results.
                    let is_unknown = !failed && held.listener.reports_later();
                    let result = (!is_unknown).then_some(failed);
                    self.registry.record(number, is_probe, result);
                }
            }
            Invocation::Skipped => {
                held.listener.uncount_call();
                if is_probe {
                    self.registry.record(number, true, None);
                }
            }
            Invocation::Expired => self.remove(held, RemovalCause::Expired),
            Invocation::OwnerDropped => self.remove(held, RemovalCause::OwnerDropped),
            Invocation::LastCall => self.make_last_call(held),
            Invocation::Deferred => {
                let now = self.registry.clock.nanos();
                if held.listener.is_expired(now) {
                    return self.remove(held, RemovalCause::Expired);
                }
                held.listener.uncount_call();
                drop(held);
                let admitted = self.registry.table.lock().admit(number, now);
                if let Some(admitted) = admitted {
                    let held = HeldHandler {
                        counters: &self.registry.counters,
                        handler: Some(admitted.handler),
                        listener: admitted.listener,
                    };
                    self.frame.set_running(Some(number));
                    held.listener.count_call();
                    let (event, clock) = (self.event, &self.registry.clock);
                    let invocation = held.invoke(|handler| handler.call(event, clock));
                    self.handle(held, invocation, admitted.is_probe);
                    self.frame.set_running(None);
                }
            }
        }
    }

    fn remove(&mut self, held: HeldHandler<'a, E>, cause: RemovalCause) {
        held.listener.uncount_call();
        let removed = self
            .registry
            .table
            .lock()
            .remove(held.listener.number(), cause);
        drop(held);
        self.registry.finish_removals(removed);
    }

    /// Detaches a listener and then calls it, so that the handler finds its place free.
    fn make_last_call(&mut self, held: HeldHandler<'a, E>) {
        let number = held.listener.number();
        let removed = self
            .registry
            .table
            .lock()
            .remove(number, RemovalCause::CallLimitReached);
        // If another thread has detached the listener first, it must not be called any more.
        if removed.is_some() {
            self.frame.set_running(Some(number));
            let invocation = held.invoke(|handler| handler.run(self.event));
            self.count_result(invocation);
        }
        drop(held);
        self.frame.set_running(None);
        self.registry.finish_removals(removed);
    }

    fn count_result(&mut self, invocation: Invocation) {
        self.summary.called += 1;
        self.summary.failed += usize::from(invocation == Invocation::Failed);
        self.summary.panicked += usize::from(invocation == Invocation::Panicked);
    }
}

impl<E> HeldHandler<'_, E> {
    /// Calls user code of the handler.
    fn invoke(&self, call: impl FnOnce(&dyn Handler<E>) -> Invocation) -> Invocation {
        let handler = self.handler.as_ref().expect("it is not being dropped");
        contain(self.counters, || call(&**handler)).unwrap_or(Invocation::Panicked)
    }
}

impl<E> Drop for HeldHandler<'_, E> {
    fn drop(&mut self) {
        // This may be the last reference, and captures may panic in their drop.
        let handler = self.handler.take();
        contain(self.counters, || drop(handler));
    }
}
