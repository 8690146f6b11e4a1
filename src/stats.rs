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
/// let seen = DedupSet::<str>::new(Duration::from_secs(86_400), 1_000);
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
    /// The bound on them. In a cache that is bounded by weight alone it is that bound, since no entry weighs nothing.
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
    /// Calls that found what they looked for in a cache.
    pub hits: u64,
    /// Calls that did not.
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
    /// What was not let in: entries that alone are above a bound, listeners that found no free place.
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
    /// Calls of listeners.
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
    /// Claims that were turned away because too many were in flight.
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
        self.shortest_window = self.shortest_window.into_iter().chain(other.shortest_window).min();
        self.in_flight += other.in_flight;
        self.silenced += other.silenced;
        for ((_, _, sum), (_, _, more)) in self.all_counters().into_iter().zip(other.clone().all_counters()) {
            *sum += *more;
        }
    }

    /// Every counter, with the kinds of collection that it means something to.
    fn all_counters(&mut self) -> [(u8, &'static str, &mut u64); 24] {
        [
            (ALL, "inserted", &mut self.inserted),
            (DEDUP, "duplicates", &mut self.duplicates),
            (DEDUP, "in_flight_hits", &mut self.in_flight_hits),
            (LRU, "hits", &mut self.hits),
            (LRU, "misses", &mut self.misses),
            (ALL, "expired", &mut self.expired),
            (LRU, "idle", &mut self.idle),
            (ALL, "evicted", &mut self.evicted),
            (LRU | LISTENERS, "replaced", &mut self.replaced),
            (ALL, "removed", &mut self.removed),
            (ALL, "rejected", &mut self.rejected),
            (LISTENERS, "scope_ended", &mut self.scope_ended),
            (LISTENERS, "owner_gone", &mut self.owner_gone),
            (LISTENERS, "used_up", &mut self.used_up),
            (LISTENERS, "failed", &mut self.failed),
            (LISTENERS, "emitted", &mut self.emitted),
            (LISTENERS, "calls", &mut self.calls),
            (LISTENERS, "failures", &mut self.failures),
            (LISTENERS, "skipped", &mut self.skipped),
            (LISTENERS, "dropped", &mut self.dropped),
            (LRU | LISTENERS, "panics", &mut self.panics),
            (DEDUP, "released", &mut self.released),
            (DEDUP, "lapsed", &mut self.lapsed),
            (DEDUP, "shed", &mut self.shed),
        ]
    }

    /// The counters that mean something to this collection, by name.
    fn counters(&self) -> Vec<(&'static str, u64)> {
        let mut copy = self.clone();
        let all = copy.all_counters().into_iter();
        all.filter(|(kinds, _, _)| kinds & self.of as u8 != 0).map(|(_, name, count)| (name, *count)).collect()
    }
}

/// One line: use of the bound, age, then every counter that is not zero.
impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = 100.0 * self.len as f64 / self.max_entries.max(1) as f64;
        write!(f, "{} of {} entries ({percent:.1}%)", self.len, self.max_entries)?;
        if let Some(age) = self.oldest_entry_age {
            write!(f, ", oldest {}", Human(age))?;
        }
        if let Some(ttl) = self.max_age {
            write!(f, ", {} {}", if self.of == Of::Dedup { "ttl" } else { "max age" }, Human(ttl))?;
        }
        if let Some(idle) = self.max_idle {
            write!(f, ", max idle {}", Human(idle))?;
        }
        if let Some(max) = self.max_weight {
            let percent = 100.0 * self.weight as f64 / max.max(1) as f64;
            let unit = if self.of == Of::Dedup { "bytes" } else { "weight" };
            write!(f, ", {} of {max} {unit} ({percent:.1}%)", self.weight)?;
        }
        if self.in_flight > 0 {
            write!(f, ", {} of {} in flight", self.in_flight, self.max_in_flight)?;
        }
        if self.silenced > 0 {
            write!(f, ", {} silenced", self.silenced)?;
        }
        if let Some(window) = self.shortest_window {
            write!(f, ", shortest window {}", Human(window))?;
        }
        for (name, count) in self.counters() {
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
        let ms = |time: Option<Duration>| time.map(ms);
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("len", &self.len)?;
        map.serialize_entry("max_entries", &self.max_entries)?;
        map.serialize_entry("high_water", &self.high_water)?;
        map.serialize_entry("oldest_entry_age_ms", &ms(self.oldest_entry_age))?;
        map.serialize_entry(if self.of == Of::Dedup { "ttl_ms" } else { "max_age_ms" }, &ms(self.max_age))?;
        if self.of == Of::Lru {
            map.serialize_entry("max_idle_ms", &ms(self.max_idle))?;
        }
        if self.of != Of::Listeners {
            map.serialize_entry("weight", &self.weight)?;
            map.serialize_entry("max_weight", &self.max_weight)?;
        }
        if self.of == Of::Dedup {
            map.serialize_entry("shortest_window_ms", &ms(self.shortest_window))?;
            map.serialize_entry("in_flight", &self.in_flight)?;
            map.serialize_entry("max_in_flight", &self.max_in_flight)?;
        }
        if self.of == Of::Listeners {
            map.serialize_entry("silenced", &self.silenced)?;
        }
        for (name, count) in self.counters() {
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
