//! Events about invalid variables.

use leakproof::{DedupConfig, RegistryConfig};
use tracing::Level;

use super::tracing_capture::events_of;

fn wrong(name: &str) -> Option<String> {
    match name {
        "IDS_TTL_MS" => Some("500".to_owned()),
        "IDS_MAX_ENTRIES" => Some("many".to_owned()),
        "IDS_LEASE_MS" => Some("5000".to_owned()),
        _ => None,
    }
}

#[test]
fn config_event_has_variable_value_and_allowed_range() {
    let told = events_of(|| drop(DedupConfig::from_lookup_lenient("IDS", wrong)));
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told.iter()
            .all(|told| (told.level, &*told.target) == (Level::WARN, "leakproof::config"))
    );
    assert_eq!(
        (told[0].field("variable"), told[0].field("value")),
        ("IDS_TTL_MS", "500")
    );
    assert_eq!(told[0].field("problem"), "too small");
    assert!(told[0].field("allowed").contains("60000"), "{told:?}");
    assert_eq!(
        (told[1].field("variable"), told[1].field("problem")),
        ("IDS_MAX_ENTRIES", "not a whole number")
    );
}

#[test]
fn strict_reader_and_valid_values_emit_no_event() {
    let told = events_of(|| {
        assert!(DedupConfig::from_lookup("IDS", wrong).is_err());
        assert!(
            RegistryConfig::from_lookup_lenient("IDS", wrong)
                .1
                .is_empty()
        );
    });
    assert_eq!(told, []);
}
