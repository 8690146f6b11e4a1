//! `Call`: a handler behind one type, with the checks that need no lock.
//!
//! A plain handler is called straight. One with a filter, an owner or a count checks these itself, and answers what the
//! emit then has to do. What it captured is dropped with the last `Arc` of it, in whichever thread that is: the invariant
//! of the whole module is that while a handler is attached and nobody calls it, only the table and pinned lists hold that
//! `Arc`.

use std::marker::PhantomData;
use std::sync::{Arc, Weak};

use super::counters::{Counters, contained};
use super::slot::Slot;
use crate::sync::atomic::{AtomicU64, Ordering};

/// What a handler may return: whether its call failed.
///
/// Nothing, a `bool` (`false` is a failure) and a `Result` are outcomes; implement it for a type of your own.
#[diagnostic::on_unimplemented(
    message = "a handler returns nothing, a `bool` or a `Result`, not `{Self}`",
    note = "end the closure with `;` to return nothing; for async work, spawn it in the handler or use a queue"
)]
pub trait HandlerResult {
    /// Whether the call failed.
    fn is_failure(&self) -> bool;
}

impl HandlerResult for () {
    fn is_failure(&self) -> bool {
        false
    }
}

impl HandlerResult for bool {
    fn is_failure(&self) -> bool {
        !self
    }
}

impl<V, X> HandlerResult for Result<V, X> {
    fn is_failure(&self) -> bool {
        self.is_err()
    }
}

/// Names the type `!`, which has no name yet, as what a function that never returns puts out.
pub trait Returns {
    /// What it puts out.
    type Output;
}

impl<R> Returns for fn() -> R {
    type Output = R;
}

/// A handler that only ever panics is a handler, too.
#[doc(hidden)]
impl HandlerResult for <fn() -> ! as Returns>::Output {
    fn is_failure(&self) -> bool {
        match *self {}
    }
}

/// What came of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Done,
    Failed,
    /// Not called: filtered out, or not live any more.
    Skipped,
    /// Not called: its owner is gone.
    OwnerDropped,
    /// Not called yet: this is the last of its times, so it is to be detached and then [`run`](Call::run).
    Last,
    /// Not called: the table knows more about it.
    Ask,
}

pub(super) trait Call<E>: Send + Sync {
    /// Calls the handler, unless one of its own checks is against it.
    fn call(&self, event: &E) -> Answer;

    /// Calls the handler.
    fn run(&self, event: &E) -> Answer;

    /// Whether the owner, if there is one, is gone.
    fn is_orphan(&self) -> bool {
        false
    }
}

/// A handler without conditions.
pub(super) struct Plain<F, R> {
    handler: F,
    outcome: PhantomData<fn() -> R>,
}

impl<F, R> Plain<F, R> {
    pub(super) fn new(handler: F) -> Self {
        Self {
            handler,
            outcome: PhantomData,
        }
    }

    pub(super) fn into_handler(self) -> F {
        self.handler
    }
}

impl<E, F, R> Call<E> for Plain<F, R>
where
    F: Fn(&E) -> R + Send + Sync,
    R: HandlerResult,
{
    fn call(&self, event: &E) -> Answer {
        self.run(event)
    }

    fn run(&self, event: &E) -> Answer {
        if (self.handler)(event).is_failure() {
            Answer::Failed
        } else {
            Answer::Done
        }
    }
}

pub(super) type Filter<E> = Box<dyn Fn(&E) -> bool + Send + Sync>;

/// Tells whether an owner still lives.
pub(super) trait Alive: Send + Sync {
    fn is_alive(&self) -> bool;
}

impl<O: ?Sized + Send + Sync> Alive for Weak<O> {
    fn is_alive(&self) -> bool {
        self.strong_count() > 0
    }
}

/// What a call depends on.
pub(super) struct Conditions<E> {
    pub(super) filter: Option<Filter<E>>,
    pub(super) owner: Option<Box<dyn Alive>>,
    pub(super) times: Option<u64>,
}

impl<E> Default for Conditions<E> {
    fn default() -> Self {
        Self {
            filter: None,
            owner: None,
            times: None,
        }
    }
}

impl<E> Conditions<E> {
    pub(super) fn are_none(&self) -> bool {
        self.filter.is_none() && self.owner.is_none() && self.times.is_none()
    }
}

/// A handler with conditions. The fields are dropped in this order: the slot after what was captured.
pub(super) struct Checked<E, F, R> {
    plain: Plain<F, R>,
    filter: Option<Filter<E>>,
    owner: Option<Box<dyn Alive>>,
    remaining: Option<AtomicU64>,
    slot: Arc<Slot>,
}

impl<E, F, R> Checked<E, F, R> {
    pub(super) fn new(handler: F, conditions: Conditions<E>, slot: Arc<Slot>) -> Self {
        Self {
            plain: Plain::new(handler),
            filter: conditions.filter,
            owner: conditions.owner,
            remaining: conditions.times.map(AtomicU64::new),
            slot,
        }
    }

    /// The handler. What its conditions captured is dropped.
    pub(super) fn into_handler(self, counters: &Counters) -> F {
        contained(counters, || drop(self.filter));
        contained(counters, || drop(self.owner));
        self.plain.into_handler()
    }
}

impl<E, F, R> Call<E> for Checked<E, F, R>
where
    F: Fn(&E) -> R + Send + Sync,
    R: HandlerResult,
{
    fn call(&self, event: &E) -> Answer {
        if self.is_orphan() {
            return Answer::OwnerDropped;
        }
        if let Some(filter) = &self.filter {
            // The filter is the user's code and may have detached or paused its own listener, or dropped its owner.
            if !filter(event) || !self.slot.is_live() {
                return Answer::Skipped;
            }
            if self.is_orphan() {
                return Answer::OwnerDropped;
            }
        }
        if let Some(remaining) = &self.remaining {
            // AcqRel: the one that takes the last call is to see what the calls before it were counted by. Threads and
            // nested emits share the count, so that no more calls than were asked for are ever begun.
            let one_less = |left: u64| left.checked_sub(1);
            match remaining.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_less) {
                Err(_) => return Answer::Skipped,
                Ok(1) => return Answer::Last,
                Ok(_) => {}
            }
        }
        self.run(event)
    }

    fn run(&self, event: &E) -> Answer {
        self.plain.run(event)
    }

    fn is_orphan(&self) -> bool {
        self.owner.as_ref().is_some_and(|owner| !owner.is_alive())
    }
}

/// Stands in the list for a listener about which the table has to be asked: paused, silenced, or failing.
pub(super) struct Asks;

impl<E> Call<E> for Asks {
    fn call(&self, _: &E) -> Answer {
        Answer::Ask
    }

    fn run(&self, _: &E) -> Answer {
        Answer::Ask
    }
}
