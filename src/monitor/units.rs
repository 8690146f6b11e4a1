//! Figures as people read them.

use std::fmt;

/// Bytes, in the unit that leaves one to three digits before the point; 1 kB is 1,000 bytes.
pub(super) struct Bytes(pub(super) f64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")];
        match units.into_iter().find(|(unit, _)| self.0.abs() >= *unit) {
            Some((unit, name)) => write!(f, "{:.1} {name}", self.0 / unit),
            None => write!(f, "{:.0} B", self.0),
        }
    }
}

/// A count, with a comma at every third digit.
pub(super) struct Amount(pub(super) f64);

impl fmt::Display for Amount {
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

/// A count of things, by their name in the singular.
pub(super) struct Of<'a>(pub(super) u64, pub(super) &'a str);

impl fmt::Display for Of<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {}{}",
            Amount(self.0 as f64),
            self.1,
            if self.0 == 1 { "" } else { "s" }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_written_as_people_read_them() {
        let bytes = [
            (0.0, "0 B"),
            (999.0, "999 B"),
            (1_000.0, "1.0 kB"),
            (-2_500_000.0, "-2.5 MB"),
            (4.3e9, "4.3 GB"),
        ];
        for (value, text) in bytes {
            assert_eq!(Bytes(value).to_string(), text);
        }
        let amounts = [
            (0.0, "0"),
            (-0.4, "0"),
            (999.0, "999"),
            (-1_000.0, "-1,000"),
            (1_234_567.0, "1,234,567"),
        ];
        for (value, text) in amounts {
            assert_eq!(Amount(value).to_string(), text);
        }
        assert_eq!(
            [Of(0, "sample"), Of(1, "sample"), Of(2_000, "sample")]
                .map(|of| of.to_string())
                .join(", "),
            "0 samples, 1 sample, 2,000 samples"
        );
    }
}
