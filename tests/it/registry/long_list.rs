//! Emits to a list of many listeners, in which something happens at each of several indices.

use std::sync::{Arc, Mutex};

use leakproof::Subscription;

use super::helpers::{Bus, Log, bus};

const MANY: usize = 333;

/// The first and the last index, and several in a row.
const INDICES: [usize; 10] = [0, 1, 31, 32, 33, 63, 64, 319, 320, MANY - 1];

fn numbers(from: usize) -> Vec<String> {
    (from..MANY).map(|number| number.to_string()).collect()
}

/// Registers many listeners that log their number and then return the result of `act`.
fn many(
    log: &Log,
    act: impl Fn(&Bus, usize) -> bool + Send + Sync + 'static,
) -> (Bus, Vec<Subscription>) {
    let (bus, act) = (bus(), Arc::new(act));
    let guards = (0..MANY).map(|number| {
        let (log, act, weak) = (log.clone(), Arc::clone(&act), bus.downgrade());
        let handler = move |_: &u32| {
            log.push(number);
            act(&weak.upgrade().unwrap(), number)
        };
        bus.on("topic", handler).unwrap()
    });
    let guards = guards.collect();
    (bus, guards)
}

#[test]
fn failures_at_any_index_are_counted_and_the_others_run() {
    let log = Log::default();
    let (bus, guards) = many(&log, |_, number| {
        assert!(!INDICES[..5].contains(&number), "a handler that panics");
        !INDICES[5..].contains(&number)
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
    assert!(infos.iter().all(|info| info.calls == 2));
    let failing = infos
        .iter()
        .enumerate()
        .filter(|(_, info)| info.failures == 2)
        .map(|(place, _)| place);
    assert_eq!(failing.collect::<Vec<_>>(), INDICES);
    assert_eq!(bus.stats().calls, 2 * MANY as u64);
    bus.validate();
    drop(guards);
}

#[test]
fn listener_detached_at_any_index_is_skipped() {
    for place in INDICES {
        let (log, guards) = (Log::default(), Arc::new(Mutex::new(Vec::new())));
        let shared = Arc::clone(&guards);
        let (bus, all) = many(&log, move |_, number| {
            // Detaches itself and the next listener.
            if number == place {
                shared
                    .lock()
                    .unwrap()
                    .drain(place..MANY.min(place + 2))
                    .for_each(drop);
            }
            true
        });
        guards.lock().unwrap().extend(all);
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
        assert!(bus.listeners().iter().all(|info| info.calls == 1));
        bus.validate();
    }
}

#[test]
fn listener_added_at_any_index_waits_for_the_next_emit() {
    for place in INDICES {
        let (log, added) = (Log::default(), Log::default());
        let adding = added.clone();
        let (bus, guards) = many(&log, move |bus, number| {
            if number == place {
                let added = adding.clone();
                bus.listen("topic")
                    .priority(-1)
                    .on(move |_| added.push("added"))
                    .unwrap()
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
        assert!(calls[..MANY].iter().all(|&calls| calls == 2));
        bus.validate();
        drop(guards);
    }
}
