//! Limits: the validation of the options that collections have in common.

use std::error::Error;
use std::fmt;
use std::num::NonZeroUsize;
use std::thread::available_parallelism;
use std::time::Duration;

/// The largest number of shards. More shards cost memory and do not reduce contention.
pub(crate) const MAX_SHARDS: usize = 1 << 12;

/// The error that a builder returns if an option is missing or out of range.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildError {
    /// A required bound is missing. Without it, the collection could grow forever.
    Missing {
        /// The builder method that sets the bound.
        limit: &'static str,
    },
    /// A limit is zero, so the collection could never hold an entry.
    Zero {
        /// The builder method that sets the limit.
        limit: &'static str,
    },
    /// A limit exceeds the largest value that the collection can enforce.
    TooLarge {
        /// The builder method that sets the limit.
        limit: &'static str,
        /// The rejected value.
        value: usize,
        /// The largest allowed value.
        max: usize,
    },
    /// An option that is a part of something is negative, above 1, or not a number.
    NoFraction {
        /// The builder method that sets the option.
        limit: &'static str,
    },
    /// A value is not one of those that an option allows.
    NotAllowed {
        /// The builder method that sets the option.
        limit: &'static str,
        /// The rejected value.
        value: String,
    },
    /// `max_weight` is set without a `weigher`.
    NoWeigher,
    /// There are more shards than the bounds can be divided into.
    TooManyShards {
        /// The rejected number of shards.
        shards: usize,
        /// The largest number that these bounds allow.
        max: usize,
    },
    /// Two thresholds are in the wrong order, negative, or not a number.
    OutOfOrder {
        /// The threshold that must not exceed `upper`.
        lower: &'static str,
        /// The threshold that must not be below `lower`.
        upper: &'static str,
    },
    /// The operating system could not start the background thread.
    NoSweeper {
        /// The message of the operating system.
        reason: String,
    },
    /// The journal cannot be read, or its background thread cannot be started.
    Journal {
        /// The message of the error, with file and offset.
        reason: String,
    },
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { limit } => write!(f, "`{limit}` is required and has no default"),
            Self::Zero { limit } => write!(f, "`{limit}` must be greater than zero"),
            Self::TooLarge { limit, value, max } => {
                write!(f, "`{limit}` must not exceed {max} (got {value})")
            }
            Self::NoFraction { limit } => write!(f, "`{limit}` must be between 0 and 1"),
            Self::NotAllowed { limit, value } => {
                write!(f, "`{limit}` does not allow this value (got {value})")
            }
            Self::NoWeigher => f.write_str("`max_weight` requires a `weigher`"),
            Self::TooManyShards { shards, max } => {
                write!(
                    f,
                    "`shards` must not exceed {max} with these bounds (got {shards})"
                )
            }
            Self::OutOfOrder { lower, upper } => write!(
                f,
                "`{lower}` and `{upper}` must be non-negative, and `{lower}` must not exceed `{upper}`"
            ),
            Self::NoSweeper { reason } => {
                write!(f, "cannot start the background thread: {reason}")
            }
            Self::Journal { reason } => write!(f, "cannot use the journal: {reason}"),
        }
    }
}

impl Error for BuildError {}

/// Validates a required count in `1..=max`.
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

/// Validates a required duration above zero.
pub(crate) fn duration(
    limit: &'static str,
    value: Option<Duration>,
) -> Result<Duration, BuildError> {
    match value {
        None => Err(BuildError::Missing { limit }),
        Some(Duration::ZERO) => Err(BuildError::Zero { limit }),
        Some(value) => Ok(value),
    }
}

/// Validates an optional weight bound, which requires a weigher.
pub(crate) fn weight(value: Option<u64>, has_weigher: bool) -> Result<Option<u64>, BuildError> {
    match value {
        Some(0) => Err(BuildError::Zero {
            limit: "max_weight",
        }),
        Some(_) if !has_weigher => Err(BuildError::NoWeigher),
        value => Ok(value),
    }
}

/// Validates a number of shards. Each shard must receive at least 1 of every non-zero bound.
pub(crate) fn shards(
    shards: usize,
    bounds: impl IntoIterator<Item = usize>,
) -> Result<usize, BuildError> {
    let shards = count("shards", Some(shards), usize::MAX)?;
    let max = bounds
        .into_iter()
        .filter(|&bound| bound > 0)
        .fold(MAX_SHARDS, Ord::min);
    if shards > max {
        Err(BuildError::TooManyShards { shards, max })
    } else {
        Ok(shards)
    }
}

/// Returns the number of shards that suits this machine, at most `at_most` and at least 1.
pub(crate) fn default_shards(at_most: usize) -> usize {
    let cores = available_parallelism().map_or(1, NonZeroUsize::get);
    // Eight shards per core keep the probability of two threads meeting in one shard low.
    (8 * cores).next_power_of_two().min(256).min(at_most).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_shards_stay_within_the_cap_and_above_zero() {
        assert_eq!([0, 1, 2].map(default_shards), [1, 1, 2]);
        assert!((2..=256).contains(&default_shards(1_000_000)));
    }
}
