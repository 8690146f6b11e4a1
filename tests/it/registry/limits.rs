//! Promise 9: limits, what is reclaimed before they reject, and what a rejection says. Under concurrency in `threads.rs`.

use std::sync::Arc;
use std::time::Duration;

use leakproof::{
    BuildError, CircuitBreaker, Limit, ManualClock, Overflow, RegistryBuilder, Subscription, Watch,
};

use super::helpers::{Bus, Count, captured};

const HOUR: Duration = Duration::from_secs(3600);

fn tight() -> RegistryBuilder<&'static str, u32> {
    Bus::builder().max_listeners(3).max_per_topic(2)
}

#[test]
fn promise_9_a_rejection_gives_the_handler_back_and_says_which_limit_how_many_and_where() {
    let bus = tight().build().expect("sound limits");
    let on = |topic| bus.on(topic, |_: &u32| ());
    let guards = [on("a").expect("room"), on("a").expect("room")];
    let (value, is_dropped) = captured();
    let rejected = bus
        .on("a", move |_| drop(Arc::clone(&value)))
        .expect_err("two on a topic");
    assert_eq!(
        (rejected.limit(), rejected.max(), rejected.locations().len()),
        (Limit::MaxPerTopic, 2, 1)
    );
    let text = rejected.to_string();
    assert!(
        text.starts_with("`max_per_topic` is reached: 2 listeners are present, registered at "),
        "{text}"
    );
    assert!(
        text.contains("limits.rs:") && text.contains(" (2 times); register with a `key` "),
        "{text}"
    );
    (rejected.handler)(&1);
    assert!(!is_dropped());
    drop(rejected);
    assert!(is_dropped());

    let third = on("b").expect("room");
    let rejected = on("c").expect_err("three in all");
    assert_eq!((rejected.limit(), rejected.max()), (Limit::MaxListeners, 3));
    assert_eq!(
        (bus.len(), bus.listener_count("a"), bus.stats().rejected),
        (3, 2, 2)
    );
    bus.validate();
    drop((guards, third));
    assert!(on("c").is_ok());
}

#[test]
fn promise_9_dead_and_expired_listeners_are_reclaimed_before_a_rejection() {
    let time = ManualClock::new();
    let bus = tight().clock(&time).build().expect("sound limits");
    let owner = Arc::new(());
    let (value, is_dropped) = captured();
    bus.listen("a")
        .ttl(HOUR)
        .on(move |_| drop(Arc::clone(&value)))
        .expect("room")
        .forget();
    bus.listen("a")
        .owner(&Arc::downgrade(&owner))
        .on(|_| ())
        .expect("room")
        .forget();
    assert!(bus.on("a", |_| ()).is_err());
    time.advance(HOUR);
    let first = bus.on("a", |_| ()).expect("the old one makes room");
    assert!(is_dropped());
    assert!(bus.on("a", |_| ()).is_err());
    drop(owner);
    let second = bus.on("a", |_| ()).expect("the orphan makes room");
    let stats = bus.stats();
    assert_eq!(
        (
            stats.len,
            stats.expired,
            stats.owner_dropped,
            stats.rejected
        ),
        (2, 1, 1, 2)
    );
    drop((first, second));
}

#[test]
fn the_oldest_makes_room_where_that_is_asked_for() {
    let bus = tight()
        .overflow(Overflow::EvictOldest)
        .build()
        .expect("sound limits");
    let count = Count::default();
    let guards: Vec<_> = ["a", "b", "a", "a", "c"]
        .into_iter()
        .map(|topic| {
            let count = count.clone();
            bus.on(topic, move |_| count.up())
                .expect("there is always room")
        })
        .collect();
    let attached: Vec<bool> = guards.iter().map(Subscription::is_attached).collect();
    // The first `a` went for the third, as the oldest of its topic; then `b`, as the oldest of all.
    assert_eq!(attached, [false, false, true, true, true]);
    assert_eq!(
        (bus.stats().evicted, bus.len(), bus.stats().high_water),
        (2, 3, 3)
    );
    assert_eq!(bus.emit("a", &1).unwrap().called, 2);
    bus.validate();
}

#[test]
fn zero_is_judged_when_registering_and_when_building() {
    let bus = tight().build().expect("sound limits");
    let never = bus
        .listen("a")
        .max_calls(0)
        .on(|_| ())
        .expect_err("no times");
    assert_eq!(
        (never.limit(), never.to_string().as_str()),
        (Limit::Zero, "`max_calls` must be above zero")
    );
    assert_eq!(
        bus.listen("a")
            .ttl(Duration::ZERO)
            .on(|_| ())
            .expect_err("no time")
            .limit(),
        Limit::Zero
    );
    let refused = |builder: RegistryBuilder<&'static str, u32>| {
        builder.build().map(drop).expect_err("unsound")
    };
    assert_eq!(
        refused(tight().max_listeners(0)),
        BuildError::Zero {
            limit: "max_listeners"
        }
    );
    assert_eq!(
        refused(tight().max_per_topic(0)),
        BuildError::Zero {
            limit: "max_per_topic"
        }
    );
    assert_eq!(
        refused(tight().ttl(Duration::ZERO)),
        BuildError::Zero { limit: "ttl" }
    );
    assert_eq!(
        refused(tight().sweep_every(Duration::ZERO)),
        BuildError::Zero {
            limit: "sweep_every"
        }
    );
    let breaker = |failures, retry_after| {
        refused(tight().circuit_breaker(CircuitBreaker {
            failures,
            retry_after,
        }))
    };
    assert_eq!(
        breaker(0, None),
        BuildError::Zero {
            limit: "circuit_breaker.failures"
        }
    );
    assert_eq!(
        breaker(1, Some(Duration::ZERO)),
        BuildError::Zero {
            limit: "circuit_breaker.retry_after"
        }
    );
    assert!(matches!(
        refused(tight().max_listeners(usize::MAX)),
        BuildError::TooLarge { .. }
    ));
}

#[test]
fn by_default_a_topic_has_ten_and_a_registry_a_thousand() {
    let bus = Bus::new();
    let topics: Vec<String> = (0..101).map(|topic| topic.to_string()).collect();
    let bus_of_strings = leakproof::ListenerRegistry::<String, u32>::default();
    for topic in &topics[..100] {
        for _ in 0..10 {
            bus_of_strings
                .on(topic.clone(), |_| ())
                .expect("room")
                .forget();
        }
        assert!(bus_of_strings.on(topic.clone(), |_| ()).is_err());
    }
    assert_eq!(
        bus_of_strings
            .on(topics[100].clone(), |_| ())
            .expect_err("full")
            .limit(),
        Limit::MaxListeners
    );
    assert!(bus.is_empty());
}

#[test]
fn a_sweep_looks_at_every_owner_wherever_pieces_of_sweeps_have_come_to() {
    let bus = Bus::builder()
        .max_per_topic(20)
        .build()
        .expect("sound limits");
    let mut owners: Vec<Arc<()>> = (0..20).map(|_| Arc::new(())).collect();
    for owner in &owners {
        bus.listen("topic")
            .owner(&Arc::downgrade(owner))
            .on(|_| ())
            .expect("room")
            .forget();
    }
    let shared = bus.downgrade_to_sweep().upgrade().expect("alive");
    assert!(shared.sweep_some(10).more);
    owners.remove(0);
    assert_eq!((bus.sweep(), bus.len()), (1, 19));
}
