//! Loom models of `ListenerRegistry`. `src/sync.rs` says how to run them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use leakproof::{DetachError, ListenerRegistry, ManualClock};
use loom::sync::atomic::AtomicBool;
use loom::thread;

type Bus = ListenerRegistry<u32, u32>;

const LONG: Duration = Duration::from_secs(3600);
/// Explores all orders in which no thread is preempted more than three times.
fn explore(model: impl Fn(Bus) + Sync + Send + Copy + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.max_branches = 100_000;
    builder.check(move || {
        let bus = Bus::builder().clock(&ManualClock::new()).build().unwrap();
        model(bus);
    });
}

/// Returns a counter for assertions. Not loom's, so that models do not explore its accesses.
fn count() -> Arc<AtomicUsize> {
    Arc::default()
}

#[test]
fn detach_against_emit() {
    explore(|bus| {
        let (calls, captured) = (count(), count());
        let alive = Arc::downgrade(&captured);
        let guard = {
            let calls = Arc::clone(&calls);
            bus.on(1, move |_: &u32| {
                let _captured = &captured;
                calls.fetch_add(1, Ordering::SeqCst);
            })
        };
        let guard = guard.unwrap();
        let emitting = bus.clone();
        let thread = thread::spawn(move || emitting.emit(&1, &1).unwrap());
        assert!(guard.detach());
        let until_now = calls.load(Ordering::SeqCst);
        assert_eq!(
            bus.emit(&1, &2).unwrap().called,
            0,
            "no later emit calls it"
        );
        let emitted = thread.join().unwrap();
        assert_eq!(emitted.called, calls.load(Ordering::SeqCst));
        assert!(until_now <= 1 && emitted.called <= 1);
        assert!(
            alive.upgrade().is_none(),
            "the last holder dropped the captures"
        );
        bus.validate();
    });
}

#[test]
fn detach_against_emit_between_two_calls() {
    explore(|bus| {
        // Loom's, because the emit observes through it that the second listener was detached.
        let detached = Arc::new(AtomicBool::new(false));
        let (knew, called) = (count(), count());
        let first = {
            let (detached, knew) = (Arc::clone(&detached), Arc::clone(&knew));
            bus.on(1, move |_: &u32| {
                if detached.load(Ordering::Acquire) {
                    knew.fetch_add(1, Ordering::SeqCst);
                }
            })
        };
        let second = {
            let (knew, called) = (Arc::clone(&knew), Arc::clone(&called));
            bus.on(1, move |_: &u32| {
                assert_eq!(
                    knew.load(Ordering::SeqCst),
                    0,
                    "called after the emit observed the detach"
                );
                called.fetch_add(1, Ordering::SeqCst);
            })
        };
        let (first, second) = (first.unwrap(), second.unwrap());
        let emitting = bus.clone();
        let thread = thread::spawn(move || emitting.emit(&1, &1).unwrap());
        assert!(second.detach());
        detached.store(true, Ordering::Release);
        let emitted = thread.join().unwrap();
        assert_eq!(
            (emitted.called, emitted.panicked),
            (1 + called.load(Ordering::SeqCst), 0)
        );
        bus.validate();
        drop(first);
    });
}

#[test]
fn max_calls_across_threads() {
    explore(|bus| {
        let calls = count();
        let other = bus.on(1, |_: &u32| ()).unwrap();
        let guard = {
            let calls = Arc::clone(&calls);
            let listen = bus.listen(1).max_calls(1);
            listen.on(move |_: &u32| {
                calls.fetch_add(1, Ordering::SeqCst);
            })
        };
        let emitting = bus.clone();
        let thread = thread::spawn(move || emitting.emit(&1, &1).unwrap().called);
        let here = bus.emit(&1, &2).unwrap().called;
        assert_eq!(
            here + thread.join().unwrap(),
            3,
            "both emits call the other listener, one calls this"
        );
        assert_eq!((calls.load(Ordering::SeqCst), bus.len()), (1, 1));
        bus.validate();
        drop((guard, other));
    });
}

#[test]
fn last_call_against_detach() {
    explore(|bus| {
        let calls = count();
        let guard = {
            let calls = Arc::clone(&calls);
            let listen = bus.listen(1).max_calls(1);
            listen.on(move |_: &u32| {
                calls.fetch_add(1, Ordering::SeqCst);
            })
        };
        let guard = guard.unwrap();
        let emitting = bus.clone();
        let thread = thread::spawn(move || emitting.emit(&1, &1).unwrap());
        let was_attached = guard.detach();
        let emitted = thread.join().unwrap();
        // Either the emit removed the listener and called it, or `detach` did.
        assert_eq!(emitted.called, usize::from(!was_attached));
        assert_eq!(calls.load(Ordering::SeqCst), emitted.called);
        assert!(bus.is_empty());
        bus.validate();
    });
}

#[test]
fn scope_end_against_registration() {
    explore(|bus| {
        let other = bus.on(1, |_: &u32| ()).unwrap();
        let (scope, captured) = (bus.scope(), count());
        let alive = Arc::downgrade(&captured);
        let (registering, ending) = (bus.clone(), Arc::new(scope));
        let scope = Arc::clone(&ending);
        let thread = thread::spawn(move || {
            let listen = registering.listen(1).scope(&scope);
            drop(scope);
            listen
                .on(move |_: &u32| drop(Arc::clone(&captured)))
                .unwrap()
                .forget();
        });
        let generation = ending.generation();
        ending.renew();
        thread.join().unwrap();
        // The registration was for the ended generation, or after the renewal for the next one.
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
    explore(|bus| {
        let old = bus.listen(1).key("key").on(|_: &u32| ()).unwrap();
        let replacing = bus.clone();
        let thread =
            thread::spawn(move || replacing.listen(1).key("key").on(|_: &u32| ()).unwrap());
        let detached = old.detach();
        let new = thread.join().unwrap();
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
    explore(|bus| {
        let (running, captured) = (count(), count());
        let alive = Arc::downgrade(&captured);
        let guard = {
            let running = Arc::clone(&running);
            bus.on(1, move |_: &u32| {
                let _captured = &captured;
                running.fetch_add(1, Ordering::SeqCst);
                thread::yield_now();
                running.fetch_sub(1, Ordering::SeqCst);
            })
        };
        let guard = guard.unwrap();
        let emitting = bus.clone();
        let thread = thread::spawn(move || emitting.emit(&1, &1).unwrap());
        assert_eq!(guard.detach_and_wait(LONG), Ok::<(), DetachError>(()));
        assert_eq!(running.load(Ordering::SeqCst), 0);
        assert!(alive.upgrade().is_none());
        thread.join().unwrap();
    });
}

#[test]
fn pause_and_failure_against_emit() {
    explore(|bus| {
        let guard = bus.on(1, |&event: &u32| event != 1).unwrap();
        let emitting = bus.clone();
        let thread = thread::spawn(move || emitting.emit(&1, &1).unwrap());
        assert!(guard.pause());
        assert_eq!(bus.emit(&1, &2).unwrap().skipped, 1);
        assert!(guard.resume());
        let emitted = thread.join().unwrap();
        assert_eq!(emitted.called, emitted.failed);
        assert_eq!(bus.listeners()[0].calls as usize, emitted.called);
        bus.validate();
        drop(guard);
    });
}

#[test]
fn calls_are_counted_however_lists_change() {
    explore(|bus| {
        let guard = bus.on(1, |_: &u32| ()).unwrap();
        let emitting = bus.clone();
        let thread = thread::spawn(move || emitting.emit(&1, &1).unwrap().called);
        let other = bus.on(1, |_: &u32| ()).unwrap();
        let called = bus.emit(&1, &2).unwrap().called + thread.join().unwrap();
        // Both emits call the first listener. The last emit calls the second, the other one only if
        // it began late.
        assert_eq!(
            bus.listeners()
                .iter()
                .map(|info| info.calls as usize)
                .collect::<Vec<_>>(),
            [2, called - 2]
        );
        bus.validate();
        drop((guard, other));
    });
}
