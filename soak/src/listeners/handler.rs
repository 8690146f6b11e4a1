//! The events and the handlers. Each handler checks that it may be called: not by an emit that
//! began after it was detached or paused, after its scope or owner ended, or after its ttl, and not
//! more often than its call limit.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock};

use leakproof::{EmitSummary, Generation, Subscription, WeakRegistry};

use super::{Bus, lock};
use crate::round::{Dice, Time, Verdict, panic_deliberately};
use crate::value::One;
use example_support::random::scramble;

/// The depth of emits within emits.
const DEPTH: u32 = 2;

/// One emit. Its number orders it with the ends of listeners.
pub(super) struct Event {
    pub(super) number: u64,
    pub(super) depth: u32,
    /// The time before its start.
    pub(super) before: u64,
    pub(super) runs: AtomicUsize,
    pub(super) failures: AtomicUsize,
    pub(super) panics: AtomicUsize,
    /// Called handlers that have the key.
    pub(super) keyed: AtomicUsize,
}

/// The number of the first emit after the end of a listener, scope or owner.
pub(super) struct End(pub(super) AtomicU64);

impl Default for End {
    fn default() -> Self {
        Self(AtomicU64::new(u64::MAX))
    }
}

/// The state that handlers and threads share.
pub(super) struct World {
    pub(super) verdict: Arc<Verdict>,
    pub(super) time: Time,
    pub(super) topics: usize,
    pub(super) bus: OnceLock<WeakRegistry<u8, Arc<Event>>>,
    /// Guards that handlers drop during a call.
    pub(super) victims: Mutex<Vec<(Subscription, Arc<Fate>)>>,
    pub(super) next_emit: AtomicU64,
    pub(super) emits: AtomicU64,
    pub(super) called: AtomicUsize,
    pub(super) failed: AtomicUsize,
    pub(super) panicked: AtomicUsize,
    pub(super) skipped: AtomicUsize,
}

impl World {
    pub(super) fn new(verdict: &Arc<Verdict>, time: Time, topics: usize) -> Self {
        Self {
            verdict: Arc::clone(verdict),
            time,
            topics,
            bus: OnceLock::new(),
            victims: Mutex::default(),
            next_emit: AtomicU64::new(0),
            emits: AtomicU64::new(0),
            called: AtomicUsize::new(0),
            failed: AtomicUsize::new(0),
            panicked: AtomicUsize::new(0),
            skipped: AtomicUsize::new(0),
        }
    }

    pub(super) fn ended(&self, end: &End) {
        end.0.store(self.next_emit.load(SeqCst), SeqCst);
    }

    /// Emits to all listeners, or to a generation that may end during the emit.
    pub(super) fn emit(
        &self,
        bus: &Bus,
        topic: u8,
        depth: u32,
        to: Option<&(Generation, Arc<End>)>,
    ) {
        let event = Arc::new(Event {
            number: self.next_emit.fetch_add(1, SeqCst),
            depth,
            before: self.time.now(),
            runs: AtomicUsize::new(0),
            failures: AtomicUsize::new(0),
            panics: AtomicUsize::new(0),
            keyed: AtomicUsize::new(0),
        });
        let outcome = match to {
            None => bus.emit(&topic, &event),
            Some((generation, _)) => bus.emit_to(generation, &topic, &event),
        };
        let outcome = outcome.expect("depth is below the recursion limit");
        let EmitSummary {
            called,
            failed,
            panicked,
            skipped,
            ..
        } = outcome;
        let has_ended = to.is_some_and(|(_, end)| event.number >= end.0.load(SeqCst));
        let seen = [&event.runs, &event.failures, &event.panics].map(|count| count.load(SeqCst));
        // A queue receives events without a handler.
        let is_right = usize::from(topic) >= self.topics || [called, failed, panicked] == seen;
        self.verdict.check(is_right, || {
            format!("{outcome:?}, but handlers saw calls, failures and panics: {seen:?}")
        });
        self.verdict.check(!has_ended || called == 0, || {
            format!("an event of a closed generation: {outcome:?}")
        });
        self.emits.fetch_add(1, SeqCst);
        for (sum, count) in [
            (&self.called, called),
            (&self.failed, failed),
            (&self.panicked, panicked),
            (&self.skipped, skipped),
        ] {
            sum.fetch_add(count, SeqCst);
        }
    }
}

/// The state of a listener that its handler and its guard share.
pub(super) struct Fate {
    /// The time after the registration, once it has returned.
    pub(super) after: AtomicU64,
    pub(super) max_age: u64,
    pub(super) times: u64,
    pub(super) calls: AtomicU64,
    pub(super) is_keyed: bool,
    pub(super) detached: End,
    pub(super) paused: End,
    /// The emit during which it was detached, and which must skip it.
    pub(super) detached_within: AtomicU64,
    /// The generation of its scope, and its owner.
    pub(super) others: Vec<Arc<End>>,
    pub(super) is_dropped: AtomicBool,
}

impl Fate {
    pub(super) fn new(dice: &mut Dice) -> Self {
        let times = if dice.one_in(4) {
            1 + dice.below(4) as u64
        } else {
            u64::MAX
        };
        Self {
            after: AtomicU64::new(u64::MAX),
            max_age: u64::MAX,
            times,
            calls: AtomicU64::new(0),
            is_keyed: dice.one_in(8),
            detached: End::default(),
            paused: End::default(),
            detached_within: AtomicU64::new(u64::MAX),
            others: Vec::new(),
            is_dropped: AtomicBool::new(false),
        }
    }
}

/// The captures of a closure.
pub(super) struct Handler {
    world: Arc<World>,
    fate: Arc<Fate>,
    _alive: One,
}

impl Drop for Handler {
    fn drop(&mut self) {
        self.fate.is_dropped.store(true, SeqCst);
    }
}

impl Handler {
    pub(super) fn new(world: &Arc<World>, fate: &Arc<Fate>, alive: One) -> Self {
        Self {
            world: Arc::clone(world),
            fate: Arc::clone(fate),
            _alive: alive,
        }
    }

    pub(super) fn run(&self, event: &Event) -> bool {
        event.runs.fetch_add(1, SeqCst);
        let Self { world, fate, .. } = self;
        let verdict = &world.verdict;
        let calls = fate.calls.fetch_add(1, SeqCst) + 1;
        verdict.check(calls <= fate.times, || {
            format!("a listener was called {calls} times, not {}", fate.times)
        });
        let began_before = |end: &End| event.number < end.0.load(SeqCst);
        verdict.check(began_before(&fate.detached), || {
            "a detached listener was called".into()
        });
        verdict.check(event.number != fate.detached_within.load(SeqCst), || {
            "a listener was called that another one had detached within the same emit".into()
        });
        verdict.check(began_before(&fate.paused), || {
            "a paused listener was called".into()
        });
        verdict.check(fate.others.iter().all(|end| began_before(end)), || {
            "a listener was called whose scope or owner had ended".into()
        });
        let age = event.before.saturating_sub(fate.after.load(SeqCst));
        verdict.check(age < fate.max_age, || {
            format!(
                "a listener aged {age} ns was called, above {}",
                fate.max_age
            )
        });
        let of_key = usize::from(fate.is_keyed)
            * (event.keyed.fetch_add(usize::from(fate.is_keyed), SeqCst) + 1);
        verdict.check(of_key <= 1, || {
            format!("{of_key} listeners under one key were called by one emit")
        });
        self.behave(event)
    }

    fn behave(&self, event: &Event) -> bool {
        let chance = scramble(event.number ^ (self.fate.calls.load(SeqCst) << 32));
        match chance % 128 {
            0 => {
                event.panics.fetch_add(1, SeqCst);
                panic_deliberately();
            }
            1..8 => {
                event.failures.fetch_add(1, SeqCst);
                return false;
            }
            8..12 if event.depth < DEPTH => {
                if let Some(bus) = self.world.bus.get().and_then(WeakRegistry::upgrade) {
                    let topic = (chance >> 32) as usize % self.world.topics;
                    self.world.emit(&bus, topic as u8, event.depth + 1, None);
                }
            }
            12..14 => {
                if let Some(bus) = self.world.bus.get().and_then(WeakRegistry::upgrade) {
                    bus.clone().sweep();
                    drop(bus.listeners());
                }
            }
            14..20 => {
                let victim = lock(&self.world.victims).pop();
                if let Some((guard, victim)) = victim {
                    guard.detach();
                    victim.detached_within.store(event.number, SeqCst);
                }
            }
            _ => {}
        }
        true
    }
}
