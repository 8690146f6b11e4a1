//! A monitor with a manual clock, a process with fixed figures, and a collection with fixed usage.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use leakproof::monitor::{
    Change, Finding, Kind, Monitor, MonitorBuilder, ProcessFigures, Report, Severity,
};
use leakproof::{Counter, ManualClock, Sweep, Swept, Usage};

pub const MINUTE: Duration = Duration::from_secs(60);
pub const MB: f64 = 1e6;

/// A monitor with its own clock and process.
pub struct World {
    pub time: ManualClock,
    pub memory: Arc<AtomicU64>,
    pub monitor: Monitor,
}

impl World {
    pub fn new() -> Self {
        Self::with(|builder| builder)
    }

    pub fn with(more: impl FnOnce(MonitorBuilder) -> MonitorBuilder) -> Self {
        let time = ManualClock::new();
        let memory = Arc::new(AtomicU64::new(0));
        let process = Arc::clone(&memory);
        let figures = move || ProcessFigures {
            memory_bytes: Some(process.load(Ordering::SeqCst)),
            ..ProcessFigures::default()
        };
        let builder = Monitor::builder().clock(&time).process(figures);
        Self {
            time,
            memory,
            monitor: more(builder).build().expect("valid options"),
        }
    }

    /// Takes a sample per minute with these values of memory, and returns the last report.
    pub fn minutes(&self, megabytes: impl IntoIterator<Item = f64>) -> Report {
        let samples = megabytes.into_iter().map(|value| {
            self.time.advance(MINUTE);
            self.memory.store((value * MB) as u64, Ordering::SeqCst);
            self.monitor.sample()
        });
        samples.last().unwrap_or_else(|| self.monitor.report())
    }

    /// Takes a sample per minute with unchanged memory.
    pub fn quiet(&self, minutes: usize) -> Report {
        let memory = self.memory.load(Ordering::SeqCst) as f64 / MB;
        self.minutes(std::iter::repeat_n(memory, minutes))
    }
}

/// Returns the finding of a kind.
pub fn finding(report: &Report, kind: Kind) -> Option<&Finding> {
    report.findings.iter().find(|finding| finding.kind == kind)
}

/// Returns the severity of a kind of finding.
pub fn severity(report: &Report, kind: Kind) -> Severity {
    finding(report, kind).map_or(Severity::Normal, |finding| finding.severity)
}

/// Returns a list of changes, and a callback that fills it.
pub fn recording_callback() -> (
    Arc<Mutex<Vec<String>>>,
    impl Fn(&Change) + Send + Sync + 'static,
) {
    let changes = Arc::new(Mutex::new(Vec::new()));
    let list = Arc::clone(&changes);
    (changes, move |change| {
        list.lock().expect("not poisoned").push(change.to_string());
    })
}

/// Sets a counter.
pub fn count(usage: &mut Usage, name: &'static str, value: u64) {
    usage.counters.retain(|counter| counter.name != name);
    usage.counters.push(Counter {
        name,
        description: "",
        value,
    });
}

/// A collection whose usage a test sets.
#[derive(Default)]
pub struct Fake(pub Mutex<Usage>);

impl Fake {
    pub fn new(set: impl FnOnce(&mut Usage)) -> Arc<Self> {
        let fake = Arc::new(Self::default());
        fake.set(|usage| usage.max_entries = 1_000);
        fake.set(|usage| count(usage, "inserted", 0));
        fake.set(set);
        fake
    }

    pub fn set(&self, set: impl FnOnce(&mut Usage)) {
        set(&mut self.0.lock().expect("not poisoned"));
    }
}

impl Sweep for Fake {
    fn sweep_some(&self, _: usize) -> Swept {
        Swept {
            freed: 0,
            more: false,
        }
    }

    fn usage(&self) -> Usage {
        self.0.lock().expect("not poisoned").clone()
    }
}

/// Returns reproducible noise in -1..1.
pub fn noise(seed: u64) -> impl FnMut() -> f64 {
    let mut state = seed;
    move || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }
}
