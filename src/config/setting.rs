//! `Setting`: what one setting is called, and what is allowed; where all of them are judged.

use std::time::Duration;

#[cfg(feature = "serde")]
use super::duration::parse;
use super::error::{ConfigErrorKind, Wrong};
use crate::format::HumanDuration;

/// The most entries that a config allows; beyond reach on any machine.
pub(super) const MOST_ENTRIES: u64 = 1 << 28;
/// The same, for bytes and other weights.
pub(super) const MOST_WEIGHT: u64 = i64::MAX as u64;
/// The most shards.
pub(super) const MOST_SHARDS: u64 = crate::limits::MAX_SHARDS as u64;
pub(super) const SECOND: u64 = 1_000;
pub(super) const MINUTE: u64 = 60 * SECOND;
/// A hundred years, in milliseconds.
const LONGEST: u64 = 36_525 * 24 * 60 * MINUTE;

/// A config, by the table of its settings.
pub(super) trait Settings: Default + 'static {
    /// All of them.
    const SETTINGS: &'static [Setting<Self>];

    /// The number of shards, and the lowest bound of which each must have a part; nothing where there are no shards.
    fn shards(&mut self) -> Option<(&mut Option<usize>, u64)> {
        None
    }

    /// Where there are more shards than can each have a part of the bounds: the variable, the number, and what is wrong
    /// with it, which is then the default.
    fn judge_shards(&mut self) -> Option<(&'static str, usize, Wrong)> {
        let (shards, most) = self.shards()?;
        let number = shards.filter(|&number| number as u64 > most)?;
        *shards = None;
        let setting = Self::SETTINGS
            .iter()
            .find(|setting| setting.field == "shards")?;
        let wrong = Wrong {
            kind: ConfigErrorKind::TooLarge,
            allowed: Unit::Count.allowed(1, most, setting.may_be_off),
        };
        Some((setting.variable, number, wrong))
    }
}

/// One setting of a config.
pub(super) struct Setting<C> {
    /// Its field in the struct, and in what `serde` reads.
    pub(super) field: &'static str,
    /// Its variable, without the prefix.
    pub(super) variable: &'static str,
    unit: Unit,
    least: u64,
    most: u64,
    may_be_off: bool,
    /// Sets it, in its unit; `None` means off.
    set: fn(&mut C, Option<u64>),
}

/// What the number of a setting counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Count,
    Milliseconds,
    /// The place in this list.
    Choice(&'static [&'static str]),
}

impl<C> Setting<C> {
    /// A count that is in `1..=most`.
    pub(super) const fn count(
        field: &'static str,
        variable: &'static str,
        most: u64,
        set: fn(&mut C, Option<u64>),
    ) -> Self {
        Self {
            field,
            variable,
            unit: Unit::Count,
            least: 1,
            most,
            may_be_off: false,
            set,
        }
    }

    /// A time that is at least so many milliseconds.
    pub(super) const fn time(
        field: &'static str,
        variable: &'static str,
        least: u64,
        set: fn(&mut C, Option<u64>),
    ) -> Self {
        Self {
            field,
            variable,
            unit: Unit::Milliseconds,
            least,
            most: LONGEST,
            may_be_off: false,
            set,
        }
    }

    /// One of these words. It is set to the word's place among them.
    pub(super) const fn choice(
        field: &'static str,
        variable: &'static str,
        words: &'static [&'static str],
        set: fn(&mut C, Option<u64>),
    ) -> Self {
        Self {
            field,
            variable,
            unit: Unit::Choice(words),
            least: 0,
            most: 0,
            may_be_off: false,
            set,
        }
    }

    /// The same, but it may be `off`.
    pub(super) const fn or_off(mut self) -> Self {
        self.may_be_off = true;
        self
    }

    /// Sets it to a whole number or a word, as variables have them.
    pub(super) fn read_number(&self, value: &str, config: &mut C) -> Result<(), Wrong> {
        let value = value.trim();
        if let Unit::Choice(words) = self.unit {
            let place = words.iter().position(|word| *word == value);
            (self.set)(
                config,
                Some(place.ok_or_else(|| self.wrong(ConfigErrorKind::NotAChoice))? as u64),
            );
            return Ok(());
        }
        if value == "off" {
            return self.turn_off(config);
        }
        match value.parse() {
            Ok(number) => self.judge(number, config),
            // Digits alone, too many of them.
            Err(_) if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) => {
                self.judge(i128::MAX, config)
            }
            Err(_) => Err(self.wrong(ConfigErrorKind::NotANumber)),
        }
    }

    /// Sets it to a whole number or, if it is a time, to something like `1h30m`.
    #[cfg(feature = "serde")]
    pub(super) fn read_text(&self, value: &str, config: &mut C) -> Result<(), Wrong> {
        match parse(value) {
            Some(millis) if self.unit == Unit::Milliseconds => {
                self.judge(i128::from(millis), config)
            }
            _ => self
                .read_number(value, config)
                .map_err(|wrong| match (wrong.kind, self.unit) {
                    (ConfigErrorKind::NotANumber, Unit::Milliseconds) => Wrong {
                        kind: ConfigErrorKind::NotATime,
                        allowed: format!("{}, or a time such as 24h or 1h30m", wrong.allowed),
                    },
                    _ => wrong,
                }),
        }
    }

    /// Sets it to a number, if that is allowed.
    pub(super) fn judge(&self, number: i128, config: &mut C) -> Result<(), Wrong> {
        if matches!(self.unit, Unit::Choice(_)) {
            return Err(self.wrong(ConfigErrorKind::NotAChoice));
        }
        match u64::try_from(number) {
            Ok(number) if (self.least..=self.most).contains(&number) => {
                (self.set)(config, Some(number));
                Ok(())
            }
            _ if number < i128::from(self.least) => Err(self.wrong(ConfigErrorKind::TooSmall)),
            _ => Err(self.wrong(ConfigErrorKind::TooLarge)),
        }
    }

    /// Turns it off, if that is allowed.
    pub(super) fn turn_off(&self, config: &mut C) -> Result<(), Wrong> {
        if self.may_be_off {
            (self.set)(config, None);
            Ok(())
        } else {
            let is_choice = matches!(self.unit, Unit::Choice(_));
            Err(self.wrong(if is_choice {
                ConfigErrorKind::NotAChoice
            } else {
                ConfigErrorKind::NotANumber
            }))
        }
    }

    pub(super) fn wrong(&self, kind: ConfigErrorKind) -> Wrong {
        Wrong {
            kind,
            allowed: self.unit.allowed(self.least, self.most, self.may_be_off),
        }
    }
}

impl Unit {
    /// What is allowed, in words.
    fn allowed(self, least: u64, most: u64, may_be_off: bool) -> String {
        let off = if may_be_off { ", or \"off\"" } else { "" };
        match self {
            Self::Count => format!("a whole number, {least} to {most}{off}"),
            Self::Milliseconds => {
                let [from, to] = [least, most]
                    .map(|millis| HumanDuration(Duration::from_millis(millis)).to_string());
                format!("a whole number of milliseconds, {least} ({from}) to {most} ({to}){off}")
            }
            Self::Choice(words) => words
                .iter()
                .map(|word| format!("{word:?}"))
                .collect::<Vec<_>>()
                .join(" or "),
        }
    }
}

/// A number of milliseconds.
pub(super) fn time(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A count, on machines on which it does not fit the most that does.
pub(super) fn count(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
