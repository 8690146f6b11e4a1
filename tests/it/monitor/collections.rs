//! Collections: how full, how long until the bound, whether they keep what they promise.

use std::sync::Arc;
use std::time::Duration;

use leakproof::monitor::{Figure, Kind, Resource, Severity, Thresholds};
use leakproof::{CircuitBreaker, Claim, DedupSet, ListenerRegistry, LruCache, Watch};

use super::helpers::{Fake, MINUTE, World, count, finding, severity};

const DAY: Duration = Duration::from_secs(86_400);

fn dedup(world: &World, ttl: Duration, max: usize) -> DedupSet<str> {
    let builder = DedupSet::<str>::builder()
        .ttl(ttl)
        .max_entries(max)
        .max_in_flight(10)
        .shards(1);
    let seen = builder.clock(&world.time).build().expect("sound limits");
    world.monitor.watch("message_dedup", &seen);
    seen
}

/// So many minutes in each of which so many ids are new.
fn fill(world: &World, seen: &DedupSet<str>, minutes: usize, a_minute: usize) {
    for minute in 0..minutes {
        for id in 0..a_minute {
            seen.insert(&format!("{:?} {minute} {id}", world.time));
        }
        world.quiet(1);
    }
}

#[test]
fn use_of_a_bound_is_a_warning_from_75_percent_and_critical_from_85() {
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
fn bytes_and_ids_in_flight_have_bounds_too() {
    let world = World::new();
    let builder = DedupSet::<str>::builder()
        .ttl(DAY)
        .max_entries(1_000)
        .max_bytes(100)
        .max_in_flight(4)
        .shards(1);
    let seen = builder.clock(&world.time).build().expect("sound limits");
    world.monitor.watch("message_dedup", &seen);
    seen.insert(&"k".repeat(77));
    let tickets: Vec<_> = ["a", "b", "c"].iter().map(|id| seen.claim(id)).collect();
    assert!(tickets.iter().all(|claim| matches!(claim, Claim::Fresh(_))));
    let report = world.monitor.report();
    let collection = report.collection("message_dedup").expect("watched");
    assert_eq!(collection.weight.expect("bounded").percent(), Some(80.0));
    assert_eq!(collection.in_flight.expect("bounded").percent(), Some(75.0));
    assert_eq!(
        severity(&report, Kind::Use(Resource::Weight)),
        Severity::Warning
    );
    assert_eq!(
        severity(&report, Kind::Use(Resource::InFlight)),
        Severity::Warning
    );
}

#[test]
fn the_time_until_the_bound_is_told_and_little_of_it_is_a_finding() {
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
fn a_map_that_fills_up_after_a_start_is_not_one_that_overflows() {
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
    // The rate has risen, while entries expire: now it is one, and is seen coming.
    let mut first_told = None;
    for minute in 0..60 {
        fill(&world, &seen, 1, 180);
        let left = finding(&world.monitor.report(), Kind::TimeLeft(Resource::Entries))
            .map(|left| left.figure);
        first_told = first_told.or(left.map(|left| (minute, left)));
        if seen.stats().evicted > 0 {
            let Some((told, Figure::TimeLeft(left))) = first_told else {
                panic!("it was not seen coming")
            };
            assert!(
                minute - told >= 10,
                "told in minute {told}, full in minute {minute}"
            );
            assert!((10 * MINUTE..60 * MINUTE).contains(&left), "{left:?}");
            return;
        }
    }
    panic!("180 a minute do not fit");
}

#[test]
fn ids_evicted_while_live_are_a_window_shortened_until_it_is_kept_again() {
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

    // 20 a minute live for 50 minutes until they are evicted: more than half of the ttl.
    fill(&world, &seen, 80, 20);
    let report = world.monitor.report();
    assert_eq!(
        severity(&report, Kind::WindowShortened),
        Severity::Warning,
        "{report}"
    );

    // 10 a minute live for an hour.
    fill(&world, &seen, 80, 10);
    assert_eq!(
        finding(&world.monitor.report(), Kind::WindowShortened),
        None
    );
}

#[test]
fn a_full_cache_does_its_job_and_is_no_finding_unless_told_so() {
    for (may_be_full, expected) in [(true, Severity::Normal), (false, Severity::Critical)] {
        let thresholds = Thresholds {
            caches_may_be_full: may_be_full,
            ..Thresholds::default()
        };
        let world = World::with(|builder| builder.thresholds(thresholds));
        let builder = LruCache::<u32, u32>::builder()
            .max_entries(100)
            .clock(&world.time);
        let cache = builder.build().expect("sound limits");
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
            "a cache has no window to keep"
        );
    }
}

#[test]
fn what_was_rejected_before_the_window_is_past() {
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
fn breakers_are_open_where_listeners_are_silenced_or_were_detached_forfailing() {
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
fn a_registry_tells_of_rejections_and_of_its_breaker() {
    let world = World::new();
    let breaker = CircuitBreaker {
        failures: 3,
        retry_after: Some(10 * MINUTE),
    };
    let builder = ListenerRegistry::<u8, bool>::builder()
        .max_listeners(2)
        .circuit_breaker(breaker)
        .clock(&world.time);
    let bus = builder.build().expect("sound limits");
    world.monitor.watch("events", &bus);
    let fails = |fails: &bool| if *fails { Err("failed") } else { Ok(()) };
    let failing = bus.on(1, fails).expect("there is room");
    assert_eq!(world.quiet(1).findings, []);

    let _other = bus.on(2, fails).expect("there is room");
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
    assert_eq!(bus.stats().open_breakers, 0, "it left");
    bus.validate();
}

#[test]
fn a_collection_is_held_weakly_and_forgotten_when_it_is_gone() {
    let world = World::new();
    let seen = dedup(&world, DAY, 10);
    assert_eq!(world.monitor.report().collections.len(), 1);
    let weak = seen.downgrade_to_sweep();
    drop(seen);
    assert_eq!(weak.strong_count(), 0, "the monitor does not keep it");
    assert_eq!(world.monitor.report().collections, []);
}

#[test]
fn a_name_stands_for_one_collection_the_last() {
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
        "the former's samples are gone with it"
    );
    assert!(world.monitor.unwatch("message_dedup"));
    assert!(!world.monitor.unwatch("message_dedup"));
    assert_eq!(world.monitor.report().collections, []);
}

#[test]
fn a_collection_that_panics_is_left_out_and_the_others_are_told_of() {
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
    assert_eq!(report.panics, 2, "when it came to be watched, and now");
}

#[test]
fn no_more_samples_are_kept_than_said_and_a_report_takes_none() {
    let world = World::with(|builder| builder.samples(12));
    let seen = dedup(&world, DAY, 100_000);
    for _ in 0..100 {
        assert!(world.quiet(1).samples <= 12);
    }
    let report = world.monitor.report();
    assert_eq!((report.samples, report.window), (12, 11 * MINUTE));
    // What is older than the window has no say.
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
            "a report is no sample"
        );
        assert_eq!(
            later.collection("message_dedup").expect("watched").entries,
            entries
        );
    }
}
