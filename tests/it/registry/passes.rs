//! Emits that go straight through a list, in particular a long one, which they call in pieces: whatever happens at whichever
//! place, each listener is called as it is on a short list.

use std::sync::{Arc, Mutex};

use leakproof::{ListenerRegistry, Scope, Subscription};

use super::helpers::{Bus, Count, Log, both, bus, calm, later, put, take};

/// Long enough for pieces, the last of which is not a whole one.
const MANY: usize = 333;
/// The first and last ones, those around the ends of pieces, and two in a row.
const PLACES: [usize; 10] = [0, 1, 31, 32, 33, 63, 64, 319, 320, MANY - 1];

/// Emits for which nothing happens come before those that matter.
const QUIET: u32 = 0;

fn numbers(from: usize) -> Vec<String> {
    (from..MANY).map(|number| number.to_string()).collect()
}

/// A calm topic with many listeners that log their number and then do as `act` says.
fn many(
    log: &Log,
    act: impl Fn(&Bus, usize) -> bool + Send + Sync + 'static,
) -> (Bus, Vec<Subscription>) {
    let (bus, act) = (bus(), Arc::new(act));
    let guards = (0..MANY).map(|number| {
        let (log, act, weak) = (log.clone(), Arc::clone(&act), bus.downgrade());
        let handler = move |&event: &u32| {
            if event == QUIET {
                return true;
            }
            log.push(number);
            act(&weak.upgrade().expect("it emits"), number)
        };
        bus.on("topic", handler).expect("room")
    });
    let guards = guards.collect();
    calm(&bus, "topic");
    (bus, guards)
}

#[test]
fn promise_5_on_a_long_list_those_that_fail_or_panic_are_counted_and_the_others_run() {
    let log = Log::default();
    let (bus, guards) = many(&log, |_, number| {
        assert!(!PLACES[..5].contains(&number), "a handler that panics");
        !PLACES[5..].contains(&number)
    });
    for _ in 0..2 {
        let emitted = bus.emit("topic", &1).unwrap();
        assert_eq!(
            (
                emitted.called,
                emitted.failed,
                emitted.panicked,
                emitted.skipped
            ),
            (MANY, 5, 5, 0)
        );
        assert_eq!(log.take(), numbers(0));
    }
    let infos = bus.listeners();
    assert!(infos.iter().all(|info| info.calls == 102));
    let failing = infos
        .iter()
        .enumerate()
        .filter(|(_, info)| info.failures == 2)
        .map(|(place, _)| place);
    assert_eq!(failing.collect::<Vec<_>>(), PLACES);
    assert_eq!(bus.stats().calls, 102 * MANY as u64);
    bus.validate();
    drop(guards);
}

#[test]
fn promise_2_on_a_long_list_one_that_is_detached_meanwhile_is_skipped() {
    for place in PLACES {
        let (log, guards) = (Log::default(), Arc::new(Mutex::new(Vec::new())));
        let shared = Arc::clone(&guards);
        let (bus, all) = many(&log, move |_, number| {
            // Itself, and the next one.
            if number == place {
                shared
                    .lock()
                    .expect("no panic")
                    .drain(place..MANY.min(place + 2))
                    .for_each(drop);
            }
            true
        });
        guards.lock().expect("no panic").extend(all);
        let emitted = bus.emit("topic", &1).unwrap();
        let left: Vec<_> = numbers(0)
            .into_iter()
            .filter(|number| *number != (place + 1).to_string())
            .collect();
        assert_eq!(log.take(), left, "after {place}");
        assert_eq!(
            (emitted.called, emitted.called + emitted.skipped),
            (left.len(), MANY)
        );
        assert!(bus.listeners().iter().all(|info| info.calls == 101));
        bus.validate();
    }
}

#[test]
fn promise_1_on_a_long_list_listeners_added_meanwhile_wait_for_the_next_emit() {
    for place in PLACES {
        let (log, added) = (Log::default(), Log::default());
        let adding = added.clone();
        let (bus, guards) = many(&log, move |bus, number| {
            if number == place {
                let added = adding.clone();
                bus.listen("topic")
                    .priority(-1)
                    .on(move |_| added.push("added"))
                    .expect("room")
                    .forget();
            }
            true
        });
        assert_eq!(bus.emit("topic", &1).unwrap().called, MANY);
        assert_eq!((log.take(), added.take().len()), (numbers(0), 0));
        assert_eq!(bus.emit("topic", &1).unwrap().called, MANY + 1);
        assert_eq!((log.take(), added.take().len()), (numbers(0), 1));
        let calls: Vec<_> = bus.listeners().iter().map(|info| info.calls).collect();
        assert_eq!((calls.len(), &calls[MANY..]), (MANY + 2, &[1, 0][..]));
        assert!(calls[..MANY].iter().all(|&calls| calls == 102));
        bus.validate();
        drop(guards);
    }
}

#[test]
fn topics_whose_hashes_are_equal_are_told_apart() {
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
        bus.on(Same(topic), move |_| log.push(topic)).expect("room")
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
fn promise_8_once_its_generation_has_ended_an_emit_calls_nobody_more() {
    both(|make_calm| {
        for behind in [0, 1, 3] {
            let (bus, scope, count) = (bus(), later(), Count::default());
            let own = Arc::clone(&scope);
            let ends = move |&event: &u32| {
                if event == 1 {
                    drop::<Option<Scope>>(take(&own));
                }
            };
            bus.on("topic", ends).expect("room").forget();
            for _ in 0..behind {
                let count = count.clone();
                bus.on("topic", move |_| count.up()).expect("room").forget();
            }
            // One about which the table is asked.
            let paused = bus.on("topic", |_| ()).expect("room");
            paused.pause();
            let opened = bus.scope();
            let generation = opened.generation();
            put(&scope, opened);
            make_calm(&bus);
            count.take();
            assert_eq!(bus.emit_to(&generation, "topic", &1).unwrap().called, 1);
            assert_eq!(count.get(), 0);
        }
    });
}

#[test]
fn promise_2_one_whose_owner_its_filter_drops_is_not_called() {
    both(|make_calm| {
        let (bus, owner) = (bus(), Arc::new(()));
        let (weak, own) = (Arc::downgrade(&owner), later());
        put(&own, owner);
        let filter = move |&event: &u32| {
            if event == 1 {
                drop::<Option<Arc<()>>>(take(&own));
            }
            true
        };
        bus.listen("topic")
            .owner(&weak)
            .filter(filter)
            .on(|_| ())
            .expect("room")
            .forget();
        make_calm(&bus);
        assert_eq!(
            (
                bus.emit("topic", &1).unwrap().called,
                bus.len(),
                bus.stats().owner_dropped
            ),
            (0, 0, 1)
        );
    });
}
