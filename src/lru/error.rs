//! What can go wrong with a cache once it is built.

use std::convert::Infallible;
use std::error::Error;
use std::fmt;

/// An entry was not stored, since alone it is heavier than the cache, or its shard, may be; here it is.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TooHeavy<K, V> {
    /// The key that was to be stored.
    pub key: K,
    /// The value that was to be stored.
    pub value: V,
    /// What the weigher said of them.
    pub weight: u32,
    /// The bound: the shard's share of `max_weight`.
    pub max_weight: u64,
}

impl<K, V> fmt::Display for TooHeavy<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            weight, max_weight, ..
        } = self;
        write!(
            f,
            "an entry of weight {weight} is above {max_weight}, which is all that its shard of the cache may hold"
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

/// Why [`try_get_or_insert_with`](crate::LruCache::try_get_or_insert_with) has no value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ComputeError<E> {
    /// The computation failed, with this.
    Failed(E),
    /// The value is needed to compute itself: by the same thread, or by one that waits for it.
    ///
    /// The call that would close the circle is told so. The calls around it get [`Failed`](Self::Failed), with what their
    /// `compute` makes of that.
    Cycle,
}

impl<E> ComputeError<E> {
    /// What the computation failed with, as another kind of error; or in the same way that there is a circle.
    ///
    /// For computations that fail with a box, `anyhow::Error` or the like. Such are no `Error`s themselves, so that a
    /// `ComputeError` of them is none either, and does not go with `?`:
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
    /// assert_eq!(port(&ports, "NO_SUCH_PORT").unwrap_err().to_string(), "environment variable not found");
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
            Self::Failed(error) => write!(f, "the value could not be computed: {error}"),
            Self::Cycle => f.write_str(
                "the value is needed to compute itself: its key was asked for again meanwhile",
            ),
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
