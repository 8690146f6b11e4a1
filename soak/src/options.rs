//! The options of the soak test.

use std::hash::{BuildHasher, RandomState};
use std::thread::available_parallelism;
use std::time::Duration;

use clap::Parser;
use clap::builder::PossibleValuesParser;
use example_support::redis_server;

use crate::parts::{PARTS, REDIS};

/// Uses all parts of the crate with many threads and tasks, and checks their promises. A broken
/// promise ends the run with exit code 1, and prints seed and round.
#[derive(Parser)]
#[command(name = "soak")]
pub(crate) struct Options {
    /// Seconds to run; the last round is completed
    #[arg(long, default_value_t = 10, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,

    /// Seed of the bounds and operations of all rounds
    #[arg(long, default_value_t = random_seed(), value_name = "N")]
    pub(crate) seed: u64,

    /// First round
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) round: u64,

    /// Number of threads
    #[arg(long, default_value_t = default_threads(), value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=256))]
    threads: u64,

    /// Part to leave out, such as `redis`; can be repeated
    #[arg(long, value_name = "PART")]
    #[arg(value_parser = PossibleValuesParser::new(PARTS.map(|part| part.name)))]
    without: Vec<String>,
}

impl Options {
    pub(crate) fn time(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    /// Returns the reason why a part is left out, if it is.
    pub(crate) fn reason_to_leave_out(&self, part: &str) -> Option<&'static str> {
        if self.without.iter().any(|without| without == part) {
            Some("as the options say")
        } else if part == REDIS && !redis_server::is_installed() {
            Some("because there is no redis-server on the path")
        } else {
            None
        }
    }

    pub(crate) fn threads(&self) -> usize {
        self.threads as usize
    }
}

fn random_seed() -> u64 {
    RandomState::new().hash_one(()) % 1_000_000
}

fn default_threads() -> u64 {
    let processors = available_parallelism().map_or(1, usize::from);
    (2 * processors as u64).clamp(4, 256)
}
