//! `MonitorBuilder`: the options of a monitor and their validation.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::alerts::Change;
use super::process::ProcessFigures;
use super::thresholds::Thresholds;
use super::{Inner, Monitor};
use crate::clock::Clock;
use crate::limits::{self, BuildError};
use crate::sweeper;

const DEFAULT_SAMPLES: usize = 60;
/// The time to find a slope grows with the square of the samples: with 500 it is one or two
/// milliseconds.
const MAX_SAMPLES: usize = 500;

pub(super) type OnChange = Box<dyn Fn(&Change) + Send + Sync>;
pub(super) type ReadProcess = Box<dyn Fn() -> ProcessFigures + Send + Sync>;

/// Builds a [`Monitor`]. Every option has a default, and `build` validates all of them.
///
/// ```
/// use leakproof::BuildError;
/// use leakproof::monitor::{Monitor, Thresholds, UseThresholds};
/// use std::time::Duration;
///
/// let monitor = Monitor::builder()
///     .sample_every(Duration::from_secs(60))
///     .samples(60)
///     .memory_limit(2_000_000_000)
///     .thresholds(Thresholds { time_left_warning: Duration::from_secs(7200), ..Thresholds::default() })
///     .on_change(|change| eprintln!("{change}"))
///     .build()?;
///
/// let disordered = UseThresholds { warning_percent: 90.0, critical_percent: 85.0 };
/// let thresholds = Thresholds { memory_use: Some(disordered), ..Thresholds::default() };
/// let error = Monitor::builder().thresholds(thresholds).build().unwrap_err();
/// assert!(matches!(error, BuildError::OutOfOrder { lower: "memory_use.warning_percent", .. }));
/// # drop(monitor);
/// # Ok::<(), BuildError>(())
/// ```
pub struct MonitorBuilder {
    sample_every: Option<Duration>,
    samples: usize,
    thresholds: Thresholds,
    memory_limit: Option<u64>,
    process: ReadProcess,
    on_change: Option<OnChange>,
    clock: Clock,
}

impl MonitorBuilder {
    pub(super) fn new() -> Self {
        Self {
            sample_every: None,
            samples: DEFAULT_SAMPLES,
            thresholds: Thresholds::default(),
            memory_limit: None,
            process: Box::new(ProcessFigures::read),
            on_change: None,
            clock: Clock::default(),
        }
    }

    /// Takes samples at an interval, on the process-wide background thread that also sweeps.
    /// Without this option, call [`Monitor::sample`].
    #[must_use]
    pub fn sample_every(mut self, every: Duration) -> Self {
        self.sample_every = Some(every);
        self
    }

    /// Sets the number of samples that are kept of the process and of each collection. Defaults to
    /// 60, at most 500.
    ///
    /// The number times the interval is the window over which growth is observed.
    #[must_use]
    pub fn samples(mut self, samples: usize) -> Self {
        self.samples = samples;
        self
    }

    /// Sets the figures from which on there is a finding. Defaults to [`Thresholds::default`].
    #[must_use]
    pub fn thresholds(mut self, thresholds: Thresholds) -> Self {
        self.thresholds = thresholds;
        self
    }

    /// Sets the memory limit of the process in bytes. Defaults to the limit of its control group.
    #[must_use]
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.memory_limit = Some(bytes);
        self
    }

    /// Sets the source of process figures. Defaults to [`ProcessFigures::read`].
    ///
    /// Use it in tests, or on systems with a better source. The monitor catches and counts a panic
    /// of `read`, and treats the figures as unknown.
    #[must_use]
    pub fn process(mut self, read: impl Fn() -> ProcessFigures + Send + Sync + 'static) -> Self {
        self.process = Box::new(read);
        self
    }

    /// Calls `call` once for each finding that appears, worsens or ends.
    ///
    /// The thread that takes the sample makes the calls, one at a time and in order. No lock is
    /// held, so `call` may use the monitor. With `sample_every`, that is the sweeper's thread:
    /// `call` delays sweeps, and it runs outside an async runtime. Send the change through a
    /// channel instead of calling `tokio::spawn`, which panics there. The monitor catches and
    /// counts a panic of `call`.
    #[must_use]
    pub fn on_change(mut self, call: impl Fn(&Change) + Send + Sync + 'static) -> Self {
        self.on_change = Some(Box::new(call));
        self
    }

    /// Sets the clock. Defaults to [`Clock::coarse`]. Pass a `&ManualClock` in tests.
    #[must_use]
    pub fn clock(mut self, clock: impl Into<Clock>) -> Self {
        self.clock = clock.into();
        self
    }

    /// Builds the monitor.
    ///
    /// # Errors
    ///
    /// Returns [`BuildError`] if an option is zero or too large, if thresholds are out of order, or
    /// if the background thread cannot be started.
    pub fn build(self) -> Result<Monitor, BuildError> {
        let samples = limits::count("samples", Some(self.samples), MAX_SAMPLES)?;
        let thresholds = self.thresholds.validate(samples)?;
        if self.memory_limit == Some(0) {
            return Err(BuildError::Zero {
                limit: "memory_limit",
            });
        }
        let inner = Arc::new(Inner::new(
            samples,
            thresholds,
            self.memory_limit,
            self.process,
            self.on_change,
            self.clock,
        ));
        sweeper::watch_globally("monitor", &inner, "sample_every", self.sample_every)?;
        Ok(Monitor { inner })
    }
}

impl fmt::Debug for MonitorBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MonitorBuilder")
            .field("sample_every", &self.sample_every)
            .field("samples", &self.samples)
            .field("thresholds", &self.thresholds)
            .field("memory_limit", &self.memory_limit)
            .field("clock", &self.clock)
            .finish_non_exhaustive()
    }
}
