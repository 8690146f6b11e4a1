//! `Report`: use, growth and findings of the process and of all watched collections.

use std::sync::Arc;
use std::time::Duration;

use super::finding::Finding;
use super::thresholds::Severity;
use crate::stats::Usage;

/// The state of the process and of all watched collections, with findings.
///
/// `Display` prints a table for a terminal. With the feature `serde`, a report serializes with
/// durations as integer milliseconds.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Report {
    /// The time from the first kept sample of the process to the last.
    pub window: Duration,
    /// The number of kept samples of the process. [`Monitor::watch`](super::Monitor::watch) samples
    /// a collection, but not the process, so this is zero until the first call of `sample`.
    pub samples: usize,
    /// The process.
    pub process: ProcessReport,
    /// The collections, in the order in which they were watched. Dropped collections and
    /// collections whose `usage` panicked are absent.
    pub collections: Vec<CollectionReport>,
    /// The findings, the most severe first.
    pub findings: Vec<Finding>,
    /// The panics that the monitor caught since it was built, in its callback, its source of
    /// process figures, collections, recorders and subscribers.
    pub panics: u64,
}

impl Report {
    /// Returns the severity of the most severe finding.
    #[must_use]
    pub fn severity(&self) -> Severity {
        let severities = self.findings.iter().map(|finding| finding.severity);
        severities.max().unwrap_or_default()
    }

    /// Returns the collection that is watched under a name.
    #[must_use]
    pub fn collection(&self, name: &str) -> Option<&CollectionReport> {
        self.collections
            .iter()
            .find(|collection| &*collection.name == name)
    }
}

/// The resources of the process. A resource that the operating system does not report is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct ProcessReport {
    /// Resident memory in bytes, and the memory limit.
    pub memory: Option<ResourceUsage>,
    /// Open file descriptors, and their limit.
    pub open_files: Option<ResourceUsage>,
}

/// The state of one collection.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct CollectionReport {
    /// The name under which the collection is watched.
    pub name: Arc<str>,
    /// The number of kept samples. `watch` takes the first one.
    pub samples: usize,
    /// The present figures and counters.
    pub usage: Usage,
    /// The entries and their bound.
    pub entries: ResourceUsage,
    /// The weight and its bound, if it has one.
    pub weight: Option<ResourceUsage>,
    /// The claims in flight and their bound, if the collection has claims.
    pub in_flight: Option<ResourceUsage>,
}

/// The use and growth of one resource.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct ResourceUsage {
    /// The used amount.
    pub used: u64,
    /// The limit, or `None` if there is none.
    pub limit: Option<u64>,
    /// The growth per minute, negative if the use shrinks. Noise, outliers, single jumps and
    /// sawteeth affect it little. `None` until there are enough samples.
    pub growth_per_minute: Option<f64>,
    /// The time until the limit is reached at this growth. `None` if it will not be reached.
    ///
    /// Also `None` if entries will begin to expire before, because a collection that fills up after
    /// a start then stops growing.
    pub time_to_limit: Option<Duration>,
}

impl ResourceUsage {
    /// Returns the used part of the limit in percent.
    #[must_use]
    pub fn percent(&self) -> Option<f64> {
        let limit = self.limit?;
        Some(100.0 * self.used as f64 / limit.max(1) as f64)
    }

    pub(super) fn new(used: u64, limit: Option<u64>, growth_per_minute: Option<f64>) -> Self {
        let room = limit.map(|limit| limit.saturating_sub(used) as f64);
        let minutes = room
            .zip(growth_per_minute)
            .filter(|(_, growth)| *growth > 0.0)
            .map(|(room, growth)| room / growth);
        // A time that does not fit into a `Duration` will not be reached.
        let time_to_limit =
            minutes.and_then(|minutes| Duration::try_from_secs_f64(60.0 * minutes).ok());
        Self {
            used,
            limit,
            growth_per_minute,
            time_to_limit,
        }
    }

    /// Removes the time to the limit if entries begin to expire before.
    pub(super) fn until(mut self, expiry: Option<Duration>) -> Self {
        self.time_to_limit = self
            .time_to_limit
            .filter(|time_left| expiry.is_none_or(|expiry| *time_left < expiry));
        self
    }
}
