//! `Thresholds`: from when on a figure is a finding, and how severe; and their validation.

use std::fmt;
use std::time::Duration;

use crate::limits::{self, BuildError};

/// How severe a finding is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Nothing to see.
    #[default]
    Normal,
    /// To be looked at some day: a slow leak.
    Notice,
    /// To be looked at today.
    Warning,
    /// To be looked at now: what a readiness probe is answered 503 for, or an alert is raised. Not a liveness probe: a
    /// restart forgets every id.
    Critical,
}

impl Severity {
    /// `"normal"`, `"notice"`, `"warning"` or `"critical"`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// From when on a figure is a finding. MB are 1,000,000 bytes.
///
/// ```
/// use leakproof::monitor::Thresholds;
///
/// let strict = Thresholds { use_warning_percent: 50.0, use_critical_percent: 70.0, ..Thresholds::default() };
/// assert_eq!(strict.slow_leak_bytes_per_minute, 10e6);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    /// Use of a bound, in percent of it, from which on it is a warning. 75.
    pub use_warning_percent: f64,
    /// The same, for critical. 85.
    pub use_critical_percent: f64,
    /// Growth of the process's memory, in bytes a minute, from which on it is a slow leak, a notice. 10 MB.
    pub slow_leak_bytes_per_minute: f64,
    /// Growth of the process's memory above which it is an active leak, a warning. 50 MB.
    pub active_leak_bytes_per_minute: f64,
    /// Growth of the process's memory above which it is critical. 500 MB.
    pub critical_leak_bytes_per_minute: f64,
    /// Time left until a bound below which it is a warning; zero: never. 1 h.
    pub time_left_warning: Duration,
    /// The same, for critical. 10 min.
    pub time_left_critical: Duration,
    /// Ids were evicted while live, which is a warning; it is critical where they were remembered for less than this
    /// part of their ttl, in percent. 50.
    pub window_critical_percent: f64,
    /// Entries or listeners rejected within the samples that are kept, from which on it is a warning. 1.
    pub rejected_warning: u64,
    /// Whether a cache may be full: it is its job to keep what fits, and to let go of the rest. So use of a cache's
    /// bounds and the time until then are reported, but are no findings, unless this is `false`. `true`.
    pub caches_may_be_full: bool,
    /// Samples that it takes until growth is told. 10.
    pub min_samples: usize,
    /// For how many samples in a row a finding must be gone until it has ended. 3: what swings about a threshold is
    /// told of once.
    pub ended_after: u32,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            use_warning_percent: 75.0,
            use_critical_percent: 85.0,
            slow_leak_bytes_per_minute: 10e6,
            active_leak_bytes_per_minute: 50e6,
            critical_leak_bytes_per_minute: 500e6,
            time_left_warning: Duration::from_secs(3600),
            time_left_critical: Duration::from_secs(600),
            window_critical_percent: 50.0,
            rejected_warning: 1,
            caches_may_be_full: true,
            min_samples: 10,
            ended_after: 3,
        }
    }
}

impl Thresholds {
    /// Whether they are in order.
    pub(super) fn judged(self, max_samples: usize) -> Result<Self, BuildError> {
        limits::count("min_samples", Some(self.min_samples), max_samples)?;
        limits::count("ended_after", Some(self.ended_after as usize), usize::MAX)?;
        limits::count(
            "rejected_warning",
            usize::try_from(self.rejected_warning).ok(),
            usize::MAX,
        )?;
        let leaks = [
            self.active_leak_bytes_per_minute,
            self.critical_leak_bytes_per_minute,
        ];
        let ordered = [
            (
                "use_warning_percent",
                "use_critical_percent",
                self.use_warning_percent,
                self.use_critical_percent,
            ),
            (
                "slow_leak_bytes_per_minute",
                "active_leak_bytes_per_minute",
                self.slow_leak_bytes_per_minute,
                leaks[0],
            ),
            (
                "active_leak_bytes_per_minute",
                "critical_leak_bytes_per_minute",
                leaks[0],
                leaks[1],
            ),
            (
                "time_left_critical",
                "time_left_warning",
                self.time_left_critical.as_secs_f64(),
                self.time_left_warning.as_secs_f64(),
            ),
        ];
        for (lower, upper, low, high) in ordered {
            // Not a number is in no order.
            if !(low >= 0.0 && low <= high) {
                return Err(BuildError::OutOfOrder { lower, upper });
            }
        }
        Ok(self)
    }

    /// How severe the use of a bound is.
    pub(super) fn of_use(&self, percent: f64) -> Severity {
        match percent {
            _ if percent >= self.use_critical_percent => Severity::Critical,
            _ if percent >= self.use_warning_percent => Severity::Warning,
            _ => Severity::Normal,
        }
    }

    /// How severe the growth of the process is.
    pub(super) fn of_growth(&self, bytes_per_minute: f64) -> Severity {
        match bytes_per_minute {
            _ if bytes_per_minute > self.critical_leak_bytes_per_minute => Severity::Critical,
            _ if bytes_per_minute > self.active_leak_bytes_per_minute => Severity::Warning,
            _ if bytes_per_minute >= self.slow_leak_bytes_per_minute => Severity::Notice,
            _ => Severity::Normal,
        }
    }

    /// How severe it is that so much time is left.
    pub(super) fn of_time_left(&self, left: Duration) -> Severity {
        match left {
            _ if left < self.time_left_critical => Severity::Critical,
            _ if left < self.time_left_warning => Severity::Warning,
            _ => Severity::Normal,
        }
    }

    /// How severe it is that ids were remembered for no longer than `kept`.
    pub(super) fn of_window(&self, kept: Duration, ttl: Duration) -> Severity {
        let percent = 100.0 * kept.as_secs_f64() / ttl.as_secs_f64();
        if percent < self.window_critical_percent {
            Severity::Critical
        } else {
            Severity::Warning
        }
    }
}
