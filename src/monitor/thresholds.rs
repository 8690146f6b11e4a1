//! `Thresholds`: the figures from which on the monitor reports a finding, and its severity.

use std::fmt;
use std::time::Duration;

use crate::limits::{self, BuildError};

/// The severity of a finding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// There is no finding.
    #[default]
    Normal,
    /// The finding can wait, such as a slow leak.
    Notice,
    /// The finding needs attention today.
    Warning,
    /// The finding needs attention now: raise an alert. Answer a readiness probe with 503 only if
    /// the finding is one of the process, because a flood fills the collections of all replicas. Do
    /// not fail a liveness probe, because a restart forgets every id.
    Critical,
}

impl Severity {
    /// Returns `"normal"`, `"notice"`, `"warning"` or `"critical"`.
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

/// The use of a bound, in percent, from which on it is a finding. Defaults to 75 and 85.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UseThresholds {
    /// The use from which on it is a warning.
    pub warning_percent: f64,
    /// The use from which on it is critical.
    pub critical_percent: f64,
}

impl Default for UseThresholds {
    fn default() -> Self {
        Self {
            warning_percent: 75.0,
            critical_percent: 85.0,
        }
    }
}

impl UseThresholds {
    pub(super) fn severity(self, percent: f64) -> Severity {
        if percent >= self.critical_percent {
            Severity::Critical
        } else if percent >= self.warning_percent {
            Severity::Warning
        } else {
            Severity::Normal
        }
    }
}

/// The figures from which on the monitor reports a finding. 1 MB is 1,000,000 bytes.
///
/// The fields that end in `_use` set thresholds for the use of one kind of bound, and for the time
/// until it is reached. With `None`, the monitor reports use and time in its figures, but never as
/// a finding.
///
/// ```
/// use leakproof::monitor::{Thresholds, UseThresholds};
///
/// let strict = Thresholds {
///     memory_use: Some(UseThresholds { warning_percent: 50.0, critical_percent: 70.0 }),
///     ..Thresholds::default()
/// };
/// assert_eq!(strict.entries_use, Some(UseThresholds::default()));
/// assert_eq!(strict.in_flight_use, None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    /// The use of `max_entries` of dedup maps and of `max_listeners`. Defaults to 75% and 85%.
    pub entries_use: Option<UseThresholds>,
    /// The use of `max_bytes` of dedup maps. Defaults to 75% and 85%.
    pub weight_use: Option<UseThresholds>,
    /// The use of `max_entries` and `max_weight` of caches. Defaults to `None`, because a cache is
    /// meant to be full.
    pub cache_use: Option<UseThresholds>,
    /// The use of `max_in_flight`. Defaults to `None`, because a service may shed load at that
    /// bound by design.
    pub in_flight_use: Option<UseThresholds>,
    /// The use of the memory limit. Defaults to 75% and 85%.
    pub memory_use: Option<UseThresholds>,
    /// The use of the limit on open files. Defaults to 75% and 85%.
    pub open_files_use: Option<UseThresholds>,
    /// The growth of the process's memory, in bytes a minute, from which on it is a slow leak: a
    /// notice. Defaults to 10 MB.
    pub slow_leak_bytes_per_minute: f64,
    /// The growth above which it is an active leak: a warning. Defaults to 50 MB.
    pub active_leak_bytes_per_minute: f64,
    /// The growth above which it is critical. Defaults to 500 MB.
    pub critical_leak_bytes_per_minute: f64,
    /// The time until a bound is reached below which it is a warning. Zero disables it. Defaults to
    /// 1 h.
    pub time_left_warning: Duration,
    /// The time until a bound is reached below which it is critical. Defaults to 10 min.
    pub time_left_critical: Duration,
    /// Ids that are evicted before their ttl ends are a warning. The warning becomes critical if
    /// they were kept for less than this percentage of the ttl. Defaults to 50.
    pub window_critical_percent: f64,
    /// The number of rejected entries or listeners, within the kept samples, from which on it is a
    /// warning. Defaults to 1.
    pub rejected_warning: u64,
    /// The number of samples from which on growth is reported. Defaults to 10.
    pub min_samples: usize,
    /// The number of samples in a row without a finding after which the finding ends. Defaults to
    /// 3, so that a figure that swings around a threshold is reported once.
    pub ended_after: u32,
}

impl Default for Thresholds {
    fn default() -> Self {
        let default_use = Some(UseThresholds::default());
        Self {
            entries_use: default_use,
            weight_use: default_use,
            cache_use: None,
            in_flight_use: None,
            memory_use: default_use,
            open_files_use: default_use,
            slow_leak_bytes_per_minute: 10e6,
            active_leak_bytes_per_minute: 50e6,
            critical_leak_bytes_per_minute: 500e6,
            time_left_warning: Duration::from_secs(3600),
            time_left_critical: Duration::from_secs(600),
            window_critical_percent: 50.0,
            rejected_warning: 1,
            min_samples: 10,
            ended_after: 3,
        }
    }
}

impl Thresholds {
    /// Validates ranges and order.
    pub(super) fn validate(self, max_samples: usize) -> Result<Self, BuildError> {
        limits::count("min_samples", Some(self.min_samples), max_samples)?;
        limits::count("ended_after", Some(self.ended_after as usize), usize::MAX)?;
        if self.rejected_warning == 0 {
            return Err(BuildError::Zero {
                limit: "rejected_warning",
            });
        }
        let uses = [
            (
                "entries_use.warning_percent",
                "entries_use.critical_percent",
                self.entries_use,
            ),
            (
                "weight_use.warning_percent",
                "weight_use.critical_percent",
                self.weight_use,
            ),
            (
                "cache_use.warning_percent",
                "cache_use.critical_percent",
                self.cache_use,
            ),
            (
                "in_flight_use.warning_percent",
                "in_flight_use.critical_percent",
                self.in_flight_use,
            ),
            (
                "memory_use.warning_percent",
                "memory_use.critical_percent",
                self.memory_use,
            ),
            (
                "open_files_use.warning_percent",
                "open_files_use.critical_percent",
                self.open_files_use,
            ),
        ];
        let uses = uses.into_iter().filter_map(|(lower, upper, thresholds)| {
            let UseThresholds {
                warning_percent,
                critical_percent,
            } = thresholds?;
            Some((lower, upper, warning_percent, critical_percent))
        });
        let others = [
            (
                "slow_leak_bytes_per_minute",
                "active_leak_bytes_per_minute",
                self.slow_leak_bytes_per_minute,
                self.active_leak_bytes_per_minute,
            ),
            (
                "active_leak_bytes_per_minute",
                "critical_leak_bytes_per_minute",
                self.active_leak_bytes_per_minute,
                self.critical_leak_bytes_per_minute,
            ),
            (
                "time_left_critical",
                "time_left_warning",
                self.time_left_critical.as_secs_f64(),
                self.time_left_warning.as_secs_f64(),
            ),
        ];
        for (lower, upper, low, high) in uses.chain(others) {
            // The comparison is false for NaN, which must be an error as well.
            let is_in_order = low >= 0.0 && low <= high;
            if !is_in_order {
                return Err(BuildError::OutOfOrder { lower, upper });
            }
        }
        Ok(self)
    }

    pub(super) fn severity_of_growth(&self, bytes_per_minute: f64) -> Severity {
        if bytes_per_minute > self.critical_leak_bytes_per_minute {
            Severity::Critical
        } else if bytes_per_minute > self.active_leak_bytes_per_minute {
            Severity::Warning
        } else if bytes_per_minute >= self.slow_leak_bytes_per_minute {
            Severity::Notice
        } else {
            Severity::Normal
        }
    }

    pub(super) fn severity_of_time_left(&self, time_left: Duration) -> Severity {
        if time_left < self.time_left_critical {
            Severity::Critical
        } else if time_left < self.time_left_warning {
            Severity::Warning
        } else {
            Severity::Normal
        }
    }

    pub(super) fn severity_of_window(&self, kept: Duration, ttl: Duration) -> Severity {
        let percent = 100.0 * kept.as_secs_f64() / ttl.as_secs_f64();
        if percent < self.window_critical_percent {
            Severity::Critical
        } else {
            Severity::Warning
        }
    }
}
