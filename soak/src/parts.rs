//! The parts of a round.

use crate::round::{Round, Tally};
use crate::{cache, dedup, limiter, listeners, persisted, requests, shared, waiting};

#[derive(Clone, Copy)]
pub(crate) struct Part {
    pub(crate) name: &'static str,
    /// The promises that it checks, for the report.
    pub(crate) checked: &'static str,
    /// Plays the part. Adds the causes of removals to the second argument, and returns the other
    /// counts.
    pub(crate) soak: fn(&mut Round, &mut Tally) -> Tally,
}

pub(crate) const REDIS: &str = "redis";

pub(crate) const PARTS: [Part; 8] = [
    Part {
        name: "ids",
        checked: "an id is new once per ttl and has one owner per lease; exact ages; bounds",
        soak: dedup::soak,
    },
    Part {
        name: "cache",
        checked: "ttl, own ttl and idle timeout of both policies; one computation per key; one \
                  callback per removal; bounds",
        soak: cache::soak,
    },
    Part {
        name: "listeners",
        checked: "no call after the end of a listener; captures dropped; counters; bounds",
        soak: listeners::soak,
    },
    Part {
        name: "waiting",
        checked: "one owner per id and one computation per key among cancelled and panicking \
                  tasks; stale windows; no task waits forever; nothing is left of it",
        soak: waiting::soak,
    },
    Part {
        name: "journal",
        checked: "every acknowledged id is known, with its age, after a crash, a restart and \
                  from a snapshot; bound of the directory",
        soak: persisted::soak,
    },
    Part {
        name: REDIS,
        checked: "one owner per id and lease among instances; no result lost while the server is \
                  frozen and killed; typed errors; answers without the server counted",
        soak: shared::soak,
    },
    Part {
        name: "http",
        checked: "one run of the handler per key; replays equal byte for byte; bounds",
        soak: requests::soak,
    },
    Part {
        name: "limiter",
        checked: "a stored key has exactly its quota; bound on keys",
        soak: limiter::soak,
    },
];
