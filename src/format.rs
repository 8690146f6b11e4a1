//! Figures and names in the form that people read.

use std::fmt;
use std::time::Duration;

/// A duration in its two largest units.
pub(crate) struct HumanDuration(pub(crate) Duration);

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        match seconds {
            0 => write!(f, "{} ms", self.0.as_millis()),
            1..60 => match self.0.subsec_millis() {
                0 => write!(f, "{seconds} s"),
                millis => write!(f, "{seconds} s {millis} ms"),
            },
            60..3600 => write!(f, "{} min {} s", seconds / 60, seconds % 60),
            3600..172_800 => write!(f, "{} h {} min", seconds / 3600, seconds / 60 % 60),
            _ => write!(f, "{} d {} h", seconds / 86_400, seconds / 3600 % 24),
        }
    }
}

/// Bytes in the unit that leaves one to three digits before the point. 1 kB is 1,000 bytes.
#[cfg(feature = "monitor")]
pub(crate) struct Bytes(pub(crate) f64);

#[cfg(feature = "monitor")]
impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")];
        match units.into_iter().find(|(unit, _)| self.0.abs() >= *unit) {
            Some((unit, name)) => write!(f, "{:.1} {name}", self.0 / unit),
            None => write!(f, "{:.0} B", self.0),
        }
    }
}

/// A rounded number with thousands separators.
#[cfg(feature = "monitor")]
pub(crate) struct Grouped(pub(crate) f64);

#[cfg(feature = "monitor")]
impl fmt::Display for Grouped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = format!("{:.0}", self.0.abs());
        if self.0 < 0.0 && digits != "0" {
            f.write_str("-")?;
        }
        for (at, digit) in digits.char_indices() {
            if at > 0 && (digits.len() - at) % 3 == 0 {
                f.write_str(",")?;
            }
            write!(f, "{digit}")?;
        }
        Ok(())
    }
}

/// A number of things, with the noun in singular or plural.
#[cfg(feature = "monitor")]
pub(crate) struct Counted<'a>(pub(crate) u64, pub(crate) &'a str);

#[cfg(feature = "monitor")]
impl fmt::Display for Counted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.0 == 1 { "" } else { "s" };
        write!(f, "{} {}{plural}", Grouped(self.0 as f64), self.1)
    }
}

/// A text with its control characters escaped, so that it stays on one line.
pub(crate) struct OneLine<'a>(pub(crate) &'a str);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            // U+2028 and U+2029 separate lines and paragraphs, and are no control characters.
            if character.is_control() || matches!(character, '\u{2028}' | '\u{2029}') {
                write!(f, "{}", character.escape_default())?;
            } else {
                write!(f, "{character}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duration_has_its_two_largest_units() {
        for (millis, text) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (1_000, "1 s"),
            (1_500, "1 s 500 ms"),
            (59_999, "59 s 999 ms"),
            (60_000, "1 min 0 s"),
            (3_599_999, "59 min 59 s"),
            (86_400_000, "24 h 0 min"),
            (172_800_000, "2 d 0 h"),
        ] {
            assert_eq!(
                HumanDuration(Duration::from_millis(millis)).to_string(),
                text
            );
        }
    }

    #[cfg(feature = "monitor")]
    #[test]
    fn bytes_have_one_to_three_digits_before_the_point() {
        for (value, text) in [
            (0.0, "0 B"),
            (999.0, "999 B"),
            (1_000.0, "1.0 kB"),
            (-2_500_000.0, "-2.5 MB"),
            (4.3e9, "4.3 GB"),
        ] {
            assert_eq!(Bytes(value).to_string(), text);
        }
    }

    #[cfg(feature = "monitor")]
    #[test]
    fn grouped_separates_thousands() {
        for (value, text) in [
            (0.0, "0"),
            (-0.4, "0"),
            (999.0, "999"),
            (-1_000.0, "-1,000"),
            (1_234_567.0, "1,234,567"),
        ] {
            assert_eq!(Grouped(value).to_string(), text);
        }
    }

    #[cfg(feature = "monitor")]
    #[test]
    fn counted_uses_the_plural_except_for_one() {
        let texts = [0, 1, 2_000].map(|count| Counted(count, "sample").to_string());
        assert_eq!(texts, ["0 samples", "1 sample", "2,000 samples"]);
    }

    #[test]
    fn one_line_escapes_line_breaks_only() {
        let text = OneLine("a\r\n\tb\u{85}\u{2028}é\\").to_string();
        assert_eq!(text, "a\\r\\n\\tb\\u{85}\\u{2028}é\\");
    }
}
