//! Limits and what is wrong with them: the one place where builders' values are judged.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use crate::shards::MAX_SHARDS;

/// Why a builder refused: which value, and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildError {
    /// A limit without which the collection could grow without bound was not given.
    Missing {
        /// The builder's method.
        limit: &'static str,
    },
    /// A limit of zero: nothing could ever be held.
    Zero {
        /// The builder's method.
        limit: &'static str,
    },
    /// A limit so large that it could never be reached, and would thus bound nothing.
    TooLarge {
        /// The builder's method.
        limit: &'static str,
        /// The value that was given.
        value: usize,
        /// The largest value allowed.
        max: usize,
    },
    /// A bound on weight, and no weigher that would say what an entry weighs.
    NoWeigher,
    /// More shards than can each have a part of the limit.
    TooManyShards {
        /// The number of shards that was given.
        shards: usize,
        /// The largest number allowed with these limits.
        max: usize,
    },
    /// Two thresholds of which the lower is above the upper, or one is not a number, or below zero.
    OutOfOrder {
        /// The one that must not be above the other.
        lower: &'static str,
        /// The other.
        upper: &'static str,
    },
    /// The operating system refused to start the background thread that sweeps.
    NoSweeper {
        /// What the operating system said.
        reason: String,
    },
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { limit } => write!(
                f,
                "no `{limit}` was given; it is a bound, and has no default"
            ),
            Self::Zero { limit } => write!(f, "`{limit}` is zero; it must be above zero"),
            Self::TooLarge { limit, value, max } => {
                write!(
                    f,
                    "`{limit}` is {value}, a bound that cannot be reached; at most {max} is possible"
                )
            }
            Self::NoWeigher => f.write_str(
                "`max_weight` was given without a `weigher`; it says what an entry weighs",
            ),
            Self::TooManyShards { shards, max } => {
                write!(
                    f,
                    "`shards` is {shards}; with these limits at most {max} can each have a part"
                )
            }
            Self::OutOfOrder { lower, upper } => {
                write!(
                    f,
                    "`{lower}` and `{upper}` must be numbers from zero up, and the first not above the second"
                )
            }
            Self::NoSweeper { reason } => {
                write!(f, "the sweeper's thread could not be started: {reason}")
            }
        }
    }
}

impl Error for BuildError {}

/// A count that must be given and lie in `1..=max`.
pub(crate) fn count(
    limit: &'static str,
    value: Option<usize>,
    max: usize,
) -> Result<usize, BuildError> {
    match value {
        None => Err(BuildError::Missing { limit }),
        Some(0) => Err(BuildError::Zero { limit }),
        Some(value) if value > max => Err(BuildError::TooLarge { limit, value, max }),
        Some(value) => Ok(value),
    }
}

/// A time that must be given and above zero.
pub(crate) fn time(limit: &'static str, value: Option<Duration>) -> Result<Duration, BuildError> {
    match value {
        None => Err(BuildError::Missing { limit }),
        Some(Duration::ZERO) => Err(BuildError::Zero { limit }),
        Some(value) => Ok(value),
    }
}

/// A bound on weight, which may be left out, but must be above zero and come with a weigher.
pub(crate) fn weight(value: Option<u64>, has_weigher: bool) -> Result<Option<u64>, BuildError> {
    match value {
        Some(0) => Err(BuildError::Zero {
            limit: "max_weight",
        }),
        Some(_) if !has_weigher => Err(BuildError::NoWeigher),
        value => Ok(value),
    }
}

/// A number of shards of which each can have a part of every one of these limits.
pub(crate) fn shards(
    shards: usize,
    limits: impl IntoIterator<Item = usize>,
) -> Result<usize, BuildError> {
    let shards = count("shards", Some(shards), usize::MAX)?;
    let max = limits
        .into_iter()
        .filter(|&limit| limit > 0)
        .fold(MAX_SHARDS, Ord::min);
    if shards > max {
        Err(BuildError::TooManyShards { shards, max })
    } else {
        Ok(shards)
    }
}

/// Says that a builder makes a shared collection.
#[derive(Debug)]
pub enum Shared {}

/// Says that a builder makes a single-threaded collection.
#[derive(Debug)]
pub enum Unsync {}
