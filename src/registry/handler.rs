//! Handlers behind one object-safe trait, with the checks that need no lock.
//!
//! A [`PlainHandler`] is called directly. A [`GuardedHandler`] first checks its deadline, owner,
//! filter and call limit. The captures of a handler are dropped with the last `Arc` of it, on
//! whichever thread that is. While a handler is attached and not running, only the table and pinned
//! lists hold that `Arc`.

use std::marker::PhantomData;
use std::sync::{Arc, Weak};

use super::counters::{Counters, contain};
use super::listener::Listener;
use crate::clock::Clock;
use crate::sync::atomic::{AtomicU64, Ordering};

/// The return type of a handler, which decides if a call has failed.
///
/// Implemented for `()`, for `bool` (`false` is a failure) and for `Result`. Implement it for a
/// type of your own to let handlers return that type.
#[diagnostic::on_unimplemented(
    message = "a handler returns nothing, a `bool` or a `Result`, not `{Self}`",
    note = "end the closure with `;` to return nothing",
    note = "for async work, spawn a task in the handler or use a queue"
)]
pub trait HandlerResult {
    /// Returns `true` if the call failed.
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

/// Names the never type `!` on stable Rust, as the output of `fn() -> !`.
pub trait Returns {
    /// The return type of the function.
    type Output;
}

impl<R> Returns for fn() -> R {
    type Output = R;
}

/// A closure that only panics has the return type `!`, and is a handler as well.
#[doc(hidden)]
impl HandlerResult for <fn() -> ! as Returns>::Output {
    fn is_failure(&self) -> bool {
        match *self {}
    }
}

/// The result of invoking a handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Invocation {
    Completed,
    Failed,
    Panicked,
    /// Not called: the filter refused the event, or the listener is not live.
    Skipped,
    /// Not called: the deadline has passed.
    Expired,
    /// Not called: the owner was dropped.
    OwnerDropped,
    /// Not called yet: only one call remains. The emit detaches the listener and then calls
    /// [`Handler::run`].
    LastCall,
    /// Not called yet: the emit has to consult the table.
    Deferred,
}

pub(super) trait Handler<E>: Send + Sync {
    /// Calls the handler if its own checks allow it.
    fn call(&self, event: &E, clock: &Clock) -> Invocation;

    /// Calls the handler without checks.
    fn run(&self, event: &E) -> Invocation;

    /// Returns `true` if the handler has an owner and that owner was dropped.
    fn is_orphan(&self) -> bool {
        false
    }
}

pub(super) struct PlainHandler<F, R> {
    function: F,
    result: PhantomData<fn() -> R>,
}

impl<F, R> PlainHandler<F, R> {
    pub(super) fn new(function: F) -> Self {
        Self {
            function,
            result: PhantomData,
        }
    }

    pub(super) fn into_function(self) -> F {
        self.function
    }
}

impl<E, F, R> Handler<E> for PlainHandler<F, R>
where
    F: Fn(&E) -> R + Send + Sync,
    R: HandlerResult,
{
    fn call(&self, event: &E, _: &Clock) -> Invocation {
        self.run(event)
    }

    fn run(&self, event: &E) -> Invocation {
        if (self.function)(event).is_failure() {
            Invocation::Failed
        } else {
            Invocation::Completed
        }
    }
}

pub(super) type Filter<E> = Box<dyn Fn(&E) -> bool + Send + Sync>;

/// A weak reference to an owner of any type.
pub(super) trait Owner: Send + Sync {
    fn is_alive(&self) -> bool;
}

impl<O: ?Sized + Send + Sync> Owner for Weak<O> {
    fn is_alive(&self) -> bool {
        self.strong_count() > 0
    }
}

/// The conditions under which a listener is called, apart from its deadline.
pub(super) struct CallConditions<E> {
    pub(super) filter: Option<Filter<E>>,
    pub(super) owner: Option<Box<dyn Owner>>,
    pub(super) max_calls: Option<u64>,
}

impl<E> Default for CallConditions<E> {
    fn default() -> Self {
        Self {
            filter: None,
            owner: None,
            max_calls: None,
        }
    }
}

impl<E> CallConditions<E> {
    pub(super) fn is_empty(&self) -> bool {
        self.filter.is_none() && self.owner.is_none() && self.max_calls.is_none()
    }
}

/// A handler with conditions or a deadline.
pub(super) struct GuardedHandler<E, F, R> {
    handler: PlainHandler<F, R>,
    filter: Option<Filter<E>>,
    owner: Option<Box<dyn Owner>>,
    remaining: Option<AtomicU64>,
    // The last field, so that it is dropped after all captures: see `Listener`.
    listener: Arc<Listener>,
}

impl<E, F, R> GuardedHandler<E, F, R> {
    pub(super) fn new(function: F, conditions: CallConditions<E>, listener: Arc<Listener>) -> Self {
        Self {
            handler: PlainHandler::new(function),
            filter: conditions.filter,
            owner: conditions.owner,
            remaining: conditions.max_calls.map(AtomicU64::new),
            listener,
        }
    }

    /// Returns the user's function and drops the captures of its conditions.
    pub(super) fn into_function(self, counters: &Counters) -> F {
        contain(counters, || drop(self.filter));
        contain(counters, || drop(self.owner));
        self.handler.into_function()
    }
}

impl<E, F, R> Handler<E> for GuardedHandler<E, F, R>
where
    F: Fn(&E) -> R + Send + Sync,
    R: HandlerResult,
{
    fn call(&self, event: &E, clock: &Clock) -> Invocation {
        if self.listener.has_deadline() && self.listener.is_expired(clock.nanos()) {
            return Invocation::Expired;
        }
        if self.is_orphan() {
            return Invocation::OwnerDropped;
        }
        if let Some(filter) = &self.filter {
            // The filter is user code: it may have detached or paused this listener, or dropped the
            // owner.
            if !filter(event) || !self.listener.is_live() {
                return Invocation::Skipped;
            }
            if self.is_orphan() {
                return Invocation::OwnerDropped;
            }
        }
        if let Some(remaining) = &self.remaining {
            // Threads and nested emits share this count, so no more than `max_calls` calls begin.
            // AcqRel: the thread that takes the last call has to observe everything that happened
            // before the earlier calls were counted.
            let one_less = |remaining: u64| remaining.checked_sub(1);
            match remaining.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_less) {
                Err(_) => return Invocation::Skipped,
                Ok(1) => return Invocation::LastCall,
                Ok(_) => {}
            }
        }
        self.run(event)
    }

    fn run(&self, event: &E) -> Invocation {
        self.handler.run(event)
    }

    fn is_orphan(&self) -> bool {
        self.owner.as_ref().is_some_and(|owner| !owner.is_alive())
    }
}

/// Takes the place of a paused or failing listener in a list, so that emits consult the table about
/// it.
///
/// A healthy listener costs an emit no check this way.
pub(super) struct ConsultTable;

impl<E> Handler<E> for ConsultTable {
    fn call(&self, _: &E, _: &Clock) -> Invocation {
        Invocation::Deferred
    }

    fn run(&self, _: &E) -> Invocation {
        Invocation::Deferred
    }
}
