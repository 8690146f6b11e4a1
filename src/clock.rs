//! `Clock`: the only source of time in the crate.
//!
//! Collections store times as nanoseconds since the clock's origin, in a `u64`. Readings saturate
//! after 584 years.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};

// Not the one of `crate::sync`: models of a collection do not explore its clock.
use parking_lot::Mutex;

/// Nanoseconds since a clock's origin.
pub(crate) type Nanos = u64;

/// A function that is called when a clock reaches a time. Its collection holds it, and clocks and
/// threads hold it weakly.
pub(crate) type Alarm = dyn Fn() + Send + Sync;

/// Converts a duration, saturating at [`u64::MAX`]. A limit of that value means "never".
pub(crate) fn nanos(duration: Duration) -> Nanos {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A monotonic source of time. Clones share it.
///
/// A collection reads the time only from the clock of its builder. Tests and replays of logs set
/// the time with a [`ManualClock`]. Three things follow real time: the interval of a
/// [`Sweeper`](crate::Sweeper), the interval of a monitor, and the timeout of
/// [`detach_and_wait`](crate::Subscription::detach_and_wait).
///
/// Readings never go backwards: a reading below an earlier one counts as the earlier one.
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
    /// `None` for the clock of the system.
    wall: Option<Box<dyn Fn() -> Duration + Send + Sync>>,
    /// Set if the clock is a [`ManualClock`].
    manual: Option<Arc<ManualTime>>,
}

impl Clock {
    /// Returns the coarse monotonic clock of the operating system. This is the default.
    ///
    /// A reading takes about 5 to 10 ns and has steps of a few milliseconds. In real time, an entry
    /// may live one step longer or shorter than its ttl. In readings of this clock, the ttl is
    /// exact. Like [`Instant`], the clock stops on most systems while the machine is suspended.
    #[must_use]
    pub fn coarse() -> Self {
        // `now` also stores the reading in a static, whose cache line all threads would contend
        // for.
        Self {
            source: Source::Coarse(coarsetime::Instant::now_without_cache_update()),
        }
    }

    /// Returns a clock that reads [`Instant`]. A reading takes about 25 ns.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "this is the door")]
    pub fn precise() -> Self {
        Self {
            source: Source::Precise(Instant::now()),
        }
    }

    /// Returns a clock that calls `now` for the time since an arbitrary origin.
    ///
    /// If `now` returns less than before, the clock stops until `now` has caught up. Readings
    /// saturate at 584 years. A collection may call `now` while it is locked, so `now` must not use
    /// the collection.
    #[must_use]
    pub fn custom(now: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self::from_custom(Box::new(now), None, None)
    }

    /// Like [`custom`](Self::custom), with a wall clock that returns the time since 1970.
    ///
    /// Only persistence reads the wall clock, to learn for how long the process was down. All
    /// other clocks use that of the system.
    #[must_use]
    pub fn custom_with_wall(
        now: impl Fn() -> Duration + Send + Sync + 'static,
        wall: impl Fn() -> Duration + Send + Sync + 'static,
    ) -> Self {
        Self::from_custom(Box::new(now), Some(Box::new(wall)), None)
    }

    fn from_custom(
        now: Box<dyn Fn() -> Duration + Send + Sync>,
        wall: Option<Box<dyn Fn() -> Duration + Send + Sync>>,
        manual: Option<Arc<ManualTime>>,
    ) -> Self {
        Self {
            source: Source::Custom(Arc::new(Custom {
                latest: AtomicU64::new(0),
                now,
                wall,
                manual,
            })),
        }
    }

    /// Calls `alarm` when the time of a [`ManualClock`] is set to `at` or later. Returns `false` if
    /// this is another clock.
    pub(crate) fn set_manual_alarm(&self, at: Nanos, alarm: &Weak<Alarm>) -> bool {
        let Source::Custom(custom) = &self.source else {
            return false;
        };
        let Some(manual) = &custom.manual else {
            return false;
        };
        manual.add_alarm(at, alarm);
        true
    }

    /// Returns the time since the clock's origin: its creation, or the origin of a custom source.
    #[must_use]
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.nanos())
    }

    /// Returns the time since 1970 by the wall clock, which may jump. Zero if the wall clock is set
    /// to a time before 1970.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "this is the door")]
    pub fn wall(&self) -> Duration {
        if let Source::Custom(custom) = &self.source {
            if let Some(wall) = &custom.wall {
                return wall();
            }
        }
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        since.unwrap_or_default()
    }

    #[inline]
    pub(crate) fn nanos(&self) -> Nanos {
        // The default clock costs one comparison here, and nothing is called.
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

#[inline]
fn coarse(origin: coarsetime::Instant) -> Nanos {
    coarsetime::Instant::now_without_cache_update()
        .duration_since(origin)
        .as_nanos()
}

impl Custom {
    #[inline(never)]
    fn nanos(&self) -> Nanos {
        let reading = nanos((self.now)());
        // Relaxed: the latest reading guards no other data. It is only written if time has
        // advanced, so that threads do not contend for its cache line.
        let latest = self.latest.load(Ordering::Relaxed);
        if reading <= latest {
            latest
        } else {
            reading.max(self.latest.fetch_max(reading, Ordering::Relaxed))
        }
    }
}

impl Default for Clock {
    /// Returns [`Clock::coarse`].
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

/// A clock that only moves when it is set, for tests and for replays of logs. Clones share the
/// time.
///
/// If a lease ends because of `advance` or `set`, that call wakes the callers that wait for it.
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
#[derive(Clone, Debug)]
pub struct ManualClock {
    shared: Arc<ManualTime>,
}

struct ManualTime {
    time: AtomicU64,
    wall: AtomicU64,
    alarms: Mutex<Vec<(Nanos, Weak<Alarm>)>>,
}

impl ManualTime {
    fn now(&self) -> Nanos {
        self.time.load(Ordering::Relaxed)
    }

    fn add_alarm(&self, at: Nanos, alarm: &Weak<Alarm>) {
        let mut alarms = self.alarms.lock();
        alarms.retain(|(_, alarm)| alarm.strong_count() > 0);
        alarms.push((at, Weak::clone(alarm)));
        drop(alarms);
        // A thread that set the time before the alarm was added did not find it. The lock orders
        // its store before this load.
        self.ring();
    }

    /// Calls and removes the alarms that are due.
    fn ring(&self) {
        let now = self.now();
        let mut alarms = self.alarms.lock();
        let (due, later): (Vec<_>, _) = alarms.drain(..).partition(|&(at, _)| at <= now);
        *alarms = later;
        drop(alarms);
        for (_, alarm) in due {
            if let Some(alarm) = alarm.upgrade() {
                alarm();
            }
        }
    }
}

impl fmt::Debug for ManualTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManualTime")
            .field("now", &Duration::from_nanos(self.now()))
            .finish_non_exhaustive()
    }
}

/// The time of a new manual clock's wall clock: 2023-11-14.
const MANUAL_WALL: Nanos = 1_700_000_000 * 1_000_000_000;

impl ManualClock {
    /// Returns a clock at zero. Its wall clock is in November 2023.
    #[must_use]
    pub fn new() -> Self {
        Self {
            shared: Arc::new(ManualTime {
                time: AtomicU64::new(0),
                wall: AtomicU64::new(MANUAL_WALL),
                alarms: Mutex::default(),
            }),
        }
    }

    /// Advances the time and the wall clock, saturating at 584 years.
    pub fn advance(&self, by: Duration) {
        let by = nanos(by);
        for time in [&self.shared.time, &self.shared.wall] {
            // `fetch_update` fails only if the closure returns `None`.
            let _ = time.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |time| {
                Some(time.saturating_add(by))
            });
        }
        self.shared.ring();
    }

    /// Sets the wall clock to a time since 1970. The monotonic time stays as it is.
    pub fn set_wall(&self, to: Duration) {
        self.shared.wall.store(nanos(to), Ordering::Relaxed);
    }

    /// Returns the time of the wall clock since 1970.
    #[must_use]
    pub fn wall(&self) -> Duration {
        Duration::from_nanos(self.shared.wall.load(Ordering::Relaxed))
    }

    /// Sets the time since the origin. If it is set back, clocks made from it stay at their latest
    /// reading. The wall clock stays as it is.
    pub fn set(&self, to: Duration) {
        self.shared.time.store(nanos(to), Ordering::Relaxed);
        self.shared.ring();
    }

    /// Returns a [`Clock`] that reads this time.
    #[must_use]
    pub fn clock(&self) -> Clock {
        let (time, wall) = (self.clone(), self.clone());
        Clock::from_custom(
            Box::new(move || Duration::from_nanos(time.shared.now())),
            Some(Box::new(move || wall.wall())),
            Some(Arc::clone(&self.shared)),
        )
    }
}

impl Default for ManualClock {
    /// Returns [`ManualClock::new`].
    fn default() -> Self {
        Self::new()
    }
}

impl From<&ManualClock> for Clock {
    /// Returns [`ManualClock::clock`].
    fn from(time: &ManualClock) -> Self {
        time.clock()
    }
}

impl From<ManualClock> for Clock {
    /// Returns [`ManualClock::clock`].
    fn from(time: ManualClock) -> Self {
        time.clock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_that_goes_backwards_counts_as_the_latest() {
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
    fn readings_and_advances_saturate() {
        let time = ManualClock::new();
        time.advance(Duration::MAX);
        time.advance(Duration::MAX);
        assert_eq!(time.clock().now(), Duration::from_nanos(u64::MAX));
    }

    #[test]
    fn system_clocks_start_near_zero_and_never_go_back() {
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
