//! `Report`: how full everything is, how fast it grows, when it will be full, and what to make of it.

use std::sync::Arc;
use std::time::Duration;

use super::finding::Finding;
use super::thresholds::Severity;
use crate::stats::Usage;

/// How things stand: the process, each collection, and what is not as it should be.
///
/// `Display` gives a table for a terminal. With the feature `serde` it serializes, durations as integer milliseconds.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Report {
    /// The time over which the process's growth was observed.
    pub window: Duration,
    /// The samples of the process in that time.
    pub samples: usize,
    /// The process.
    pub process: ProcessReport,
    /// The collections, in the order in which they came to be watched. One that is gone is left out, and so is one
    /// that panicked when it was asked for its statistics.
    pub collections: Vec<CollectionReport>,
    /// What is not as it should be, the most severe first.
    pub findings: Vec<Finding>,
    /// How many panics were contained since the monitor was built: of its callback, its source of process figures, the
    /// statistics of collections, and whoever is told of figures and events.
    pub panics: u64,
}

impl Report {
    /// The severity of the most severe finding.
    #[must_use]
    pub fn severity(&self) -> Severity {
        self.findings
            .iter()
            .map(|finding| finding.severity)
            .max()
            .unwrap_or_default()
    }

    /// The collection that is watched under a name.
    #[must_use]
    pub fn collection(&self, name: &str) -> Option<&CollectionReport> {
        self.collections
            .iter()
            .find(|collection| &*collection.name == name)
    }
}

/// How the process stands. What the system does not tell is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct ProcessReport {
    /// Resident memory, in bytes, against the limit given or the control group's.
    pub memory: Option<ResourceUsage>,
    /// Open file descriptors against their limit.
    pub open_files: Option<ResourceUsage>,
}

/// How a collection stands.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct CollectionReport {
    /// The name under which it is watched.
    pub name: Arc<str>,
    /// What it holds, and what left it and why.
    pub usage: Usage,
    /// Its entries against their bound.
    pub entries: ResourceUsage,
    /// What they weigh, where that has a bound.
    pub weight: Option<ResourceUsage>,
    /// Ids in flight, where the collection has claims.
    pub in_flight: Option<ResourceUsage>,
}

/// How much of something there is, and may be.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct ResourceUsage {
    /// How much there is now.
    pub used: u64,
    /// How much there may be. `None`: there is no limit.
    pub limit: Option<u64>,
    /// By how much it grows a minute, by a slope that noise, outliers, single jumps and sawteeth move little; negative
    /// where it shrinks. `None` until there are enough samples.
    pub growth_per_minute: Option<f64>,
    /// The time until the limit is reached at that growth; `None` where it is not going to be.
    ///
    /// Where entries did not expire throughout the window, but will begin to before then, it is not going to be: a map
    /// that fills up after a start is not one that overflows.
    pub time_to_limit: Option<Duration>,
}

impl ResourceUsage {
    /// How much of the limit is used, in percent.
    #[must_use]
    pub fn percent(&self) -> Option<f64> {
        self.limit
            .map(|limit| 100.0 * self.used as f64 / limit.max(1) as f64)
    }

    pub(super) fn new(used: u64, limit: Option<u64>, growth_per_minute: Option<f64>) -> Self {
        let left = limit.map(|limit| limit.saturating_sub(used) as f64);
        let minutes = left
            .zip(growth_per_minute)
            .filter(|(_, growth)| *growth > 0.0)
            .map(|(left, growth)| left / growth);
        // What does not fit is not going to be reached.
        let time_to_limit =
            minutes.and_then(|minutes| Duration::try_from_secs_f64(60.0 * minutes).ok());
        Self {
            used,
            limit,
            growth_per_minute,
            time_to_limit,
        }
    }

    /// The same, where entries begin to expire after `expiry`, and then stop growing.
    pub(super) fn until(mut self, expiry: Option<Duration>) -> Self {
        self.time_to_limit = self
            .time_to_limit
            .filter(|left| expiry.is_none_or(|expiry| *left < expiry));
        self
    }
}
