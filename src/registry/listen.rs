//! `ListenerBuilder`: a registration in the making.

use std::fmt;
use std::hash::Hash;
use std::panic::Location;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::ListenerRegistry;
use super::call::{Call, Checked, Conditions, HandlerResult, Plain};
use super::counters::{Counters, contained};
use super::inner::Control;
use super::rejected::Rejected;
use super::scope::Scope;
use super::slot::{ListenerId, Slot, Traits};
use super::subscription::Subscription;
use super::table::{Newcomer, Refusal};

/// A listener's topic and options, until [`on`](Self::on) registers it.
///
/// What becomes of the listener when the guard that `on` returns is dropped goes by these options: see [`Subscription`].
#[must_use = "nothing is registered until `on` is called"]
pub struct ListenerBuilder<'a, T, E: 'static> {
    registry: &'a ListenerRegistry<T, E>,
    topic: T,
    traits: Traits,
    conditions: Conditions<E>,
}

impl<'a, T, E: 'static> ListenerBuilder<'a, T, E> {
    pub(super) fn new(registry: &'a ListenerRegistry<T, E>, topic: T) -> Self {
        Self {
            registry,
            topic,
            traits: Traits::default(),
            conditions: Conditions::default(),
        }
    }

    /// A name that only one listener of the topic can have: a registration under the same name takes its place, in one step
    /// and whether or not there is room, as the last in order of registration. A key is no end: keep the subscription, or
    /// [`forget`](Subscription::forget) it.
    ///
    /// The key counts within its topic, whatever the scope: of several connections that register under `"save"`, the last
    /// takes the place of the others. Where each is to have its own, put the connection's id into the key, such as
    /// `format!("save-{connection_id}")`.
    pub fn key(mut self, key: impl Into<Arc<str>>) -> Self {
        self.traits.key = Some(key.into());
        self
    }

    /// It is called this many times, whether or not its calls succeed, and detached before the last. Events that its filter
    /// holds back do not count. Its subscription may be dropped.
    pub fn max_calls(mut self, calls: u64) -> Self {
        self.conditions.times = Some(calls);
        self
    }

    /// It ends with the scope's present generation; at once, where the scope is of another registry. Its subscription may be
    /// dropped.
    pub fn scope(mut self, scope: &Scope) -> Self {
        self.traits.generation = Some(scope.generation().0);
        self
    }

    /// It is not called once its owner, which it holds weakly, is gone; and leaves when that is noticed, by an emit, a
    /// sweep, or a registration for which there is no room. Its subscription may be dropped.
    pub fn owner<O: ?Sized + Send + Sync + 'static>(mut self, owner: &Weak<O>) -> Self
    where
        Weak<O>: Send + Sync,
    {
        self.conditions.owner = Some(Box::new(owner.clone()));
        self
    }

    /// Listeners of a higher priority are called first; zero unless given.
    pub fn priority(mut self, priority: i32) -> Self {
        self.traits.priority = priority;
        self
    }

    /// How old it can get, if that is less than the registry allows.
    pub fn ttl(mut self, max: Duration) -> Self {
        self.traits.max_age = Some(max);
        self
    }

    /// What [`ListenerInfo`](crate::ListenerInfo) calls it.
    pub fn label(mut self, label: impl Into<Arc<str>>) -> Self {
        self.traits.label = Some(label.into());
        self
    }

    /// It is called for those events alone for which this is true. A panic in it counts as a failed call of the handler, but
    /// not as one of its [`max_calls`](Self::max_calls). The time that counts for `max_age` is that before it runs.
    pub fn filter(mut self, filter: impl Fn(&E) -> bool + Send + Sync + 'static) -> Self {
        self.conditions.filter = Some(Box::new(filter));
        self
    }

    fn zero(&self) -> Option<&'static str> {
        let times = self.conditions.times == Some(0);
        let max_age = self.traits.max_age == Some(Duration::ZERO);
        if times {
            Some("max_calls")
        } else {
            max_age.then_some("ttl")
        }
    }

    #[cfg(feature = "queue")]
    pub(super) fn on_leaving(mut self, work: impl Fn() + Send + Sync + 'static) -> Self {
        self.traits.on_leaving = Some(Box::new(work));
        self
    }

    #[cfg(feature = "queue")]
    pub(super) fn counters(&self) -> Arc<super::counters::Counters> {
        Arc::clone(&self.registry.inner.counters)
    }

    fn has_other_end(&self) -> bool {
        self.traits.generation.is_some()
            || self.conditions.owner.is_some()
            || self.conditions.times.is_some()
    }
}

impl<T: Hash + Eq + Send + Sync + 'static, E: 'static> ListenerBuilder<'_, T, E> {
    /// Registers the handler.
    ///
    /// The place in the source that [`ListenerInfo`](crate::ListenerInfo) and [`Rejected`] name is the one that calls this.
    /// A function of yours that wraps it should be `#[track_caller]` too, so that they name its callers:
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
    /// Costs a short lock, which takes the longer the more listeners the topic has if an emit is under way on it: then their
    /// list is copied. The topic's `Eq` runs under the lock, and must not call back into the registry.
    ///
    /// # Errors
    ///
    /// [`Rejected`], with the handler, where a bound is reached and nothing may go for it, or an option is zero.
    #[track_caller]
    pub fn on<F, R>(self, handler: F) -> Result<Subscription, Rejected<F>>
    where
        F: Fn(&E) -> R + Send + Sync + 'static,
        R: HandlerResult + 'static,
    {
        let detaches = !self.has_other_end();
        self.register(handler, Location::caller(), detaches)
    }

    /// Registers the handler to be called [once](Self::max_calls).
    ///
    /// # Errors
    ///
    /// As of [`on`](Self::on).
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
        handler: F,
        location: &'static Location<'static>,
        detaches: bool,
    ) -> Result<Subscription, Rejected<F>>
    where
        F: Fn(&E) -> R + Send + Sync + 'static,
        R: HandlerResult + 'static,
    {
        if let Some(what) = self.zero() {
            return Err(Rejected::zero(handler, what));
        }
        let own_and_common = self
            .traits
            .max_age
            .into_iter()
            .chain(self.registry.max_age());
        self.traits.max_age = own_and_common.min();
        let now = self.registry.inner.clock.nanos();
        let slot = Arc::new(Slot::new(self.traits, location, now));
        let registration = Registration {
            registry: self.registry,
            topic: self.topic,
            slot,
            now,
            detaches,
        };
        let has_owner = self.conditions.owner.is_some();
        if self.conditions.are_none() {
            registration.make(Plain::<F, R>::new(handler), has_owner, |call, _| {
                call.into_handler()
            })
        } else {
            let call =
                Checked::<E, F, R>::new(handler, self.conditions, Arc::clone(&registration.slot));
            registration.make(call, has_owner, Checked::into_handler)
        }
    }
}

/// What registering needs besides the handler.
struct Registration<'a, T, E: 'static> {
    registry: &'a ListenerRegistry<T, E>,
    topic: T,
    slot: Arc<Slot>,
    now: u64,
    detaches: bool,
}

impl<T: Hash + Eq + Send + Sync + 'static, E: 'static> Registration<'_, T, E> {
    fn make<C: Call<E> + 'static, F>(
        self,
        call: C,
        has_owner: bool,
        handler: impl FnOnce(C, &Counters) -> F,
    ) -> Result<Subscription, Rejected<F>> {
        let inner = &self.registry.inner;
        let hash = inner.hash(&self.topic);
        let mut topic = Some(self.topic);
        let call = Arc::new(call);
        let mut gone = Vec::new();
        let newcomer = Newcomer {
            slot: Arc::clone(&self.slot),
            call: Arc::<C>::clone(&call),
            has_owner,
        };
        let added = inner
            .table
            .lock()
            .add(self.now, hash, &mut topic, newcomer, &mut gone);
        match added {
            Err(refusal) => {
                inner.dismiss(gone);
                let is_news = refusal.is_news;
                let rejected = rejected(call, |call| handler(call, &inner.counters), refusal);
                if is_news {
                    contained(&inner.counters, || rejected.tell(self.slot.location));
                }
                contained(&inner.counters, || drop(topic));
                Err(rejected)
            }
            Ok(()) => {
                // Before any callback: this may be the last hold on a newcomer that is detached by the time.
                contained(&inner.counters, || drop(call));
                inner.dismiss(gone);
                contained(&inner.counters, || drop(topic));
                let registry: Weak<dyn Control> =
                    Arc::<super::inner::Inner<T, E>>::downgrade(inner) as Weak<dyn Control>;
                let id = ListenerId(self.slot.number());
                Ok(Subscription::new(
                    registry,
                    Arc::downgrade(&self.slot),
                    id,
                    self.detaches,
                ))
            }
        }
    }
}

fn rejected<C, F>(call: Arc<C>, handler: impl FnOnce(C) -> F, refusal: Refusal) -> Rejected<F> {
    let call = Arc::into_inner(call).expect("the table has kept nothing of what it turned away");
    Rejected::full(handler(call), refusal)
}

impl<T: fmt::Debug, E> fmt::Debug for ListenerBuilder<'_, T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListenerBuilder")
            .field("topic", &self.topic)
            .finish_non_exhaustive()
    }
}
