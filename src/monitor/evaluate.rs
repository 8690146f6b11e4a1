//! `Evaluator`: turns present figures and samples into reports and findings.

use std::sync::Arc;
use std::time::Duration;

use super::finding::{Figure, Finding, Kind, Resource};
use super::process::ProcessFigures;
use super::report::{CollectionReport, ProcessReport, ResourceUsage};
use super::samples::{Sample, Samples};
use super::thresholds::{Severity, Thresholds, UseThresholds};
use crate::stats::{CollectionKind, Usage};

/// Evaluates the process and collections, and gathers their findings.
pub(super) struct Evaluator<'a> {
    pub(super) thresholds: &'a Thresholds,
    pub(super) findings: &'a mut Vec<Finding>,
}

impl Evaluator<'_> {
    /// Evaluates the process.
    pub(super) fn process(
        &mut self,
        now: ProcessFigures,
        samples: &Samples<ProcessFigures>,
    ) -> ProcessReport {
        let min_samples = self.thresholds.min_samples;
        let growth = samples.growth(min_samples, |figures| figures.memory_bytes);
        let memory = now
            .memory_bytes
            .map(|used| ResourceUsage::new(used, now.memory_limit_bytes, growth));
        let growth_of_files = samples.growth(min_samples, |figures| figures.open_files);
        let open_files = now
            .open_files
            .map(|used| ResourceUsage::new(used, now.open_files_limit, growth_of_files));

        let thresholds = self.thresholds;
        self.add_usage(None, Resource::Memory, memory, thresholds.memory_use);
        self.add_usage(
            None,
            Resource::OpenFiles,
            open_files,
            thresholds.open_files_use,
        );
        if let Some(growth) = memory.and_then(|memory| memory.growth_per_minute) {
            let severity = thresholds.severity_of_growth(growth);
            self.add(
                None,
                Kind::MemoryGrowth,
                severity,
                Figure::BytesPerMinute(growth),
            );
        }
        ProcessReport { memory, open_files }
    }

    /// Evaluates a collection.
    pub(super) fn collection(
        &mut self,
        name: &Arc<str>,
        usage: Usage,
        samples: &Samples<Sample>,
    ) -> CollectionReport {
        let now = Sample::from(&usage);
        let growth = |figure: fn(&Sample) -> u64| {
            samples.growth(self.thresholds.min_samples, |s| Some(figure(s)))
        };
        let expiry = time_to_expiry(&usage, samples);
        let max_entries = Some(usage.max_entries as u64);
        let entries = ResourceUsage::new(now.len, max_entries, growth(|s| s.len)).until(expiry);
        let weight = usage.max_weight.map(|max| {
            ResourceUsage::new(now.weight, Some(max), growth(|s| s.weight)).until(expiry)
        });
        let in_flight = usage.max_in_flight.map(|max| {
            ResourceUsage::new(now.in_flight, Some(max as u64), growth(|s| s.in_flight))
        });

        let thresholds = self.thresholds;
        let (entries_use, weight_use) = match usage.kind {
            // Full of entries that it replaces, it does its job.
            CollectionKind::Cache | CollectionKind::RateLimits => {
                (thresholds.cache_use, thresholds.cache_use)
            }
            _ => (thresholds.entries_use, thresholds.weight_use),
        };
        let name_of = Some(name);
        self.add_usage(name_of, Resource::Entries, Some(entries), entries_use);
        self.add_usage(name_of, Resource::Weight, weight, weight_use);
        self.add_usage(
            name_of,
            Resource::InFlight,
            in_flight,
            thresholds.in_flight_use,
        );
        self.add_counters(name, &usage, now, samples);
        CollectionReport {
            name: Arc::clone(name),
            samples: samples.len(),
            usage,
            entries,
            weight,
            in_flight,
        }
    }

    fn add_usage(
        &mut self,
        collection: Option<&Arc<str>>,
        resource: Resource,
        usage: Option<ResourceUsage>,
        thresholds: Option<UseThresholds>,
    ) {
        let Some((usage, thresholds)) = usage.zip(thresholds) else {
            return;
        };
        if let Some(percent) = usage.percent() {
            self.add(
                collection,
                Kind::Use(resource),
                thresholds.severity(percent),
                Figure::Percent(percent),
            );
        }
        if let Some(time_left) = usage.time_to_limit {
            self.add(
                collection,
                Kind::TimeLeft(resource),
                self.thresholds.severity_of_time_left(time_left),
                Figure::TimeLeft(time_left),
            );
        }
    }

    fn add_counters(
        &mut self,
        name: &Arc<str>,
        usage: &Usage,
        now: Sample,
        samples: &Samples<Sample>,
    ) {
        // Only collections that promise to keep entries for their ttl report a shortest window; a
        // cache does not.
        let window = usage
            .shortest_window
            .and_then(|_| samples.shortest_window(now));
        if let Some((kept, ttl)) = window.zip(usage.ttl) {
            let severity = self.thresholds.severity_of_window(kept, ttl);
            self.add(
                Some(name),
                Kind::WindowShortened,
                severity,
                Figure::Window { kept, ttl },
            );
        }
        let rejected = samples.rise(now.rejected, |sample| sample.rejected);
        if rejected >= self.thresholds.rejected_warning {
            self.add(
                Some(name),
                Kind::Rejected,
                Severity::Warning,
                Figure::Count(rejected),
            );
        }
        let detached = samples.rise(now.failed, |sample| sample.failed);
        let open = detached + usage.open_breakers.unwrap_or(0) as u64;
        if open > 0 {
            self.add(
                Some(name),
                Kind::BreakersOpen,
                Severity::Warning,
                Figure::Count(open),
            );
        }
    }

    fn add(
        &mut self,
        collection: Option<&Arc<str>>,
        kind: Kind,
        severity: Severity,
        figure: Figure,
    ) {
        if severity > Severity::Normal {
            self.findings.push(Finding {
                collection: collection.cloned(),
                kind,
                severity,
                figure,
            });
        }
    }
}

/// Returns the time until the first entry expires, if entries can expire and did not do so
/// throughout the window.
///
/// Until then, a collection that was created recently fills up. Such growth does not predict that
/// the bound is reached.
fn time_to_expiry(usage: &Usage, samples: &Samples<Sample>) -> Option<Duration> {
    if samples.rises_throughout(|sample| sample.expired) {
        return None;
    }
    let age = usage.oldest_entry_age.unwrap_or_default();
    usage.ttl.map(|ttl| ttl.saturating_sub(age))
}
