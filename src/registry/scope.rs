//! `Scope`: an end that listeners have in common.
//!
//! A scope is a number that changes with each of its generations; the registry knows the members of every generation that
//! has not ended. Numbers are never used again in a process, so that a generation, once closed, stays so, and is unknown to
//! every other registry.

use std::fmt;
use std::sync::Weak;
use std::sync::atomic::{self, AtomicU64};

use super::inner::Control;
use crate::sync::Mutex;

/// What a number of listeners belong to, such as a connection: when it is dropped, they all go.
///
/// It holds its registry weakly.
///
/// ```
/// use leakproof::ListenerRegistry;
///
/// let bus = ListenerRegistry::<&str, u32>::new();
/// let connection = bus.scope();
/// for topic in ["message", "receipt", "presence"] {
///     bus.listen(topic).scope(&connection).on(|_| ())?.forget();
/// }
/// assert_eq!(bus.len(), 3);
/// connection.renew(); // connected anew: the handlers of the old connection go
/// assert_eq!(bus.len(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a scope that is dropped detaches its listeners"]
pub struct Scope {
    registry: Weak<dyn Control>,
    generation: Mutex<Generation>,
}

/// One generation of a scope: what was between two renewals.
///
/// An event that is [emitted to](crate::ListenerRegistry::emit_to) a generation that has ended reaches nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Generation(pub(super) u64);

impl Generation {
    fn next() -> Self {
        // Not of the shim: it orders nothing, and models need not explore it.
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, atomic::Ordering::Relaxed))
    }
}

impl Scope {
    pub(super) fn new(registry: Weak<dyn Control>) -> Self {
        let generation = Generation::next();
        if let Some(registry) = registry.upgrade() {
            registry.open(generation.0);
        }
        Self {
            registry,
            generation: Mutex::new(generation),
        }
    }

    /// The generation that is now.
    #[must_use]
    pub fn generation(&self) -> Generation {
        *self.generation.lock()
    }

    /// Detaches all listeners of the scope; how many there were. The generation goes on.
    pub fn detach_all(&self) -> usize {
        let generation = self.generation();
        self.registry
            .upgrade()
            .map_or(0, |registry| registry.detach_all(generation.0))
    }

    /// Ends the generation, whose listeners all go, and starts the next one, which is returned.
    ///
    /// A registration for the old one that comes too late ends detached.
    pub fn renew(&self) -> Generation {
        let next = Generation::next();
        let Some(registry) = self.registry.upgrade() else {
            return self.generation();
        };
        registry.open(next.0);
        let ended = std::mem::replace(&mut *self.generation.lock(), next);
        registry.close(ended.0);
        next
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        let generation = self.generation();
        if let Some(registry) = self.registry.upgrade() {
            registry.close(generation.0);
        }
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope")
            .field("generation", &self.generation())
            .finish_non_exhaustive()
    }
}
