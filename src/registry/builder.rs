//! The options of a registry, and their validation.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use super::breaker::CircuitBreaker;
use super::config::RegistryConfig;
use super::info::ListenerInfo;
use super::inner::{Inner, OnRemoval};
use super::registry::ListenerRegistry;
use super::table::{Limits, Overflow};
use crate::clock::Clock;
use crate::limits::{self, BuildError};
use crate::removal::RemovalCause;
use crate::sweeper;

/// Node's event emitters warn of a leak at this number of listeners.
const DEFAULT_MAX_PER_TOPIC: usize = 10;
/// A larger bound would not be a bound in practice.
const LARGEST_LIMIT: usize = 1 << 30;

const DEFAULT_LIMITS: Limits = Limits {
    max_listeners: 1_000,
    max_per_topic: DEFAULT_MAX_PER_TOPIC,
    overflow: Overflow::Reject,
    ttl: None,
    breaker: None,
};

/// Builds a [`ListenerRegistry`].
///
/// Every option has a default. [`build`](Self::build) validates the options.
///
/// ```
/// use leakproof::{BuildError, CircuitBreaker, ListenerRegistry, Overflow};
/// use std::time::Duration;
///
/// let bus = ListenerRegistry::<String, u32>::builder()
///     .max_listeners(10_000)
///     .max_per_topic(16)
///     .overflow(Overflow::EvictOldest)
///     .ttl(Duration::from_secs(24 * 3600))
///     .circuit_breaker(CircuitBreaker { failures: 5, retry_after: Some(Duration::from_secs(60)) })
///     .on_removal(|listener, cause| println!("{listener:?} was removed: {cause}"))
///     .sweep_every(Duration::from_secs(60))
///     .build()?;
/// assert!(bus.is_empty());
///
/// let invalid = ListenerRegistry::<String, u32>::builder().max_per_topic(0).build();
/// assert_eq!(invalid.unwrap_err(), BuildError::Zero { limit: "max_per_topic" });
/// # Ok::<(), BuildError>(())
/// ```
pub struct RegistryBuilder<T, E> {
    limits: Limits,
    clock: Clock,
    on_removal: Option<OnRemoval<T>>,
    sweep_every: Option<Duration>,
    event: PhantomData<fn(&E)>,
}

impl<T, E: 'static> ListenerRegistry<T, E> {
    /// Returns a registry with every option at its default: up to 1,000 listeners, and up to 10 per
    /// topic.
    #[must_use]
    pub fn new() -> Self {
        // The default limits are valid.
        Self::from_inner(Arc::new(Inner::new(DEFAULT_LIMITS, Clock::default(), None)))
    }

    /// Returns a builder with every option at its default.
    #[must_use]
    pub fn builder() -> RegistryBuilder<T, E> {
        RegistryBuilder {
            limits: DEFAULT_LIMITS,
            clock: Clock::default(),
            on_removal: None,
            sweep_every: None,
            event: PhantomData,
        }
    }
}

impl<T, E: 'static> Default for ListenerRegistry<T, E> {
    /// Returns the same as [`ListenerRegistry::new`].
    fn default() -> Self {
        Self::new()
    }
}

impl<T, E> RegistryBuilder<T, E> {
    /// Sets all limits to those of a config. Limits that are set afterwards replace the config's.
    #[must_use]
    pub fn config(mut self, config: &RegistryConfig) -> Self {
        let retry_after = config.breaker_retry;
        self.limits = Limits {
            max_listeners: config.max_listeners,
            max_per_topic: config.max_per_topic,
            overflow: config.overflow,
            ttl: config.ttl,
            breaker: config.breaker_failures.map(|failures| CircuitBreaker {
                failures,
                retry_after,
            }),
        };
        self.sweep_every = config.sweep_every;
        self
    }

    /// Sets the bound on the listeners of all topics. Defaults to 1,000.
    #[must_use]
    pub fn max_listeners(mut self, max: usize) -> Self {
        self.limits.max_listeners = max;
        self
    }

    /// Sets the bound on the listeners of each topic. Defaults to 10.
    #[must_use]
    pub fn max_per_topic(mut self, max: usize) -> Self {
        self.limits.max_per_topic = max;
        self
    }

    /// Sets what happens to a registration at a bound. Defaults to [`Overflow::Reject`].
    #[must_use]
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.limits.overflow = overflow;
        self
    }

    /// Sets the longest time to live of a listener. Defaults to none.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.limits.ttl = Some(ttl);
        self
    }

    /// Sets the circuit breaker of each listener. Defaults to none.
    #[must_use]
    pub fn circuit_breaker(mut self, breaker: CircuitBreaker) -> Self {
        self.limits.breaker = Some(breaker);
        self
    }

    /// Sets a callback for every removed listener and the cause of its removal.
    ///
    /// The callback runs without a lock and may use the registry. The handler's captures are
    /// dropped before it runs, unless an emit still holds them. If the callback removes another
    /// listener, it is called within itself, without a limit. A panic in it is contained and
    /// counted. Rejected handlers are not reported.
    #[must_use]
    pub fn on_removal(
        mut self,
        callback: impl Fn(&ListenerInfo<T>, RemovalCause) + Send + Sync + 'static,
    ) -> Self {
        self.on_removal = Some(Box::new(callback));
        self
    }

    /// Sets the clock. Defaults to [`Clock::coarse`]. Pass a `&ManualClock` in tests.
    #[must_use]
    pub fn clock(mut self, clock: impl Into<Clock>) -> Self {
        self.clock = clock.into();
        self
    }

    /// Removes expired listeners and those whose owner was dropped at this interval, on a
    /// process-wide background thread. Defaults to never: registrations remove some, and emits
    /// those that they reach.
    #[must_use]
    pub fn sweep_every(mut self, every: Duration) -> Self {
        self.sweep_every = Some(every);
        self
    }

    fn validate(&self) -> Result<Limits, BuildError> {
        let Limits {
            max_listeners,
            max_per_topic,
            ttl,
            breaker,
            ..
        } = self.limits;
        limits::count("max_listeners", Some(max_listeners), LARGEST_LIMIT)?;
        limits::count("max_per_topic", Some(max_per_topic), LARGEST_LIMIT)?;
        if ttl.is_some() {
            limits::duration("ttl", ttl)?;
        }
        if let Some(breaker) = breaker {
            let failures = Some(breaker.failures as usize);
            limits::count("circuit_breaker.failures", failures, usize::MAX)?;
            if breaker.retry_after.is_some() {
                limits::duration("circuit_breaker.retry_after", breaker.retry_after)?;
            }
        }
        Ok(self.limits)
    }
}

impl<T: Send + Sync + 'static, E: 'static> RegistryBuilder<T, E> {
    /// Builds the registry.
    ///
    /// # Errors
    ///
    /// Returns [`BuildError`] if a limit is zero or too large.
    pub fn build(self) -> Result<ListenerRegistry<T, E>, BuildError> {
        let limits = self.validate()?;
        let inner = Arc::new(Inner::new(limits, self.clock, self.on_removal));
        let registry = ListenerRegistry::from_inner(inner);
        sweeper::watch_globally("listeners", &registry, "sweep_every", self.sweep_every)?;
        Ok(registry)
    }
}

impl<T, E> fmt::Debug for RegistryBuilder<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryBuilder")
            .field("limits", &self.limits)
            .field("clock", &self.clock)
            .field("sweep_every", &self.sweep_every)
            .finish_non_exhaustive()
    }
}
