//! The ten promises.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use leakproof::{DetachError, EmitSummary, ListenerRegistry, ManualClock, Subscription};

use super::helpers::{Bus, Count, Log, both, builder, bus, captured, later, put, take, timed};

const LONG: Duration = Duration::from_secs(3600);

// Promise 1: a snapshot in order.

#[test]
fn promise_1_listeners_are_called_by_priority_then_in_order_of_registration() {
    both(|make_calm| {
        let (bus, log) = (bus(), Log::default());
        let guards: Vec<_> = [("c", 0), ("a", 2), ("d", 0), ("b", 1), ("e", -1)]
            .into_iter()
            .map(|(name, priority)| {
                let log = log.clone();
                bus.listen("topic")
                    .priority(priority)
                    .on(move |_| log.push(name))
                    .expect("room")
            })
            .collect();
        make_calm(&bus);
        log.take();
        bus.emit("topic", &1).unwrap();
        assert_eq!(log.take(), ["a", "b", "c", "d", "e"]);
        drop(guards);
    });
}

#[test]
fn promise_1_listeners_added_meanwhile_wait_for_the_next_emit() {
    both(|make_calm| {
        let (bus, log, guards) = (bus(), Log::default(), Arc::new(Mutex::new(Vec::new())));
        let first = {
            let (weak, log, guards) = (bus.downgrade(), log.clone(), Arc::clone(&guards));
            bus.on("topic", move |&event| {
                log.push("first");
                // One that would come before, and one that would come after all others.
                for priority in [5, -5].into_iter().filter(|_| event == 1) {
                    let log = log.clone();
                    let bus = weak.upgrade().expect("it lives");
                    let added = bus
                        .listen("topic")
                        .priority(priority)
                        .on(move |_| log.push(priority));
                    guards
                        .lock()
                        .expect("not poisoned")
                        .push(added.expect("room"));
                }
            })
            .expect("room")
        };
        let second = {
            let log = log.clone();
            bus.on("topic", move |_| log.push("second")).expect("room")
        };
        make_calm(&bus);
        log.take();
        assert_eq!(bus.emit("topic", &1).unwrap().called, 2);
        assert_eq!(log.take(), ["first", "second"]);
        assert_eq!(bus.emit("topic", &2).unwrap().called, 4);
        assert_eq!(log.take(), ["5", "first", "second", "-5"]);
        drop((first, second));
        bus.validate();
    });
}

// Promise 2: state is checked right before each call.

#[test]
fn promise_2_one_that_is_detached_paused_or_expired_in_the_meantime_is_skipped() {
    both(|make_calm| {
        let time = ManualClock::new();
        let (bus, count) = (timed(&time), Count::default());
        let (detached, paused) = (later::<Subscription>(), later::<Subscription>());
        let first = {
            let (detached, paused, time) =
                (Arc::clone(&detached), Arc::clone(&paused), time.clone());
            bus.on("topic", move |&event| {
                if event == 1 {
                    drop(take(&detached));
                    assert!(
                        paused
                            .lock()
                            .expect("not poisoned")
                            .as_ref()
                            .expect("it is there")
                            .pause()
                    );
                    time.advance(LONG);
                }
            })
        };
        let counted = || {
            let count = count.clone();
            move |_: &u32| count.up()
        };
        put(&detached, bus.on("topic", counted()).expect("room"));
        put(&paused, bus.on("topic", counted()).expect("room"));
        let aged = bus.listen("topic").ttl(LONG).on(counted()).expect("room");
        let last = bus.on("topic", counted()).expect("room");
        make_calm(&bus);
        count.take();
        let emitted = bus.emit("topic", &1).unwrap();
        assert_eq!((emitted.called, emitted.skipped, count.take()), (2, 3, 1));
        assert!(!aged.is_attached());
        assert!(
            paused
                .lock()
                .expect("not poisoned")
                .as_ref()
                .expect("it is there")
                .resume()
        );
        assert_eq!(bus.emit("topic", &2).unwrap().called, 3);
        drop((first, last));
        bus.validate();
    });
}

#[test]
fn promise_2_detach_and_wait_waits_for_a_running_call_and_then_all_is_dropped() {
    both(|make_calm| {
        let (bus, (value, is_dropped)) = (bus(), captured());
        let (begin, begun) = std::sync::mpsc::channel();
        let (release, released) = std::sync::mpsc::channel::<()>();
        let released = Mutex::new(released);
        let guard = bus
            .on("topic", move |&event| {
                let _captured = &value;
                if event == 1 {
                    begin.send(()).expect("somebody waits");
                    let _ = released.lock().expect("not poisoned").recv();
                }
            })
            .expect("room");
        make_calm(&bus);
        let emitting = {
            let bus = bus.clone();
            std::thread::spawn(move || bus.emit("topic", &1).unwrap())
        };
        begun.recv().expect("the handler runs");
        assert!(!is_dropped());
        let waiting = std::thread::spawn(move || guard.detach_and_wait(LONG));
        while !bus.is_empty() {
            std::thread::yield_now();
        }
        assert_eq!(
            bus.emit("topic", &2).unwrap().called,
            0,
            "detached, though it runs"
        );
        assert!(!is_dropped() && !waiting.is_finished());
        release.send(()).expect("the handler waits");
        assert_eq!(waiting.join().expect("no panic"), Ok(()));
        assert!(is_dropped());
        assert_eq!(emitting.join().expect("no panic").called, 1);
    });
}

#[test]
fn promise_2_detach_and_wait_gives_up_when_its_time_is_over() {
    let (bus, hold) = (bus(), Arc::new(Mutex::new(())));
    let (begin, begun) = std::sync::mpsc::channel();
    let guard = {
        let hold = Arc::clone(&hold);
        bus.on("topic", move |_| {
            begin.send(()).expect("somebody waits");
            drop(hold.lock());
        })
    };
    let held = hold.lock().expect("not poisoned");
    let emitting = {
        let bus = bus.clone();
        std::thread::spawn(move || bus.emit("topic", &1).unwrap())
    };
    begun.recv().expect("the handler runs");
    assert_eq!(
        guard
            .expect("room")
            .detach_and_wait(Duration::from_millis(10)),
        Err(DetachError::TimedOut)
    );
    drop(held);
    emitting.join().expect("no panic");
}

#[test]
fn promise_2_detach_and_wait_errs_instead_of_deadlocking_inside_of_the_handler() {
    both(|make_calm| {
        let (bus, own, answer) = (bus(), later::<Subscription>(), Arc::new(OnceLock::new()));
        let (value, is_dropped) = captured();
        let guard = {
            let (own, answer) = (Arc::clone(&own), Arc::clone(&answer));
            bus.on("topic", move |_| {
                let _captured = &value;
                if let Some(own) = take(&own) {
                    answer.set(own.detach_and_wait(LONG)).expect("once");
                }
            })
        };
        make_calm(&bus);
        put(&own, guard.expect("room"));
        bus.emit("topic", &1).unwrap();
        assert_eq!(answer.get(), Some(&Err(DetachError::Inside)));
        assert!(is_dropped() && bus.is_empty(), "detached all the same");
    });
}

// Promise 3 is in `inside.rs`.

// Promise 4: captures are dropped at once.

#[test]
fn promise_4_what_a_handler_captured_is_dropped_when_it_is_detached() {
    both(|make_calm| {
        let (bus, (value, is_dropped)) = (bus(), captured());
        let other = bus.on("topic", |_| ());
        let guard = bus
            .on("topic", move |_| drop(Arc::clone(&value)))
            .expect("room");
        make_calm(&bus);
        assert!(guard.detach() && is_dropped());
        drop(other);
    });
}

#[test]
fn promise_4_one_that_detaches_itself_is_dropped_before_the_next_is_called() {
    both(|make_calm| {
        let (bus, own, (value, is_dropped)) = (bus(), later::<Subscription>(), captured());
        let seen = Count::default();
        let guard = {
            let own = Arc::clone(&own);
            bus.on("topic", move |_| {
                let _captured = &value;
                drop(take(&own));
            })
        };
        let next = {
            let seen = seen.clone();
            bus.on("topic", move |&event| {
                if event == 1 && is_dropped() {
                    seen.up();
                }
            })
        };
        make_calm(&bus);
        put(&own, guard.expect("room"));
        assert_eq!(bus.emit("topic", &1).unwrap().called, 2);
        assert_eq!(seen.get(), 1);
        drop(next);
    });
}

#[test]
fn captures_are_dropped_before_the_next_call_of_the_emit() {
    let (bus, other, (value, is_dropped)) = (bus(), later::<Subscription>(), captured());
    let seen = Count::default();
    let first = {
        let other = Arc::clone(&other);
        bus.on("topic", move |_| drop(take(&other)))
    };
    let guard = bus
        .on("topic", move |_| drop(Arc::clone(&value)))
        .expect("room");
    let last = {
        let seen = seen.clone();
        bus.on("topic", move |&event| {
            if event == 1 && is_dropped() {
                seen.up();
            }
        })
    };
    put(&other, guard);
    assert_eq!(bus.emit("topic", &1).unwrap().called, 2);
    assert_eq!(seen.get(), 1, "dropped before the next call");
    drop((first, last));
}

#[test]
fn captures_outlive_the_call_in_progress_on_another_thread() {
    let (bus, (value, is_dropped)) = (bus(), captured());
    let is_dropped = Arc::new(is_dropped);
    let (begin, begun) = std::sync::mpsc::channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let released = Mutex::new(released);
    let slow = bus.on("topic", move |_| {
        begin.send(()).unwrap();
        let _ = released.lock().unwrap().recv();
    });
    let guard = bus.on("topic", move |_| drop(Arc::clone(&value))).unwrap();
    let last = {
        let is_dropped = Arc::clone(&is_dropped);
        bus.on("topic", move |_| is_dropped()).unwrap()
    };
    let emitting = {
        let bus = bus.clone();
        std::thread::spawn(move || bus.emit("topic", &1).unwrap())
    };
    begun.recv().unwrap();
    guard.detach();
    assert!(!is_dropped(), "the emit holds the list");
    release.send(()).unwrap();
    let emitted = emitting.join().unwrap();
    assert_eq!((emitted.called, emitted.failed, emitted.skipped), (2, 0, 1));
    assert!(is_dropped());
    drop((slow, last));
}

// Promise 5: panics are contained.

#[test]
fn promise_5_a_panicking_handler_is_contained_counted_and_the_others_run() {
    both(|make_calm| {
        let (bus, count) = (bus(), Count::default());
        let counted = || {
            let count = count.clone();
            move |_: &u32| count.up()
        };
        let guards = [bus.on("topic", counted()).expect("room"), {
            bus.on("topic", |&event| assert!(event != 1, "a handler panics"))
                .expect("room")
        }];
        let more = [
            bus.on("topic", counted()).expect("room"),
            bus.on("topic", |&event| if event == 1 { Err(()) } else { Ok(()) })
                .expect("room"),
            bus.on("topic", |&event| event != 1).expect("room"),
        ];
        make_calm(&bus);
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
    });
}

#[test]
fn promise_5_a_handler_that_only_panics_is_one_and_filters_callbacks_and_drops_may_panic_too() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("a capture panics");
        }
    }
    let bus = builder()
        .on_removal(|_, _| panic!("a callback panics"))
        .build()
        .expect("sound limits");
    let filtered = bus
        .listen("topic")
        .filter(|_| panic!("a filter panics"))
        .on(|_| ())
        .expect("room");
    let bomb = Bomb;
    let explosive = bus
        .on("topic", move |_| {
            let _captured = &bomb;
            panic!("a handler panics")
        })
        .expect("room");
    let emitted = bus.emit("topic", &1).unwrap();
    assert_eq!((emitted.called, emitted.panicked), (2, 2));
    explosive.detach();
    drop(filtered);
    assert_eq!(bus.stats().panics, 2 + 1 + 2);
    bus.validate();
}

// Promise 6 is in `threads.rs` for threads.

#[test]
fn promise_6_times_holds_in_nested_emits() {
    both(|make_calm| {
        let (bus, count) = (bus(), Count::default());
        let other = bus.on("topic", |_| ());
        make_calm(&bus);
        let (weak, counting) = (bus.downgrade(), count.clone());
        let guard = bus.listen("topic").max_calls(3).on(move |_| {
            counting.up();
            weak.upgrade().expect("it lives").emit("topic", &1).unwrap();
        });
        bus.emit("topic", &1).unwrap();
        bus.emit("topic", &1).unwrap();
        assert_eq!(count.get(), 3);
        assert!(!guard.expect("room").is_attached());
        assert_eq!(bus.stats().call_limit_reached, 1);
        drop(other);
    });
}

#[test]
fn promise_6_the_last_call_finds_its_place_free() {
    let bus = Bus::builder()
        .max_per_topic(1)
        .build()
        .expect("sound limits");
    let (weak, count) = (bus.downgrade(), Count::default());
    fn again(bus: &Bus, weak: leakproof::WeakRegistry<&'static str, u32>, count: Count) {
        let once = bus.once("topic", move |_| {
            count.up();
            again(
                &weak.upgrade().expect("it lives"),
                weak.clone(),
                count.clone(),
            );
        });
        drop(once.expect("room"));
    }
    again(&bus, weak, count.clone());
    (0..5).for_each(|event| assert_eq!(bus.emit("topic", &event).unwrap().called, 1));
    assert_eq!((count.get(), bus.len()), (5, 1));
}

// Promise 7: keys.

#[test]
fn promise_7_replacing_a_key_is_one_step_and_needs_no_free_place() {
    both(|make_calm| {
        let bus = Bus::builder()
            .max_listeners(2)
            .max_per_topic(2)
            .build()
            .expect("sound limits");
        let count = Count::default();
        let (old, is_dropped) = captured();
        let stale = bus
            .listen("topic")
            .key("save")
            .on(move |_| drop(Arc::clone(&old)))
            .expect("room");
        let other = bus.on("topic", |_| ());
        make_calm(&bus);
        let counting = count.clone();
        let new = bus
            .listen("topic")
            .key("save")
            .on(move |_| counting.up())
            .expect("it takes the place");
        assert!(is_dropped() && !stale.is_attached());
        assert_eq!((bus.len(), bus.stats().replaced), (2, 1));
        assert!(
            !stale.pause() && !stale.detach(),
            "the stale guard is powerless"
        );
        assert!(new.is_attached());
        bus.emit("topic", &1).unwrap();
        assert_eq!(count.get(), 1);
        let elsewhere = bus.listen("elsewhere").key("save").on(|_| ());
        assert!(elsewhere.is_err(), "keys are those of a topic");
        drop((other, new));
    });
}

// Promise 8: scopes. `threads.rs` and the loom models have the race.

#[test]
fn promise_8_a_registration_after_the_end_of_its_scope_ends_detached() {
    let told = Log::default();
    let telling = told.clone();
    let bus = builder()
        .on_removal(move |_, cause| telling.push(cause))
        .build()
        .expect("sound limits");
    let connection = bus.scope();
    let late = bus.listen("topic").scope(&connection);
    connection.renew();
    let (value, is_dropped) = captured();
    let guard = late
        .on(move |_| drop(Arc::clone(&value)))
        .expect("no limit is in the way");
    assert!(!guard.is_attached() && is_dropped() && bus.is_empty());
    assert_eq!(told.take(), ["scope ended"]);
    assert_eq!((bus.stats().inserted, bus.stats().scope_ended), (1, 1));
    bus.validate();
}

// Promise 9 is in `limits.rs`, and under concurrency in `threads.rs`.

// Promise 10: guards are weak, and recursion ends.

#[test]
fn promise_10_guards_and_scopes_do_not_keep_a_registry_alive() {
    let (bus, (value, is_dropped)) = (bus(), captured());
    let (guard, scope, weak) = (
        bus.on("topic", move |_| drop(Arc::clone(&value))),
        bus.scope(),
        bus.downgrade(),
    );
    let guard = guard.expect("room");
    drop(bus);
    assert!(is_dropped() && weak.upgrade().is_none());
    assert!(!guard.is_attached() && !guard.pause() && !guard.resume());
    assert_eq!(scope.detach_all(), 0);
    scope.renew();
    assert!(!guard.detach());
}

#[test]
fn promise_10_runaway_recursion_ends_with_a_reported_error() {
    let (bus, errors) = (bus(), Log::default());
    let (weak, telling) = (bus.downgrade(), errors.clone());
    let guard = bus.on("topic", move |_| {
        if let Err(error) = weak.upgrade().expect("it lives").emit("topic", &1) {
            telling.push(error);
        }
    });
    let emitted = bus.emit("topic", &1).unwrap();
    assert_eq!(emitted.called, 1);
    let told = errors.take();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].starts_with("at most 32 emits may be nested on a thread"),
        "{told:?}"
    );
    assert_eq!(bus.stats().calls, 32);
    assert_eq!(bus.emit("topic", &1).unwrap().called, 1, "and it works on");
    drop(guard);
}

#[test]
fn a_panic_in_hash_or_eq_of_a_topic_leaves_the_registry_consistent() {
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
    let kept = bus.on(Fused(3), |_| ()).expect("room");
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
