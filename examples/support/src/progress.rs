//! Progress of runs that take longer than two seconds.

use std::time::Duration;

use leakproof::Clock;

use crate::output::note;
use crate::text::thousands;

const EVERY: Duration = Duration::from_secs(2);
/// Steps between two readings of the clock, which cost more than most steps do.
const STEPS: usize = 256;

/// Prints how many steps are done, every two seconds, to standard error.
pub struct Progress {
    what: &'static str,
    clock: Clock,
    next: Duration,
}

impl Progress {
    /// Returns the progress of counting `what`.
    pub fn new(what: &'static str) -> Self {
        let clock = Clock::coarse();
        let next = clock.now() + EVERY;
        Self { what, clock, next }
    }

    /// Prints `done` if two seconds have passed since the last line.
    pub fn update(&mut self, done: usize) {
        if done.is_multiple_of(STEPS) {
            self.update_slow(done);
        }
    }

    /// The same for steps that take milliseconds: reads the clock at every call.
    pub fn update_slow(&mut self, done: usize) {
        let now = self.clock.now();
        if now >= self.next {
            self.next = now + EVERY;
            note(format_args!("{} {} ...", thousands(done), self.what));
        }
    }
}
