//! `Alerts`: the findings that callback and log know, and the changes that they have yet to learn.
//!
//! `Alerts` keeps states, not a queue of changes. A slow callback therefore costs no memory: a
//! finding that appears and ends while the callback runs is never reported.

use std::collections::BTreeMap;
use std::fmt;
use std::mem::replace;
use std::sync::Arc;

use super::Inner;
use super::finding::{Finding, Kind};
use super::report::Report;
use super::thresholds::Severity;
use crate::events::{self, Importance};

/// A change of a finding, as the callback of a monitor receives it: once, not with each sample.
///
/// A finding that becomes less severe is not a change. A finding ends if it is absent for
/// [`Thresholds::ended_after`](super::Thresholds::ended_after) samples.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Change {
    /// The finding is new.
    Appeared(Finding),
    /// The finding is more severe than before.
    Worsened {
        /// The present finding.
        finding: Finding,
        /// The highest severity so far.
        from: Severity,
    },
    /// The finding ended. The value is its last state.
    Ended(Finding),
}

impl Change {
    /// Returns the finding that changed.
    #[must_use]
    pub fn finding(&self) -> &Finding {
        match self {
            Self::Appeared(finding) | Self::Worsened { finding, .. } | Self::Ended(finding) => {
                finding
            }
        }
    }

    /// Returns `"appeared"`, `"worsened"` or `"ended"`.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Appeared(_) => "appeared",
            Self::Worsened { .. } => "worsened",
            Self::Ended(_) => "ended",
        }
    }

    /// Emits the event about the change.
    fn emit(&self) {
        let finding = self.finding();
        let importance = match (self, finding.severity) {
            (Self::Ended(_), _) | (_, Severity::Normal | Severity::Notice) => Importance::Info,
            (_, Severity::Warning) => Importance::Warn,
            (_, Severity::Critical) => Importance::Error,
        };
        events::finding_changed(
            importance,
            self.as_str(),
            finding.collection.as_deref(),
            finding.kind.as_str(),
            finding.severity.as_str(),
            finding,
        );
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Appeared(finding) => write!(f, "new: {finding}"),
            Self::Worsened { finding, from } => write!(f, "worse than {from}: {finding}"),
            Self::Ended(finding) => write!(f, "ended: {finding}"),
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Alerts {
    findings: BTreeMap<(Option<Arc<str>>, Kind), Tracked>,
    /// `true` while a thread reports changes. It continues until there are none left.
    is_reporting: bool,
}

#[derive(Debug)]
struct Tracked {
    latest: Finding,
    /// The highest severity that was reported.
    reported: Option<Severity>,
    /// The number of samples in a row without the finding.
    absent: u32,
}

impl Alerts {
    /// Updates the states with the findings of a sample.
    pub(super) fn update(&mut self, findings: &[Finding]) {
        for tracked in self.findings.values_mut() {
            tracked.absent = tracked.absent.saturating_add(1);
        }
        for finding in findings {
            let tracked = self
                .findings
                .entry(finding.identity())
                .or_insert_with(|| Tracked {
                    latest: finding.clone(),
                    reported: None,
                    absent: 0,
                });
            tracked.latest = finding.clone();
            tracked.absent = 0;
        }
    }

    /// Returns `true` if the caller is the one who reports changes.
    fn begin(&mut self) -> bool {
        !replace(&mut self.is_reporting, true)
    }

    /// Returns the next change to report. `None` ends the reporting.
    fn next(&mut self, ended_after: u32) -> Option<Change> {
        let ended: Vec<_> = self
            .findings
            .iter()
            .filter(|(_, tracked)| tracked.absent >= ended_after)
            .map(|(identity, _)| identity.clone())
            .collect();
        for identity in ended {
            let tracked = self.findings.remove(&identity)?;
            if tracked.reported.is_some() {
                return Some(Change::Ended(tracked.latest));
            }
        }
        let present = self.findings.values_mut();
        for tracked in present.filter(|tracked| tracked.absent == 0) {
            let finding = &tracked.latest;
            let reported = tracked.reported;
            if reported < Some(finding.severity) {
                tracked.reported = Some(finding.severity);
                return Some(match reported {
                    None => Change::Appeared(finding.clone()),
                    Some(from) => Change::Worsened {
                        finding: finding.clone(),
                        from,
                    },
                });
            }
        }
        self.is_reporting = false;
        None
    }
}

impl Inner {
    /// Returns `true` if a callback or a subscriber wants changes.
    pub(super) fn has_audience(&self) -> bool {
        events::ENABLED || self.on_change.is_some()
    }

    /// Reports all changes, unless another thread does so already.
    pub(super) fn report_changes(&self) {
        if !self.has_audience() || !self.state.lock().alerts.begin() {
            return;
        }
        let next = || self.state.lock().alerts.next(self.thresholds.ended_after);
        while let Some(change) = next() {
            self.catch(|| change.emit());
            if let Some(on_change) = &self.on_change {
                self.catch(|| on_change(&change));
            }
        }
    }

    /// Emits events about the collections that reached a limit or panicked, once each.
    pub(super) fn report_limits(&self, report: &Report) {
        if !events::ENABLED {
            return;
        }
        for collection in &report.collections {
            let mut state = self.state.lock();
            let watched = state.watched.by_name_mut(&collection.name);
            let new = watched.map(|watched| watched.reported.update(&collection.usage));
            drop(state);
            for limit in new.into_iter().flatten() {
                let (name, usage) = (&collection.name, &collection.usage);
                self.catch(|| events::limit_reached(name, limit, usage));
            }
        }
    }
}
