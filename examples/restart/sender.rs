//! The sender: delivers messages until each is acknowledged, and the latest ones again after every
//! restart of the bot, as messengers do.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use clap::ValueEnum;
use example_support::Result;
use example_support::progress::Progress;
use leakproof::Clock;

use crate::SyncOption;

/// Messages that wait for an acknowledgement at the same time.
const OUTSTANDING: usize = 32;

#[derive(Default)]
pub struct Outcome {
    pub messages: u64,
    pub handled: u64,
    pub duplicates: u64,
    pub lost: u64,
    pub twice: u64,
    recoveries: Vec<Duration>,
}

impl Outcome {
    pub fn median_recovery(&self) -> Duration {
        let mut sorted = self.recoveries.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied().unwrap_or_default()
    }

    pub fn longest_recovery(&self) -> Duration {
        self.recoveries.iter().max().copied().unwrap_or_default()
    }
}

/// A running bot.
struct Bot {
    process: Child,
    input: ChildStdin,
    lines: Receiver<String>,
}

/// The messages, by number.
#[derive(Default)]
struct Messages {
    next: u64,
    /// The number of times that each was handled.
    handled: BTreeMap<u64, u64>,
    unacknowledged: BTreeSet<u64>,
    duplicates: u64,
}

pub fn run(
    kills: u32,
    redelivered: usize,
    journal: Option<(&Path, SyncOption)>,
) -> Result<Outcome> {
    let (mut messages, mut outcome) = (Messages::default(), Outcome::default());
    let mut progress = Progress::new("kills");
    for kill in 0..=kills {
        let mut bot = Bot::start(journal)?;
        outcome.recoveries.push(bot.ready()?);
        // Varies without a pattern, by the golden ratio.
        let random = u64::from(kill).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        let span = Duration::from_micros(30_000 + random % 60_000);
        let is_last = kill == kills;
        messages.deliver(&mut bot, redelivered, span, is_last)?;
        if !is_last {
            bot.process.kill()?; // SIGKILL
        }
        drop(bot.input);
        bot.process.wait()?;
        // The pipe still has what the bot said before it was killed.
        bot.lines.iter().for_each(|line| messages.read(&line));
        progress.update_slow(kill as usize);
    }
    outcome.messages = messages.next;
    outcome.handled = messages.handled.values().sum();
    outcome.duplicates = messages.duplicates;
    outcome.twice = messages.handled.values().map(|times| times - 1).sum();
    outcome.lost = messages.next - messages.handled.len() as u64;
    Ok(outcome)
}

impl Messages {
    /// Delivers the latest messages again, and then new ones for a time. In the last round, waits
    /// for all acknowledgements.
    fn deliver(
        &mut self,
        bot: &mut Bot,
        redelivered: usize,
        span: Duration,
        is_last: bool,
    ) -> Result<()> {
        let clock = Clock::precise();
        let first = self.next.saturating_sub(redelivered as u64);
        let mut again: BTreeSet<u64> = (first..self.next).collect();
        again.extend(&self.unacknowledged);
        self.unacknowledged.extend(&again);
        let mut again = again.into_iter();
        let mut outstanding = 0;
        while is_last || clock.now() < span {
            while outstanding < OUTSTANDING {
                let number = match again.next() {
                    Some(number) => number,
                    None if is_last => break,
                    None => {
                        self.next += 1;
                        self.unacknowledged.insert(self.next - 1);
                        self.next - 1
                    }
                };
                writeln!(bot.input, "{number}")?;
                outstanding += 1;
            }
            if outstanding == 0 {
                return Ok(());
            }
            match bot.lines.recv_timeout(span) {
                Ok(line) => {
                    outstanding -= usize::from(!line.starts_with("handled"));
                    self.read(&line);
                }
                Err(_) if is_last => return Err("the bot does not answer".into()),
                Err(_) => return Ok(()),
            }
        }
        Ok(())
    }

    fn read(&mut self, line: &str) {
        let Some((what, number)) = line.split_once(' ') else {
            return;
        };
        let Ok(number) = number.parse() else {
            return;
        };
        match what {
            "handled" => *self.handled.entry(number).or_default() += 1,
            "done" => drop(self.unacknowledged.take(&number)),
            "duplicate" => {
                self.duplicates += 1;
                self.unacknowledged.remove(&number);
            }
            _ => {}
        }
    }
}

impl Bot {
    fn start(journal: Option<(&Path, SyncOption)>) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("--bot");
        if let Some((path, sync)) = journal {
            let sync = sync.to_possible_value().expect("no option is skipped");
            command.arg("--journal").arg(path);
            command.args(["--sync", sync.get_name()]);
        }
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = process.stdin.take().ok_or("no pipe")?;
        let output = BufReader::new(process.stdout.take().ok_or("no pipe")?);
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in output.lines().map_while(std::result::Result::ok) {
                sender.send(line).ok();
            }
        });
        Ok(Self {
            process,
            input,
            lines,
        })
    }

    /// Waits until the bot has replayed its journal, and returns the time that it took.
    fn ready(&self) -> Result<Duration> {
        let line = self.lines.recv_timeout(Duration::from_secs(60))?;
        let nanos = line.strip_prefix("ready ").ok_or("the bot is not ready")?;
        Ok(Duration::from_nanos(nanos.parse()?))
    }
}
