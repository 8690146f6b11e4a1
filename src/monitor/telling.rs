//! `Telling`: what callback and log were told, and what they are to be told next.
//!
//! It keeps what is, not a queue of what happened: while a callback takes its time, what comes and goes meanwhile
//! takes no room, and is never told.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::Inner;
use super::finding::{Finding, Kind};
use super::report::Report;
use super::thresholds::Severity;
use crate::events::{self, FindingEvent, Importance};

/// What the callback of a monitor is told of: once each, not at every sample.
///
/// A finding that becomes less severe has not changed in this sense; it ends when it is gone for some samples
/// ([`Thresholds::ended_after`](super::Thresholds::ended_after)).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Change {
    /// A finding that was not there.
    Appeared(Finding),
    /// A finding that is more severe than it was since it appeared.
    Worsened {
        /// The finding as it is now.
        finding: Finding,
        /// The highest severity that it had so far.
        from: Severity,
    },
    /// A finding that is gone, as it last was.
    Ended(Finding),
}

impl Change {
    /// The finding that changed.
    #[must_use]
    pub fn finding(&self) -> &Finding {
        match self {
            Self::Appeared(finding) | Self::Worsened { finding, .. } | Self::Ended(finding) => {
                finding
            }
        }
    }

    /// `"appeared"`, `"worsened"` or `"ended"`.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Appeared(_) => "appeared",
            Self::Worsened { .. } => "worsened",
            Self::Ended(_) => "ended",
        }
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
pub(super) struct Telling {
    findings: BTreeMap<(Option<Arc<str>>, Kind), Known>,
    /// Whether somebody is telling, and will go on until nothing is left to tell.
    busy: bool,
}

#[derive(Debug)]
struct Known {
    latest: Finding,
    /// The highest severity that was told.
    told: Option<Severity>,
    /// For how many samples it has been gone.
    gone: u32,
}

impl Telling {
    /// Takes note of the findings of a sample.
    pub(super) fn update(&mut self, findings: &[Finding]) {
        for known in self.findings.values_mut() {
            known.gone = known.gone.saturating_add(1);
        }
        for finding in findings {
            let known = self
                .findings
                .entry(finding.identity())
                .or_insert_with(|| Known {
                    latest: finding.clone(),
                    told: None,
                    gone: 0,
                });
            known.latest = finding.clone();
            known.gone = 0;
        }
    }

    /// Whether the caller is the one who is to tell.
    pub(super) fn begin(&mut self) -> bool {
        !std::mem::replace(&mut self.busy, true)
    }

    /// What to tell next; where that is nothing, the telling is over.
    pub(super) fn next(&mut self, ended_after: u32) -> Option<Change> {
        let ended = self
            .findings
            .extract_if(.., |_, known| known.gone >= ended_after);
        if let Some((_, known)) = ended.into_iter().find(|(_, known)| known.told.is_some()) {
            return Some(Change::Ended(known.latest));
        }
        for known in self.findings.values_mut().filter(|known| known.gone == 0) {
            let finding = &known.latest;
            let former = known.told;
            if former < Some(finding.severity) {
                known.told = Some(finding.severity);
                return Some(match former {
                    None => Change::Appeared(finding.clone()),
                    Some(from) => Change::Worsened {
                        finding: finding.clone(),
                        from,
                    },
                });
            }
        }
        self.busy = false;
        None
    }
}

/// Emits the event about a change.
fn report_change(change: &Change) {
    let finding = change.finding();
    let importance = match finding.severity {
        _ if matches!(change, Change::Ended(_)) => Importance::Info,
        Severity::Normal | Severity::Notice => Importance::Info,
        Severity::Warning => Importance::Warn,
        Severity::Critical => Importance::Error,
    };
    events::finding_changed(&FindingEvent {
        importance,
        change: change.as_str(),
        collection: finding.collection.as_deref(),
        kind: finding.kind.as_str(),
        severity: finding.severity.as_str(),
        text: finding,
    });
}

impl Inner {
    /// Whether anybody is to be told of changes.
    pub(super) fn tells(&self) -> bool {
        events::ENABLED || self.on_change.is_some()
    }

    /// Tells what is not known yet, unless somebody is at it already, who will do it.
    pub(super) fn tell(&self) {
        if !self.tells() || !self.state.lock().telling.begin() {
            return;
        }
        let next = || self.state.lock().telling.next(self.thresholds.ended_after);
        while let Some(change) = next() {
            self.contained(|| report_change(&change));
            if let Some(on_change) = &self.on_change {
                self.contained(|| on_change(&change));
            }
        }
    }

    /// Tells of the collections that have reached a limit, once each.
    pub(super) fn tell_of_limits(&self, report: &Report) {
        if !events::ENABLED {
            return;
        }
        for collection in &report.collections {
            let mut state = self.state.lock();
            let watched = state
                .watched
                .iter_mut()
                .find(|watched| watched.name == collection.name);
            let new = watched.map(|watched| watched.reported.update(&collection.usage));
            drop(state);
            for condition in new.into_iter().flatten() {
                self.contained(|| condition.emit(&collection.name, &collection.usage));
            }
        }
    }
}
