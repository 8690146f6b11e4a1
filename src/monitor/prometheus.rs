//! `Publisher`: sets gauges and counters through the facade `metrics`.
//!
//! Updates are planned under the monitor's lock and carried out without it, because a recorder is
//! user code. One thread publishes at a time, from figures that it reads after it became the
//! publisher. An older figure therefore never replaces a newer one.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::replace;
use std::sync::{Arc, Weak};

use metrics::{Label, Unit};

use super::Inner;
use super::finding::Kind;
use super::report::{CollectionReport, Report, ResourceUsage};
use super::watch_list::WatchList;
use crate::stats::Usage;
use crate::sweep::Sweep;

/// The number of names that are no longer watched whose counts are kept, so that a new collection
/// continues from there.
const MAX_FORMER_NAMES: usize = 100;

#[derive(Default)]
pub(super) struct Publisher {
    totals: BTreeMap<Arc<str>, Totals>,
    /// The gauges that were last set to a known figure. If one disappears, it is set to zero.
    gauges: BTreeSet<Series>,
    is_publishing: bool,
}

/// The counters of a name, summed over all collections that were watched under it.
#[derive(Default)]
struct Totals {
    /// The present collection.
    collection: Option<Weak<dyn Sweep>>,
    counters: BTreeMap<&'static str, Total>,
}

#[derive(Clone, Copy, Default)]
struct Total {
    /// The count of former collections.
    before: u64,
    /// The highest known count of the present collection. A count that was read earlier may arrive
    /// later.
    present: u64,
}

/// A name with its labels.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Series {
    name: String,
    collection: Option<Arc<str>>,
    kind: Option<Kind>,
}

/// One call of the recorder.
struct Update {
    series: Series,
    /// The unit and description, or `None` if the series was described before.
    description: Option<(Unit, &'static str)>,
    value: Value,
}

enum Value {
    Gauge(f64),
    Counter(u64),
}

impl Publisher {
    /// Adds the counts of collections to the totals of their names.
    pub(super) fn add_counts(&mut self, watched: &WatchList, reports: &[CollectionReport]) {
        for report in reports {
            let Some(watched) = watched.by_name(&report.name) else {
                continue;
            };
            let totals = self.totals.entry(Arc::clone(&report.name)).or_default();
            let collection = &watched.collection;
            let is_same = |former: &Weak<dyn Sweep>| former.ptr_eq(collection);
            if !totals.collection.as_ref().is_some_and(is_same) {
                totals.collection = Some(Weak::clone(collection));
                for total in totals.counters.values_mut() {
                    *total = Total {
                        before: total.sum(),
                        present: 0,
                    };
                }
            }
            for counter in &report.usage.counters {
                let total = totals.counters.entry(counter.name).or_default();
                total.present = total.present.max(counter.value);
            }
        }
        let mut excess = self
            .totals
            .len()
            .saturating_sub(watched.len() + MAX_FORMER_NAMES);
        if excess > 0 {
            self.totals.retain(|name, _| {
                let is_removed = excess > 0 && watched.by_name(name).is_none();
                excess -= usize::from(is_removed);
                !is_removed
            });
        }
    }

    /// Returns `true` if the caller becomes the publisher.
    fn begin(&mut self) -> bool {
        !replace(&mut self.is_publishing, true)
    }

    /// Returns all updates for a report.
    fn plan(&self, report: &Report) -> Plan {
        let mut plan = Plan::default();
        plan.process(report);
        for collection in &report.collections {
            plan.collection(&collection.name, &collection.usage);
            let totals = self.totals.get(&collection.name);
            for counter in &collection.usage.counters {
                let total = totals.and_then(|totals| totals.counters.get(counter.name));
                plan.counter(
                    &format!("{}_total", counter.name),
                    Some(&collection.name),
                    counter.description,
                    total.copied().unwrap_or_default().sum(),
                );
            }
        }
        for series in self.gauges.difference(&plan.gauges) {
            plan.updates.push(Update {
                series: series.clone(),
                description: None,
                value: Value::Gauge(0.0),
            });
        }
        plan
    }

    /// Ends the publication. If the recorder panicked, any of the gauges may have been set.
    fn end(&mut self, gauges: BTreeSet<Series>, is_complete: bool) {
        self.is_publishing = false;
        if is_complete {
            self.gauges = gauges;
        } else {
            self.gauges.extend(gauges);
        }
    }
}

impl Total {
    fn sum(self) -> u64 {
        self.before.saturating_add(self.present)
    }
}

/// The updates of one publication.
#[derive(Default)]
struct Plan {
    updates: Vec<Update>,
    /// The gauges among the updates that have a known figure.
    gauges: BTreeSet<Series>,
}

impl Plan {
    fn process(&mut self, report: &Report) {
        self.resource(
            report.process.memory,
            Unit::Bytes,
            (
                "process_resident_memory_bytes",
                "Resident memory of the process",
            ),
            (
                "process_memory_limit_bytes",
                "Memory limit of the process, by default that of its control group",
            ),
        );
        self.resource(
            report.process.open_files,
            Unit::Count,
            ("process_open_fds", "Open file descriptors of the process"),
            ("process_max_fds", "Limit on open file descriptors"),
        );
        self.gauge(
            "severity",
            None,
            None,
            Unit::Count,
            "Severity of the most severe finding: 0 normal, 1 notice, 2 warning, 3 critical",
            f64::from(report.severity() as u8),
        );
        for finding in &report.findings {
            self.gauge(
                "finding_severity",
                finding.collection.as_ref(),
                Some(finding.kind),
                Unit::Count,
                "Severity of a finding: 1 notice, 2 warning, 3 critical, 0 ended",
                f64::from(finding.severity as u8),
            );
        }
        self.counter(
            "monitor_panics_total",
            None,
            "Panics that the monitor caught",
            report.panics,
        );
    }

    fn resource(
        &mut self,
        usage: Option<ResourceUsage>,
        unit: Unit,
        (used_name, used): (&str, &'static str),
        (limit_name, limit): (&str, &'static str),
    ) {
        let Some(usage) = usage else { return };
        self.gauge(used_name, None, None, unit, used, usage.used as f64);
        // With an infinite limit, a ratio of use to limit is zero.
        let max = usage.limit.map_or(f64::INFINITY, |limit| limit as f64);
        self.gauge(limit_name, None, None, unit, limit, max);
    }

    fn collection(&mut self, name: &Arc<str>, usage: &Usage) {
        let description = "1 while a collection is watched under the name";
        self.gauge("watched", Some(name), None, Unit::Count, description, 1.0);
        let count = |count: usize| Some(count as f64);
        let counts = [
            ("entries", "Live entries", count(usage.len)),
            (
                "max_entries",
                "The bound on live entries",
                count(usage.max_entries),
            ),
            (
                "high_water",
                "The most entries that were ever held at once",
                count(usage.high_water),
            ),
            (
                "weight",
                "The weight of the live entries: of ids, their bytes",
                usage.weight.map(|weight| weight as f64),
            ),
            (
                "max_weight",
                "The bound on the weight",
                usage.max_weight.map(|weight| weight as f64),
            ),
            (
                "in_flight",
                "Claims that are neither committed nor released",
                usage.in_flight.and_then(count),
            ),
            (
                "max_in_flight",
                "The bound on claims in flight",
                usage.max_in_flight.and_then(count),
            ),
            (
                "open_breakers",
                "Listeners whose circuit breaker is open",
                usage.open_breakers.and_then(count),
            ),
        ];
        for (gauge, description, value) in counts {
            if let Some(value) = value {
                self.gauge(gauge, Some(name), None, Unit::Count, description, value);
            }
        }
        let times = [
            (
                "oldest_entry_age_seconds",
                "The age of the oldest live entry",
                usage.oldest_entry_age,
            ),
            (
                "ttl_seconds",
                "The time to live since the last write",
                usage.ttl,
            ),
            (
                "idle_timeout_seconds",
                "The time to live since the last access",
                usage.idle_timeout,
            ),
            (
                "shortest_window_seconds",
                "The age of the youngest id that a bound evicted",
                usage.shortest_window,
            ),
        ];
        for (gauge, description, time) in times {
            if let Some(time) = time {
                let seconds = time.as_secs_f64();
                self.gauge(gauge, Some(name), None, Unit::Seconds, description, seconds);
            }
        }
    }

    fn gauge(
        &mut self,
        name: &str,
        collection: Option<&Arc<str>>,
        kind: Option<Kind>,
        unit: Unit,
        description: &'static str,
        value: f64,
    ) {
        let series = Series {
            name: format!("leakproof_{name}"),
            collection: collection.cloned(),
            kind,
        };
        self.gauges.insert(series.clone());
        self.updates.push(Update {
            series,
            description: Some((unit, description)),
            value: Value::Gauge(value),
        });
    }

    fn counter(
        &mut self,
        name: &str,
        collection: Option<&Arc<str>>,
        description: &'static str,
        count: u64,
    ) {
        let series = Series {
            name: format!("leakproof_{name}"),
            collection: collection.cloned(),
            kind: None,
        };
        self.updates.push(Update {
            series,
            description: Some((Unit::Count, description)),
            value: Value::Counter(count),
        });
    }
}

impl Update {
    /// Calls the recorder. No handle is kept, because another recorder may be installed by the next
    /// publication.
    fn publish(self) {
        let Self {
            series:
                Series {
                    name,
                    collection,
                    kind,
                },
            description,
            value,
        } = self;
        let collection = collection.map(|name| Label::new("collection", name));
        let kind = kind.map(|kind| Label::new("kind", kind.as_str()));
        let labels: Vec<Label> = collection.into_iter().chain(kind).collect();
        match value {
            Value::Gauge(value) => {
                if let Some((unit, text)) = description {
                    metrics::describe_gauge!(name.clone(), unit, text);
                }
                metrics::gauge!(name, labels).set(value);
            }
            Value::Counter(count) => {
                if let Some((unit, text)) = description {
                    metrics::describe_counter!(name.clone(), unit, text);
                }
                metrics::counter!(name, labels).absolute(count);
            }
        }
    }
}

impl Inner {
    /// Evaluates all figures and publishes them, unless another thread is publishing.
    pub(super) fn evaluate_and_publish(&self, keep: bool) -> Report {
        let is_publisher = self.state.lock().publisher.begin();
        let report = self.evaluate(keep);
        if is_publisher {
            let Plan { updates, gauges } = self.state.lock().publisher.plan(&report);
            let published = self.catch(|| updates.into_iter().for_each(Update::publish));
            self.state.lock().publisher.end(gauges, published.is_some());
        }
        report
    }
}
