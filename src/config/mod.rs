//! Reads the options that operators set, from environment variables or with `serde`.
//!
//! Each collection has its config, a plain struct, next to its builder.

pub(crate) mod reader;

use std::error::Error;
use std::fmt;

use crate::format::OneLine;

/// An invalid setting.
///
/// ```
/// use leakproof::DedupConfig;
///
/// let lookup = |name: &str| (name == "BOT_DEDUP_TTL_MS").then(|| "500".to_string());
/// let error = DedupConfig::from_lookup("BOT_DEDUP", lookup).unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "invalid BOT_DEDUP_TTL_MS=500: must be between 60000 (1 min) and 3155760000000 (100 years)"
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfigError {
    /// The name of the variable, or of the field if the config was deserialized.
    pub variable: String,
    /// The invalid value.
    pub value: String,
    /// The requirement that the value does not meet, such as `"must be between 1 and 4096, or
    /// off"`.
    pub requirement: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = OneLine(&self.value);
        write!(f, "invalid {}={value}: {}", self.variable, self.requirement)
    }
}

impl Error for ConfigError {}

/// Reads a variable of the environment. Invalid Unicode becomes a value that no setting accepts.
pub(crate) fn from_process(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

/// Implements `Default`, `Deserialize` and the constructors that read variables.
macro_rules! config {
    ($config:ty) => {
        impl $config {
            /// Reads environment variables. The name of a variable is `prefix`, `_` and the field
            /// in capitals, with `_MS` for a duration: `WA_TTL_MS`.
            ///
            /// A value is a whole number, or a fraction such as `0.1` if the field is one.
            /// Durations are in milliseconds. An absent variable leaves the default. An empty
            /// one is an error. `off` disables an optional setting. Other variables are not
            /// read, so a misspelled name has no effect: log the config at startup.
            ///
            /// # Errors
            ///
            /// Returns the first [`ConfigError`](crate::ConfigError).
            pub fn from_env(prefix: &str) -> Result<Self, crate::config::ConfigError> {
                Self::from_lookup(prefix, crate::config::from_process)
            }

            /// Reads environment variables, and keeps the default of an invalid one. Returns all
            /// errors.
            ///
            /// With the feature `tracing`, each error is also an [event](crate::events).
            #[must_use]
            pub fn from_env_lenient(prefix: &str) -> (Self, Vec<crate::config::ConfigError>) {
                Self::from_lookup_lenient(prefix, crate::config::from_process)
            }

            /// Reads variables from `lookup`, which receives full names, as
            /// [`from_env`](Self::from_env) does.
            ///
            /// # Errors
            ///
            /// Returns the first [`ConfigError`](crate::ConfigError).
            pub fn from_lookup(
                prefix: &str,
                lookup: impl Fn(&str) -> Option<String>,
            ) -> Result<Self, crate::config::ConfigError> {
                crate::config::reader::read_strictly(prefix, &lookup)
            }

            /// Reads variables from `lookup`, as [`from_env_lenient`](Self::from_env_lenient) does.
            #[must_use]
            pub fn from_lookup_lenient(
                prefix: &str,
                lookup: impl Fn(&str) -> Option<String>,
            ) -> (Self, Vec<crate::config::ConfigError>) {
                crate::config::reader::read_leniently(prefix, &lookup)
            }
        }

        impl Default for $config {
            fn default() -> Self {
                crate::config::reader::read("", &|_| None).0
            }
        }

        #[cfg(feature = "serde")]
        impl<'de> serde::Deserialize<'de> for $config {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                crate::config::reader::deserialize(deserializer)
            }
        }
    };
}
pub(crate) use config;
