//! Promise 2: `detach_and_wait` errors instead of waiting for its own thread, also where that is about to drop the handler.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::Duration;

use leakproof::{DetachError, ListenerRegistry, Subscription};

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

/// A handler that waits for a listener of another bus, once.
struct WaitingHandler {
    guard: Later<Subscription>,
    answer: Later<Result<(), DetachError>>,
    began: Arc<Barrier>,
}

impl WaitingHandler {
    fn call(&self) {
        self.began.wait();
        let guard = take(&self.guard).expect("called once");
        put(&self.answer, guard.detach_and_wait(PATIENCE));
    }
}

#[test]
fn handlers_that_wait_for_each_other_get_a_cycle_error() {
    for threads in [2, 3] {
        let bus = ListenerRegistry::<usize, u32>::new();
        let began = Arc::new(Barrier::new(threads));
        let handlers: Vec<_> = (0..threads)
            .map(|_| {
                Arc::new(WaitingHandler {
                    guard: later(),
                    answer: later(),
                    began: Arc::clone(&began),
                })
            })
            .collect();
        for (topic, handler) in handlers.iter().enumerate() {
            let handler = Arc::clone(handler);
            let guard = bus.on(topic, move |_| handler.call()).unwrap();
            // Each handler waits for the next one, in a ring.
            put(&handlers[(topic + threads - 1) % threads].guard, guard);
        }
        thread::scope(|scope| {
            for topic in 0..threads {
                let bus = &bus;
                scope.spawn(move || bus.emit(&topic, &1).unwrap());
            }
        });
        let answers: Vec<_> = handlers
            .iter()
            .map(|it| take(&it.answer).unwrap())
            .collect();
        let cycles = answers.iter().filter(|it| **it == Err(DetachError::Cycle));
        assert_eq!(cycles.count(), 1, "{answers:?}");
        assert_eq!(answers.iter().filter(|it| it.is_ok()).count(), threads - 1);
        assert!(bus.is_empty());
    }
}

/// A handler that blocks until it is released.
fn blocking(bus: &ListenerRegistry<usize, u32>, topic: usize) -> (Subscription, Gate) {
    let (begin, begun) = channel();
    let (release, released) = channel::<()>();
    let released = Mutex::new(released);
    let guard = bus.on(topic, move |_| {
        begin.send(()).unwrap();
        released.lock().unwrap().recv().unwrap();
    });
    (guard.unwrap(), Gate { begun, release })
}

struct Gate {
    begun: Receiver<()>,
    release: Sender<()>,
}

/// Registers a handler that waits for this guard. Returns its guard and its result.
fn waiting(
    bus: &ListenerRegistry<usize, u32>,
    topic: usize,
    guard: Subscription,
) -> (Subscription, Later<Result<(), DetachError>>) {
    let (waits_for, answer) = (later(), later());
    put(&waits_for, guard);
    let telling = Arc::clone(&answer);
    let guard = bus.on(topic, move |_| {
        let guard: Subscription = take(&waits_for).expect("called once");
        put(&telling, guard.detach_and_wait(PATIENCE));
    });
    (guard.unwrap(), answer)
}

#[test]
fn waiting_for_a_handler_that_waits_for_a_third_is_no_cycle() {
    let bus = ListenerRegistry::<usize, u32>::new();
    let (third, gate) = blocking(&bus, 3);
    let (second, second_answer) = waiting(&bus, 2, third);
    let (first, first_answer) = waiting(&bus, 1, second);
    thread::scope(|scope| {
        scope.spawn(|| bus.emit(&3, &1).unwrap());
        gate.begun.recv().unwrap();
        scope.spawn(|| bus.emit(&2, &1).unwrap());
        // The second handler has detached the third, and waits.
        while bus.listener_count(&3) == 1 {
            thread::yield_now();
        }
        scope.spawn(|| bus.emit(&1, &1).unwrap());
        while bus.listener_count(&2) == 1 {
            thread::yield_now();
        }
        gate.release.send(()).unwrap();
    });
    assert_eq!(take(&first_answer), Some(Ok(())));
    assert_eq!(take(&second_answer), Some(Ok(())));
    drop(first);
}

#[test]
fn waiting_succeeds_in_an_emit_that_has_released_the_handler() {
    let bus = ListenerRegistry::<usize, u32>::new();
    // Two emits hold the blocking handler. The first one releases it when its first handler has detached it.
    let (blocked, gate) = blocking(&bus, 1);
    let (id, weak) = (blocked.id(), bus.downgrade());
    let detaching = bus.listen(1).priority(2).filter(|&event| event == 2);
    let detaching = detaching.on(move |_| assert!(weak.upgrade().unwrap().detach(id)));
    let answer = later();
    let (waits_for, telling) = (Mutex::new(Some(blocked)), Arc::clone(&answer));
    let release = gate.release;
    let waiting = bus.listen(1).priority(1).filter(|&event| event == 2);
    let waiting = waiting.on(move |_| {
        let guard = waits_for.lock().unwrap().take().unwrap();
        release.send(()).unwrap();
        put(&telling, guard.detach_and_wait(PATIENCE));
    });
    thread::scope(|scope| {
        scope.spawn(|| bus.emit(&1, &1).unwrap());
        gate.begun.recv().unwrap();
        assert_eq!(bus.emit(&1, &2).unwrap().called, 2);
    });
    assert_eq!(take(&answer), Some(Ok(())));
    drop((detaching, waiting));
}
