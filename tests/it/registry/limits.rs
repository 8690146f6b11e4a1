//! The bounds: what makes room, and the error of a rejected registration.

use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use leakproof::{
    BuildError, CircuitBreaker, Limit, ManualClock, Overflow, RegistryBuilder, Subscription, Watch,
};

use super::helpers::{Bus, Count, HOUR, Log, MINUTE, captured};

#[test]
fn rejection_names_the_caller_of_every_method() {
    let bus = Bus::builder().max_per_topic(1).build().unwrap();
    let line = Location::caller().line() + 1;
    let guard = bus.listen("topic").label("here").on(|_| ()).unwrap();
    let rejected = bus.on("topic", |_| ()).unwrap_err();
    assert_eq!(rejected.locations().len(), 1);
    assert_eq!(
        (
            rejected.locations()[0].0.file(),
            rejected.locations()[0].0.line()
        ),
        (file!(), line)
    );
    drop(guard);
}

fn tight() -> RegistryBuilder<&'static str, u32> {
    Bus::builder().max_listeners(3).max_per_topic(2)
}

#[test]
fn rejection_returns_the_handler_and_names_locations() {
    let bus = tight().build().unwrap();
    let on = |topic| bus.on(topic, |_: &u32| ());
    let guards = [on("a").unwrap(), on("a").unwrap()];
    let (value, is_dropped) = captured();
    let rejected = bus.on("a", move |_| drop(Arc::clone(&value))).unwrap_err();
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

    let third = on("b").unwrap();
    let rejected = on("c").unwrap_err();
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
fn dead_and_expired_listeners_make_room() {
    let time = ManualClock::new();
    let bus = tight().clock(&time).build().unwrap();
    let owner = Arc::new(());
    let (value, is_dropped) = captured();
    bus.listen("a")
        .ttl(HOUR)
        .on(move |_| drop(Arc::clone(&value)))
        .unwrap()
        .forget();
    bus.listen("a")
        .owner(&Arc::downgrade(&owner))
        .on(|_| ())
        .unwrap()
        .forget();
    assert!(bus.on("a", |_| ()).is_err());
    time.advance(HOUR);
    let first = bus.on("a", |_| ()).unwrap();
    assert!(is_dropped());
    assert!(bus.on("a", |_| ()).is_err());
    drop(owner);
    let second = bus.on("a", |_| ()).unwrap();
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
fn evict_oldest_makes_room() {
    let bus = tight().overflow(Overflow::EvictOldest).build().unwrap();
    let count = Count::default();
    let guards: Vec<_> = ["a", "b", "a", "a", "c"]
        .into_iter()
        .map(|topic| {
            let count = count.clone();
            bus.on(topic, move |_| count.up()).unwrap()
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
fn zero_limits_are_refused() {
    let bus = tight().build().unwrap();
    let never = bus.listen("a").max_calls(0).on(|_| ()).unwrap_err();
    assert_eq!(
        (never.limit(), never.to_string().as_str()),
        (Limit::Zero, "`max_calls` must be above zero")
    );
    assert_eq!(
        bus.listen("a")
            .ttl(Duration::ZERO)
            .on(|_| ())
            .unwrap_err()
            .limit(),
        Limit::Zero
    );
    let refused =
        |builder: RegistryBuilder<&'static str, u32>| builder.build().map(drop).unwrap_err();
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
fn default_bounds_are_10_per_topic_and_1000_in_total() {
    let bus = Bus::new();
    let topics: Vec<String> = (0..101).map(|topic| topic.to_string()).collect();
    let bus_of_strings = leakproof::ListenerRegistry::<String, u32>::default();
    for topic in &topics[..100] {
        for _ in 0..10 {
            bus_of_strings.on(topic.clone(), |_| ()).unwrap().forget();
        }
        assert!(bus_of_strings.on(topic.clone(), |_| ()).is_err());
    }
    assert_eq!(
        bus_of_strings
            .on(topics[100].clone(), |_| ())
            .unwrap_err()
            .limit(),
        Limit::MaxListeners
    );
    assert!(bus.is_empty());
}

#[test]
fn full_sweep_checks_every_owner() {
    let bus = Bus::builder().max_per_topic(20).build().unwrap();
    let mut owners: Vec<Arc<()>> = (0..20).map(|_| Arc::new(())).collect();
    for owner in &owners {
        bus.listen("topic")
            .owner(&Arc::downgrade(owner))
            .on(|_| ())
            .unwrap()
            .forget();
    }
    let shared = bus.downgrade_to_sweep().upgrade().unwrap();
    assert!(shared.sweep_some(10).more);
    owners.remove(0);
    assert_eq!((bus.sweep(), bus.len()), (1, 19));
}

#[test]
fn sweep_in_pieces_reaches_every_owner() {
    let bus = Bus::builder().max_per_topic(20).build().unwrap();
    let mut owners: Vec<Arc<()>> = (0..20).map(|_| Arc::new(())).collect();
    for owner in &owners {
        let listen = bus.listen("topic").owner(&Arc::downgrade(owner));
        listen.on(|_| ()).unwrap().forget();
    }
    owners.pop();
    let shared = bus.downgrade_to_sweep().upgrade().unwrap();
    let freed: usize = (0..4).map(|_| shared.sweep_some(6).freed).sum();
    assert_eq!((freed, bus.len()), (1, 19));
}

#[test]
fn full_sweep_removes_more_than_one_piece() {
    let time = ManualClock::new();
    let bus = Bus::builder().max_per_topic(1_000).clock(&time);
    let bus = bus.build().unwrap();
    for _ in 0..1_000 {
        bus.listen("topic").ttl(HOUR).on(|_| ()).unwrap().forget();
    }
    time.advance(HOUR);
    assert_eq!(bus.sweep(), 1_000);
}

#[test]
fn rejection_lists_the_most_frequent_location_first() {
    let bus = Bus::builder().max_per_topic(4).build().unwrap();
    bus.on("topic", |_| ()).unwrap().forget();
    for _ in 0..3 {
        bus.on("topic", |_| ()).unwrap().forget();
    }
    let rejected = bus.on("topic", |_| ()).unwrap_err();
    let counts = rejected.locations().iter().map(|&(_, count)| count);
    assert_eq!(counts.collect::<Vec<_>>(), [3, 1]);
}

#[test]
fn rejection_reports_the_expired_listeners_that_it_removed() {
    let (time, log) = (ManualClock::new(), Log::default());
    let reported = log.clone();
    let builder = Bus::builder().max_per_topic(1).clock(&time);
    let builder = builder.on_removal(move |_, cause| reported.push(cause));
    let bus = builder.build().unwrap();
    let present = bus.on("topic", |_| ()).unwrap();
    let expiring = bus.listen("other").ttl(MINUTE).on(|_| ()).unwrap();
    time.advance(MINUTE);
    assert!(bus.on("topic", |_| ()).is_err());
    assert_eq!(log.take(), ["expired"]);
    drop((present, expiring));
}
