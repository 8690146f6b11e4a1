//! The circuit breaker of a listener.

use std::time::Duration;

use crate::clock::{Nanos, nanos};

/// Takes a listener that keeps failing out of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CircuitBreaker {
    /// Consecutive failures and panics that open the breaker.
    pub failures: u32,
    /// The time for which an open breaker skips the listener. Then one call is made as a probe: its
    /// success closes the breaker, and its failure starts the time again. `None` detaches the
    /// listener when the breaker opens.
    pub retry_after: Option<Duration>,
}

/// The failures of one listener, and its breaker.
#[derive(Default)]
pub(super) struct BreakerState {
    /// Consecutive failures.
    failures: u32,
    open_until: Option<Nanos>,
    /// A probe is in progress.
    probing: bool,
}

/// The decision if a listener may be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    Call,
    Probe,
    Skip,
}

/// The change that the result of a call makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transition {
    None,
    Opened,
    Closed,
    /// The breaker opened, and it detaches the listener.
    Detach,
}

impl BreakerState {
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    pub(super) fn is_open(&self) -> bool {
        self.open_until.is_some()
    }

    /// Returns `true` if the breaker is open and its pause has passed.
    #[cfg(feature = "queue")]
    pub(super) fn is_half_open(&self, now: Nanos) -> bool {
        self.open_until.is_some_and(|until| until <= now)
    }

    /// Decides if the listener may be called now. An admitted probe must be
    /// [finished](Self::finish_probe).
    pub(super) fn admit(&mut self, now: Nanos) -> Admission {
        match self.open_until {
            None => Admission::Call,
            Some(until) if now < until || self.probing => Admission::Skip,
            Some(_) => {
                self.probing = true;
                Admission::Probe
            }
        }
    }

    pub(super) fn finish_probe(&mut self) {
        self.probing = false;
    }

    pub(super) fn record_success(&mut self, is_probe: bool) -> Transition {
        // A call that began before the breaker opened is not a probe, so it does not close the
        // breaker.
        if self.is_open() && !is_probe {
            return Transition::None;
        }
        self.failures = 0;
        match self.open_until.take() {
            Some(_) => Transition::Closed,
            None => Transition::None,
        }
    }

    pub(super) fn record_failure(
        &mut self,
        breaker: Option<CircuitBreaker>,
        now: Nanos,
    ) -> Transition {
        self.failures = self.failures.saturating_add(1);
        let Some(breaker) = breaker.filter(|breaker| self.failures >= breaker.failures) else {
            return Transition::None;
        };
        let Some(pause) = breaker.retry_after else {
            return Transition::Detach;
        };
        let until = now.saturating_add(nanos(pause));
        match self.open_until.replace(until) {
            Some(_) => Transition::None,
            None => Transition::Opened,
        }
    }
}
