//! Statistics as JSON, for a health endpoint.
#![cfg(feature = "serde")]

use std::time::Duration;

use leakproof::{Claim, DedupSet, ManualClock};

#[test]
fn statistics_serialize_with_durations_in_milliseconds() {
    let time = ManualClock::new();
    let builder = DedupSet::<str>::builder().ttl(Duration::from_secs(86_400)).max_entries(2).max_bytes(100);
    let seen = builder.clock(&time).build().expect("sound limits");
    for id in ["a", "b", "b", "c"] {
        seen.insert(id);
        time.advance(Duration::from_millis(1_500));
    }
    let Claim::Fresh(_ticket) = seen.claim("dd") else { panic!("fresh") };
    let json = serde_json::to_value(seen.stats()).expect("it serializes");
    for (name, value) in [
        ("len", 2),
        ("max_entries", 2),
        ("high_water", 2),
        ("ttl_ms", 86_400_000),
        ("oldest_entry_age_ms", 4_500),
        ("shortest_window_ms", 4_500),
        ("weight", 4),
        ("max_weight", 100),
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
