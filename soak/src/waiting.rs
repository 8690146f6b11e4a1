//! Claims and computations that tasks wait for, while their owners are cancelled and panic.
//!
//! The clock passes leases and ttls all the time. No task waits forever, and at the end no task is
//! still known to the collections.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use leakproof::{Claim, ComputeError, DedupMap, LruCache};
use tokio::task::yield_now;
use tokio::time::timeout;

use crate::cache::{self, UnderWay, policy};
use crate::cell::{Cell, Claimed};
use crate::dedup::{self, Held};
use crate::round::{Dice, Round, Tally, Time, Verdict, nanos, panic_deliberately};
use crate::tasks::{Counts, runtime, sleep};
use crate::value::{Alive, Value};

/// Steps of a task.
const STEPS: usize = 400;
/// Between two changes of the clock.
const BETWEEN: Duration = Duration::from_millis(2);

struct Waiting {
    verdict: Arc<Verdict>,
    counts: Arc<Counts>,
    time: Time,
    ids: DedupMap<str, Value>,
    claims: Vec<Cell>,
    ttl: u64,
    lease: u64,
    cache: LruCache<usize, Value>,
    computations: Vec<Cell>,
    under_way: Vec<AtomicUsize>,
    computed: AtomicU64,
    /// The shortest time between two computations of a key.
    shortest_ttl: u64,
    /// The longest time for which a stale value is served.
    stale: u64,
    alive: Alive,
}

pub(crate) fn soak(round: &mut Round, causes: &mut Tally) -> Tally {
    let dice = &mut round.dice;
    let ttl = Duration::from_nanos(dice.between(1_000, 100_000_000_000_000));
    let lease = Duration::from_nanos(dice.between(500, 2 * nanos(ttl)));
    let stale = Duration::from_nanos(dice.between(500, 2 * nanos(ttl)));
    let jitter = if dice.one_in(2) { 0.5 } else { 0.0 };
    let (keys, shards) = (dice.between(2, 200) as usize, 1 + dice.below(4));
    let time = Time::new(&[ttl, lease, stale]);
    // One shard may have all keys.
    let ids = DedupMap::<str, Value>::builder()
        .ttl(ttl)
        .lease(lease)
        .max_entries(keys * shards)
        .max_in_flight(dice.between(1, 100) as usize)
        .max_waiting(dice.between(1, 20) as usize)
        .shards(shards)
        .clock(time.clock());
    let cache = LruCache::builder()
        .max_entries(keys * shards)
        .ttl(ttl)
        .ttl_jitter(jitter)
        .stale(stale)
        .policy(policy(dice))
        .shards(shards)
        .clock(time.clock());
    let waiting = Arc::new(Waiting {
        verdict: Arc::clone(&round.verdict),
        counts: Arc::default(),
        time,
        ids: ids.build().expect("valid limits"),
        claims: (0..keys).map(|_| Cell::default()).collect(),
        ttl: nanos(ttl),
        lease: nanos(lease),
        cache: cache.build().expect("valid limits"),
        computations: (0..keys).map(|_| Cell::default()).collect(),
        under_way: (0..keys).map(|_| AtomicUsize::new(0)).collect(),
        computed: AtomicU64::new(0),
        // A nanosecond for the rounding of the fraction.
        shortest_ttl: (nanos(ttl) as f64 * (1.0 - jitter)) as u64 - 1,
        stale: nanos(stale),
        alive: Alive::default(),
    });
    let runtime = runtime();
    let mut moves = dice.fork();
    let step = {
        let waiting = Arc::clone(&waiting);
        move |dice| Arc::clone(&waiting).step(dice)
    };
    round.play_async(&runtime, (STEPS, &waiting.counts), step, || {
        sleep(BETWEEN);
        waiting
            .counts
            .with(|tally| waiting.time.change(&mut moves, tally));
    });
    drop(runtime);
    waiting.time.leap(ttl + lease + stale);
    waiting.account(round, causes);
    waiting.counts.take()
}

impl Waiting {
    async fn step(self: Arc<Self>, mut dice: Dice) {
        if dice.one_in(2) {
            self.claim(dice).await;
        } else {
            self.compute(dice).await;
        }
    }

    fn check(&self, holds: bool, promise: impl FnOnce() -> String) {
        self.verdict.check(holds, promise);
    }

    async fn claim(&self, mut dice: Dice) {
        let id = dice.below(self.claims.len());
        let (key, visit) = (id.to_string(), self.claims[id].visit(&self.time));
        let waiting = self.ids.claim_wait(&key);
        let claim = if dice.one_in(6) {
            let soon = Duration::from_micros(dice.between(1, 1_000));
            let Ok(claim) = timeout(soon, waiting).await else {
                return self.counts.count("waits that timed out");
            };
            claim
        } else {
            waiting.await
        };
        let ticket = match claim {
            Claim::Fresh(ticket) => ticket,
            Claim::Duplicate { age, value } => {
                self.counts.count("claims of recorded ids");
                // A commit during the wait counts, however late the task is polled.
                let is_awaited = self.time.now().saturating_sub(nanos(age)) >= visit.before;
                let holds = value.id == id && (nanos(age) < self.ttl || is_awaited);
                return self.check(holds, || {
                    format!("id {id} has the value of {} of {age:?}", value.id)
                });
            }
            Claim::Full => return self.counts.count("claims rejected"),
            Claim::InFlight { .. } => {
                return self.check(false, || format!("id {id}: a wait ended in flight"));
            }
        };
        self.counts.count("claims");
        let at_most = visit.recorded_at_most();
        self.check(at_most >= self.ttl, || {
            format!("id {id} is not known {at_most} ns after it was recorded")
        });
        let apart = self.claims[id].claimed.set(&visit);
        self.check(apart >= self.lease, || {
            format!("id {id} has two owners within {apart} ns")
        });
        let held = Held {
            ticket,
            is_owned: false,
            id,
            before: visit.before,
            after: self.time.now(),
        };
        // Dropped before the ticket.
        let claimed = Claimed::new(&self.claims[id], visit.before);
        for _ in 0..dice.below(6) {
            yield_now().await;
        }
        match dice.below(20) {
            0 => panic_deliberately(),
            1 => {
                self.counts.count("claims abandoned");
                mem::forget((claimed, held));
            }
            2..6 => self.counts.count("claims dropped"),
            _ => {
                drop(claimed);
                let visit = self.claims[id].visit(&self.time);
                let value = Value::new(&self.alive, id, 1, false, visit.before);
                let commit = |ticket: leakproof::Ticket<'_, str, Value>| ticket.commit(value);
                if held.commit(commit, self.lease, &self.time, &self.verdict) {
                    self.counts.count("claims committed");
                    let apart = self.claims[id].recorded.set(&visit);
                    self.check(apart >= self.ttl, || {
                        format!("id {id} was recorded twice within {apart} ns")
                    });
                } else {
                    self.counts.count("claims committed too late");
                }
            }
        }
    }

    async fn compute(&self, mut dice: Dice) {
        let key = dice.below(self.computations.len());
        let visit = self.computations[key].visit(&self.time);
        let (outcome, pauses, form) = (dice.below(20), dice.below(6), dice.below(3));
        let is_mine = AtomicBool::new(false);
        let future = async {
            let others = self.under_way[key].fetch_add(1, SeqCst);
            let _under_way = UnderWay(&self.under_way[key]);
            self.check(others == 0, || {
                format!("key {key} is being computed twice at once")
            });
            for _ in 0..pauses {
                yield_now().await;
            }
            match outcome {
                0 => panic_deliberately(),
                1..4 => Err("failed"),
                _ => {
                    is_mine.store(true, SeqCst);
                    self.computed.fetch_add(1, SeqCst);
                    Ok(Value::new(&self.alive, key, 1, false, self.time.now()))
                }
            }
        };
        let is_stale_served = form == 0;
        let computed = match form {
            0 => self.cache.get_or_refresh_async(&key, future).await,
            1 => self.cache.try_get_or_insert_async(&key, future).await,
            _ => {
                let future = async {
                    match future.await {
                        Ok(value) => value,
                        Err(_) => panic_deliberately(),
                    }
                };
                Ok(self.cache.get_or_insert_async(&key, future).await)
            }
        };
        match computed {
            Ok(value) if is_mine.load(SeqCst) => {
                self.counts.count("values computed");
                value.history.after.store(self.time.now(), SeqCst);
                let apart = self.computations[key].recorded.set(&visit);
                self.check(apart >= self.shortest_ttl, || {
                    format!("key {key} was computed twice within {apart} ns")
                });
            }
            Ok(value) => {
                self.counts.count("values of the cache or another task");
                let after = value.history.after.load(SeqCst);
                let at_least = visit.before.saturating_sub(after);
                let limit = self.ttl + if is_stale_served { self.stale } else { 0 };
                self.check(value.id == key && at_least < limit, || {
                    format!(
                        "key {key} has a value of key {} that is {at_least} ns old, above {limit} ns",
                        value.id
                    )
                });
            }
            Err(ComputeError::Failed(_)) => self.counts.count("computations that failed"),
            Err(error) => self.check(false, || format!("key {key}: {error}")),
        }
    }

    /// Checks that no task is left, after the ttl of everything.
    fn account(&self, round: &Round, causes: &mut Tally) {
        self.ids.sweep();
        self.cache.sweep();
        self.ids.validate();
        self.cache.validate();
        let (ids, cache) = (self.ids.stats(), self.cache.stats());
        dedup::account(round, "awaited ids", &ids, causes);
        cache::account(round, "awaited cache", &cache, causes);
        round.check_equal("tasks that wait for claims", ids.waiting, 0);
        round.check_equal("tasks that wait for values", cache.waiting, 0);
        round.check_equal("claims in flight after their lease", ids.in_flight, 0);
        round.check_equal("values alive after their ttl", self.alive.count(), 0);
        let computed = self.computed.load(SeqCst);
        round.check_equal("awaited cache: inserted", cache.inserted, computed);
        self.counts.with(|tally| {
            let committed = tally.get("claims committed");
            round.check_equal("awaited ids: inserted", ids.inserted, committed);
            tally.count_many("waits for claims", ids.waits);
            tally.count_many("waits for values", cache.waits);
        });
    }
}
