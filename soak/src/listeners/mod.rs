//! A `ListenerRegistry` whose listeners are registered and removed in every manner, fail, panic and
//! emit.

mod handler;
mod using;

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use leakproof::{
    CircuitBreaker, Generation, ListenerRegistry, Overflow, RegistryStats, RemovalCause, Scope,
    Subscription, Sweeper,
};

use crate::round::{Dice, Round, Tally, Time, nanos, panic_deliberately};
use crate::value::Alive;
use handler::{End, Event, Fate, World};

type Bus = ListenerRegistry<u8, Arc<Event>>;

/// The most guards of a thread.
const HELD: usize = 40;
/// Below this number of guards, a calm thread registers listeners.
const FEW: usize = 4;
/// The number of shared scopes and owners.
const SHARED: usize = 4;
/// No call takes that long, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// A scope or an owner, and its end.
struct Connection {
    scope: Scope,
    now: Mutex<(Generation, Arc<End>)>,
    /// The previous generation.
    last: Mutex<Option<(Generation, Arc<End>)>>,
    owner: Mutex<(Arc<()>, Arc<End>)>,
}

impl Connection {
    fn new(bus: &Bus) -> Self {
        let scope = bus.scope();
        let now = Mutex::new((scope.generation(), Arc::default()));
        Self {
            scope,
            now,
            last: Mutex::default(),
            owner: Mutex::default(),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Soak {
    world: Arc<World>,
    bus: Arc<Bus>,
    connections: Vec<Connection>,
    alive: Alive,
    max_per_topic: usize,
    max_age: Duration,
    /// Operations per registration or removal, in a thread that has a few guards.
    calm: usize,
}

/// The calls of the removal callback, by cause.
#[derive(Default)]
struct Told {
    by_cause: Mutex<Tally>,
    panics: AtomicU64,
}

impl Told {
    fn tell(&self, cause: RemovalCause) {
        let mut by_cause = lock(&self.by_cause);
        by_cause.count(cause.as_str());
        let is_to_panic = by_cause.get(cause.as_str()).is_multiple_of(100);
        drop(by_cause);
        if is_to_panic {
            self.panics.fetch_add(1, SeqCst);
            panic_deliberately();
        }
    }
}

/// The guards and the queue of a thread.
#[derive(Default)]
struct Hands {
    guards: Vec<(Subscription, Arc<Fate>)>,
    queue: Option<(leakproof::Queue<Arc<Event>>, usize)>,
}

pub(crate) fn soak(round: &mut Round, causes: &mut Tally) -> Tally {
    let dice = &mut round.dice;
    let max_age = Duration::from_nanos(dice.between(1_000, 100_000_000_000_000));
    let retry_after = Duration::from_nanos(dice.between(500, nanos(max_age)));
    let time = Time::new(&[max_age, retry_after]);
    let max_per_topic = dice.between(1, 60) as usize;
    let told = Arc::<Told>::default();
    let teller = Arc::clone(&told);
    let mut builder = Bus::builder()
        .max_listeners(dice.between(1, 300) as usize)
        .max_per_topic(max_per_topic)
        .overflow(if dice.one_in(2) {
            Overflow::Reject
        } else {
            Overflow::EvictOldest
        })
        .ttl(max_age)
        .clock(time.clock())
        .on_removal(move |_, cause| teller.tell(cause));
    if !dice.one_in(3) {
        let (failures, retry_after) = (
            1 + dice.below(4) as u32,
            dice.one_in(2).then_some(retry_after),
        );
        builder = builder.circuit_breaker(CircuitBreaker {
            failures,
            retry_after,
        });
    }
    let calm = if dice.one_in(2) { 1 } else { 300 };
    let bus = Arc::new(builder.build().expect("valid limits"));
    let world = Arc::new(World::new(&round.verdict, time, 1 + dice.below(12)));
    world.bus.set(bus.downgrade()).ok();
    let sweeper = Sweeper::new();
    sweeper.watch("listeners", &*bus, Duration::from_millis(1));
    let connections = (0..SHARED).map(|_| Connection::new(&bus)).collect();
    let soak = Soak {
        world,
        bus,
        connections,
        alive: Alive::default(),
        max_per_topic,
        max_age,
        calm,
    };
    let mut tally = round.play(|_| {
        let (mut hands, soak) = (Hands::default(), &soak);
        move |dice: &mut Dice, tally: &mut Tally| soak.step(dice, tally, &mut hands)
    });
    drop(sweeper);
    soak.account(round, &told, &mut tally, causes);
    tally
}

/// Removed listeners, by the name of the cause.
fn left(stats: &RegistryStats) -> [(&'static str, &'static str, u64); 8] {
    [
        ("expired", "listeners expired", stats.expired),
        ("evicted", "listeners evicted", stats.evicted),
        ("replaced", "listeners replaced", stats.replaced),
        ("removed", "listeners removed", stats.removed),
        (
            "scope ended",
            "listeners whose scope ended",
            stats.scope_ended,
        ),
        (
            "owner dropped",
            "listeners whose owner was dropped",
            stats.owner_dropped,
        ),
        (
            "call limit reached",
            "listeners at their call limit",
            stats.call_limit_reached,
        ),
        ("failed", "listeners that failed too often", stats.failed),
    ]
}

impl Soak {
    /// Checks that all inserted listeners are present or were removed, then clears the registry.
    fn account(self, round: &Round, told: &Told, tally: &mut Tally, causes: &mut Tally) {
        let Self {
            world,
            bus,
            connections,
            alive,
            ..
        } = self;
        bus.validate();
        lock(&world.victims).clear();
        bus.sweep();
        round.check_equal(
            "captures alive, compared with listeners",
            alive.count(),
            bus.len() as i64,
        );
        drop(connections);
        bus.clear();
        round.check_equal("captures alive after all was cleared", alive.count(), 0);
        let stats = bus.stats();
        let all = left(&stats).iter().map(|(_, _, count)| count).sum();
        round.check_equal(
            "listeners inserted, compared with removed",
            stats.inserted,
            all,
        );
        round.check_equal(
            "listeners inserted, compared with registered",
            stats.inserted,
            tally.get("listeners registered"),
        );
        round.check_equal(
            "listeners rejected",
            stats.rejected,
            tally.get("listeners rejected"),
        );
        for (cause, what, count) in left(&stats) {
            round.check_equal(
                &format!("callbacks for {what}, compared with counted"),
                lock(&told.by_cause).get(cause),
                count,
            );
            causes.count_many(what, count);
        }
        round.check_equal("emitted", stats.emitted, world.emits.load(SeqCst));
        let panics = world.panicked.load(SeqCst) as u64 + told.panics.load(SeqCst);
        for (what, counted, seen) in [
            ("calls of listeners", stats.calls, &world.called),
            (
                "calls of listeners that failed",
                stats.failures,
                &world.failed,
            ),
            ("calls of listeners skipped", stats.skipped, &world.skipped),
        ] {
            round.check_equal(what, counted, seen.load(SeqCst) as u64);
            tally.count_many(what, counted);
        }
        round.check_equal(
            "panics of listeners and their callback",
            stats.panics,
            panics,
        );
    }

    fn step(&self, dice: &mut Dice, tally: &mut Tally, hands: &mut Hands) {
        let Self { world, bus, .. } = self;
        world.time.pass(dice, tally);
        let topic = dice.below(world.topics) as u8;
        let is_calm = hands.guards.len() > FEW && !dice.one_in(self.calm);
        match dice.below(200) {
            0..60 => {
                tally.count("emits");
                world.emit(bus, topic, 0, None);
            }
            60..80 => {
                tally.count("emits to a generation");
                let connection = &self.connections[dice.below(SHARED)];
                let now = if dice.one_in(2) {
                    Some(lock(&connection.now).clone())
                } else {
                    lock(&connection.last).clone()
                };
                world.emit(bus, topic, 0, now.as_ref());
            }
            80..170 if is_calm => {
                tally.count("emits");
                world.emit(bus, topic, 0, None);
            }
            80..120 => self.register(topic, dice, tally, hands),
            120..160 => self.let_go(dice, tally, hands),
            160..164 => self.reconnect(dice, tally),
            164..170 => self.pause(dice, tally, hands),
            170..172 => {
                tally.count("sweeps of listeners");
                bus.sweep();
            }
            172 if dice.one_in(20) => {
                tally.count("clears of listeners");
                bus.clear();
            }
            173..190 => self.queue(dice, tally, hands),
            _ => {
                tally.count("readings of stats of listeners");
                let (stats, listener_count) = (bus.stats(), bus.listener_count(&topic));
                world.verdict.check(
                    stats.len <= stats.max_listeners && listener_count <= self.max_per_topic,
                    || {
                        format!(
                            "listeners above the bound, {listener_count} on topic {topic}: {stats}"
                        )
                    },
                );
                let is_live = stats.oldest_entry_age.is_none_or(|age| age < self.max_age);
                world
                    .verdict
                    .check(is_live, || format!("a listener above its age: {stats}"));
            }
        }
    }
}
