//! The input: read from a file or standard input, or generated.

use crate::Options;
use example_support::lines::Source;
use example_support::random::scramble;
use example_support::time::{DAY, nanos};
use example_support::{MILLION, Result};

impl Options {
    pub(crate) fn load(&self) -> Result<Events> {
        let input = match &self.source {
            Source::Generated(count) => return Ok(generate(*count)),
            Source::Read(input) => input,
        };
        let (mut lines, mut events) = (input.lines()?, Events::new());
        while let Some(line) = lines.next_line()? {
            match self.parse(line) {
                Ok((nanos, id)) => events.push(nanos, id),
                Err(reason) => lines.reject(reason),
            }
        }
        Ok(Events {
            lines: lines.read,
            bad_lines: lines.bad,
            ..events
        })
    }

    fn parse<'a>(&self, line: &'a str) -> Result<(Option<u64>, &'a str), &'static str> {
        if !self.timestamped {
            return Ok((None, line));
        }
        let (time, id) = line
            .split_once(['\t', ',', ' '])
            .ok_or("no id after a timestamp")?;
        let nanos = nanos(time, self.decimals)?;
        if id.is_empty() {
            Err("no id after its timestamp")
        } else {
            Ok((Some(nanos), id))
        }
    }
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
        let (text, ends, nanos) = (
            String::with_capacity(64 * MILLION),
            Vec::with_capacity(MILLION),
            Vec::with_capacity(MILLION),
        );
        Self {
            text,
            ends,
            nanos,
            lines: 0,
            bad_lines: 0,
        }
    }

    fn push(&mut self, nanos: Option<u64>, id: &str) {
        self.text.push_str(id);
        self.ends.push(self.text.len());
        self.nanos.extend(nanos);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Option<u64>, &str)> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let ids = starts
            .zip(&self.ends)
            .map(|(start, &end)| &self.text[start..end]);
        ids.enumerate()
            .map(|(at, id)| (self.nanos.get(at).copied(), id))
    }
}

/// A day of a bot that is in many groups: ids come evenly, and 15% of the events are redeliveries, by senders that
/// retry after a second, then ever later, up to six hours. The same at every run.
fn generate(count: usize) -> Events {
    let mut events = Events::new();
    let redelivered = count * 15 / 100;
    let fresh = count - redelivered;
    let time_of = |number: usize| DAY.as_secs_f64() * number as f64 / fresh as f64;
    let mut arrivals: Vec<(f64, usize)> =
        (0..fresh).map(|number| (time_of(number), number)).collect();
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
        let id = format!(
            "1203630{group:010}@g.us:3EB0{message:016X}{:02X}",
            number % 256
        );
        events.push(Some((time * 1e9) as u64), &id);
    }
    events
}
