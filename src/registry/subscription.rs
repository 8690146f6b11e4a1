//! The guard of one listener.
//!
//! A guard holds the registry and the listener weakly. So it keeps neither of them alive, nor the
//! handler's captures.

use std::error::Error;
use std::fmt;
use std::mem;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::handle::RegistryHandle;
use super::listener::{Listener, ListenerId};
use super::wait_for::{WaitError, wait_for};

/// The guard of a listener. Dropping it detaches the listener, unless another cause ends it.
///
/// | the listener was registered with | dropping its guard |
/// | --- | --- |
/// | `on` alone, or `key`, `ttl`, `priority`, `filter` or `label` | detaches it |
/// | `scope`, `owner`, `max_calls` or `once`, with any other options | does nothing |
/// | `queue` (the guard is the `Queue`), with any options | detaches it |
///
/// [`forget`](Self::forget) never detaches. The listener then stays until its ttl ends, the circuit
/// breaker detaches it, it is evicted, a registration with its key replaces it, or it is detached
/// by its id or by `clear`. `let _ = bus.on(…)` drops the guard at once.
///
/// A guard never keeps its registry alive. The guard of a removed listener does nothing.
#[must_use = "dropping the guard detaches the listener unless it has a scope, owner or call limit"]
pub struct Subscription {
    registry: Weak<dyn RegistryHandle>,
    listener: Weak<Listener>,
    id: ListenerId,
    detaches: bool,
}

/// The reason why [`Subscription::detach_and_wait`] has not waited until the handler was dropped.
/// The listener is detached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DetachError {
    /// An emit on this thread holds the handler, so waiting would never end.
    Inside,
    /// The thread that holds the handler waits for a handler that this thread holds.
    Cycle,
    /// An emit still held the handler when the timeout elapsed.
    TimedOut,
}

impl fmt::Display for DetachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inside => {
                "the listener is detached, but an emit on this thread holds its handler; \
                 call `detach_and_wait` outside of the emit"
            }
            Self::Cycle => {
                "the listener is detached, but the thread that holds its handler waits for this \
                 thread; use `detach` in one of the two handlers"
            }
            Self::TimedOut => {
                "the listener is detached, but its handler was still held when the timeout elapsed"
            }
        })
    }
}

impl Error for DetachError {}

impl Subscription {
    pub(super) fn new(
        registry: Weak<dyn RegistryHandle>,
        listener: &Arc<Listener>,
        detaches: bool,
    ) -> Self {
        Self {
            registry,
            listener: Arc::downgrade(listener),
            id: ListenerId(listener.number()),
            detaches,
        }
    }

    /// Returns the id of the listener.
    #[must_use]
    pub fn id(&self) -> ListenerId {
        self.id
    }

    /// Returns `true` if the listener is attached. An expired listener is attached until it is
    /// removed.
    #[must_use]
    pub fn is_attached(&self) -> bool {
        self.listener
            .upgrade()
            .is_some_and(|listener| listener.is_attached())
    }

    /// Detaches the listener. Returns `false` if it was not attached any more.
    ///
    /// No emit that begins after the return calls the listener. A call in progress continues. The
    /// handler's captures are dropped here if no emit is in progress on the topic, and otherwise
    /// when the handler call in progress returns.
    pub fn detach(mut self) -> bool {
        self.detach_now()
    }

    /// Detaches the listener and waits, in real time, until its handler does not run and its
    /// captures were dropped.
    ///
    /// Also waits if another thread has detached the listener before. An emit holds all handlers of
    /// its topic, so this may wait for a call of another handler of that topic.
    ///
    /// # Errors
    ///
    /// Returns [`DetachError::Inside`] if an emit on this thread holds the handler, or if this is
    /// called from the drop of a capture that is removed together with the listener. Returns
    /// [`DetachError::Cycle`] if two handlers or drops of captures, or more in a ring, wait for
    /// each other: the last of them gets the error. Returns [`DetachError::TimedOut`] if a call
    /// takes longer than `timeout`. The listener is detached in any case.
    pub fn detach_and_wait(mut self, timeout: Duration) -> Result<(), DetachError> {
        let Some(listener) = self.listener.upgrade() else {
            return Ok(());
        };
        let dropped = listener.dropped_signal();
        self.detach_now();
        let handler = listener.handler_ref(self.registry.as_ptr().addr());
        match wait_for(handler, listener, || dropped.wait(timeout)) {
            Ok(true) => Ok(()),
            Ok(false) => Err(DetachError::TimedOut),
            Err(WaitError::Inside) => Err(DetachError::Inside),
            Err(WaitError::Cycle) => Err(DetachError::Cycle),
        }
    }

    /// Gives up the guard without detaching the listener. Returns the listener's id.
    pub fn forget(mut self) -> ListenerId {
        self.detaches = false;
        self.id
    }

    /// Pauses the listener: emits skip it. Returns `false` if it is not attached.
    pub fn pause(&self) -> bool {
        self.set_paused(true)
    }

    /// Ends a pause. Returns `false` if the listener is not attached.
    pub fn resume(&self) -> bool {
        self.set_paused(false)
    }

    #[cfg(feature = "queue")]
    pub(super) fn report(&self, failed: bool) {
        if let Some(registry) = self.registry.upgrade() {
            registry.report(self.id.0, failed);
        }
    }

    fn set_paused(&self, paused: bool) -> bool {
        self.registry
            .upgrade()
            .is_some_and(|registry| registry.set_paused(self.id.0, paused))
    }

    fn detach_now(&mut self) -> bool {
        self.detaches = false;
        self.registry
            .upgrade()
            .is_some_and(|registry| registry.detach(self.id.0))
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if mem::take(&mut self.detaches) {
            self.detach_now();
        }
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("id", &self.id)
            .field("attached", &self.is_attached())
            .finish()
    }
}
