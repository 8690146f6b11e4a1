//! `ListenerRegistry` and `WeakRegistry`, the handles of a registry.

use std::borrow::Borrow;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Weak};

use super::handle::RegistryHandle;
use super::info::ListenerInfo;
use super::inner::{Inner, PIECE};
use super::listener::ListenerId;
use super::scope::Scope;
use crate::stats::RegistryStats;
use crate::sweep::{Sweep, Watch};

/// Calls handlers by topic, and keeps their number bounded.
///
/// Replaces the `Vec<Box<dyn Fn>>` that gains a handler on every reconnect. A listener is removed
/// by its guard, scope, owner, call limit, ttl or circuit breaker, or by another listener with the
/// same key. Two bounds limit the listeners of the registry and of each topic. A registration above
/// a bound is [rejected](crate::Rejected), and the error names the source locations of the
/// listeners that are present.
///
/// The registry is a handle: clone it to share it. Handlers receive events by reference and may run
/// on several threads at once. A handler returns nothing, a `bool` or a `Result`: see
/// [`HandlerResult`](crate::HandlerResult).
///
/// # Guarantees
///
/// * [`emit`](Self::emit) calls the listeners that are registered when it begins, by descending
///   priority and then in order of registration. It skips a listener that is detached, paused or
///   expired by the time of its call.
/// * No lock is held while a handler, a filter, a callback or a drop runs. All of them may use the
///   registry. A panic in one of them is contained and counted, and the other handlers run.
/// * The captures of a detached handler are dropped at once if no emit is in progress on its topic.
///   Otherwise they are dropped when the handler call in progress on that topic returns, at the
///   latest when the emit ends.
/// * Guards and scopes hold the registry weakly. A handler that needs the registry should hold it
///   [weakly](Self::downgrade) too, because a strong handle in a handler is a reference cycle.
///
/// # Cost
///
/// `emit` takes one short lock and then 2 to 4 ns per listener, about as much as iterating over a
/// `Vec<Box<dyn Fn>>`. Registering and detaching take less than a microsecond with 1,000 listeners
/// on the topic. While an emit is in progress on the topic, both copy the topic's list, which costs
/// about 20 ns per listener.
///
/// A registration removes up to two expired listeners. If it finds no room, it checks 64 listeners
/// for expiry or a dropped owner, and the next such registration continues behind them.
///
/// # Memory
///
/// A registry takes, to within a tenth and as counted by the allocator:
///
/// * **`listeners × (350 + captured) + topics × (260 + topic)` bytes**, where `captured` and
///   `topic` are the sizes of the captures and of the topic type. What captures and topics own
///   comes on top.
///
/// A scope or a ttl takes 20 to 100 bytes more per listener; a key, an owner, a filter or a call
/// limit takes 60 to 100. The list of a topic doubles as it grows, which takes up to 24 bytes more
/// per listener. While emits are in progress on a topic that changes, two or more copies of its
/// list exist, of 24 bytes per listener.
///
/// # Example
///
/// ```
/// use leakproof::ListenerRegistry;
///
/// #[derive(PartialEq, Eq, Hash)]
/// enum Topic {
///     Message,
///     Credentials,
/// }
///
/// let bus = ListenerRegistry::<Topic, String>::new();
/// let subscription = bus.on(Topic::Message, |text| println!("{text}"))?; // dropped = detached
///
/// let connection = bus.scope(); // one per connection: dropping it detaches its handlers
/// let save = |token: &String| std::fs::write("/dev/null", token);
/// bus.listen(Topic::Credentials).key("save").scope(&connection).on(save)?.forget();
///
/// let summary = bus.emit(&Topic::Message, &"hello".to_owned())?;
/// assert_eq!((summary.called, summary.failed), (1, 0));
/// drop(connection);
/// assert_eq!(bus.len(), 1);
/// # drop(subscription);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ListenerRegistry<T, E: 'static> {
    pub(super) inner: Arc<Inner<T, E>>,
}

/// A weak handle of a [`ListenerRegistry`], for handlers to hold.
pub struct WeakRegistry<T, E: 'static> {
    inner: Weak<Inner<T, E>>,
}

impl<T: Send + Sync + 'static, E: 'static> ListenerRegistry<T, E> {
    /// Returns a new scope, for listeners that end together.
    pub fn scope(&self) -> Scope {
        Scope::new(self.weak_handle())
    }

    pub(super) fn weak_handle(&self) -> Weak<dyn RegistryHandle> {
        let inner: Weak<Inner<T, E>> = Arc::downgrade(&self.inner);
        inner
    }

    /// Detaches a listener. Returns `false` if it is not attached.
    ///
    /// See [`Subscription::detach`](crate::Subscription::detach).
    pub fn detach(&self, listener: ListenerId) -> bool {
        self.inner.detach(listener.0)
    }
}

impl<T, E: 'static> ListenerRegistry<T, E> {
    pub(super) fn from_inner(inner: Arc<Inner<T, E>>) -> Self {
        Self { inner }
    }

    /// Returns the number of listeners.
    ///
    /// Expired listeners do not count. A listener whose owner was dropped counts until it is
    /// removed. Takes time proportional to the number of expired listeners that were not removed
    /// yet.
    #[must_use]
    pub fn len(&self) -> usize {
        let now = self.inner.clock.nanos();
        self.inner.table.lock().len(now)
    }

    /// Returns `true` if the registry has no listeners. Costs as much as [`len`](Self::len).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the number of listeners of a topic.
    ///
    /// Takes time proportional to that number if any listener of the registry has a ttl, and
    /// constant time otherwise.
    #[must_use]
    pub fn listener_count<Q>(&self, topic: &Q) -> usize
    where
        T: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
    {
        let (hash, now) = (self.inner.hash(topic), self.inner.clock.nanos());
        self.inner.table.lock().listener_count(hash, topic, now)
    }

    /// Returns all listeners in order of registration. Visits 256 listeners under a lock at a time.
    #[must_use]
    pub fn listeners(&self) -> Vec<ListenerInfo<T>> {
        let now = self.inner.clock.nanos();
        let mut all = Vec::new();
        let mut next = Some(0);
        while let Some(from) = next {
            let (infos, behind) = self.inner.table.lock().infos(from, PIECE, now);
            all.extend(infos);
            next = behind;
        }
        all
    }

    /// Detaches the listeners that are present when it begins, and returns their number.
    ///
    /// Detaches 256 listeners under a lock at a time, and drops them all at the end.
    pub fn clear(&self) -> usize {
        self.inner.clear()
    }

    /// Removes the listeners that have expired or whose owner was dropped, and returns their
    /// number.
    ///
    /// Checks 256 listeners under a lock at a time.
    pub fn sweep(&self) -> usize {
        self.inner.sweep_pieces(usize::MAX).freed
    }

    /// Returns the number of listeners, the limits, and the counters by cause.
    ///
    /// Takes time proportional to the number of expired listeners that were not removed yet.
    #[must_use]
    pub fn stats(&self) -> RegistryStats {
        self.inner.stats()
    }

    /// Returns a handle that does not keep the registry alive.
    #[must_use]
    pub fn downgrade(&self) -> WeakRegistry<T, E> {
        WeakRegistry {
            inner: Arc::downgrade(&self.inner),
        }
    }

    /// Checks every invariant of the registry, for tests and fuzzing. Takes time proportional to
    /// its size.
    ///
    /// # Panics
    ///
    /// Panics if an invariant does not hold.
    #[doc(hidden)]
    pub fn validate(&self) {
        self.inner.table.lock().validate();
    }
}

impl<T, E> WeakRegistry<T, E> {
    /// Returns the registry, or `None` if it was dropped.
    #[must_use]
    pub fn upgrade(&self) -> Option<ListenerRegistry<T, E>> {
        self.inner.upgrade().map(ListenerRegistry::from_inner)
    }
}

impl<T: Send + Sync + 'static, E: 'static> Watch for ListenerRegistry<T, E> {
    fn downgrade_to_sweep(&self) -> Weak<dyn Sweep> {
        Arc::downgrade(&self.inner) as Weak<dyn Sweep>
    }
}

impl<T, E> Clone for ListenerRegistry<T, E> {
    fn clone(&self) -> Self {
        Self::from_inner(Arc::clone(&self.inner))
    }
}

impl<T, E> Clone for WeakRegistry<T, E> {
    fn clone(&self) -> Self {
        Self {
            inner: Weak::clone(&self.inner),
        }
    }
}

impl<T, E> fmt::Debug for ListenerRegistry<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListenerRegistry")
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

impl<T, E> fmt::Debug for WeakRegistry<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeakRegistry").finish_non_exhaustive()
    }
}
