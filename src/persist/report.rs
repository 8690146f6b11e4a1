//! The results of saving and restoring.

use std::fmt;
use std::time::Duration;

use crate::format::HumanDuration;

/// The result of saving a snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct SaveReport {
    /// The number of saved entries.
    pub saved: u64,
    /// The size of the snapshot.
    pub bytes: u64,
}

/// The result of restoring a snapshot or a journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct RestoreReport {
    /// The number of restored entries.
    pub restored: u64,
    /// Entries whose ttl or idle timeout ended before the restart or during the downtime.
    pub expired: u64,
    /// Live entries that were not kept because of a bound. The newest are kept.
    pub over_bound: u64,
    /// Bytes of an incomplete write at the end of a journal that were cut off.
    pub cut_off: u64,
    /// The time since the file was written, by the wall clock. `None` if the wall clock went back
    /// or is absurd; then the downtime counts as zero.
    #[cfg_attr(
        feature = "serde",
        serde(rename = "downtime_ms", serialize_with = "crate::stats::optional_ms")
    )]
    pub downtime: Option<Duration>,
    /// The problem of the wall clock, if there is one.
    pub clock: ClockProblem,
}

/// The judgement on the wall clock at the time of a restore.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum ClockProblem {
    /// The wall clock is plausible.
    #[default]
    None,
    /// The wall clock is behind the time at which the file was written.
    WentBack,
    /// The wall clock is, or was during the write, before 2020 or after 2200.
    Absurd,
}

impl fmt::Display for SaveReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} entries saved, {} bytes", self.saved, self.bytes)
    }
}

impl fmt::Display for RestoreReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            restored,
            expired,
            over_bound,
            ..
        } = self;
        write!(
            f,
            "{restored} entries restored, {expired} expired, {over_bound} over the bound"
        )?;
        if self.cut_off > 0 {
            write!(f, ", {} bytes of an incomplete write cut off", self.cut_off)?;
        }
        match (self.clock, self.downtime) {
            (ClockProblem::WentBack, _) => f.write_str(", the wall clock went back"),
            (ClockProblem::Absurd, _) => f.write_str(", the wall clock is absurd"),
            (ClockProblem::None, Some(time)) => write!(f, ", after {}", HumanDuration(time)),
            (ClockProblem::None, None) => Ok(()),
        }
    }
}
