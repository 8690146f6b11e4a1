//! Promise 2: `detach_and_wait` errors instead of waiting for its own thread, also where that is about to drop the handler.

use std::sync::Arc;
use std::time::Duration;

use leakproof::{DetachError, Subscription};

use super::helpers::{Bus, Count, Later, OnDrop, bus, holding, later, put, take};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// A capture that waits, when it is dropped, for a listener to be detached.
struct Waiting {
    guard: Later<Subscription>,
    answer: Later<Result<(), DetachError>>,
}

impl Waiting {
    fn new() -> Self {
        Self {
            guard: later(),
            answer: later(),
        }
    }

    fn capture(&self) -> OnDrop<impl FnMut() + Send + Sync + use<>> {
        let (guard, answer) = (Arc::clone(&self.guard), Arc::clone(&self.answer));
        OnDrop(move || {
            if let Some(guard) = take(&guard) {
                put(&answer, guard.detach_and_wait(PATIENCE));
            }
        })
    }

    /// Does what drops it.
    fn asserts_inside(&self, way: impl FnOnce()) {
        way();
        // Else it would have waited, and be timed out.
        assert_eq!(take(&self.answer), Some(Err(DetachError::Inside)));
    }
}

#[test]
fn promise_2_a_capture_does_not_wait_for_one_that_leaves_with_it() {
    type Way = fn(&Bus, leakproof::Scope);
    for way in [
        (|bus, _scope| assert_eq!(bus.clear(), 2)) as Way,
        |_, scope| drop(scope),
    ] {
        let (bus, waiting) = (bus(), Waiting::new());
        let (scope, capture) = (bus.scope(), waiting.capture());
        bus.listen("topic")
            .scope(&scope)
            .on(holding(capture))
            .expect("room")
            .forget();
        put(
            &waiting.guard,
            bus.listen("topic").scope(&scope).on(|_| ()).expect("room"),
        );
        waiting.asserts_inside(|| way(&bus, scope));
    }
}

#[test]
fn promise_2_a_capture_does_not_wait_for_itself_while_the_last_handle_is_dropped() {
    let (bus, waiting) = (bus(), Waiting::new());
    let capture = waiting.capture();
    let guard = bus.on("topic", holding(capture));
    put(&waiting.guard, guard.expect("room"));
    waiting.asserts_inside(|| drop(bus));
}

#[test]
fn promise_2_a_capture_does_not_wait_for_itself_however_deep_emits_are_nested() {
    for deepest in [1, 31, 32] {
        let (bus, waiting, depth) = (bus(), Waiting::new(), Count::default());
        let capture = waiting.capture();
        let guard = bus.on("other", holding(capture)).expect("room");
        let (id, weak) = (guard.id(), bus.downgrade());
        put(&waiting.guard, guard);
        let nest = move |_: &u32| {
            let bus = weak.upgrade().expect("it emits");
            depth.up();
            if depth.get() == deepest {
                assert!(bus.detach(id));
            } else {
                bus.emit("topic", &1).unwrap();
            }
        };
        let nesting = bus.on("topic", nest).expect("room");
        waiting.asserts_inside(|| assert_eq!(bus.emit("topic", &1).unwrap().called, 1));
        drop(nesting);
    }
}

#[test]
fn promise_10_what_a_handler_captured_may_emit_when_it_is_dropped_as_deep_as_a_handler_may() {
    let (bus, depth, answer) = (bus(), Count::default(), later());
    let (weak, telling) = (bus.downgrade(), Arc::clone(&answer));
    let capture = OnDrop(move || {
        put(
            &telling,
            weak.upgrade().expect("it emits").emit("last", &1).unwrap(),
        );
    });
    let id = bus.on("other", holding(capture)).expect("room").forget();
    let weak = bus.downgrade();
    let nest = move |_: &u32| {
        let bus = weak.upgrade().expect("it emits");
        depth.up();
        if depth.get() == 31 {
            assert!(bus.detach(id));
        } else {
            bus.emit("topic", &1).unwrap();
        }
    };
    let nesting = bus.on("topic", nest).expect("room");
    let last = bus.on("last", |_| ()).expect("room");
    bus.emit("topic", &1).unwrap();
    let emitted = take(&answer).expect("it was dropped");
    assert_eq!(emitted.called, 1, "the 32nd emit");
    drop((nesting, last));
}
