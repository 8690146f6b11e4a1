//! Findings about collections: use of bounds, time until a bound, broken promises.

use std::sync::Arc;
use std::time::Duration;

use leakproof::monitor::{Figure, Finding, Kind, Resource, Severity, Thresholds, UseThresholds};
use leakproof::{CircuitBreaker, Claim, DedupSet, ListenerRegistry, LruCache, Watch};

use super::helpers::{Fake, MINUTE, World, count, finding, severity};

const DAY: Duration = Duration::from_secs(86_400);

fn dedup(world: &World, ttl: Duration, max: usize) -> DedupSet<str> {
    let builder = DedupSet::<str>::builder()
        .ttl(ttl)
        .max_entries(max)
        .max_in_flight(10)
        .shards(1);
    let seen = builder.clock(&world.time).build().expect("valid options");
    world.monitor.watch("message_dedup", &seen);
    seen
}

/// Inserts `a_minute` new ids in each of `minutes` minutes.
fn fill(world: &World, seen: &DedupSet<str>, minutes: usize, a_minute: usize) {
    for minute in 0..minutes {
        for id in 0..a_minute {
            seen.insert(&format!("{:?} {minute} {id}", world.time));
        }
        world.quiet(1);
    }
}

#[test]
fn entries_use_warns_at_75_and_is_critical_at_85_percent() {
    let uses = [
        (749, Severity::Normal),
        (750, Severity::Warning),
        (849, Severity::Warning),
        (850, Severity::Critical),
    ];
    for (len, expected) in uses {
        let world = World::new();
        let seen = dedup(&world, DAY, 1_000);
        for id in 0..len {
            seen.insert(&id.to_string());
        }
        let report = world.monitor.report();
        let used = report.collection("message_dedup").expect("watched").entries;
        assert_eq!(
            (used.used, used.limit, used.percent()),
            (len, Some(1_000), Some(len as f64 / 10.0))
        );
        assert_eq!(
            severity(&report, Kind::Use(Resource::Entries)),
            expected,
            "{len}"
        );
    }
}

#[test]
fn in_flight_use_is_no_finding_by_default() {
    let by_default = Thresholds::default();
    let strict = Thresholds {
        in_flight_use: Some(UseThresholds::default()),
        ..by_default
    };
    for (thresholds, expected) in [(by_default, Severity::Normal), (strict, Severity::Critical)] {
        let world = World::with(|builder| builder.thresholds(thresholds));
        let seen = dedup(&world, DAY, 1_000);
        let tickets: Vec<_> = (0..9).map(|id| seen.claim(&id.to_string())).collect();
        assert!(tickets.iter().all(|claim| matches!(claim, Claim::Fresh(_))));
        let report = world.monitor.report();
        let collection = report.collection("message_dedup").expect("watched");
        assert_eq!(collection.in_flight.expect("bounded").percent(), Some(90.0));
        assert_eq!(severity(&report, Kind::Use(Resource::InFlight)), expected);
        assert_eq!(report.severity(), expected);
    }
}

#[test]
fn weight_use_warns_at_75_percent() {
    let world = World::new();
    let seen = DedupSet::<str>::builder()
        .ttl(DAY)
        .max_entries(1_000)
        .max_bytes(100)
        .shards(1)
        .clock(&world.time)
        .build()
        .expect("valid options");
    world.monitor.watch("message_dedup", &seen);
    seen.insert(&"k".repeat(80));
    let report = world.monitor.report();
    let collection = report.collection("message_dedup").expect("watched");
    assert_eq!(collection.weight.expect("bounded").percent(), Some(80.0));
    assert_eq!(
        severity(&report, Kind::Use(Resource::Weight)),
        Severity::Warning
    );
}

#[test]
fn short_time_to_the_bound_is_a_finding() {
    let world = World::new();
    let seen = dedup(&world, DAY, 10_000);
    fill(&world, &seen, 30, 100);
    let report = world.monitor.report();
    let entries = report.collection("message_dedup").expect("watched").entries;
    assert_eq!(entries.growth_per_minute, Some(100.0));
    assert_eq!(entries.time_to_limit, Some(70 * MINUTE));
    assert_eq!(
        severity(&report, Kind::TimeLeft(Resource::Entries)),
        Severity::Normal
    );
    fill(&world, &seen, 20, 100);
    let report = world.monitor.report();
    let left = finding(&report, Kind::TimeLeft(Resource::Entries)).expect("50 minutes are left");
    assert_eq!(
        (left.severity, left.figure),
        (Severity::Warning, Figure::TimeLeft(50 * MINUTE))
    );
    assert_eq!(
        left.to_string(),
        "warning: message_dedup: entries will reach the bound in 50 min 0 s"
    );
}

#[test]
fn map_that_fills_up_after_a_start_does_not_overflow() {
    let world = World::new();
    let seen = dedup(&world, 60 * MINUTE, 10_000);
    for _ in 0..180 {
        fill(&world, &seen, 1, 100);
        let report = world.monitor.report();
        let entries = report.collection("message_dedup").expect("watched").entries;
        assert_eq!(
            entries.time_to_limit, None,
            "at most 6,000 are live at once: {report}"
        );
        assert!(report.findings.is_empty(), "{report}");
    }
    // The rate rises while entries expire: now the map overflows, and the monitor predicts it.
    let mut first_told = None;
    for minute in 0..60 {
        fill(&world, &seen, 1, 180);
        let left = finding(&world.monitor.report(), Kind::TimeLeft(Resource::Entries))
            .map(|left| left.figure);
        first_told = first_told.or(left.map(|left| (minute, left)));
        if seen.stats().evicted > 0 {
            let Some((reported, Figure::TimeLeft(left))) = first_told else {
                panic!("not predicted")
            };
            assert!(
                minute - reported >= 10,
                "reported in minute {reported}, full in minute {minute}"
            );
            assert!((10 * MINUTE..60 * MINUTE).contains(&left), "{left:?}");
            return;
        }
    }
    panic!("180 a minute do not fit");
}

#[test]
fn window_shortened_lasts_until_the_ttl_is_kept_again() {
    let world = World::with(|builder| builder.samples(20));
    let seen = dedup(&world, 60 * MINUTE, 1_000);
    fill(&world, &seen, 10, 100);
    assert_eq!(
        finding(&world.monitor.report(), Kind::WindowShortened),
        None,
        "full, but nothing was evicted"
    );

    fill(&world, &seen, 10, 20);
    let report = world.monitor.report();
    let shortened = finding(&report, Kind::WindowShortened).expect("evicted");
    assert_eq!(
        shortened.severity,
        Severity::Critical,
        "less than half of the ttl"
    );
    let Figure::Window { kept, ttl } = shortened.figure else {
        panic!("{shortened:?}")
    };
    assert!((9 * MINUTE..=11 * MINUTE).contains(&kept), "{kept:?}");
    assert_eq!(ttl, 60 * MINUTE);

    // With 20 a minute, ids are evicted after 50 minutes, which is more than half of the ttl.
    fill(&world, &seen, 80, 20);
    let report = world.monitor.report();
    assert_eq!(
        severity(&report, Kind::WindowShortened),
        Severity::Warning,
        "{report}"
    );

    // With 10 a minute, ids live for an hour.
    fill(&world, &seen, 80, 10);
    assert_eq!(
        finding(&world.monitor.report(), Kind::WindowShortened),
        None
    );
}

/// A burst evicts ids after 10 s of a ttl of 100 s, then the map is quiet until the next sample.
#[test]
fn window_shortened_reports_the_shortest_window() {
    let world = World::new();
    let seen = dedup(&world, Duration::from_secs(100), 10);
    world.monitor.sample();
    (0..10).for_each(|id| assert!(seen.insert(&format!("first {id}"))));
    world.time.advance(Duration::from_secs(10));
    (0..10).for_each(|id| assert!(seen.insert(&format!("second {id}"))));
    world.time.advance(Duration::from_secs(60));
    let report = world.monitor.sample();
    let shortened = finding(&report, Kind::WindowShortened).expect("evicted");
    assert_eq!(
        shortened.to_string(),
        "critical: message_dedup: ids evicted after 10 s of a ttl of 1 min 40 s"
    );
    // The figure stays the same while no other id is evicted.
    let report = world.quiet(1);
    let shortened = finding(&report, Kind::WindowShortened).expect("within the window");
    assert_eq!(shortened.severity, Severity::Critical);
}

#[test]
fn time_left_and_window_are_compared_exactly() {
    let world = World::new();
    let fake = Fake::new(|_| {});
    world.monitor.watch("ids", &fake);
    for minute in 1..=91 {
        fake.set(|usage| usage.len = 10 * minute);
        let report = world.quiet(1);
        let left = severity(&report, Kind::TimeLeft(Resource::Entries));
        match minute {
            // 60 and 10 minutes are left.
            40 => assert_eq!(left, Severity::Normal),
            41 | 90 => assert_eq!(left, Severity::Warning),
            91 => assert_eq!(left, Severity::Critical),
            _ => {}
        }
    }
    for (kept, expected) in [(50, Severity::Warning), (49, Severity::Critical)] {
        let world = World::new();
        let fake = Fake::new(|usage| usage.ttl = Some(Duration::from_secs(100)));
        world.monitor.watch("ids", &fake);
        world.quiet(1);
        fake.set(|usage| {
            count(usage, "evicted", 1);
            usage.shortest_window = Some(Duration::from_secs(kept));
        });
        let report = world.quiet(1);
        assert_eq!(severity(&report, Kind::WindowShortened), expected, "{kept}");
    }
}

#[test]
fn fewer_rejections_than_the_threshold_are_no_finding() {
    let thresholds = Thresholds {
        rejected_warning: 3,
        ..Thresholds::default()
    };
    let world = World::with(|builder| builder.thresholds(thresholds));
    let fake = Fake::new(|_| {});
    world.monitor.watch("listeners", &fake);
    world.quiet(1);
    for (rejected, expected) in [(2, Severity::Normal), (3, Severity::Warning)] {
        fake.set(|usage| count(usage, "rejected", rejected));
        assert_eq!(severity(&world.quiet(1), Kind::Rejected), expected);
    }
}

#[test]
fn full_cache_is_a_finding_only_with_cache_use() {
    let uses = [
        (None, Severity::Normal),
        (Some(UseThresholds::default()), Severity::Critical),
    ];
    for (cache_use, expected) in uses {
        let thresholds = Thresholds {
            cache_use,
            ..Thresholds::default()
        };
        let world = World::with(|builder| builder.thresholds(thresholds));
        let builder = LruCache::<u32, u32>::builder()
            .max_entries(100)
            .clock(&world.time);
        let cache = builder.build().expect("valid options");
        world.monitor.watch("pages", &cache);
        for key in 0..1_000 {
            cache.insert(key, key);
            if key % 20 == 0 {
                world.quiet(1);
            }
        }
        let report = world.monitor.report();
        assert_eq!(
            report
                .collection("pages")
                .expect("watched")
                .entries
                .percent(),
            Some(100.0)
        );
        assert_eq!(report.severity(), expected, "{report}");
        assert_eq!(
            finding(&report, Kind::WindowShortened),
            None,
            "a cache promises no window"
        );
    }
}

#[test]
fn rejections_before_the_window_do_not_count() {
    let fake = Fake::new(|usage| count(usage, "rejected", 7));
    let world = World::with(|builder| builder.samples(15));
    world.monitor.watch("listeners", &fake);
    assert_eq!(world.quiet(1).findings, []);
    fake.set(|usage| count(usage, "rejected", 9));
    let report = world.quiet(1);
    let rejected = finding(&report, Kind::Rejected).expect("two more");
    assert_eq!(
        (rejected.severity, rejected.figure),
        (Severity::Warning, Figure::Count(2))
    );
    assert_eq!(rejected.to_string(), "warning: listeners: 2 rejected");
    assert!(finding(&world.quiet(13), Kind::Rejected).is_some());
    assert_eq!(world.quiet(3).findings, []);
}

#[test]
fn breakers_open_counts_open_and_detaching_breakers() {
    let fake = Fake::new(|_| {});
    let world = World::with(|builder| builder.samples(15));
    world.monitor.watch("listeners", &fake);
    fake.set(|usage| {
        count(usage, "failed", 1);
        usage.open_breakers = Some(2);
    });
    let report = world.quiet(1);
    let open = finding(&report, Kind::BreakersOpen).expect("three");
    assert_eq!(open.to_string(), "warning: listeners: 3 breakers open");
    assert_eq!(
        (open.severity, open.figure),
        (Severity::Warning, Figure::Count(3))
    );
    assert_eq!(
        finding(&world.quiet(20), Kind::BreakersOpen).map(|open| open.figure),
        Some(Figure::Count(2))
    );
    fake.set(|usage| usage.open_breakers = Some(0));
    assert_eq!(world.quiet(1).findings, []);
}

#[test]
fn registry_reports_rejections_and_open_breakers() {
    let world = World::new();
    let breaker = CircuitBreaker {
        failures: 3,
        retry_after: Some(10 * MINUTE),
    };
    let builder = ListenerRegistry::<u8, bool>::builder()
        .max_listeners(2)
        .circuit_breaker(breaker)
        .clock(&world.time);
    let bus = builder.build().expect("valid options");
    world.monitor.watch("events", &bus);
    let fails = |fails: &bool| if *fails { Err("failed") } else { Ok(()) };
    let failing = bus.on(1, fails).expect("below the bounds");
    assert_eq!(world.quiet(1).findings, []);

    let _other = bus.on(2, fails).expect("below the bounds");
    assert!(bus.on(3, fails).is_err());
    let report = world.quiet(1);
    assert_eq!(
        finding(&report, Kind::Rejected).map(|rejected| rejected.figure),
        Some(Figure::Count(1))
    );
    assert_eq!(
        severity(&report, Kind::Use(Resource::Entries)),
        Severity::Critical,
        "two of two"
    );

    assert_eq!(finding(&report, Kind::BreakersOpen), None);
    for _ in 0..3 {
        bus.emit(&1, &true).unwrap();
    }
    assert_eq!(
        finding(&world.quiet(1), Kind::BreakersOpen).map(|open| open.figure),
        Some(Figure::Count(1))
    );
    world.quiet(10);
    bus.emit(&1, &false).unwrap();
    assert_eq!(
        finding(&world.quiet(1), Kind::BreakersOpen),
        None,
        "the probe succeeded"
    );
    for _ in 0..3 {
        bus.emit(&1, &true).unwrap();
    }
    drop(failing);
    assert_eq!(bus.stats().open_breakers, 0, "the listener is detached");
    bus.validate();
}

#[test]
fn watch_does_not_keep_the_collection_alive() {
    let world = World::new();
    let seen = dedup(&world, DAY, 10);
    let report = world.monitor.report();
    // `watch` samples the collection, but not the process.
    assert_eq!((report.samples, report.collections[0].samples), (0, 1));
    let weak = seen.downgrade_to_sweep();
    drop(seen);
    assert_eq!(weak.strong_count(), 0, "the monitor does not keep it");
    assert_eq!(world.monitor.report().collections, []);
}

#[test]
fn watch_replaces_the_collection_of_the_same_name() {
    let world = World::new();
    let _former = dedup(&world, DAY, 10);
    world.quiet(30);
    let latter = dedup(&world, DAY, 20);
    latter.insert("id");
    let report = world.monitor.report();
    assert_eq!(report.collections.len(), 1);
    let collection = report.collection("message_dedup").expect("watched");
    assert_eq!(
        (collection.usage.len, collection.usage.max_entries),
        (1, 20)
    );
    assert_eq!(
        collection.entries.growth_per_minute, None,
        "the samples of the replaced collection are removed"
    );
    assert!(world.monitor.unwatch("message_dedup"));
    assert!(!world.monitor.unwatch("message_dedup"));
    assert_eq!(world.monitor.report().collections, []);
}

#[test]
fn collection_whose_usage_panics_is_left_out() {
    struct Panics;
    impl leakproof::Sweep for Panics {
        fn sweep_some(&self, _: usize) -> leakproof::Swept {
            leakproof::Swept {
                freed: 0,
                more: false,
            }
        }
        fn usage(&self) -> leakproof::Usage {
            panic!("no statistics")
        }
    }
    let world = World::new();
    let panics = Arc::new(Panics);
    world.monitor.watch("panics", &panics);
    let _seen = dedup(&world, DAY, 10);
    let report = world.monitor.sample();
    let names: Vec<_> = report
        .collections
        .iter()
        .map(|collection| &*collection.name)
        .collect();
    assert_eq!(names, ["message_dedup"]);
    assert_eq!(report.panics, 2, "once in watch, once in sample");
}

#[test]
fn samples_are_bounded_and_report_takes_none() {
    let world = World::with(|builder| builder.samples(12));
    let seen = dedup(&world, DAY, 100_000);
    for _ in 0..100 {
        assert!(world.quiet(1).samples <= 12);
    }
    let report = world.monitor.report();
    assert_eq!((report.samples, report.window), (12, 11 * MINUTE));
    // Samples older than the window do not count.
    fill(&world, &seen, 12, 50);
    let report = world.monitor.report();
    let entries = report.collection("message_dedup").expect("watched").entries;
    assert_eq!(entries.growth_per_minute, Some(50.0));
    for _ in 0..50 {
        world.time.advance(Duration::from_secs(1));
        let later = world.monitor.report();
        assert_eq!(
            (later.samples, later.window),
            (12, 11 * MINUTE),
            "report takes no sample"
        );
        assert_eq!(
            later.collection("message_dedup").expect("watched").entries,
            entries
        );
    }
}

#[test]
fn watch_list_stays_consistent_when_collections_are_dropped() {
    let world = World::new();
    let kept = Fake::new(|_| {});
    world.monitor.watch("kept", &kept);
    for number in 0..1_000 {
        let dropped = Fake::new(|_| {});
        world.monitor.watch(&number.to_string(), &dropped);
        // The name of a dropped collection can be watched and unwatched again.
        drop(dropped);
        if number % 3 == 0 {
            world.monitor.watch(&number.to_string(), &kept);
            assert!(world.monitor.unwatch(&number.to_string()));
        }
    }
    let names = world.monitor.report().collections;
    assert_eq!(names.len(), 1);
    assert_eq!(&*names[0].name, "kept");
    assert!(world.monitor.unwatch("kept"));
    assert!(!world.monitor.unwatch("7"));
}

#[test]
fn findings_are_in_order_of_severity() {
    let world = World::new();
    let uses = [("first", 800), ("second", 900), ("third", 800)];
    let watched = uses.map(|(name, len)| {
        let fake = Fake::new(|usage| usage.len = len);
        world.monitor.watch(name, &fake);
        fake
    });
    let findings = world.monitor.report().findings;
    let names: Vec<&str> = findings.iter().map(Finding::subject).collect();
    assert_eq!(names, ["second", "first", "third"]);
    drop(watched);
}
