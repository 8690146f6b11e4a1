//! Seeing a leak before the kernel does: [`Monitor`], its reports, and what it makes of them.
//!
//! ```
//! use leakproof::{DedupSet, Monitor};
//! use leakproof::monitor::Severity;
//! use std::{sync::Arc, time::Duration};
//!
//! let seen = DedupSet::<str>::new(1_000_000, Duration::from_secs(24 * 3600));
//!
//! let monitor = Monitor::builder()
//!     .sample_every(Duration::from_secs(60)) // in the background
//!     .on_change(|change| eprintln!("{change}")) // once when a finding appears, worsens or ends
//!     .build()?;
//! monitor.watch("message_dedup", &seen);
//!
//! let report = monitor.report(); // for a health endpoint: as JSON with the feature `serde`
//! println!("{report}"); // a table
//! let status = if report.severity() < Severity::Critical { 200 } else { 503 }; // for a readiness probe
//! # assert_eq!(report.collections.len(), 1);
//! # assert!([200, 503].contains(&status));
//! # Ok::<(), leakproof::BuildError>(())
//! ```
//!
//! Answer 503 to a readiness probe, or raise an alert, but do not fail a liveness probe: a restart forgets every id, and
//! what is delivered again is then handled again.
//!
//! # Figures for Prometheus and others
//!
//! With the feature `metrics`, every sample, and [`Monitor`]`::publish`, sets gauges and counters through the facade
//! [`metrics`](https://docs.rs/metrics): the application chooses the recorder, and may install it at any time. Their names
//! are those that the statistics have as JSON, in Prometheus' way; the label `collection` is the name that something is watched
//! under, so have a fixed few of them.
//!
//! | series | what it tells |
//! | --- | --- |
//! | `leakproof_entries`, `leakproof_max_entries`, `leakproof_high_water` | live entries, their bound, the most there were |
//! | `leakproof_oldest_entry_age_seconds`, `leakproof_ttl_seconds`, `leakproof_max_age_seconds`, `leakproof_max_idle_seconds` | ages and their bounds |
//! | `leakproof_weight`, `leakproof_max_weight` | what the entries weigh; of ids, bytes |
//! | `leakproof_shortest_window_seconds` | the least age of an id that was evicted while live |
//! | `leakproof_in_flight`, `leakproof_max_in_flight`, `leakproof_silenced` | claims at work, silenced listeners |
//! | `leakproof_inserted_total`, `leakproof_evicted_total`, `leakproof_rejected_total`, … | every counter of the collection's `Stats` |
//! | `leakproof_watched` | 1 while something is watched under the name |
//! | `leakproof_finding_severity`, by `collection` (none: the process) and `kind` ([`Kind::as_str`]) | 1 notice, 2 warning, 3 critical |
//! | `leakproof_severity` | that of the most severe finding, 0 where there is none |
//! | `leakproof_process_resident_memory_bytes`, `leakproof_process_memory_limit_bytes`, `leakproof_process_open_fds`, `leakproof_process_max_fds` | the process; `+Inf`: there is no limit |
//! | `leakproof_monitor_panics_total` | panics that the monitor contained, those of the recorder included |
//!
//! A figure that there is not has no series: a set of ids that never evicted one has no shortest window. What there was
//! and is no more goes to zero, once: gauges of a collection that is gone or unwatched, a finding that has ended, the
//! oldest age of what is empty. Counters stay where they are; another collection that is watched under the name counts
//! on from there (of the names that are not watched any more, the counts of 100 are kept). A monitor that is dropped leaves
//! its series as they are. Two monitors that watch under the same name write the same series.
//!
//! No lock is held while the recorder is called. A panic in it ends that publication, and is contained and counted.

mod builder;
mod cgroup;
mod finding;
mod judge;
mod process;
#[cfg(feature = "metrics")]
mod published;
mod report;
mod sample;
mod table;
mod telling;
mod thresholds;
mod trend;
mod units;

#[cfg(feature = "serde")]
mod json;

use std::fmt;
use std::sync::{Arc, Weak};

use crate::clock::Clock;
use crate::events::Reported;
use crate::panic::catch_user_panic;
use crate::stats::Usage;
use crate::sweep::{Sweep, Watch};
use crate::sweeper::Periodic;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};
pub use builder::MonitorBuilder;
use builder::{OnChange, Process};
pub use finding::{Figure, Finding, Kind, Resource};
use judge::Judge;
pub use process::ProcessFigures;
#[cfg(feature = "metrics")]
use published::Published;
pub use report::{CollectionReport, ProcessReport, Report, ResourceUsage};
use sample::{Ring, Sample};
pub use telling::Change;
use telling::Telling;
pub use thresholds::{Severity, Thresholds};

/// Watches collections and the process: how full, how fast they grow, and how long that can go on.
///
/// It keeps a bounded number of samples of each, taken in the background
/// ([`sample_every`](MonitorBuilder::sample_every)) or by hand ([`sample`](Self::sample)), and makes a [`Report`] of them:
/// each collection's statistics, the use of its bounds, growth per minute and the time until a bound is reached; the same of
/// the process's memory against the limit that is given or that its control group has, and of its open files; and as
/// [`Finding`]s what is not as it should be, by the [`Thresholds`].
///
/// Growth is the Theil–Sen slope of the samples (the median of the slopes between all pairs; Sen 1968), as long as
/// floor and ceiling of the samples rise with it from part to part of the window: so noise, a few outliers, a single jump
/// and the sawtooth of an allocator or collector do not pass for a leak. It is told once there are 10 samples. A leak that
/// begins after a quiet time is told at its rate within half a window. What has risen to a new height for half of the
/// window is growth, be it a leak or something that will fall again.
///
/// # Cost
///
/// Nothing where collections are used: a sample locks each shard once, as its statistics do, and looks at no entry. A
/// collection's samples take some 6 kB. A sample or report takes some hundreds of microseconds for the process, and some
/// tens for each collection; with 500 samples in place of 60, one or two milliseconds.
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
pub struct Monitor {
    inner: Arc<Inner>,
}

/// What a monitor consists of, so that the background thread can hold it weakly.
struct Inner {
    thresholds: Thresholds,
    samples: usize,
    memory_limit: Option<u64>,
    process: Process,
    on_change: Option<OnChange>,
    clock: Clock,
    panics: AtomicU64,
    state: Mutex<State>,
}

struct State {
    watched: Vec<Watched>,
    /// How many collections were ever watched: the next one's number.
    numbers: u64,
    process: Ring<ProcessFigures>,
    telling: Telling,
    #[cfg(feature = "metrics")]
    published: Published,
}

struct Watched {
    number: u64,
    name: Arc<str>,
    collection: Weak<dyn Sweep>,
    ring: Ring<Sample>,
    reported: Reported,
}

impl Monitor {
    /// All knobs.
    #[must_use]
    pub fn builder() -> MonitorBuilder {
        MonitorBuilder::new()
    }

    /// Watches a collection under a name, and takes its first sample. It is held weakly: one that is gone is forgotten.
    ///
    /// A collection that is watched under the name already makes way, with its samples.
    ///
    /// Pass the very `Arc` that your code uses, not a new one that ends with the statement, and keep it. Of a collection in
    /// a `static`, the `Arc` stands in the `static` too. A [`ListenerRegistry`](crate::ListenerRegistry) is a handle, but
    /// it is watched by an `Arc` of it all the same, and forgotten with that one, whatever clones of the handle there are.
    ///
    /// Of a registry's bounds it watches that on all listeners, not those on each topic. That a topic is full is told by the
    /// finding `rejected` alone, once a listener has been turned away; with [`Overflow::EvictOldest`](crate::Overflow)
    /// nobody is, and the counter `evicted` counts who made room.
    ///
    /// ```
    /// use leakproof::{DedupSet, Monitor};
    /// use std::sync::{Arc, LazyLock};
    /// use std::time::Duration;
    ///
    /// static SEEN: LazyLock<DedupSet<str>> =
    ///     LazyLock::new(|| DedupSet::new(1_000_000, Duration::from_secs(24 * 3600)));
    ///
    /// let monitor = Monitor::builder().build()?;
    /// monitor.watch("message_dedup", &*SEEN);
    /// assert_eq!(monitor.report().collections.len(), 1);
    ///
    /// monitor.watch("forgotten", &DedupSet::<str>::new(1_000, Duration::from_secs(60)));
    /// assert_eq!(monitor.report().collections.len(), 1, "its only handle was dropped");
    /// # Ok::<(), leakproof::BuildError>(())
    /// ```
    pub fn watch(&self, name: &str, collection: &impl Watch) {
        let now = self.inner.clock.now();
        let mut ring = Ring::new(self.inner.samples);
        let collection = collection.downgrade_to_sweep();
        let usage = self.inner.contained(|| Some(collection.upgrade()?.usage()));
        if let Some(usage) = usage.flatten() {
            ring.push(now, Sample::from(&usage));
        }
        let mut state = self.inner.state.lock();
        // Of the same collection it is no news.
        let is_same =
            |watched: &Watched| &*watched.name == name && watched.collection.ptr_eq(&collection);
        let same = state.watched.iter().find(|watched| is_same(watched));
        let reported = same.map_or_else(Reported::nothing, |same| same.reported.clone());
        state
            .watched
            .retain(|watched| &*watched.name != name && watched.collection.strong_count() > 0);
        state.numbers += 1;
        let number = state.numbers;
        state.watched.push(Watched {
            number,
            name: name.into(),
            collection,
            ring,
            reported,
        });
    }

    /// Stops watching the collection of a name; whether there was one.
    pub fn unwatch(&self, name: &str) -> bool {
        let mut state = self.inner.state.lock();
        let before = state.watched.len();
        state.watched.retain(|watched| &*watched.name != name);
        state.watched.len() < before
    }

    /// Takes a sample of every collection and of the process, tells the callback what has changed, and returns
    /// a report. For whoever samples by hand: at regular intervals, of a minute, say.
    pub fn sample(&self) -> Report {
        self.inner.sample()
    }

    /// How things stand now: present figures, and growth as of the samples. Takes no sample, and tells no callback.
    #[must_use]
    pub fn report(&self) -> Report {
        self.inner.look(false)
    }

    /// Publishes how things stand now through the facade `metrics`, as every sample does: for the handler of a scrape that
    /// wants fresh figures. Takes no sample, tells no callback, and returns what it published as a report.
    ///
    /// See the [module's documentation](self#figures-for-prometheus-and-others) for the names. Where another thread is
    /// publishing just then, its figures stand. It costs a report, and some tens of calls of the recorder for each
    /// collection; so does every sample.
    ///
    /// ```
    /// # use leakproof::{DedupSet, Monitor};
    /// # use std::{sync::Arc, time::Duration};
    /// // In `main`: metrics_exporter_prometheus::PrometheusBuilder::new().install_recorder()?
    /// # let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    /// # let handle = recorder.handle();
    /// # let _guard = metrics::set_default_local_recorder(&recorder);
    /// let seen = DedupSet::<str>::new(1_000_000, Duration::from_secs(24 * 3600));
    /// let monitor = Monitor::builder().build()?;
    /// monitor.watch("message_dedup", &seen);
    ///
    /// monitor.publish(); // then render what the recorder has
    /// assert!(handle.render().contains("leakproof_max_entries{collection=\"message_dedup\"} 1000000"));
    /// # Ok::<(), leakproof::BuildError>(())
    /// ```
    #[cfg(feature = "metrics")]
    #[cfg_attr(docsrs, doc(cfg(feature = "metrics")))]
    pub fn publish(&self) -> Report {
        self.inner.look_and_publish(false)
    }
}

impl Inner {
    fn new(
        samples: usize,
        thresholds: Thresholds,
        memory_limit: Option<u64>,
        process: Process,
        on_change: Option<OnChange>,
        clock: Clock,
    ) -> Self {
        let (process_ring, telling) = (Ring::new(samples), Telling::default());
        let state = State {
            watched: Vec::new(),
            numbers: 0,
            process: process_ring,
            telling,
            #[cfg(feature = "metrics")]
            published: Published::default(),
        };
        let (panics, state) = (AtomicU64::new(0), Mutex::new(state));
        Self {
            thresholds,
            samples,
            memory_limit,
            process,
            on_change,
            clock,
            panics,
            state,
        }
    }

    fn sample(&self) -> Report {
        #[cfg(feature = "metrics")]
        let report = self.look_and_publish(true);
        #[cfg(not(feature = "metrics"))]
        let report = self.look(true);
        self.tell_of_limits(&report);
        self.tell();
        report
    }

    /// Reads all figures, while no lock is held, and reports.
    fn look(&self, keep: bool) -> Report {
        let collections: Vec<(u64, Arc<dyn Sweep>)> = {
            let mut state = self.state.lock();
            state
                .watched
                .retain(|watched| watched.collection.strong_count() > 0);
            let alive = state
                .watched
                .iter()
                .filter_map(|watched| Some((watched.number, watched.collection.upgrade()?)));
            alive.collect()
        };
        let now = self.clock.now();
        let mut process = self.contained(|| (self.process)()).unwrap_or_default();
        process.memory_limit_bytes = self.memory_limit.or(process.memory_limit_bytes);
        // A handle may have become the last one: then the collection is dropped with it, contained as well.
        let stats_of = |collection: Arc<dyn Sweep>| self.contained(move || collection.usage());
        let stats = collections
            .into_iter()
            .filter_map(|(number, collection)| Some((number, stats_of(collection)?)));
        let stats: Vec<(u64, Usage)> = stats.collect();

        let mut state = self.state.lock();
        let state = &mut *state;
        let mut findings = Vec::new();
        let mut judge = Judge {
            thresholds: &self.thresholds,
            findings: &mut findings,
        };
        // Of samples by several threads, one that was overtaken is too late to be told of.
        let is_latest = keep && state.process.push(now, process);
        let process = judge.process(process, &state.process);
        let mut collections = Vec::new();
        for (number, stats) in stats {
            // It may have been taken off the list meanwhile.
            if let Some(watched) = state
                .watched
                .iter_mut()
                .find(|watched| watched.number == number)
            {
                if keep {
                    watched.ring.push(now, Sample::from(&stats));
                }
                collections.push(judge.collection(&watched.name, stats, &watched.ring));
            }
        }
        #[cfg(feature = "metrics")]
        state.published.note(&state.watched, &collections);
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        if is_latest && self.tells() {
            state.telling.update(&findings);
        }
        let (window, samples) = (state.process.window(), state.process.len());
        Report {
            window,
            samples,
            process,
            collections,
            findings,
            panics: self.panics.load(Ordering::Relaxed),
        }
    }

    /// Runs a user's code; a panic in it is counted.
    fn contained<R>(&self, work: impl FnOnce() -> R) -> Option<R> {
        let result = catch_user_panic(work);
        if result.is_none() {
            self.panics.fetch_add(1, Ordering::Relaxed);
        }
        result
    }
}

impl Periodic for Inner {
    fn run(&self) {
        self.sample();
    }
}

impl fmt::Debug for Monitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.inner.state.lock();
        let names: Vec<_> = state.watched.iter().map(|watched| &watched.name).collect();
        f.debug_struct("Monitor")
            .field("watched", &names)
            .field("samples", &state.process.len())
            .field("thresholds", &self.inner.thresholds)
            .finish_non_exhaustive()
    }
}
