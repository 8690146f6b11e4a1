//! `Finding`: one thing that is not as it should be.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::thresholds::Severity;
use super::units::{Amount, Bytes, Of};
use crate::format::HumanDuration;

/// Something of which there is a bounded amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Resource {
    /// Entries of a collection, or listeners of a registry.
    Entries,
    /// What they weigh: by the weigher of a cache, or bytes of keys.
    Weight,
    /// Ids that are claimed, and neither committed nor released.
    InFlight,
    /// The process's resident memory, in bytes.
    Memory,
    /// The process's open file descriptors.
    OpenFiles,
}

impl Resource {
    /// `"entries"`, `"weight"`, `"in flight"`, `"memory"` or `"open files"`.
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

/// What is not as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// A bound is nearly used up. The figure is [`Figure::Percent`] of the bound.
    Use(Resource),
    /// At the present growth a bound is reached before long. The figure is [`Figure::TimeLeft`].
    TimeLeft(Resource),
    /// The process's memory grows. The figure is [`Figure::BytesPerMinute`].
    MemoryGrowth,
    /// Ids were evicted while live, so that the ttl is not kept. The figure is [`Figure::Window`], the time for which
    /// they were remembered.
    WindowShortened,
    /// Entries or listeners were not let in. The figure is [`Figure::Count`].
    Rejected,
    /// Breakers are open: listeners failed so often in a row that they were silenced or detached. The figure is
    /// [`Figure::Count`].
    BreakersOpen,
}

impl Kind {
    /// The kind in a word, as it stands in JSON and as it may in a label: `"entries_use"`, `"memory_time_left"`,
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

/// The figure that makes a finding one.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Figure {
    /// Use of a bound, in percent of it.
    Percent(f64),
    /// Growth of memory.
    BytesPerMinute(f64),
    /// The time until a bound is reached.
    TimeLeft(Duration),
    /// The time for which ids were remembered.
    Window {
        /// That time.
        kept: Duration,
        /// The time for which they should have been.
        ttl: Duration,
    },
    /// How many.
    Count(u64),
}

/// One thing that is not as it should be.
///
/// What it is about, its collection's name (or the process) and its kind, stays the same for as long as it lasts, while
/// severity and figure change. `Display` gives a line for a log.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Finding {
    /// The name under which the collection is watched; `None` for the process.
    pub collection: Option<Arc<str>>,
    /// What is not as it should be.
    pub kind: Kind,
    /// How severe it is.
    pub severity: Severity,
    /// The figure that makes it so.
    pub figure: Figure,
}

impl Finding {
    /// What stays the same for as long as the finding lasts.
    pub(super) fn identity(&self) -> (Option<Arc<str>>, Kind) {
        (self.collection.clone(), self.kind)
    }

    /// What it is about: the collection's name, or `"process"`.
    #[must_use]
    pub fn subject(&self) -> &str {
        self.collection.as_deref().unwrap_or("process")
    }

    /// Growth of memory by the names that the thresholds have for it.
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
        write!(f, "{}: {}: ", self.severity, self.subject())?;
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
                write!(f, "{} rejected", Amount(count as f64))
            }
            (Kind::BreakersOpen, Figure::Count(count)) => {
                write!(f, "{} open", Of(count, "breaker"))
            }
            (kind, figure) => write!(f, "{}: {figure:?}", kind.as_str()),
        }
    }
}
