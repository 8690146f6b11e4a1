//! A reference model of the registry over a `Vec`, and the operations that drive both.
//!
//! The model decides which listeners an emit calls, in which order, and which are removed by which
//! cause. Model tests and the fuzz target share it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use leakproof::{
    CircuitBreaker, EmitSummary, ListenerId, ListenerRegistry, ManualClock, Overflow,
    RegistryStats, RemovalCause, Scope, Subscription,
};

/// One operation. All fields are numbers, so that both a fuzzer and a generator can create them.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub enum Op {
    On { topic: u8, options: u8, number: u8 },
    Emit { topic: u8, event: u8 },
    EmitTo { topic: u8, event: u8, scope: u8 },
    DropGuard(u8),
    Detach(u8),
    Pause(u8),
    Resume(u8),
    DetachAll(u8),
    Renew(u8),
    DropOwner(u8),
    Advance(u16),
    Sweep,
    Clear,
}

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub max_listeners: usize,
    pub max_per_topic: usize,
    pub evict: bool,
    pub max_age: Option<u64>,
    pub failures: u32,
    pub retry_after: Option<u64>,
}

const SCOPES: usize = 3;
const OWNERS: usize = 3;

/// Decides if a handler fails for an event.
fn fails(number: u8, event: u8) -> bool {
    number.wrapping_mul(7).wrapping_add(event).is_multiple_of(5)
}

/// Decides if a handler panics for an event.
fn panics(number: u8, event: u8) -> bool {
    number.wrapping_add(event).is_multiple_of(23)
}

/// Decides if a filter accepts an event.
fn passes(number: u8, event: u8) -> bool {
    !number.wrapping_add(event).is_multiple_of(3)
}

/// A listener of the model.
#[derive(Clone)]
struct Listener {
    id: Option<ListenerId>,
    mark: u32,
    topic: u8,
    number: u8,
    priority: i32,
    key: Option<u8>,
    times: Option<u64>,
    scope: Option<(usize, u32)>,
    owner: Option<(usize, u32)>,
    has_filter: bool,
    registered: u64,
    deadline: u64,
    calls: u64,
    failures: u32,
    open_until: Option<u64>,
    paused: bool,
}

#[derive(Default)]
struct Reference {
    now: u64,
    /// Listeners in order of registration.
    listeners: Vec<Listener>,
    /// Counts the renewals of each scope.
    generations: [u32; SCOPES],
    /// Counts the replacements of each owner.
    owners: [u32; OWNERS],
    counts: BTreeMap<&'static str, u64>,
    /// The marks of the called listeners, in order.
    called: Vec<u32>,
}

impl Reference {
    fn count(&mut self, what: &'static str, by: usize) {
        *self.counts.entry(what).or_default() += by as u64;
    }

    fn remove(&mut self, cause: &'static str, is_removed: impl Fn(&Listener) -> bool) -> usize {
        let taken = self
            .listeners
            .extract_if(.., |listener| is_removed(listener))
            .count();
        self.count(cause, taken);
        taken
    }

    /// Removes listeners for this cause, or as expired if their deadline has passed.
    fn remove_or_expire(
        &mut self,
        cause: &'static str,
        is_removed: impl Fn(&Listener) -> bool,
    ) -> usize {
        let now = self.now;
        self.remove("expired", |listener| {
            listener.deadline <= now && is_removed(listener)
        }) + self.remove(cause, is_removed)
    }

    fn remove_mark(&mut self, cause: &'static str, mark: u32) {
        self.remove(cause, |listener| listener.mark == mark);
    }

    /// Removes expired listeners. The registry may remove them later.
    fn expire(&mut self) -> usize {
        let now = self.now;
        self.remove("expired", |listener| listener.deadline <= now)
    }

    fn remove_orphans(&mut self) -> usize {
        let owners = self.owners;
        self.remove("owner dropped", |listener| {
            listener
                .owner
                .is_some_and(|(owner, life)| owners[owner] != life)
        })
    }

    fn add(&mut self, limits: &Limits, new: Listener) -> bool {
        self.expire();
        let same = |it: &Listener| it.topic == new.topic && it.key == new.key && new.key.is_some();
        if self.remove("replaced", same) == 0 {
            let in_topic = |it: &Self| {
                it.listeners
                    .iter()
                    .filter(|it| it.topic == new.topic)
                    .count()
            };
            let is_full = |it: &Self| {
                in_topic(it) >= limits.max_per_topic || it.listeners.len() >= limits.max_listeners
            };
            if is_full(self) {
                self.remove_orphans();
            }
            while is_full(self) {
                if !limits.evict {
                    self.count("rejected", 1);
                    return false;
                }
                let of_topic = in_topic(self) >= limits.max_per_topic;
                let oldest = self
                    .listeners
                    .iter()
                    .find(|it| !of_topic || it.topic == new.topic)
                    .map(|it| it.mark);
                self.remove_mark("evicted", oldest.expect("it is full"));
            }
        }
        self.count("inserted", 1);
        self.listeners.push(new);
        true
    }

    /// Emits to the model, and compares the summaries.
    fn emit(
        &mut self,
        limits: &Limits,
        topic: u8,
        event: u8,
        only: Option<(usize, u32)>,
        emitted: EmitSummary,
    ) {
        self.count("emitted", 1);
        if only.is_some_and(|(scope, generation)| self.generations[scope] != generation) {
            assert_eq!(
                emitted.called + emitted.skipped,
                0,
                "an event of an ended generation reaches no listener"
            );
            return;
        }
        let now = self.now;
        let expired = self.remove("expired", |it| {
            let is_meant = it
                .scope
                .is_none_or(|scope| only.is_none_or(|only| only == scope));
            it.deadline <= now && it.topic == topic && is_meant
        });
        let is_meant = |it: &&Listener| {
            it.topic == topic
                && it
                    .scope
                    .is_none_or(|scope| only.is_none_or(|only| only == scope))
        };
        let mut snapshot: Vec<Listener> = self.listeners.iter().filter(is_meant).cloned().collect();
        snapshot.sort_by_key(|it| std::cmp::Reverse(it.priority));
        let [mut called, mut failed, mut panicked] = [0; 3];
        for it in &snapshot {
            let is_silent = it.open_until.is_some_and(|until| self.now < until);
            if it.paused || is_silent {
                continue;
            }
            if it
                .owner
                .is_some_and(|(owner, life)| self.owners[owner] != life)
            {
                self.remove_mark("owner dropped", it.mark);
                continue;
            }
            if it.has_filter && !passes(it.number, event) {
                continue;
            }
            self.called.push(it.mark);
            called += 1;
            let (panic, fail) = (panics(it.number, event), fails(it.number, event));
            panicked += usize::from(panic);
            failed += usize::from(fail && !panic);
            if it.times == Some(it.calls + 1) {
                self.remove_mark("call limit reached", it.mark);
                continue;
            }
            let now = self.now;
            let own = self
                .listeners
                .iter_mut()
                .find(|own| own.mark == it.mark)
                .expect("a handler of the model removes no listener");
            own.calls += 1;
            if !panic && !fail {
                (own.failures, own.open_until) = (0, None);
                continue;
            }
            own.failures += 1;
            if own.failures >= limits.failures {
                match limits.retry_after {
                    Some(pause) => own.open_until = Some(now + pause),
                    None => self.remove_mark("failed", it.mark),
                }
            }
        }
        self.count("calls", called);
        self.count("failures", failed);
        self.count("panics", panicked);
        self.count("skipped", emitted.skipped);
        assert_eq!(
            [emitted.called, emitted.failed, emitted.panicked],
            [called, failed, panicked]
        );
        // The registry may have removed some expired listeners before.
        let skipped = snapshot.len() - called;
        assert!(
            (skipped..=skipped + expired).contains(&emitted.skipped),
            "{} skipped, not {skipped}",
            emitted.skipped
        );
    }
}

type Bus = ListenerRegistry<u8, u8>;

/// The guard of a listener.
struct Guard {
    subscription: Subscription,
    mark: u32,
}

/// A registry, its model, and the objects that the operations act on.
struct Run {
    limits: Limits,
    time: ManualClock,
    bus: Bus,
    model: Reference,
    scopes: Vec<Scope>,
    owners: Vec<Arc<()>>,
    guards: Vec<Guard>,
    called: Arc<Mutex<Vec<u32>>>,
    reported: Arc<Mutex<BTreeMap<&'static str, u64>>>,
    /// Each handler holds a clone.
    captures: Arc<()>,
    marks: u32,
}

/// Runs the operations on a registry and on the model.
///
/// # Panics
///
/// Panics if they differ, or if an invariant of the registry does not hold.
pub fn run(limits: Limits, ops: &[Op]) {
    let mut run = Run::new(limits);
    for op in ops {
        run.step(op);
        run.compare();
    }
    let Run { bus, captures, .. } = run;
    drop(bus);
    assert_eq!(
        Arc::strong_count(&captures),
        1,
        "the handlers are dropped with the registry"
    );
}

impl Run {
    fn new(limits: Limits) -> Self {
        let (time, reported) = (
            ManualClock::new(),
            Arc::<Mutex<BTreeMap<_, u64>>>::default(),
        );
        let log = Arc::clone(&reported);
        let mut builder = Bus::builder()
            .max_listeners(limits.max_listeners)
            .max_per_topic(limits.max_per_topic)
            .overflow(if limits.evict {
                Overflow::EvictOldest
            } else {
                Overflow::Reject
            })
            .circuit_breaker(CircuitBreaker {
                failures: limits.failures,
                retry_after: limits.retry_after.map(Duration::from_nanos),
            })
            .on_removal(move |_, cause: RemovalCause| {
                *log.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .entry(cause.as_str())
                    .or_default() += 1;
            })
            .clock(&time);
        if let Some(max) = limits.max_age {
            builder = builder.ttl(Duration::from_nanos(max));
        }
        let bus = builder.build().expect("the limits are sound");
        let scopes = (0..SCOPES).map(|_| bus.scope()).collect();
        Self {
            limits,
            time,
            bus,
            model: Reference::default(),
            scopes,
            owners: vec![Arc::new(()), Arc::new(()), Arc::new(())],
            guards: Vec::new(),
            called: Arc::default(),
            reported,
            captures: Arc::new(()),
            marks: 0,
        }
    }

    fn step(&mut self, op: &Op) {
        match *op {
            Op::On {
                topic,
                options,
                number,
            } => self.on(topic % 3, options, number),
            Op::Emit { topic, event } => {
                let emitted = self.bus.emit(&(topic % 3), &event).unwrap();
                self.model
                    .emit(&self.limits, topic % 3, event, None, emitted);
            }
            Op::EmitTo {
                topic,
                event,
                scope,
            } => {
                let at = usize::from(scope) % SCOPES;
                let emitted = self
                    .bus
                    .emit_to(&self.scopes[at].generation(), &(topic % 3), &event)
                    .unwrap();
                let only = Some((at, self.model.generations[at]));
                self.model
                    .emit(&self.limits, topic % 3, event, only, emitted);
            }
            Op::DropGuard(which) => {
                if let Some(guard) = self.taken(which) {
                    let detaches = self.model.listeners.iter().find(|it| it.mark == guard.mark);
                    if detaches.is_some_and(|it| {
                        it.times.is_none() && it.scope.is_none() && it.owner.is_none()
                    }) {
                        self.model
                            .remove_or_expire("removed", |it| it.mark == guard.mark);
                    }
                    drop(guard.subscription);
                }
            }
            Op::Detach(which) => {
                if let Some(guard) = self.taken(which) {
                    // An expired listener may or may not have been removed yet.
                    self.bus.sweep();
                    self.model.expire();
                    self.model.remove_orphans();
                    let was_there = self
                        .model
                        .remove_or_expire("removed", |it| it.mark == guard.mark)
                        == 1;
                    assert_eq!(guard.subscription.detach(), was_there);
                }
            }
            Op::Pause(which) => self.pause(which, true),
            Op::Resume(which) => self.pause(which, false),
            Op::DetachAll(which) | Op::Renew(which) => {
                let at = usize::from(which) % SCOPES;
                self.bus.sweep();
                self.model.expire();
                self.model.remove_orphans();
                let ended = self.model.remove_or_expire("scope ended", |it| {
                    it.scope.is_some_and(|(scope, _)| scope == at)
                });
                if matches!(op, Op::Renew(_)) {
                    self.model.generations[at] += 1;
                    self.scopes[at].renew();
                } else {
                    assert_eq!(self.scopes[at].detach_all(), ended);
                }
            }
            Op::DropOwner(which) => {
                let at = usize::from(which) % OWNERS;
                self.owners[at] = Arc::new(());
                self.model.owners[at] += 1;
            }
            Op::Advance(by) => {
                self.model.now += u64::from(by);
                self.time.set(Duration::from_nanos(self.model.now));
            }
            Op::Sweep => {
                self.bus.sweep();
                self.model.expire();
                self.model.remove_orphans();
            }
            Op::Clear => {
                self.bus.sweep();
                self.model.expire();
                self.model.remove_orphans();
                let cleared = self.model.remove_or_expire("removed", |_| true);
                assert_eq!(self.bus.clear(), cleared);
            }
        }
    }

    fn taken(&mut self, which: u8) -> Option<Guard> {
        (!self.guards.is_empty()).then(|| {
            self.guards
                .swap_remove(usize::from(which) % self.guards.len())
        })
    }

    fn on(&mut self, topic: u8, options: u8, number: u8) {
        // A registration removes only some of the expired listeners, the model all of them.
        self.bus.sweep();
        self.model.expire();
        self.model.remove_orphans();
        let has = |bit: u8| options & (1 << bit) != 0;
        let (at, mark) = (usize::from(number) % SCOPES, self.marks);
        self.marks += 1;
        let own_age = has(5).then_some(u64::from(number) * 8 + 1);
        let age = own_age.into_iter().chain(self.limits.max_age).min();
        let new = Listener {
            id: None,
            mark,
            topic,
            number,
            priority: if has(0) { i32::from(number % 4) } else { 0 },
            key: has(1).then_some(number % 4),
            times: has(2).then_some(u64::from(number % 5) + 1),
            scope: has(3).then_some((at, self.model.generations[at])),
            owner: has(4).then_some((at, self.model.owners[at])),
            has_filter: has(6),
            registered: self.model.now,
            deadline: age.map_or(u64::MAX, |age| self.model.now + age),
            calls: 0,
            failures: 0,
            open_until: None,
            paused: false,
        };
        let mut listen = self
            .bus
            .listen(topic)
            .priority(new.priority)
            .label(mark.to_string());
        if let Some(key) = new.key {
            listen = listen.key(key.to_string());
        }
        if let Some(times) = new.times {
            listen = listen.max_calls(times);
        }
        if new.scope.is_some() {
            listen = listen.scope(&self.scopes[at]);
        }
        if new.owner.is_some() {
            listen = listen.owner(&Arc::downgrade(&self.owners[at]));
        }
        if let Some(age) = own_age {
            listen = listen.ttl(Duration::from_nanos(age));
        }
        if new.has_filter {
            listen = listen.filter(move |&event| passes(number, event));
        }
        let (called, captured) = (Arc::clone(&self.called), Arc::clone(&self.captures));
        let handler = move |&event: &u8| {
            let _captured = &captured;
            called
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(mark);
            if panics(number, event) {
                std::panic::resume_unwind(Box::new("a handler panics, without a message"));
            }
            !fails(number, event)
        };
        let registered = listen.on(handler);
        let id = registered.as_ref().map(Subscription::id).ok();
        assert_eq!(
            registered.is_ok(),
            self.model.add(&self.limits, Listener { id, ..new })
        );
        self.guards
            .extend(registered.map(|subscription| Guard { subscription, mark }));
    }

    fn pause(&mut self, which: u8, paused: bool) {
        if self.guards.is_empty() {
            return;
        }
        let guard = &self.guards[usize::from(which) % self.guards.len()];
        let own = self
            .model
            .listeners
            .iter_mut()
            .find(|it| it.mark == guard.mark);
        let was_there = if paused {
            guard.subscription.pause()
        } else {
            guard.subscription.resume()
        };
        // An expired listener is attached until it is removed.
        let now = self.model.now;
        assert!(was_there || own.as_ref().is_none_or(|own| own.deadline <= now));
        if let Some(own) = own {
            own.paused = paused;
        }
    }

    fn compare(&mut self) {
        let model = &mut self.model;
        let expected = std::mem::take(&mut model.called);
        let called =
            std::mem::take(&mut *self.called.lock().unwrap_or_else(PoisonError::into_inner));
        assert_eq!(called, expected, "the called listeners, in order");
        self.bus.validate();
        let now = model.now;
        let live: Vec<&Listener> = model
            .listeners
            .iter()
            .filter(|it| it.deadline > now)
            .collect();
        assert_eq!(self.bus.len(), live.len());
        let infos = self.bus.listeners();
        assert_eq!(infos.len(), live.len());
        for (info, it) in infos.iter().zip(&live) {
            assert_eq!(
                (Some(info.id), *info.topic, info.priority),
                (it.id, it.topic, it.priority)
            );
            assert_eq!(info.age, Duration::from_nanos(now - it.registered));
            assert_eq!(
                (info.calls, info.failures, info.paused),
                (it.calls, it.failures, it.paused),
                "{info:?}"
            );
            assert_eq!(info.breaker_open, it.open_until.is_some());
        }
        let stats = self.bus.stats();
        assert_eq!(
            stats.oldest_entry_age,
            live.first()
                .map(|it| Duration::from_nanos(now - it.registered))
        );
        // The registry may still hold expired listeners that the model has removed.
        if model.listeners.len() == live.len() {
            assert_eq!(
                Arc::strong_count(&self.captures),
                1 + live.len(),
                "removed handlers are dropped"
            );
            let reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
            for (name, count) in counters(&stats) {
                let expected = model.counts.get(name).copied().unwrap_or(0);
                assert_eq!(count, expected, "{name}");
                if name.contains(' ')
                    || ["expired", "evicted", "replaced", "removed", "failed"].contains(&name)
                {
                    assert_eq!(
                        reported.get(name).copied().unwrap_or(0),
                        expected,
                        "{name}, reported to the callback"
                    );
                }
            }
        }
    }
}

fn counters(stats: &RegistryStats) -> [(&'static str, u64); 15] {
    [
        ("inserted", stats.inserted),
        ("expired", stats.expired),
        ("evicted", stats.evicted),
        ("replaced", stats.replaced),
        ("removed", stats.removed),
        ("rejected", stats.rejected),
        ("scope ended", stats.scope_ended),
        ("owner dropped", stats.owner_dropped),
        ("call limit reached", stats.call_limit_reached),
        ("failed", stats.failed),
        ("emitted", stats.emitted),
        ("calls", stats.calls),
        ("failures", stats.failures),
        ("skipped", stats.skipped),
        ("panics", stats.panics),
    ]
}
