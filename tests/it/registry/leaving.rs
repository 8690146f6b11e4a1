//! What is told of a listener that leaves, and what of those that came in just before.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use leakproof::{
    CircuitBreaker, ListenerRegistry, ManualClock, Overflow, RemovalCause, WeakRegistry,
};

use super::helpers::{
    Bus, Count, Later, Log, OnDrop, both, builder, bus, captured, holding, later, put, take,
};

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn the_callback_is_told_that_one_was_paused_or_silenced() {
    let told = Log::default();
    let telling = told.clone();
    let builder = builder().circuit_breaker(CircuitBreaker {
        failures: 1,
        retry_after: Some(MINUTE),
    });
    let bus = builder
        .on_removal(move |info, _| telling.push(format!("{} {}", info.paused, info.silenced)));
    let bus = bus.build().expect("sound limits");
    let paused = bus.on("topic", |_| ()).expect("room");
    assert!(paused.pause());
    drop(paused);
    let silenced = bus.on("topic", |_| false).expect("room");
    assert_eq!(bus.emit("topic", &1).unwrap().failed, 1);
    drop(silenced);
    drop(bus.on("topic", |_| ()).expect("room"));
    assert_eq!(told.take(), ["true false", "false true", "false false"]);
}

#[test]
fn one_that_detaches_itself_is_told_of_with_the_call_that_it_did_it_in() {
    both(|make_calm| {
        let calls = later();
        let telling = Arc::clone(&calls);
        let bus = builder()
            .on_removal(move |info, _| put(&telling, info.calls))
            .build()
            .expect("sound limits");
        let (count, guard) = (Count::default(), later());
        let (counting, own) = (count.clone(), Arc::clone(&guard));
        let handler = move |&event: &u32| {
            counting.up();
            if event == 1 {
                drop(take(&own));
            }
        };
        put(&guard, bus.on("topic", handler).expect("room"));
        make_calm(&bus);
        bus.emit("topic", &1).unwrap();
        assert_eq!(take(&calls), Some(count.get() as u64));
    });
}

#[test]
fn one_that_is_too_old_leaves_as_expired_whoever_comes_across_it() {
    type Way = fn(&Bus, leakproof::Subscription, leakproof::Scope);
    let ways: [Way; 4] = [
        |bus, _guard, _scope| assert_eq!(bus.clear(), 5),
        |_, guard, _| assert!(guard.detach()),
        |_, _, scope| drop(scope),
        |bus, _, _| {
            bus.listen("topic")
                .key("key")
                .on(|_| ())
                .expect("room")
                .forget();
        },
    ];
    for way in ways {
        let time = ManualClock::new();
        let bus = builder().clock(&time).build().expect("sound limits");
        let scope = bus.scope();
        // More than a registration frees, and older.
        for _ in 0..4 {
            bus.listen("other")
                .ttl(MINUTE)
                .on(|_| ())
                .expect("room")
                .forget();
        }
        let guard = bus
            .listen("topic")
            .key("key")
            .scope(&scope)
            .ttl(2 * MINUTE)
            .on(|_| ())
            .expect("room");
        let id = guard.id();
        time.advance(2 * MINUTE);
        assert_eq!(bus.len(), 0);
        way(&bus, guard, scope);
        assert!(!bus.detach(id), "it has left");
        let stats = bus.stats();
        assert_eq!(
            (stats.removed, stats.replaced, stats.scope_ended),
            (0, 0, 0)
        );
        assert!(stats.expired > 0);
    }
}

#[test]
fn promise_4_a_newcomer_that_a_callback_detaches_is_dropped_by_that() {
    let weak: Later<WeakRegistry<&'static str, u32>> = later();
    let (value, is_dropped) = captured();
    let seen = later();
    let (own, telling, is_dropped) = (Arc::clone(&weak), Arc::clone(&seen), Arc::new(is_dropped));
    let asking = Arc::clone(&is_dropped);
    let builder = Bus::builder()
        .max_per_topic(1)
        .overflow(Overflow::EvictOldest);
    let bus = builder.on_removal(move |_, cause| {
        if cause == RemovalCause::Evicted {
            let bus = own
                .lock()
                .expect("not poisoned")
                .clone()
                .and_then(|weak| weak.upgrade())
                .expect("it is there");
            put(&telling, (bus.clear(), asking()));
        }
    });
    let bus = bus.build().expect("sound limits");
    put(&weak, bus.downgrade());
    bus.on("topic", |_| ()).expect("room").forget();
    let newcomer = bus
        .on("topic", move |_| drop(Arc::clone(&value)))
        .expect("room");
    assert_eq!(take(&seen), Some((1, true)));
    assert!(!newcomer.is_attached());
}

#[test]
fn promise_8_one_that_ends_detached_is_told_of_once_it_has_been_dropped() {
    let (value, is_dropped) = captured();
    let told = later();
    let telling = Arc::clone(&told);
    let bus = builder()
        .on_removal(move |_, _| put(&telling, is_dropped()))
        .build()
        .expect("sound limits");
    let scope = bus.scope();
    let late = bus.listen("topic").scope(&scope);
    drop(scope);
    drop(
        late.on(move |_| drop(Arc::clone(&value)))
            .expect("it is detached"),
    );
    assert_eq!(take(&told), Some(true));
}

#[test]
fn promise_5_a_panic_in_the_drop_of_a_capture_a_condition_or_a_topic_does_not_come_out_of_a_registration()
 {
    let bus = bus();
    let bomb = || OnDrop(|| panic!("a capture panics when it is dropped"));
    let scope = bus.scope();
    let late = bus.listen("topic").scope(&scope);
    drop(scope);
    drop(late.on(holding(bomb())).expect("it is detached"));
    assert_eq!(bus.stats().panics, 1);

    let full = Bus::builder()
        .max_per_topic(1)
        .build()
        .expect("sound limits");
    let guard = full.on("topic", |_| ()).expect("room");
    let held = bomb();
    let filtered = full
        .listen("topic")
        .filter(move |_| std::ptr::from_ref(&held).is_aligned());
    let rejected = filtered
        .on(|&event| assert_eq!(event, 7))
        .expect_err("full");
    (rejected.handler)(&7);
    assert_eq!(full.stats().panics, 1);
    drop(guard);

    let topics = ListenerRegistry::<Panics, u32>::new();
    topics.on(Panics(false), |_| ()).expect("room").forget();
    topics.on(Panics(true), |_| ()).expect("room").forget();
    assert_eq!((topics.len(), topics.stats().panics), (2, 1));
    topics.validate();
}

/// A topic equal to any other, which may panic when it is dropped.
struct Panics(bool);

impl PartialEq for Panics {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Panics {}

impl Hash for Panics {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

impl Drop for Panics {
    fn drop(&mut self) {
        assert!(!self.0, "a topic panics when it is dropped");
    }
}

#[test]
fn clear_ends_though_a_callback_registers_again() {
    let weak: Later<WeakRegistry<&'static str, u32>> = later();
    let own = Arc::clone(&weak);
    let bus = builder().on_removal(move |_, _| {
        let bus = own
            .lock()
            .expect("not poisoned")
            .clone()
            .and_then(|weak| weak.upgrade());
        if let Some(bus) = bus.filter(|bus| bus.stats().inserted < 10_000) {
            bus.on("topic", |_| ()).expect("room").forget();
        }
    });
    let bus = bus.build().expect("sound limits");
    put(&weak, bus.downgrade());
    for _ in 0..300 {
        bus.on("topic", |_| ()).expect("room").forget();
    }
    assert_eq!((bus.clear(), bus.len()), (300, 300));
}
