//! `Finding`: a condition that needs attention.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::thresholds::Severity;
use crate::format::{Bytes, Counted, Grouped, HumanDuration, OneLine};

/// A resource with a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Resource {
    /// The entries of a collection, or the listeners of a registry.
    Entries,
    /// The weight of a cache's entries, or the bytes of a dedup map's keys.
    Weight,
    /// The claims in flight of a dedup map.
    InFlight,
    /// The resident memory of the process, in bytes.
    Memory,
    /// The open file descriptors of the process.
    OpenFiles,
}

impl Resource {
    /// Returns `"entries"`, `"weight"`, `"in flight"`, `"memory"` or `"open files"`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Entries => "entries",
            Self::Weight => "weight",
            Self::InFlight => "in flight",
            Self::Memory => "memory",
            Self::OpenFiles => "open files",
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The kind of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// A large part of a bound is used. The figure is [`Figure::Percent`].
    Use(Resource),
    /// A bound will be reached soon at the present growth. The figure is [`Figure::TimeLeft`].
    TimeLeft(Resource),
    /// The memory of the process grows. The figure is [`Figure::BytesPerMinute`].
    MemoryGrowth,
    /// A bound evicted ids before their ttl ended. The figure is [`Figure::Window`].
    WindowShortened,
    /// Entries or listeners were rejected. The figure is [`Figure::Count`].
    Rejected,
    /// Circuit breakers are open, or detached their listeners. The figure is [`Figure::Count`].
    BreakersOpen,
}

impl Kind {
    /// Returns the kind as it appears in JSON and in labels: `"entries_use"`, `"memory_time_left"`,
    /// `"memory_growth"`, `"window_shortened"`, …
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Use(Resource::Entries) => "entries_use",
            Self::Use(Resource::Weight) => "weight_use",
            Self::Use(Resource::InFlight) => "in_flight_use",
            Self::Use(Resource::Memory) => "memory_use",
            Self::Use(Resource::OpenFiles) => "open_files_use",
            Self::TimeLeft(Resource::Entries) => "entries_time_left",
            Self::TimeLeft(Resource::Weight) => "weight_time_left",
            Self::TimeLeft(Resource::InFlight) => "in_flight_time_left",
            Self::TimeLeft(Resource::Memory) => "memory_time_left",
            Self::TimeLeft(Resource::OpenFiles) => "open_files_time_left",
            Self::MemoryGrowth => "memory_growth",
            Self::WindowShortened => "window_shortened",
            Self::Rejected => "rejected",
            Self::BreakersOpen => "breakers_open",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The figure that caused a finding.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Figure {
    /// The used part of a bound, in percent.
    Percent(f64),
    /// The growth of memory.
    BytesPerMinute(f64),
    /// The time until a bound is reached.
    TimeLeft(Duration),
    /// The time for which evicted ids were remembered.
    Window {
        /// The shortest such time within the kept samples. If an earlier eviction was even shorter,
        /// this is an estimate: the age of the oldest remaining id.
        kept: Duration,
        /// The time for which the ids should have been remembered.
        ttl: Duration,
    },
    /// A number of rejections or breakers.
    Count(u64),
}

/// A condition of the process or of a collection that needs attention.
///
/// Collection and kind identify a finding for as long as it lasts. Severity and figure change.
/// `Display` prints one line for a log.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Finding {
    /// The name under which the collection is watched, or `None` for the process.
    pub collection: Option<Arc<str>>,
    /// The kind of a finding.
    pub kind: Kind,
    /// The severity.
    pub severity: Severity,
    /// The figure that caused the finding.
    pub figure: Figure,
}

impl Finding {
    /// Returns the part that stays the same for as long as the finding lasts.
    pub(super) fn identity(&self) -> (Option<Arc<str>>, Kind) {
        (self.collection.clone(), self.kind)
    }

    /// Returns the name of the collection, or `"process"`.
    #[must_use]
    pub fn subject(&self) -> &str {
        self.collection.as_deref().unwrap_or("process")
    }

    /// Returns the name that the thresholds give to a growth of this severity.
    fn leak(&self) -> &'static str {
        match self.severity {
            Severity::Normal => "growth",
            Severity::Notice => "slow leak",
            Severity::Warning => "active leak",
            Severity::Critical => "critical leak",
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: ", self.severity, OneLine(self.subject()))?;
        match (self.kind, self.figure) {
            (Kind::Use(resource), Figure::Percent(percent)) => {
                write!(f, "{resource} at {percent:.1}% of the bound")
            }
            (Kind::TimeLeft(resource), Figure::TimeLeft(left)) => {
                write!(
                    f,
                    "{resource} will reach the bound in {}",
                    HumanDuration(left)
                )
            }
            (Kind::MemoryGrowth, Figure::BytesPerMinute(growth)) => {
                write!(f, "{}, {} a minute", self.leak(), Bytes(growth))
            }
            (_, Figure::Window { kept, ttl }) => {
                write!(
                    f,
                    "ids evicted after {} of a ttl of {}",
                    HumanDuration(kept),
                    HumanDuration(ttl)
                )
            }
            (Kind::Rejected, Figure::Count(count)) => {
                write!(f, "{} rejected", Grouped(count as f64))
            }
            (Kind::BreakersOpen, Figure::Count(count)) => {
                write!(f, "{} open", Counted(count, "breaker"))
            }
            (kind, figure) => write!(f, "{}: {figure:?}", kind.as_str()),
        }
    }
}
