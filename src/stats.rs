//! `Stats`: what a collection holds, and what left it and why.

use std::fmt;
use std::time::Duration;

/// What a collection holds now, and what happened to it since it was created.
///
/// Reading it costs a lock per shard and looks at no entry. The counters of different shards are read one after
/// another, so that under concurrent writes they may differ by what happened meanwhile.
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
    /// Live entries.
    pub len: usize,
    /// The bound on them.
    pub max_entries: usize,
    /// The most entries that were ever held at once; with several shards, the sum of what each held at most.
    pub high_water: usize,
    /// How long ago the oldest live entry was recorded.
    pub oldest_entry_age: Option<Duration>,
    /// How old an entry can get: the ttl.
    pub max_age: Option<Duration>,
    /// Bytes of the live keys, and of those in flight, where keys are `str` or `[u8]`.
    pub weight: u64,
    /// The bound on them, if there is one.
    pub max_weight: Option<u64>,
    /// The age at which the youngest evicted entry had to go: where this is below the ttl, that is the time for which
    /// duplicates were really recognised. `None` while nothing was evicted.
    pub shortest_window: Option<Duration>,
    /// Ids that are claimed and neither committed nor released.
    pub in_flight: usize,
    /// The bound on them.
    pub max_in_flight: usize,
    /// Entries recorded.
    pub inserted: u64,
    /// Calls that were told of a duplicate.
    pub duplicates: u64,
    /// Calls that were told that the id is in flight.
    pub in_flight_hits: u64,
    /// Entries that left because their time was over.
    pub expired: u64,
    /// Live entries that left because of the bound.
    pub evicted: u64,
    /// Entries that were removed by call, `clear` included.
    pub removed: u64,
    /// Keys that were not stored because they alone exceed the bound on bytes.
    pub rejected: u64,
    /// Claims that were released.
    pub released: u64,
    /// Claims whose lease ran out.
    pub lapsed: u64,
    /// Claims that were turned away because too many were in flight.
    pub shed: u64,
}

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
        self.inserted += other.inserted;
        self.duplicates += other.duplicates;
        self.in_flight_hits += other.in_flight_hits;
        self.expired += other.expired;
        self.evicted += other.evicted;
        self.removed += other.removed;
        self.rejected += other.rejected;
        self.released += other.released;
        self.lapsed += other.lapsed;
        self.shed += other.shed;
    }

    /// The counters with their names.
    fn counters(&self) -> [(&'static str, u64); 10] {
        [
            ("inserted", self.inserted),
            ("duplicates", self.duplicates),
            ("in_flight_hits", self.in_flight_hits),
            ("expired", self.expired),
            ("evicted", self.evicted),
            ("removed", self.removed),
            ("rejected", self.rejected),
            ("released", self.released),
            ("lapsed", self.lapsed),
            ("shed", self.shed),
        ]
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
            write!(f, ", ttl {}", Human(ttl))?;
        }
        if let Some(max) = self.max_weight {
            write!(f, ", {} of {max} bytes", self.weight)?;
        }
        if self.in_flight > 0 {
            write!(f, ", {} of {} in flight", self.in_flight, self.max_in_flight)?;
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
struct Human(Duration);

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

#[cfg(feature = "serde")]
impl serde::Serialize for Stats {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let ms = |time: Option<Duration>| time.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("len", &self.len)?;
        map.serialize_entry("max_entries", &self.max_entries)?;
        map.serialize_entry("high_water", &self.high_water)?;
        map.serialize_entry("ttl_ms", &ms(self.max_age))?;
        map.serialize_entry("oldest_entry_age_ms", &ms(self.oldest_entry_age))?;
        map.serialize_entry("shortest_window_ms", &ms(self.shortest_window))?;
        map.serialize_entry("weight", &self.weight)?;
        map.serialize_entry("max_weight", &self.max_weight)?;
        map.serialize_entry("in_flight", &self.in_flight)?;
        map.serialize_entry("max_in_flight", &self.max_in_flight)?;
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
