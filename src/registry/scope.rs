//! Scopes: listeners that end together.
//!
//! The state of a generation lives outside of the registry, in an `Arc` that the scope, its
//! listeners and its users share. The registry only knows the generations that have listeners, so
//! the number of scopes needs no bound of its own.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::mem;
use std::sync::atomic::{self, AtomicU64};
use std::sync::{Arc, Weak};

use super::handle::RegistryHandle;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, Ordering};

/// A group of listeners that end together, such as the handlers of one connection.
///
/// Dropping the scope detaches its listeners. The scope holds its registry weakly.
///
/// A scope that is never dropped (by [`mem::forget`] or a reference cycle) never detaches its
/// listeners. They then count towards the bounds of the registry until another cause removes them,
/// such as a ttl. The registry stores nothing for a scope without listeners.
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
/// connection.renew(); // after a reconnect: the handlers of the old connection are detached
/// assert_eq!(bus.len(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "dropping a scope detaches its listeners"]
pub struct Scope {
    generation: Mutex<Generation>,
}

/// The time between two renewals of a [`Scope`].
///
/// An event that is [emitted to](crate::ListenerRegistry::emit_to) an ended generation reaches no
/// listener.
#[derive(Clone)]
pub struct Generation(Arc<GenerationState>);

struct GenerationState {
    id: u64,
    registry: Weak<dyn RegistryHandle>,
    ended: AtomicBool,
}

impl Generation {
    fn new(registry: Weak<dyn RegistryHandle>) -> Self {
        // Not loom's: ids only have to differ, and models need not explore their order.
        static NEXT_ID: AtomicU64 = AtomicU64::new(1);
        Self(Arc::new(GenerationState {
            id: NEXT_ID.fetch_add(1, atomic::Ordering::Relaxed),
            registry,
            ended: AtomicBool::new(false),
        }))
    }

    /// Returns a number that no other generation of this process has.
    pub(super) fn id(&self) -> u64 {
        self.0.id
    }

    /// Returns `true` if the generation belongs to the registry at this address.
    pub(super) fn is_of(&self, registry: usize) -> bool {
        // The weak handle keeps the registry's allocation, so no other registry has that address.
        self.0.registry.as_ptr().addr() == registry
    }

    pub(super) fn has_ended(&self) -> bool {
        // Acquire, paired with the Release in `end`.
        self.0.ended.load(Ordering::Acquire)
    }

    /// Ends the generation and detaches its listeners.
    fn end(&self) {
        // Before the registry's lock is taken: a registration that takes the lock after the
        // listeners were detached observes the flag, and one that took it before is among the
        // listeners.
        self.0.ended.store(true, Ordering::Release);
        self.detach_all();
    }

    fn detach_all(&self) -> usize {
        self.0
            .registry
            .upgrade()
            .map_or(0, |registry| registry.detach_members(self.0.id))
    }
}

impl Scope {
    pub(super) fn new(registry: Weak<dyn RegistryHandle>) -> Self {
        Self {
            generation: Mutex::new(Generation::new(registry)),
        }
    }

    /// Returns the current generation.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.generation.lock().clone()
    }

    /// Detaches all listeners of the scope and returns their number. The generation continues.
    ///
    /// Costs under a microsecond for each listener, in bounded pieces under the registry's lock.
    pub fn detach_all(&self) -> usize {
        self.generation().detach_all()
    }

    /// Ends the current generation, detaches its listeners, and returns the new generation.
    ///
    /// A listener that is registered for the ended generation afterwards is detached at once.
    pub fn renew(&self) -> Generation {
        let (ended, next) = {
            let mut current = self.generation.lock();
            let next = Generation::new(Weak::clone(&current.0.registry));
            (mem::replace(&mut *current, next.clone()), next)
        };
        ended.end();
        next
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        self.generation().end();
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope")
            .field("generation", &self.generation())
            .finish_non_exhaustive()
    }
}

impl PartialEq for Generation {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}

impl Eq for Generation {}

impl Hash for Generation {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.id.hash(state);
    }
}

impl fmt::Debug for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Generation").field(&self.0.id).finish()
    }
}
