//! `detach_and_wait` waits until a handler was dropped, or returns an error if it would never end.

use std::hash::{Hash, Hasher};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Barrier, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use leakproof::{DetachError, ListenerRegistry, ManualClock, RemovalCause, Subscription};

use super::helpers::{
    Bus, Count, HOUR, Later, OnDrop, PATIENCE, bus, captured, holding, later, put, take,
};

#[test]
fn detach_and_wait_returns_after_the_call_and_the_drop() {
    let (bus, (value, is_dropped)) = (bus(), captured());
    let (begin, begun) = std::sync::mpsc::channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let released = Mutex::new(released);
    let guard = bus
        .on("topic", move |&event| {
            let _captured = &value;
            if event == 1 {
                begin.send(()).unwrap();
                let _ = released.lock().unwrap().recv();
            }
        })
        .unwrap();
    let emitting = {
        let bus = bus.clone();
        std::thread::spawn(move || bus.emit("topic", &1).unwrap())
    };
    begun.recv().unwrap();
    assert!(!is_dropped());
    let waiting = std::thread::spawn(move || guard.detach_and_wait(HOUR));
    while !bus.is_empty() {
        std::thread::yield_now();
    }
    assert_eq!(
        bus.emit("topic", &2).unwrap().called,
        0,
        "detached, though it runs"
    );
    assert!(!is_dropped() && !waiting.is_finished());
    release.send(()).unwrap();
    assert_eq!(waiting.join().unwrap(), Ok(()));
    assert!(is_dropped());
    assert_eq!(emitting.join().unwrap().called, 1);
}

#[test]
fn detach_and_wait_times_out_during_a_long_call() {
    let (bus, hold) = (bus(), Arc::new(Mutex::new(())));
    let (begin, begun) = std::sync::mpsc::channel();
    let guard = {
        let hold = Arc::clone(&hold);
        bus.on("topic", move |_| {
            begin.send(()).unwrap();
            drop(hold.lock());
        })
    };
    let held = hold.lock().unwrap();
    let emitting = {
        let bus = bus.clone();
        std::thread::spawn(move || bus.emit("topic", &1).unwrap())
    };
    begun.recv().unwrap();
    assert_eq!(
        guard.unwrap().detach_and_wait(Duration::from_millis(10)),
        Err(DetachError::TimedOut)
    );
    drop(held);
    emitting.join().unwrap();
}

#[test]
fn detach_and_wait_in_its_own_handler_is_an_error() {
    let (bus, own, answer) = (bus(), later::<Subscription>(), Arc::new(OnceLock::new()));
    let (value, is_dropped) = captured();
    let guard = {
        let (own, answer) = (Arc::clone(&own), Arc::clone(&answer));
        bus.on("topic", move |_| {
            let _captured = &value;
            if let Some(own) = take(&own) {
                answer.set(own.detach_and_wait(HOUR)).unwrap();
            }
        })
    };
    put(&own, guard.unwrap());
    bus.emit("topic", &1).unwrap();
    assert_eq!(answer.get(), Some(&Err(DetachError::Inside)));
    assert!(is_dropped() && bus.is_empty(), "detached all the same");
}

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
fn waiting_in_a_drop_for_the_same_removal_is_an_error() {
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
            .unwrap()
            .forget();
        put(
            &waiting.guard,
            bus.listen("topic").scope(&scope).on(|_| ()).unwrap(),
        );
        waiting.asserts_inside(|| way(&bus, scope));
    }
}

#[test]
fn waiting_for_itself_in_the_registry_drop_is_an_error() {
    let (bus, waiting) = (bus(), Waiting::new());
    let capture = waiting.capture();
    let guard = bus.on("topic", holding(capture));
    put(&waiting.guard, guard.unwrap());
    waiting.asserts_inside(|| drop(bus));
}

#[test]
fn waiting_for_itself_is_an_error_at_any_depth() {
    for deepest in [1, 31, 32] {
        let (bus, waiting, depth) = (bus(), Waiting::new(), Count::default());
        let capture = waiting.capture();
        let guard = bus.on("other", holding(capture)).unwrap();
        let (id, weak) = (guard.id(), bus.downgrade());
        put(&waiting.guard, guard);
        let nest = move |_: &u32| {
            let bus = weak.upgrade().unwrap();
            depth.up();
            if depth.get() == deepest {
                assert!(bus.detach(id));
            } else {
                bus.emit("topic", &1).unwrap();
            }
        };
        let nesting = bus.on("topic", nest).unwrap();
        waiting.asserts_inside(|| assert_eq!(bus.emit("topic", &1).unwrap().called, 1));
        drop(nesting);
    }
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
        let guard = take(&self.guard).unwrap();
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

/// Registers a handler with a capture. The drop of the capture meets the other threads at `began`,
/// and then waits for a listener.
fn waiting_capture(
    bus: &ListenerRegistry<usize, u32>,
    topic: usize,
    began: &Arc<Barrier>,
) -> (Subscription, Waiting) {
    let (waiting, began) = (Waiting::new(), Arc::clone(began));
    let mut wait = waiting.capture();
    let capture = OnDrop(move || {
        began.wait();
        (wait.0)();
    });
    let guard = bus.on(topic, holding(capture)).unwrap();
    (guard, waiting)
}

#[test]
fn drops_that_wait_for_each_other_get_a_cycle_error() {
    for threads in [2, 3] {
        let (bus, began) = (ListenerRegistry::new(), Arc::new(Barrier::new(threads)));
        let (guards, waiting): (Vec<_>, Vec<_>) = (0..threads)
            .map(|topic| waiting_capture(&bus, topic, &began))
            .unzip();
        let ids: Vec<_> = guards.iter().map(Subscription::id).collect();
        for (at, guard) in guards.into_iter().enumerate() {
            // Each drop waits for the next one, in a ring.
            put(&waiting[(at + threads - 1) % threads].guard, guard);
        }
        thread::scope(|scope| {
            for id in ids {
                let bus = &bus;
                scope.spawn(move || assert!(bus.detach(id)));
            }
        });
        let answers: Vec<_> = waiting.iter().map(|it| take(&it.answer).unwrap()).collect();
        let cycles = answers.iter().filter(|it| **it == Err(DetachError::Cycle));
        assert_eq!(cycles.count(), 1, "{answers:?}");
        assert_eq!(answers.iter().filter(|it| it.is_ok()).count(), threads - 1);
    }
}

#[test]
fn drop_and_handler_in_a_cycle_get_an_error() {
    let (bus, began) = (ListenerRegistry::new(), Arc::new(Barrier::new(2)));
    let (dropped, in_drop) = waiting_capture(&bus, 0, &began);
    let id = dropped.id();
    let handler = Arc::new(WaitingHandler {
        guard: later(),
        answer: later(),
        began,
    });
    put(&handler.guard, dropped);
    let called = Arc::clone(&handler);
    put(&in_drop.guard, bus.on(1, move |_| called.call()).unwrap());
    thread::scope(|scope| {
        scope.spawn(|| assert!(bus.detach(id)));
        scope.spawn(|| bus.emit(&1, &1).unwrap());
    });
    let answers = [
        take(&in_drop.answer).unwrap(),
        take(&handler.answer).unwrap(),
    ];
    assert!(answers.contains(&Err(DetachError::Cycle)), "{answers:?}");
    assert!(answers.contains(&Ok(())), "{answers:?}");
}

#[test]
fn waiting_for_a_drop_that_waits_is_no_cycle() {
    let (bus, alone) = (ListenerRegistry::new(), Arc::new(Barrier::new(1)));
    let (third, gate) = blocking(&bus, 3);
    let (second, second_waiting) = waiting_capture(&bus, 2, &alone);
    let (first, first_waiting) = waiting_capture(&bus, 1, &alone);
    let (first_id, second_id) = (first.id(), second.id());
    put(&second_waiting.guard, third);
    put(&first_waiting.guard, second);
    thread::scope(|scope| {
        scope.spawn(|| bus.emit(&3, &1).unwrap());
        gate.begun.recv().unwrap();
        scope.spawn(|| assert!(bus.detach(second_id)));
        // The drop of the second capture has detached the third listener, and waits.
        while bus.listener_count(&3) == 1 {
            thread::yield_now();
        }
        let waits_first = scope.spawn(|| assert!(bus.detach(first_id)));
        thread::yield_now();
        gate.release.send(()).unwrap();
        waits_first.join().unwrap();
    });
    assert_eq!(take(&first_waiting.answer), Some(Ok(())));
    assert_eq!(take(&second_waiting.answer), Some(Ok(())));
    drop(first);
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
    let reported = Arc::clone(&answer);
    let guard = bus.on(topic, move |_| {
        let guard: Subscription = take(&waits_for).unwrap();
        put(&reported, guard.detach_and_wait(PATIENCE));
    });
    (guard.unwrap(), answer)
}

#[test]
fn waiting_for_a_handler_that_waits_is_no_cycle() {
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
fn waiting_in_a_handler_that_others_wait_for_is_no_cycle() {
    let bus = ListenerRegistry::<usize, u32>::new();
    let (third, third_gate) = blocking(&bus, 3);
    let (begin, begun) = channel();
    let (release, released) = channel::<()>();
    let (third, released) = (Mutex::new(Some(third)), Mutex::new(released));
    let second_answer = later();
    let reported = Arc::clone(&second_answer);
    let second = bus.on(2, move |_| {
        begin.send(()).unwrap();
        released.lock().unwrap().recv().unwrap();
        let third = third.lock().unwrap().take().unwrap();
        put(&reported, third.detach_and_wait(PATIENCE));
    });
    let (first, first_answer) = waiting(&bus, 1, second.unwrap());
    thread::scope(|scope| {
        scope.spawn(|| bus.emit(&3, &1).unwrap());
        third_gate.begun.recv().unwrap();
        scope.spawn(|| bus.emit(&2, &1).unwrap());
        begun.recv().unwrap();
        scope.spawn(|| bus.emit(&1, &1).unwrap());
        // The first handler has detached the second, and waits for it.
        while bus.listener_count(&2) == 1 {
            thread::yield_now();
        }
        release.send(()).unwrap();
        while bus.listener_count(&3) == 1 {
            thread::yield_now();
        }
        third_gate.release.send(()).unwrap();
    });
    assert_eq!(take(&first_answer), Some(Ok(())));
    assert_eq!(take(&second_answer), Some(Ok(())));
    drop(first);
}

/// Registers a handler that detaches another listener at event 2, before others are called.
fn detach_at_event_2(bus: &ListenerRegistry<usize, u32>, other: &Subscription) -> Subscription {
    let (id, weak) = (other.id(), bus.downgrade());
    let detaching = bus.listen(1).priority(2).filter(|&event| event == 2);
    let detaching = detaching.on(move |_| assert!(weak.upgrade().unwrap().detach(id)));
    detaching.unwrap()
}

/// Emits event 2 while a handler is blocked in event 1. It reaches this number of handlers.
fn emit_2_during_1(bus: &ListenerRegistry<usize, u32>, begun: &Receiver<()>, called: usize) {
    thread::scope(|scope| {
        scope.spawn(|| bus.emit(&1, &1).unwrap());
        begun.recv().unwrap();
        assert_eq!(bus.emit(&1, &2).unwrap().called, called);
    });
}

#[test]
fn waiting_succeeds_in_an_emit_that_released_the_handler() {
    let bus = ListenerRegistry::<usize, u32>::new();
    // Two emits hold the blocking handler. The first one releases it when its first handler has
    // detached it.
    let (blocked, gate) = blocking(&bus, 1);
    let detaching = detach_at_event_2(&bus, &blocked);
    let answer = later();
    let (waits_for, reported) = (Mutex::new(Some(blocked)), Arc::clone(&answer));
    let release = gate.release;
    let waiting = bus.listen(1).priority(1).filter(|&event| event == 2);
    let waiting = waiting.on(move |_| {
        let guard = waits_for.lock().unwrap().take().unwrap();
        release.send(()).unwrap();
        put(&reported, guard.detach_and_wait(PATIENCE));
    });
    emit_2_during_1(&bus, &gate.begun, 2);
    assert_eq!(take(&answer), Some(Ok(())));
    drop((detaching, waiting));
}

#[test]
fn waiting_succeeds_after_the_last_call_of_the_handler() {
    let bus = ListenerRegistry::<usize, u32>::new();
    // Both emits hold a handler that only the second one calls.
    let (blocked, gate) = blocking(&bus, 1);
    let detaching = detach_at_event_2(&bus, &blocked);
    let last = bus.listen(1).priority(1).filter(|&event| event == 2);
    let last = Mutex::new(Some(last.once(|_| ()).unwrap()));
    let (answer, release) = (later(), gate.release);
    let reported = Arc::clone(&answer);
    let waiting = bus.listen(1).filter(|&event| event == 2);
    let waiting = waiting.on(move |_| {
        let guard = last.lock().unwrap().take().unwrap();
        release.send(()).unwrap();
        put(&reported, guard.detach_and_wait(PATIENCE));
    });
    emit_2_during_1(&bus, &gate.begun, 3);
    assert_eq!(take(&answer), Some(Ok(())));
    drop((detaching, waiting));
}

#[test]
fn waiting_succeeds_in_a_removal_callback_of_an_emit() {
    // The emit calls the other listener before or after the callback. Once it has failed, the emit
    // calls it outside of a list.
    for is_called_first in [false, true] {
        let (time, other, answer) = (ManualClock::new(), later::<Subscription>(), later());
        let (taken, reported) = (Arc::clone(&other), Arc::clone(&answer));
        let builder = Bus::builder().clock(&time);
        let builder = builder.on_removal(move |_, cause| {
            if cause == RemovalCause::Expired {
                put(&reported, take(&taken).unwrap().detach_and_wait(PATIENCE));
            }
        });
        let bus = builder.build().unwrap();
        let expiring = bus.listen("topic").ttl(HOUR).on(|_| ());
        expiring.unwrap().forget();
        let listen = bus.listen("topic").priority(i32::from(is_called_first));
        put(&other, listen.on(|_| false).unwrap());
        assert_eq!(bus.emit("topic", &1).unwrap().failed, 1);
        time.advance(HOUR);
        let called = bus.emit("topic", &1).unwrap().called;
        assert_eq!(called, usize::from(is_called_first));
        assert_eq!(take(&answer), Some(Ok(())));
    }
}

/// A topic whose hash waits for a listener, once it has the guard.
#[derive(Clone)]
struct WaitingTopic {
    guard: Later<Subscription>,
    answer: Later<Result<(), DetachError>>,
}

impl PartialEq for WaitingTopic {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for WaitingTopic {}

impl Hash for WaitingTopic {
    fn hash<H: Hasher>(&self, _: &mut H) {
        if let Some(guard) = take(&self.guard) {
            put(&self.answer, guard.detach_and_wait(PATIENCE));
        }
    }
}

#[test]
fn waiting_succeeds_in_the_hash_of_a_topic() {
    let topic = WaitingTopic {
        guard: later(),
        answer: later(),
    };
    let bus = ListenerRegistry::new();
    let guard = bus.on(topic.clone(), |_: &u32| ()).unwrap();
    // The list that this emit has pinned is released at its end.
    assert_eq!(bus.emit(&topic, &1).unwrap().called, 1);
    put(&topic.guard, guard);
    assert_eq!(bus.emit(&topic, &1).unwrap().called, 0);
    assert_eq!(take(&topic.answer), Some(Ok(())));
}

#[test]
fn failing_handler_that_waits_for_itself_gets_an_error() {
    let (bus, own, answer) = (bus(), later::<Subscription>(), later());
    let (taken, reported) = (Arc::clone(&own), Arc::clone(&answer));
    let guard = bus.on("topic", move |&event| {
        if event == 2 {
            let own: Subscription = take(&taken).unwrap();
            put(&reported, own.detach_and_wait(PATIENCE));
        }
        false
    });
    put(&own, guard.unwrap());
    // After a failure, the emit consults the table about this listener.
    assert_eq!(bus.emit("topic", &1).unwrap().failed, 1);
    bus.emit("topic", &2).unwrap();
    assert_eq!(take(&answer), Some(Err(DetachError::Inside)));
}

#[test]
fn drop_panic_after_a_call_that_detached_itself_is_caught() {
    let (bus, own) = (bus(), later::<Subscription>());
    let (taken, capture) = (Arc::clone(&own), OnDrop(|| panic!("in drop")));
    let guard = bus.on("topic", move |&event| {
        let _held = &capture;
        if event == 2 {
            assert!(take(&taken).unwrap().detach());
        }
        false
    });
    put(&own, guard.unwrap());
    bus.emit("topic", &1).unwrap();
    assert_eq!(bus.emit("topic", &2).unwrap().called, 1);
    assert_eq!(bus.stats().panics, 1);
}

#[test]
fn wait_that_timed_out_closes_no_cycle_later() {
    let bus = ListenerRegistry::<usize, u32>::new();
    let (second, first_guard, answer) = (later::<Subscription>(), later(), later());
    let (began, released) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let guard = {
        let (first, answer) = (Arc::clone(&first_guard), Arc::clone(&answer));
        let (began, released) = (Arc::clone(&began), Arc::clone(&released));
        bus.on(2, move |_| {
            began.wait();
            released.wait();
            let first: Subscription = take(&first).unwrap();
            put(&answer, first.detach_and_wait(PATIENCE));
        })
    };
    put(&second, guard.unwrap());
    let first = bus.on(1, move |_| {
        let second: Subscription = take(&second).unwrap();
        let timeout = Duration::from_millis(1);
        assert_eq!(second.detach_and_wait(timeout), Err(DetachError::TimedOut));
    });
    put(&first_guard, first.unwrap());
    thread::scope(|scope| {
        scope.spawn(|| bus.emit(&2, &1).unwrap());
        began.wait();
        assert_eq!(bus.emit(&1, &1).unwrap().panicked, 0);
        released.wait();
    });
    assert_eq!(take(&answer), Some(Ok(())));
}
