//! The comparison of both sets as text.

use std::fmt;
use std::time::Duration;

use example_support::progress::Progress;
use example_support::text::{human, thousands};
use leakproof::{Clock, DedupStats};

use crate::input::Events;
use crate::{Missed, Options};

/// The answers of a set, and its time and memory.
pub(crate) struct Side {
    events: usize,
    distinct: usize,
    time: Duration,
    bytes: i64,
}

impl Side {
    /// Offers all events to a set, and counts what it allocates.
    pub(crate) fn fill(events: &Events, mut insert: impl FnMut(Option<u64>, &str) -> bool) -> Self {
        let clock = Clock::precise();
        let mut progress = Progress::new("ids inserted");
        let (mut distinct, started) = (0, clock.now());
        let allocated = allocation_counter::measure(|| {
            for (done, (nanos, id)) in events.iter().enumerate() {
                distinct += usize::from(insert(nanos, id));
                progress.update(done);
            }
        });
        Self {
            events: events.len(),
            distinct,
            time: clock.now() - started,
            bytes: allocated.bytes_current,
        }
    }

    fn bytes_per_id(&self, live: usize) -> String {
        if live == 0 {
            return "-".into();
        }
        format!("{:.1}", self.bytes as f64 / live as f64)
    }

    fn time_per_id(&self) -> String {
        self.time
            .as_nanos()
            .checked_div(self.events as u128)
            .map_or("-".into(), |nanos| format!("{nanos} ns"))
    }
}

pub(crate) struct Report<'a> {
    pub(crate) options: &'a Options,
    pub(crate) events: &'a Events,
    pub(crate) ours: &'a Side,
    pub(crate) stats: &'a DedupStats,
    pub(crate) theirs: &'a Side,
    pub(crate) their_len: usize,
    /// `None` if the bound evicted no id.
    pub(crate) missed: Option<Missed>,
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (options, events) = (self.options, self.events);
        match &options.file {
            None => writeln!(
                f,
                "input: GENERATED day of a busy bot; pass a file to use your own ids"
            )?,
            Some(_) => writeln!(
                f,
                "input: {} lines, {} bad",
                thousands(events.lines),
                thousands(events.bad_lines)
            )?,
        }
        let clock = if options.has_timestamps() {
            "timestamps of the input"
        } else {
            "time of this run"
        };
        let (ttl, max_entries) = (human(options.ttl), thousands(options.max_entries));
        writeln!(f, "ttl {ttl}, max_entries {max_entries}, clock: {clock}\n")?;
        self.table(f)?;
        writeln!(
            f,
            "\nBytes are allocated bytes, counted by the allocator, keys included. Time is that of \
             the inserts alone.\n\nstats: {}\n",
            self.stats
        )?;
        self.verdict(f)
    }
}

impl Report<'_> {
    fn table(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ours, theirs, stats) = (self.ours, self.theirs, self.stats);
        let none = || "-".to_owned();
        let mut row = |name: &str, ours: String, theirs: String| {
            writeln!(f, "{name:<24}{ours:>22}{theirs:>28}")
        };
        let both = |of: fn(&Side) -> usize| (thousands(of(ours)), thousands(of(theirs)));
        row(
            "",
            "DedupSet<str>".into(),
            "unbounded HashSet<String>".into(),
        )?;
        let (our, their) = both(|side| side.events);
        row("events", our, their)?;
        let (our, their) = both(|side| side.distinct);
        row("answered new", our, their)?;
        let (our, their) = both(|side| side.events - side.distinct);
        row("answered duplicate", our, their)?;
        row("evicted by the bound", thousands(stats.evicted), none())?;
        row("expired", thousands(stats.expired), none())?;
        row(
            "live at the end",
            thousands(stats.len),
            thousands(self.their_len),
        )?;
        let age = stats.oldest_entry_age.map_or_else(none, human);
        row("oldest entry age", age, none())?;
        if let Some(window) = stats.shortest_window {
            row("shortest window", human(window), none())?;
        }
        let bytes = (
            ours.bytes_per_id(stats.len),
            theirs.bytes_per_id(self.their_len),
        );
        row("bytes per live id", bytes.0, bytes.1)?;
        row("time per id", ours.time_per_id(), theirs.time_per_id())
    }

    fn verdict(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ttl = human(self.options.ttl);
        match &self.missed {
            None => writeln!(
                f,
                "verdict: no redelivery within {ttl} would have been handled twice"
            ),
            Some(missed) => writeln!(
                f,
                "verdict: {} redeliveries within {ttl} would have been handled twice; \
                 at least {} entries are needed",
                thousands(missed.redeliveries),
                thousands(missed.entries_needed)
            ),
        }
    }
}
