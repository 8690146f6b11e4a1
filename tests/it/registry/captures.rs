//! When the captures of a handler are dropped.

use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex};

use leakproof::{ListenerRegistry, Overflow, RemovalCause, Subscription, WeakRegistry};

use super::helpers::{Bus, Count, Later, OnDrop, bus, captured, holding, later, put, take};

#[test]
fn captures_are_dropped_if_a_callback_detaches_a_new_one() {
    let weak: Later<WeakRegistry<&'static str, u32>> = later();
    let (value, is_dropped) = captured();
    let seen = later();
    let (own, reported, is_dropped) = (Arc::clone(&weak), Arc::clone(&seen), Arc::new(is_dropped));
    let asking = Arc::clone(&is_dropped);
    let builder = Bus::builder()
        .max_per_topic(1)
        .overflow(Overflow::EvictOldest);
    let bus = builder.on_removal(move |_, cause| {
        if cause == RemovalCause::Evicted {
            let bus = own
                .lock()
                .unwrap()
                .clone()
                .and_then(|weak| weak.upgrade())
                .unwrap();
            put(&reported, (bus.clear(), asking()));
        }
    });
    let bus = bus.build().unwrap();
    put(&weak, bus.downgrade());
    bus.on("topic", |_| ()).unwrap().forget();
    let newcomer = bus.on("topic", move |_| drop(Arc::clone(&value))).unwrap();
    assert_eq!(take(&seen), Some((1, true)));
    assert!(!newcomer.is_attached());
}

fn bomb() -> OnDrop<impl FnMut()> {
    OnDrop(|| panic!("a capture panics when it is dropped"))
}

#[test]
fn panic_in_a_drop_does_not_leave_a_registration() {
    let bus = bus();
    let scope = bus.scope();
    let late = bus.listen("topic").scope(&scope);
    drop(scope);
    drop(late.on(holding(bomb())).unwrap());
    assert_eq!(bus.stats().panics, 1);

    let full = Bus::builder().max_per_topic(1).build().unwrap();
    let guard = full.on("topic", |_| ()).unwrap();
    let held = bomb();
    let filtered = full
        .listen("topic")
        .filter(move |_| std::ptr::from_ref(&held).is_aligned());
    let rejected = filtered.on(|&event| assert_eq!(event, 7)).unwrap_err();
    (rejected.handler)(&7);
    assert_eq!(full.stats().panics, 1);
    drop(guard);

    let topics = ListenerRegistry::<Panics, u32>::new();
    topics.on(Panics(false), |_| ()).unwrap().forget();
    topics.on(Panics(true), |_| ()).unwrap().forget();
    assert_eq!((topics.len(), topics.stats().panics), (2, 1));
    topics.validate();
}

#[test]
fn panic_in_the_drop_of_a_topic_is_counted_by_detach() {
    let topics = ListenerRegistry::<Panics, u32>::new();
    let guard = topics.on(Panics(true), |_| ()).unwrap();
    assert!(guard.detach());
    assert_eq!((topics.len(), topics.stats().panics), (0, 1));
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
fn captures_are_dropped_by_detach_without_an_emit() {
    let (bus, (value, is_dropped)) = (bus(), captured());
    let other = bus.on("topic", |_| ());
    let guard = bus.on("topic", move |_| drop(Arc::clone(&value))).unwrap();
    assert!(guard.detach() && is_dropped());
    drop(other);
}

#[test]
fn captures_of_a_self_detached_handler_are_dropped_next() {
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
    put(&own, guard.unwrap());
    assert_eq!(bus.emit("topic", &1).unwrap().called, 2);
    assert_eq!(seen.get(), 1);
    drop(next);
}

#[test]
fn captures_are_dropped_before_the_next_call_of_the_emit() {
    let (bus, other, (value, is_dropped)) = (bus(), later::<Subscription>(), captured());
    let seen = Count::default();
    let first = {
        let other = Arc::clone(&other);
        bus.on("topic", move |_| drop(take(&other)))
    };
    let guard = bus.on("topic", move |_| drop(Arc::clone(&value))).unwrap();
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
fn panics_of_captures_that_an_emit_drops_are_counted() {
    let (bus, others) = (bus(), later::<Vec<Subscription>>());
    let taken = Arc::clone(&others);
    let first = bus.on("topic", move |_| drop(take(&taken))).unwrap();
    let bombs = (0..3).map(|_| bus.on("topic", holding(bomb())).unwrap());
    put(&others, bombs.collect());
    let emitted = bus.emit("topic", &1).unwrap();
    assert_eq!((emitted.called, emitted.failed, emitted.skipped), (1, 0, 3));
    assert_eq!((bus.len(), bus.stats().panics), (1, 3));
    drop(first);
}

#[test]
fn captures_outlive_the_call_in_progress_on_a_thread() {
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

#[test]
fn topics_without_listeners_are_not_kept() {
    let bus = leakproof::ListenerRegistry::<String, u32>::builder()
        .build()
        .unwrap();
    for topic in 0..10_000 {
        let guard = bus.on(topic.to_string(), |_| ()).unwrap();
        bus.emit(&*topic.to_string(), &1).unwrap();
        drop(guard);
    }
    assert_eq!(
        (bus.len(), bus.stats().inserted, bus.stats().removed),
        (0, 10_000, 10_000)
    );
    bus.validate();
}
