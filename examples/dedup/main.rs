//! Drops duplicates from a stream of message ids, once with a `DedupSet` and once with the
//! unbounded `HashSet` that it replaces, and compares results, memory and time.
//!
//! ```text
//! cargo run --release --example dedup                              a generated day
//! cargo run --release --example dedup -- --ttl 6h ids.txt.gz       one id per line
//! cargo run --release --example dedup -- --timestamped trace.csv   <timestamp>,<id>
//! ```

mod input;
mod report;

use std::collections::{HashSet, VecDeque};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use example_support::lines::Input;
use example_support::output::print;
use example_support::progress::Progress;
use example_support::time::TimeUnit;
use example_support::{Result, exit};
use leakproof::{BuildError, Clock, DedupSet, ManualClock};

use input::Events;
use report::{Report, Side};

/// Drops duplicates from a stream of message ids with a bounded DedupSet and an unbounded HashSet,
/// and compares results, memory and time.
#[derive(Parser)]
#[command(name = "dedup")]
struct Options {
    /// File with one id per line, may be gzipped; "-" is standard input. Without a file, a day of a
    /// busy bot is generated
    file: Option<PathBuf>,

    /// Time for which an id is remembered, such as 24h, 90m or 500ms
    #[arg(long, default_value = "24h", value_parser = humantime::parse_duration)]
    ttl: Duration,

    /// Number of ids that are remembered at most
    #[arg(long, default_value_t = 1_000_000, value_name = "N")]
    max_entries: usize,

    /// Lines are <timestamp><tab, comma or space><id>, and the timestamps drive the clock. A
    /// timestamp that goes backwards counts as the latest one before
    #[arg(long, requires = "file")]
    timestamped: bool,

    /// Unit of the timestamps, s or ms; fractions are allowed
    #[arg(long, default_value = "s", value_parser = TimeUnit::parse, requires = "timestamped")]
    time_unit: TimeUnit,

    /// Number of events to generate
    #[arg(
        long,
        default_value_t = 1_000_000,
        value_name = "N",
        conflicts_with = "file"
    )]
    #[arg(value_parser = clap::value_parser!(u64).range(..=1_000_000_000))]
    events: u64,
}

fn main() -> ExitCode {
    exit("dedup", run(&Options::parse()))
}

fn run(options: &Options) -> Result<()> {
    // Before the input is read, because that may take long.
    let (set, time) =
        new_set(options, options.max_entries).map_err(|error| format!("{error}; see --help"))?;
    let events = match &options.file {
        Some(path) => Events::read(&Input::new(path.clone()), options)?,
        None => Events::generate(options.events as usize),
    };

    let mut unbounded = HashSet::new();
    let theirs = Side::fill(&events, |_, id| unbounded.insert(id.to_owned()));
    let ours = Side::fill(&events, |nanos, id| {
        if let Some(nanos) = nanos {
            time.set(Duration::from_nanos(nanos));
        }
        set.insert(id)
    });
    let stats = set.stats();
    let missed = match stats.evicted {
        0 => None,
        _ => Some(Missed::count(options, &events)?),
    };
    print(Report {
        options,
        events: &events,
        ours: &ours,
        stats: &stats,
        theirs: &theirs,
        their_len: unbounded.len(),
        missed,
    })
}

/// Returns a set with one shard, so that an eviction removes the oldest of all ids, and its clock.
fn new_set(
    options: &Options,
    max_entries: usize,
) -> Result<(DedupSet<str>, ManualClock), BuildError> {
    let time = ManualClock::new();
    let set = DedupSet::builder()
        .ttl(options.ttl)
        .max_entries(max_entries)
        .clock(if options.has_timestamps() {
            time.clock()
        } else {
            Clock::coarse()
        })
        .shards(1)
        .build()?;
    Ok((set, time))
}

impl Options {
    fn has_timestamps(&self) -> bool {
        self.timestamped || self.file.is_none()
    }
}

/// The price of the entry bound.
struct Missed {
    /// Redeliveries within the ttl that were answered as new.
    redeliveries: usize,
    /// The least bound under which no id is evicted.
    entries_needed: usize,
}

impl Missed {
    /// Compares the bounded set, event by event, with one whose bound is never reached.
    fn count(options: &Options, events: &Events) -> Result<Self> {
        let (bounded, bounded_time) = new_set(options, options.max_entries)?;
        let (exact, exact_time) = new_set(options, events.len())?;
        let (mut redeliveries, mut entries_needed) = (0, 0);
        let (mut live, mut now, mut progress) = (VecDeque::new(), 0, Progress::new("ids compared"));
        for (done, (nanos, id)) in events.iter().enumerate() {
            now = nanos.map_or(now, |nanos| now.max(nanos));
            bounded_time.set(Duration::from_nanos(now));
            exact_time.set(Duration::from_nanos(now));
            let (answered_new, is_new) = (bounded.insert(id), exact.insert(id));
            redeliveries += usize::from(answered_new && !is_new);
            if is_new {
                live.push_back(now);
            }
            while live
                .front()
                .is_some_and(|at| u128::from(now - at) >= options.ttl.as_nanos())
            {
                live.pop_front();
            }
            entries_needed = entries_needed.max(live.len());
            progress.update(done);
        }
        Ok(Self {
            redeliveries,
            entries_needed,
        })
    }
}
