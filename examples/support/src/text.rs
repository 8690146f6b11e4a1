//! Numbers and durations for readers.

use std::fmt::Display;
use std::time::Duration;

/// Formats a whole number with a comma between groups of three digits.
pub fn thousands(number: impl Display) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(String::from_utf8_lossy)
        .collect();
    groups.join(",")
}

/// Formats a duration in whole seconds, or in milliseconds if it is below a second.
pub fn human(time: Duration) -> String {
    let rounded = if time.as_secs() > 0 {
        Duration::from_secs(time.as_secs())
    } else {
        Duration::from_millis(time.as_millis() as u64)
    };
    humantime::format_duration(rounded).to_string()
}
