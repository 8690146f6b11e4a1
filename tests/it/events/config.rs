//! Events about invalid variables.

use leakproof::{DedupConfig, RegistryConfig};
use tracing::Level;

use super::tracing_capture::events_of;

fn invalid(name: &str) -> Option<String> {
    let value = match name {
        "IDS_TTL_MS" => "500",
        "IDS_MAX_ENTRIES" => "many",
        "IDS_LEASE_MS" => "5000",
        _ => return None,
    };
    Some(value.to_owned())
}

#[test]
fn config_event_has_variable_value_and_requirement() {
    let events = events_of(|| drop(DedupConfig::from_lookup_lenient("IDS", invalid)));
    let expected = [
        (
            "IDS_MAX_ENTRIES",
            "many",
            "must be a whole number between 1 and 268435456",
        ),
        (
            "IDS_TTL_MS",
            "500",
            "must be between 60000 (1 min) and 3155760000000 (100 years)",
        ),
    ];
    assert_eq!(events.len(), expected.len(), "{events:?}");
    for (event, (variable, value, requirement)) in events.iter().zip(expected) {
        assert_eq!(event.level, Level::WARN);
        assert_eq!(event.target, "leakproof::config");
        assert_eq!(event.field("variable"), variable);
        assert_eq!(event.field("value"), value);
        assert_eq!(event.field("requirement"), requirement);
    }
}

#[test]
fn strict_reader_and_valid_values_emit_no_event() {
    let events = events_of(|| {
        assert!(DedupConfig::from_lookup("IDS", invalid).is_err());
        let (_, errors) = RegistryConfig::from_lookup_lenient("EVENTS", invalid);
        assert_eq!(errors, []);
    });
    assert_eq!(events, []);
}
