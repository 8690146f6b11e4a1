//! The event about the first panic of a collection's user code, on every path.

use std::time::Duration;

use leakproof::{ListenerRegistry, LruCache, ManualClock, RemovalCause, unsync};
use tracing::Level;

use super::tracing_capture::{Captured, events_of};

const HOUR: Duration = Duration::from_secs(3600);

fn assert_one_event(events: &[Captured], collection: &str, code: &str) {
    let [event] = events else {
        panic!("one event: {events:?}");
    };
    assert_eq!(
        (&*event.target, event.level),
        ("leakproof::panic", Level::WARN)
    );
    assert_eq!(
        (event.field("collection"), event.field("code")),
        (collection, code)
    );
}

fn panics(_: &u32, _: &u32, cause: RemovalCause) {
    panic!("there is no reactor running: {cause}");
}

#[test]
fn first_panic_of_a_cache_callback_is_an_event() {
    type Path = fn(&LruCache<u32, u32>, &ManualClock);
    let paths: [Path; 5] = [
        |cache, _| _ = cache.insert(1, 2),
        |cache, _| _ = cache.remove(&1),
        |cache, _| cache.clear(),
        |cache, _| cache.retain(|_, _| false),
        |cache, time| {
            time.advance(HOUR);
            cache.sweep();
        },
    ];
    for path in paths {
        let time = ManualClock::new();
        let builder = LruCache::builder().max_entries(1).ttl(HOUR).clock(&time);
        let cache = builder.on_removal(panics).build().expect("valid options");
        let call = || {
            cache.insert(1, 1);
            path(&cache, &time);
        };
        assert_one_event(&events_of(call), "lru", "removal callback");
        assert_eq!(events_of(|| (0..3).for_each(|_| call())), []);
        assert!(cache.stats().callback_panics >= 3);
    }
    let builder = unsync::LruCache::builder().max_entries(1).ttl(HOUR);
    let mut cache = builder.on_removal(panics).build().expect("valid options");
    let events = events_of(|| (0..3).for_each(|key| _ = cache.insert(key, 1)));
    assert_one_event(&events, "lru", "removal callback");
    let builder = LruCache::<u32, u32>::builder().max_entries(1);
    let cache = builder.on_discard(|_, _, cause| panic!("{cause}"));
    let cache = cache.build().expect("valid options");
    let events = events_of(|| (0..3).for_each(|key| _ = cache.insert(key, 1)));
    assert_one_event(&events, "lru", "discard callback");
}

/// Panics when it is dropped.
struct PanicsOnDrop;

impl Drop for PanicsOnDrop {
    fn drop(&mut self) {
        panic!("in a drop");
    }
}

#[test]
fn first_panic_of_registry_code_is_an_event() {
    type Bus = ListenerRegistry<&'static str, u32>;
    let paths: [fn(&Bus); 4] = [
        |bus| {
            let guard = bus.on("topic", |_| panic!("a handler")).expect("room");
            bus.emit("topic", &1).expect("not nested");
            drop(guard);
        },
        |bus| {
            let listen = bus.listen("topic").filter(|_| panic!("a filter"));
            let guard = listen.on(|_| ()).expect("room");
            bus.emit("topic", &1).expect("not nested");
            drop(guard);
        },
        |bus| {
            let capture = PanicsOnDrop;
            let handler = move |_: &u32| _ = &capture;
            drop(bus.on("topic", handler).expect("room"));
        },
        |bus| drop(bus.on("callback", |_| ()).expect("room")),
    ];
    for path in paths {
        let on_removal = |info: &leakproof::ListenerInfo<&'static str>, _| {
            assert_ne!(*info.topic, "callback");
        };
        let bus = Bus::builder()
            .on_removal(on_removal)
            .build()
            .expect("valid options");
        assert_one_event(
            &events_of(|| path(&bus)),
            "listeners",
            "callback or handler",
        );
        assert_eq!(events_of(|| (0..2).for_each(|_| path(&bus))), []);
        assert!(bus.stats().panics >= 3);
    }
}
