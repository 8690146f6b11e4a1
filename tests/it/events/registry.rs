//! Events of a registry: rejections and circuit breakers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use leakproof::{
    CircuitBreaker, DedupSet, ListenerRegistry, LruCache, ManualClock, Rejected, Subscription,
};
use tracing::Level;
use tracing::subscriber::with_default;

use super::tracing_capture::{Captured, OnEvent, events_of};

type Bus = ListenerRegistry<&'static str, u32>;

const MINUTE: Duration = Duration::from_secs(60);

/// Returns a registry with room for two listeners on a topic and three in all.
fn small() -> Bus {
    Bus::builder()
        .max_per_topic(2)
        .max_listeners(3)
        .build()
        .expect("valid options")
}

/// The line of the registration in `register`.
const REGISTERED: u32 = line!() + 3;

fn register(bus: &Bus, topic: &'static str) -> Result<Subscription, Rejected<fn(&u32)>> {
    bus.on(topic, (|_: &u32| ()) as fn(&u32))
}

fn full(bus: &Bus, topic: &'static str) -> Vec<Subscription> {
    (0..2)
        .map(|_| register(bus, topic).expect("below the bounds"))
        .collect()
}

fn with_breaker(retry_after: Option<Duration>, time: &ManualClock) -> Bus {
    Bus::builder()
        .circuit_breaker(CircuitBreaker {
            failures: 3,
            retry_after,
        })
        .clock(time)
        .build()
        .expect("valid options")
}

#[test]
fn rejected_event_has_limit_location_and_present_listeners() {
    let bus = small();
    let _present = full(&bus, "a");
    let line = line!() + 1;
    let told = events_of(|| drop(bus.on("a", |_| ())));
    assert_eq!(told.len(), 1, "{told:?}");
    let told = &told[0];
    assert_eq!(
        (told.level, &*told.target),
        (Level::WARN, "leakproof::rejected")
    );
    assert_eq!(
        (told.field("limit"), told.field("max")),
        ("max_per_topic", "2")
    );
    assert!(
        told.field("location")
            .contains(&format!("registry.rs:{line}:")),
        "{told:?}"
    );
    let places = told.field("places");
    assert!(
        places.contains(&format!("registry.rs:{REGISTERED}:")) && places.ends_with("(2 times)"),
        "{told:?}"
    );
}

#[test]
fn storm_of_rejections_emits_one_event_until_there_is_room() {
    let bus = small();
    let mut present = full(&bus, "a");
    let storm =
        || events_of(|| (0..1_000).for_each(|_| assert!(register(&bus, "a").is_err()))).len();
    assert_eq!(storm(), 1);
    assert_eq!(storm(), 0);
    // A detached listener alone changes nothing; the next registration that succeeds does.
    present.pop();
    assert_eq!(events_of(|| present.extend(register(&bus, "a").ok())), []);
    assert_eq!(present.len(), 2);
    assert_eq!(storm(), 1);
    assert_eq!(storm(), 0);
}

#[test]
fn replacing_a_listener_does_not_count_as_room() {
    let bus = small();
    let _present = full(&bus, "a");
    assert!(register(&bus, "a").is_err());
    bus.clear();
    let keyed = || bus.listen("a").key("same").on(|_| ());
    let _first = keyed().expect("below the bounds");
    let _second = register(&bus, "a").expect("below the bounds");
    let told = events_of(|| {
        for _ in 0..100 {
            assert!(register(&bus, "a").is_err());
            keyed().expect("it needs no room").forget();
        }
    });
    assert_eq!(told.len(), 1, "{told:?}");
}

#[test]
fn each_topic_and_the_registry_emit_their_own_event() {
    let bus = small();
    let _a = full(&bus, "a");
    let b = register(&bus, "b").expect("below the bounds");
    let limits = |topic: &'static str| {
        let told = events_of(|| (0..100).for_each(|_| assert!(register(&bus, topic).is_err())));
        told.iter()
            .map(|told| told.field("limit").to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(limits("a"), ["max_per_topic"]);
    assert_eq!(limits("b"), ["max_listeners"]);
    assert_eq!(
        limits("c"),
        [""; 0],
        "the bound on all listeners was reported before"
    );
    assert_eq!(limits("a"), [""; 0]);
    drop(b);
    let _c = register(&bus, "c").expect("below the bounds");
    assert_eq!(limits("b"), ["max_listeners"], "there was room since");
}

#[test]
fn breaker_event_on_open_and_on_successful_probe() {
    let time = ManualClock::new();
    let bus = with_breaker(Some(MINUTE), &time);
    let fails = Arc::new(AtomicBool::new(true));
    let outcome = Arc::clone(&fails);
    let listen = bus.listen("a").label("audit").key("save");
    let line = line!() + 2;
    listen
        .on(move |_| !outcome.load(Ordering::SeqCst))
        .expect("below the bounds")
        .forget();
    let emit = || events_of(|| _ = bus.emit("a", &7).unwrap());

    // Two failures and a success do not open the breaker.
    for failing in [true, true, false, true, true] {
        fails.store(failing, Ordering::SeqCst);
        assert_eq!(emit(), []);
    }
    let told = emit();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(
        (told[0].level, &*told[0].target),
        (Level::WARN, "leakproof::breaker")
    );
    assert_eq!(
        (told[0].field("state"), told[0].field("failures")),
        ("open", "3")
    );
    assert_eq!(
        (told[0].field("label"), told[0].field("key")),
        ("audit", "save")
    );
    assert!(
        told[0]
            .field("location")
            .contains(&format!("registry.rs:{line}:")),
        "{told:?}"
    );

    // There are no events while the breaker is open, nor for failed probes.
    for _ in 0..100 {
        assert_eq!(emit(), []);
        time.advance(MINUTE / 2);
    }
    fails.store(false, Ordering::SeqCst);
    time.advance(MINUTE);
    let told = emit();
    assert_eq!(
        (
            told[0].level,
            told[0].field("state"),
            told[0].field("failures")
        ),
        (Level::INFO, "closed", "")
    );
    assert_eq!(emit(), []);
}

#[test]
fn breaker_event_on_detach() {
    let bus = with_breaker(None, &ManualClock::new());
    bus.listen("a")
        .on(|_| false)
        .expect("below the bounds")
        .forget();
    let told = events_of(|| (0..10).for_each(|_| _ = bus.emit("a", &7).unwrap()));
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(
        (told[0].field("state"), told[0].field("failures")),
        ("detached", "3")
    );
    assert_eq!((told[0].field("label"), told[0].level), ("", Level::WARN));
    assert!(bus.is_empty());
}

#[test]
fn successful_calls_emit_no_event() {
    let (seen, cache) = (
        DedupSet::<str>::new(10, MINUTE),
        LruCache::<u32, u32>::new(10, MINUTE),
    );
    let bus = with_breaker(None, &ManualClock::new());
    let told = events_of(|| {
        let _guard = bus.on("a", |_| ()).expect("below the bounds");
        for number in 0..1_000 {
            seen.insert(&number.to_string());
            cache.insert(number, number);
            cache.get(&number);
            assert_eq!(bus.emit("a", &number).unwrap().called, 1);
        }
    });
    assert_eq!(told, []);
}

#[test]
fn subscriber_panic_is_counted_and_registry_stays_valid() {
    let time = ManualClock::new();
    let bus = Bus::builder()
        .max_per_topic(1)
        .circuit_breaker(CircuitBreaker {
            failures: 1,
            retry_after: Some(MINUTE),
        });
    let bus = bus.clock(&time).build().expect("valid options");
    let panics = |_: Captured| panic!("the log is full");
    with_default(OnEvent(panics), || {
        bus.on("a", |_| false).expect("below the bounds").forget();
        let token = Arc::new(());
        let held = Arc::clone(&token);
        let rejected = bus
            .on("a", move |_| assert_eq!(Arc::strong_count(&held), 2))
            .expect_err("there is no room");
        (rejected.handler)(&7);
        assert_eq!((bus.len(), bus.stats().panics), (1, 1));
        bus.validate();
        let outcome = bus.emit("a", &7).unwrap();
        assert_eq!(
            (outcome.called, outcome.failed, outcome.panicked),
            (1, 1, 0)
        );
        assert_eq!((bus.stats().open_breakers, bus.stats().panics), (1, 2));
        bus.validate();
    });
    time.advance(MINUTE);
    assert_eq!(bus.emit("a", &7).unwrap().called, 1, "the probe");
}

#[test]
fn subscriber_may_use_the_registry() {
    // With a lock held, this would deadlock.
    let time = ManualClock::new();
    let bus = Bus::builder()
        .max_per_topic(1)
        .circuit_breaker(CircuitBreaker {
            failures: 1,
            retry_after: None,
        });
    let bus = bus.clock(&time).build().expect("valid options");
    let calls = Arc::new(AtomicUsize::new(0));
    let (count, inside) = (Arc::clone(&calls), bus.clone());
    let uses = move |_: Captured| {
        count.fetch_add(1, Ordering::SeqCst);
        assert!(inside.len() <= 1);
        inside
            .on("another", |_| ())
            .expect("below the bounds")
            .detach();
        inside.emit("another", &7).unwrap();
        inside.sweep();
    };
    with_default(OnEvent(uses), || {
        bus.on("a", |_| false).expect("below the bounds").forget();
        assert!(bus.on("a", |_| ()).is_err());
        bus.emit("a", &7).unwrap();
    });
    assert_eq!((calls.load(Ordering::SeqCst), bus.stats().panics), (2, 0));
}
