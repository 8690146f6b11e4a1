//! The input: read from a file or standard input, or generated.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};

use flate2::read::MultiGzDecoder;

use crate::{DAY, MILLION, Options, Result, Source, note, progress};

const NAMED_BAD_LINES: usize = 5;

impl Options {
    pub(crate) fn load(&self) -> Result<Events> {
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
pub(crate) struct Events {
    text: String,
    ends: Vec<usize>,
    /// When each came; empty where the lines do not say.
    nanos: Vec<u64>,
    pub(crate) lines: usize,
    pub(crate) bad_lines: usize,
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

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Option<u64>, &str)> {
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
