//! `RegistryBuilder`: the knobs of a registry, and their validation.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::ListenerRegistry;
use super::info::ListenerInfo;
use super::inner::{Inner, OnRemoval};
use crate::clock::Clock;
use crate::config::RegistryConfig;
use crate::limits::{self, BuildError};
use crate::removal::RemovalCause;
use crate::sweeper;

const DEFAULT_MAX_LISTENERS: usize = 1_000;
/// The number at which Node's emitters warn of a leak.
const DEFAULT_MAX_PER_TOPIC: usize = 10;
/// No more can be told apart from none at all.
const MOST: usize = 1 << 30;

/// What happens to a registration where a bound is reached, and no listener is dead or too old.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Overflow {
    /// It is rejected, and gets its handler back.
    #[default]
    Reject,
    /// The listener that was registered first, of the topic or of all as the bound is, makes room for it.
    EvictOldest,
}

/// What becomes of a listener that keeps failing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CircuitBreaker {
    /// Failures and panics in a row.
    pub failures: u32,
    /// `None`: it is detached. Else it is silenced for this long, then called once as a probe, and so on until a probe
    /// succeeds.
    pub retry_after: Option<Duration>,
}

/// The limits of a registry, judged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) max_listeners: usize,
    pub(super) max_per_topic: usize,
    pub(super) overflow: Overflow,
    pub(super) max_age: Option<Duration>,
    pub(super) breaker: Option<CircuitBreaker>,
}

/// Builds a [`ListenerRegistry`].
///
/// All have defaults: 1,000 listeners, 10 per topic, which reject what comes on top, no age, and no breaker. Values are
/// judged by `build`, none by its method.
///
/// ```
/// use leakproof::{CircuitBreaker, BuildError, ListenerRegistry, Overflow};
/// use std::time::Duration;
///
/// let bus = ListenerRegistry::<String, u32>::builder()
///     .max_listeners(10_000)
///     .max_per_topic(16)
///     .overflow(Overflow::EvictOldest)
///     .ttl(Duration::from_secs(24 * 3600))
///     .circuit_breaker(CircuitBreaker { failures: 5, retry_after: Some(Duration::from_secs(60)) })
///     .on_removal(|listener, cause| println!("{listener:?} has left: {cause}"))
///     .sweep_every(Duration::from_secs(60))
///     .build()?;
/// assert!(bus.is_empty());
///
/// let deaf = ListenerRegistry::<String, u32>::builder().max_per_topic(0).build();
/// assert_eq!(deaf.unwrap_err(), BuildError::Zero { limit: "max_per_topic" });
/// # Ok::<(), BuildError>(())
/// ```
pub struct RegistryBuilder<T, E> {
    limits: Limits,
    clock: Clock,
    on_removal: Option<OnRemoval<T>>,
    sweep_every: Option<Duration>,
    events: std::marker::PhantomData<fn(&E)>,
}

impl<T, E> RegistryBuilder<T, E> {
    pub(super) fn new() -> Self {
        Self {
            limits: Limits {
                max_listeners: DEFAULT_MAX_LISTENERS,
                max_per_topic: DEFAULT_MAX_PER_TOPIC,
                overflow: Overflow::default(),
                max_age: None,
                breaker: None,
            },
            clock: Clock::default(),
            on_removal: None,
            sweep_every: None,
            events: std::marker::PhantomData,
        }
    }

    /// All limits of a config. Those given before are replaced, those given afterwards replace the config's.
    #[must_use]
    pub fn config(mut self, config: &RegistryConfig) -> Self {
        let retry_after = config.breaker_retry;
        self.limits = Limits {
            max_listeners: config.max_listeners,
            max_per_topic: config.max_per_topic,
            overflow: config.overflow,
            max_age: config.max_age,
            breaker: config.breaker_failures.map(|failures| CircuitBreaker {
                failures,
                retry_after,
            }),
        };
        self.sweep_every = config.sweep_every;
        self
    }

    /// How many listeners there may be: 1,000 unless given.
    #[must_use]
    pub fn max_listeners(mut self, max: usize) -> Self {
        self.limits.max_listeners = max;
        self
    }

    /// How many listeners a topic may have: 10 unless given.
    #[must_use]
    pub fn max_per_topic(mut self, max: usize) -> Self {
        self.limits.max_per_topic = max;
        self
    }

    /// What happens at these bounds: [`Overflow::Reject`] unless given.
    #[must_use]
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.limits.overflow = overflow;
        self
    }

    /// How old a listener can get; no bound unless given.
    #[must_use]
    pub fn ttl(mut self, max: Duration) -> Self {
        self.limits.max_age = Some(max);
        self
    }

    /// What becomes of listeners that keep failing; nothing unless given.
    #[must_use]
    pub fn circuit_breaker(mut self, breaker: CircuitBreaker) -> Self {
        self.limits.breaker = Some(breaker);
        self
    }

    /// Has `call` told of every listener that leaves, and why. What it captured has been dropped by then, unless an emit still
    /// holds it, as one does from within which it was detached. No lock is held meanwhile, so it may use the registry; but
    /// where it has another listener leave, it is called within itself, and nothing bounds how often. A panic in it is
    /// contained and counted. Handlers that never were let in are not told of.
    #[must_use]
    pub fn on_removal(
        mut self,
        call: impl Fn(&ListenerInfo<T>, RemovalCause) + Send + Sync + 'static,
    ) -> Self {
        self.on_removal = Some(Box::new(call));
        self
    }

    /// Where the time comes from: [`Clock::coarse`] unless given. For tests, a `&ManualClock`.
    #[must_use]
    pub fn clock(mut self, clock: impl Into<Clock>) -> Self {
        self.clock = clock.into();
        self
    }

    /// Has a process-wide background thread free listeners that are too old, or whose owner is gone, at this interval.
    /// Without it, registrations free some, and emits those that they come across.
    #[must_use]
    pub fn sweep_every(mut self, every: Duration) -> Self {
        self.sweep_every = Some(every);
        self
    }

    fn judged(&self) -> Result<Limits, BuildError> {
        limits::count("max_listeners", Some(self.limits.max_listeners), MOST)?;
        limits::count("max_per_topic", Some(self.limits.max_per_topic), MOST)?;
        if self.limits.max_age.is_some() {
            limits::duration("ttl", self.limits.max_age)?;
        }
        if let Some(CircuitBreaker {
            failures,
            retry_after,
        }) = self.limits.breaker
        {
            limits::count(
                "circuit_breaker.failures",
                Some(failures as usize),
                usize::MAX,
            )?;
            if retry_after.is_some() {
                limits::duration("circuit_breaker.retry_after", retry_after)?;
            }
        }
        Ok(self.limits)
    }
}

impl<T, E: 'static> RegistryBuilder<T, E> {
    /// What the defaults make, which are known to be sound.
    pub(super) fn default_registry() -> ListenerRegistry<T, E> {
        let builder = Self::new();
        ListenerRegistry {
            inner: Arc::new(Inner::new(builder.limits, builder.clock, None)),
        }
    }
}

impl<T: Send + Sync + 'static, E: 'static> RegistryBuilder<T, E> {
    /// Builds the registry.
    ///
    /// # Errors
    ///
    /// [`BuildError`] where a limit is zero or beyond reach.
    pub fn build(self) -> Result<ListenerRegistry<T, E>, BuildError> {
        let limits = self.judged()?;
        let inner = Arc::new(Inner::new(limits, self.clock, self.on_removal));
        let registry = ListenerRegistry { inner };
        sweeper::watch_globally("listeners", &registry, self.sweep_every)?;
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
