//! Instances of `SharedDedup` in this process on one `redis-server`, which is frozen and killed.
//!
//! The server keeps its memory when it is killed. The instances of one namespace refuse if it does
//! not answer, so an id has one owner at a time, and a result is never lost. Another instance
//! decides alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use example_support::redis_server::{Server, signal};
use leakproof::redis::{CommitError, SharedDedup, SharedError, Tier, Unavailable};
use leakproof::{Claim, Clock};

use crate::cell::{Cell, Claimed};
use crate::round::{Dice, Round, Tally, Time, Verdict, nanos, panic_deliberately};
use crate::tasks::{Counts, runtime, sleep};

const INSTANCES: usize = 3;
const STEPS: usize = 200;
const IDS: usize = 200;
const TTL: Duration = Duration::from_secs(3600);
const LEASE: Duration = Duration::from_millis(300);
/// The server's clock is not ours.
const APART: u64 = 20_000_000;
/// After the last fault, every instance works again within this time.
const RECOVERY: Duration = Duration::from_secs(20);

/// Instances that share their ids, and what is known about these.
struct Group {
    instances: Vec<SharedDedup<String>>,
    cells: Vec<Cell>,
    unavailable: Unavailable,
    /// Claims that an instance granted without the server.
    granted_alone: AtomicU64,
}

struct Shared {
    verdict: Arc<Verdict>,
    counts: Arc<Counts>,
    time: Time,
    groups: [Group; 2],
}

pub(crate) fn soak(round: &mut Round, _causes: &mut Tally) -> Tally {
    // Another process may take its port first.
    let Some(mut server) = (0..5).find_map(|_| Server::start().ok()) else {
        round.check(false, || "the server does not start".to_owned());
        return Tally::default();
    };
    let runtime = runtime();
    let groups = runtime.block_on(async {
        Ok::<_, SharedError>([
            Group::new(&server, INSTANCES, Unavailable::Refuse).await?,
            Group::new(&server, 1, Unavailable::Degrade).await?,
        ])
    });
    let groups = match groups {
        Ok(groups) => groups,
        Err(error) => {
            round.check(false, || format!("instances do not start: {error}"));
            return Tally::default();
        }
    };
    let shared = Arc::new(Shared {
        verdict: Arc::clone(&round.verdict),
        counts: Arc::default(),
        time: Time::real(),
        groups,
    });
    let mut faults = round.dice.fork();
    let step = {
        let shared = Arc::clone(&shared);
        move |dice| Arc::clone(&shared).step(dice)
    };
    round.play_async(&runtime, (STEPS, &shared.counts), step, || {
        sleep(Duration::from_millis(faults.between(20, 200)));
        let counts = &shared.counts;
        match faults.below(8) {
            0 => {
                counts.count("server killed");
                // Another process may have its port for a moment.
                let is_restarted = (0..5).any(|_| server.restart().is_ok());
                round.check(is_restarted, || {
                    "the server does not start again".to_owned()
                });
            }
            1 | 2 => {
                counts.count("server frozen");
                signal(server.process(), "-STOP");
                sleep(LEASE * faults.between(1, 12) as u32 / 8);
                signal(server.process(), "-CONT");
            }
            _ => {}
        }
    });
    runtime.block_on(shared.account());
    drop(runtime);
    shared.counts.take()
}

fn is_unavailable(error: &SharedError) -> bool {
    matches!(error, SharedError::Unavailable { .. })
}

impl Group {
    async fn new(
        server: &Server,
        instances: usize,
        unavailable: Unavailable,
    ) -> Result<Self, SharedError> {
        let mut group = Self {
            instances: Vec::new(),
            cells: (0..IDS).map(|_| Cell::default()).collect(),
            unavailable,
            granted_alone: AtomicU64::new(0),
        };
        for _ in 0..instances {
            let builder = SharedDedup::builder()
                .redis(server.url())
                .namespace(format!("soak:{unavailable:?}"))
                .ttl(TTL)
                .lease(LEASE)
                .when_unavailable(unavailable)
                .timeout(Duration::from_millis(100))
                .circuit_breaker(2, Duration::from_millis(20))
                .clock(Clock::precise());
            group.instances.push(builder.build().await?);
        }
        Ok(group)
    }
}

impl Shared {
    fn check(&self, holds: bool, promise: impl FnOnce() -> String) {
        self.verdict.check(holds, promise);
    }

    async fn step(self: Arc<Self>, mut dice: Dice) {
        let group = &self.groups[usize::from(dice.one_in(4))];
        let is_alone = group.unavailable == Unavailable::Degrade;
        let seen = &group.instances[dice.below(group.instances.len())];
        let id = dice.below(IDS);
        let (key, cell) = (id.to_string(), &group.cells[id]);
        let visit = cell.visit(&self.time);
        let decided = match seen.claim(&key).await {
            Ok(decided) => decided,
            Err(error) => {
                self.counts.count("claims refused");
                self.check(!is_alone && is_unavailable(&error), || {
                    format!("a claim failed with {error:?}")
                });
                return tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let ticket = match decided.answer {
            Claim::Fresh(ticket) => ticket,
            Claim::Duplicate { value, .. } => {
                self.counts.count("claims of recorded ids");
                return self.check(value == key, || {
                    format!("shared id {key} has the value {value}")
                });
            }
            Claim::InFlight { .. } => return self.counts.count("claims of ids in flight"),
            Claim::Full => return self.check(false, || "a full instance".to_owned()),
        };
        self.counts.count("claims");
        if decided.tier == Tier::Local {
            self.counts.count("claims granted without the server");
            group.granted_alone.fetch_add(1, SeqCst);
            self.check(is_alone, || {
                format!("id {key} was granted without the server")
            });
        }
        let at_most = visit.recorded_at_most();
        self.check(at_most >= nanos(TTL), || {
            format!("the result of id {key} is lost {at_most} ns after its commit")
        });
        let apart = cell.claimed.set(&visit).saturating_add(APART);
        self.check(apart >= nanos(LEASE), || {
            format!("shared id {key} has two owners within {apart} ns")
        });
        // Dropped before the ticket.
        let claimed = Claimed::new(cell, visit.before);
        let pause = match dice.below(40) {
            0 => LEASE * 5 / 4,
            _ => Duration::from_micros(dice.between(1, 3_000)),
        };
        tokio::time::sleep(pause).await;
        match dice.below(12) {
            0 => panic_deliberately(),
            1 => self.counts.count("claims dropped"),
            2 => {
                drop(claimed);
                self.counts.count("claims released");
                let released = ticket.release().await;
                self.check(released.as_ref().err().is_none_or(is_unavailable), || {
                    format!("a release failed with {released:?}")
                });
            }
            _ => {
                drop(claimed);
                let commit = cell.visit(&self.time);
                let at_most = || self.time.now() - visit.before + APART;
                match ticket.commit(key.clone()).await {
                    Ok(tier) => {
                        self.counts.count("claims committed");
                        // A local tier whose lease ended first asks for the id again.
                        if !is_alone || at_most() < nanos(LEASE) {
                            cell.recorded.set(&commit);
                        }
                        self.check(is_alone || tier == Tier::Shared, || {
                            format!("id {key} was committed without the server")
                        });
                    }
                    Err(CommitError::LeaseExpired { value }) => {
                        self.counts.count("claims committed too late");
                        let at_most = at_most();
                        self.check(value == key && at_most >= nanos(LEASE), || {
                            format!("the lease of id {key} ended within {at_most} ns")
                        });
                    }
                    Err(CommitError::Failed { error, .. }) => {
                        self.counts.count("commits refused");
                        // An instance that decides alone fails if the lease has ended as well.
                        let may_fail = !is_alone || at_most() >= nanos(LEASE);
                        self.check(may_fail && is_unavailable(&error), || {
                            format!("a commit of id {key} failed with {error:?}")
                        });
                    }
                }
            }
        }
    }

    /// Checks that every instance works again, and knows all results.
    async fn account(&self) {
        let clock = Clock::precise();
        for group in &self.groups {
            for seen in &group.instances {
                for (id, cell) in group.cells.iter().enumerate() {
                    let key = id.to_string();
                    let since = clock.now();
                    let is_recorded = loop {
                        match seen.contains_key(&key).await {
                            Ok(decided) if decided.tier == Tier::Shared || decided.answer => {
                                break decided.answer;
                            }
                            _ if clock.now() - since > RECOVERY => {
                                return self.check(false, || {
                                    "an instance does not work after the last fault".to_owned()
                                });
                            }
                            _ => tokio::time::sleep(Duration::from_millis(10)).await,
                        }
                    };
                    self.check(is_recorded || !cell.recorded.is_set(), || {
                        format!("the result of id {key} is lost at the end")
                    });
                }
                let stats = seen.stats();
                self.counts.with(|tally| {
                    tally.count_many("answers of the server", stats.shared);
                    tally.count_many("answers without the server", stats.degraded);
                    tally.count_many("connections", stats.reconnects);
                });
                let granted = group.granted_alone.load(SeqCst);
                let is_counted = match group.unavailable {
                    Unavailable::Degrade => stats.degraded >= granted,
                    Unavailable::Refuse => stats.degraded == 0,
                };
                self.check(is_counted, || {
                    format!(
                        "{granted} claims without the server, counted {}",
                        stats.degraded
                    )
                });
            }
        }
    }
}
