//! Computations that need their own value: found before a caller waits forever.
//!
//! A thread keeps a stack of the computations that it runs at this moment: closures, and futures
//! while they are polled. A caller that waits, or computes, within another computation records that
//! the outer computation depends on the inner one. If the inner one depends on the outer one
//! already, through any number of others, waiting would not end.
//!
//! The identity of a computation is used instead of that of a thread, because a future has no
//! thread of its own. A caller outside of any computation cannot close a cycle, and costs nothing
//! here. If a computation waits for a thread or task that it started, that is not detected.

use std::cell::RefCell;
use std::sync::Arc;

use super::Computation;
use crate::lru::error::ComputeError;
use crate::sync::thread_local;

/// The address of a computation. The guard that records it keeps the computation alive.
type Id = usize;

fn id<V>(computation: &Arc<Computation<V>>) -> Id {
    Arc::as_ptr(computation).addr()
}

thread_local! {
    static STACK: RefCell<Vec<Id>> = RefCell::default();
}

/// Pairs of computations, of which the first depends on the second. One list for all caches, so
/// that cycles through several caches are found.
///
/// Not a lock of `crate::sync`, because loom has no static ones. No other lock is taken while this
/// one is held.
static DEPENDENCIES: parking_lot::Mutex<Vec<(Id, Id)>> = parking_lot::Mutex::new(Vec::new());

/// The computation needs its own value.
#[derive(Debug)]
pub(super) struct Cycle;

impl Cycle {
    pub(super) fn panic_if_any<T>(method: &str, result: Result<T, Self>) -> T {
        let cycle = ComputeError::<std::convert::Infallible>::Cycle;
        result.unwrap_or_else(|Self| panic!("LruCache::{method}: {cycle}"))
    }
}

/// A computation on the stack of this thread.
pub(super) struct Computing;

impl Computing {
    pub(super) fn enter<V>(computation: &Arc<Computation<V>>) -> Self {
        // It fails only in the destructor of another thread local, which finds no cycles then.
        let _ = STACK.try_with(|stack| stack.borrow_mut().push(id(computation)));
        Self
    }
}

impl Drop for Computing {
    fn drop(&mut self) {
        let _ = STACK.try_with(|stack| stack.borrow_mut().pop());
    }
}

/// The record that the computation in progress depends on another one.
pub(super) struct Dependency(Id, Id);

impl Dependency {
    /// Returns `None` if this thread runs no computation.
    pub(super) fn enter<V>(on: &Arc<Computation<V>>) -> Result<Option<Self>, Cycle> {
        let top = STACK.try_with(|stack| stack.borrow().last().copied());
        let Ok(Some(outer)) = top else {
            return Ok(None);
        };
        let inner = id(on);
        let mut dependencies = DEPENDENCIES.lock();
        if reaches(&dependencies, inner, outer) {
            return Err(Cycle);
        }
        dependencies.push((outer, inner));
        Ok(Some(Self(outer, inner)))
    }
}

impl Drop for Dependency {
    fn drop(&mut self) {
        let mut dependencies = DEPENDENCIES.lock();
        let this = (self.0, self.1);
        if let Some(at) = dependencies.iter().position(|&it| it == this) {
            dependencies.swap_remove(at);
        }
    }
}

/// Returns `true` if `from` is `to`, or depends on it.
fn reaches(dependencies: &[(Id, Id)], from: Id, to: Id) -> bool {
    let (mut found, mut next) = (vec![from], 0);
    while let Some(&at) = found.get(next) {
        if at == to {
            return true;
        }
        for &(outer, inner) in dependencies {
            if outer == at && !found.contains(&inner) {
                found.push(inner);
            }
        }
        next += 1;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependency_that_ended_closes_no_cycle() {
        let [a, b, c] = [(); 3].map(|()| Arc::new(Computation::<()>::new()));
        let depend = |outer, inner| {
            let _computing = Computing::enter(outer);
            Dependency::enter(inner)
        };
        let _held = depend(&a, &c).expect("no cycle");
        drop(depend(&a, &b).expect("no cycle"));
        assert!(depend(&b, &a).is_ok(), "`a` no longer depends on `b`");
        assert!(depend(&c, &a).is_err(), "`a` still depends on `c`");
    }
}
