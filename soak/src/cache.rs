//! An `LruCache` that computes each value once, and one whose small bounds change all the time.
//!
//! The first has room for all keys, so the last computation of a key decides when the next is due.
//! The second must call its callback once per removed entry, with the cause that it counted.

use std::sync::Arc;
use std::sync::atomic::{
    AtomicU64, AtomicUsize,
    Ordering::{Relaxed, SeqCst},
};
use std::time::Duration;

use leakproof::{CacheStats, ComputeError, Cursor, LruCache, Policy, RemovalCause, Sweeper};

use crate::cell::Cell;
use crate::round::{Dice, Round, Tally, Time, contained, nanos, panic_deliberately};
use crate::value::{Alive, Value};

pub(crate) fn soak(round: &mut Round, causes: &mut Tally) -> Tally {
    let max_age = Duration::from_nanos(round.dice.between(1_000, 100_000_000_000_000));
    let max_idle = Duration::from_nanos(round.dice.between(500, 2 * nanos(max_age)));
    let mut tally = computing(round, max_age, causes);
    tally.add(&squeezed(round, max_age, max_idle, causes));
    tally
}

/// Chooses a policy.
pub(crate) fn policy(dice: &mut Dice) -> Policy {
    if dice.one_in(2) {
        Policy::Lru
    } else {
        Policy::S3Fifo
    }
}

/// Checks that all inserted entries are present or were removed, and adds up the causes.
pub(crate) fn account(round: &Round, what: &str, stats: &CacheStats, causes: &mut Tally) {
    let left = stats.expired + stats.idle + stats.evicted + stats.replaced + stats.removed;
    round.check_equal(
        &format!("{what}: inserted, compared with present and removed"),
        stats.inserted,
        stats.len as u64 + left,
    );
    for (cause, count) in [
        ("entries expired", stats.expired),
        ("entries idle", stats.idle),
        ("entries evicted", stats.evicted),
        ("entries replaced", stats.replaced),
        ("entries removed", stats.removed),
        ("entries rejected", stats.rejected),
    ] {
        causes.count_many(cause, count);
    }
}

struct Computing<'a> {
    round: &'a Round,
    time: Time,
    cache: Arc<LruCache<usize, Value>>,
    cells: Vec<Cell>,
    /// Computations in progress, by key.
    under_way: Vec<AtomicUsize>,
    alive: Alive,
    max_age: u64,
}

fn computing(round: &mut Round, max_age: Duration, causes: &mut Tally) -> Tally {
    let dice = &mut round.dice;
    let (keys, shards) = (dice.between(20, 1_000) as usize, 1 + dice.below(8));
    let time = Time::new(&[max_age]);
    // One shard may have all keys.
    let builder = LruCache::builder()
        .max_entries(keys * shards)
        .ttl(max_age)
        .policy(policy(dice))
        .shards(shards)
        .clock(time.clock());
    let cache = Arc::new(builder.build().expect("valid limits"));
    let sweeper = Sweeper::new();
    sweeper.watch("computing", &*cache, Duration::from_millis(1));
    let computing = Computing {
        round,
        time,
        cache,
        cells: (0..keys).map(|_| Cell::default()).collect(),
        under_way: (0..keys).map(|_| AtomicUsize::new(0)).collect(),
        alive: Alive::default(),
        max_age: nanos(max_age),
    };
    let tally = round.play(|_| |dice: &mut Dice, tally: &mut Tally| computing.step(dice, tally));
    drop(sweeper);
    let Computing { cache, alive, .. } = computing;
    cache.validate();
    let stats = cache.stats();
    account(round, "computing cache", &stats, causes);
    round.check_equal(
        "computing cache: inserted",
        stats.inserted,
        tally.get("values computed"),
    );
    round.check_equal("computing cache: evicted", stats.evicted, 0);
    cache.sweep();
    round.check_equal(
        "values alive, compared with entries",
        alive.count(),
        cache.len() as i64,
    );
    drop(cache);
    round.check_equal("computed values alive at the end", alive.count(), 0);
    tally
}

/// Counts a computation while it is in progress.
pub(crate) struct UnderWay<'a>(pub(crate) &'a AtomicUsize);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

impl Computing<'_> {
    fn step(&self, dice: &mut Dice, tally: &mut Tally) {
        self.time.pass(dice, tally);
        let key = dice.below(self.cells.len());
        let visit = self.cells[key].visit(&self.time);
        let before = visit.before;
        if dice.one_in(4) {
            tally.count("cache gets");
            let found = self.cache.get(&key);
            self.round.check(
                found.is_some() || visit.recorded_at_most() >= self.max_age,
                || format!("key {key} is absent within its ttl of {} ns", self.max_age),
            );
            return found
                .iter()
                .for_each(|value| self.is_live(key, value, before));
        }
        tally.count("cache gets or computations");
        let mut computed = false;
        let (outcome, is_brittle) = (dice.below(20), dice.one_in(40));
        let looked_up = self.cache.try_get_or_insert_with(&key, || {
            let others = self.under_way[key].fetch_add(1, SeqCst);
            let _under_way = UnderWay(&self.under_way[key]);
            self.round.check(others == 0, || {
                format!("key {key} is being computed twice at once")
            });
            match outcome {
                0 => panic_deliberately(),
                1 | 2 => Err("failed"),
                _ => {
                    std::thread::yield_now();
                    computed = true;
                    Ok(Value::new(&self.alive, key, 1, is_brittle, self.time.now()))
                }
            }
        });
        match looked_up {
            Ok(value) if computed => {
                tally.count("values computed");
                value.history.after.store(self.time.now(), SeqCst);
                let apart = self.cells[key].recorded.set(&visit);
                self.round.check(apart >= self.max_age, || {
                    format!(
                        "key {key} was computed twice within {apart} ns, with an age of {} ns",
                        self.max_age
                    )
                });
            }
            // A value of another thread may have been inserted and removed before.
            Ok(value) => self.round.check(value.id == key, || {
                format!("key {key} has the value of {}", value.id)
            }),
            Err(ComputeError::Failed(_)) => tally.count("computations that failed"),
            Err(error) => self.round.check(false, || format!("key {key}: {error}")),
        }
    }

    fn is_live(&self, key: usize, value: &Value, before: u64) {
        let at_least = before.saturating_sub(value.history.after.load(SeqCst));
        self.round
            .check(value.id == key && at_least < self.max_age, || {
                format!(
                    "key {key} has a value of key {} that is {at_least} ns old, above {} ns",
                    value.id, self.max_age
                )
            });
    }
}

/// The causes of removals, as callbacks get them.
const CAUSES: [RemovalCause; 6] = [
    RemovalCause::Expired,
    RemovalCause::Idle,
    RemovalCause::Evicted,
    RemovalCause::Replaced,
    RemovalCause::Removed,
    RemovalCause::Rejected,
];

/// The calls of the removal callback.
#[derive(Default)]
struct Told {
    by_cause: [AtomicU64; CAUSES.len()],
    twice: AtomicU64,
    panics: AtomicU64,
}

impl Told {
    fn tell(&self, key: usize, value: &Value, cause: RemovalCause) {
        let at = CAUSES
            .iter()
            .position(|&it| it == cause)
            .expect("a cause of a cache");
        let calls = self.by_cause[at].fetch_add(1, Relaxed);
        if value.history.has_left.swap(true, SeqCst) || value.id != key {
            self.twice.fetch_add(1, Relaxed);
        }
        if calls % 100 == 99 {
            self.panics.fetch_add(1, Relaxed);
            panic_deliberately();
        }
    }
}

struct Squeezed<'a> {
    round: &'a Round,
    time: Time,
    cache: Arc<LruCache<usize, Value>>,
    cells: Vec<Cell>,
    alive: Alive,
    limits: Limits,
    /// Odd while a thread changes the bounds.
    resizes: AtomicUsize,
}

struct Limits {
    shards: usize,
    entries: usize,
    weight: Option<u64>,
    age: u64,
    idle: u64,
}

fn squeezed(round: &mut Round, max_age: Duration, max_idle: Duration, causes: &mut Tally) -> Tally {
    let dice = &mut round.dice;
    let shards = 1 + dice.below(4);
    let limits = Limits {
        shards,
        entries: shards + dice.between(1, 2_000) as usize,
        weight: dice
            .one_in(2)
            .then(|| shards as u64 * dice.between(50, 20_000)),
        age: nanos(max_age),
        idle: nanos(max_idle),
    };
    let keys = dice.between(10, 5_000) as usize;
    let time = Time::new(&[max_age, max_idle]);
    let told = Arc::<Told>::default();
    let teller = Arc::clone(&told);
    let mut builder = LruCache::<usize, Value>::builder()
        .max_entries(limits.entries)
        .ttl(max_age)
        .idle_timeout(max_idle)
        .ttl_jitter(if dice.one_in(2) { 0.2 } else { 0.0 })
        .policy(policy(dice))
        .shards(shards)
        .clock(time.clock())
        .on_removal(move |&key, value, cause| teller.tell(key, value, cause));
    if let Some(weight) = limits.weight {
        let weigh = |_: &usize, value: &Value| {
            if value.weight == u32::MAX {
                panic_deliberately()
            } else {
                value.weight
            }
        };
        builder = builder.max_weight(weight).weigher(weigh);
    }
    let cache = Arc::new(builder.build().expect("valid limits"));
    let sweeper = Sweeper::new();
    sweeper.watch("squeezed", &*cache, Duration::from_millis(1));
    let cells = (0..keys).map(|_| Cell::default()).collect();
    let resizes = AtomicUsize::new(0);
    let squeezed = Squeezed {
        round,
        time,
        cache,
        cells,
        alive: Alive::default(),
        limits,
        resizes,
    };
    let tally = round.play(|_| |dice: &mut Dice, tally: &mut Tally| squeezed.step(dice, tally));
    drop(sweeper);
    let Squeezed { cache, alive, .. } = squeezed;
    cache.validate();
    cache.sweep();
    let stats = cache.stats();
    account(round, "squeezed cache", &stats, causes);
    let counted = [
        stats.expired,
        stats.idle,
        stats.evicted,
        stats.replaced,
        stats.removed,
    ];
    for ((cause, told), counted) in CAUSES.iter().zip(&told.by_cause).zip(counted) {
        round.check_equal(
            &format!("squeezed cache: callbacks for entries {cause}, compared with counted"),
            told.load(Relaxed),
            counted,
        );
    }
    round.check_equal(
        "squeezed cache: callbacks called twice, or with the wrong key",
        told.twice.load(Relaxed),
        0,
    );
    round.check_equal(
        "squeezed cache: panics",
        stats.callback_panics,
        told.panics.load(Relaxed),
    );
    round.check_equal(
        "values alive, compared with entries",
        alive.count(),
        cache.len() as i64,
    );
    drop(cache);
    round.check_equal("values of entries alive at the end", alive.count(), 0);
    tally
}

impl Squeezed<'_> {
    fn step(&self, dice: &mut Dice, tally: &mut Tally) {
        self.time.pass(dice, tally);
        let key = dice.below(self.cells.len());
        match dice.below(200) {
            0..60 => {
                tally.count("cache gets");
                self.look(key, true, |key| self.cache.get(key));
            }
            60..70 => {
                tally.count("cache peeks");
                self.look(key, false, |key| self.cache.peek(key));
            }
            70..130 => self.insert(key, dice, tally),
            130..160 => {
                tally.count("cache gets or computations");
                self.look(key, true, |key| {
                    Some(
                        self.cache
                            .get_or_insert_with(key, || self.value(*key, dice)),
                    )
                });
            }
            160..170 => {
                tally.count("entries removed by call");
                self.look(key, false, |key| self.cache.remove(key));
            }
            170..173 => {
                tally.count("entries popped");
                drop(if dice.one_in(2) {
                    self.cache.pop_lru()
                } else {
                    self.cache.pop_oldest()
                });
            }
            173..175 => {
                tally.count("sweeps of entries");
                self.cache.sweep();
            }
            175 if dice.one_in(10) => {
                tally.count("clears of entries");
                self.cache.clear();
            }
            176 if dice.one_in(4) => self.resize(dice, tally),
            177 if dice.one_in(4) => {
                tally.count("retains of entries");
                self.cache.retain(|key, _| key % 3 != 0);
            }
            178 if dice.one_in(4) => {
                tally.count("walks through entries");
                let mut next = Some(Cursor::default());
                while let Some(from) = next {
                    next = self.cache.scan(from, 100).1;
                }
                drop(self.cache.entries_by_recency(10));
            }
            _ => {
                tally.count("readings of stats of entries");
                self.observe();
            }
        }
    }

    fn value(&self, key: usize, dice: &mut Dice) -> Value {
        let weight = match dice.below(100) {
            // The weigher panics.
            0 => u32::MAX,
            // Heavier than the bound of a shard.
            1 => u32::MAX - 1,
            _ => dice.below(100) as u32,
        };
        Value::new(&self.alive, key, weight, dice.one_in(50), self.time.now())
    }

    fn insert(&self, key: usize, dice: &mut Dice, tally: &mut Tally) {
        tally.count("cache inserts");
        let value = self.value(key, dice);
        let history = Arc::clone(&value.history);
        let visit = self.cells[key].visit(&self.time);
        let former = match dice.below(4) {
            0 => {
                let ttl = self.limits.age / dice.between(1, 100);
                history.ttl.store(ttl.max(1), SeqCst);
                let ttl = Duration::from_nanos(ttl.max(1));
                self.cache.insert_with_ttl(key, value, ttl)
            }
            1 => self.cache.insert(key, value),
            _ => self
                .cache
                .insert_checked(key, value)
                .unwrap_or_else(|refused| {
                    self.round.check(refused.value.id == key, || {
                        format!("key {key} was refused as {}", refused.value.id)
                    });
                    None
                }),
        };
        history.after.store(self.time.now(), SeqCst);
        former
            .iter()
            .for_each(|former| self.is_live(key, former, visit.before));
        self.cells[key].recorded.set(&visit);
    }

    /// Reads a key, and checks that the returned value is live.
    fn look(&self, key: usize, refreshes: bool, look: impl FnOnce(&usize) -> Option<Value>) {
        let visit = self.cells[key].visit(&self.time);
        let used = &self.cells[key].recorded;
        let idle = used.at_least(visit.before);
        // A panic of `clone` counts as an access as well.
        if let Some(value) = contained(|| look(&key)).flatten() {
            self.is_live(key, &value, visit.before);
            // The idle time is known if all accesses of the value are.
            let is_new = value.history.before >= visit.before;
            self.round.check(
                !visit.is_alone() || is_new || idle < self.limits.idle,
                || {
                    format!(
                        "key {key} was returned after {idle} ns without use, above {} ns",
                        self.limits.idle
                    )
                },
            );
        }
        if refreshes {
            used.set(&visit);
        }
    }

    fn is_live(&self, key: usize, value: &Value, before: u64) {
        let at_least = before.saturating_sub(value.history.after.load(SeqCst));
        let ttl = self.limits.age.min(value.history.ttl.load(SeqCst));
        self.round.check(value.id == key && at_least < ttl, || {
            format!(
                "key {key} has a value of key {} that is {at_least} ns old, above {ttl} ns",
                value.id
            )
        });
    }

    fn resize(&self, dice: &mut Dice, tally: &mut Tally) {
        let number = self.resizes.load(SeqCst);
        let is_free = number.is_multiple_of(2)
            && self
                .resizes
                .compare_exchange(number, number + 1, SeqCst, SeqCst)
                .is_ok();
        if !is_free {
            return;
        }
        tally.count("changes of bounds");
        let shards = self.limits.shards;
        self.cache
            .set_max_entries(shards + dice.between(1, 2_000) as usize)
            .expect("a valid limit");
        if self.limits.weight.is_some() {
            self.cache
                .set_max_weight(shards as u64 * dice.between(50, 20_000))
                .expect("a valid limit");
        }
        self.resizes.fetch_add(1, SeqCst);
    }

    fn observe(&self) {
        let number = self.resizes.load(SeqCst);
        let stats = self.cache.stats();
        let is_settled = number.is_multiple_of(2) && self.resizes.load(SeqCst) == number;
        let holds = stats.len <= stats.max_entries
            && stats.max_weight.is_none_or(|max| stats.weight <= max);
        self.round.check(!is_settled || holds, || {
            format!("a cache above its bounds: {stats}")
        });
        self.round.check(
            stats
                .oldest_entry_age
                .is_none_or(|age| nanos(age) < self.limits.age),
            || format!("an entry above its age: {stats}"),
        );
    }
}
