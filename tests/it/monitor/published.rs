//! What the facade `metrics` is told: names, values, and what they say of what is gone. The recorders are the tests' own.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use leakproof::monitor::{Monitor, ProcessFigures, Severity};
use leakproof::{CircuitBreaker, DedupSet, ListenerRegistry, LruCache};
use metrics::{Unit, with_local_recorder};
use metrics_exporter_prometheus::PrometheusBuilder;

use super::helpers::{Fake, MINUTE, World, count};
use super::recorders::{Calling, Figures, Keeping};

/// What a recorder that has just been installed gets to know by a sample.
fn sampled(monitor: &Monitor) -> Figures {
    let recorder = Keeping::default();
    with_local_recorder(&recorder, || monitor.sample());
    recorder.figures()
}

/// A collection of each kind, all with something to tell.
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
            seen: seen.expect("sound limits"),
            cache: cache.expect("sound limits"),
            bus: bus.expect("sound limits"),
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
            .expect("there is room")
            .forget();
        all.bus.emit("topic", &7).unwrap();
        all
    }
}

#[test]
fn collections_are_told_of_under_the_names_that_they_are_watched_by() {
    let world = World::new();
    let collections = Collections::watched(&world);
    let told = sampled(&world.monitor);
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
        assert_eq!(told.get(series), Some(&value), "{series} of {told:#?}");
    }
    drop(collections);
}

#[test]
fn what_means_nothing_to_a_collection_or_is_not_there_has_no_series() {
    let world = World::new();
    let collections = Collections::watched(&world);
    let told = sampled(&world.monitor);
    for absent in [
        "leakproof_hits_total{collection=message_dedup}",
        "leakproof_open_breakers{collection=message_dedup}",
        "leakproof_max_weight{collection=sessions}",
        "leakproof_idle_timeout_seconds{collection=sessions}",
        "leakproof_weight{collection=events}",
        "leakproof_in_flight{collection=events}",
    ] {
        assert_eq!(told.get(absent), None, "{absent}");
    }
    drop(collections);
}

/// JSON and metrics come from one table, so that no figure is forgotten in one of them.
#[test]
#[cfg(feature = "serde")]
fn every_figure_of_the_statistics_is_published() {
    let world = World::new();
    let collections = Collections::watched(&world);
    let told = sampled(&world.monitor);
    let all = [
        ("message_dedup", collections.seen.stats().usage()),
        ("sessions", collections.cache.stats().usage()),
        ("events", collections.bus.stats().usage()),
    ];
    let mut figures = 0;
    for (name, stats) in all {
        let serde_json::Value::Object(json) = serde_json::to_value(stats).expect("it serializes")
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
                told.get(&format!("leakproof_{figure}{suffix}{{collection={name}}}"))
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
fn names_units_and_descriptions_follow_prometheus() {
    let world = World::with(|builder| builder.memory_limit(1_000));
    let collections = Collections::watched(&world);
    let recorder = Keeping::default();
    with_local_recorder(&recorder, || world.minutes([900.0]));
    for told in recorder.told() {
        let name = &told.name;
        assert!(name.starts_with("leakproof_"), "{name}");
        assert!(
            name.bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'_'),
            "{name}"
        );
        assert_eq!(name.ends_with("_total"), told.is_counter, "{name}");
        assert_eq!(
            name.ends_with("_seconds"),
            told.unit == Some(Unit::Seconds),
            "{name}"
        );
        assert_eq!(
            name.ends_with("_bytes"),
            told.unit == Some(Unit::Bytes),
            "{name}"
        );
        assert!(told.unit.is_some() && told.description.len() > 10, "{name}");
        for label in &told.labels {
            assert!(
                ["collection", "kind"].contains(&&**label),
                "{name}: {label}"
            );
        }
    }
    // An exporter that sees to names itself finds nothing to change.
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
fn the_process_is_told_of_and_no_limit_is_infinite() {
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
                .expect("sound limits"),
        )
    };
    let told = with(Some(1_000));
    assert_eq!(told["leakproof_process_resident_memory_bytes"], 500.0);
    assert_eq!(told["leakproof_process_memory_limit_bytes"], 1_000.0);
    assert_eq!(
        (
            told["leakproof_process_open_fds"],
            told["leakproof_process_max_fds"]
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
            .expect("sound limits"),
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
fn samples_publish_and_so_does_a_scrape_and_a_report_does_not() {
    let world = World::new();
    let fake = Fake::new(|stats| stats.len = 1);
    world.monitor.watch("fake", &fake);
    let recorder = Keeping::default();
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
        fake.set(|stats| stats.len = 2);
        let report = world.monitor.publish();
        assert_eq!((entries(), report.collections[0].usage.len), (Some(2.0), 2));
        assert_eq!(world.monitor.report().samples, 1, "a scrape is no sample");
    });
}

#[test]
fn counters_are_absolute_however_often_they_are_published() {
    let world = World::new();
    let fake = Fake::new(|usage| count(usage, "inserted", 5));
    world.monitor.watch("fake", &fake);
    let recorder = Keeping::default();
    with_local_recorder(&recorder, || world.quiet(10));
    assert_eq!(
        recorder.figures()["leakproof_inserted_total{collection=fake}"],
        5.0
    );
}

#[test]
fn the_gauges_of_what_is_gone_or_unwatched_go_to_zero_and_its_counters_stay() {
    for unwatched in [false, true] {
        let world = World::new();
        let collections = Collections::watched(&world);
        let recorder = Keeping::default();
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
            "told once: {late:?}"
        );
    }
}

#[test]
fn a_figure_that_is_no_more_goes_to_zero() {
    let world = World::new();
    let seen = DedupSet::<str>::builder()
        .ttl(MINUTE)
        .max_entries(10)
        .clock(&world.time)
        .build();
    let seen = seen.expect("sound limits");
    world.monitor.watch("seen", &seen);
    seen.insert("a");
    world.time.advance(MINUTE / 2);
    let recorder = Keeping::default();
    let age = || recorder.figures()["leakproof_oldest_entry_age_seconds{collection=seen}"];
    with_local_recorder(&recorder, || world.monitor.sample());
    assert_eq!(age(), 30.0);
    world.time.advance(MINUTE / 2);
    with_local_recorder(&recorder, || world.monitor.sample());
    assert_eq!(age(), 0.0);
}

#[test]
fn another_collection_of_the_same_name_counts_on() {
    let world = World::new();
    let recorder = Keeping::default();
    let inserted = || {
        with_local_recorder(&recorder, || world.monitor.sample());
        recorder.figures()["leakproof_inserted_total{collection=fake}"]
    };
    let first = Fake::new(|usage| count(usage, "inserted", 5));
    world.monitor.watch("fake", &first);
    assert_eq!(inserted(), 5.0);
    world.monitor.watch("fake", &first);
    assert_eq!(inserted(), 5.0, "the same one");
    world.monitor.unwatch("fake");
    assert_eq!(inserted(), 5.0);
    world.monitor.watch("fake", &first);
    assert_eq!(inserted(), 5.0, "still the same one");

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
fn of_names_that_are_not_watched_any_more_so_many_are_remembered() {
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
    let told = sampled(&world.monitor);
    let kept = told
        .iter()
        .filter(|(series, value)| series.contains("inserted_total") && **value == 6.0)
        .count();
    assert_eq!(kept, 100);
}

#[test]
fn findings_are_told_of_by_kind_until_they_end() {
    let world = World::new();
    let fake = Fake::new(|stats| stats.len = 900);
    world.monitor.watch("fake", &fake);
    let recorder = Keeping::default();
    let sampled = || {
        with_local_recorder(&recorder, || world.quiet(1));
        let told = recorder.figures();
        (
            told["leakproof_finding_severity{collection=fake,kind=entries_use}"],
            told["leakproof_severity"],
        )
    };
    assert_eq!(sampled(), (3.0, 3.0));
    fake.set(|stats| stats.len = 800);
    assert_eq!(sampled(), (2.0, 2.0));
    fake.set(|stats| stats.len = 100);
    assert_eq!(sampled(), (0.0, 0.0));
}

#[test]
fn a_panic_of_the_recorder_is_contained_and_counted_and_the_next_sample_publishes() {
    let world = World::new();
    let fake = Fake::new(|stats| stats.len = 900);
    world.monitor.watch("fake", &fake);
    let recorder = Keeping::default();
    with_local_recorder(&recorder, || world.monitor.sample());
    drop(fake);
    with_local_recorder(&Calling(|| panic!("out of series")), || {
        world.monitor.sample()
    });
    assert_eq!(world.monitor.report().panics, 1);
    with_local_recorder(&recorder, || world.monitor.sample());
    let told = recorder.figures();
    assert_eq!(told["leakproof_monitor_panics_total"], 1.0);
    assert_eq!(
        told["leakproof_entries{collection=fake}"], 0.0,
        "what the panic kept from being told is made up for"
    );
}

#[test]
fn the_recorder_may_use_the_monitor() {
    // Were a lock held, this would not come to an end.
    let monitor = Monitor::builder()
        .process(Default::default)
        .build()
        .expect("sound limits");
    let (fake, another) = (Fake::new(|stats| stats.len = 1), Fake::new(|_| {}));
    monitor.watch("fake", &fake);
    let calls = AtomicUsize::new(0);
    let recorder = Calling(|| {
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
fn a_recorder_that_is_installed_late_is_told_everything() {
    let world = World::new();
    let collections = Collections::watched(&world);
    let early = sampled(&world.monitor);
    world.monitor.sample();
    assert_eq!(sampled(&world.monitor), early);
    drop(collections);
}

#[test]
fn where_two_threads_publish_at_once_one_does() {
    // The one that came first is held up until the other is done, which has newer figures, and leaves it at that.
    let world = World::new();
    let fake = Fake::new(|stats| stats.len = 1);
    world.monitor.watch("fake", &fake);
    let told = AtomicUsize::new(0);
    let (is_held, may_go) = (OnceLock::new(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let held = Calling(|| {
            is_held.get_or_init(|| ());
            while !may_go.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
        });
        let (monitor, is_held) = (&world.monitor, &is_held);
        scope.spawn(move || with_local_recorder(&held, || monitor.sample()));
        is_held.wait();
        with_local_recorder(&Calling(|| _ = told.fetch_add(1, Ordering::SeqCst)), || {
            monitor.sample()
        });
        may_go.store(true, Ordering::SeqCst);
    });
    assert_eq!(told.load(Ordering::SeqCst), 0);
    with_local_recorder(&Calling(|| _ = told.fetch_add(1, Ordering::SeqCst)), || {
        world.monitor.sample()
    });
    assert!(told.load(Ordering::SeqCst) > 5, "and afterwards it goes on");
}
