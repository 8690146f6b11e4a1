//! Drops the duplicates from a stream of message ids, with a `DedupSet` and beside it with the unbounded `HashSet` that
//! it replaces, and shows what each of them took.
//!
//! ```text
//! cargo run --release --example dedup                              a generated day of a busy bot
//! cargo run --release --example dedup -- --ttl 6h ids.txt.gz       one id a line; "-" is standard input
//! cargo run --release --example dedup -- --timestamped trace.csv   <timestamp>,<id>, in the trace's own time
//! ```

use std::collections::HashSet;
use std::error::Error;
use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Cursor, ErrorKind, IsTerminal, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use flate2::read::MultiGzDecoder;
use leakproof::{Clock, DedupSet, ManualClock, Stats};
use lexopt::prelude::*;

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

/// Below so many ids, the memory that a set takes is lost among the pages that a process touches anyway.
const FEWEST_WEIGHED: usize = 50_000;
const NAMED_BAD_LINES: usize = 5;
const MILLION: usize = 1_000_000;
const DAY: Duration = Duration::from_secs(24 * 3600);

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            note(format_args!("dedup: {error}"));
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<()> {
    let Some(options) = options()? else {
        return print(HELP);
    };
    let time = ManualClock::new();
    let seen = DedupSet::<str>::builder()
        .ttl(options.ttl)
        .max_entries(options.max_entries)
        .clock(if options.has_own_time() { time.clock() } else { Clock::coarse() })
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
    print(&report(&options, &events, (&ours, &seen.stats()), (&theirs, unbounded.len())))
}

struct Options {
    source: Source,
    ttl: Duration,
    max_entries: usize,
    timestamped: bool,
    /// What power of ten of the timestamps' unit makes nanoseconds.
    decimals: usize,
}

enum Source {
    Generated(usize),
    Stdin,
    File(PathBuf),
}

/// What was asked for; nothing where that is help.
fn options() -> Result<Option<Options>> {
    let mut options =
        Options { source: Source::Generated(MILLION), ttl: DAY, max_entries: MILLION, timestamped: false, decimals: 9 };
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
    if file.is_none() && options.timestamped {
        return Err("--timestamped needs a file, or - for standard input".into());
    }
    if !options.timestamped && time_unit.is_some() {
        return Err("--time-unit needs --timestamped".into());
    }
    options.decimals = time_unit.unwrap_or(options.decimals);
    options.source = match file {
        None => Source::Generated(events.unwrap_or(MILLION)),
        Some(dash) if dash == "-" => Source::Stdin,
        Some(path) => Source::File(path.into()),
    };
    Ok(Some(options))
}

fn duration(text: &str) -> std::result::Result<Duration, &'static str> {
    let (count, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let unit_ms = match unit {
        "ms" => Some(1),
        "s" => Some(1000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        "d" => Some(86_400_000),
        _ => None,
    };
    let millis = count.parse::<u64>().ok().zip(unit_ms).and_then(|(count, unit_ms)| count.checked_mul(unit_ms));
    millis
        .map(Duration::from_millis)
        .ok_or("a time is a whole number, within reach, and its unit: 24h, 90m, 3600s, 500ms")
}

fn decimals(unit: &str) -> std::result::Result<usize, &'static str> {
    match unit {
        "s" => Ok(9),
        "ms" => Ok(6),
        _ => Err("the unit is s or ms"),
    }
}

impl Options {
    fn has_own_time(&self) -> bool {
        self.timestamped || matches!(self.source, Source::Generated(_))
    }

    fn load(&self) -> Result<Events> {
        let (input, name): (Box<dyn Read>, _) = match &self.source {
            Source::Generated(count) => return Ok(generate(*count)),
            Source::Stdin => (Box::new(io::stdin().lock()), "standard input".into()),
            Source::File(path) => {
                let file = File::open(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
                (Box::new(file), path.display().to_string())
            }
        };
        self.read(input).map_err(|error| format!("cannot read {name}: {error}").into())
    }

    fn read(&self, input: Box<dyn Read>) -> io::Result<Events> {
        let (mut events, mut line) = (Events::new(), Vec::new());
        let mut lines = unzipped(input)?;
        while lines.read_until(b'\n', &mut line)? > 0 {
            events.lines += 1;
            match self.parse(line.trim_ascii_end()) {
                Ok((nanos, id)) => events.push(nanos, id),
                Err(reason) => events.reject(reason),
            }
            progress("lines read", events.lines);
            line.clear();
        }
        Ok(events)
    }

    fn parse<'a>(&self, line: &'a [u8]) -> std::result::Result<(Option<u64>, &'a str), &'static str> {
        let line = str::from_utf8(line).map_err(|_| "not UTF-8")?;
        if line.is_empty() {
            return Err("empty");
        }
        if !self.timestamped {
            return Ok((None, line));
        }
        let (time, id) = line.split_once(['\t', ',', ' ']).ok_or("no id after a timestamp")?;
        let nanos = nanos(time, self.decimals).ok_or("no valid timestamp")?;
        if id.is_empty() { Err("no id after its timestamp") } else { Ok((Some(nanos), id)) }
    }
}

/// Reads a decimal number as nanoseconds; not by way of a float, which cannot hold the nanoseconds of our time.
fn nanos(text: &str, decimals: usize) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) {
        return None;
    }
    let fraction: u64 = format!("{fraction:0<decimals$}")[..decimals].parse().ok()?;
    whole.parse::<u64>().ok()?.checked_mul(10_u64.pow(decimals as u32))?.checked_add(fraction)
}

fn unzipped(mut input: Box<dyn Read>) -> io::Result<Box<dyn BufRead>> {
    let mut magic = Vec::new();
    input.by_ref().take(2).read_to_end(&mut magic)?;
    let is_gzip = magic == [0x1f, 0x8b];
    let whole = Cursor::new(magic).chain(input);
    Ok(if is_gzip {
        Box::new(BufReader::new(MultiGzDecoder::new(BufReader::new(whole))))
    } else {
        Box::new(BufReader::new(whole))
    })
}

/// The whole input, so that filling the sets is all that is timed.
struct Events {
    text: String,
    ends: Vec<usize>,
    /// When each came; empty where the lines do not say.
    nanos: Vec<u64>,
    lines: usize,
    bad_lines: usize,
}

impl Events {
    /// With so much room that the allocator maps it apart, and moves it when it grows: it leaves no holes among small
    /// allocations, and takes no memory until it is written to.
    fn new() -> Self {
        let (text, ends, nanos) =
            (String::with_capacity(64 * MILLION), Vec::with_capacity(MILLION), Vec::with_capacity(MILLION));
        Self { text, ends, nanos, lines: 0, bad_lines: 0 }
    }

    fn push(&mut self, nanos: Option<u64>, id: &str) {
        self.text.push_str(id);
        self.ends.push(self.text.len());
        self.nanos.extend(nanos);
    }

    fn reject(&mut self, reason: &str) {
        self.bad_lines += 1;
        if self.bad_lines <= NAMED_BAD_LINES {
            note(format_args!("line {}: {reason}; passed over", self.lines));
        } else if self.bad_lines == NAMED_BAD_LINES + 1 {
            note("further bad lines are only counted");
        }
    }

    fn iter(&self) -> impl Iterator<Item = (Option<u64>, &str)> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let ids = starts.zip(&self.ends).map(|(start, &end)| &self.text[start..end]);
        ids.enumerate().map(|(at, id)| (self.nanos.get(at).copied(), id))
    }
}

/// A day of a bot that is in many groups: ids come evenly, and 15% of the events are redeliveries, by senders that
/// retry after a second, then ever later, up to six hours. The same at every run.
fn generate(count: usize) -> Events {
    let mut events = Events::new();
    let redelivered = count * 15 / 100;
    let fresh = count - redelivered;
    let time_of = |number: usize| DAY.as_secs_f64() * number as f64 / fresh as f64;
    let mut arrivals: Vec<(f64, usize)> = (0..fresh).map(|number| (time_of(number), number)).collect();
    let mut draws = 0;
    let mut draw = || {
        draws += 1;
        scramble(draws << 32)
    };
    while arrivals.len() < count {
        let number = draw() as usize % fresh;
        let delay_s = 21_600_f64.powf(draw() as f64 / u64::MAX as f64);
        let time = time_of(number) + delay_s;
        if time < DAY.as_secs_f64() {
            arrivals.push((time, number));
        }
    }
    arrivals.sort_by(|a, b| a.0.total_cmp(&b.0));
    for (time, number) in arrivals {
        let group = scramble(number as u64 % 500) % 10_000_000_000;
        let message = scramble(number as u64 + 1);
        let id = format!("1203630{group:010}@g.us:3EB0{message:016X}{:02X}", number % 256);
        events.push(Some((time * 1e9) as u64), &id);
    }
    events
}

/// The finish of splitmix64: different numbers stay different, and look random.
fn scramble(number: u64) -> u64 {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
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
    let grown_bytes = resident_bytes().zip(bytes_before).map(|(after, before)| after.saturating_sub(before));
    Filled { events: done, distinct, time, grown_bytes }
}

/// The process's resident memory, where the system has it. `smaps_rollup` counts it; the sum in `status` (the same as
/// that in `statm`) may be behind by some pages for each core, and serves where the other is missing.
fn resident_bytes() -> Option<u64> {
    let files = ["/proc/self/smaps_rollup", "/proc/self/status"];
    let text = files.iter().find_map(|file| fs::read_to_string(file).ok())?;
    let line = text.lines().find_map(|line| line.strip_prefix("Rss:").or(line.strip_prefix("VmRSS:")))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib * 1024)
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
        self.time.as_nanos().checked_div(self.events as u128).map_or("-".into(), |nanos| format!("{nanos} ns"))
    }
}

fn report(
    options: &Options,
    events: &Events,
    (ours, stats): (&Filled, &Stats),
    (theirs, their_len): (&Filled, usize),
) -> String {
    let none = || "-".to_string();
    let of_both = |value: fn(&Filled) -> usize| (thousands(value(ours)), thousands(value(theirs)));
    let rows = [
        ("events", of_both(|filled| filled.events)),
        ("distinct (answered new)", of_both(|filled| filled.distinct)),
        ("duplicates", of_both(|filled| filled.events - filled.distinct)),
        ("evicted by the bound", (thousands(stats.evicted as usize), none())),
        ("expired", (thousands(stats.expired as usize), none())),
        ("live at the end", (thousands(stats.len), thousands(their_len))),
        ("oldest age", (stats.oldest_entry_age.map_or_else(none, human), none())),
        ("shortest window", (stats.shortest_window.map_or_else(none, human), none())),
        ("bytes per live id", (ours.bytes_per_id(stats.len), theirs.bytes_per_id(their_len))),
        ("time per id", (ours.time_per_id(), theirs.time_per_id())),
    ];
    let table: String = rows
        .iter()
        .filter(|(name, _)| *name != "shortest window" || stats.shortest_window.is_some())
        .map(|(name, (ours, theirs))| format!("{name:<24}{ours:>22}{theirs:>28}\n"))
        .collect();
    let input = match options.source {
        Source::Generated(_) => "GENERATED, a day of a busy bot; name a file to see your own ids".into(),
        _ => format!("{} lines, of which {} bad", thousands(events.lines), thousands(events.bad_lines)),
    };
    let clock = if options.has_own_time() { "the input's timestamps" } else { "that of this run" };
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

fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}

fn human(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0 => format!("{} ms", time.as_millis()),
        1..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", thousands((seconds / 3600) as usize), seconds / 60 % 60),
    }
}

/// Tells somebody who waits how far it is; a short run into a file stays silent.
fn progress(what: &str, done: usize) {
    if done.is_multiple_of(MILLION) && (done > 2 * MILLION || io::stderr().is_terminal()) {
        note(format_args!("{} {what} ...", thousands(done)));
    }
}

/// Whoever reads may have seen enough, as `head` does: that is no error.
fn print(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// `eprintln` would panic where nobody reads.
fn note(text: impl Display) {
    writeln!(io::stderr(), "{text}").ok();
}
