//! The traits between collections and the background thread: [`Sweep`] and [`Watch`].

use std::sync::{Arc, Weak};
#[cfg(feature = "persist")]
use std::time::Duration;

#[cfg(feature = "persist")]
use crate::clock::Nanos;
use crate::stats::Usage;

/// A collection that frees expired entries in bounded pieces and reports its usage.
///
/// The collections of this crate implement it internally. Implement it for a collection of your own
/// to use it with a [`Sweeper`](crate::Sweeper) or a `Monitor`, and pass an `Arc` of it to `watch`.
pub trait Sweep: Send + Sync + 'static {
    /// Frees about `budget` entries.
    fn sweep_some(&self, budget: usize) -> Swept;

    /// Returns the present usage.
    fn usage(&self) -> Usage;

    /// Ends the leases of a dedup map that have expired, for callers that wait for them.
    #[doc(hidden)]
    fn end_leases(&self) {}

    /// Returns the ids of a dedup map with a journal.
    #[cfg(feature = "persist")]
    #[doc(hidden)]
    fn journaled(&self) -> Option<&dyn Contents> {
        None
    }
}

#[cfg(feature = "persist")]
/// The ids of the map that a journal belongs to.
pub trait Contents {
    /// Returns the number of live ids that were recorded after each of these times.
    fn live_after(&self, times: &[Nanos]) -> Vec<u64>;

    /// Returns the time at which an id was recorded, or `None` if it is not live. Returns an error
    /// if the bytes of the key cannot be decoded.
    fn recorded_at(&self, key: &[u8]) -> Result<Option<Nanos>, String>;

    /// Returns the age of the oldest live id.
    fn oldest_age(&self) -> Option<Duration>;
}

/// The result of [`Sweep::sweep_some`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Swept {
    /// The number of entries whose memory was freed.
    pub freed: usize,
    /// `true` if another call would free more.
    pub more: bool,
}

/// A handle on a collection that a [`Sweeper`](crate::Sweeper) or a `Monitor` can watch.
///
/// The watcher holds the collection weakly, so that watching does not keep it alive. Implemented by
/// the shared collections of this crate and by `Arc<T>` for each `T` that implements [`Sweep`].
pub trait Watch {
    /// Returns a weak reference to the collection that all clones of the handle share.
    fn downgrade_to_sweep(&self) -> Weak<dyn Sweep>;
}

impl<T: Sweep> Watch for Arc<T> {
    fn downgrade_to_sweep(&self) -> Weak<dyn Sweep> {
        let weak: Weak<T> = Arc::downgrade(self);
        weak
    }
}
