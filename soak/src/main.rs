//! Uses all parts of the crate with many threads and tasks, and checks their promises.
//!
//! Every round draws limits from the seed. Threads record, claim, compute, emit, sweep, clear and
//! resize. User code panics, claims are abandoned, and the clock jumps by years and backwards.
//! Tasks are cancelled, a journal is opened again, and a server is killed. A broken promise ends
//! the run, and prints seed and round.
//!
//! ```sh
//! cargo run --release -p soak -- --seconds 60
//! ```

mod cache;
mod cell;
mod dedup;
mod limiter;
mod listeners;
mod options;
mod parts;
mod persisted;
mod report;
mod requests;
mod round;
mod shared;
mod tasks;
mod value;
mod waiting;
mod watchdog;

use std::alloc::System;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::atomic::Ordering::SeqCst;

use cap::Cap;
use clap::Parser;
use example_support::Result;
use leakproof::Clock;

use example_support::output::{note, print};
use example_support::progress::Progress;
use example_support::text::{human, thousands};
use options::Options;
use parts::PARTS;
use report::Report;
use round::{PROGRESS, Round, panic_text, silence_deliberate_panics};
use watchdog::Watchdog;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// Operations per thread and part of a round.
const OPERATIONS: usize = 20_000;
/// The bytes that this program itself may allocate between the first round and a later one.
const SLACK: u64 = 64 << 10;

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(code) => code,
        Err(error) => {
            note(format_args!("soak: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<ExitCode> {
    silence_deliberate_panics();
    let mut report = Report::new(options, ALLOCATOR.allocated());
    let Options { seed, round, .. } = options;
    note(format_args!(
        "soak: seed {seed}, {} threads, {}",
        options.threads(),
        human(options.time())
    ));
    let clock = Clock::precise();
    let watchdog = Watchdog::new(*seed);
    let mut progress = Progress::new("rounds");
    for number in *round.. {
        watchdog.round(number);
        let broken = play(options, number, &mut report);
        report.rounds += 1;
        if let Some(promise) = broken {
            note(format_args!(
                "soak: broken promise: {promise}\nrepeat with --seed {seed} --round {number}"
            ));
            return Ok(ExitCode::FAILURE);
        }
        progress.update_slow(report.rounds as usize);
        if clock.now() >= options.time() {
            break;
        }
    }
    drop(watchdog);
    print(report.text())?;
    Ok(ExitCode::SUCCESS)
}

/// Plays a round. Returns the broken promise, if any.
fn play(options: &Options, number: u64, report: &mut Report) -> Option<String> {
    let mut round = Round::new(options.seed, number, options.threads(), OPERATIONS);
    for (number, part) in PARTS.iter().enumerate() {
        if report.left_out[number].is_some() {
            continue;
        }
        let before = PROGRESS.load(SeqCst);
        // `validate` panics at the first fault that it finds in a structure.
        let soak = AssertUnwindSafe(|| (part.soak)(&mut round, &mut report.causes));
        match catch_unwind(soak) {
            Ok(tally) => {
                report.tallies[number].add(&tally);
                report.operations[number] += PROGRESS.load(SeqCst) - before;
            }
            Err(payload) => {
                return Some(format!("validation: {}", panic_text(&*payload)));
            }
        }
        if let Some(promise) = round.broken() {
            return Some(promise);
        }
    }
    drop(round);
    let allocated = ALLOCATOR.allocated() as u64;
    let first = *report.bytes_after_first.get_or_insert(allocated);
    report.bytes_at_end = allocated;
    (allocated > first + SLACK).then(|| {
        let [allocated, first] = [allocated, first].map(thousands);
        format!("{allocated} bytes are allocated after the round, {first} were after the first")
    })
}
