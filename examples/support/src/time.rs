//! Times as options and lines give them.

use std::time::Duration;

use crate::Result;

/// What power of ten of a second makes nanoseconds.
pub const SECONDS: usize = 9;

pub const DAY: Duration = Duration::from_secs(24 * 3600);

/// A whole number and its unit.
pub fn duration(text: &str) -> Result<Duration, &'static str> {
    let (count, unit) = text.split_at(
        text.find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len()),
    );
    let unit_ms = match unit {
        "ms" => Some(1),
        "s" => Some(1000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        "d" => Some(86_400_000),
        _ => None,
    };
    let millis = count
        .parse::<u64>()
        .ok()
        .zip(unit_ms)
        .and_then(|(count, unit_ms)| count.checked_mul(unit_ms));
    millis
        .map(Duration::from_millis)
        .ok_or("a time is a whole number, within reach, and its unit: 24h, 90m, 3600s, 500ms")
}

/// What power of ten of a unit makes nanoseconds.
pub fn decimals(unit: &str) -> Result<usize, &'static str> {
    match unit {
        "s" => Ok(SECONDS),
        "ms" => Ok(6),
        _ => Err("the unit is s or ms"),
    }
}

/// Reads a decimal number as nanoseconds; not by way of a float, which cannot hold the nanoseconds of our time.
pub fn nanos(text: &str, decimals: usize) -> Result<u64, &'static str> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_number =
        |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let nanos = || {
        let fraction: u64 = format!("{fraction:0<decimals$}")[..decimals].parse().ok()?;
        whole
            .parse::<u64>()
            .ok()?
            .checked_mul(10_u64.pow(decimals as u32))?
            .checked_add(fraction)
    };
    (is_number(whole) && is_number(fraction))
        .then(nanos)
        .flatten()
        .ok_or("no valid timestamp")
}
