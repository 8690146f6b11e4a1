//! Registrations: `on`, `once`, `listen`, and the builder of a listener.

use std::fmt;
use std::hash::Hash;
use std::panic::Location;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::counters::{Counters, contain};
use super::error::Rejected;
use super::handler::{CallConditions, GuardedHandler, Handler, HandlerResult, PlainHandler};
use super::listener::{Listener, ListenerOptions};
use super::registry::ListenerRegistry;
use super::scope::Scope;
use super::subscription::Subscription;
use super::table::NewListener;
use crate::clock::Nanos;

/// Sets the options of a listener, until [`on`](Self::on) registers it.
///
/// The options decide what happens if the guard that `on` returns is dropped: see [`Subscription`].
#[must_use = "the listener is not registered until `on` is called"]
pub struct ListenerBuilder<'a, T, E: 'static> {
    registry: &'a ListenerRegistry<T, E>,
    topic: T,
    options: ListenerOptions,
    conditions: CallConditions<E>,
}

impl<T: Hash + Eq + Send + Sync + 'static, E: 'static> ListenerRegistry<T, E> {
    /// Registers a handler until its guard is dropped.
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
    /// Mark a function that wraps this with `#[track_caller]`: see [`ListenerBuilder::on`].
    ///
    /// # Errors
    ///
    /// Returns [`Rejected`] with the handler if a bound is reached and no listener can be removed.
    #[track_caller]
    pub fn on<F, R>(&self, topic: T, handler: F) -> Result<Subscription, Rejected<F>>
    where
        F: Fn(&E) -> R + Send + Sync + 'static,
        R: HandlerResult + 'static,
    {
        self.listen(topic).on(handler)
    }

    /// Registers a handler that is called once. Dropping its guard does not detach it.
    ///
    /// # Errors
    ///
    /// Returns [`Rejected`] with the handler if a bound is reached and no listener can be removed.
    #[track_caller]
    pub fn once<F, R>(&self, topic: T, handler: F) -> Result<Subscription, Rejected<F>>
    where
        F: Fn(&E) -> R + Send + Sync + 'static,
        R: HandlerResult + 'static,
    {
        self.listen(topic).once(handler)
    }

    /// Returns a builder for a listener with options.
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
        ListenerBuilder {
            registry: self,
            topic,
            options: ListenerOptions::default(),
            conditions: CallConditions::default(),
        }
    }
}

impl<T, E: 'static> ListenerBuilder<'_, T, E> {
    /// Sets a key that at most one listener of the topic has.
    ///
    /// A registration replaces the listener with the same topic and key in one step, even if the
    /// registry is full. The new listener is the last in order of registration. A key does not keep
    /// a listener attached: keep the subscription, or [`forget`](Subscription::forget) it.
    ///
    /// Scopes share the keys of a topic. If several connections register under `"save"`, each
    /// registration replaces the previous one. To give every connection its own listener, put the
    /// connection's id into the key, such as `format!("save-{connection_id}")`.
    pub fn key(mut self, key: impl Into<Arc<str>>) -> Self {
        self.options.key = Some(key.into());
        self
    }

    /// Limits the number of calls. The listener is detached before its last call.
    ///
    /// Failed calls count. Events that the filter refuses do not count. Dropping the subscription
    /// does not detach the listener.
    pub fn max_calls(mut self, calls: u64) -> Self {
        self.conditions.max_calls = Some(calls);
        self
    }

    /// Detaches the listener when the scope's current generation ends. Dropping the subscription
    /// does not detach it.
    ///
    /// If the scope belongs to another registry, the listener is detached at once.
    pub fn scope(mut self, scope: &Scope) -> Self {
        self.options.generation = Some(scope.generation());
        self
    }

    /// Ties the listener to an owner, which it holds weakly. Dropping the subscription does not
    /// detach it.
    ///
    /// The listener is not called after its owner was dropped. It is removed by the next emit or
    /// sweep, or by a registration that finds no room.
    pub fn owner<O: ?Sized + Send + Sync + 'static>(mut self, owner: &Weak<O>) -> Self
    where
        Weak<O>: Send + Sync,
    {
        self.conditions.owner = Some(Box::new(owner.clone()));
        self
    }

    /// Sets the priority. Listeners with a higher priority are called first. Defaults to 0.
    pub fn priority(mut self, priority: i32) -> Self {
        self.options.priority = priority;
        self
    }

    /// Sets the time to live. Has no effect if the registry's ttl is shorter.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.options.ttl = Some(ttl);
        self
    }

    /// Sets the label in [`ListenerInfo`](crate::ListenerInfo).
    pub fn label(mut self, label: impl Into<Arc<str>>) -> Self {
        self.options.label = Some(label.into());
        self
    }

    /// Calls the listener only for events for which `filter` returns `true`.
    ///
    /// A panic in the filter counts as a failed call of the handler, but not towards
    /// [`max_calls`](Self::max_calls). The ttl is checked before the filter runs.
    pub fn filter(mut self, filter: impl Fn(&E) -> bool + Send + Sync + 'static) -> Self {
        self.conditions.filter = Some(Box::new(filter));
        self
    }

    /// Runs `work` after the listener was detached, without a lock.
    #[cfg(feature = "queue")]
    pub(super) fn on_detach(mut self, work: impl Fn() + Send + Sync + 'static) -> Self {
        self.options.on_detach = Some(Box::new(work));
        self
    }

    #[cfg(feature = "queue")]
    pub(super) fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.registry.inner.counters)
    }

    /// Returns the name of an option that is zero.
    fn zero_option(&self) -> Option<&'static str> {
        if self.conditions.max_calls == Some(0) {
            Some("max_calls")
        } else if self.options.ttl == Some(Duration::ZERO) {
            Some("ttl")
        } else {
            None
        }
    }

    /// Returns `true` if dropping the guard detaches the listener, because no other cause is sure
    /// to end it.
    fn ends_with_guard(&self) -> bool {
        self.options.generation.is_none()
            && self.conditions.owner.is_none()
            && self.conditions.max_calls.is_none()
    }
}

impl<T: Hash + Eq + Send + Sync + 'static, E: 'static> ListenerBuilder<'_, T, E> {
    /// Registers the handler.
    ///
    /// [`ListenerInfo`](crate::ListenerInfo) and [`Rejected`] name the source location of this
    /// call. Mark a function that wraps it with `#[track_caller]`, so that they name the callers of
    /// that function:
    ///
    /// ```
    /// use leakproof::{ListenerRegistry, Subscription};
    ///
    /// #[track_caller]
    /// fn on_message(
    ///     bus: &ListenerRegistry<&'static str, u32>,
    ///     handler: impl Fn(&u32) + Send + Sync + 'static,
    /// ) -> Subscription {
    ///     match bus.listen("message").label("message").on(handler) {
    ///         Ok(guard) => guard,
    ///         Err(rejected) => panic!("{rejected}"),
    ///     }
    /// }
    ///
    /// let bus = ListenerRegistry::new();
    /// let guard = on_message(&bus, |_| ());
    /// assert_eq!(bus.listeners()[0].location.line(), line!() - 1); // the line above
    /// # drop(guard);
    /// ```
    ///
    /// Takes one short lock. If an emit is in progress on the topic, the topic's list is copied
    /// under that lock. The topic's `Eq` runs under the lock and must not use the registry.
    ///
    /// # Errors
    ///
    /// Returns [`Rejected`] with the handler if a bound is reached and no listener can be removed,
    /// or if an option is zero.
    #[track_caller]
    pub fn on<F, R>(self, handler: F) -> Result<Subscription, Rejected<F>>
    where
        F: Fn(&E) -> R + Send + Sync + 'static,
        R: HandlerResult + 'static,
    {
        let detaches = self.ends_with_guard();
        self.register(handler, Location::caller(), detaches)
    }

    /// Registers the handler with [`max_calls(1)`](Self::max_calls).
    ///
    /// # Errors
    ///
    /// Returns [`Rejected`] with the handler if a bound is reached and no listener can be removed,
    /// or if an option is zero.
    #[track_caller]
    pub fn once<F, R>(self, handler: F) -> Result<Subscription, Rejected<F>>
    where
        F: Fn(&E) -> R + Send + Sync + 'static,
        R: HandlerResult + 'static,
    {
        self.max_calls(1).on(handler)
    }

    pub(super) fn register<F, R>(
        mut self,
        function: F,
        location: &'static Location<'static>,
        detaches: bool,
    ) -> Result<Subscription, Rejected<F>>
    where
        F: Fn(&E) -> R + Send + Sync + 'static,
        R: HandlerResult + 'static,
    {
        if let Some(option) = self.zero_option() {
            return Err(Rejected::zero(function, option));
        }
        let registry_ttl = self.registry.inner.limits.ttl;
        self.options.ttl = self.options.ttl.into_iter().chain(registry_ttl).min();
        let now = self.registry.inner.clock.nanos();
        let listener = Arc::new(Listener::new(self.options, location, now));
        let has_owner = self.conditions.owner.is_some();
        let is_plain = self.conditions.is_empty() && !listener.has_deadline();
        let registration = Registration {
            registry: self.registry,
            topic: self.topic,
            listener: Arc::clone(&listener),
            has_owner,
            now,
            detaches,
        };
        if is_plain {
            let handler = PlainHandler::<F, R>::new(function);
            registration.finish(handler, |handler, _| handler.into_function())
        } else {
            let handler = GuardedHandler::<E, F, R>::new(function, self.conditions, listener);
            registration.finish(handler, GuardedHandler::into_function)
        }
    }
}

/// A registration, apart from its handler.
struct Registration<'a, T, E: 'static> {
    registry: &'a ListenerRegistry<T, E>,
    topic: T,
    listener: Arc<Listener>,
    has_owner: bool,
    now: Nanos,
    detaches: bool,
}

impl<T: Hash + Eq + Send + Sync + 'static, E: 'static> Registration<'_, T, E> {
    fn finish<H: Handler<E> + 'static, F>(
        self,
        handler: H,
        into_function: impl FnOnce(H, &Counters) -> F,
    ) -> Result<Subscription, Rejected<F>> {
        let inner = &self.registry.inner;
        let generation = self.listener.options.generation.as_ref();
        let hash = inner.hash(&self.topic);
        let handler = Arc::new(handler);
        let mut topic = Some(self.topic);
        let mut removed = Vec::new();
        let registered = {
            let mut table = inner.table.lock();
            let new = NewListener {
                listener: Arc::clone(&self.listener),
                handler: Arc::<H>::clone(&handler),
                has_owner: self.has_owner,
                // Under the lock: see `Generation::end`.
                scope_ended: generation
                    .is_some_and(|it| it.has_ended() || !it.is_of(inner.address())),
            };
            table.register(self.now, hash, &mut topic, new, &mut removed)
        };
        let result = match registered {
            Ok(()) => {
                // Before any callback, which may detach the listener and expect its captures to be
                // dropped.
                contain(&inner.counters, || drop(handler));
                inner.finish_removals(removed);
                let handle = self.registry.weak_handle();
                Ok(Subscription::new(handle, &self.listener, self.detaches))
            }
            Err(refusal) => {
                inner.finish_removals(removed);
                let handler = Arc::into_inner(handler).expect("a refusal keeps no handler");
                let is_first = refusal.is_first;
                let function = into_function(handler, &inner.counters);
                let rejected = Rejected::full(function, refusal);
                if is_first {
                    let location = self.listener.location;
                    contain(&inner.counters, || rejected.report(location));
                }
                Err(rejected)
            }
        };
        contain(&inner.counters, || drop(topic));
        result
    }
}

impl<T: fmt::Debug, E> fmt::Debug for ListenerBuilder<'_, T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListenerBuilder")
            .field("topic", &self.topic)
            .finish_non_exhaustive()
    }
}
