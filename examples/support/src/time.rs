//! Timestamps in input lines.

use std::time::Duration;

pub const DAY: Duration = Duration::from_secs(24 * 3600);

/// The unit of the timestamps.
#[derive(Clone, Copy, Debug, Default)]
pub enum TimeUnit {
    #[default]
    Seconds,
    Milliseconds,
}

impl TimeUnit {
    /// Parses the value of the option `--time-unit`.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        match text {
            "s" => Ok(Self::Seconds),
            "ms" => Ok(Self::Milliseconds),
            _ => Err("the unit must be s or ms"),
        }
    }

    /// Parses a decimal number of this unit as nanoseconds.
    ///
    /// A float is not precise enough: it cannot hold the nanoseconds since 1970.
    pub fn nanos(self, text: &str) -> Result<u64, &'static str> {
        let decimals = match self {
            Self::Seconds => 9,
            Self::Milliseconds => 6,
        };
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let is_number =
            |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let nanos = || {
            let fraction: u64 = format!("{fraction:0<decimals$}")[..decimals].parse().ok()?;
            let whole: u64 = whole.parse().ok()?;
            whole
                .checked_mul(10_u64.pow(decimals as u32))?
                .checked_add(fraction)
        };
        (is_number(whole) && is_number(fraction))
            .then(nanos)
            .flatten()
            .ok_or("invalid timestamp")
    }
}
