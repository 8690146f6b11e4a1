//! `wait_for`: waits until a handler is dropped, unless that would never happen.
//!
//! A detached handler is kept by the emits that hold it, and by the thread that has detached it and
//! has yet to drop it. Either thread may itself wait for a handler, in a call or in the drop of a
//! capture. So the waiting threads of the process form a graph, and a wait that would close a cycle
//! in it is an error.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::emit_stack::{self, HandlerRef, Hold};
use super::listener::Listener;

/// A thread that waits until a handler is dropped, and the handlers that its emits hold.
struct Waiter {
    thread: usize,
    holds: Vec<Hold>,
    target: HandlerRef,
    /// The listener of `target`. Weak, because its drop is what the thread waits for.
    listener: Weak<Listener>,
}

impl Waiter {
    /// Returns `true` if this thread keeps a handler from being dropped.
    fn keeps(&self, target: &Target) -> bool {
        let is_dropping = |listener: &Arc<Listener>| listener.dropping_thread() == self.thread;
        self.holds.iter().any(|hold| hold.contains(target.handler))
            || target.listener.as_ref().is_some_and(is_dropping)
    }

    fn target(&self) -> Target {
        Target {
            handler: self.target,
            listener: self.listener.upgrade(),
        }
    }
}

/// A handler for which a thread waits.
struct Target {
    handler: HandlerRef,
    /// `None` if the handler was dropped in the meantime.
    listener: Option<Arc<Listener>>,
}

/// The threads of the process that wait. Not loom's, because no model lets threads meet in it.
static WAITERS: Mutex<Vec<Waiter>> = Mutex::new(Vec::new());

/// Why a thread must not wait for a handler.
pub(super) enum WaitError {
    /// This thread keeps the handler.
    Inside,
    /// Another thread keeps the handler, and waits for a handler that this thread keeps. There may
    /// be more threads in between.
    Cycle,
}

/// Runs `wait`, which waits until the handler of a detached listener is dropped.
pub(super) fn wait_for<R>(
    target: HandlerRef,
    listener: Arc<Listener>,
    wait: impl FnOnce() -> R,
) -> Result<R, WaitError> {
    let new = Waiter {
        thread: emit_stack::current_thread(),
        holds: emit_stack::holds(),
        target,
        listener: Arc::downgrade(&listener),
    };
    let own = Target {
        handler: target,
        listener: Some(listener),
    };
    if new.keeps(&own) {
        return Err(WaitError::Inside);
    }
    let thread = new.thread;
    {
        // Dropped after the lock is released: this may be the last reference to a listener.
        let mut targets = Vec::new();
        // One critical section for check and registration: of the threads of a cycle, the last one
        // finds it. A thread notes what it drops before it waits in that drop.
        let mut waiters = WAITERS.lock().unwrap_or_else(PoisonError::into_inner);
        targets.extend(waiters.iter().map(Waiter::target));
        targets.push(own);
        if closes_cycle(&waiters, &new, &targets) {
            return Err(WaitError::Cycle);
        }
        waiters.push(new);
    }
    let result = wait();
    let mut waiters = WAITERS.lock().unwrap_or_else(PoisonError::into_inner);
    waiters.retain(|waiter| waiter.thread != thread);
    Ok(result)
}

/// Returns `true` if `new` would wait for a thread that waits for `new`. A waiting thread releases
/// nothing. `targets` are those of the waiters, and then that of `new`.
fn closes_cycle(waiters: &[Waiter], new: &Waiter, targets: &[Target]) -> bool {
    let mut is_visited = vec![false; waiters.len()];
    let mut pending = vec![waiters.len()];
    while let Some(target) = pending.pop() {
        for (at, waiter) in waiters.iter().enumerate() {
            if !is_visited[at] && waiter.keeps(&targets[target]) {
                if new.keeps(&targets[at]) {
                    return true;
                }
                is_visited[at] = true;
                pending.push(at);
            }
        }
    }
    false
}
