//! Publication through the facade `metrics`: names, values, and series whose subject disappeared.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use leakproof::monitor::{Monitor, ProcessFigures, Severity};
use leakproof::{CircuitBreaker, DedupSet, ListenerRegistry, LruCache};
use metrics::{Unit, with_local_recorder};
use metrics_exporter_prometheus::PrometheusBuilder;

use super::helpers::{Fake, MINUTE, World, count};
use super::test_recorder::{CallingRecorder, Figures, KeepingRecorder};

/// Returns what a new recorder receives from one sample.
fn sampled(monitor: &Monitor) -> Figures {
    let recorder = KeepingRecorder::default();
    with_local_recorder(&recorder, || monitor.sample());
    recorder.figures()
}

/// A collection of each kind, with nonzero figures.
struct Collections {
    seen: DedupSet<str>,
    cache: LruCache<u32, u32>,
    bus: ListenerRegistry<&'static str, u32>,
}

impl Collections {
    fn watched(world: &World) -> Self {
        let seen = DedupSet::<str>::builder()
            .ttl(60 * MINUTE)
            .max_entries(2)
            .max_bytes(1_000)
            .clock(&world.time);
        let cache = LruCache::builder()
            .max_entries(2)
            .ttl(30 * MINUTE)
            .clock(&world.time);
        let breaker = CircuitBreaker {
            failures: 1,
            retry_after: Some(MINUTE),
        };
        let bus = ListenerRegistry::builder()
            .max_listeners(3)
            .ttl(60 * MINUTE)
            .circuit_breaker(breaker)
            .clock(&world.time);
        let (seen, cache, bus) = (seen.build(), cache.build(), bus.build());
        let all = Self {
            seen: seen.expect("valid options"),
            cache: cache.expect("valid options"),
            bus: bus.expect("valid options"),
        };
        world.monitor.watch("message_dedup", &all.seen);
        world.monitor.watch("sessions", &all.cache);
        world.monitor.watch("events", &all.bus);
        for id in ["a", "b", "c", "c"] {
            all.seen.insert(id);
            world.time.advance(Duration::from_millis(1_500));
        }
        for key in [1, 2, 3] {
            all.cache.insert(key, key);
        }
        assert_eq!((all.cache.get(&3), all.cache.get(&1)), (Some(3), None));
        all.bus
            .listen("topic")
            .on(|_| false)
            .expect("below the bounds")
            .forget();
        all.bus.emit("topic", &7).unwrap();
        all
    }
}

#[test]
fn series_have_the_watched_name_as_label() {
    let world = World::new();
    let collections = Collections::watched(&world);
    let reported = sampled(&world.monitor);
    for (series, value) in [
        ("leakproof_entries{collection=message_dedup}", 2.0),
        ("leakproof_max_entries{collection=message_dedup}", 2.0),
        ("leakproof_high_water{collection=message_dedup}", 2.0),
        (
            "leakproof_oldest_entry_age_seconds{collection=message_dedup}",
            4.5,
        ),
        ("leakproof_ttl_seconds{collection=message_dedup}", 3_600.0),
        (
            "leakproof_shortest_window_seconds{collection=message_dedup}",
            3.0,
        ),
        ("leakproof_weight{collection=message_dedup}", 2.0),
        ("leakproof_inserted_total{collection=message_dedup}", 3.0),
        ("leakproof_duplicates_total{collection=message_dedup}", 1.0),
        ("leakproof_evicted_total{collection=message_dedup}", 1.0),
        ("leakproof_entries{collection=sessions}", 2.0),
        ("leakproof_ttl_seconds{collection=sessions}", 1_800.0),
        ("leakproof_hits_total{collection=sessions}", 1.0),
        ("leakproof_misses_total{collection=sessions}", 1.0),
        ("leakproof_entries{collection=events}", 1.0),
        ("leakproof_max_entries{collection=events}", 3.0),
        ("leakproof_open_breakers{collection=events}", 1.0),
        ("leakproof_failures_total{collection=events}", 1.0),
        ("leakproof_watched{collection=events}", 1.0),
    ] {
        assert_eq!(
            reported.get(series),
            Some(&value),
            "{series} of {reported:#?}"
        );
    }
    drop(collections);
}

#[test]
fn absent_figures_have_no_series() {
    let world = World::new();
    let collections = Collections::watched(&world);
    let reported = sampled(&world.monitor);
    for absent in [
        "leakproof_hits_total{collection=message_dedup}",
        "leakproof_open_breakers{collection=message_dedup}",
        "leakproof_max_weight{collection=sessions}",
        "leakproof_idle_timeout_seconds{collection=sessions}",
        "leakproof_weight{collection=events}",
        "leakproof_in_flight{collection=events}",
    ] {
        assert_eq!(reported.get(absent), None, "{absent}");
    }
    drop(collections);
}

/// Compares the published series with the JSON of `Usage`, so that no figure is forgotten in one of
/// them.
#[test]
#[cfg(feature = "serde")]
fn every_figure_of_usage_is_published() {
    let world = World::new();
    let collections = Collections::watched(&world);
    let reported = sampled(&world.monitor);
    let all = [
        ("message_dedup", collections.seen.stats().usage()),
        ("sessions", collections.cache.stats().usage()),
        ("events", collections.bus.stats().usage()),
    ];
    let mut figures = 0;
    for (name, stats) in all {
        let serde_json::Value::Object(json) = serde_json::to_value(stats).expect("serializable")
        else {
            panic!("a map")
        };
        for (figure, value) in json.into_iter().filter(|(_, value)| value.is_number()) {
            let value = value.as_f64().expect("a number");
            let (figure, value) = match (figure.as_str(), figure.strip_suffix("_ms")) {
                ("len", _) => ("entries".to_owned(), value),
                (_, Some(time)) => (format!("{time}_seconds"), value / 1_000.0),
                _ => (figure, value),
            };
            let series = |suffix: &str| {
                reported.get(&format!("leakproof_{figure}{suffix}{{collection={name}}}"))
            };
            assert_eq!(
                series("").or(series("_total")),
                Some(&value),
                "{figure} of {name}"
            );
            figures += 1;
        }
    }
    assert!(figures > 50, "{figures}");
}

#[test]
fn counter_has_one_description_for_all_collections() {
    let usages = [
        leakproof::DedupStats::default().usage(),
        leakproof::CacheStats::default().usage(),
        leakproof::RegistryStats::default().usage(),
        #[cfg(feature = "governor")]
        leakproof::governor::RateLimitStats::default().usage(),
        #[cfg(feature = "redis")]
        leakproof::redis::SharedStats::default().usage(),
    ];
    let mut descriptions = BTreeMap::new();
    for counter in usages.iter().flat_map(|usage| &usage.counters) {
        let description = descriptions.entry(counter.name);
        let description = *description.or_insert(counter.description);
        assert_eq!(counter.description, description, "{}", counter.name);
    }
    assert!(descriptions.len() > 30, "{descriptions:?}");
}

#[test]
fn names_units_and_descriptions_follow_prometheus() {
    let world = World::with(|builder| builder.memory_limit(1_000));
    let collections = Collections::watched(&world);
    let recorder = KeepingRecorder::default();
    with_local_recorder(&recorder, || world.minutes([900.0]));
    for reported in recorder.described() {
        let name = &reported.name;
        assert!(name.starts_with("leakproof_"), "{name}");
        assert!(
            name.bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'_'),
            "{name}"
        );
        assert_eq!(name.ends_with("_total"), reported.is_counter, "{name}");
        assert_eq!(
            name.ends_with("_seconds"),
            reported.unit == Some(Unit::Seconds),
            "{name}"
        );
        assert_eq!(
            name.ends_with("_bytes"),
            reported.unit == Some(Unit::Bytes),
            "{name}"
        );
        assert!(
            reported.unit.is_some() && reported.description.len() > 10,
            "{name}"
        );
        for label in &reported.labels {
            assert!(
                ["collection", "kind"].contains(&&**label),
                "{name}: {label}"
            );
        }
    }
    // An exporter that corrects names has nothing to correct.
    let rendered = [false, true].map(|recommended| {
        let recorder = PrometheusBuilder::new()
            .with_recommended_naming(recommended)
            .build_recorder();
        with_local_recorder(&recorder, || world.monitor.publish());
        let mut lines: Vec<_> = recorder
            .handle()
            .render()
            .lines()
            .map(str::to_owned)
            .collect();
        lines.sort();
        lines
    });
    assert!(rendered[0].len() > 100, "{rendered:?}");
    assert_eq!(rendered[0], rendered[1]);
    drop(collections);
}

#[test]
fn process_without_limit_publishes_infinity() {
    let with = |memory_limit_bytes| {
        let figures = move || ProcessFigures {
            memory_bytes: Some(500),
            memory_limit_bytes,
            open_files: Some(7),
            open_files_limit: Some(1_024),
        };
        sampled(
            &Monitor::builder()
                .process(figures)
                .build()
                .expect("valid options"),
        )
    };
    let reported = with(Some(1_000));
    assert_eq!(reported["leakproof_process_resident_memory_bytes"], 500.0);
    assert_eq!(reported["leakproof_process_memory_limit_bytes"], 1_000.0);
    assert_eq!(
        (
            reported["leakproof_process_open_fds"],
            reported["leakproof_process_max_fds"]
        ),
        (7.0, 1_024.0)
    );
    assert_eq!(
        with(None)["leakproof_process_memory_limit_bytes"],
        f64::INFINITY
    );
    let unknown = sampled(
        &Monitor::builder()
            .process(ProcessFigures::default)
            .build()
            .expect("valid options"),
    );
    assert_eq!(
        unknown
            .keys()
            .filter(|series| series.starts_with("leakproof_process"))
            .count(),
        0,
        "{unknown:?}"
    );
}

#[test]
fn sample_and_publish_publish_but_report_does_not() {
    let world = World::new();
    let fake = Fake::new(|usage| usage.len = 1);
    world.monitor.watch("fake", &fake);
    let recorder = KeepingRecorder::default();
    let entries = || {
        recorder
            .figures()
            .get("leakproof_entries{collection=fake}")
            .copied()
    };
    with_local_recorder(&recorder, || {
        assert_eq!(world.monitor.report().samples, 0);
        assert_eq!(entries(), None);
        world.monitor.sample();
        assert_eq!(entries(), Some(1.0));
        world.time.advance(MINUTE);
        fake.set(|usage| usage.len = 2);
        let report = world.monitor.publish();
        assert_eq!((entries(), report.collections[0].usage.len), (Some(2.0), 2));
        assert_eq!(world.monitor.report().samples, 1, "publish takes no sample");
    });
}

#[test]
fn counters_are_published_as_absolute_values() {
    let world = World::new();
    let fake = Fake::new(|usage| count(usage, "inserted", 5));
    world.monitor.watch("fake", &fake);
    let recorder = KeepingRecorder::default();
    with_local_recorder(&recorder, || world.quiet(10));
    assert_eq!(
        recorder.figures()["leakproof_inserted_total{collection=fake}"],
        5.0
    );
}

#[test]
fn removed_collection_zeroes_gauges_and_keeps_counters() {
    for unwatched in [false, true] {
        let world = World::new();
        let collections = Collections::watched(&world);
        let recorder = KeepingRecorder::default();
        with_local_recorder(&recorder, || world.monitor.sample());
        let before = recorder.figures();
        if unwatched {
            world.monitor.unwatch("message_dedup");
        } else {
            drop(collections.seen);
        }
        with_local_recorder(&recorder, || world.monitor.sample());
        let after = recorder.figures();
        assert_eq!(before.len(), after.len());
        for (series, value) in after
            .iter()
            .filter(|(series, _)| series.contains("message_dedup"))
        {
            let expected = if series.contains("_total") {
                before[series]
            } else {
                0.0
            };
            assert_eq!(*value, expected, "{series}");
        }
        assert_eq!(after["leakproof_watched{collection=sessions}"], 1.0);
        let late = sampled(&world.monitor);
        assert!(
            late.keys().all(|series| !series.contains("message_dedup")),
            "published once: {late:?}"
        );
    }
}

#[test]
fn figure_that_disappears_is_set_to_zero() {
    let world = World::new();
    let seen = DedupSet::<str>::builder()
        .ttl(MINUTE)
        .max_entries(10)
        .clock(&world.time)
        .build();
    let seen = seen.expect("valid options");
    world.monitor.watch("seen", &seen);
    seen.insert("a");
    world.time.advance(MINUTE / 2);
    let recorder = KeepingRecorder::default();
    let age = || recorder.figures()["leakproof_oldest_entry_age_seconds{collection=seen}"];
    with_local_recorder(&recorder, || world.monitor.sample());
    assert_eq!(age(), 30.0);
    world.time.advance(MINUTE / 2);
    with_local_recorder(&recorder, || world.monitor.sample());
    assert_eq!(age(), 0.0);
}

#[test]
fn new_collection_of_same_name_continues_the_counters() {
    let world = World::new();
    let recorder = KeepingRecorder::default();
    let inserted = || {
        with_local_recorder(&recorder, || world.monitor.sample());
        recorder.figures()["leakproof_inserted_total{collection=fake}"]
    };
    let first = Fake::new(|usage| count(usage, "inserted", 5));
    world.monitor.watch("fake", &first);
    assert_eq!(inserted(), 5.0);
    world.monitor.watch("fake", &first);
    assert_eq!(inserted(), 5.0, "the same collection");
    world.monitor.unwatch("fake");
    assert_eq!(inserted(), 5.0);
    world.monitor.watch("fake", &first);
    assert_eq!(inserted(), 5.0, "still the same collection");

    let second = Fake::new(|usage| count(usage, "inserted", 2));
    world.monitor.watch("fake", &second);
    assert_eq!(inserted(), 7.0);
    drop(second);
    assert_eq!(inserted(), 7.0);
    let third = Fake::new(|usage| count(usage, "inserted", 10));
    world.monitor.watch("fake", &third);
    assert_eq!(inserted(), 17.0);
}

#[test]
fn counts_of_100_former_names_are_kept() {
    let world = World::new();
    let watched = |inserted: u64| {
        let all = (0..300).map(|number| {
            let fake = Fake::new(|usage| count(usage, "inserted", inserted));
            world.monitor.watch(&format!("{number}"), &fake);
            fake
        });
        all.collect::<Vec<_>>()
    };
    let first = watched(5);
    sampled(&world.monitor);
    drop(first);
    sampled(&world.monitor);
    let _second = watched(1);
    let reported = sampled(&world.monitor);
    let kept = reported
        .iter()
        .filter(|(series, value)| series.contains("inserted_total") && **value == 6.0)
        .count();
    assert_eq!(kept, 100);
}

#[test]
fn finding_severity_is_published_by_kind_until_it_ends() {
    let world = World::new();
    let fake = Fake::new(|usage| usage.len = 900);
    world.monitor.watch("fake", &fake);
    let recorder = KeepingRecorder::default();
    let sampled = || {
        with_local_recorder(&recorder, || world.quiet(1));
        let reported = recorder.figures();
        (
            reported["leakproof_finding_severity{collection=fake,kind=entries_use}"],
            reported["leakproof_severity"],
        )
    };
    assert_eq!(sampled(), (3.0, 3.0));
    fake.set(|usage| usage.len = 800);
    assert_eq!(sampled(), (2.0, 2.0));
    fake.set(|usage| usage.len = 100);
    assert_eq!(sampled(), (0.0, 0.0));
}

#[test]
fn recorder_panic_is_counted_and_next_sample_publishes() {
    let world = World::new();
    let fake = Fake::new(|usage| usage.len = 900);
    world.monitor.watch("fake", &fake);
    let recorder = KeepingRecorder::default();
    with_local_recorder(&recorder, || world.monitor.sample());
    drop(fake);
    with_local_recorder(&CallingRecorder(|| panic!("out of series")), || {
        world.monitor.sample()
    });
    assert_eq!(world.monitor.report().panics, 1);
    with_local_recorder(&recorder, || world.monitor.sample());
    let reported = recorder.figures();
    assert_eq!(reported["leakproof_monitor_panics_total"], 1.0);
    assert_eq!(
        reported["leakproof_entries{collection=fake}"], 0.0,
        "the next publication sets what the panic prevented"
    );
}

#[test]
fn recorder_may_use_the_monitor() {
    // With a lock held, this would deadlock.
    let monitor = Monitor::builder()
        .process(Default::default)
        .build()
        .expect("valid options");
    let (fake, another) = (Fake::new(|usage| usage.len = 1), Fake::new(|_| {}));
    monitor.watch("fake", &fake);
    let calls = AtomicUsize::new(0);
    let recorder = CallingRecorder(|| {
        calls.fetch_add(1, Ordering::SeqCst);
        monitor.watch("another", &another);
        assert_eq!(monitor.report().severity(), Severity::Normal);
        monitor.sample();
        monitor.publish();
    });
    with_local_recorder(&recorder, || monitor.sample());
    assert_eq!(monitor.report().panics, 0);
    assert!(calls.load(Ordering::SeqCst) > 5, "{calls:?}");
}

#[test]
fn recorder_installed_late_receives_everything() {
    let world = World::new();
    let collections = Collections::watched(&world);
    let early = sampled(&world.monitor);
    world.monitor.sample();
    assert_eq!(sampled(&world.monitor), early);
    drop(collections);
}

#[test]
fn only_one_of_two_concurrent_publications_runs() {
    // The first publication waits inside the recorder. The second one must not publish during that
    // time.
    let world = World::new();
    let fake = Fake::new(|usage| usage.len = 1);
    world.monitor.watch("fake", &fake);
    let reported = AtomicUsize::new(0);
    let (is_held, may_go) = (OnceLock::new(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let held = CallingRecorder(|| {
            is_held.get_or_init(|| ());
            while !may_go.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
        });
        let (monitor, is_held) = (&world.monitor, &is_held);
        scope.spawn(move || with_local_recorder(&held, || monitor.sample()));
        is_held.wait();
        with_local_recorder(
            &CallingRecorder(|| _ = reported.fetch_add(1, Ordering::SeqCst)),
            || monitor.sample(),
        );
        may_go.store(true, Ordering::SeqCst);
    });
    assert_eq!(reported.load(Ordering::SeqCst), 0);
    with_local_recorder(
        &CallingRecorder(|| _ = reported.fetch_add(1, Ordering::SeqCst)),
        || world.monitor.sample(),
    );
    assert!(
        reported.load(Ordering::SeqCst) > 5,
        "later publications run again"
    );
}
