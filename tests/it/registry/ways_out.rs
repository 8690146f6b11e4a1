//! Every way out: counted under its cause, told to the callback once, and the captures dropped.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use leakproof::{
    CircuitBreaker, ManualClock, Overflow, RegistryStats, RemovalCause, Subscription, Sweeper,
};

use super::helpers::{Bus, Count, Log, builder, calm, timed};

const HOUR: Duration = Duration::from_secs(3600);
const MINUTE: Duration = Duration::from_secs(60);

struct Setup {
    bus: Bus,
    time: ManualClock,
    told: Log,
    /// Dropped and alive handlers.
    captures: Arc<()>,
}

fn setup(is_calm: bool) -> Setup {
    let (time, told) = (ManualClock::new(), Log::default());
    let telling = told.clone();
    let bus = builder()
        .clock(&time)
        .max_per_topic(4)
        .overflow(Overflow::EvictOldest)
        .circuit_breaker(CircuitBreaker {
            failures: 2,
            retry_after: None,
        })
        .on_removal(move |info, cause| {
            telling.push(format!("{}: {cause}", info.label.as_deref().unwrap_or("?")));
        })
        .build()
        .expect("sound limits");
    bus.listen("topic")
        .label("other")
        .priority(1)
        .on(|_| ())
        .expect("room")
        .forget();
    if is_calm {
        calm(&bus, "topic");
    }
    Setup {
        bus,
        time,
        told,
        captures: Arc::new(()),
    }
}

impl Setup {
    fn handler(&self) -> impl Fn(&u32) -> bool + Send + Sync + 'static + use<> {
        let captured = Arc::clone(&self.captures);
        // 2 is the event that fails.
        move |&event| event != 2 && Arc::strong_count(&captured) > 0
    }

    fn on(&self) -> Subscription {
        self.bus
            .listen("topic")
            .label("it")
            .on(self.handler())
            .expect("room")
    }
}

/// Takes a listener's way out in every case, and looks at what is told of it.
fn leaves(cause: RemovalCause, way: impl Fn(&Setup)) {
    for is_calm in [false, true] {
        let setup = setup(is_calm);
        way(&setup);
        assert_eq!(setup.told.take(), [format!("it: {cause}")]);
        assert_eq!(
            Arc::strong_count(&setup.captures),
            1,
            "what it captured is dropped"
        );
        assert_eq!(count_of(&setup.bus.stats(), cause), 1);
        setup.bus.validate();
        let left = setup.bus.len();
        setup.bus.clear();
        assert_eq!(
            setup.bus.stats().removed as usize,
            left + usize::from(cause == RemovalCause::Removed)
        );
    }
}

fn count_of(stats: &RegistryStats, cause: RemovalCause) -> u64 {
    let all = [
        (RemovalCause::Expired, stats.expired),
        (RemovalCause::Evicted, stats.evicted),
        (RemovalCause::Replaced, stats.replaced),
        (RemovalCause::Removed, stats.removed),
        (RemovalCause::ScopeEnded, stats.scope_ended),
        (RemovalCause::OwnerDropped, stats.owner_dropped),
        (RemovalCause::CallLimitReached, stats.call_limit_reached),
        (RemovalCause::Failed, stats.failed),
    ];
    let others: u64 = all
        .iter()
        .filter(|(other, _)| *other != cause)
        .map(|(_, count)| count)
        .sum();
    assert_eq!(others, 0, "no other cause");
    all.iter()
        .find(|(it, _)| *it == cause)
        .expect("a cause of listeners")
        .1
}

#[test]
fn the_drop_of_its_guard() {
    leaves(RemovalCause::Removed, |it| drop(it.on()));
}

#[test]
fn detach_by_guard() {
    leaves(RemovalCause::Removed, |it| assert!(it.on().detach()));
}

#[test]
fn detach_by_id() {
    leaves(RemovalCause::Removed, |it| {
        let id = it.on().forget();
        assert!(it.bus.detach(id) && !it.bus.detach(id));
    });
}

#[test]
fn detach_and_wait() {
    leaves(RemovalCause::Removed, |it| {
        assert_eq!(it.on().detach_and_wait(HOUR), Ok(()));
    });
}

#[test]
fn clear() {
    for is_calm in [false, true] {
        let it = setup(is_calm);
        it.on().forget();
        assert_eq!(it.bus.clear(), 2);
        assert_eq!(it.told.take(), ["other: removed", "it: removed"]);
        assert_eq!(Arc::strong_count(&it.captures), 1);
    }
}

#[test]
fn the_end_of_its_scope() {
    let scoped = |it: &Setup| {
        let scope = it.bus.scope();
        // The guard does not matter where a scope ends it.
        drop(
            it.bus
                .listen("topic")
                .label("it")
                .scope(&scope)
                .on(it.handler())
                .expect("room"),
        );
        assert_eq!(it.bus.len(), 2);
        scope
    };
    leaves(RemovalCause::ScopeEnded, |it| drop(scoped(it)));
    leaves(RemovalCause::ScopeEnded, |it| {
        let scope = scoped(it);
        assert_ne!(scope.generation(), scope.renew());
    });
    leaves(RemovalCause::ScopeEnded, |it| {
        assert_eq!(scoped(it).detach_all(), 1);
    });
}

#[test]
fn the_end_of_its_owner_noticed_by_an_emit() {
    leaves(RemovalCause::OwnerDropped, |it| {
        let owner = Arc::new(Mutex::new(7));
        drop(
            it.bus
                .listen("topic")
                .label("it")
                .owner(&Arc::downgrade(&owner))
                .on(it.handler())
                .expect("room"),
        );
        assert_eq!(it.bus.emit("topic", &1).unwrap().called, 2);
        drop(owner);
        let emitted = it.bus.emit("topic", &1).unwrap();
        assert_eq!((emitted.called, emitted.skipped), (1, 1));
    });
}

#[test]
fn the_end_of_its_owner_noticed_by_a_sweep() {
    leaves(RemovalCause::OwnerDropped, |it| {
        let owner: Arc<dyn Send + Sync> = Arc::new(());
        it.bus
            .listen("topic")
            .label("it")
            .owner(&Arc::downgrade(&owner))
            .on(it.handler())
            .expect("room")
            .forget();
        assert_eq!(it.bus.sweep(), 0);
        drop(owner);
        assert_eq!(it.bus.sweep(), 1);
    });
}

#[test]
fn the_last_of_its_times() {
    leaves(RemovalCause::CallLimitReached, |it| {
        drop(
            it.bus
                .listen("topic")
                .label("it")
                .max_calls(2)
                .on(it.handler())
                .expect("room"),
        );
        assert_eq!(it.bus.emit("topic", &1).unwrap().called, 2);
        assert_eq!(
            it.bus.emit("topic", &2).unwrap().failed,
            1,
            "the last call counts, and may fail"
        );
        assert_eq!(it.bus.emit("topic", &1).unwrap().called, 1);
    });
    leaves(RemovalCause::CallLimitReached, |it| {
        drop(
            it.bus
                .listen("topic")
                .label("it")
                .once(it.handler())
                .expect("room"),
        );
        assert_eq!(it.bus.emit("topic", &1).unwrap().called, 2);
    });
}

#[test]
fn its_age_noticed_by_an_emit_a_sweep_and_a_registration() {
    let aged = |it: &Setup| {
        it.bus
            .listen("topic")
            .label("it")
            .ttl(HOUR)
            .on(it.handler())
            .expect("room")
            .forget();
        it.time.advance(HOUR - Duration::from_nanos(1));
        assert_eq!(
            (it.bus.emit("topic", &1).unwrap().called, it.bus.sweep()),
            (2, 0)
        );
        it.time.advance(Duration::from_nanos(1));
        assert_eq!(
            (
                it.bus.len(),
                it.bus.listener_count("topic"),
                it.bus.listeners().len()
            ),
            (1, 1, 1),
            "as if it were not there"
        );
    };
    leaves(RemovalCause::Expired, |it| {
        aged(it);
        assert_eq!(it.bus.emit("topic", &1).unwrap().called, 1);
    });
    leaves(RemovalCause::Expired, |it| {
        aged(it);
        assert_eq!(it.bus.sweep(), 1);
    });
    leaves(RemovalCause::Expired, |it| {
        aged(it);
        it.bus.on("elsewhere", |_| ()).expect("room").forget();
    });
}

#[test]
fn the_breaker() {
    leaves(RemovalCause::Failed, |it| {
        it.on().forget();
        for event in [2, 1, 2, 2] {
            assert_eq!(
                it.bus.emit("topic", &event).unwrap().called,
                2,
                "only failures in a row count"
            );
        }
        assert_eq!(it.bus.emit("topic", &1).unwrap().called, 1);
    });
}

#[test]
fn eviction() {
    leaves(RemovalCause::Evicted, |it| {
        let guard = it
            .bus
            .listen("elsewhere")
            .label("it")
            .on(it.handler())
            .expect("room");
        for _ in 0..4 {
            it.bus
                .on("elsewhere", |_| ())
                .expect("there is always room")
                .forget();
        }
        assert!(!guard.is_attached());
    });
}

#[test]
fn a_key_that_is_taken() {
    leaves(RemovalCause::Replaced, |it| {
        it.bus
            .listen("topic")
            .label("it")
            .key("key")
            .on(it.handler())
            .expect("room")
            .forget();
        it.bus
            .listen("topic")
            .label("next")
            .key("key")
            .on(|_| ())
            .expect("room")
            .forget();
    });
}

#[test]
fn the_breaker_may_silence_until_a_probe_succeeds() {
    for is_calm in [false, true] {
        let time = ManualClock::new();
        let breaker = CircuitBreaker {
            failures: 2,
            retry_after: Some(MINUTE),
        };
        let bus = builder()
            .clock(&time)
            .circuit_breaker(breaker)
            .build()
            .expect("sound limits");
        let guard = bus.on("topic", |&event| event != 2).expect("room");
        let other = bus.on("topic", |_| ()).expect("room");
        if is_calm {
            calm(&bus, "topic");
        }
        let called = |event: u32| {
            let emitted = bus.emit("topic", &event).unwrap();
            bus.validate();
            (emitted.called, emitted.failed, emitted.skipped)
        };
        assert_eq!([called(2), called(2)], [(2, 1, 0); 2]);
        assert!(bus.listeners()[0].silenced);
        assert_eq!(called(1), (1, 0, 1), "silenced");
        time.advance(MINUTE);
        assert_eq!(called(2), (2, 1, 0), "the probe fails");
        assert_eq!(called(1), (1, 0, 1), "silenced anew");
        time.advance(MINUTE - Duration::from_nanos(1));
        assert_eq!(called(1), (1, 0, 1));
        time.advance(Duration::from_nanos(1));
        assert_eq!(called(1), (2, 0, 0), "the probe succeeds");
        assert_eq!(
            [called(2), called(1), called(2)],
            [(2, 1, 0), (2, 0, 0), (2, 1, 0)],
            "failures count from nothing"
        );
        assert!(guard.is_attached() && !bus.listeners()[0].silenced);
        drop(other);
    }
}

#[test]
fn an_age_for_all_bounds_that_of_each() {
    let time = ManualClock::new();
    let bus = builder()
        .clock(&time)
        .ttl(HOUR)
        .build()
        .expect("sound limits");
    bus.on("topic", |_| ()).expect("room").forget();
    bus.listen("topic")
        .ttl(MINUTE)
        .on(|_| ())
        .expect("room")
        .forget();
    bus.listen("topic")
        .ttl(2 * HOUR)
        .on(|_| ())
        .expect("room")
        .forget();
    calm(&bus, "topic");
    time.advance(MINUTE);
    assert_eq!((bus.emit("topic", &1).unwrap().called, bus.len()), (2, 2));
    assert_eq!(bus.stats().oldest_entry_age, Some(MINUTE));
    time.advance(HOUR - MINUTE);
    assert_eq!((bus.len(), bus.emit("topic", &1).unwrap().called), (0, 0));
    assert_eq!(bus.stats().ttl, Some(HOUR));
}

#[test]
fn an_event_of_a_closed_generation_reaches_nobody_and_of_an_open_one_its_own() {
    for is_calm in [false, true] {
        let bus = builder().build().expect("sound limits");
        let [first, second] = [bus.scope(), bus.scope()];
        let counts = [(); 3].map(|()| Count::default());
        for (count, scope) in counts.iter().zip([Some(&first), None, Some(&second)]) {
            let (count, listen) = (count.clone(), bus.listen("topic"));
            let listen = if let Some(scope) = scope {
                listen.scope(scope)
            } else {
                listen
            };
            listen.on(move |_| count.up()).expect("room").forget();
        }
        if is_calm {
            calm(&bus, "topic");
        }
        let _ = counts.each_ref().map(Count::take);
        let generation = first.generation();
        let emitted = bus.emit_to(&generation, "topic", &1).unwrap();
        assert_eq!((emitted.called, emitted.skipped), (2, 0));
        assert_eq!(counts.each_ref().map(Count::take), [1, 1, 0]);
        first.renew();
        assert_eq!(bus.emit_to(&generation, "topic", &1).unwrap().called, 0);
        assert_eq!(
            bus.emit_to(&first.generation(), "topic", &1)
                .unwrap()
                .called,
            1
        );
        assert_eq!(
            bus.emit_to(&second.generation(), "topic", &1)
                .unwrap()
                .called,
            2
        );
        let calls: Vec<u64> = bus.listeners().iter().map(|info| info.calls).collect();
        let before = if is_calm { 100 } else { 0 };
        assert_eq!(
            calls,
            [before + 3, before + 1],
            "calls of others are not counted as one's own"
        );
        bus.validate();
    }
}

#[test]
fn a_filter_holds_events_back_and_uses_nothing_up() {
    for is_calm in [false, true] {
        let bus = builder().build().expect("sound limits");
        let odd = bus
            .listen("topic")
            .filter(|&event| event % 2 == 1)
            .max_calls(200)
            .on(|_| ())
            .expect("room");
        let all = bus.on("topic", |_| ()).expect("room");
        if is_calm {
            calm(&bus, "topic");
        }
        let before = bus.listeners()[0].calls;
        assert_eq!(
            (
                bus.emit("topic", &2).unwrap().called,
                bus.emit("topic", &3).unwrap().called
            ),
            (1, 2)
        );
        let infos = bus.listeners();
        assert_eq!(
            (before, infos[0].calls, infos[1].calls),
            (0, 1, if is_calm { 102 } else { 2 })
        );
        drop((odd, all));
    }
}

#[test]
fn a_filter_that_detaches_or_pauses_its_own_listener_keeps_it_from_being_called() {
    for is_calm in [false, true] {
        let (bus, count) = (builder().build().expect("sound limits"), Count::default());
        let own = Arc::new(Mutex::new(None::<Subscription>));
        let guard = {
            let (own, count) = (Arc::clone(&own), count.clone());
            let filter = move |_: &u32| {
                drop(own.lock().unwrap_or_else(PoisonError::into_inner).take());
                true
            };
            bus.listen("topic")
                .filter(filter)
                .on(move |_| count.up())
                .expect("room")
        };
        if is_calm {
            calm(&bus, "topic");
        }
        count.take();
        *own.lock().expect("not poisoned") = Some(guard);
        assert_eq!(
            (
                bus.emit("topic", &1).unwrap().skipped,
                count.get(),
                bus.len()
            ),
            (1, 0, 0)
        );
    }
}

#[test]
fn what_can_be_told_of_a_listener_is() {
    let time = ManualClock::new();
    let bus = timed(&time);
    let line = std::panic::Location::caller().line() + 6;
    let guard = bus
        .listen("topic")
        .label("audit")
        .key("key")
        .priority(3)
        .on(|_| false)
        .expect("room");
    time.advance(MINUTE);
    bus.emit("topic", &1).unwrap();
    assert!(guard.pause());
    let [info] = &bus.listeners()[..] else {
        panic!("one listener")
    };
    assert_eq!(
        (
            info.id,
            *info.topic,
            info.label.as_deref(),
            info.key.as_deref()
        ),
        (guard.id(), "topic", Some("audit"), Some("key"))
    );
    assert_eq!(
        (info.priority, info.age, info.calls, info.failures),
        (3, MINUTE, 1, 1)
    );
    assert_eq!(
        (info.location.file(), info.location.line()),
        (file!(), line)
    );
    assert!(info.paused && !info.silenced);
    assert_eq!(bus.emit("topic", &1).unwrap().skipped, 1);
    assert_eq!(
        bus.stats().to_string(),
        "1 of 1000 listeners (0.1%), oldest 1 min 0 s, 1 inserted, 2 emitted, 1 calls, 1 failures, 1 skipped"
    );
}

#[test]
fn calls_are_counted_alike_however_they_are_made() {
    let bus = builder().build().expect("sound limits");
    let guards: Vec<_> = (0..5)
        .map(|_| bus.on("topic", |_| ()).expect("room"))
        .collect();
    let mut emits = 0;
    let mut emit = |times| {
        (0..times).for_each(|_| assert!(bus.emit("topic", &1).unwrap().called >= 4));
        emits += times;
        emits
    };
    for (step, guard) in guards.iter().enumerate() {
        let all = emit(37 * (step as u64 + 1));
        assert!(
            bus.listeners()
                .iter()
                .all(|info| info.calls == all - if step > 0 { 7 } else { 0 }
                    || info.id != guards[0].id())
        );
        if step == 0 {
            guard.pause();
            emit(7);
            guard.resume();
        }
    }
    let all = emit(100);
    let calls: Vec<u64> = bus.listeners().iter().map(|info| info.calls).collect();
    assert_eq!(calls, [all - 7, all, all, all, all]);
    assert_eq!(bus.stats().calls, calls.iter().sum::<u64>());
}

#[test]
fn a_sweeper_sweeps_a_registry() {
    let time = ManualClock::new();
    let bus = builder()
        .clock(&time)
        .ttl(HOUR)
        .sweep_every(Duration::from_millis(1))
        .build()
        .expect("sound limits");
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    let sender = Mutex::new(sender);
    bus.on("topic", move |_| drop(sender.lock()))
        .expect("room")
        .forget();
    time.advance(HOUR);
    assert_eq!(
        receiver.recv_timeout(Duration::from_secs(20)),
        Err(std::sync::mpsc::RecvTimeoutError::Disconnected)
    );

    let (sweeper, shared) = (Sweeper::new(), bus);
    sweeper.watch("bus", &shared, HOUR);
    assert_eq!(sweeper.watched(), ["bus"]);
    assert_eq!(shared.stats().expired, 1);
}

#[test]
fn topics_without_listeners_and_captures_of_the_gone_are_not_kept() {
    let bus = leakproof::ListenerRegistry::<String, u32>::builder()
        .build()
        .expect("sound limits");
    for topic in 0..10_000 {
        let guard = bus.on(topic.to_string(), |_| ()).expect("room");
        bus.emit(&*topic.to_string(), &1).unwrap();
        drop(guard);
    }
    assert_eq!(
        (bus.len(), bus.stats().inserted, bus.stats().removed),
        (0, 10_000, 10_000)
    );
    bus.validate();
}
