//! The operations of all rounds, as text.

use std::sync::atomic::Ordering::SeqCst;

use crate::options::Options;
use crate::parts::PARTS;
use crate::round::{MOST_BYTES, Tally, panics};
use example_support::text::{human, thousands};

pub(crate) struct Report {
    head: String,
    pub(crate) rounds: u64,
    /// The reason why a part is left out.
    pub(crate) left_out: [Option<&'static str>; PARTS.len()],
    /// The completed operations of each part.
    pub(crate) operations: [u64; PARTS.len()],
    /// The operations of each part, by kind.
    pub(crate) tallies: [Tally; PARTS.len()],
    /// Removals by cause.
    pub(crate) causes: Tally,
    bytes_at_start: usize,
    pub(crate) bytes_after_first: Option<u64>,
    pub(crate) bytes_at_end: u64,
}

impl Report {
    pub(crate) fn new(options: &Options, bytes_at_start: usize) -> Self {
        let (time, threads) = (human(options.time()), options.threads());
        Self {
            head: format!(
                "soak of {time} with {threads} threads, seed {}",
                options.seed
            ),
            rounds: 0,
            left_out: PARTS.map(|part| options.reason_to_leave_out(part.name)),
            operations: Default::default(),
            tallies: Default::default(),
            causes: Tally::default(),
            bytes_at_start,
            bytes_after_first: None,
            bytes_at_end: 0,
        }
    }

    pub(crate) fn text(&self) -> String {
        let mut text = format!("{}\n\nrounds {}\n", self.head, thousands(self.rounds));
        for (number, part) in PARTS.iter().enumerate() {
            text += &format!("\n{}: ", part.name);
            text += &match self.left_out[number] {
                Some(reason) => format!("left out, {reason}\n"),
                None => format!(
                    "{} operations; checked: {}\n{}",
                    thousands(self.operations[number]),
                    part.checked,
                    lines(&self.tallies[number])
                ),
            };
        }
        text += &format!("\nremovals\n{}", lines(&self.causes));
        text += &format!(
            "\npanics of user code, all contained {}\n",
            thousands(panics())
        );
        let [start, most] = [self.bytes_at_start, MOST_BYTES.load(SeqCst)].map(thousands);
        let [first, end] = [self.bytes_after_first.unwrap_or(0), self.bytes_at_end].map(thousands);
        text += &format!(
            "bytes allocated: {start} at the start, {most} at most, {first} after the first round, \
             {end} at the end\n\
             all promises held\n"
        );
        text
    }
}

fn lines(tally: &Tally) -> String {
    tally
        .iter()
        .map(|(what, count)| format!("{:>16}  {what}\n", thousands(count)))
        .collect()
}
