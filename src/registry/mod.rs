//! `ListenerRegistry`: handlers by topic, behind one lock that is not held while any of them runs.
//!
//! The handle and its methods; the work is the table's and the emit's. See `list.rs` for how emits go without locks, and
//! `call.rs` for who owns what a handler captured.

mod builder;
mod call;
mod counters;
mod emit;
mod frames;
mod info;
mod inner;
mod list;
mod listen;
mod pass;
#[cfg(feature = "queue")]
mod queue;
mod rejected;
mod scope;
mod slot;
mod subscription;
mod table;

use std::borrow::Borrow;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::stats::{RegistryStats, Usage};
use crate::sweep::{Sweep, Swept, Watch};
pub use builder::{CircuitBreaker, Overflow, RegistryBuilder};
pub use call::HandlerResult;
pub use emit::{EmitSummary, RecursionLimit};
pub use info::ListenerInfo;
use inner::{Control, Inner, PIECE};
pub use listen::ListenerBuilder;
#[cfg(feature = "queue")]
pub use queue::{Queue, QueueOverflow};
pub use rejected::{Limit, Rejected};
pub use scope::{Generation, Scope};
pub use slot::ListenerId;
pub use subscription::{DetachError, Subscription};

/// Calls handlers by topic, and lets none pile up.
///
/// It replaces the `Vec<Box<dyn Fn>>` that gains a handler at every reconnect. Every listener has a way out: its guard, its
/// scope, its owner, a number of calls, an age, a key under which the next one takes its place, and a breaker for one that
/// keeps failing. And there is a bound on all, and on those of one topic; a registration above it is
/// [rejected](Rejected) with the places in the source where the present listeners were registered.
///
/// The registry is a handle: clone it to share it. Events are passed by reference; handlers take `&self`, may be called by
/// several threads at once, and may return nothing, a `bool`, or a `Result` (see [`HandlerResult`]).
///
/// # What holds
///
/// * An [`emit`](Self::emit) calls the listeners that there are when it begins, by priority, then in order of registration;
///   one that is detached, paused or too old by the time is skipped.
/// * No lock is held while a handler, a filter, a callback or a drop runs: they may use the registry in every way. A panic
///   in one of them is contained and counted, and the others are called.
/// * What a handler captured is dropped when it is detached, or as soon as no call of it runs any more. One exception buys
///   the speed of emits: while an emit is under way on a topic that no listener left during the last 64 emits, what leaves
///   is dropped when the call has returned that is running just then, be it another listener's.
/// * Guards and scopes hold the registry weakly. A handler that needs the registry should hold it
///   [weakly](Self::downgrade), too: one that holds a handle keeps alive what keeps it alive.
///
/// # Cost
///
/// An emit takes one short lock, and then 2 to 4 ns for each listener, about what going through a `Vec<Box<dyn Fn>>`
/// takes. On a topic that is new, or that a listener has just left, it holds one handler at a time for the next 64 emits,
/// and takes some 60 ns for each; several times that where threads emit on it at once. Registering and detaching take under
/// a microsecond with a thousand listeners present.
///
/// # Memory
///
/// A registry takes, by the allocator's count, and to within a tenth:
///
/// * **`listeners × (350 + captured) + topics × (260 + topic)` bytes**, with the size of what a handler captures and of the
///   type of topics, to which comes what captures and topics own.
///
/// A scope or an age takes some 20 to 35 bytes more; a key, an owner, a filter or a number of times 60 to 100. The list of a
/// topic doubles as it grows: right after that it takes up to 24 bytes for each of its listeners more. While emits are under
/// way on a topic that changes there are two lists of it, or more, of 24 bytes for each listener.
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
/// let connection = bus.scope(); // one per connection: dropped, all of its handlers go
/// bus.listen(Topic::Creds).key("save-creds").scope(&connection).on(|creds| std::fs::write("/dev/null", creds))?.forget();
///
/// let outcome = bus.emit(&Topic::Message, &"hello".to_owned())?;
/// assert_eq!((outcome.called, outcome.failed), (1, 0));
/// drop(connection);
/// assert_eq!(bus.len(), 1);
/// # drop(subscription);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ListenerRegistry<T, E: 'static> {
    inner: Arc<Inner<T, E>>,
}

impl<T: Send + Sync + 'static, E: 'static> ListenerRegistry<T, E> {
    /// A registry with the default bounds: 1,000 listeners, 10 per topic.
    #[must_use]
    pub fn new() -> Self {
        RegistryBuilder::default_registry()
    }

    /// All knobs.
    #[must_use]
    pub fn builder() -> RegistryBuilder<T, E> {
        RegistryBuilder::new()
    }

    /// A scope for listeners that are to end together.
    pub fn scope(&self) -> Scope {
        Scope::new(self.control())
    }

    fn control(&self) -> Weak<dyn Control> {
        let inner: Weak<Inner<T, E>> = Arc::downgrade(&self.inner);
        inner
    }

    /// Detaches a listener; whether it was attached. See [`Subscription::detach`].
    pub fn detach(&self, listener: ListenerId) -> bool {
        self.inner.detach(listener.0)
    }
}

/// Registering and emitting: what looks at topics.
impl<T: Hash + Eq + Send + Sync + 'static, E: 'static> ListenerRegistry<T, E> {
    /// Registers a handler, until its guard is dropped.
    ///
    /// ```
    /// # use leakproof::ListenerRegistry;
    /// let bus = ListenerRegistry::<&str, u32>::new();
    /// let guard = bus.on("message", |&number| assert_eq!(number, 7))?;
    /// assert_eq!(bus.emit("message", &7)?.called, 1);
    /// drop(guard);
    /// assert_eq!(bus.emit("message", &7)?.called, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// A function that wraps this should be `#[track_caller]`: see [`ListenerBuilder::on`].
    ///
    /// # Errors
    ///
    /// [`Rejected`], with the handler, where a bound is reached and nothing may go for it.
    #[track_caller]
    pub fn on<F, R>(&self, topic: T, handler: F) -> Result<Subscription, Rejected<F>>
    where
        F: Fn(&E) -> R + Send + Sync + 'static,
        R: HandlerResult + 'static,
    {
        self.listen(topic).on(handler)
    }

    /// Registers a handler that is called once. Its guard may be dropped.
    ///
    /// # Errors
    ///
    /// As of [`on`](Self::on).
    #[track_caller]
    pub fn once<F, R>(&self, topic: T, handler: F) -> Result<Subscription, Rejected<F>>
    where
        F: Fn(&E) -> R + Send + Sync + 'static,
        R: HandlerResult + 'static,
    {
        self.listen(topic).once(handler)
    }

    /// A registration with options.
    ///
    /// ```
    /// # use leakproof::ListenerRegistry;
    /// # use std::{sync::Arc, time::Duration};
    /// let bus = ListenerRegistry::<&str, u32>::new();
    /// let session = Arc::new("session");
    /// let audit = bus
    ///     .listen("message")
    ///     .label("audit")
    ///     .owner(&Arc::downgrade(&session))
    ///     .max_calls(3)
    ///     .priority(1)
    ///     .ttl(Duration::from_secs(3600))
    ///     .filter(|&number| number > 10)
    ///     .on(|&number| assert!(number > 10))?;
    /// assert_eq!(bus.emit("message", &1)?.skipped, 1);
    /// assert_eq!(bus.emit("message", &11)?.called, 1);
    /// drop(session);
    /// assert_eq!(bus.emit("message", &12)?.called, 0);
    /// assert!(!audit.is_attached());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn listen(&self, topic: T) -> ListenerBuilder<'_, T, E> {
        ListenerBuilder::new(self, topic)
    }

    /// Calls the listeners of a topic that there are now, by priority, then in order of registration.
    ///
    /// Handlers may emit in turn, up to 32 emits deep on a thread.
    ///
    /// The topic is hashed outside of the lock; its `Eq` and `Borrow` run under it, and must not call back into the registry.
    ///
    /// # Errors
    ///
    /// Returns [`RecursionLimit`] if 32 emits are in progress on this thread. No listener is called then.
    pub fn emit<Q>(&self, topic: &Q, event: &E) -> Result<EmitSummary, RecursionLimit>
    where
        T: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
    {
        self.inner.emit(topic, event)
    }

    /// [`emit`](Self::emit)s on behalf of one generation of a scope: to its listeners, and to those that have no scope. Once
    /// the generation has ended, nobody is called, but a listener without a scope of which the filter has ended it.
    ///
    /// ```
    /// # use leakproof::ListenerRegistry;
    /// let bus = ListenerRegistry::<&str, u32>::new();
    /// let connection = bus.scope();
    /// let log = bus.on("message", |_| ())?;
    /// let first = connection.generation();
    /// bus.listen("message").scope(&connection).on(|_| ())?.forget();
    /// assert_eq!(bus.emit_to(first, "message", &1)?.called, 2);
    ///
    /// connection.renew();
    /// bus.listen("message").scope(&connection).on(|_| ())?.forget();
    /// assert_eq!(bus.emit_to(first, "message", &2)?.called, 0, "an event of the old connection, late");
    /// # drop(log);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`RecursionLimit`] if 32 emits are in progress on this thread. No listener is called then.
    pub fn emit_to<Q>(
        &self,
        generation: Generation,
        topic: &Q,
        event: &E,
    ) -> Result<EmitSummary, RecursionLimit>
    where
        T: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
    {
        self.inner.emit_to(generation.0, topic, event)
    }

    /// How many listeners a topic has.
    #[must_use]
    pub fn listener_count<Q>(&self, topic: &Q) -> usize
    where
        T: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
    {
        let (hash, now) = (self.inner.hash(topic), self.inner.clock.nanos());
        self.inner.table.lock().listener_count(hash, topic, now)
    }
}

/// Looking at it, and tidying up.
impl<T, E: 'static> ListenerRegistry<T, E> {
    /// How many listeners there are. Those too old do not count; those whose owner is gone do until that is noticed.
    #[must_use]
    pub fn len(&self) -> usize {
        let now = self.inner.clock.nanos();
        self.inner.table.lock().len(now)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All listeners, in order of registration. Looks at 256 under a lock at a time.
    #[must_use]
    pub fn listeners(&self) -> Vec<ListenerInfo<T>> {
        let now = self.inner.clock.nanos();
        let mut all = Vec::new();
        let mut next = Some(0);
        while let Some(from) = next {
            let piece;
            (piece, next) = self.inner.table.lock().infos(from, PIECE, now);
            all.extend(piece);
        }
        all
    }

    /// Detaches all listeners that there are when it begins; how many there were.
    pub fn clear(&self) -> usize {
        self.inner.clear()
    }

    /// Frees listeners that are too old or whose owner is gone; how many there were. Works in bounded pieces per lock.
    pub fn sweep(&self) -> usize {
        self.inner.sweep_some(usize::MAX).freed
    }

    /// What it holds, and what has left and why.
    #[must_use]
    pub fn stats(&self) -> RegistryStats {
        self.inner.stats()
    }

    /// A handle that does not keep the registry alive, for handlers to hold.
    #[must_use]
    pub fn downgrade(&self) -> WeakRegistry<T, E> {
        WeakRegistry {
            inner: Arc::downgrade(&self.inner),
        }
    }

    /// How old listeners can get.
    fn max_age(&self) -> Option<Duration> {
        self.inner.max_age
    }

    /// Checks every invariant of the structure, in time proportional to its size; for tests and fuzzing.
    ///
    /// # Panics
    ///
    /// Where one does not hold.
    #[doc(hidden)]
    pub fn validate(&self) {
        self.inner.table.lock().validate();
    }
}

/// A handle on a [`ListenerRegistry`] that does not keep it alive.
pub struct WeakRegistry<T, E: 'static> {
    inner: Weak<Inner<T, E>>,
}

impl<T, E> WeakRegistry<T, E> {
    /// The registry, if it is still there.
    #[must_use]
    pub fn upgrade(&self) -> Option<ListenerRegistry<T, E>> {
        self.inner.upgrade().map(|inner| ListenerRegistry { inner })
    }
}

impl<T: Send + Sync + 'static, E: 'static> Default for ListenerRegistry<T, E> {
    /// [`ListenerRegistry::new`].
    fn default() -> Self {
        Self::new()
    }
}

impl<T, E> Clone for ListenerRegistry<T, E> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

impl<T, E> Clone for WeakRegistry<T, E> {
    fn clone(&self) -> Self {
        Self {
            inner: Weak::clone(&self.inner),
        }
    }
}

impl<T: Send + Sync + 'static, E: 'static> Sweep for Inner<T, E> {
    fn sweep_some(&self, budget: usize) -> Swept {
        Self::sweep_some(self, budget)
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
