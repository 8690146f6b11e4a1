//! Errors of a cache that is already built.

use std::convert::Infallible;
use std::error::Error;
use std::fmt;

/// An entry was refused, because it alone is heavier than its shard of the cache allows.
///
/// It contains the entry, whose removal cause is [`Rejected`](crate::RemovalCause::Rejected).
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TooHeavy<K, V> {
    /// The key that was passed.
    pub key: K,
    /// The value that was passed.
    pub value: V,
    /// The weight that the weigher returned.
    pub weight: u32,
    /// The shard's share of `max_weight`.
    pub max_weight: u64,
}

impl<K, V> fmt::Display for TooHeavy<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            weight, max_weight, ..
        } = self;
        write!(
            f,
            "entry of weight {weight} exceeds {max_weight}, the shard's share of `max_weight`; \
             raise it or use fewer shards"
        )
    }
}

impl<K, V> fmt::Debug for TooHeavy<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TooHeavy")
            .field("weight", &self.weight)
            .field("max_weight", &self.max_weight)
            .finish_non_exhaustive()
    }
}

impl<K, V> Error for TooHeavy<K, V> {}

/// A bound that cannot be set on a cache in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidLimit {
    /// The bound is out of range.
    OutOfRange {
        /// The option's name.
        limit: &'static str,
        /// The value that was passed.
        value: u64,
        /// The lowest value that is allowed: every shard needs a share.
        min: u64,
        /// The highest value that is allowed.
        max: u64,
    },
    /// The bound is one on weight, and the cache was built without a weigher.
    NoWeigher,
}

impl InvalidLimit {
    pub(super) fn check(
        limit: &'static str,
        value: u64,
        min: u64,
        max: u64,
    ) -> Result<(), InvalidLimit> {
        if (min..=max).contains(&value) {
            Ok(())
        } else {
            Err(InvalidLimit::OutOfRange {
                limit,
                value,
                min,
                max,
            })
        }
    }
}

impl fmt::Display for InvalidLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfRange {
                limit,
                value,
                min,
                max,
            } => write!(f, "`{limit}` must be between {min} and {max} (got {value})"),
            Self::NoWeigher => {
                f.write_str("`max_weight` needs a `weigher`; set one when the cache is built")
            }
        }
    }
}

impl Error for InvalidLimit {}

/// Why [`try_get_or_insert_with`](crate::LruCache::try_get_or_insert_with) returned no value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ComputeError<E> {
    /// The caller's own computation failed.
    Failed(E),
    /// The computation of the value needs the value itself, on the same thread or on one that waits
    /// for it.
    ///
    /// This is returned to the call that would complete the cycle. Outer calls get
    /// [`Failed`](Self::Failed) with whatever error their `compute` returns.
    Cycle,
}

impl<E> ComputeError<E> {
    /// Converts into the error that the caller's function returns.
    ///
    /// This is for computations that fail with a boxed error, `anyhow::Error` or the like. These do
    /// not implement `Error`, so a `ComputeError` of one does not either, and `?` does not convert
    /// it:
    ///
    /// ```
    /// use leakproof::{ComputeError, LruCache};
    /// use std::{error::Error, time::Duration};
    ///
    /// fn port(ports: &LruCache<String, u16>, name: &str) -> Result<u16, Box<dyn Error>> {
    ///     let read = || -> Result<u16, Box<dyn Error>> { Ok(std::env::var(name)?.parse()?) };
    ///     ports.try_get_or_insert_with(name, read).map_err(ComputeError::into_error)
    /// }
    ///
    /// let ports = LruCache::new(100, Duration::from_secs(60));
    /// let error = port(&ports, "NO_SUCH_PORT").unwrap_err();
    /// assert_eq!(error.to_string(), "environment variable not found");
    /// ```
    pub fn into_error<B>(self) -> B
    where
        E: Into<B>,
        ComputeError<Infallible>: Into<B>,
    {
        match self {
            Self::Failed(error) => error.into(),
            Self::Cycle => ComputeError::Cycle.into(),
        }
    }
}

impl<E: fmt::Display> fmt::Display for ComputeError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => write!(f, "value could not be computed: {error}"),
            Self::Cycle => {
                f.write_str("value is needed to compute itself; break the cycle of computations")
            }
        }
    }
}

impl<E: Error + 'static> Error for ComputeError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Failed(error) => Some(error),
            Self::Cycle => None,
        }
    }
}
