//! A bot that is killed with SIGKILL again and again while a sender redelivers messages: with a
//! journal and without.
//!
//! ```text
//! cargo run --release --features persist --example restart
//! cargo run --release --features persist --example restart -- --kills 200 --sync every
//! ```

mod bot;
mod sender;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use example_support::output::print;
use example_support::text::thousands;
use example_support::{Result, exit};

use sender::Outcome;

/// Kills a bot with SIGKILL again and again while a sender redelivers the latest messages, and
/// counts the messages that were lost or handled twice: with a journal and without.
#[derive(Parser)]
#[command(name = "restart")]
struct Options {
    /// Number of kills
    #[arg(long, default_value_t = 20, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    kills: u32,

    /// Time at which the journal is synchronised with the disk
    #[arg(long, value_enum, default_value_t = SyncOption::Always)]
    sync: SyncOption,

    /// Latest messages that the sender delivers again after each restart
    #[arg(long, default_value_t = 200, value_name = "N")]
    redelivered: usize,

    /// Directory of the journal; defaults to a temporary one
    #[arg(long, value_name = "DIR")]
    journal: Option<PathBuf>,

    /// Runs as the bot, which the sender starts
    #[arg(long, hide = true)]
    bot: bool,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum SyncOption {
    /// Before each message is acknowledged
    Always,
    /// Every 100 ms
    Every,
    /// When the operating system likes
    Never,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if options.bot {
        return exit(
            "restart: bot",
            bot::run(options.journal.as_deref(), options.sync),
        );
    }
    exit("restart", run(&options))
}

fn run(options: &Options) -> Result<()> {
    let temporary = std::env::temp_dir().join(format!("leakproof-restart-{}", std::process::id()));
    let folder = options.journal.as_ref().unwrap_or(&temporary);
    let with = sender::run(
        options.kills,
        options.redelivered,
        Some((folder, options.sync)),
    );
    if options.journal.is_none() {
        std::fs::remove_dir_all(folder).ok();
    }
    let runs = [
        ("with a journal", with?),
        (
            "without",
            sender::run(options.kills, options.redelivered, None)?,
        ),
    ];
    print(report(&runs, options.kills))?;
    verdict(&runs[0].1, options)
}

fn report(runs: &[(&str, Outcome); 2], kills: u32) -> String {
    let mut text = format!("{kills} kills{:>26}{:>16}\n", runs[0].0, runs[1].0);
    let mut row = |name: &str, value: &dyn Fn(&Outcome) -> String| {
        text += &format!("{name:<16}");
        for (_, outcome) in runs {
            text += &format!("{:>16}", value(outcome));
        }
        text += "\n";
    };
    row("messages", &|outcome| thousands(outcome.messages));
    row("handled", &|outcome| thousands(outcome.handled));
    row("duplicates", &|outcome| thousands(outcome.duplicates));
    row("lost", &|outcome| thousands(outcome.lost));
    row("handled twice", &|outcome| thousands(outcome.twice));
    row("recovery", &|outcome| {
        milliseconds(outcome.median_recovery())
    });
    row("longest", &|outcome| {
        milliseconds(outcome.longest_recovery())
    });
    text
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

/// Prints what the figures mean, and fails if a promise is broken.
fn verdict(with: &Outcome, options: &Options) -> Result<()> {
    if with.lost > 0 {
        return Err(format!("{} messages were lost", with.lost).into());
    }
    // The bot handles one message at a time. The kill may come between its effect and its commit.
    if options.sync == SyncOption::Always && with.twice > u64::from(options.kills) {
        return Err(format!("{} messages were handled twice", with.twice).into());
    }
    let text = match options.sync {
        SyncOption::Always => {
            "no message was lost, and each kill repeated at most the one that was being handled"
        }
        SyncOption::Every => "no message was lost, and each kill repeated those of about 100 ms",
        SyncOption::Never => "no message was lost, and each kill repeated those of about 100 ms",
    };
    print(format_args!("\nverdict: {text}\n"))
}
