//! `Stats`: what a collection holds, and what left it and why.

use std::fmt;
use std::time::Duration;

/// What a collection holds now, and what happened to it since it was created.
///
/// Reading it costs a lock per shard, and in a cache a step for each entry that is held though its time is over. The
/// counters of different shards are read one after another, so that under concurrent writes they may differ by what
/// happened meanwhile.
///
/// One struct serves all collections; what means nothing to a collection is zero or `None` here, and is shown neither by
/// `Display` nor as JSON.
///
/// `Display` gives a line for a log. With the feature `serde` it serializes with durations as integer milliseconds
/// (`ttl_ms`, `oldest_entry_age_ms`, `shortest_window_ms`), for a health endpoint.
///
/// ```
/// # use leakproof::DedupSet;
/// # use std::time::Duration;
/// let seen = DedupSet::<str>::new(1_000, Duration::from_secs(86_400));
/// seen.insert("a");
/// seen.insert("a");
/// let stats = seen.stats();
/// assert_eq!((stats.len, stats.inserted, stats.duplicates), (1, 1, 1));
/// assert!(stats.to_string().starts_with("1 of 1000 entries (0.1%), oldest 0"));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// What the figures are of, which decides what is shown.
    pub(crate) of: Of,
    /// Live entries.
    pub len: usize,
    /// The bound on them. In a cache with a `max_weight` it is no more than that, since no entry weighs nothing.
    pub max_entries: usize,
    /// The most entries that were ever held at once; with several shards, the sum of what each held at most.
    pub high_water: usize,
    /// How long ago the oldest live entry was written.
    pub oldest_entry_age: Option<Duration>,
    /// How old an entry can get: of ids the ttl, and called so by `Display` and in JSON.
    pub max_age: Option<Duration>,
    /// How long an entry may go unused.
    pub max_idle: Option<Duration>,
    /// What the live entries weigh: in a cache, by its weigher; in a dedup map of `str` or `[u8]`, the bytes of the keys,
    /// those in flight included.
    pub weight: u64,
    /// The bound on that, if there is one: `max_weight` of a cache, `max_bytes` of a dedup map.
    pub max_weight: Option<u64>,
    /// The age at which the youngest evicted entry had to go: where this is below the ttl, that is the time for which
    /// duplicates were really recognised. `None` while nothing was evicted.
    pub shortest_window: Option<Duration>,
    /// Ids that are claimed and neither committed nor released.
    pub in_flight: usize,
    /// The bound on them.
    pub max_in_flight: usize,
    /// Listeners that the breaker has silenced, until a probe succeeds.
    pub silenced: usize,
    /// Entries recorded, or listeners registered.
    pub inserted: u64,
    /// Calls that were told of a duplicate.
    pub duplicates: u64,
    /// Calls that were told that the id is in flight.
    pub in_flight_hits: u64,
    /// Calls that found what they looked for in a cache at their first look.
    pub hits: u64,
    /// Calls that did not, those included that then waited for another's computation.
    pub misses: u64,
    /// Entries that left because their time was over.
    pub expired: u64,
    /// Entries that left because they were not used for long.
    pub idle: u64,
    /// Live entries that left because of a bound.
    pub evicted: u64,
    /// Entries whose place was taken by another under the same key.
    pub replaced: u64,
    /// Entries that were removed by call or by a guard's drop, `clear` included.
    pub removed: u64,
    /// What was not let in: entries that alone are above a bound, ids for which those in flight leave no room, listeners
    /// that found no free place.
    pub rejected: u64,
    /// Listeners whose scope ended.
    pub scope_ended: u64,
    /// Listeners whose owner is gone.
    pub owner_gone: u64,
    /// Listeners that were called as many times as they were registered for.
    pub used_up: u64,
    /// Listeners that the breaker detached.
    pub failed: u64,
    /// Events emitted.
    pub emitted: u64,
    /// Calls of listeners, those that emits under way are yet to make included.
    pub calls: u64,
    /// Calls of listeners that returned a failure.
    pub failures: u64,
    /// Calls of listeners that were left out: paused, silenced, filtered out, or detached meanwhile.
    pub skipped: u64,
    /// Events that full queues dropped.
    pub dropped: u64,
    /// Panics of callbacks and listeners, all contained.
    pub panics: u64,
    /// Claims that were released.
    pub released: u64,
    /// Claims whose lease ran out.
    pub lapsed: u64,
    /// Claims that were turned away because too many were in flight, or their keys left no room within `max_bytes`.
    pub shed: u64,
}

/// The kinds of collection, a bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Of {
    #[default]
    Dedup = 1,
    Lru = 2,
    Listeners = 4,
}

const DEDUP: u8 = Of::Dedup as u8;
const LRU: u8 = Of::Lru as u8;
const LISTENERS: u8 = Of::Listeners as u8;
const ALL: u8 = DEDUP | LRU | LISTENERS;

impl Stats {
    /// Adds another shard's figures.
    pub(crate) fn add(&mut self, other: &Self) {
        self.len += other.len;
        self.max_entries += other.max_entries;
        self.high_water += other.high_water;
        self.oldest_entry_age = self.oldest_entry_age.max(other.oldest_entry_age);
        self.weight += other.weight;
        self.max_weight = self.max_weight.zip(other.max_weight).map(|(a, b)| a + b);
        self.shortest_window = self
            .shortest_window
            .into_iter()
            .chain(other.shortest_window)
            .min();
        self.in_flight += other.in_flight;
        self.silenced += other.silenced;
        for ((.., sum), (.., more)) in self
            .all_counters()
            .into_iter()
            .zip(other.clone().all_counters())
        {
            *sum += *more;
        }
    }

    /// Every counter, with the kinds of collection that it means something to, its name, and what it counts.
    fn all_counters(&mut self) -> [(u8, &'static str, &'static str, &mut u64); 24] {
        [
            (
                ALL,
                "inserted",
                "Entries recorded, or listeners registered",
                &mut self.inserted,
            ),
            (
                DEDUP,
                "duplicates",
                "Calls that were told of a duplicate",
                &mut self.duplicates,
            ),
            (
                DEDUP,
                "in_flight_hits",
                "Calls that were told that the id is in flight",
                &mut self.in_flight_hits,
            ),
            (
                LRU,
                "hits",
                "Calls that found what they looked for",
                &mut self.hits,
            ),
            (
                LRU,
                "misses",
                "Calls that did not find what they looked for",
                &mut self.misses,
            ),
            (
                ALL,
                "expired",
                "Entries that left because their time was over",
                &mut self.expired,
            ),
            (
                LRU,
                "idle",
                "Entries that left because they were not used for long",
                &mut self.idle,
            ),
            (
                ALL,
                "evicted",
                "Live entries that left because of a bound",
                &mut self.evicted,
            ),
            (
                LRU | LISTENERS,
                "replaced",
                "Entries replaced by another under the same key",
                &mut self.replaced,
            ),
            (
                ALL,
                "removed",
                "Entries that were removed by call",
                &mut self.removed,
            ),
            (
                ALL,
                "rejected",
                "Entries or listeners that were not let in",
                &mut self.rejected,
            ),
            (
                LISTENERS,
                "scope_ended",
                "Listeners whose scope ended",
                &mut self.scope_ended,
            ),
            (
                LISTENERS,
                "owner_gone",
                "Listeners whose owner is gone",
                &mut self.owner_gone,
            ),
            (
                LISTENERS,
                "used_up",
                "Listeners called as often as they were registered for",
                &mut self.used_up,
            ),
            (
                LISTENERS,
                "failed",
                "Listeners that the breaker detached",
                &mut self.failed,
            ),
            (LISTENERS, "emitted", "Events emitted", &mut self.emitted),
            (LISTENERS, "calls", "Calls of listeners", &mut self.calls),
            (
                LISTENERS,
                "failures",
                "Calls of listeners that returned a failure",
                &mut self.failures,
            ),
            (
                LISTENERS,
                "skipped",
                "Calls of listeners that were left out",
                &mut self.skipped,
            ),
            (
                LISTENERS,
                "dropped",
                "Events that full queues dropped",
                &mut self.dropped,
            ),
            (
                LRU | LISTENERS,
                "panics",
                "Panics of callbacks and listeners, all contained",
                &mut self.panics,
            ),
            (
                DEDUP,
                "released",
                "Claims that were released",
                &mut self.released,
            ),
            (
                DEDUP,
                "lapsed",
                "Claims whose lease ran out",
                &mut self.lapsed,
            ),
            (
                DEDUP,
                "shed",
                "Claims that were turned away because too much was in flight",
                &mut self.shed,
            ),
        ]
    }

    /// Whether a limit has ever been in the way of something.
    pub(crate) fn has_met_limit(&self) -> bool {
        (self.len > 0 && self.len >= self.max_entries)
            || self.evicted + self.rejected + self.shed > 0
    }

    /// Whether it is the collection's job to keep what fits, and to let go of the rest.
    #[cfg(any(feature = "monitor", feature = "tracing"))]
    pub(crate) fn may_be_full(&self) -> bool {
        self.of == Of::Lru
    }

    /// The counters that mean something to this collection, with what they count.
    pub(crate) fn counters(&self) -> Vec<(&'static str, &'static str, u64)> {
        let mut copy = self.clone();
        let all = copy
            .all_counters()
            .into_iter()
            .filter(|(kinds, ..)| kinds & self.of as u8 != 0);
        all.map(|(_, name, what, count)| (name, what, *count))
            .collect()
    }

    /// What stands now, as far as it means something to this collection, with what it is.
    #[cfg(any(feature = "serde", feature = "metrics"))]
    pub(crate) fn gauges(&self) -> impl Iterator<Item = (&'static str, &'static str, Gauge)> {
        let count = |count: usize| Gauge::Count(Some(count as u64));
        let all = [
            (ALL, "len", "Live entries", count(self.len)),
            (
                ALL,
                "max_entries",
                "The bound on live entries",
                count(self.max_entries),
            ),
            (
                ALL,
                "high_water",
                "The most entries that were ever held at once",
                count(self.high_water),
            ),
            (
                ALL,
                "oldest_entry_age",
                "The age of the oldest live entry",
                Gauge::Time(self.oldest_entry_age),
            ),
            (
                DEDUP,
                "ttl",
                "How long an id is remembered",
                Gauge::Time(self.max_age),
            ),
            (
                LRU | LISTENERS,
                "max_age",
                "How old an entry can get",
                Gauge::Time(self.max_age),
            ),
            (
                LRU,
                "max_idle",
                "How long an entry may go unused",
                Gauge::Time(self.max_idle),
            ),
            (
                DEDUP | LRU,
                "weight",
                "What the live entries weigh, of ids the bytes",
                Gauge::Count(Some(self.weight)),
            ),
            (
                DEDUP | LRU,
                "max_weight",
                "The bound on what live entries weigh",
                Gauge::Count(self.max_weight),
            ),
            (
                DEDUP,
                "shortest_window",
                "The least age of an id evicted while live",
                Gauge::Time(self.shortest_window),
            ),
            (
                DEDUP,
                "in_flight",
                "Ids that are claimed, and neither committed nor released",
                count(self.in_flight),
            ),
            (
                DEDUP,
                "max_in_flight",
                "The bound on ids in flight",
                count(self.max_in_flight),
            ),
            (
                LISTENERS,
                "silenced",
                "Listeners that the breaker has silenced",
                count(self.silenced),
            ),
        ];
        let of = self.of as u8;
        all.into_iter()
            .filter(move |(kinds, ..)| kinds & of != 0)
            .map(|(_, name, what, gauge)| (name, what, gauge))
    }
}

/// A figure that may rise and fall, if there is one.
#[cfg(any(feature = "serde", feature = "metrics"))]
#[derive(Clone, Copy, Debug)]
pub(crate) enum Gauge {
    Count(Option<u64>),
    Time(Option<Duration>),
}

/// One line: use of the bound, age, then every counter that is not zero.
impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = 100.0 * self.len as f64 / self.max_entries.max(1) as f64;
        write!(
            f,
            "{} of {} entries ({percent:.1}%)",
            self.len, self.max_entries
        )?;
        if let Some(age) = self.oldest_entry_age {
            write!(f, ", oldest {}", Human(age))?;
        }
        if let Some(ttl) = self.max_age {
            write!(
                f,
                ", {} {}",
                if self.of == Of::Dedup {
                    "ttl"
                } else {
                    "max age"
                },
                Human(ttl)
            )?;
        }
        if let Some(idle) = self.max_idle {
            write!(f, ", max idle {}", Human(idle))?;
        }
        if let Some(max) = self.max_weight {
            let percent = 100.0 * self.weight as f64 / max.max(1) as f64;
            let unit = if self.of == Of::Dedup {
                "bytes"
            } else {
                "weight"
            };
            write!(f, ", {} of {max} {unit} ({percent:.1}%)", self.weight)?;
        }
        if self.in_flight > 0 {
            write!(
                f,
                ", {} of {} in flight",
                self.in_flight, self.max_in_flight
            )?;
        }
        if self.silenced > 0 {
            write!(f, ", {} silenced", self.silenced)?;
        }
        if let Some(window) = self.shortest_window {
            write!(f, ", shortest window {}", Human(window))?;
        }
        for (name, _, count) in self.counters() {
            if count > 0 {
                write!(f, ", {count} {}", name.replace('_', " "))?;
            }
        }
        Ok(())
    }
}

/// A duration in the two largest units that matter.
pub(crate) struct Human(pub(crate) Duration);

impl fmt::Display for Human {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        match seconds {
            0 => write!(f, "{} ms", self.0.as_millis()),
            1..60 => write!(f, "{seconds} s"),
            60..3600 => write!(f, "{} min {} s", seconds / 60, seconds % 60),
            3600..172_800 => write!(f, "{} h {} min", seconds / 3600, seconds / 60 % 60),
            _ => write!(f, "{} d {} h", seconds / 86_400, seconds / 3600 % 24),
        }
    }
}

/// Milliseconds, as many as fit.
#[cfg(feature = "serde")]
pub(crate) fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(feature = "serde")]
impl serde::Serialize for Stats {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = serializer.serialize_map(None)?;
        for (name, _, gauge) in self.gauges() {
            match gauge {
                Gauge::Count(count) => map.serialize_entry(name, &count)?,
                Gauge::Time(time) => {
                    map.serialize_entry(&format_args!("{name}_ms"), &time.map(ms))?;
                }
            }
        }
        for (name, _, count) in self.counters() {
            map.serialize_entry(name, &count)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_the_log_names_what_matters() {
        let stats = Stats {
            len: 250,
            max_entries: 1000,
            oldest_entry_age: Some(Duration::from_secs(3 * 3600 + 120)),
            max_age: Some(Duration::from_secs(86_400)),
            inserted: 300,
            evicted: 50,
            shortest_window: Some(Duration::from_secs(61)),
            ..Stats::default()
        };
        assert_eq!(
            stats.to_string(),
            "250 of 1000 entries (25.0%), oldest 3 h 2 min, ttl 24 h 0 min, shortest window 1 min 1 s, \
             300 inserted, 50 evicted"
        );
    }
}
