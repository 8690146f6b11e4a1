//! Measures `SharedDedup` against plain commands through the same client.
//!
//! ```text
//! cargo run --release -p compare-shared                        starts a redis-server
//! cargo run --release -p compare-shared -- --quick             few rounds
//! ```
//!
//! Contestants take turns in short rounds, in one process on one connection each. A row shows the
//! median of the ratios of each round, in which a busy machine cancels out.

use std::error::Error;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use leakproof::redis::SharedDedupSet;
use leakproof::{Claim, Clock, DedupMap, DedupSet};
use redis::aio::MultiplexedConnection;
use redis::{AsyncCommands, Script};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const TTL: Duration = Duration::from_secs(3600);
const CLAIM: &str = include_str!("../../src/redis/claim.lua");
const COMMIT: &str = include_str!("../../src/redis/commit.lua");

struct Server(Child, u16);

impl Server {
    #[allow(clippy::disallowed_methods, reason = "a server needs time to start")]
    fn start() -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let child = Command::new("redis-server")
            .args([
                "--port",
                &port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
            ])
            .stdout(Stdio::null())
            .spawn()?;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(Self(child, port))
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.1)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Times per operation, of one contestant.
struct Times(Vec<f64>);

impl Times {
    fn median(&self) -> f64 {
        median(self.0.clone())
    }

    fn ratio(&self, to: &Self) -> f64 {
        median(self.0.iter().zip(&to.0).map(|(a, b)| a / b).collect())
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn row(name: &str, ours: &Times, theirs: &Times, target: &str) {
    let (a, b) = (ours.median() * 1e6, theirs.median() * 1e6);
    let ratio = ours.ratio(theirs);
    println!("{name:<52}{a:>12.2}{b:>12.2}{ratio:>8.3}  {target}");
}

struct Bench {
    clock: Clock,
    url: String,
    rounds: usize,
    number: u64,
}

impl Bench {
    fn ids(&mut self, count: usize) -> Vec<String> {
        let first = self.number;
        self.number += count as u64;
        (first..self.number).map(|at| format!("{at:045}")).collect()
    }

    async fn set(&self, namespace: &str) -> Result<SharedDedupSet> {
        let local = DedupMap::<[u8], ()>::builder().max_entries(1_000_000);
        let builder = SharedDedupSet::builder()
            .redis(&self.url)
            .namespace(namespace);
        let builder = builder
            .ttl(TTL)
            .timeout(Duration::from_secs(8))
            .local(local);
        Ok(builder.build().await?)
    }

    async fn raw(&self) -> Result<MultiplexedConnection> {
        let client = redis::Client::open(self.url.as_str())?;
        Ok(client.get_multiplexed_async_connection().await?)
    }

    /// A claim and its commit, and the same two scripts by the client alone.
    async fn claims(&mut self) -> Result<()> {
        const OPS: usize = 50;
        let (set, mut raw) = (self.set("claims").await?, self.raw().await?);
        let (claim, commit) = (Script::new(CLAIM), Script::new(COMMIT));
        let (mut ours, mut theirs) = (Times(vec![]), Times(vec![]));
        for round in 0..self.rounds {
            for turn in 0..2 {
                let ids = self.ids(OPS);
                let start = self.clock.now();
                if (round + turn) % 2 == 0 {
                    for id in &ids {
                        if let Claim::Fresh(ticket) = set.claim(id).await?.answer {
                            ticket.commit().await?;
                        }
                    }
                    ours.0
                        .push((self.clock.now() - start).as_secs_f64() / OPS as f64);
                } else {
                    for id in &ids {
                        let (key, token) = (format!("raw:{id}"), &id[29..]);
                        let mut call = claim.key(&key);
                        let _: Vec<i64> =
                            call.arg(token).arg(60_000).invoke_async(&mut raw).await?;
                        let mut call = commit.key(&key);
                        let call = call.arg(token).arg(3_600_000).arg("");
                        let _: i64 = call.invoke_async(&mut raw).await?;
                    }
                    theirs
                        .0
                        .push((self.clock.now() - start).as_secs_f64() / OPS as f64);
                }
            }
        }
        row(
            "claim + commit / the two scripts alone, us",
            &ours,
            &theirs,
            "<= 1.15",
        );
        Ok(())
    }

    async fn batches(&mut self) -> Result<()> {
        const OPS: usize = 1_000;
        let set = self.set("batches").await?;
        let (mut batch, mut single) = (Times(vec![]), Times(vec![]));
        for _round in 0..self.rounds.div_ceil(10) {
            let ids = self.ids(OPS);
            let start = self.clock.now();
            set.insert_batch(&ids).await?;
            batch
                .0
                .push((self.clock.now() - start).as_secs_f64() / OPS as f64);
            let ids = self.ids(OPS);
            let start = self.clock.now();
            for id in &ids {
                set.insert(id).await?;
            }
            single
                .0
                .push((self.clock.now() - start).as_secs_f64() / OPS as f64);
        }
        row(
            "insert_batch of 1,000 / one by one, us per id",
            &batch,
            &single,
            "<= 0.067",
        );
        Ok(())
    }

    /// A duplicate that the local tier knows, and the same in a local set.
    async fn duplicates(&mut self) -> Result<()> {
        const OPS: usize = 10_000;
        let set = self.set("duplicates").await?;
        let local = DedupSet::<[u8]>::new(1_000_000, TTL);
        let ids = self.ids(OPS);
        set.insert_batch(&ids).await?;
        local.insert_batch(ids.iter().map(String::as_bytes));
        for is_claim in [false, true] {
            let (mut ours, mut theirs) = (Times(vec![]), Times(vec![]));
            for _round in 0..self.rounds {
                let start = self.clock.now();
                for id in &ids {
                    if is_claim {
                        let claim = set.claim(id).await?.answer;
                        std::hint::black_box(matches!(claim, Claim::Duplicate { .. }));
                    } else {
                        std::hint::black_box(set.insert(id).await?.answer);
                    }
                }
                ours.0
                    .push((self.clock.now() - start).as_secs_f64() / OPS as f64);
                let start = self.clock.now();
                for id in &ids {
                    if is_claim {
                        let claim = local.claim(id.as_bytes());
                        std::hint::black_box(matches!(claim, Claim::Duplicate { .. }));
                    } else {
                        std::hint::black_box(local.insert(id.as_bytes()));
                    }
                }
                theirs
                    .0
                    .push((self.clock.now() - start).as_secs_f64() / OPS as f64);
            }
            let name = if is_claim { "claim" } else { "insert" };
            let name = format!("{name} of a known duplicate / in a local set, us");
            row(&name, &ours, &theirs, "<= 2");
        }
        Ok(())
    }

    /// Claims of many tasks on one connection, and `SET NX PX` of as many.
    async fn tasks(&mut self, tasks: usize) -> Result<()> {
        let (set, raw) = (self.set("tasks").await?, self.raw().await?);
        let ops = (2_000 / tasks).max(2);
        let (mut ours, mut theirs) = (Times(vec![]), Times(vec![]));
        for _round in 0..self.rounds.div_ceil(10) {
            for is_ours in [true, false] {
                let work: Vec<_> = (0..tasks).map(|_| self.ids(ops)).collect();
                let start = self.clock.now();
                let running: Vec<_> = work
                    .into_iter()
                    .map(|ids| {
                        let (set, mut raw) = (set.clone(), raw.clone());
                        tokio::spawn(async move {
                            let mut tickets = Vec::new();
                            for id in &ids {
                                if is_ours {
                                    tickets.push(set.claim(id).await?);
                                } else {
                                    let options = redis::SetOptions::default()
                                        .conditional_set(redis::ExistenceCheck::NX)
                                        .with_expiration(redis::SetExpiry::PX(60_000));
                                    let key = format!("plain:{id}");
                                    let () = raw.set_options(key, &id[29..], options).await?;
                                }
                            }
                            Ok::<_, Box<dyn Error + Send + Sync>>(tickets)
                        })
                    })
                    .collect();
                let mut tickets = Vec::new();
                for task in running {
                    tickets.push(task.await??);
                }
                let time = (self.clock.now() - start).as_secs_f64() / (ops * tasks) as f64;
                if is_ours { &mut ours } else { &mut theirs }.0.push(time);
                // The releases are not part of the measurement.
                drop(tickets);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        let name = format!("claim / SET NX PX, {tasks} tasks, us per claim");
        row(&name, &ours, &theirs, "");
        let per_second = 1.0 / ours.median();
        println!(
            "{:<52}{per_second:>12.0}",
            format!("claims per second, {tasks} tasks")
        );
        Ok(())
    }
}

fn main() -> Result<()> {
    let is_quick = std::env::args().any(|arg| arg == "--quick");
    let server = match Server::start() {
        Ok(server) => server,
        Err(error) => {
            println!("skipped: cannot start redis-server: {error}");
            return Ok(());
        }
    };
    let mut bench = Bench {
        clock: Clock::precise(),
        url: server.url(),
        rounds: if is_quick { 2 } else { 100 },
        number: 0,
    };
    println!(
        "{:<52}{:>12}{:>12}{:>8}  target",
        "", "ours", "theirs", "ratio"
    );
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        bench.claims().await?;
        bench.batches().await?;
        bench.duplicates().await?;
        for tasks in [1, 64, 1_000] {
            bench.tasks(tasks).await?;
        }
        Ok(())
    })
}
