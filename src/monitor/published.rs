//! `Published`: what is told to the facade `metrics`, and what has to be remembered for that.
//!
//! Plans are made under the monitor's lock, and carried out while none is held: a recorder is a user's code. One thread at a
//! time publishes, from the figures it read since, so that no older figure ever takes the place of a newer one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};

use metrics::{Label, Unit};

use super::finding::Kind;
use super::report::{CollectionReport, Report, ResourceUsage};
use super::{Inner, Watched};
use crate::stats::Usage;
use crate::sweep::Sweep;

/// Names that are not watched any more of which the counters are kept, so that they go on where they were.
const FORMER: usize = 100;

#[derive(Default)]
pub(super) struct Published {
    totals: BTreeMap<Arc<str>, Totals>,
    /// The gauges that stand at what was published last. Those that nothing is known of any more have gone to zero.
    gauges: BTreeSet<Series>,
    /// Whether somebody is publishing.
    busy: bool,
}

/// The counters of a name, across the collections that were watched under it.
#[derive(Default)]
struct Totals {
    /// The collection that is being counted.
    of: Option<Weak<dyn Sweep>>,
    counters: BTreeMap<&'static str, Total>,
}

#[derive(Clone, Copy, Default)]
struct Total {
    /// Of the collections before.
    before: u64,
    /// The most that the present one has told: a figure that was read earlier may come later.
    now: u64,
}

/// A name with its labels.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Series {
    name: String,
    collection: Option<Arc<str>>,
    kind: Option<Kind>,
}

/// What the recorder is to be told.
struct Update {
    series: Series,
    /// Unit and description; none where it has been described before.
    about: Option<(Unit, &'static str)>,
    value: Value,
}

enum Value {
    Gauge(f64),
    Counter(u64),
}

impl Published {
    /// Takes note of what collections have counted. Where another one was watched under the name before, they count on from
    /// there.
    pub(super) fn note(&mut self, watched: &[Watched], reports: &[CollectionReport]) {
        for report in reports {
            let Some(watched) = watched.iter().find(|watched| watched.name == report.name) else {
                continue;
            };
            let totals = self.totals.entry(Arc::clone(&report.name)).or_default();
            if totals
                .of
                .as_ref()
                .is_none_or(|of| !of.ptr_eq(&watched.collection))
            {
                totals.of = Some(Weak::clone(&watched.collection));
                for total in totals.counters.values_mut() {
                    *total = Total {
                        before: total.sum(),
                        now: 0,
                    };
                }
            }
            for counter in &report.usage.counters {
                let total = totals.counters.entry(counter.name).or_default();
                total.now = total.now.max(counter.value);
            }
        }
        let mut over = self.totals.len().saturating_sub(watched.len() + FORMER);
        if over > 0 {
            self.totals.retain(|name, _| {
                let goes = over > 0 && watched.iter().all(|watched| watched.name != *name);
                over -= usize::from(goes);
                !goes
            });
        }
    }

    /// Whether the caller is the one who is to publish.
    fn begin(&mut self) -> bool {
        !std::mem::replace(&mut self.busy, true)
    }

    /// All that is to be published of a report.
    fn plan(&self, report: &Report) -> Plan {
        let mut plan = Plan::default();
        plan.process(report);
        for collection in &report.collections {
            plan.collection(&collection.name, &collection.usage);
            let counters = self
                .totals
                .get(&collection.name)
                .map(|totals| &totals.counters);
            for counter in &collection.usage.counters {
                let total = counters.and_then(|counters| counters.get(counter.name));
                let total = total.copied().unwrap_or_default().sum();
                plan.counter(
                    &format!("{}_total", counter.name),
                    Some(&collection.name),
                    counter.description,
                    total,
                );
            }
        }
        for series in self.gauges.difference(&plan.gauges) {
            plan.updates.push(Update {
                series: series.clone(),
                about: None,
                value: Value::Gauge(0.0),
            });
        }
        plan
    }

    /// Takes note of what was published; or, where the recorder panicked, of what may have been.
    fn end(&mut self, gauges: BTreeSet<Series>, is_all: bool) {
        self.busy = false;
        if is_all {
            self.gauges = gauges;
        } else {
            self.gauges.extend(gauges);
        }
    }
}

impl Total {
    fn sum(self) -> u64 {
        self.before.saturating_add(self.now)
    }
}

#[derive(Default)]
struct Plan {
    updates: Vec<Update>,
    /// The gauges among them that tell what is known.
    gauges: BTreeSet<Series>,
}

impl Plan {
    fn process(&mut self, report: &Report) {
        let mut usage = |usage: Option<ResourceUsage>,
                         unit,
                         used: (&str, &'static str),
                         limit: (&str, &'static str)| {
            let Some(usage) = usage else { return };
            self.gauge(used.0, None, None, unit, used.1, usage.used as f64);
            // Any share of no limit is zero.
            self.gauge(
                limit.0,
                None,
                None,
                unit,
                limit.1,
                usage.limit.map_or(f64::INFINITY, |limit| limit as f64),
            );
        };
        usage(
            report.process.memory,
            Unit::Bytes,
            (
                "process_resident_memory_bytes",
                "Resident memory of the process",
            ),
            (
                "process_memory_limit_bytes",
                "The limit on memory, that of the control group unless given",
            ),
        );
        usage(
            report.process.open_files,
            Unit::Count,
            ("process_open_fds", "Open file descriptors of the process"),
            ("process_max_fds", "The limit on open file descriptors"),
        );
        let severity =
            "The severity of the most severe finding: 0 normal, 1 notice, 2 warning, 3 critical";
        self.gauge(
            "severity",
            None,
            None,
            Unit::Count,
            severity,
            f64::from(report.severity() as u8),
        );
        let severity =
            "The severity of a finding: 1 notice, 2 warning, 3 critical, 0 when it has ended";
        for finding in &report.findings {
            let (of, kind) = (finding.collection.as_ref(), Some(finding.kind));
            self.gauge(
                "finding_severity",
                of,
                kind,
                Unit::Count,
                severity,
                f64::from(finding.severity as u8),
            );
        }
        self.counter(
            "monitor_panics_total",
            None,
            "Panics that the monitor contained",
            report.panics,
        );
    }

    fn collection(&mut self, name: &Arc<str>, usage: &Usage) {
        let what = "Whether something is watched under the name";
        self.gauge("watched", Some(name), None, Unit::Count, what, 1.0);
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
        what: &'static str,
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
            about: Some((unit, what)),
            value: Value::Gauge(value),
        });
    }

    fn counter(
        &mut self,
        name: &str,
        collection: Option<&Arc<str>>,
        what: &'static str,
        count: u64,
    ) {
        let series = Series {
            name: format!("leakproof_{name}"),
            collection: collection.cloned(),
            kind: None,
        };
        self.updates.push(Update {
            series,
            about: Some((Unit::Count, what)),
            value: Value::Counter(count),
        });
    }
}

impl Update {
    /// Tells the recorder, of whom nothing is kept: another one may be installed by the next time.
    fn publish(self) {
        let Self {
            series:
                Series {
                    name,
                    collection,
                    kind,
                },
            about,
            value,
        } = self;
        let collection = collection.map(|name| Label::new("collection", name));
        let kind = kind.map(|kind| Label::new("kind", kind.as_str()));
        let labels: Vec<Label> = collection.into_iter().chain(kind).collect();
        match value {
            Value::Gauge(value) => {
                if let Some((unit, what)) = about {
                    metrics::describe_gauge!(name.clone(), unit, what);
                }
                metrics::gauge!(name, labels).set(value);
            }
            Value::Counter(count) => {
                if let Some((unit, what)) = about {
                    metrics::describe_counter!(name.clone(), unit, what);
                }
                metrics::counter!(name, labels).absolute(count);
            }
        }
    }
}

impl Inner {
    /// Looks, and publishes what there is to see, unless somebody else is at it.
    pub(super) fn look_and_publish(&self, keep: bool) -> Report {
        let is_first = self.state.lock().published.begin();
        let report = self.look(keep);
        if is_first {
            let Plan { updates, gauges } = self.state.lock().published.plan(&report);
            let published = self.contained(|| updates.into_iter().for_each(Update::publish));
            self.state.lock().published.end(gauges, published.is_some());
        }
        report
    }
}
