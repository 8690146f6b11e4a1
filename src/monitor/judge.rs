//! From samples and present figures to a report: what is measured, and which of it is a finding.

use std::sync::Arc;
use std::time::Duration;

use super::finding::{Figure, Finding, Kind, Resource};
use super::process::ProcessFigures;
use super::report::{CollectionReport, ProcessReport, ResourceUsage};
use super::sample::{Ring, Sample};
use super::thresholds::{Severity, Thresholds};
use crate::stats::{CollectionKind, Usage};

/// Gathers findings about the process or one collection.
pub(super) struct Judge<'a> {
    pub(super) thresholds: &'a Thresholds,
    pub(super) findings: &'a mut Vec<Finding>,
}

impl Judge<'_> {
    /// The process, by its present figures and its samples.
    pub(super) fn process(
        &mut self,
        now: ProcessFigures,
        ring: &Ring<ProcessFigures>,
    ) -> ProcessReport {
        let min_samples = self.thresholds.min_samples;
        let growth = ring.growth(min_samples, |figures| figures.memory_bytes);
        let memory = now
            .memory_bytes
            .map(|used| ResourceUsage::new(used, now.memory_limit_bytes, growth));
        let growth_of_files = ring.growth(min_samples, |figures| figures.open_files);
        let open_files = now
            .open_files
            .map(|used| ResourceUsage::new(used, now.open_files_limit, growth_of_files));

        self.of_usage(None, Resource::Memory, memory);
        self.of_usage(None, Resource::OpenFiles, open_files);
        if let Some(growth) = memory.and_then(|memory| memory.growth_per_minute) {
            let severity = self.thresholds.of_growth(growth);
            self.found(
                None,
                Kind::MemoryGrowth,
                severity,
                Figure::BytesPerMinute(growth),
            );
        }
        ProcessReport { memory, open_files }
    }

    /// A collection, by its present statistics and its samples.
    pub(super) fn collection(
        &mut self,
        name: &Arc<str>,
        usage: Usage,
        ring: &Ring<Sample>,
    ) -> CollectionReport {
        let now = Sample::from(&usage);
        let growth = |figure: fn(&Sample) -> u64| {
            ring.growth(self.thresholds.min_samples, |s| Some(figure(s)))
        };
        let expiry = expiry(&usage, ring);
        let entries = ResourceUsage::new(
            now.len,
            Some(usage.max_entries as u64),
            growth(|sample| sample.len),
        )
        .until(expiry);
        let weight = usage.max_weight.map(|max| {
            ResourceUsage::new(now.weight, Some(max), growth(|s| s.weight)).until(expiry)
        });
        let in_flight = usage.max_in_flight.map(|max| {
            ResourceUsage::new(
                now.in_flight,
                Some(max as u64),
                growth(|sample| sample.in_flight),
            )
        });

        let of = Some(name);
        if usage.kind != CollectionKind::Cache || !self.thresholds.caches_may_be_full {
            self.of_usage(of, Resource::Entries, Some(entries));
            self.of_usage(of, Resource::Weight, weight);
        }
        self.of_usage(of, Resource::InFlight, in_flight);
        self.of_counters(of, &usage, now, ring);
        CollectionReport {
            name: Arc::clone(name),
            usage,
            entries,
            weight,
            in_flight,
        }
    }

    fn of_usage(
        &mut self,
        collection: Option<&Arc<str>>,
        of: Resource,
        usage: Option<ResourceUsage>,
    ) {
        let Some(usage) = usage else { return };
        if let Some(percent) = usage.percent() {
            let severity = self.thresholds.of_use(percent);
            self.found(
                collection,
                Kind::Use(of),
                severity,
                Figure::Percent(percent),
            );
        }
        if let Some(left) = usage.time_to_limit {
            let severity = self.thresholds.of_time_left(left);
            self.found(
                collection,
                Kind::TimeLeft(of),
                severity,
                Figure::TimeLeft(left),
            );
        }
    }

    fn of_counters(
        &mut self,
        collection: Option<&Arc<str>>,
        usage: &Usage,
        now: Sample,
        ring: &Ring<Sample>,
    ) {
        // Eviction is what a cache does when it is full.
        if usage.kind == CollectionKind::Dedup
            && let Some((kept, ttl)) = ring.shortest_window(now).zip(usage.ttl)
        {
            let severity = self.thresholds.of_window(kept, ttl);
            self.found(
                collection,
                Kind::WindowShortened,
                severity,
                Figure::Window { kept, ttl },
            );
        }
        let rejected = ring.rise(now.rejected, |sample| sample.rejected);
        if rejected >= self.thresholds.rejected_warning {
            self.found(
                collection,
                Kind::Rejected,
                Severity::Warning,
                Figure::Count(rejected),
            );
        }
        let open =
            ring.rise(now.failed, |sample| sample.failed) + usage.open_breakers.unwrap_or(0) as u64;
        if open > 0 {
            self.found(
                collection,
                Kind::BreakersOpen,
                Severity::Warning,
                Figure::Count(open),
            );
        }
    }

    fn found(
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

/// When entries will begin to expire, if they can, and did not do so throughout the window: until then growth is but
/// filling up.
fn expiry(usage: &Usage, ring: &Ring<Sample>) -> Option<Duration> {
    let max_age = usage
        .ttl
        .filter(|_| !ring.rises_throughout(|sample| sample.expired))?;
    Some(max_age.saturating_sub(usage.oldest_entry_age.unwrap_or_default()))
}
