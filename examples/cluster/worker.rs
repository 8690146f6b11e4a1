//! A worker process: handles the deliveries of its standard input, and writes what happens.
//!
//! | line | meaning |
//! | --- | --- |
//! | `F delivery id claim asked answered tier` | a claim is fresh |
//! | `H claim` | the handler has done its work |
//! | `C claim asked answered result tier` | a commit was answered: `ok`, `late` or `failed` |
//! | `R claim asked` | a claim is released |
//! | `A delivery handled`, `A delivery duplicate tier claim`, `A delivery again` | a delivery is answered; a duplicate names the claim that is its value |
//! | `D worker seen counted` | a degraded answer: how many the tasks have seen, and the counter of the statistics |
//! | `S worker unknown counted` | at the end: answers that may have been degraded, and the counter |
//!
//! A line is one write to a pipe, so a killed worker loses none that it has written.

use std::io::{BufRead, stdin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use example_support::Result;
use example_support::random::scramble;
use leakproof::Claim;
use leakproof::redis::{CommitError, SharedDedup, SharedError, SharedTicket, Tier, Unavailable};
use tokio::sync::{Mutex, mpsc};

use crate::{LEASE, Options};

/// Microseconds of a clock that all processes of the machine share.
#[allow(clippy::disallowed_methods, reason = "processes compare their times")]
fn now() -> u128 {
    let time = SystemTime::now().duration_since(UNIX_EPOCH);
    time.map_or(0, |time| time.as_micros())
}

fn tier(tier: Tier) -> &'static str {
    match tier {
        Tier::Shared => "shared",
        Tier::Local => "local",
    }
}

struct Worker {
    seen: SharedDedup<String>,
    number: u64,
    claims: AtomicU64,
    /// Answers that were decided without the server.
    degraded: AtomicU64,
    /// Failed commits, of which it cannot be seen whether the server decided them.
    unknown: AtomicU64,
}

pub fn run(options: &Options, number: u64) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(serve(options, number))
}

async fn serve(options: &Options, number: u64) -> Result<()> {
    let url = options.redis.clone().ok_or("--redis is missing")?;
    let unavailable = if options.refuse {
        Unavailable::Refuse
    } else {
        Unavailable::Degrade
    };
    let seen = loop {
        let builder = SharedDedup::builder()
            .redis(&url)
            .namespace(&options.namespace)
            .ttl(Duration::from_secs(24 * 3600))
            .lease(LEASE)
            .when_unavailable(unavailable)
            .timeout(Duration::from_millis(200))
            .circuit_breaker(3, Duration::from_millis(200));
        match builder.build().await {
            Ok(seen) => break seen,
            Err(SharedError::Unavailable { .. }) => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(error) => return Err(error.into()),
        }
    };
    let worker = Arc::new(Worker {
        seen,
        number,
        claims: AtomicU64::new(0),
        degraded: AtomicU64::new(0),
        unknown: AtomicU64::new(0),
    });
    let (sender, receiver) = mpsc::channel(options.tasks);
    let receiver = Arc::new(Mutex::new(receiver));
    std::thread::spawn(move || {
        for line in stdin().lock().lines().map_while(std::result::Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    let tasks: Vec<_> = (0..options.tasks)
        .map(|_| {
            let (worker, receiver) = (Arc::clone(&worker), Arc::clone(&receiver));
            tokio::spawn(async move {
                loop {
                    let line = receiver.lock().await.recv().await;
                    let Some(line) = line else { return };
                    if let Some((delivery, id)) = line.split_once(' ') {
                        worker.deliver(delivery, id).await;
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await?;
    }
    // Ids that were committed without the server are pushed before the process ends.
    while worker.seen.stats().recovery_len > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let unknown = worker.unknown.load(Ordering::Relaxed);
    let counted = worker.seen.stats().degraded;
    println!("S {number} {unknown} {counted}");
    Ok(())
}

impl Worker {
    /// Writes that the server did not decide an answer.
    fn note_degraded(&self) {
        let seen = self.degraded.fetch_add(1, Ordering::Relaxed) + 1;
        let counted = self.seen.stats().degraded;
        println!("D {} {seen} {counted}", self.number);
    }

    async fn deliver(&self, delivery: &str, id: &str) {
        let asked = now();
        let decided = match self.seen.claim(id).await {
            Ok(decided) => decided,
            Err(_) => return println!("A {delivery} again"),
        };
        let by = tier(decided.tier);
        match decided.answer {
            Claim::Fresh(ticket) => {
                let claim = self.claims.fetch_add(1, Ordering::Relaxed) + 1;
                let name = format!("{}.{claim}", self.number);
                println!("F {delivery} {id} {name} {asked} {} {by}", now());
                let is_degraded = ticket.tier() == Tier::Local;
                if is_degraded {
                    self.note_degraded();
                }
                self.handle(delivery, &name, ticket, is_degraded).await;
            }
            Claim::Duplicate { value, .. } => println!("A {delivery} duplicate {by} {value}"),
            Claim::InFlight { .. } | Claim::Full => println!("A {delivery} again"),
        }
    }

    async fn handle(
        &self,
        delivery: &str,
        name: &str,
        ticket: SharedTicket<String>,
        is_degraded: bool,
    ) {
        let dice = scramble(now() as u64) % 1_000;
        let work = match dice {
            // Longer than the lease, with and without an extension.
            0..5 => LEASE + LEASE / 5,
            _ => Duration::from_millis(dice % 20),
        };
        if dice < 2 {
            match ticket.extend(2 * LEASE).await {
                Ok(Tier::Local) if !is_degraded => self.note_degraded(),
                Ok(_) => {}
                Err(_) => _ = self.unknown.fetch_add(1, Ordering::Relaxed),
            }
        }
        tokio::time::sleep(work).await;
        if dice % 20 == 7 {
            println!("R {name} {}", now());
            if dice % 40 == 7 {
                drop(ticket);
            } else {
                let _ = ticket.release().await;
            }
            return println!("A {delivery} again");
        }
        println!("H {name}");
        let asked = now();
        let committed = ticket.commit(name.to_owned()).await;
        let (result, by) = match &committed {
            Ok(by) => ("ok", tier(*by)),
            Err(CommitError::LeaseExpired { .. }) => ("late", "none"),
            Err(CommitError::Failed { .. }) => ("failed", "none"),
        };
        match &committed {
            Ok(Tier::Local) if !is_degraded => self.note_degraded(),
            Ok(_) => {}
            Err(_) => _ = self.unknown.fetch_add(1, Ordering::Relaxed),
        }
        println!("C {name} {asked} {} {result} {by}", now());
        match committed {
            Ok(_) => println!("A {delivery} handled"),
            Err(_) => println!("A {delivery} again"),
        }
    }
}
