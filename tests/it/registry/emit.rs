//! Which listeners an emit calls, in which order, and what failures and panics do.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use leakproof::{EmitSummary, ListenerRegistry, ManualClock, Subscription};

use super::helpers::{Count, HOUR, Log, OnDrop, builder, bus, holding, later, put, take, timed};

#[test]
fn topics_with_equal_hashes_are_distinct() {
    #[derive(PartialEq, Eq)]
    struct Same(u8);

    impl std::hash::Hash for Same {
        fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
            state.write_u8(0);
        }
    }

    let bus = ListenerRegistry::<Same, u32>::new();
    let log = Log::default();
    let guards = [1, 2, 3].map(|topic| {
        let log = log.clone();
        bus.on(Same(topic), move |_| log.push(topic)).unwrap()
    });
    for _ in 0..100 {
        for topic in [3, 1, 2] {
            assert_eq!(bus.emit(&Same(topic), &0).unwrap().called, 1);
            assert_eq!(log.take(), [topic.to_string()]);
        }
    }
    assert_eq!(bus.emit(&Same(4), &0).unwrap().called, 0);
    assert_eq!(
        (bus.listener_count(&Same(2)), bus.listener_count(&Same(4))),
        (1, 0)
    );
    bus.validate();
    drop(guards);
}

#[test]
fn emit_calls_by_priority_then_in_registration_order() {
    let (bus, log) = (bus(), Log::default());
    let guards: Vec<_> = [("c", 0), ("a", 2), ("d", 0), ("b", 1), ("e", -1)]
        .into_iter()
        .map(|(name, priority)| {
            let log = log.clone();
            bus.listen("topic")
                .priority(priority)
                .on(move |_| log.push(name))
                .unwrap()
        })
        .collect();
    log.take();
    bus.emit("topic", &1).unwrap();
    assert_eq!(log.take(), ["a", "b", "c", "d", "e"]);
    drop(guards);
}

#[test]
fn listener_added_during_an_emit_waits_for_the_next() {
    let (bus, log, guards) = (bus(), Log::default(), Arc::new(Mutex::new(Vec::new())));
    let first = {
        let (weak, log, guards) = (bus.downgrade(), log.clone(), Arc::clone(&guards));
        bus.on("topic", move |&event| {
            log.push("first");
            // The first comes before all others in call order, the second behind them.
            for priority in [5, -5].into_iter().filter(|_| event == 1) {
                let log = log.clone();
                let bus = weak.upgrade().unwrap();
                let added = bus
                    .listen("topic")
                    .priority(priority)
                    .on(move |_| log.push(priority));
                guards.lock().unwrap().push(added.unwrap());
            }
        })
        .unwrap()
    };
    let second = {
        let log = log.clone();
        bus.on("topic", move |_| log.push("second")).unwrap()
    };
    log.take();
    assert_eq!(bus.emit("topic", &1).unwrap().called, 2);
    assert_eq!(log.take(), ["first", "second"]);
    assert_eq!(bus.emit("topic", &2).unwrap().called, 4);
    assert_eq!(log.take(), ["5", "first", "second", "-5"]);
    drop((first, second));
    bus.validate();
}

#[test]
fn listener_changed_during_an_emit_is_skipped() {
    let time = ManualClock::new();
    let (bus, count) = (timed(&time), Count::default());
    let (detached, paused) = (later::<Subscription>(), later::<Subscription>());
    let first = {
        let (detached, paused, time) = (Arc::clone(&detached), Arc::clone(&paused), time.clone());
        bus.on("topic", move |&event| {
            if event == 1 {
                drop(take(&detached));
                assert!(paused.lock().unwrap().as_ref().unwrap().pause());
                time.advance(HOUR);
            }
        })
    };
    let counted = || {
        let count = count.clone();
        move |_: &u32| count.up()
    };
    put(&detached, bus.on("topic", counted()).unwrap());
    put(&paused, bus.on("topic", counted()).unwrap());
    let aged = bus.listen("topic").ttl(HOUR).on(counted()).unwrap();
    let last = bus.on("topic", counted()).unwrap();
    count.take();
    let emitted = bus.emit("topic", &1).unwrap();
    assert_eq!((emitted.called, emitted.skipped, count.take()), (2, 3, 1));
    assert!(!aged.is_attached());
    assert!(paused.lock().unwrap().as_ref().unwrap().resume());
    assert_eq!(bus.emit("topic", &2).unwrap().called, 3);
    drop((first, last));
    bus.validate();
}

#[test]
fn handler_panic_is_counted_and_the_others_run() {
    let (bus, count) = (bus(), Count::default());
    let counted = || {
        let count = count.clone();
        move |_: &u32| count.up()
    };
    let guards = [bus.on("topic", counted()).unwrap(), {
        bus.on("topic", |&event| assert!(event != 1, "a handler panics"))
            .unwrap()
    }];
    let more = [
        bus.on("topic", counted()).unwrap(),
        bus.on("topic", |&event| if event == 1 { Err(()) } else { Ok(()) })
            .unwrap(),
        bus.on("topic", |&event| event != 1).unwrap(),
    ];
    count.take();
    let emitted = bus.emit("topic", &1).unwrap();
    assert_eq!(
        (
            emitted.called,
            emitted.failed,
            emitted.panicked,
            emitted.skipped
        ),
        (5, 2, 1, 0)
    );
    assert_eq!(count.get(), 2);
    let failures: Vec<u32> = bus.listeners().iter().map(|info| info.failures).collect();
    assert_eq!(failures, [0, 1, 0, 1, 1]);
    bus.validate();
    assert_eq!(
        bus.emit("topic", &2).unwrap(),
        { bus.emit("topic", &2).unwrap() },
        "and it goes on"
    );
    assert_eq!(
        bus.listeners()
            .iter()
            .map(|info| info.failures)
            .sum::<u32>(),
        0
    );
    assert_eq!(bus.stats().panics, 1);
    bus.validate();
    drop((guards, more));
}

#[test]
fn panics_of_all_user_code_are_contained() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("a capture panics");
        }
    }
    let bus = builder()
        .on_removal(|_, _| panic!("a callback panics"))
        .build()
        .unwrap();
    let filtered = bus
        .listen("topic")
        .filter(|_| panic!("a filter panics"))
        .on(|_| ())
        .unwrap();
    let bomb = Bomb;
    let explosive = bus
        .on("topic", move |_| {
            let _captured = &bomb;
            panic!("a handler panics")
        })
        .unwrap();
    let emitted = bus.emit("topic", &1).unwrap();
    assert_eq!((emitted.called, emitted.panicked), (2, 2));
    explosive.detach();
    drop(filtered);
    assert_eq!(bus.stats().panics, 2 + 1 + 2);
    bus.validate();
}

#[test]
fn emit_in_32_emits_returns_recursion_limit() {
    let (bus, errors) = (bus(), Log::default());
    let (weak, reported) = (bus.downgrade(), errors.clone());
    let guard = bus.on("topic", move |_| {
        if let Err(error) = weak.upgrade().unwrap().emit("topic", &1) {
            reported.push(error);
        }
    });
    let emitted = bus.emit("topic", &1).unwrap();
    assert_eq!(emitted.called, 1);
    let errors = errors.take();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(
        errors[0].starts_with("at most 32 emits may be nested on a thread"),
        "{errors:?}"
    );
    assert_eq!(bus.stats().calls, 32);
    assert_eq!(bus.emit("topic", &1).unwrap().called, 1, "and it works on");
    drop(guard);
}

#[test]
fn panic_in_topic_hash_or_eq_keeps_the_registry_valid() {
    #[derive(Debug)]
    struct Fused(u32);
    impl std::hash::Hash for Fused {
        fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
            assert!(self.0 != 1, "hash panics");
            state.write_u32(0);
        }
    }
    impl PartialEq for Fused {
        fn eq(&self, other: &Self) -> bool {
            assert!(self.0 != 2 && other.0 != 2, "eq panics");
            self.0 == other.0
        }
    }
    impl Eq for Fused {}
    let bus = ListenerRegistry::<Fused, u32>::new();
    let kept = bus.on(Fused(3), |_| ()).unwrap();
    for bad in [1, 2] {
        assert!(catch_unwind(AssertUnwindSafe(|| bus.on(Fused(bad), |_| ()).map(drop))).is_err());
        assert!(catch_unwind(AssertUnwindSafe(|| bus.emit(&Fused(bad), &1).unwrap())).is_err());
        assert!(catch_unwind(AssertUnwindSafe(|| bus.listener_count(&Fused(bad)))).is_err());
        bus.validate();
    }
    assert_eq!(bus.emit(&Fused(3), &1).unwrap().called, 1);
    assert_eq!(bus.emit(&Fused(4), &1).unwrap(), EmitSummary::default());
    drop(kept);
    assert!(bus.is_empty());
}

#[test]
fn capture_drop_may_emit_as_deep_as_a_handler() {
    let (bus, depth, answer) = (bus(), Count::default(), later());
    let (weak, reported) = (bus.downgrade(), Arc::clone(&answer));
    let capture = OnDrop(move || {
        put(&reported, weak.upgrade().unwrap().emit("last", &1).unwrap());
    });
    let id = bus.on("other", holding(capture)).unwrap().forget();
    let weak = bus.downgrade();
    let nest = move |_: &u32| {
        let bus = weak.upgrade().unwrap();
        depth.up();
        if depth.get() == 31 {
            assert!(bus.detach(id));
        } else {
            bus.emit("topic", &1).unwrap();
        }
    };
    let nesting = bus.on("topic", nest).unwrap();
    let last = bus.on("last", |_| ()).unwrap();
    bus.emit("topic", &1).unwrap();
    let emitted = take(&answer).unwrap();
    assert_eq!(emitted.called, 1, "the 32nd emit");
    drop((nesting, last));
}

#[test]
fn calls_are_counted_for_direct_and_deferred_handlers() {
    let bus = builder().build().unwrap();
    let guards: Vec<_> = (0..5).map(|_| bus.on("topic", |_| ()).unwrap()).collect();
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
fn failure_of_a_handler_that_detaches_the_next_one_counts() {
    let bus = bus();
    let next = later();
    let detaching = Arc::clone(&next);
    bus.on("topic", move |_| {
        drop(take::<Subscription>(&detaching));
        false
    })
    .unwrap()
    .forget();
    put(&next, bus.on("topic", |_| ()).unwrap());
    let summary = bus.emit("topic", &1).unwrap();
    assert_eq!((summary.called, summary.failed, summary.skipped), (1, 1, 1));
    assert_eq!(bus.listeners()[0].failures, 1);
}

#[test]
fn listener_that_a_filter_detached_is_not_called() {
    let (bus, other, count) = (bus(), later::<Subscription>(), Count::default());
    let taken = Arc::clone(&other);
    let filtered = bus.listen("topic").filter(move |_| {
        drop(take(&taken));
        false
    });
    let first = filtered.on(|_| ()).unwrap();
    let counted = count.clone();
    put(&other, bus.on("topic", move |_| counted.up()).unwrap());
    assert_eq!(bus.emit("topic", &1).unwrap().called, 0);
    assert_eq!((count.get(), bus.len()), (0, 1));
    drop(first);
}

#[test]
fn listener_that_detached_itself_is_not_attached_in_its_call() {
    let (bus, own, answer) = (bus(), later::<Subscription>(), later());
    let (taken, reported, weak) = (Arc::clone(&own), Arc::clone(&answer), bus.downgrade());
    let guard = bus.on("topic", move |_| {
        let own: Subscription = take(&taken).unwrap();
        assert!(weak.upgrade().unwrap().detach(own.id()));
        put(&reported, own.is_attached());
    });
    put(&own, guard.unwrap());
    bus.emit("topic", &1).unwrap();
    assert_eq!(take(&answer), Some(false));
}
