//! Statistics and reports as JSON, for a health endpoint.

use std::collections::BTreeSet;
use std::time::Duration;

use leakproof::{Claim, DedupSet, ListenerRegistry, LruCache, ManualClock, RemovalCause};
use serde::Serialize;
use serde_json::Value;

/// Returns the names of all fields, including those of nested maps.
fn fields(of: &impl Serialize) -> Vec<String> {
    fn walk(value: &Value, names: &mut Vec<String>) {
        match value {
            Value::Object(map) => map.iter().for_each(|(name, value)| {
                names.push(name.clone());
                walk(value, names);
            }),
            Value::Array(values) => values.iter().for_each(|value| walk(value, names)),
            _ => {}
        }
    }
    let mut names = Vec::new();
    walk(
        &serde_json::to_value(of).expect("it serializes"),
        &mut names,
    );
    names.sort();
    names.dedup();
    names
}

/// Returns the statistics of a dedup set, a cache and a registry.
fn stats_of_each() -> [Value; 3] {
    let hour = Duration::from_secs(3600);
    let seen = DedupSet::<str>::new(10, hour);
    let cache = LruCache::<u32, u32>::new(10, hour);
    [
        serde_json::to_value(seen.stats()),
        serde_json::to_value(cache.stats()),
        serde_json::to_value(ListenerRegistry::<u32, u32>::new().stats()),
    ]
    .map(|json| json.expect("it serializes"))
}

#[test]
fn stats_have_exactly_the_fields_of_their_collection() {
    let all = [
        "evicted",
        "expired",
        "high_water",
        "inserted",
        "len",
        "oldest_entry_age_ms",
    ];
    let all = all.into_iter().chain(["rejected", "removed"]);
    let of_ids = [
        "max_entries",
        "duplicates",
        "in_flight",
        "in_flight_hits",
        "leases_expired",
        "evicted_by_bytes",
        "max_bytes",
        "bytes",
        "max_in_flight",
        "released",
        "claims_rejected",
        "restored",
        "journal_bytes",
        "journal_longest_write_ms",
        "journal_errors",
        "unsaved",
        "shortest_window_ms",
        "ttl_ms",
        "waiting",
        "max_waiting",
        "waits",
        "waits_rejected",
    ];
    let of_caches = [
        "max_entries",
        "callback_panics",
        "evicted_by_weight",
        "hits",
        "idle",
        "idle_timeout_ms",
        "max_weight",
        "misses",
        "stale_hits",
        "ttl_ms",
        "replaced",
        "weight",
        "waiting",
        "max_waiting",
        "waits",
        "waits_rejected",
    ];
    let of_listeners = [
        "calls",
        "dropped",
        "emitted",
        "failed",
        "failures",
        "max_listeners",
        "max_per_topic",
        "open_breakers",
        "scopes",
        "owner_dropped",
        "panics",
        "replaced",
        "scope_ended",
        "skipped",
        "call_limit_reached",
        "ttl_ms",
    ];
    for (stats, own) in stats_of_each()
        .iter()
        .zip([&of_ids[..], &of_caches, &of_listeners])
    {
        let mut expected: Vec<&str> = all.clone().chain(own.iter().copied()).collect();
        expected.sort_unstable();
        assert_eq!(fields(stats), expected);
    }
}

#[test]
fn guide_explains_every_field_and_every_finding() {
    const GUIDE: &str = include_str!("../../docs/guide.md");
    let mut names: Vec<String> = stats_of_each().iter().flat_map(fields).collect();
    #[cfg(feature = "governor")]
    names.extend(fields(&leakproof::governor::RateLimitStats::default()));
    #[cfg(feature = "monitor")]
    names.extend(reported());
    // Explained names are in the first column of a table.
    let rows = GUIDE
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split_once(" |"));
    let explained: BTreeSet<&str> = rows
        .flat_map(|(first, _)| first.split('`').skip(1).step_by(2))
        .collect();
    let unexplained: Vec<_> = names
        .iter()
        .filter(|name| !explained.contains(name.as_str()))
        .collect();
    assert!(unexplained.is_empty(), "{unexplained:?}");
}

/// Returns the fields of a report and the kinds of findings.
#[cfg(feature = "monitor")]
fn reported() -> Vec<String> {
    use leakproof::monitor::{Figure, Kind, Monitor, ProcessFigures, Resource};
    let crowded = || ProcessFigures {
        memory_bytes: Some(99),
        memory_limit_bytes: Some(100),
        ..ProcessFigures::read()
    };
    let monitor = Monitor::builder()
        .process(crowded)
        .build()
        .expect("valid options");
    let seen = DedupSet::<str>::new(1, Duration::from_secs(3600));
    let cache = LruCache::<u32, u32>::new(10, Duration::from_secs(3600));
    let bus = ListenerRegistry::<u32, u32>::new();
    monitor.watch("seen", &seen);
    monitor.watch("cache", &cache);
    monitor.watch("bus", &bus);
    let mut report = monitor.report();
    let figures = [
        Figure::Percent(1.0),
        Figure::BytesPerMinute(1.0),
        Figure::TimeLeft(Duration::ZERO),
        Figure::Window {
            kept: Duration::ZERO,
            ttl: Duration::ZERO,
        },
        Figure::Count(1),
    ];
    let crowded = report.findings[0].clone();
    report.findings = figures
        .into_iter()
        .map(|figure| {
            let mut finding = crowded.clone();
            finding.figure = figure;
            finding
        })
        .collect();
    let resources = [
        Resource::Entries,
        Resource::Weight,
        Resource::InFlight,
        Resource::Memory,
        Resource::OpenFiles,
    ];
    let by_resource = resources
        .iter()
        .flat_map(|&of| [Kind::Use(of), Kind::TimeLeft(of)]);
    let others = [
        Kind::MemoryGrowth,
        Kind::WindowShortened,
        Kind::Rejected,
        Kind::BreakersOpen,
    ];
    let kinds = by_resource
        .chain(others)
        .map(|kind| kind.as_str().to_owned());
    fields(&report).into_iter().chain(kinds).collect()
}

#[test]
fn stats_serialize_durations_as_milliseconds() {
    let time = ManualClock::new();
    let builder = DedupSet::<str>::builder()
        .ttl(Duration::from_secs(86_400))
        .max_entries(2)
        .max_bytes(100);
    let seen = builder.clock(&time).build().expect("valid options");
    for id in ["a", "b", "b", "c"] {
        seen.insert(id);
        time.advance(Duration::from_millis(1_500));
    }
    let Claim::Fresh(_ticket) = seen.claim("dd") else {
        panic!("fresh")
    };
    let json = serde_json::to_value(seen.stats()).expect("it serializes");
    for (name, value) in [
        ("len", 2),
        ("max_entries", 2),
        ("high_water", 2),
        ("ttl_ms", 86_400_000),
        ("oldest_entry_age_ms", 4_500),
        ("shortest_window_ms", 4_500),
        ("bytes", 4),
        ("max_bytes", 100),
        ("in_flight", 1),
        ("max_in_flight", 10_000),
        ("inserted", 3),
        ("duplicates", 1),
        ("evicted", 1),
        ("expired", 0),
    ] {
        assert_eq!(json[name], value, "{name}");
    }
}

#[test]
fn listener_info_and_removal_cause_serialize() {
    let time = ManualClock::new();
    let bus = ListenerRegistry::<&str, u32>::builder()
        .clock(&time)
        .build()
        .expect("valid options");
    let _guard = bus
        .listen("message")
        .label("audit")
        .priority(2)
        .on(|_| false)
        .expect("below the bounds");
    time.advance(Duration::from_millis(1_500));
    bus.emit("message", &1).unwrap();
    let json = serde_json::to_value(bus.listeners()).expect("it serializes");
    for (name, value) in [
        ("topic", "message".into()),
        ("label", "audit".into()),
        ("key", Value::Null),
        ("priority", 2.into()),
        ("age_ms", 1_500.into()),
        ("calls", 1.into()),
        ("failures", 1.into()),
        ("paused", false.into()),
        ("breaker_open", false.into()),
    ] {
        assert_eq!(json[0][name], value, "{name}");
    }
    assert!(json[0]["id"].is_u64());
    assert!(
        json[0]["location"]
            .as_str()
            .is_some_and(|place| place.starts_with("tests/it/json.rs:")),
        "{json}"
    );
    assert_eq!(
        serde_json::to_value(RemovalCause::ScopeEnded).expect("it serializes"),
        "scope ended"
    );
}
