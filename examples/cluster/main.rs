//! Several worker processes on one stream of messages with redeliveries, while workers and the
//! server are killed and frozen.
//!
//! Starts its own `redis-server`, or takes an address. Checks what `SharedDedup` promises, and
//! fails if a promise is broken.
//!
//! ```text
//! cargo run --release --example cluster --features redis
//! cargo run --release --example cluster --features redis -- --seconds 600 --seed 7
//! cargo run --release --example cluster --features redis -- --redis redis://127.0.0.1:6379
//! ```

mod dispatch;
mod faults;
mod ledger;
mod worker;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use example_support::output::print;
use example_support::redis_server::Server;
use example_support::{Result, exit};

/// Runs workers that share one window of ids in Redis, and checks what they answer.
#[derive(Clone, Parser)]
#[command(name = "cluster")]
struct Options {
    /// Address of a server; without it, the example starts `redis-server` and also breaks it
    #[arg(long, value_name = "URL")]
    redis: Option<String>,

    /// Number of worker processes
    #[arg(long, default_value_t = 4, value_name = "N")]
    workers: usize,

    /// Number of tasks of each worker
    #[arg(long, default_value_t = 8, value_name = "N")]
    tasks: usize,

    /// Seconds with new messages and faults
    #[arg(long, default_value_t = 20, value_name = "N")]
    seconds: u64,

    /// Seed of the messages and faults
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,

    /// Return errors instead of deciding without the server
    #[arg(long)]
    refuse: bool,

    /// Kill and freeze nothing
    #[arg(long)]
    no_faults: bool,

    /// Namespace of the keys, set for the workers
    #[arg(long, default_value = "cluster", hide = true)]
    namespace: String,

    /// Be the worker with this number, which reads deliveries from the standard input
    #[arg(long, hide = true)]
    worker: Option<u64>,
}

/// The lease of a claim. Workers and server are frozen for longer and for less than it.
const LEASE: Duration = Duration::from_millis(1_000);

fn main() -> ExitCode {
    let options = Options::parse();
    exit(
        "cluster",
        match options.worker {
            Some(number) => worker::run(&options, number),
            None => run(options),
        },
    )
}

fn run(mut options: Options) -> Result<()> {
    let mut server = None;
    if options.redis.is_none() {
        let started = Server::start().map_err(|error| format!("{error}; or pass --redis"))?;
        options.redis = Some(started.url());
        server = Some(started);
    } else {
        options.namespace = format!("cluster:{}", std::process::id());
    }
    let ledger = dispatch::run(&options, server)?;
    let report = ledger.report(LEASE);
    print(&report.text)?;
    if report.violations.is_empty() {
        Ok(())
    } else {
        Err(format!("{} broken promises", report.violations.len()).into())
    }
}
