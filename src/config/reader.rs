//! `Reader`: parses and validates settings, from variables or from a deserialized map.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::ConfigError;
use crate::events;
use crate::limits::MAX_SHARDS;

/// The range of a number of entries. No machine reaches its end.
pub(crate) const ENTRIES: RangeInclusive<u64> = 1..=1 << 28;
/// The range of bytes or weights.
pub(crate) const WEIGHT: RangeInclusive<u64> = 1..=i64::MAX as u64;
/// A hundred years, in milliseconds.
const CENTURY: u64 = 100 * 31_557_600_000;
pub(crate) const FROM_1_SECOND: RangeInclusive<u64> = 1_000..=CENTURY;
pub(crate) const FROM_1_MINUTE: RangeInclusive<u64> = 60_000..=CENTURY;

pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// A config that a [`Reader`] can read.
pub(crate) trait Settings: Sized {
    fn read(reader: &mut Reader<'_>) -> Self;
}

/// The type of a setting.
pub(crate) trait Value: Sized {
    const IS_DURATION: bool;
    /// The value of `off`, if the setting is optional.
    const OFF: Option<Self> = None;

    fn from_number(number: u64) -> Self;
}

macro_rules! values {
    ($($value:ty, $is_duration:literal, $from_number:expr;)*) => {$(
        impl Value for $value {
            const IS_DURATION: bool = $is_duration;

            fn from_number(number: u64) -> Self {
                $from_number(number)
            }
        }
    )*};
}
values! {
    u32, false, |number| u32::try_from(number).unwrap_or(u32::MAX);
    u64, false, |number| number;
    usize, false, |number| usize::try_from(number).unwrap_or(usize::MAX);
    Duration, true, Duration::from_millis;
}

impl<V: Value> Value for Option<V> {
    const IS_DURATION: bool = V::IS_DURATION;
    const OFF: Option<Self> = Some(None);

    fn from_number(number: u64) -> Self {
        Some(V::from_number(number))
    }
}

/// The source of the texts of settings.
#[derive(Clone, Copy)]
pub(crate) enum Source<'a> {
    Variables {
        prefix: &'a str,
    },
    #[cfg(feature = "serde")]
    Fields,
}

pub(crate) struct Reader<'a> {
    source: Source<'a>,
    lookup: &'a dyn Fn(&str) -> Option<String>,
    fields: Vec<&'static str>,
    pub(crate) errors: Vec<ConfigError>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(source: Source<'a>, lookup: &'a dyn Fn(&str) -> Option<String>) -> Self {
        let (fields, errors) = (Vec::new(), Vec::new());
        Self {
            source,
            lookup,
            fields,
            errors,
        }
    }

    /// Returns the name of a setting in this source.
    pub(crate) fn name<V: Value>(&self, field: &str) -> String {
        match self.source {
            Source::Variables { prefix } => {
                let unit = if V::IS_DURATION { "_MS" } else { "" };
                format!("{prefix}_{}{unit}", field.to_uppercase())
            }
            #[cfg(feature = "serde")]
            Source::Fields => field.to_owned(),
        }
    }

    /// Reads a number or duration. Returns `default` if it is absent or invalid.
    pub(crate) fn number<V: Value>(
        &mut self,
        field: &'static str,
        range: RangeInclusive<u64>,
        default: V,
    ) -> V {
        self.fields.push(field);
        let name = self.name::<V>(field);
        let Some(text) = (self.lookup)(&name) else {
            return default;
        };
        let must = match (text.trim(), V::OFF) {
            ("off", Some(off)) => return off,
            (text, _) => match self.parse::<V>(text) {
                Some(number) if range.contains(&number) => return V::from_number(number),
                Some(_) => "must be",
                None if self.takes_texts::<V>() => "must be a duration such as 24h,",
                None => "must be a whole number",
            },
        };
        let show = |number: u64| match V::IS_DURATION {
            true => format!("{number} ({})", exact_duration(number)),
            false => number.to_string(),
        };
        let (start, end) = (show(*range.start()), show(*range.end()));
        let or_off = if V::OFF.is_some() { ", or off" } else { "" };
        self.reject(
            name,
            text,
            format!("{must} between {start} and {end}{or_off}"),
        );
        default
    }

    /// Reads a number from 0 to 1. Returns `default` if it is absent or invalid.
    pub(crate) fn fraction(&mut self, field: &'static str, default: f64) -> f64 {
        self.fields.push(field);
        let name = self.name::<u64>(field);
        let Some(text) = (self.lookup)(&name) else {
            return default;
        };
        let trimmed = text.trim();
        // `f64::from_str` accepts signs, exponents, infinity and NaN as well.
        let is_decimal = trimmed
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.');
        match trimmed.parse() {
            Ok(fraction) if is_decimal && fraction <= 1.0 => fraction,
            _ => {
                self.reject(name, text, "must be a number between 0 and 1".to_owned());
                default
            }
        }
    }

    /// Reads the number of shards. Each shard must receive at least 1 of the smallest bound.
    pub(crate) fn shards(&mut self, smallest_bound: u64) -> Option<usize> {
        self.number("shards", 1..=smallest_bound.min(MAX_SHARDS as u64), None)
    }

    /// Reads one of several words. Returns the first one if the setting is absent or invalid.
    pub(crate) fn choice<V: Copy>(&mut self, field: &'static str, choices: [(&str, V); 2]) -> V {
        self.fields.push(field);
        let name = self.name::<u64>(field);
        let Some(text) = (self.lookup)(&name) else {
            return choices[0].1;
        };
        let choice = choices.iter().find(|(word, _)| *word == text.trim());
        if choice.is_none() {
            self.reject(
                name,
                text,
                format!("must be {} or {}", choices[0].0, choices[1].0),
            );
        }
        choice.unwrap_or(&choices[0]).1
    }

    pub(crate) fn reject(&mut self, variable: String, value: String, requirement: String) {
        self.errors.push(ConfigError {
            variable,
            value,
            requirement,
        });
    }

    /// Returns `true` if the setting accepts durations such as `24h`. The name of a variable states
    /// its unit instead.
    fn takes_texts<V: Value>(&self) -> bool {
        V::IS_DURATION && !matches!(self.source, Source::Variables { .. })
    }

    fn parse<V: Value>(&self, text: &str) -> Option<u64> {
        // `u64::from_str` accepts a plus sign as well.
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Some(text.parse().unwrap_or(u64::MAX));
        }
        #[cfg(feature = "serde")]
        if self.takes_texts::<V>() {
            return humantime::parse_duration(text).ok().map(crate::stats::ms);
        }
        None
    }
}

/// Reads a config from variables. An invalid one leaves the default.
pub(crate) fn read<C: Settings>(
    prefix: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> (C, Vec<ConfigError>) {
    let mut reader = Reader::new(Source::Variables { prefix }, lookup);
    (C::read(&mut reader), reader.errors)
}

pub(crate) fn read_strictly<C: Settings>(
    prefix: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<C, ConfigError> {
    let (config, errors) = read(prefix, lookup);
    errors.into_iter().next().map_or(Ok(config), Err)
}

pub(crate) fn read_leniently<C: Settings>(
    prefix: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> (C, Vec<ConfigError>) {
    let (config, errors) = read(prefix, lookup);
    for error in &errors {
        events::setting_replaced(&error.variable, &error.value, &error.requirement);
    }
    (config, errors)
}

/// Returns a duration in the largest unit that divides it.
fn exact_duration(millis: u64) -> String {
    match millis {
        _ if millis % 31_557_600_000 == 0 => format!("{} years", millis / 31_557_600_000),
        _ if millis % 60_000 == 0 => format!("{} min", millis / 60_000),
        _ => format!("{} s", millis / 1_000),
    }
}

/// Deserializes a map of fields. The reader validates it as it validates variables.
#[cfg(feature = "serde")]
pub(crate) fn deserialize<'de, C: Settings, D>(deserializer: D) -> Result<C, D::Error>
where
    D: serde::Deserializer<'de>,
{
    use serde::de::{Deserialize, Error};
    use std::collections::BTreeMap;

    #[derive(serde::Deserialize)]
    #[serde(untagged, expecting = "expected a number, a text or null")]
    enum Scalar {
        Number(u64),
        Fraction(f64),
        Text(String),
        Null(()),
    }

    let fields = BTreeMap::<String, Scalar>::deserialize(deserializer)?;
    let lookup = |field: &str| match fields.get(field)? {
        Scalar::Number(number) => Some(number.to_string()),
        Scalar::Fraction(number) => Some(number.to_string()),
        Scalar::Text(text) => Some(text.clone()),
        Scalar::Null(()) => Some("off".to_owned()),
    };
    let mut reader = Reader::new(Source::Fields, &lookup);
    let config = C::read(&mut reader);
    let known = &reader.fields;
    if let Some(unknown) = fields.keys().find(|field| !known.contains(&field.as_str())) {
        let known = known.join(", ");
        let message = format!("unknown field {unknown}, expected one of {known}");
        return Err(D::Error::custom(message));
    }
    let error = reader.errors.into_iter().next();
    error.map_or(Ok(config), |error| Err(D::Error::custom(error)))
}
