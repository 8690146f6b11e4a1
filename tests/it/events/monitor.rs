//! What a monitor tells: limits and findings.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use leakproof::monitor::{Monitor, MonitorBuilder, ProcessFigures};
use leakproof::{DedupSet, LruCache, ManualClock};
use tracing::Level;
use tracing::subscriber::with_default;

use super::tracing_capture::{Captured, OnEvent, events_of};

const MINUTE: Duration = Duration::from_secs(60);

/// A monitor of a process that takes so many of 1,000 bytes, and its clock.
struct World {
    monitor: Monitor,
    time: ManualClock,
    memory: Arc<AtomicU64>,
}

impl World {
    fn new() -> Self {
        Self::with(|builder| builder)
    }

    fn with(more: impl FnOnce(MonitorBuilder) -> MonitorBuilder) -> Self {
        let (time, memory) = (ManualClock::new(), Arc::<AtomicU64>::default());
        let bytes = Arc::clone(&memory);
        let read = move || ProcessFigures {
            memory_bytes: Some(bytes.load(Ordering::SeqCst)),
            ..Default::default()
        };
        let builder = more(
            Monitor::builder()
                .process(read)
                .memory_limit(1_000)
                .clock(&time),
        );
        Self {
            monitor: builder.build().expect("sound limits"),
            time,
            memory,
        }
    }

    /// What a sample tells.
    fn sample(&self) -> Vec<Captured> {
        self.time.advance(MINUTE);
        events_of(|| _ = self.monitor.sample())
    }

    /// What samples tell under this use of memory, as text.
    fn findings(&self, memory: u64, samples: usize) -> Vec<String> {
        self.memory.store(memory, Ordering::SeqCst);
        let told = (0..samples).flat_map(|_| self.sample());
        let text = |told: Captured| {
            assert_eq!(told.target, "leakproof::finding");
            let fields = ["change", "collection", "kind", "severity"]
                .map(|field| told.field(field).to_owned());
            format!("{} {}", told.level, fields.join(" "))
        };
        told.map(text).collect()
    }
}

#[test]
fn a_limit_that_is_reached_for_the_first_time_is_told_once_with_the_collections_name() {
    let world = World::new();
    let seen = DedupSet::<str>::builder()
        .ttl(60 * MINUTE)
        .max_entries(4)
        .clock(&world.time)
        .build();
    let seen = seen.expect("sound limits");
    let limits = || {
        let told = world.sample().into_iter();
        told.filter(|told| told.target == "leakproof::limit")
            .collect::<Vec<_>>()
    };
    world.monitor.watch("message_dedup", &seen);
    seen.insert_batch(["a", "b", "c"]);
    assert_eq!(limits(), []);
    seen.insert_batch(["d", "e", "f"]);
    let told = limits();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(
        (told[0].level, told[0].field("collection")),
        (Level::WARN, "message_dedup")
    );
    assert_eq!(
        (told[0].field("entries"), told[0].field("max_entries")),
        ("4", "4")
    );
    assert!(told[0].field("stats").contains("2 evicted"), "{told:?}");
    for round in 0..100 {
        seen.insert(&round.to_string());
        assert_eq!(limits(), []);
    }
    world.monitor.watch("message_dedup", &seen);
    assert_eq!(limits(), [], "it is the same one");
    // It is full when it comes to be watched, and nobody told of it under this name.
    world.monitor.watch("again", &seen);
    assert_eq!(limits().len(), 1);
}

#[test]
fn that_a_cache_is_full_is_information() {
    let world = World::new();
    let cache = LruCache::<u32, u32>::new(1, MINUTE);
    world.monitor.watch("pages", &cache);
    cache.insert(1, 1);
    cache.insert(2, 2);
    let told = world.sample();
    assert_eq!(
        (told[0].level, told[0].field("collection")),
        (Level::INFO, "pages")
    );
}

#[test]
fn a_report_tells_nothing() {
    let world = World::new();
    world.memory.store(900, Ordering::SeqCst);
    assert_eq!(events_of(|| _ = world.monitor.report()), []);
}

#[test]
fn a_finding_is_told_once_when_it_appears_worsens_and_ends() {
    let world = World::new();
    assert_eq!(world.findings(100, 5), [""; 0]);
    assert_eq!(
        world.findings(800, 9),
        ["WARN appeared  memory_use warning"]
    );
    assert_eq!(
        world.findings(900, 20),
        ["ERROR worsened  memory_use critical"]
    );
    assert_eq!(world.findings(800, 20), [""; 0], "better, but not ended");
    assert_eq!(world.findings(100, 20), ["INFO ended  memory_use warning"]);
}

#[test]
fn a_figure_that_swings_about_a_threshold_is_told_of_once() {
    let world = World::new();
    let told: Vec<_> = (0..200)
        .flat_map(|round| world.findings(if round % 2 == 0 { 760 } else { 740 }, 1))
        .collect();
    assert_eq!(told, ["WARN appeared  memory_use warning"]);
}

#[test]
fn a_finding_of_a_collection_has_its_name_and_its_text() {
    let world = World::new();
    let seen = DedupSet::<u32>::new(10, MINUTE);
    world.monitor.watch("message_dedup", &seen);
    (0..8).for_each(|id| assert!(seen.insert(&id)));
    let told = world.sample();
    assert_eq!(
        (told[0].field("collection"), told[0].field("kind")),
        ("message_dedup", "entries_use")
    );
    assert_eq!(
        told[0].field("text"),
        "warning: message_dedup: entries at 80.0% of the bound"
    );
}

#[test]
fn a_subscriber_that_panics_is_contained_and_counted_and_the_callback_is_told() {
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    let world =
        World::with(|builder| builder.on_change(move |_| _ = count.fetch_add(1, Ordering::SeqCst)));
    let full = LruCache::<u32, u32>::new(1, MINUTE);
    full.insert(1, 1);
    world.monitor.watch("pages", &full);
    world.memory.store(900, Ordering::SeqCst);
    let panics = |_: Captured| panic!("the log is full");
    with_default(OnEvent(panics), || {
        world.monitor.sample();
        world.monitor.sample();
    });
    assert_eq!(
        (calls.load(Ordering::SeqCst), world.monitor.report().panics),
        (1, 2),
        "a limit and a finding"
    );
}

#[test]
fn the_subscriber_may_use_the_monitor() {
    // Were a lock held, this would not come to an end.
    let world = Arc::new(World::new());
    let full = LruCache::<u32, u32>::new(1, MINUTE);
    full.insert(1, 1);
    world.monitor.watch("pages", &full);
    world.memory.store(900, Ordering::SeqCst);
    let calls = Arc::new(AtomicUsize::new(0));
    let (count, inside) = (Arc::clone(&calls), Arc::clone(&world));
    let uses = move |_: Captured| {
        count.fetch_add(1, Ordering::SeqCst);
        assert_eq!(inside.monitor.report().collections.len(), 1);
        inside
            .monitor
            .watch("another", &DedupSet::<u32>::new(10, MINUTE));
        inside.monitor.unwatch("another");
    };
    with_default(OnEvent(uses), || world.monitor.sample());
    assert_eq!(
        (calls.load(Ordering::SeqCst), world.monitor.report().panics),
        (2, 0)
    );
}
