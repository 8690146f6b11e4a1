//! Limits that whoever deploys sets: plain structs, read from environment variables or from whatever `serde` reads.
//!
//! Each config has a table of its settings, which says what each is called and what is allowed; reading, judging and
//! naming what is wrong is done once for all of them, here.

mod dedup;
#[cfg(feature = "serde")]
mod duration;
mod error;
mod listeners;
mod lru;
mod setting;

#[cfg(feature = "serde")]
mod de;

pub use dedup::DedupConfig;
pub use error::{ConfigError, ConfigErrorKind};
pub use listeners::RegistryConfig;
pub use lru::LruConfig;
use setting::Settings;

use crate::events;

/// Reads all settings of a config; what is wrong is reported, and has its default.
fn read<C: Settings>(
    prefix: &str,
    lookup: impl Fn(&str) -> Option<String>,
) -> (C, Vec<ConfigError>) {
    let mut config = C::default();
    let mut errors = Vec::new();
    let variable = |name: &str| format!("{prefix}_{name}");
    for setting in C::SETTINGS {
        let variable = variable(setting.variable);
        if let Some(value) = lookup(&variable)
            && let Err(wrong) = setting.read_number(&value, &mut config)
        {
            errors.push(wrong.of(variable, value));
        }
    }
    if let Some((setting, shards, wrong)) = config.judge_shards() {
        errors.push(wrong.of(variable(setting), shards.to_string()));
    }
    (config, errors)
}

/// [`read`], or the first thing that is wrong.
fn read_strictly<C: Settings>(
    prefix: &str,
    lookup: impl Fn(&str) -> Option<String>,
) -> Result<C, ConfigError> {
    let (config, errors) = read(prefix, lookup);
    errors.into_iter().next().map_or(Ok(config), Err)
}

/// [`read`], and tells of what is wrong.
fn read_leniently<C: Settings>(
    prefix: &str,
    lookup: impl Fn(&str) -> Option<String>,
) -> (C, Vec<ConfigError>) {
    let (config, errors) = read(prefix, lookup);
    for ConfigError {
        variable,
        value,
        kind,
        allowed,
    } in &errors
    {
        events::setting_replaced(variable, value, kind, allowed);
    }
    (config, errors)
}

/// A variable of the process's environment. What is not Unicode is not a number either.
fn from_process(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

/// The ways to read a config from variables, the same for all.
macro_rules! from_variables {
    ($config:ty) => {
        impl $config {
            /// Reads the variables of the process's environment whose names are `prefix`, `_` and one of those in the
            /// table above.
            ///
            /// * One that is absent means the default. One that is there and empty is not absent: it is an error.
            /// * `off`, in small letters, is for the settings whose row says so: there is no such limit then, or what
            ///   the row says. Elsewhere it is an error. Spaces around a value do not matter.
            /// * No other variable is looked at. So a name that is misspelt is not noticed, and the setting has its
            ///   default: log the config once, when you start.
            ///
            /// # Errors
            ///
            /// [`ConfigError`](crate::ConfigError) for the first that is not a number or not in its range: with its
            /// name, its value, and what is allowed.
            pub fn from_env(prefix: &str) -> Result<Self, crate::ConfigError> {
                super::read_strictly(prefix, super::from_process)
            }

            /// [`from_env`](Self::from_env), but one that is wrong means the default too. All errors are reported, to be
            /// logged; with the feature `tracing` they are [told](crate::events).
            #[must_use]
            pub fn from_env_lenient(prefix: &str) -> (Self, Vec<crate::ConfigError>) {
                super::read_leniently(prefix, super::from_process)
            }

            /// [`from_env`](Self::from_env) where variables come from elsewhere, from a file or in a test: `lookup` is
            /// asked once for each setting by its whole name, prefix included, and gives its value, or `None` where it is
            /// absent.
            ///
            /// # Errors
            ///
            /// As of [`from_env`](Self::from_env).
            pub fn from_lookup(
                prefix: &str,
                lookup: impl Fn(&str) -> Option<String>,
            ) -> Result<Self, crate::ConfigError> {
                super::read_strictly(prefix, lookup)
            }

            /// [`from_env_lenient`](Self::from_env_lenient) where variables come from elsewhere.
            #[must_use]
            pub fn from_lookup_lenient(
                prefix: &str,
                lookup: impl Fn(&str) -> Option<String>,
            ) -> (Self, Vec<crate::ConfigError>) {
                super::read_leniently(prefix, lookup)
            }
        }
    };
}
use from_variables;
