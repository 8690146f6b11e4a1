//! The order and the content of calls of the removal callback.

use std::sync::Arc;

use leakproof::{CircuitBreaker, ListenerRegistry, ManualClock, WeakRegistry};

use super::helpers::{
    Bus, Count, Later, Log, MINUTE, builder, captured, holding, later, put, take,
};

#[test]
fn callback_reports_paused_and_open_breakers() {
    let log = Log::default();
    let reported = log.clone();
    let builder = builder().circuit_breaker(CircuitBreaker {
        failures: 1,
        retry_after: Some(MINUTE),
    });
    let bus = builder
        .on_removal(move |info, _| reported.push(format!("{} {}", info.paused, info.breaker_open)));
    let bus = bus.build().unwrap();
    let paused = bus.on("topic", |_| ()).unwrap();
    assert!(paused.pause());
    drop(paused);
    let failing = bus.on("topic", |_| false).unwrap();
    assert_eq!(bus.emit("topic", &1).unwrap().failed, 1);
    drop(failing);
    drop(bus.on("topic", |_| ()).unwrap());
    assert_eq!(log.take(), ["true false", "false true", "false false"]);
}

#[test]
fn callback_counts_the_call_that_detached_its_listener() {
    let calls = later();
    let reported = Arc::clone(&calls);
    let bus = builder()
        .on_removal(move |info, _| put(&reported, info.calls))
        .build()
        .unwrap();
    let (count, guard) = (Count::default(), later());
    let (counting, own) = (count.clone(), Arc::clone(&guard));
    let handler = move |&event: &u32| {
        counting.up();
        if event == 1 {
            drop(take(&own));
        }
    };
    put(&guard, bus.on("topic", handler).unwrap());
    bus.emit("topic", &1).unwrap();
    assert_eq!(take(&calls), Some(count.get() as u64));
}

#[test]
fn expired_listener_is_counted_as_expired_by_every_removal() {
    type Way = fn(&Bus, leakproof::Subscription, leakproof::Scope);
    let ways: [Way; 4] = [
        |bus, _guard, _scope| assert_eq!(bus.clear(), 5),
        |_, guard, _| assert!(guard.detach()),
        |_, _, scope| drop(scope),
        |bus, _, _| {
            bus.listen("topic").key("key").on(|_| ()).unwrap().forget();
        },
    ];
    for way in ways {
        let time = ManualClock::new();
        let bus = builder().clock(&time).build().unwrap();
        let scope = bus.scope();
        // More than a registration frees, and older.
        for _ in 0..4 {
            bus.listen("other").ttl(MINUTE).on(|_| ()).unwrap().forget();
        }
        let guard = bus
            .listen("topic")
            .key("key")
            .scope(&scope)
            .ttl(2 * MINUTE)
            .on(|_| ())
            .unwrap();
        let id = guard.id();
        time.advance(2 * MINUTE);
        assert_eq!(bus.len(), 0);
        way(&bus, guard, scope);
        assert!(!bus.detach(id), "it was removed before");
        let stats = bus.stats();
        assert_eq!(
            (stats.removed, stats.replaced, stats.scope_ended),
            (0, 0, 0)
        );
        assert!(stats.expired > 0);
    }
}

#[test]
fn callback_runs_after_a_late_registration_was_dropped() {
    let (value, is_dropped) = captured();
    let was_dropped = later();
    let reported = Arc::clone(&was_dropped);
    let bus = builder()
        .on_removal(move |_, _| put(&reported, is_dropped()))
        .build()
        .unwrap();
    let scope = bus.scope();
    let late = bus.listen("topic").scope(&scope);
    drop(scope);
    drop(late.on(move |_| drop(Arc::clone(&value))).unwrap());
    assert_eq!(take(&was_dropped), Some(true));
}

#[test]
fn callback_of_an_emit_runs_after_the_captures_were_dropped() {
    let (time, log, owner) = (ManualClock::new(), Log::default(), Arc::new(()));
    let captures = [0, 1, 2].map(Arc::new);
    let (weak, reported) = (captures.each_ref().map(Arc::downgrade), log.clone());
    let builder = ListenerRegistry::<usize, u32>::builder().clock(&time);
    let builder = builder.on_removal(move |info, cause| {
        let holders = weak[*info.topic].strong_count();
        reported.push(format!("{cause:?} {holders} {}", info.calls));
    });
    let bus = builder.build().unwrap();
    let [expired, orphaned, once] = captures.map(holding);
    bus.listen(0).ttl(MINUTE).on(expired).unwrap().forget();
    let orphan = bus.listen(1).owner(&Arc::downgrade(&owner));
    orphan.on(orphaned).unwrap().forget();
    bus.once(2, once).unwrap().forget();
    time.advance(MINUTE);
    drop(owner);
    (0..3).for_each(|topic| _ = bus.emit(&topic, &1).unwrap());
    let causes = ["Expired 0 0", "OwnerDropped 0 0", "CallLimitReached 0 1"];
    assert_eq!(log.take(), causes);
}

#[test]
fn clear_ends_if_a_callback_registers_again() {
    let weak: Later<WeakRegistry<&'static str, u32>> = later();
    let own = Arc::clone(&weak);
    let bus = builder().on_removal(move |_, _| {
        let bus = own.lock().unwrap().clone().and_then(|weak| weak.upgrade());
        if let Some(bus) = bus.filter(|bus| bus.stats().inserted < 10_000) {
            bus.on("topic", |_| ()).unwrap().forget();
        }
    });
    let bus = bus.build().unwrap();
    put(&weak, bus.downgrade());
    for _ in 0..300 {
        bus.on("topic", |_| ()).unwrap().forget();
    }
    assert_eq!((bus.clear(), bus.len()), (300, 300));
}
