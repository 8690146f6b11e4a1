//! Every public method may be called from a handler, a filter, a removal callback and a drop.

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;

use leakproof::{Scope, Subscription, Watch, WeakRegistry};

use super::helpers::{Bus, Count, HOUR, PATIENCE, builder};

/// The objects that the methods are called on.
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
        it.other = Some(it.bus.on("topic", |_| ()).unwrap());
    }),
    ("on, rejected", |it| {
        while it.bus.on("topic", |_| ()).map(Subscription::forget).is_ok() {}
    }),
    ("once", |it| {
        drop(it.bus.once("topic", |_| ()).unwrap());
    }),
    ("listen", |it| {
        drop(
            it.bus
                .listen("topic")
                .key("key")
                .priority(7)
                .scope(&it.scope)
                .on(|_| ())
                .unwrap(),
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
        let shared = it.bus.downgrade_to_sweep().upgrade().unwrap();
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
            let _ = own.detach_and_wait(HOUR);
        }
    }),
    ("detach_and_wait of another", |it| {
        if let Some(other) = it.other.take() {
            let _ = other.detach_and_wait(HOUR);
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

/// The place where user code runs.
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

/// Calls the method once from this place, and returns the number of calls.
fn run(place: Place, method: Method) -> usize {
    let around = Arc::new(Mutex::new(None::<Around>));
    let (calls, armed) = (Count::default(), Count::default());
    let act = {
        let (around, calls, armed) = (Arc::clone(&around), calls.clone(), armed.clone());
        move || {
            // Taken out during the call, because the method may lead here again.
            let taken = around.lock().unwrap().take().filter(|_| armed.get() > 0);
            if let Some(mut taken) = taken {
                calls.up();
                method(&mut taken);
                *around.lock().unwrap() = Some(taken);
            }
        }
    };
    let in_callback = act.clone();
    let callback = move |_: &leakproof::ListenerInfo<_>, _| {
        if matches!(place, Place::Callback) {
            in_callback();
        }
    };
    let bus = builder()
        .max_per_topic(10)
        .on_removal(callback)
        .build()
        .unwrap();
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
    let (own, other, scope) = (own.unwrap(), bus.on("topic", |_| ()).unwrap(), bus.scope());
    bus.listen("topic")
        .scope(&scope)
        .on(|_| ())
        .unwrap()
        .forget();
    let id = own.id();
    *around.lock().unwrap() = Some(Around {
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
    assert_eq!(bus.stats().panics, 0, "no assertion of the method failed");
    calls.get()
}

/// Calls each method on a thread of its own, so that a timeout names the method.
fn every_method_in(place: Place) {
    for &(name, method) in METHODS {
        let (done, ended) = channel();
        let thread = thread::spawn(move || done.send(run(place, method)));
        let calls = ended.recv_timeout(PATIENCE);
        assert_eq!(calls, Ok(1), "{name} in a {place:?}");
        assert!(thread.join().is_ok_and(|sent| sent.is_ok()));
    }
}

#[test]
fn every_method_may_be_called_in_a_handler() {
    every_method_in(Place::Handler);
}

#[test]
fn every_method_may_be_called_in_a_filter() {
    every_method_in(Place::Filter);
}

#[test]
fn every_method_may_be_called_in_a_removal_callback() {
    // The listener's own guard is stale there, so the methods that need it are left out.
    for &(name, method) in METHODS.iter().filter(|(name, _)| !STALE.contains(name)) {
        let (done, ended) = channel();
        thread::spawn(move || done.send(run(Place::Callback, method)));
        assert_eq!(ended.recv_timeout(PATIENCE), Ok(1), "{name}");
    }
}

#[test]
fn every_method_may_be_called_in_the_drop_of_a_capture() {
    for &(name, method) in METHODS.iter().filter(|(name, _)| !STALE.contains(name)) {
        let (done, ended) = channel();
        thread::spawn(move || done.send(run(Place::CaptureDrop, method)));
        assert_eq!(ended.recv_timeout(PATIENCE), Ok(1), "{name}");
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
fn last_handle_may_be_dropped_in_a_handler() {
    let bus = builder().build().unwrap();
    let (weak, handle): (WeakRegistry<_, _>, Arc<Mutex<Option<Bus>>>) =
        (bus.downgrade(), Arc::default());
    let guard = {
        let handle = Arc::clone(&handle);
        bus.on("topic", move |_| {
            drop(handle.lock().unwrap().take());
        })
    };
    *handle.lock().unwrap() = Some(bus.clone());
    // The emit borrows this handle, so the handle that the handler drops is not the last.
    assert_eq!(bus.emit("topic", &1).unwrap().called, 1);
    drop(bus);
    assert!(weak.upgrade().is_none());
    drop(guard);
}
