//! `MonitorBuilder`: the knobs of a monitor, and their validation.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::process::ProcessFigures;
use super::telling::Change;
use super::thresholds::Thresholds;
use super::{Inner, Monitor};
use crate::clock::Clock;
use crate::limits::{self, BuildError};
use crate::sweeper;

const DEFAULT_SAMPLES: usize = 60;
/// The time to find a slope grows with the square of this: a millisecond or two.
const MAX_SAMPLES: usize = 500;

pub(super) type OnChange = Box<dyn Fn(&Change) + Send + Sync>;
pub(super) type Process = Box<dyn Fn() -> ProcessFigures + Send + Sync>;

/// Builds a [`Monitor`].
///
/// All have defaults. Values are judged by `build`, none by its method.
///
/// ```
/// use leakproof::BuildError;
/// use leakproof::monitor::{Monitor, Thresholds};
/// use std::time::Duration;
///
/// let monitor = Monitor::builder()
///     .sample_every(Duration::from_secs(60))
///     .samples(60)
///     .memory_limit(2_000_000_000)
///     .thresholds(Thresholds { use_warning_percent: 60.0, ..Thresholds::default() })
///     .on_change(|change| eprintln!("{change}"))
///     .build()?;
///
/// let disordered = Thresholds { use_warning_percent: 90.0, ..Thresholds::default() };
/// let error = Monitor::builder().thresholds(disordered).build().unwrap_err();
/// assert_eq!(error, BuildError::OutOfOrder { lower: "use_warning_percent", upper: "use_critical_percent" });
/// # drop(monitor);
/// # Ok::<(), BuildError>(())
/// ```
pub struct MonitorBuilder {
    sample_every: Option<Duration>,
    samples: usize,
    thresholds: Thresholds,
    memory_limit: Option<u64>,
    process: Process,
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

    /// Has the process-wide background thread that also sweeps take a sample at this interval. Without it, samples are
    /// taken by hand: [`Monitor::sample`].
    #[must_use]
    pub fn sample_every(mut self, every: Duration) -> Self {
        self.sample_every = Some(every);
        self
    }

    /// How many samples are kept of each collection and of the process: 60 unless given, at most 500. Times the
    /// interval, this is the window over which growth is observed.
    #[must_use]
    pub fn samples(mut self, samples: usize) -> Self {
        self.samples = samples;
        self
    }

    /// From when on a figure is a finding: [`Thresholds::default`] unless given.
    #[must_use]
    pub fn thresholds(mut self, thresholds: Thresholds) -> Self {
        self.thresholds = thresholds;
        self
    }

    /// The memory, in bytes, that the process may take. Unless given it is that of its control group, if there is one.
    #[must_use]
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.memory_limit = Some(bytes);
        self
    }

    /// Where the figures of the process come from: [`ProcessFigures::read`] unless given. For tests, and for systems
    /// that know better. A panic in it is contained, and counts as figures that are not known.
    #[must_use]
    pub fn process(mut self, read: impl Fn() -> ProcessFigures + Send + Sync + 'static) -> Self {
        self.process = Box::new(read);
        self
    }

    /// Has `call` told of every finding that appears, worsens or ends, once each.
    ///
    /// It is called by whoever takes the sample, while no lock is held, by one thread at a time and in order; so it may use
    /// the monitor. Where samples are taken in the background it keeps the sweeper's thread from its work for as long
    /// as it takes. A panic in it is contained and counted.
    #[must_use]
    pub fn on_change(mut self, call: impl Fn(&Change) + Send + Sync + 'static) -> Self {
        self.on_change = Some(Box::new(call));
        self
    }

    /// Where the time comes from: [`Clock::coarse`] unless given. For tests, a `&ManualClock`.
    #[must_use]
    pub fn clock(mut self, clock: impl Into<Clock>) -> Self {
        self.clock = clock.into();
        self
    }

    /// Builds the monitor.
    ///
    /// # Errors
    ///
    /// [`BuildError`] where a limit is zero or beyond reach, thresholds are out of order, or the background thread
    /// cannot be started.
    pub fn build(self) -> Result<Monitor, BuildError> {
        let samples = limits::count("samples", Some(self.samples), MAX_SAMPLES)?;
        let thresholds = self.thresholds.judged(samples)?;
        if self.memory_limit == Some(0) {
            return Err(BuildError::Zero {
                limit: "memory_limit",
            });
        }
        let inner = Inner::new(
            samples,
            thresholds,
            self.memory_limit,
            self.process,
            self.on_change,
            self.clock,
        );
        let inner = Arc::new(inner);
        sweeper::run_globally("monitor", &inner, "sample_every", self.sample_every)?;
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
