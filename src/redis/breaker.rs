//! `Breaker`: keeps callers from waiting for a server that does not answer.

use parking_lot::Mutex;
use std::time::Duration;

use crate::clock::{Clock, Nanos, nanos};

/// Opens after a number of failed calls in a row. While it is open, calls fail at once. After a
/// time, it admits one call as a probe. The probe closes it, or keeps it open for the same time.
#[derive(Debug)]
pub(super) struct Breaker {
    clock: Clock,
    max_failures: u32,
    retry_after: Nanos,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Closed { failures: u32 },
    Open { until: Nanos },
    Probing,
}

/// The permission for one call. A call that is cancelled is no failure, but frees the place of the
/// probe.
pub(super) struct Permit<'a> {
    breaker: &'a Breaker,
    is_probe: bool,
}

impl Breaker {
    pub(super) fn new(clock: Clock, max_failures: u32, retry_after: Duration) -> Self {
        Self {
            clock,
            max_failures,
            retry_after: nanos(retry_after),
            state: Mutex::new(State::Closed { failures: 0 }),
        }
    }

    /// Admits a call, or returns `None`.
    pub(super) fn enter(&self) -> Option<Permit<'_>> {
        let mut state = self.state.lock();
        let is_probe = match *state {
            State::Closed { .. } => false,
            State::Open { until } if until <= self.clock.nanos() => {
                *state = State::Probing;
                true
            }
            State::Open { .. } | State::Probing => return None,
        };
        Some(Permit {
            breaker: self,
            is_probe,
        })
    }

    pub(super) fn is_open(&self) -> bool {
        !matches!(*self.state.lock(), State::Closed { .. })
    }
}

impl Permit<'_> {
    pub(super) fn succeed(mut self) {
        // A call that was admitted before the breaker opened is as good as a probe.
        *self.breaker.state.lock() = State::Closed { failures: 0 };
        self.is_probe = false;
    }

    /// Counts a failure, and returns `true` if it opened the breaker.
    pub(super) fn fail(mut self) -> bool {
        let breaker = self.breaker;
        let mut state = breaker.state.lock();
        let until = breaker.clock.nanos().saturating_add(breaker.retry_after);
        let failures = match *state {
            State::Closed { failures } => failures + 1,
            State::Probing if self.is_probe => {
                self.is_probe = false;
                *state = State::Open { until };
                return false;
            }
            State::Open { .. } | State::Probing => return false,
        };
        let opens = failures >= breaker.max_failures;
        *state = if opens {
            State::Open { until }
        } else {
            State::Closed { failures }
        };
        opens
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if self.is_probe {
            let mut state = self.breaker.state.lock();
            if matches!(*state, State::Probing) {
                *state = State::Open { until: 0 };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    const SECOND: Duration = Duration::from_secs(1);

    fn opened(time: &ManualClock) -> Breaker {
        let breaker = Breaker::new(time.clock(), 2, SECOND);
        assert!(!breaker.enter().unwrap().fail());
        assert!(breaker.enter().unwrap().fail());
        assert!(breaker.is_open());
        breaker
    }

    #[test]
    fn breaker_opens_after_failures_in_a_row() {
        let time = ManualClock::new();
        let breaker = Breaker::new(time.clock(), 2, SECOND);
        breaker.enter().unwrap().fail();
        breaker.enter().unwrap().succeed();
        breaker.enter().unwrap().fail();
        assert!(!breaker.is_open());
        assert!(opened(&time).enter().is_none());
    }

    #[test]
    fn open_breaker_admits_one_probe_at_a_time() {
        let time = ManualClock::new();
        let breaker = opened(&time);
        time.advance(SECOND);
        let probe = breaker.enter().unwrap();
        assert!(breaker.enter().is_none());
        assert!(!probe.fail());
        assert!(breaker.enter().is_none());
        time.advance(SECOND);
        breaker.enter().unwrap().succeed();
        assert!(!breaker.is_open());
        assert!(breaker.enter().is_some());
    }

    #[test]
    fn cancelled_probe_frees_its_place() {
        let time = ManualClock::new();
        let breaker = opened(&time);
        time.advance(SECOND);
        drop(breaker.enter().unwrap());
        assert!(breaker.enter().is_some());
    }
}
