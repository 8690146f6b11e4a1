//! Events of a monitor: limits and findings.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use leakproof::monitor::{Monitor, MonitorBuilder, ProcessFigures};
use leakproof::{DedupSet, LruCache, ManualClock};
use tracing::Level;
use tracing::subscriber::with_default;

use super::tracing_capture::{Captured, OnEvent, events_of};

const MINUTE: Duration = Duration::from_secs(60);

/// A monitor of a process with a memory limit of 1,000 bytes.
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
            monitor: builder.build().expect("valid options"),
            time,
            memory,
        }
    }

    /// Takes a sample and returns its events.
    fn sample(&self) -> Vec<Captured> {
        self.time.advance(MINUTE);
        events_of(|| _ = self.monitor.sample())
    }

    /// Takes samples with this use of memory and returns their events as text.
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
fn limit_event_of_a_sample_is_emitted_once() {
    let world = World::new();
    let seen = DedupSet::<str>::builder()
        .ttl(60 * MINUTE)
        .max_entries(4)
        .clock(&world.time)
        .build();
    let seen = seen.expect("valid options");
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
    assert_eq!(limits(), [], "it is the same collection");
    // The collection is full when it is watched under a new name, and that name has had no event.
    world.monitor.watch("again", &seen);
    assert_eq!(limits().len(), 1);
}

#[test]
fn limit_event_of_a_cache_is_info() {
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
fn report_emits_no_event() {
    let world = World::new();
    world.memory.store(900, Ordering::SeqCst);
    assert_eq!(events_of(|| _ = world.monitor.report()), []);
}

#[test]
fn finding_event_on_appear_worsen_and_end() {
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
    assert_eq!(
        world.findings(800, 20),
        [""; 0],
        "the finding improved, but has not ended"
    );
    assert_eq!(world.findings(100, 20), ["INFO ended  memory_use warning"]);
}

#[test]
fn swings_around_a_threshold_emit_one_event() {
    let world = World::new();
    let told: Vec<_> = (0..200)
        .flat_map(|round| world.findings(if round % 2 == 0 { 760 } else { 740 }, 1))
        .collect();
    assert_eq!(told, ["WARN appeared  memory_use warning"]);
}

#[test]
fn finding_event_has_name_and_text() {
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
fn subscriber_panic_is_counted_and_callback_still_runs() {
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
fn subscriber_may_use_the_monitor() {
    // With a lock held, this would deadlock.
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
