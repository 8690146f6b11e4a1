//! `Knobs`: what the builders of both hashed collections let users choose beside the limits, and how that is judged.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::bounds::{self, BuildError};
use crate::clock::Clock;
use crate::shards::default_count;
use crate::sweep::{self, Task};

pub(crate) struct Knobs<S> {
    pub(crate) clock: Clock,
    pub(crate) hasher: S,
    pub(crate) shards: Option<usize>,
    pub(crate) sweep_every: Option<Duration>,
}

impl Default for Knobs<ahash::RandomState> {
    fn default() -> Self {
        Self {
            clock: Clock::default(),
            hasher: ahash::RandomState::new(),
            shards: None,
            sweep_every: None,
        }
    }
}

impl<S> Knobs<S> {
    pub(crate) fn hasher<T>(self, hasher: T) -> Knobs<T> {
        Knobs {
            clock: self.clock,
            hasher,
            shards: self.shards,
            sweep_every: self.sweep_every,
        }
    }

    /// The number of shards that was given, of which each must have a part of all `limits`; or else what suits the
    /// machine, where the limits are enough for so many `at_most`.
    pub(crate) fn shard_count(
        &self,
        limits: impl IntoIterator<Item = usize>,
        at_most: usize,
    ) -> Result<usize, BuildError> {
        match self.shards {
            None => Ok(default_count(at_most)),
            Some(shards) => bounds::shards(shards, limits),
        }
    }

    /// Has what was built swept in the background, if that was asked for.
    pub(crate) fn sweep<T: Task + 'static>(
        &self,
        name: &str,
        built: &Arc<T>,
    ) -> Result<(), BuildError> {
        sweep::watch_globally(name, built, "sweep_every", self.sweep_every)
    }
}

impl<S> fmt::Debug for Knobs<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Knobs")
            .field("clock", &self.clock)
            .field("shards", &self.shards)
            .field("sweep_every", &self.sweep_every)
            .finish_non_exhaustive()
    }
}
