//! What the soak was started with.

use std::hash::{BuildHasher, RandomState};
use std::thread::available_parallelism;
use std::time::Duration;

use lexopt::prelude::*;

use crate::Result;

pub(crate) const HELP: &str = "\
Uses a DedupSet, a DedupMap, two LruCaches and a ListenerRegistry with many threads, as roughly as they will ever be used,
and checks what they promise as it goes. Ends with 1, and says seed and round, where a promise is broken.

Usage: soak [options]

  --seconds <n>   for how long: 10 unless given; the round that has begun is played to its end
  --seed <n>      what the limits and the operations of all rounds are drawn from: chosen by chance unless given
  --round <n>     the round to begin with: 1 unless given
  --threads <n>   twice as many as there are processors unless given, and at least 4
  --help          this text
";

pub(crate) struct Options {
    pub(crate) time: Duration,
    pub(crate) seed: u64,
    pub(crate) first_round: u64,
    pub(crate) threads: usize,
}

impl Options {
    /// What was asked for; nothing where that is help.
    pub(crate) fn read() -> Result<Option<Self>> {
        let processors = available_parallelism().map_or(1, usize::from);
        let seed = RandomState::new().hash_one(()) % 1_000_000;
        let mut options = Self {
            time: Duration::from_secs(10),
            seed,
            first_round: 1,
            threads: (2 * processors).max(4),
        };
        let mut args = lexopt::Parser::from_env();
        while let Some(arg) = args.next()? {
            match arg {
                Long("seconds") => options.time = Duration::from_secs(args.value()?.parse()?),
                Long("seed") => options.seed = args.value()?.parse()?,
                Long("round") => options.first_round = args.value()?.parse()?,
                Long("threads") => options.threads = args.value()?.parse()?,
                Long("help") | Short('h') => return Ok(None),
                other => return Err(other.unexpected().into()),
            }
        }
        if options.time.is_zero() {
            return Err("--seconds is zero; give at least 1".into());
        }
        if !(1..=256).contains(&options.threads) {
            return Err(format!("--threads is {}; 1 to 256 are allowed", options.threads).into());
        }
        Ok(Some(options))
    }
}
