//! Durations as integer milliseconds, for `serde`.

use std::time::Duration;

/// Converts to milliseconds, saturating.
pub(crate) fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn as_ms<S: serde::Serializer>(
    time: &Duration,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(ms(*time))
}

#[allow(clippy::ref_option, reason = "the signature that serde calls")]
pub(crate) fn optional_ms<S: serde::Serializer>(
    time: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serde::Serialize::serialize(&time.map(ms), serializer)
}
