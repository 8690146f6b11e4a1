//! Reports as a table and as JSON.

use leakproof::DedupSet;
use leakproof::monitor::Report;

use super::helpers::{MINUTE, World};

/// Returns the report of a leaking process with a map that fills up.
fn report() -> Report {
    let world = World::with(|builder| builder.memory_limit(4_000_000_000));
    let builder = DedupSet::<str>::builder()
        .ttl(1_440 * MINUTE)
        .max_entries(2_000)
        .clock(&world.time);
    let seen = builder.build().expect("valid options");
    world.monitor.watch("message_dedup", &seen);
    for minute in 0..30 {
        for id in 0..50 {
            seen.insert(&format!("{minute} {id}"));
        }
        world.minutes([500.0 + 100.0 * f64::from(minute)]);
    }
    world.monitor.report()
}

#[test]
fn display_prints_a_table_and_the_findings() {
    let shown = report().to_string();
    let (table, findings): (Vec<&str>, Vec<&str>) = (
        shown.lines().take(4).collect(),
        shown.lines().skip(4).collect(),
    );
    assert_eq!(
        table,
        [
            "critical: 5 findings, 30 samples over 29 min 0 s",
            "                          used   limit    use  growth/min   time left      oldest",
            "process        memory   3.4 GB  4.0 GB  85.0%   +100.0 MB   6 min 0 s           -",
            "message_dedup  entries   1,500   2,000  75.0%         +50  10 min 0 s  30 min 0 s",
        ]
    );
    assert_eq!(
        findings,
        [
            "critical: process: memory at 85.0% of the bound",
            "critical: process: memory will reach the bound in 6 min 0 s",
            "warning: process: active leak, 100.0 MB a minute",
            "warning: message_dedup: entries at 75.0% of the bound",
            "warning: message_dedup: entries will reach the bound in 10 min 0 s",
        ]
    );
}

#[test]
#[cfg(feature = "serde")]
fn json_has_durations_in_milliseconds() {
    let json = serde_json::to_value(report()).expect("serializable");
    assert_eq!(json["severity"], "critical");
    assert_eq!(
        (&json["samples"], &json["window_ms"]),
        (&30.into(), &(29 * 60_000).into())
    );
    let memory = &json["process"]["memory"];
    assert_eq!(memory["used"], 3_400_000_000_u64);
    assert_eq!(memory["limit"], 4_000_000_000_u64);
    assert_eq!(memory["percent"], 85.0);
    assert_eq!(memory["growth_per_minute"], 100e6);
    assert_eq!(memory["time_to_limit_ms"], 6 * 60_000);
    assert_eq!(json["process"]["open_files"], serde_json::Value::Null);
    let collection = &json["collections"][0];
    assert_eq!(collection["name"], "message_dedup");
    assert_eq!(collection["entries"]["used"], 1_500);
    assert_eq!(collection["entries"]["time_to_limit_ms"], 10 * 60_000);
    assert_eq!(collection["usage"]["ttl_ms"], 86_400_000);
    assert_eq!(collection["usage"]["oldest_entry_age_ms"], 30 * 60_000);
    let leak = &json["findings"][2];
    assert_eq!(leak["collection"], serde_json::Value::Null);
    assert_eq!(
        (&leak["kind"], &leak["severity"]),
        (&"memory_growth".into(), &"warning".into())
    );
    assert_eq!(leak["bytes_per_minute"], 100e6);
    assert_eq!(
        leak["text"],
        "warning: process: active leak, 100.0 MB a minute"
    );
    assert_eq!(json["findings"][4]["collection"], "message_dedup");
    assert_eq!(json["findings"][4]["time_left_ms"], 10 * 60_000);
}

#[test]
fn name_with_a_line_break_keeps_the_table_in_shape() {
    let world = World::with(|builder| builder.memory_limit(4_000_000_000));
    let seen = DedupSet::<str>::new(10, MINUTE);
    (0..9).for_each(|id| assert!(seen.insert(&id.to_string())));
    world.monitor.watch("two\nlines", &seen);
    let shown = world.monitor.report().to_string();
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines.len(), 5, "{shown}");
    assert!(lines[3].starts_with("two\\nlines  entries "), "{shown}");
    assert_eq!(
        lines[4],
        "critical: two\\nlines: entries at 90.0% of the bound"
    );
}
