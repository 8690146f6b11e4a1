//! [`Monitor`]: use, growth and findings of the process and its collections, before the kernel ends the process.
//!
//! ```
//! use leakproof::DedupSet;
//! use leakproof::monitor::{Monitor, Severity};
//! use std::time::Duration;
//!
//! let seen = DedupSet::<str>::new(1_000_000, Duration::from_secs(24 * 3600));
//!
//! let monitor = Monitor::builder()
//!     .sample_every(Duration::from_secs(60)) // in the background
//!     .on_change(|change| eprintln!("{change}")) // once if a finding appears, worsens or ends
//!     .build()?;
//! monitor.watch("message_dedup", &seen);
//!
//! let report = monitor.report(); // for a health endpoint: JSON with the feature `serde`
//! println!("{report}"); // a table
//! if report.severity() == Severity::Critical {
//!     eprintln!("needs attention now: {:?}", report.findings); // raise an alert
//! }
//! # assert_eq!(report.collections.len(), 1);
//! # Ok::<(), leakproof::BuildError>(())
//! ```
//!
//! Raise an alert if a finding is critical. Answer a readiness probe with 503 only if it is one of
//! the process: a flood fills the collections of all replicas at once. Do not fail a liveness
//! probe. A restart forgets every id, so redelivered messages are handled again.
//!
//! # Metrics
//!
//! With the feature `metrics`, every sample and [`Monitor`]`::publish` set gauges and counters
//! through the facade [`metrics`](https://docs.rs/metrics). The application chooses the recorder
//! and may install it at any time. The label `collection` is the name under which a collection is
//! watched, so use a small and fixed set of names.
//!
//! | series | meaning |
//! | --- | --- |
//! | `leakproof_entries`, `leakproof_max_entries`, `leakproof_high_water` | live entries, their bound, and the most so far |
//! | `leakproof_oldest_entry_age_seconds`, `leakproof_ttl_seconds`, `leakproof_idle_timeout_seconds` | age of the oldest entry, and its bounds |
//! | `leakproof_weight`, `leakproof_max_weight` | weight of the entries; for ids, bytes |
//! | `leakproof_shortest_window_seconds` | age of the youngest id that a bound evicted |
//! | `leakproof_in_flight`, `leakproof_max_in_flight`, `leakproof_open_breakers` | claims in flight, open circuit breakers |
//! | `leakproof_inserted_total`, `leakproof_evicted_total`, `leakproof_rejected_total`, … | every counter of the collection's statistics |
//! | `leakproof_watched` | 1 while a collection is watched under the name |
//! | `leakproof_finding_severity`, by `collection` (absent for the process) and `kind` ([`Kind::as_str`]) | 1 notice, 2 warning, 3 critical |
//! | `leakproof_severity` | severity of the most severe finding, 0 without findings |
//! | `leakproof_process_resident_memory_bytes`, `leakproof_process_memory_limit_bytes`, `leakproof_process_open_fds`, `leakproof_process_max_fds` | the process; `+Inf` means no limit |
//! | `leakproof_monitor_panics_total` | panics that the monitor caught, including those of the recorder |
//!
//! A figure that does not exist has no series. A gauge whose subject disappears is set to zero
//! once: a dropped or unwatched collection, a finding that ended, the oldest age of an empty
//! collection. Counters keep their values. Another collection that is watched under the same name
//! continues from there, for up to 100 names that are no longer watched. Dropping a monitor leaves
//! its series unchanged. Two monitors that watch the same name write to the same series.
//!
//! The monitor holds no lock while it calls the recorder. A panic of the recorder ends that
//! publication; the monitor catches and counts it.

mod alerts;
mod builder;
mod cgroup;
mod evaluate;
mod finding;
#[cfg(feature = "serde")]
mod json;
mod process;
#[cfg(feature = "metrics")]
mod prometheus;
mod report;
mod samples;
mod table;
#[cfg(test)]
mod tests;
mod thresholds;
mod trend;
mod watch_list;

use std::cmp::Reverse;
use std::fmt;
use std::sync::Arc;

use crate::clock::Clock;
use crate::panic::catch_user_panic;
use crate::stats::Usage;
use crate::sweep::{Sweep, Swept, Watch};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};
use alerts::Alerts;
pub use alerts::Change;
pub use builder::MonitorBuilder;
use builder::{OnChange, ReadProcess};
use evaluate::Evaluator;
pub use finding::{Figure, Finding, Kind, Resource};
pub use process::ProcessFigures;
#[cfg(feature = "metrics")]
use prometheus::Publisher;
pub use report::{CollectionReport, ProcessReport, Report, ResourceUsage};
use samples::{Sample, Samples};
pub use thresholds::{Severity, Thresholds, UseThresholds};
use watch_list::{WatchList, Watched};

/// Observes collections and the process: use of their bounds, growth, and the time until a bound is
/// reached.
///
/// The monitor keeps a bounded number of samples, taken in the background
/// ([`sample_every`](MonitorBuilder::sample_every)) or by calls of [`sample`](Self::sample). From
/// them it makes a [`Report`] with the statistics of each collection, the memory and open files of
/// the process, their growth, and [`Finding`]s by the [`Thresholds`].
///
/// Growth is the Theil–Sen slope of the samples, the median of the slopes between all pairs (Sen
/// 1968). It counts only as long as floor and ceiling of the samples rise with it. Noise, outliers,
/// a single jump and the sawtooth of an allocator are therefore not reported as a leak. Growth is
/// reported from 10 samples on. A leak that begins after a quiet time is reported within half a
/// window.
///
/// # Cost
///
/// Collections do no work for a monitor until a sample, which locks each shard once. The samples of
/// a collection take about 6 kB. A sample takes some hundreds of microseconds for the process, and
/// 10 to 100 microseconds for each collection whose figures change. With 500 samples instead of 60
/// it takes one or two milliseconds for each.
///
/// # Example
///
/// ```
/// use leakproof::ManualClock;
/// use leakproof::monitor::{Kind, Monitor, ProcessFigures, Severity};
/// use std::time::Duration;
///
/// // A process that leaks 100 MB a minute, sampled once a minute.
/// let time = ManualClock::new();
/// let clock = time.clock();
/// let leaking = move || ProcessFigures {
///     memory_bytes: Some(1_000_000_000 + clock.now().as_secs() / 60 * 100_000_000),
///     ..ProcessFigures::default()
/// };
/// let monitor = Monitor::builder().process(leaking).memory_limit(8_000_000_000).clock(&time).build()?;
/// for _ in 0..30 {
///     monitor.sample();
///     time.advance(Duration::from_secs(60));
/// }
///
/// let report = monitor.report();
/// let memory = report.process.memory.unwrap();
/// assert_eq!(memory.growth_per_minute, Some(100_000_000.0));
/// assert_eq!(memory.time_to_limit, Some(Duration::from_secs(40 * 60)));
/// let leak = report.findings.iter().find(|finding| finding.kind == Kind::MemoryGrowth).unwrap();
/// assert_eq!(leak.severity, Severity::Warning);
/// assert_eq!(leak.to_string(), "warning: process: active leak, 100.0 MB a minute");
/// # Ok::<(), leakproof::BuildError>(())
/// ```
/// Clones are handles on the same monitor, which ends with the last of them.
#[derive(Clone)]
pub struct Monitor {
    inner: Arc<Inner>,
}

/// The state of a monitor, which the background thread holds weakly.
struct Inner {
    thresholds: Thresholds,
    max_samples: usize,
    memory_limit: Option<u64>,
    read_process: ReadProcess,
    on_change: Option<OnChange>,
    clock: Clock,
    panics: AtomicU64,
    state: Mutex<State>,
}

struct State {
    watched: WatchList,
    process: Samples<ProcessFigures>,
    alerts: Alerts,
    #[cfg(feature = "metrics")]
    publisher: Publisher,
}

impl Monitor {
    /// Returns a builder with every option at its default.
    #[must_use]
    pub fn builder() -> MonitorBuilder {
        MonitorBuilder::new()
    }

    /// Watches a collection under a name, and takes its first sample.
    ///
    /// The collection replaces another one that is watched under the same name. The monitor holds
    /// it weakly and forgets it when its last handle is dropped.
    ///
    /// For a registry, the monitor watches the bound on all listeners, not the bound on each topic.
    /// A rejected registration on a full topic is the finding `rejected`. With
    /// [`Overflow::EvictOldest`](crate::Overflow) nothing is rejected; the counter `evicted` counts
    /// those evictions.
    ///
    /// ```
    /// use leakproof::DedupSet;
    /// use leakproof::monitor::Monitor;
    /// use std::sync::LazyLock;
    /// use std::time::Duration;
    ///
    /// static SEEN: LazyLock<DedupSet<str>> =
    ///     LazyLock::new(|| DedupSet::new(1_000_000, Duration::from_secs(24 * 3600)));
    ///
    /// let monitor = Monitor::builder().build()?;
    /// monitor.watch("message_dedup", &*SEEN);
    /// assert_eq!(monitor.report().collections.len(), 1);
    ///
    /// monitor.watch("dropped", &DedupSet::<str>::new(1_000, Duration::from_secs(60)));
    /// assert_eq!(monitor.report().collections.len(), 1, "its only handle was dropped");
    /// # Ok::<(), leakproof::BuildError>(())
    /// ```
    pub fn watch(&self, name: &str, collection: &impl Watch) {
        let now = self.inner.clock.now();
        let collection = collection.downgrade_to_sweep();
        let mut samples = Samples::new(self.inner.max_samples);
        let usage = self.inner.catch(|| Some(collection.upgrade()?.usage()));
        if let Some(usage) = usage.flatten() {
            samples.push(now, Sample::from(&usage));
        }
        let mut state = self.inner.state.lock();
        // Watching the same collection again does not repeat its events.
        let same = state.watched.by_name(name);
        let same = same.filter(|watched| watched.collection.ptr_eq(&collection));
        let reported = same.map(|same| same.reported.clone()).unwrap_or_default();
        state.watched.insert(Watched {
            name: name.into(),
            collection,
            samples,
            reported,
        });
    }

    /// Stops watching the collection of a name, and returns `true` if there was one.
    pub fn unwatch(&self, name: &str) -> bool {
        self.inner.state.lock().watched.remove(name).is_some()
    }

    /// Takes a sample of every collection and of the process, reports changes to the callback, and
    /// returns a report.
    ///
    /// Call it at regular intervals, for example once a minute, unless `sample_every` is set.
    pub fn sample(&self) -> Report {
        self.inner.sample()
    }

    /// Returns a report of the present figures, with the growth over the samples. Takes no sample
    /// and calls no callback.
    #[must_use]
    pub fn report(&self) -> Report {
        self.inner.evaluate(false)
    }

    /// Publishes the present figures through the facade `metrics`, as each sample does, and returns
    /// them as a report.
    ///
    /// Call it in the handler of a scrape that needs fresh figures. See the [module
    /// documentation](self#metrics) for the names. If another thread publishes at the same time,
    /// this call publishes nothing. A call costs a report, and some tens of recorder calls for each
    /// collection.
    ///
    /// ```
    /// # use leakproof::DedupSet;
    /// # use leakproof::monitor::Monitor;
    /// # use std::time::Duration;
    /// // In `main`: metrics_exporter_prometheus::PrometheusBuilder::new().install_recorder()?
    /// # let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    /// # let handle = recorder.handle();
    /// # let _guard = metrics::set_default_local_recorder(&recorder);
    /// let seen = DedupSet::<str>::new(1_000_000, Duration::from_secs(24 * 3600));
    /// let monitor = Monitor::builder().build()?;
    /// monitor.watch("message_dedup", &seen);
    ///
    /// monitor.publish(); // then render the recorder's state
    /// assert!(handle.render().contains("leakproof_max_entries{collection=\"message_dedup\"} 1000000"));
    /// # Ok::<(), leakproof::BuildError>(())
    /// ```
    #[cfg(feature = "metrics")]
    #[cfg_attr(docsrs, doc(cfg(feature = "metrics")))]
    pub fn publish(&self) -> Report {
        self.inner.evaluate_and_publish(false)
    }
}

impl Inner {
    fn new(
        max_samples: usize,
        thresholds: Thresholds,
        memory_limit: Option<u64>,
        read_process: ReadProcess,
        on_change: Option<OnChange>,
        clock: Clock,
    ) -> Self {
        Self {
            thresholds,
            max_samples,
            memory_limit,
            read_process,
            on_change,
            clock,
            panics: AtomicU64::new(0),
            state: Mutex::new(State {
                watched: WatchList::default(),
                process: Samples::new(max_samples),
                alerts: Alerts::default(),
                #[cfg(feature = "metrics")]
                publisher: Publisher::default(),
            }),
        }
    }

    fn sample(&self) -> Report {
        #[cfg(feature = "metrics")]
        let report = self.evaluate_and_publish(true);
        #[cfg(not(feature = "metrics"))]
        let report = self.evaluate(true);
        self.report_limits(&report);
        self.report_changes();
        report
    }

    /// Reads all figures, then evaluates them. Keeps them as samples if `keep` is set.
    fn evaluate(&self, keep: bool) -> Report {
        let collections = {
            let mut state = self.state.lock();
            state.watched.remove_dropped();
            state.watched.collections()
        };
        // User code runs here, so no lock is held: the clock, the source of process figures,
        // collections from outside this crate, and the drop of a collection whose last handle is
        // the one of this function.
        let now = self.clock.now();
        let mut process = self.catch(|| (self.read_process)()).unwrap_or_default();
        process.memory_limit_bytes = self.memory_limit.or(process.memory_limit_bytes);
        let usage_of = |collection: Arc<dyn Sweep>| self.catch(move || collection.usage());
        let usages: Vec<(u64, Usage)> = collections
            .into_iter()
            .filter_map(|(number, collection)| Some((number, usage_of(collection)?)))
            .collect();

        let mut state = self.state.lock();
        let state = &mut *state;
        let mut findings = Vec::new();
        let mut evaluator = Evaluator {
            thresholds: &self.thresholds,
            findings: &mut findings,
        };
        // If several threads sample at once, only the latest sample is reported.
        let is_latest = keep && state.process.push(now, process);
        let process = evaluator.process(process, &state.process);
        let mut collections = Vec::new();
        for (number, usage) in usages {
            // Another thread may have unwatched the collection.
            let Some(watched) = state.watched.get_mut(number) else {
                continue;
            };
            if keep {
                watched.samples.push(now, Sample::from(&usage));
            }
            collections.push(evaluator.collection(&watched.name, usage, &watched.samples));
        }
        #[cfg(feature = "metrics")]
        state.publisher.add_counts(&state.watched, &collections);
        findings.sort_by_key(|finding| Reverse(finding.severity));
        if is_latest && self.has_audience() {
            state.alerts.update(&findings);
        }
        Report {
            window: state.process.window(),
            samples: state.process.len(),
            process,
            collections,
            findings,
            panics: self.panics.load(Ordering::Relaxed),
        }
    }

    /// Runs user code, and counts a panic.
    fn catch<R>(&self, work: impl FnOnce() -> R) -> Option<R> {
        let result = catch_user_panic(work);
        if result.is_none() {
            // Relaxed: the counter guards no other data.
            self.panics.fetch_add(1, Ordering::Relaxed);
        }
        result
    }
}

/// A sample is a sweep that frees nothing, so the sweeper's thread takes it at intervals.
impl Sweep for Inner {
    fn sweep_some(&self, _: usize) -> Swept {
        self.sample();
        Swept::default()
    }

    fn usage(&self) -> Usage {
        Usage::default()
    }
}

impl fmt::Debug for Monitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.inner.state.lock();
        let names: Vec<_> = state.watched.names().collect();
        f.debug_struct("Monitor")
            .field("watched", &names)
            .field("samples", &state.process.len())
            .field("thresholds", &self.inner.thresholds)
            .finish_non_exhaustive()
    }
}
