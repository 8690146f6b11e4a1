//! The bot: answers each message once, as long as it is not killed.

use std::io::{BufRead, Write, stdin, stdout};
use std::path::Path;
use std::time::Duration;

use example_support::Result;
use leakproof::persist::{Journal, Sync};
use leakproof::{Claim, Clock, DedupSet};

use crate::SyncOption;

/// Reads ids from the standard input, and prints a line for each step.
pub fn run(journal: Option<&Path>, sync: SyncOption) -> Result<()> {
    let clock = Clock::precise();
    let mut builder = DedupSet::<str>::builder()
        .max_entries(1_000_000)
        .ttl(Duration::from_secs(24 * 3600));
    if let Some(path) = journal {
        builder = builder.journal(Journal::open(path)?.sync(match sync {
            SyncOption::Always => Sync::Always,
            SyncOption::Every => Sync::Every(Duration::from_millis(100)),
            SyncOption::Never => Sync::Never,
        }));
    }
    let seen = builder.build()?;
    say("ready", &clock.now().as_nanos().to_string())?;
    for id in stdin().lock().lines() {
        let id = id?;
        match seen.claim(&id) {
            Claim::Fresh(ticket) => {
                say("handled", &id)?; // the effect, which the world sees
                ticket.commit()?;
                say("done", &id)?; // the acknowledgement, after which the sender is silent
            }
            Claim::Duplicate { .. } => say("duplicate", &id)?,
            // One message at a time: neither happens here.
            Claim::InFlight { .. } | Claim::Full => say("later", &id)?,
        }
    }
    Ok(())
}

fn say(what: &str, id: &str) -> Result<()> {
    let mut out = stdout().lock();
    // One write, so that a kill leaves whole lines.
    out.write_all(format!("{what} {id}\n").as_bytes())?;
    Ok(out.flush()?)
}
