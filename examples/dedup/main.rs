//! Drops the duplicates from a stream of message ids, with a `DedupSet` and beside it with the unbounded `HashSet` that
//! it replaces, and shows what each of them took.
//!
//! ```text
//! cargo run --release --example dedup                              a generated day of a busy bot
//! cargo run --release --example dedup -- --ttl 6h ids.txt.gz       one id a line; "-" is standard input
//! cargo run --release --example dedup -- --timestamped trace.csv   <timestamp>,<id>, in the trace's own time
//! ```

mod input;

use std::collections::HashSet;
use std::fs;
use std::process::ExitCode;
use std::time::Duration;

use leakproof::{Clock, DedupSet, DedupStats, ManualClock};
use lexopt::prelude::*;

use example_support::lines::Source;
use example_support::output::print;
use example_support::terminal::{exit, progress};
use example_support::text::{human, thousands};
use example_support::time::{DAY, SECONDS, decimals, duration};
use example_support::{MILLION, Result};
use input::Events;

const HELP: &str = "\
Drops the duplicates from a stream of message ids, and shows what that took.

Usage: dedup [options] [FILE]

FILE has one id a line, may be gzipped, and is held in memory; \"-\" is standard input.
Without it, a day of a busy bot's traffic is generated.

  --ttl <time>          how long an id is remembered: 24h (the default), 90m, 3600s, 500ms, 7d
  --max-entries <n>     how many ids are remembered at most: 1000000 unless given
  --timestamped         lines are <timestamp><tab, comma or space><id>, and the timestamps are the time;
                        one that goes backwards counts as the latest before it
  --time-unit <s|ms>    the unit of the timestamps since the epoch, fractions allowed: s unless given
  --events <n>          how many events to generate: 1000000 unless given
  --help                this text
";

/// More than any machine holds.
const MOST_EVENTS: usize = 1_000_000_000;
/// Below so many ids, the memory that a set takes is lost among the pages that a process touches anyway.
const FEWEST_WEIGHED: usize = 50_000;

fn main() -> ExitCode {
    exit("dedup", run())
}

fn run() -> Result<()> {
    let Some(options) = options()? else {
        return print(HELP);
    };
    let time = ManualClock::new();
    let seen = DedupSet::<str>::builder()
        .ttl(options.ttl)
        .max_entries(options.max_entries)
        .clock(if options.has_own_time() {
            time.clock()
        } else {
            Clock::coarse()
        })
        .shards(1) // so that the oldest of all is the one to be evicted
        .build()?;
    let events = options.load()?;

    // The memory that a set takes is what the process grows by while it is filled. That holds as long as no set is
    // filled into memory that was given back before: the input leaves no holes (see `Events::new`), and the set that
    // never frees an id comes first, and stays. Each set alone in a process of its own shows the same within 3%.
    let mut unbounded = HashSet::<String>::new();
    let theirs = fill(&events, |_, id| unbounded.insert(id.to_owned()));
    let ours = fill(&events, |nanos, id| {
        if let Some(nanos) = nanos {
            time.set(Duration::from_nanos(nanos));
        }
        seen.insert(id)
    });
    print(report(
        &options,
        &events,
        (&ours, &seen.stats()),
        (&theirs, unbounded.len()),
    ))
}

struct Options {
    source: Source,
    ttl: Duration,
    max_entries: usize,
    timestamped: bool,
    /// What power of ten of the timestamps' unit makes nanoseconds.
    decimals: usize,
}

/// What was asked for; nothing where that is help.
fn options() -> Result<Option<Options>> {
    let mut options = Options {
        source: Source::Generated(MILLION),
        ttl: DAY,
        max_entries: MILLION,
        timestamped: false,
        decimals: SECONDS,
    };
    let (mut file, mut events, mut time_unit) = (None, None, None);
    let mut args = lexopt::Parser::from_env();
    while let Some(arg) = args.next()? {
        match arg {
            Long("ttl") => options.ttl = args.value()?.parse_with(duration)?,
            Long("max-entries") => options.max_entries = args.value()?.parse()?,
            Long("timestamped") => options.timestamped = true,
            Long("time-unit") => time_unit = Some(args.value()?.parse_with(decimals)?),
            Long("events") => events = Some(args.value()?.parse()?),
            Long("help") | Short('h') => return Ok(None),
            Value(value) if file.is_none() => file = Some(value),
            other => return Err(other.unexpected().into()),
        }
    }
    if file.is_some() && events.is_some() {
        return Err("--events is for generated input, and a file was given".into());
    }
    if events.is_some_and(|events| events > MOST_EVENTS) {
        return Err(format!("--events is at most {}", thousands(MOST_EVENTS)).into());
    }
    if file.is_none() && options.timestamped {
        return Err("--timestamped needs a file, or - for standard input".into());
    }
    if !options.timestamped && time_unit.is_some() {
        return Err("--time-unit needs --timestamped".into());
    }
    options.decimals = time_unit.unwrap_or(options.decimals);
    options.source = Source::new(file, events);
    Ok(Some(options))
}

impl Options {
    fn has_own_time(&self) -> bool {
        self.timestamped || matches!(self.source, Source::Generated(_))
    }
}

/// What a set answered, and what it took.
struct Filled {
    events: usize,
    distinct: usize,
    time: Duration,
    grown_bytes: Option<u64>,
}

fn fill(events: &Events, mut is_new: impl FnMut(Option<u64>, &str) -> bool) -> Filled {
    let (wall, bytes_before) = (Clock::precise(), resident_bytes());
    let (mut done, mut distinct) = (0, 0);
    let started = wall.now();
    for (nanos, id) in events.iter() {
        distinct += usize::from(is_new(nanos, id));
        done += 1;
        progress("ids filled in", done);
    }
    let time = wall.now() - started;
    let grown_bytes = resident_bytes()
        .zip(bytes_before)
        .map(|(after, before)| after.saturating_sub(before));
    Filled {
        events: done,
        distinct,
        time,
        grown_bytes,
    }
}

/// The process's resident memory, where the system has it. `smaps_rollup` counts it; the sum in `status` (the same as
/// that in `statm`) may be behind by some pages for each core, and serves where the other is missing.
fn resident_bytes() -> Option<u64> {
    let files = ["/proc/self/smaps_rollup", "/proc/self/status"];
    let text = files
        .iter()
        .find_map(|file| fs::read_to_string(file).ok())?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Rss:").or(line.strip_prefix("VmRSS:")))?;
    line.trim()
        .strip_suffix(" kB")?
        .parse::<u64>()
        .ok()
        .map(|kib| kib * 1024)
}

impl Filled {
    fn bytes_per_id(&self, live: usize) -> String {
        match self.grown_bytes {
            _ if live < FEWEST_WEIGHED => "- (too few to weigh)".into(),
            None => "- (unknown here)".into(),
            Some(bytes) => format!("{:.1}", bytes as f64 / live as f64),
        }
    }

    fn time_per_id(&self) -> String {
        self.time
            .as_nanos()
            .checked_div(self.events as u128)
            .map_or("-".into(), |nanos| format!("{nanos} ns"))
    }
}

fn report(
    options: &Options,
    events: &Events,
    (ours, stats): (&Filled, &DedupStats),
    (theirs, their_len): (&Filled, usize),
) -> String {
    let none = || "-".to_string();
    let of_both = |value: fn(&Filled) -> usize| (thousands(value(ours)), thousands(value(theirs)));
    let rows = [
        ("events", of_both(|filled| filled.events)),
        ("distinct (answered new)", of_both(|filled| filled.distinct)),
        (
            "duplicates",
            of_both(|filled| filled.events - filled.distinct),
        ),
        ("evicted by the bound", (thousands(stats.evicted), none())),
        ("expired", (thousands(stats.expired), none())),
        (
            "live at the end",
            (thousands(stats.len), thousands(their_len)),
        ),
        (
            "oldest age",
            (stats.oldest_entry_age.map_or_else(none, human), none()),
        ),
        (
            "shortest window",
            (stats.shortest_window.map_or_else(none, human), none()),
        ),
        (
            "bytes per live id",
            (ours.bytes_per_id(stats.len), theirs.bytes_per_id(their_len)),
        ),
        ("time per id", (ours.time_per_id(), theirs.time_per_id())),
    ];
    let table: String = rows
        .iter()
        .filter(|(name, _)| *name != "shortest window" || stats.shortest_window.is_some())
        .map(|(name, (ours, theirs))| format!("{name:<24}{ours:>22}{theirs:>28}\n"))
        .collect();
    let input = match options.source {
        Source::Generated(_) => {
            "GENERATED, a day of a busy bot; name a file to see your own ids".into()
        }
        _ => format!(
            "{} lines, of which {} bad",
            thousands(events.lines),
            thousands(events.bad_lines)
        ),
    };
    let clock = if options.has_own_time() {
        "the input's timestamps"
    } else {
        "that of this run"
    };
    let (ttl, max) = (human(options.ttl), thousands(options.max_entries));
    format!(
        "input: {input}
ttl {ttl}, at most {max} ids, time: {clock}

{:<24}{:>22}{:>28}
{table}
Bytes and time were measured in this one run, on this input, from empty sets: what the process grew by,
keys included, and the filling alone, without reading and parsing.

stats: {stats}
",
        "", "DedupSet<str>", "unbounded HashSet<String>",
    )
}
