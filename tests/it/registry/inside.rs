//! Promise 3: no lock is held while a user's code runs. Every public method is called from inside a handler, a filter,
//! a removal callback and a capture's drop; each must return, and what it did must hold.

use std::panic::Location;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use leakproof::{Scope, Subscription, Watch, WeakRegistry};

use super::helpers::{Bus, Count, builder, calm};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
const LONG: Duration = Duration::from_secs(3600);

/// What the methods are called on.
struct Around {
    bus: Bus,
    own: Option<Subscription>,
    other: Option<Subscription>,
    scope: Scope,
}

type Method = fn(&mut Around);

/// Every public method of the registry, its guards and its scopes.
const METHODS: &[(&str, Method)] = &[
    ("emit", |it| {
        assert!(it.bus.emit("topic", &9).unwrap().called <= 3);
    }),
    ("emit on another topic", |it| {
        assert_eq!(it.bus.emit("elsewhere", &9).unwrap().called, 0);
    }),
    ("emit_to", |it| {
        assert!(
            it.bus
                .emit_to(&it.scope.generation(), "topic", &9)
                .unwrap()
                .called
                <= 3
        );
    }),
    ("on", |it| {
        it.other = Some(it.bus.on("topic", |_| ()).expect("room"));
    }),
    ("on, rejected", |it| {
        while it.bus.on("topic", |_| ()).map(Subscription::forget).is_ok() {}
    }),
    ("once", |it| {
        drop(it.bus.once("topic", |_| ()).expect("room"));
    }),
    ("listen", |it| {
        drop(
            it.bus
                .listen("topic")
                .key("key")
                .priority(7)
                .scope(&it.scope)
                .on(|_| ())
                .expect("room"),
        );
    }),
    ("detach by id", |it| {
        let id = it.other.as_ref().map(Subscription::id);
        assert!(id.is_none_or(|id| it.bus.detach(id)));
    }),
    ("clear", |it| {
        assert!(it.bus.clear() <= 1_000 && it.bus.is_empty());
    }),
    ("sweep", |it| assert_eq!(it.bus.sweep(), 0)),
    ("sweep_some", |it| {
        let shared = it.bus.downgrade_to_sweep().upgrade().expect("alive");
        assert!(!shared.sweep_some(10).more);
    }),
    ("len", |it| assert!(it.bus.len() <= 10)),
    ("listener_count", |it| {
        assert!(it.bus.listener_count("topic") <= 10);
    }),
    ("listeners", |it| assert!(it.bus.listeners().len() <= 10)),
    ("stats", |it| assert!(it.bus.stats().inserted > 0)),
    ("validate", |it| it.bus.validate()),
    ("debug", |it| {
        assert!(format!("{:?} {:?} {:?}", it.bus, it.own, it.scope).contains("Listener"));
    }),
    ("clone and drop", |it| drop(it.bus.clone())),
    ("downgrade", |it| {
        assert!(it.bus.downgrade().upgrade().is_some());
    }),
    ("scope", |it| it.scope = it.bus.scope()),
    ("generation", |it| {
        assert_eq!(it.scope.generation(), it.scope.generation());
    }),
    ("detach_all", |it| assert!(it.scope.detach_all() <= 1)),
    ("renew", |it| {
        assert_eq!(it.scope.renew(), it.scope.generation());
    }),
    ("drop of its own guard", |it| drop(it.own.take())),
    ("drop of another guard", |it| drop(it.other.take())),
    ("detach of itself", |it| {
        assert!(it.own.take().is_none_or(Subscription::detach));
    }),
    ("detach_and_wait of itself", |it| {
        if let Some(own) = it.own.take() {
            let _ = own.detach_and_wait(LONG);
        }
    }),
    ("detach_and_wait of another", |it| {
        if let Some(other) = it.other.take() {
            let _ = other.detach_and_wait(LONG);
        }
    }),
    ("forget", |it| {
        assert!(
            it.own
                .take()
                .is_none_or(|own| own.forget() == it.bus.listeners()[0].id)
        );
    }),
    ("pause", |it| {
        assert!(it.own.as_ref().is_none_or(Subscription::pause));
    }),
    ("resume", |it| {
        assert!(it.own.as_ref().is_none_or(Subscription::resume));
    }),
    ("is_attached", |it| {
        assert!(it.own.as_ref().is_none_or(Subscription::is_attached));
    }),
];

/// Where a user's code runs.
#[derive(Clone, Copy, Debug)]
enum Place {
    Handler,
    Filter,
    Callback,
    CaptureDrop,
}

/// Calls back when it is dropped.
struct OnDrop(Option<Box<dyn FnOnce() + Send + Sync>>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        if let Some(call) = self.0.take() {
            call();
        }
    }
}

/// A registry in which the code in that place calls the method, once.
fn run(place: Place, method: Method, is_calm: bool) -> usize {
    let around = Arc::new(Mutex::new(None::<Around>));
    let (calls, armed) = (Count::default(), Count::default());
    let act = {
        let (around, calls, armed) = (Arc::clone(&around), calls.clone(), armed.clone());
        move || {
            // Out of its place meanwhile, since the method may lead here again.
            let taken = around
                .lock()
                .expect("not poisoned")
                .take()
                .filter(|_| armed.get() > 0);
            if let Some(mut taken) = taken {
                calls.up();
                method(&mut taken);
                *around.lock().expect("not poisoned") = Some(taken);
            }
        }
    };
    let in_callback = act.clone();
    let told = move |_: &leakproof::ListenerInfo<_>, _| {
        if matches!(place, Place::Callback) {
            in_callback();
        }
    };
    let bus = builder()
        .max_per_topic(10)
        .on_removal(told)
        .build()
        .expect("sound limits");
    let capture = match place {
        Place::CaptureDrop => OnDrop(Some(Box::new(act.clone()))),
        _ => OnDrop(None),
    };
    let in_filter = act.clone();
    let own = bus
        .listen("topic")
        .filter(move |_| {
            if matches!(place, Place::Filter) {
                in_filter();
            }
            true
        })
        .on(move |_| {
            let _captured = &capture;
            if matches!(place, Place::Handler) {
                act();
            }
        });
    let (own, other, scope) = (
        own.expect("room"),
        bus.on("topic", |_| ()).expect("room"),
        bus.scope(),
    );
    bus.listen("topic")
        .scope(&scope)
        .on(|_| ())
        .expect("room")
        .forget();
    if is_calm {
        calm(&bus, "topic");
    }
    let id = own.id();
    *around.lock().expect("not poisoned") = Some(Around {
        bus: bus.clone(),
        own: Some(own),
        other: Some(other),
        scope,
    });
    armed.up();
    match place {
        Place::Handler | Place::Filter => drop(bus.emit("topic", &1)),
        Place::Callback | Place::CaptureDrop => assert!(bus.detach(id)),
    }
    bus.validate();
    assert_eq!(bus.stats().panics, 0, "the method did what it should");
    calls.get()
}

/// Each on a thread of its own, so that a deadlock is told by its name.
fn every_method_in(place: Place) {
    for &(name, method) in METHODS {
        for is_calm in [false, true] {
            let (done, ended) = channel();
            let thread = thread::spawn(move || done.send(run(place, method, is_calm)));
            let calls = ended.recv_timeout(PATIENCE);
            assert_eq!(calls, Ok(1), "{name} in a {place:?}, calm: {is_calm}");
            assert!(thread.join().is_ok_and(|sent| sent.is_ok()));
        }
    }
}

#[test]
fn promise_3_every_method_may_be_called_in_a_handler() {
    every_method_in(Place::Handler);
}

#[test]
fn promise_3_every_method_may_be_called_in_a_filter() {
    every_method_in(Place::Filter);
}

#[test]
fn promise_3_every_method_may_be_called_in_a_removal_callback() {
    // There its own guard is stale; those methods that assume otherwise are called on the others alone.
    for &(name, method) in METHODS.iter().filter(|(name, _)| !STALE.contains(name)) {
        for is_calm in [false, true] {
            let (done, ended) = channel();
            thread::spawn(move || done.send(run(Place::Callback, method, is_calm)));
            assert_eq!(
                ended.recv_timeout(PATIENCE),
                Ok(1),
                "{name}, calm: {is_calm}"
            );
        }
    }
}

#[test]
fn promise_3_every_method_may_be_called_in_a_captures_drop() {
    for &(name, method) in METHODS.iter().filter(|(name, _)| !STALE.contains(name)) {
        for is_calm in [false, true] {
            let (done, ended) = channel();
            thread::spawn(move || done.send(run(Place::CaptureDrop, method, is_calm)));
            assert_eq!(
                ended.recv_timeout(PATIENCE),
                Ok(1),
                "{name}, calm: {is_calm}"
            );
        }
    }
}

/// Methods whose checks assume that the guard's listener is attached.
const STALE: &[&str] = &[
    "detach of itself",
    "forget",
    "pause",
    "resume",
    "is_attached",
];

#[test]
fn the_last_handle_may_be_dropped_in_a_handler() {
    let bus = builder().build().expect("sound limits");
    let (weak, handle): (WeakRegistry<_, _>, Arc<Mutex<Option<Bus>>>) =
        (bus.downgrade(), Arc::default());
    let guard = {
        let handle = Arc::clone(&handle);
        bus.on("topic", move |_| {
            drop(handle.lock().expect("not poisoned").take());
        })
    };
    *handle.lock().expect("not poisoned") = Some(bus.clone());
    // The emit is on this handle, so that it is the last one only once the emit is over.
    assert_eq!(bus.emit("topic", &1).unwrap().called, 1);
    drop(bus);
    assert!(weak.upgrade().is_none());
    drop(guard);
}

#[test]
fn a_rejection_names_the_place_of_registration_through_every_method() {
    let bus = Bus::builder()
        .max_per_topic(1)
        .build()
        .expect("sound limits");
    let line = Location::caller().line() + 1;
    let guard = bus.listen("topic").label("here").on(|_| ()).expect("room");
    let rejected = bus.on("topic", |_| ()).expect_err("full");
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
