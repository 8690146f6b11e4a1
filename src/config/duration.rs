//! Times as text: `24h`, `90m`, `1h30m`, `500ms`.

/// The units, and the milliseconds that each has. Of those that begin alike, the longer comes first.
const UNITS: [(&str, u64); 6] = [
    ("ms", 1),
    ("min", 60_000),
    ("m", 60_000),
    ("s", 1_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

/// The milliseconds of a time: whole numbers, each with its unit. Saturates.
pub(super) fn parse(text: &str) -> Option<u64> {
    let mut rest = text.trim();
    let mut sum = 0u64;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number = rest.get(..digits).filter(|digits| !digits.is_empty())?;
        let number: u64 = number.parse().unwrap_or(u64::MAX);
        rest = rest[digits..].trim_start();
        let (name, millis) = UNITS.into_iter().find(|(name, _)| rest.starts_with(name))?;
        sum = sum.saturating_add(number.saturating_mul(millis));
        rest = rest[name.len()..].trim_start();
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn times_are_whole_numbers_with_units() {
        let hour = 3_600_000;
        for (text, millis) in [
            ("24h", 24 * hour),
            ("90m", 90 * 60_000),
            ("1h30m", hour + 30 * 60_000),
            ("1h 30min", hour + 30 * 60_000),
            (" 2 d ", 48 * hour),
            ("45s", 45_000),
            ("500ms", 500),
            ("1d2h3m4s5ms", 86_400_000 + 2 * hour + 3 * 60_000 + 4_005),
            ("0h", 0),
            ("99999999999999999999d", u64::MAX),
        ] {
            assert_eq!(parse(text), Some(millis), "{text}");
        }
        for text in [
            "",
            " ",
            "24",
            "h",
            "24 hours!",
            "1.5h",
            "-1h",
            "1h30",
            "24H",
            "1w",
            "½h",
            "1hé",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
