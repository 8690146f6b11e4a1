//! Models of `ListenerRegistry`, with emits that hold one handler at a time and with such as pin their list, checked over
//! all orders in which threads can meet. How to run them: `src/sync.rs`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use leakproof::{DetachError, ListenerRegistry, ManualClock};
use loom::sync::atomic::AtomicBool;
use loom::thread;

type Bus = ListenerRegistry<u32, u32>;

const LONG: Duration = Duration::from_secs(3600);
/// The event of emits that come before those that matter.
const BEFORE: u32 = 0;

/// Explores all orders in which no thread is interrupted more than three times, on a topic as it begins and on a calm one.
fn explore(model: impl Fn(Bus, bool) + Sync + Send + Copy + 'static) {
    for is_calm in [false, true] {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.max_branches = 100_000;
        builder.check(move || {
            let bus = Bus::builder()
                .clock(&ManualClock::new())
                .build()
                .expect("sound limits");
            model(bus, is_calm);
        });
    }
}

fn make_calm(bus: &Bus, is_calm: bool) {
    for _ in 0..if is_calm { 65 } else { 0 } {
        bus.emit(&1, &BEFORE).unwrap();
    }
}

/// Counts; not loom's, since it is what is asserted and not what is explored.
fn count() -> Arc<AtomicUsize> {
    Arc::default()
}

#[test]
fn detach_against_emit() {
    explore(|bus, is_calm| {
        let (calls, captured) = (count(), count());
        let alive = Arc::downgrade(&captured);
        let guard = {
            let calls = Arc::clone(&calls);
            bus.on(1, move |&event: &u32| {
                let _captured = &captured;
                if event != BEFORE {
                    calls.fetch_add(1, Ordering::SeqCst);
                }
            })
        };
        let guard = guard.expect("room");
        make_calm(&bus, is_calm);
        let emitting = bus.clone();
        let thread = thread::spawn(move || emitting.emit(&1, &1).unwrap());
        assert!(guard.detach());
        let until_now = calls.load(Ordering::SeqCst);
        assert_eq!(
            bus.emit(&1, &2).unwrap().called,
            0,
            "no later emit calls it"
        );
        let emitted = thread.join().expect("no panic");
        assert_eq!(emitted.called, calls.load(Ordering::SeqCst));
        assert!(until_now <= 1 && emitted.called <= 1);
        assert!(alive.upgrade().is_none(), "dropped, whoever was last");
        bus.validate();
    });
}

#[test]
fn detach_against_emit_between_two_calls() {
    explore(|bus, is_calm| {
        // Loom's, since the emit learns by it that the second one has been detached.
        let detached = Arc::new(AtomicBool::new(false));
        let (knew, called) = (count(), count());
        let first = {
            let (detached, knew) = (Arc::clone(&detached), Arc::clone(&knew));
            bus.on(1, move |&event: &u32| {
                if event != BEFORE && detached.load(Ordering::Acquire) {
                    knew.fetch_add(1, Ordering::SeqCst);
                }
            })
        };
        let second = {
            let (knew, called) = (Arc::clone(&knew), Arc::clone(&called));
            bus.on(1, move |&event: &u32| {
                if event != BEFORE {
                    assert_eq!(
                        knew.load(Ordering::SeqCst),
                        0,
                        "called by one who knows that it is detached"
                    );
                    called.fetch_add(1, Ordering::SeqCst);
                }
            })
        };
        let (first, second) = (first.expect("room"), second.expect("room"));
        make_calm(&bus, is_calm);
        let emitting = bus.clone();
        let thread = thread::spawn(move || emitting.emit(&1, &1).unwrap());
        assert!(second.detach());
        detached.store(true, Ordering::Release);
        let emitted = thread.join().expect("no panic");
        assert_eq!(
            (emitted.called, emitted.panicked),
            (1 + called.load(Ordering::SeqCst), 0)
        );
        bus.validate();
        drop(first);
    });
}

#[test]
fn times_across_threads() {
    explore(|bus, is_calm| {
        let calls = count();
        let other = bus.on(1, |_: &u32| ()).expect("room");
        let guard = {
            let calls = Arc::clone(&calls);
            let listen = bus.listen(1).max_calls(1).filter(|&event| event != BEFORE);
            listen.on(move |_: &u32| {
                calls.fetch_add(1, Ordering::SeqCst);
            })
        };
        make_calm(&bus, is_calm);
        let emitting = bus.clone();
        let thread = thread::spawn(move || emitting.emit(&1, &1).unwrap().called);
        let here = bus.emit(&1, &2).unwrap().called;
        assert_eq!(
            here + thread.join().expect("no panic"),
            3,
            "both call the other, one calls this"
        );
        assert_eq!((calls.load(Ordering::SeqCst), bus.len()), (1, 1));
        bus.validate();
        drop((guard, other));
    });
}

#[test]
fn scope_end_against_registration() {
    explore(|bus, is_calm| {
        let other = bus.on(1, |_: &u32| ()).expect("room");
        make_calm(&bus, is_calm);
        let (scope, captured) = (bus.scope(), count());
        let alive = Arc::downgrade(&captured);
        let (registering, ending) = (bus.clone(), Arc::new(scope));
        let scope = Arc::clone(&ending);
        let thread = thread::spawn(move || {
            let listen = registering.listen(1).scope(&scope);
            drop(scope);
            listen
                .on(move |_: &u32| drop(Arc::clone(&captured)))
                .expect("room")
                .forget();
        });
        let generation = ending.generation();
        ending.renew();
        thread.join().expect("no panic");
        // Either it was for the generation that has ended, or it came after the renewal, for the next.
        let is_for_the_next = alive.upgrade().is_some();
        assert_eq!(bus.len(), 1 + usize::from(is_for_the_next));
        assert_eq!(bus.emit_to(&generation, &1, &1).unwrap().called, 0);
        drop(ending);
        assert!(alive.upgrade().is_none());
        assert_eq!(bus.len(), 1);
        bus.validate();
        drop(other);
    });
}

#[test]
fn key_replacement_against_a_stale_guard() {
    explore(|bus, is_calm| {
        let old = bus.listen(1).key("key").on(|_: &u32| ()).expect("room");
        make_calm(&bus, is_calm);
        let replacing = bus.clone();
        let thread = thread::spawn(move || {
            replacing
                .listen(1)
                .key("key")
                .on(|_: &u32| ())
                .expect("room")
        });
        let detached = old.detach();
        let new = thread.join().expect("no panic");
        assert!(new.is_attached());
        assert_eq!(
            (bus.len(), bus.stats().replaced, bus.stats().removed),
            (1, u64::from(!detached), u64::from(detached))
        );
        bus.validate();
    });
}

#[test]
fn detach_and_wait_against_a_running_handler() {
    explore(|bus, is_calm| {
        let (running, captured) = (count(), count());
        let alive = Arc::downgrade(&captured);
        let guard = {
            let running = Arc::clone(&running);
            bus.on(1, move |&event: &u32| {
                let _captured = &captured;
                if event != BEFORE {
                    running.fetch_add(1, Ordering::SeqCst);
                    thread::yield_now();
                    running.fetch_sub(1, Ordering::SeqCst);
                }
            })
        };
        let guard = guard.expect("room");
        make_calm(&bus, is_calm);
        let emitting = bus.clone();
        let thread = thread::spawn(move || emitting.emit(&1, &1).unwrap());
        assert_eq!(guard.detach_and_wait(LONG), Ok::<(), DetachError>(()));
        assert_eq!(running.load(Ordering::SeqCst), 0);
        assert!(alive.upgrade().is_none());
        thread.join().expect("no panic");
    });
}

#[test]
fn pause_and_failure_against_emit() {
    explore(|bus, is_calm| {
        let guard = bus.on(1, |&event: &u32| event != 1).expect("room");
        make_calm(&bus, is_calm);
        let emitting = bus.clone();
        let thread = thread::spawn(move || emitting.emit(&1, &1).unwrap());
        assert!(guard.pause());
        assert_eq!(bus.emit(&1, &2).unwrap().skipped, 1);
        assert!(guard.resume());
        let emitted = thread.join().expect("no panic");
        assert_eq!(emitted.called, emitted.failed);
        assert_eq!(
            bus.listeners()[0].calls as usize,
            emitted.called + if is_calm { 65 } else { 0 }
        );
        bus.validate();
        drop(guard);
    });
}

#[test]
fn calls_are_counted_however_lists_change() {
    explore(|bus, is_calm| {
        let guard = bus.on(1, |_: &u32| ()).expect("room");
        make_calm(&bus, is_calm);
        let emitting = bus.clone();
        let thread = thread::spawn(move || emitting.emit(&1, &1).unwrap().called);
        let other = bus.on(1, |_: &u32| ()).expect("room");
        let called = bus.emit(&1, &2).unwrap().called + thread.join().expect("no panic");
        let before = if is_calm { 65 } else { 0 };
        // Both emits call the first one; the second one is called by the last emit, and by the other if it was late.
        assert_eq!(
            bus.listeners()
                .iter()
                .map(|info| info.calls as usize)
                .collect::<Vec<_>>(),
            [before + 2, called - 2]
        );
        bus.validate();
        drop((guard, other));
    });
}
