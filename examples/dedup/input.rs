//! Message ids from a file or standard input, or generated.

use example_support::lines::Input;
use example_support::random::scramble;
use example_support::time::DAY;
use example_support::{Result, progress::Progress};

use crate::Options;

/// The whole input, so that the time to fill a set includes no reading and parsing.
#[derive(Default)]
pub(crate) struct Events {
    text: String,
    ends: Vec<usize>,
    /// The time of each event, or empty if the lines have no timestamps.
    nanos: Vec<u64>,
    pub(crate) lines: usize,
    pub(crate) bad_lines: usize,
}

impl Events {
    /// Reads the lines of `input`.
    pub(crate) fn read(input: &Input, options: &Options) -> Result<Self> {
        let (mut lines, mut events) = (input.lines()?, Self::default());
        while let Some(line) = lines.next_line()? {
            match options.parse(line) {
                Ok((nanos, id)) => events.push(nanos, id),
                Err(reason) => lines.reject(reason),
            }
        }
        lines.check(events.len() as u64)?;
        events.lines = lines.read;
        events.bad_lines = lines.bad;
        Ok(events)
    }

    /// Generates a day of a bot that is in many groups, the same at every run.
    ///
    /// New ids come evenly. 15% of the events are redeliveries by senders that retry after a
    /// second, then at growing intervals, up to six hours.
    pub(crate) fn generate(count: usize) -> Self {
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
        let (mut events, mut progress) = (Self::default(), Progress::new("events generated"));
        for (done, (time, number)) in arrivals.into_iter().enumerate() {
            let group = scramble(number as u64 % 500) % 10_000_000_000;
            let message = scramble(number as u64 + 1);
            let id = format!(
                "1203630{group:010}@g.us:3EB0{message:016X}{:02X}",
                number % 256
            );
            events.push(Some((time * 1e9) as u64), &id);
            progress.update(done);
        }
        events
    }

    fn push(&mut self, nanos: Option<u64>, id: &str) {
        self.text.push_str(id);
        self.ends.push(self.text.len());
        self.nanos.extend(nanos);
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
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

impl Options {
    /// Parses a line as an id, and its time if the lines have timestamps.
    fn parse<'a>(&self, line: &'a str) -> Result<(Option<u64>, &'a str), &'static str> {
        if !self.timestamped {
            return Ok((None, line));
        }
        let (time, id) = line
            .split_once(['\t', ',', ' '])
            .ok_or("no tab, comma or space after the timestamp")?;
        let nanos = self.time_unit.nanos(time)?;
        match id.bytes().next() {
            None => Err("no id after the timestamp"),
            // The quotes would become part of the id, and some CSV writers quote only some ids.
            Some(b'"') => Err("quoted id: write ids without quotes"),
            Some(_) => Ok((Some(nanos), id)),
        }
    }
}
