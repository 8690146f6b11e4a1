//! The errors of registrations and emits.

use std::cmp::Reverse;
use std::error::Error;
use std::fmt;
use std::panic::Location;

use crate::events;

/// The limit that a registration did not keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Limit {
    /// The registry has `max_listeners` listeners.
    MaxListeners,
    /// The topic has `max_per_topic` listeners.
    MaxPerTopic,
    /// `max_calls`, `ttl` or the capacity of a queue is zero: the listener could never be called.
    Zero,
    /// The capacity of a queue is above 2<sup>24</sup>.
    Capacity,
}

/// The error of a rejected registration. Returns the handler to the caller.
///
/// The text names the limit and the source locations where the present listeners were registered,
/// the most frequent one first. So the first line that is logged names the leak.
pub struct Rejected<F> {
    /// The handler that was to be registered.
    pub handler: F,
    details: Box<Details>,
}

struct Details {
    limit: Limit,
    /// The name of the option.
    option: &'static str,
    max: usize,
    locations: Vec<(&'static Location<'static>, usize)>,
}

/// The reason why the table rejects a registration.
pub(super) struct Refusal {
    pub(super) limit: Limit,
    pub(super) max: usize,
    /// The locations of the listeners that are present.
    pub(super) locations: Vec<&'static Location<'static>>,
    /// Is `true` for the first refusal since there was room.
    pub(super) is_first: bool,
}

/// The error of an emit inside of too many other emits. A handler probably emits the event that
/// calls it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecursionLimit {
    /// Emits that may be nested on one thread.
    pub max: usize,
}

impl<F> Rejected<F> {
    pub(super) fn full(handler: F, refusal: Refusal) -> Self {
        let option = if refusal.limit == Limit::MaxListeners {
            "max_listeners"
        } else {
            "max_per_topic"
        };
        let locations = count_equal(refusal.locations);
        Self::new(handler, refusal.limit, option, refusal.max, locations)
    }

    pub(super) fn zero(handler: F, option: &'static str) -> Self {
        Self::new(handler, Limit::Zero, option, 0, Vec::new())
    }

    #[cfg(feature = "queue")]
    pub(super) fn capacity(handler: F, max: usize) -> Self {
        Self::new(handler, Limit::Capacity, "capacity", max, Vec::new())
    }

    fn new(
        handler: F,
        limit: Limit,
        option: &'static str,
        max: usize,
        locations: Vec<(&'static Location<'static>, usize)>,
    ) -> Self {
        let details = Box::new(Details {
            limit,
            option,
            max,
            locations,
        });
        Self { handler, details }
    }

    /// Returns the limit that the registration did not keep.
    #[must_use]
    pub fn limit(&self) -> Limit {
        self.details.limit
    }

    /// Returns the value of that limit.
    #[must_use]
    pub fn max(&self) -> usize {
        self.details.max
    }

    /// Returns the source locations where the present listeners were registered, each with the
    /// number of its listeners. The most frequent location comes first. Covers up to 1,024
    /// listeners.
    #[must_use]
    pub fn locations(&self) -> &[(&'static Location<'static>, usize)] {
        &self.details.locations
    }

    /// Reports the rejection as an event.
    pub(super) fn report(&self, location: &Location<'_>) {
        let Details {
            option,
            max,
            locations,
            ..
        } = &*self.details;
        events::listener_rejected(option, *max, location, &Locations(locations));
    }

    /// Returns the same error with another handler.
    #[cfg(feature = "queue")]
    pub(super) fn map<G>(self, map: impl FnOnce(F) -> G) -> Rejected<G> {
        Rejected {
            handler: map(self.handler),
            details: self.details,
        }
    }
}

/// Counts equal locations. The most frequent one comes first.
fn count_equal(
    mut locations: Vec<&'static Location<'static>>,
) -> Vec<(&'static Location<'static>, usize)> {
    locations.sort();
    let equal = locations.chunk_by(|a, b| a == b);
    let mut counted: Vec<_> = equal.map(|equal| (equal[0], equal.len())).collect();
    counted.sort_by_key(|&(_, count)| Reverse(count));
    counted
}

impl<F> fmt::Display for Rejected<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Details {
            limit,
            option,
            max,
            locations,
        } = &*self.details;
        match limit {
            Limit::Zero => write!(f, "`{option}` must be above zero"),
            Limit::Capacity => write!(f, "`{option}` must not exceed {max}"),
            Limit::MaxListeners | Limit::MaxPerTopic => write!(
                f,
                "`{option}` is reached: {max} listeners are present, registered at {}; register \
                 with a `key` to replace the previous listener, or raise the limit",
                Locations(locations)
            ),
        }
    }
}

/// Prints the three most frequent locations.
struct Locations<'a>(&'a [(&'static Location<'static>, usize)]);

impl fmt::Display for Locations<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (location, count)) in self.0.iter().take(3).enumerate() {
            let comma = if at > 0 { ", " } else { "" };
            let times = if *count == 1 { "time" } else { "times" };
            write!(f, "{comma}{location} ({count} {times})")?;
        }
        if self.0.len() > 3 {
            write!(f, " and {} more locations", self.0.len() - 3)?;
        }
        Ok(())
    }
}

impl<F> fmt::Debug for Rejected<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rejected")
            .field("limit", &self.details.limit)
            .field("max", &self.details.max)
            .field("locations", &self.details.locations)
            .finish_non_exhaustive()
    }
}

impl<F> Error for Rejected<F> {}

impl fmt::Display for RecursionLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "at most {} emits may be nested on a thread; check for a handler that emits the \
             event that calls it",
            self.max
        )
    }
}

impl Error for RecursionLimit {}
