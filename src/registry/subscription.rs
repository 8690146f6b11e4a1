//! `Subscription`: the guard of one listener.
//!
//! It holds the registry weakly, and the slot, so that it keeps neither alive, nor what the handler captured.

use std::error::Error;
use std::fmt;
use std::mem;
use std::sync::Weak;
use std::time::Duration;

use super::inner::Control;
use super::slot::{ListenerId, Slot};

/// The guard of a listener: dropped, it detaches it, unless the listener was given another end.
///
/// | the listener was registered with | dropping its guard |
/// | --- | --- |
/// | `on` alone, or `key`, `ttl`, `priority`, `filter` or `label` | detaches it |
/// | `scope`, `owner`, `max_calls` or `once`, whatever else was given | does nothing: it stays until that ends it |
/// | `queue` (the guard is the `Queue`), whatever else was given | detaches it |
///
/// [`forget`](Self::forget) never detaches. A listener that has no other end then stays until it is too old, fails too often,
/// is evicted, gives way to the next under its key, or is detached by its id or by `clear`. `let _ = bus.on(…)` drops the
/// guard at once.
///
/// A guard never keeps its registry alive, and whatever has become of its listener it cannot touch another one.
#[must_use = "dropping it detaches the listener, unless that has a scope, an owner or a number of times: keep it, or `forget` it"]
pub struct Subscription {
    registry: Weak<dyn Control>,
    slot: Weak<Slot>,
    id: ListenerId,
    detaches: bool,
}

/// A listener was detached, but not waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DetachError {
    /// Called from inside of the handler, or of an emit on this thread that holds it: waiting would never end.
    Inside,
    /// It was still running, or held by an emit, when the time was over.
    TimedOut,
}

impl fmt::Display for DetachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inside => {
                "detached, but an emit on this very thread holds the handler, so it cannot be waited for here"
            }
            Self::TimedOut => "detached, but an emit still held the handler when the time was over",
        })
    }
}

impl Error for DetachError {}

impl Subscription {
    pub(super) fn new(
        registry: Weak<dyn Control>,
        slot: Weak<Slot>,
        id: ListenerId,
        detaches: bool,
    ) -> Self {
        Self {
            registry,
            slot,
            id,
            detaches,
        }
    }

    /// Which listener it is.
    #[must_use]
    pub fn id(&self) -> ListenerId {
        self.id
    }

    /// Whether the listener is still in the registry. One that is too old may be until somebody comes across it.
    #[must_use]
    pub fn is_attached(&self) -> bool {
        self.slot.upgrade().is_some_and(|slot| slot.is_attached())
    }

    /// Detaches the listener; whether it was still attached.
    ///
    /// No later emit calls it. A call that is running may finish; what the handler captured is dropped here, or when that
    /// call has returned.
    pub fn detach(mut self) -> bool {
        self.detach_now()
    }

    /// Detaches the listener and waits for calls of it that are running, in real time. When this returns `Ok`, none is,
    /// and what the handler captured has been dropped, whoever detached it. Where an emit holds all of its handlers (see
    /// [`ListenerRegistry`](crate::ListenerRegistry)), it waits for the call under way, be it another listener's.
    ///
    /// # Errors
    ///
    /// The listener is detached in any case. [`DetachError::Inside`] when called from inside of the handler, or of another
    /// one in the same emit if that holds all of its handlers, or from the drop of what was captured by one that leaves
    /// together with it: each would wait for itself. [`DetachError::TimedOut`] where a call takes longer than `timeout`.
    pub fn detach_and_wait(mut self, timeout: Duration) -> Result<(), DetachError> {
        let Some(slot) = self.slot.upgrade() else {
            return Ok(());
        };
        let emits = self
            .registry
            .upgrade()
            .is_some_and(|registry| registry.holds_here(&slot));
        let inside = emits || slot.is_dropped_here();
        let signal = slot.signal();
        drop(slot);
        self.detach_now();
        if inside {
            // The frame may be that of an emit that has let go of it meanwhile.
            return if self.slot.strong_count() == 0 {
                Ok(())
            } else {
                Err(DetachError::Inside)
            };
        }
        if signal.wait(timeout) {
            Ok(())
        } else {
            Err(DetachError::TimedOut)
        }
    }

    /// Gives up the guard and leaves the listener attached, until another way out takes it.
    pub fn forget(mut self) -> ListenerId {
        self.detaches = false;
        self.id
    }

    /// Has emits skip the listener; whether it is attached.
    pub fn pause(&self) -> bool {
        self.registry
            .upgrade()
            .is_some_and(|registry| registry.pause(self.id.0, true))
    }

    /// Has emits call the listener again; whether it is attached.
    pub fn resume(&self) -> bool {
        self.registry
            .upgrade()
            .is_some_and(|registry| registry.pause(self.id.0, false))
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
