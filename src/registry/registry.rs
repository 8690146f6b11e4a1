//! `ListenerRegistry`, and the state that its handles share.
//!
//! Owns the rule that no lock is held while user code runs: the table returns the listeners that it
//! removed, and [`Inner::finish_removals`] drops them and calls the removal callback.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::ptr;
use std::sync::{Arc, Weak};

use super::counters::{Counters, contain};
use super::handle::RegistryHandle;
use super::info::ListenerInfo;
use super::listener::ListenerId;
use super::scope::Scope;
use super::table::{Limits, RemovedListener, Table};
use crate::clock::Clock;
use crate::hash::DefaultHashBuilder;
use crate::removal::RemovalCause;
use crate::stats::{RegistryStats, Usage};
use crate::sweep::{Sweep, Swept, Watch};
use crate::sync::Mutex;

/// Listeners that one piece of a long operation handles under the lock.
const PIECE: usize = 256;

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
///     Creds,
/// }
///
/// let bus = ListenerRegistry::<Topic, String>::new();
/// let subscription = bus.on(Topic::Message, |text| println!("{text}"))?; // dropped = detached
///
/// let connection = bus.scope(); // one per connection: dropping it detaches its handlers
/// let save = |creds: &String| std::fs::write("/dev/null", creds);
/// bus.listen(Topic::Creds).key("save").scope(&connection).on(save)?.forget();
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

pub(super) type OnRemoval<T> = Box<dyn Fn(&ListenerInfo<T>, RemovalCause) + Send + Sync>;

/// The state that the handles of a registry share.
pub(super) struct Inner<T, E: 'static> {
    pub(super) table: Mutex<Table<T, E>>,
    pub(super) clock: Clock,
    pub(super) limits: Limits,
    pub(super) counters: Arc<Counters>,
    on_removal: Option<OnRemoval<T>>,
    /// The owned listener that the next piece of a background sweep checks first.
    next_swept: Mutex<u64>,
    hasher: DefaultHashBuilder,
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

impl<T, E: 'static> Inner<T, E> {
    pub(super) fn new(limits: Limits, clock: Clock, on_removal: Option<OnRemoval<T>>) -> Self {
        let counters = Arc::<Counters>::default();
        Self {
            table: Mutex::new(Table::new(limits, Arc::clone(&counters))),
            clock,
            limits,
            counters,
            on_removal,
            next_swept: Mutex::new(0),
            hasher: DefaultHashBuilder::default(),
        }
    }

    /// Returns the address that identifies the registry.
    pub(super) fn address(&self) -> usize {
        ptr::from_ref(self).addr()
    }

    pub(super) fn hash<Q: ?Sized + Hash>(&self, topic: &Q) -> u64 {
        self.hasher.hash_one(topic)
    }

    /// Drops removed listeners and calls the removal callback for each. The caller does not hold
    /// the lock.
    pub(super) fn finish_removals(&self, removed: impl IntoIterator<Item = RemovedListener<T, E>>) {
        for removed in removed {
            let notification = self
                .on_removal
                .as_ref()
                .map(|callback| (callback, removed.info(self.clock.nanos())));
            let RemovedListener {
                cause,
                topic,
                handler,
                listener,
                ..
            } = removed;
            #[cfg(feature = "queue")]
            if let Some(on_detach) = &listener.options.on_detach {
                contain(&self.counters, on_detach);
            }
            contain(&self.counters, || drop(handler));
            listener.finish_detach();
            drop(listener);
            contain(&self.counters, || drop(topic));
            if let Some((callback, info)) = notification {
                contain(&self.counters, move || callback(&info, cause));
            }
        }
    }

    /// Removes listeners in pieces, one lock each, until `remove` returns `true`. Then drops them
    /// in order of registration, and returns their number.
    ///
    /// Nothing is dropped before the last piece: user code finds none or all of the listeners
    /// attached.
    fn remove_in_pieces(
        &self,
        mut remove: impl FnMut(&mut Table<T, E>, &mut Vec<RemovedListener<T, E>>) -> bool,
    ) -> usize {
        let mut removed = Vec::new();
        while !remove(&mut self.table.lock(), &mut removed) {}
        removed.sort_unstable_by_key(|removed| removed.listener.number());
        let count = removed.len();
        self.finish_removals(removed);
        count
    }

    fn clear(&self) -> usize {
        let now = self.clock.nanos();
        // A bound, so that `clear` ends even if callbacks register listeners.
        let before = self.table.lock().next();
        self.remove_in_pieces(|table, removed| table.remove_before(before, PIECE, now, removed))
    }

    pub(super) fn stats(&self) -> RegistryStats {
        let now = self.clock.nanos();
        self.table.lock().stats(now)
    }

    fn sweep_pieces(&self, budget: usize) -> Swept {
        let now = self.clock.nanos();
        // A full sweep begins at the first listener. Pieces of a background sweep continue where
        // the last one stopped.
        let mut from = if budget == usize::MAX {
            0
        } else {
            *self.next_swept.lock()
        };
        let (mut freed, mut remaining) = (0, budget);
        loop {
            let piece = remaining.min(PIECE);
            remaining -= piece;
            let mut removed = Vec::new();
            let (no_expired, next) = {
                let mut table = self.table.lock();
                let no_expired = table.remove_expired(now, piece, &mut removed);
                (
                    no_expired,
                    table.remove_orphans(from, piece, now, &mut removed),
                )
            };
            from = next.unwrap_or(0);
            freed += removed.len();
            self.finish_removals(removed);
            let more = !no_expired || next.is_some();
            if !more || remaining == 0 {
                *self.next_swept.lock() = from;
                return Swept { freed, more };
            }
        }
    }
}

impl<T: Send + Sync, E: 'static> RegistryHandle for Inner<T, E> {
    fn detach(&self, listener: u64) -> bool {
        let now = self.clock.nanos();
        let removed = self
            .table
            .lock()
            .remove_or_expire(listener, RemovalCause::Removed, now);
        let was_attached = removed.is_some();
        self.finish_removals(removed);
        was_attached
    }

    fn set_paused(&self, listener: u64, paused: bool) -> bool {
        self.table.lock().set_paused(listener, paused)
    }

    fn detach_members(&self, generation: u64) -> usize {
        let now = self.clock.nanos();
        let before = self.table.lock().next();
        self.remove_in_pieces(|table, removed| {
            table.remove_members(generation, before, PIECE, now, removed)
        })
    }
}

impl<T, E: 'static> Drop for Inner<T, E> {
    fn drop(&mut self) {
        self.clear();
    }
}

impl<T: Send + Sync + 'static, E: 'static> Sweep for Inner<T, E> {
    fn sweep_some(&self, budget: usize) -> Swept {
        self.sweep_pieces(budget)
    }

    fn usage(&self) -> Usage {
        self.stats().usage()
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

#[cfg(test)]
mod tests {
    use std::mem;
    use std::time::Duration;

    use super::PIECE;
    use crate::{ListenerRegistry, ManualClock};

    #[test]
    fn scope_end_removes_at_most_one_piece_under_a_lock() {
        let bus = ListenerRegistry::<u8, u8>::builder()
            .max_listeners(1_000)
            .max_per_topic(1_000)
            .build()
            .unwrap();
        let scope = bus.scope();
        for _ in 0..1_000 {
            bus.listen(1).scope(&scope).on(|_| ()).unwrap().forget();
        }
        let (generation, mut removed) = (scope.generation().id(), Vec::new());
        let mut table = bus.inner.table.lock();
        let before = table.next();
        let is_done = table.remove_members(generation, before, PIECE, 0, &mut removed);
        assert_eq!((removed.len(), is_done), (PIECE, false));
        table.validate();
        drop(table);
        bus.inner.finish_removals(removed);
        drop(scope);
        assert!(bus.is_empty());
    }

    #[test]
    fn forgotten_scope_without_listeners_takes_no_memory() {
        let bus = ListenerRegistry::<u8, u8>::new();
        for _ in 0..100 {
            let scope = bus.scope();
            let guard = bus.listen(1).scope(&scope).on(|_| ()).unwrap();
            guard.detach();
            mem::forget(scope);
        }
        assert_eq!(bus.inner.table.lock().scopes(), 0);
    }

    #[test]
    fn oldest_age_is_zero_if_registered_after_the_clock_was_read() {
        let time = ManualClock::new();
        let bus = ListenerRegistry::<u8, u8>::builder()
            .clock(&time)
            .build()
            .unwrap();
        let read_before = 0;
        time.advance(Duration::from_secs(1));
        let guard = bus.on(1, |_| ()).unwrap();
        let stats = bus.inner.table.lock().stats(read_before);
        assert_eq!(stats.oldest_entry_age, Some(Duration::ZERO));
        drop(guard);
    }
}
