//! The operations of all rounds, as text.

use std::sync::atomic::Ordering::SeqCst;

use crate::options::Options;
use crate::round::{MOST_BYTES, Tally, panics};
use example_support::text::{human, thousands};

pub(crate) struct Report {
    head: String,
    pub(crate) rounds: u64,
    /// The operations on ids, cache entries and listeners.
    pub(crate) operations: [Tally; 3],
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
            operations: Default::default(),
            causes: Tally::default(),
            bytes_at_start,
            bytes_after_first: None,
            bytes_at_end: 0,
        }
    }

    pub(crate) fn text(&self) -> String {
        let mut text = format!("{}\n\nrounds {}\n", self.head, thousands(self.rounds));
        for (title, tally) in ["ids", "cache entries", "listeners"]
            .iter()
            .zip(&self.operations)
        {
            text += &format!("\n{title}\n{}", lines(tally));
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
