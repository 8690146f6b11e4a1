//! `Rejected`: a registration that was turned away, with the handler and with what names the leak.

use std::error::Error;
use std::fmt;
use std::panic::Location;

use super::table::Refusal;
use crate::events;

/// Which bound a registration ran into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Limit {
    /// `max_listeners`: that of all topics together.
    MaxListeners,
    /// `max_per_topic`.
    MaxPerTopic,
    /// `max_calls`, `ttl` or a queue's capacity was given as zero: such a listener could never be called.
    Zero,
    /// A queue's capacity was given as more than 2<sup>24</sup>.
    Capacity,
}

/// A registration that was turned away. It gives the handler back.
///
/// `Display` says which limit was reached, and where the listeners were registered that fill it, the most frequent place
/// first: a leak is named by the first line that is logged of it.
pub struct Rejected<F> {
    /// What was to be registered.
    pub handler: F,
    details: Box<Details>,
}

struct Details {
    limit: Limit,
    max: usize,
    places: Vec<(&'static Location<'static>, usize)>,
    what: &'static str,
}

/// Places of registration, the most frequent ones.
struct Places<'a>(&'a [(&'static Location<'static>, usize)]);

impl<F> Rejected<F> {
    pub(super) fn full(handler: F, refusal: Refusal) -> Self {
        let Refusal {
            limit, max, places, ..
        } = refusal;
        let what = if limit == Limit::MaxListeners {
            "max_listeners"
        } else {
            "max_per_topic"
        };
        Self {
            handler,
            details: Box::new(Details {
                limit,
                max,
                places: counted(places),
                what,
            }),
        }
    }

    pub(super) fn zero(handler: F, what: &'static str) -> Self {
        Self {
            handler,
            details: Box::new(Details {
                limit: Limit::Zero,
                max: 0,
                places: Vec::new(),
                what,
            }),
        }
    }

    /// What is to be said against such a capacity of a queue, if anything is.
    #[cfg(feature = "queue")]
    pub(super) fn of_capacity(capacity: usize) -> Option<Self>
    where
        F: Default,
    {
        const MOST: usize = 1 << 24;
        let limit = if capacity == 0 {
            Limit::Zero
        } else {
            Limit::Capacity
        };
        let details = || Details {
            limit,
            max: MOST,
            places: Vec::new(),
            what: "capacity",
        };
        (!(1..=MOST).contains(&capacity)).then(|| Self {
            handler: F::default(),
            details: Box::new(details()),
        })
    }

    /// Which bound it was.
    #[must_use]
    pub fn limit(&self) -> Limit {
        self.details.limit
    }

    /// The value of that bound: of one on listeners, how many are present.
    #[must_use]
    pub fn max(&self) -> usize {
        self.details.max
    }

    /// Where the listeners that are present were registered, and how many at each place; the most at the first. Up to 1,024
    /// listeners were looked at.
    #[must_use]
    pub fn locations(&self) -> &[(&'static Location<'static>, usize)] {
        &self.details.places
    }

    /// Tells that a registration at this place was turned away.
    pub(super) fn tell(&self, location: &Location<'_>) {
        let Details {
            max, places, what, ..
        } = &*self.details;
        events::listener_rejected(what, *max, location, &Places(places));
    }

    /// The same about another form of the handler.
    #[cfg(feature = "queue")]
    pub(super) fn map<G>(self, to: impl FnOnce(F) -> G) -> Rejected<G> {
        Rejected {
            handler: to(self.handler),
            details: self.details,
        }
    }
}

/// Equal places together.
fn counted(
    mut places: Vec<&'static Location<'static>>,
) -> Vec<(&'static Location<'static>, usize)> {
    places.sort();
    let mut counted: Vec<_> = places
        .chunk_by(|a, b| a == b)
        .map(|same| (same[0], same.len()))
        .collect();
    counted.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
    counted
}

impl<F> fmt::Display for Rejected<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Details {
            limit,
            max,
            places,
            what,
        } = &*self.details;
        match limit {
            Limit::Zero => {
                return write!(
                    f,
                    "the listener's `{what}` is zero; it could never be called"
                );
            }
            Limit::Capacity => {
                return write!(
                    f,
                    "the queue's `{what}` is above {max}, the most there may be"
                );
            }
            Limit::MaxListeners | Limit::MaxPerTopic => {}
        }
        let places = Places(places);
        write!(
            f,
            "`{what}` is reached: {max} listeners are present, registered at {places}"
        )?;
        write!(
            f,
            "; a listener with a `key` takes the place of the one before, and the bound can be raised"
        )
    }
}

impl fmt::Display for Places<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (place, count)) in self.0.iter().take(3).enumerate() {
            let comma = if at > 0 { ", " } else { "" };
            write!(
                f,
                "{comma}{place} ({count} {})",
                if *count == 1 { "time" } else { "times" }
            )?;
        }
        if self.0.len() > 3 {
            write!(f, " and {} more places", self.0.len() - 3)?;
        }
        Ok(())
    }
}

impl<F> fmt::Debug for Rejected<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Details {
            limit, max, places, ..
        } = &*self.details;
        f.debug_struct("Rejected")
            .field("limit", limit)
            .field("max", max)
            .field("places", places)
            .finish_non_exhaustive()
    }
}

impl<F> Error for Rejected<F> {}
