//! `ConfigError`: which setting is wrong, and what is allowed.

use std::error::Error;
use std::fmt;

/// A setting that is wrong: its variable, its value, and what is allowed.
///
/// ```
/// use leakproof::{ConfigErrorKind, DedupConfig};
///
/// let lookup = |name: &str| (name == "WA_MESSAGE_DEDUP_TTL_MS").then(|| "500".to_string());
/// let error = DedupConfig::from_lookup("WA_MESSAGE_DEDUP", lookup).unwrap_err();
/// assert_eq!(error.kind, ConfigErrorKind::TooSmall);
/// assert_eq!(
///     error.to_string(),
///     "WA_MESSAGE_DEDUP_TTL_MS is \"500\", which is too small; allowed is a whole number of milliseconds, \
///      60000 (1 min 0 s) to 3155760000000 (36525 d 0 h)"
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfigError {
    /// The name of the variable, or of the field where the config came from elsewhere.
    pub variable: String,
    /// Its value, as it stood there.
    pub value: String,
    /// What is wrong with it.
    pub kind: ConfigErrorKind,
    /// What would have been right.
    pub allowed: String,
}

/// What is wrong with a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConfigErrorKind {
    /// It is not a whole number.
    NotANumber,
    /// It is neither a whole number nor a time such as `24h` or `1h30m`.
    NotATime,
    /// It is none of the words that it can be.
    NotAChoice,
    /// It is below what is allowed: a bound of zero, or a ttl under one minute.
    TooSmall,
    /// It is above what is allowed.
    TooLarge,
}

impl fmt::Display for ConfigErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotANumber => "not a whole number",
            Self::NotATime => "neither a whole number nor a time",
            Self::NotAChoice => "none of the choices",
            Self::TooSmall => "too small",
            Self::TooLarge => "too large",
        })
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            variable,
            value,
            kind,
            allowed,
        } = self;
        write!(
            f,
            "{variable} is {value:?}, which is {kind}; allowed is {allowed}"
        )
    }
}

impl Error for ConfigError {}

/// What is wrong, before it is known with which variable.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) kind: ConfigErrorKind,
    pub(super) allowed: String,
}

impl Wrong {
    pub(super) fn of(self, variable: String, value: String) -> ConfigError {
        ConfigError {
            variable,
            value,
            kind: self.kind,
            allowed: self.allowed,
        }
    }
}
