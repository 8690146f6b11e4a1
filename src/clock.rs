//! The one door through which time enters the crate.
//!
//! Owns the three sources of time and the rule that no reading is below an earlier one. Collections work
//! in whole nanoseconds since the clock's origin, in a `u64`: 584 years, after which readings saturate.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Nanoseconds since a clock's origin.
pub(crate) type Nanos = u64;

/// A duration as nanoseconds; what does not fit becomes [`u64::MAX`], which means "never" wherever it is a limit.
pub(crate) fn nanos(duration: Duration) -> Nanos {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A monotonic source of time, shared by cloning.
///
/// Every collection reads the time from the clock that its builder was given, and from nothing else, so that a test
/// or a replay of a log can decide what time it is: see [`ManualClock`]. Only a [`Sweeper`](crate::Sweeper) sleeps in
/// real time.
///
/// Readings never go backwards. A custom source that does is held at the latest reading that it gave.
///
/// ```
/// use leakproof::Clock;
///
/// let clock = Clock::coarse();
/// let earlier = clock.now();
/// assert!(clock.now() >= earlier);
/// ```
#[derive(Clone)]
pub struct Clock {
    source: Source,
}

#[derive(Clone)]
enum Source {
    Coarse(coarsetime::Instant),
    Precise(Instant),
    Custom(Arc<Custom>),
}

struct Custom {
    latest: AtomicU64,
    now: Box<dyn Fn() -> Duration + Send + Sync>,
}

impl Clock {
    /// The operating system's coarse monotonic clock: about 5 ns a reading, in steps of a few milliseconds.
    ///
    /// This is the default. An entry can thus live longer or shorter than its ttl by one step of *real* time; in
    /// terms of this clock's own readings the ttl is exact. Like [`Instant`], most systems' clock stands still while
    /// the machine is suspended.
    #[must_use]
    pub fn coarse() -> Self {
        // `now` would also store the reading in a static that all threads share, a contended cache line.
        Self {
            source: Source::Coarse(coarsetime::Instant::now_without_cache_update()),
        }
    }

    /// [`Instant`], to the nanosecond where the system has them: some 25 ns a reading.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "this is the door")]
    pub fn precise() -> Self {
        Self {
            source: Source::Precise(Instant::now()),
        }
    }

    /// A clock of your own: `now` returns the time since an origin of its choice.
    ///
    /// Where `now` returns less than it did before, the clock stands still until it has caught up. Readings above
    /// 584 years saturate there.
    #[must_use]
    pub fn custom(now: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self {
            source: Source::Custom(Arc::new(Custom {
                latest: AtomicU64::new(0),
                now: Box::new(now),
            })),
        }
    }

    /// The time since the clock's origin: its creation, or whatever a custom source chose.
    #[must_use]
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.nanos())
    }

    #[inline(always)]
    pub(crate) fn nanos(&self) -> Nanos {
        // One comparison for the default.
        if let Source::Coarse(origin) = &self.source {
            coarse(*origin)
        } else {
            self.nanos_of_any()
        }
    }

    #[inline(never)]
    #[allow(clippy::disallowed_methods, reason = "this is the door")]
    fn nanos_of_any(&self) -> Nanos {
        match &self.source {
            Source::Coarse(origin) => coarse(*origin),
            Source::Precise(origin) => nanos(origin.elapsed()),
            Source::Custom(custom) => custom.nanos(),
        }
    }
}

#[inline(always)]
fn coarse(origin: coarsetime::Instant) -> Nanos {
    coarsetime::Instant::now_without_cache_update()
        .duration_since(origin)
        .as_nanos()
}

impl Custom {
    #[inline(never)]
    fn nanos(&self) -> Nanos {
        let reading = nanos((self.now)());
        // Relaxed: the latest reading guards no other data. Writing it only where time has moved on keeps threads from
        // fighting over its cache line.
        let latest = self.latest.load(Ordering::Relaxed);
        if reading <= latest {
            latest
        } else {
            reading.max(self.latest.fetch_max(reading, Ordering::Relaxed))
        }
    }
}

impl Default for Clock {
    /// [`Clock::coarse`].
    fn default() -> Self {
        Self::coarse()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = match &self.source {
            Source::Coarse(_) => "coarse",
            Source::Precise(_) => "precise",
            Source::Custom(_) => "custom",
        };
        f.debug_struct("Clock")
            .field("source", &source)
            .field("now", &self.now())
            .finish()
    }
}

/// A clock that moves only when told to: for tests, and for replaying a log in the log's own time.
///
/// Clones share the time.
///
/// ```
/// use leakproof::{DedupSet, ManualClock};
/// use std::time::Duration;
///
/// let time = ManualClock::new();
/// let seen = DedupSet::<str>::builder()
///     .ttl(Duration::from_secs(60))
///     .max_entries(1_000)
///     .clock(&time)
///     .build()?;
///
/// assert!(seen.insert("id"));
/// time.advance(Duration::from_secs(59));
/// assert!(!seen.insert("id"));
/// time.advance(Duration::from_secs(1));
/// assert!(seen.insert("id"));
/// # Ok::<(), leakproof::BuildError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct ManualClock {
    time: Arc<AtomicU64>,
}

impl ManualClock {
    /// A clock that stands at zero.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves the time forward; it stops at 584 years.
    pub fn advance(&self, by: Duration) {
        let by = nanos(by);
        // `fetch_update` fails only if the closure returns `None`.
        let _ = self
            .time
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |time| {
                Some(time.saturating_add(by))
            });
    }

    /// Sets the time since the origin. Setting it back leaves the clocks made from it where they were last read.
    pub fn set(&self, to: Duration) {
        self.time.store(nanos(to), Ordering::Relaxed);
    }

    /// A [`Clock`] that shows this time.
    #[must_use]
    pub fn clock(&self) -> Clock {
        let time = Arc::clone(&self.time);
        Clock::custom(move || Duration::from_nanos(time.load(Ordering::Relaxed)))
    }
}

impl From<&ManualClock> for Clock {
    /// [`ManualClock::clock`].
    fn from(time: &ManualClock) -> Self {
        time.clock()
    }
}

impl From<ManualClock> for Clock {
    /// [`ManualClock::clock`].
    fn from(time: ManualClock) -> Self {
        time.clock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_that_goes_backwards_counts_as_the_last_one() {
        let time = ManualClock::new();
        let clock = time.clock();
        time.set(Duration::from_secs(100));
        assert_eq!(clock.now(), Duration::from_secs(100));
        time.set(Duration::from_secs(40));
        assert_eq!(clock.clone().now(), Duration::from_secs(100));
        time.set(Duration::from_secs(101));
        assert_eq!(clock.now(), Duration::from_secs(101));
    }

    #[test]
    fn readings_and_steps_saturate() {
        let time = ManualClock::new();
        time.advance(Duration::MAX);
        time.advance(Duration::MAX);
        assert_eq!(time.clock().now(), Duration::from_nanos(u64::MAX));
    }

    #[test]
    fn real_clocks_start_near_zero_and_do_not_go_back() {
        for clock in [Clock::coarse(), Clock::precise(), Clock::default()] {
            let mut last = clock.now();
            assert!(last < Duration::from_secs(5));
            for _ in 0..10_000 {
                let now = clock.now();
                assert!(now >= last);
                last = now;
            }
        }
    }
}
