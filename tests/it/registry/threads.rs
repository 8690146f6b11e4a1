//! Real threads. The loom models explore the small cases in all their orders.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use leakproof::{CircuitBreaker, ManualClock, Overflow};

use super::helpers::{Bus, Count, HOUR, builder, bus, captured};
use crate::support::concurrently::together;

#[test]
fn no_emit_after_detach_calls_the_listener() {
    let bus = bus();
    together(|thread| {
        for round in 0..2_000 {
            let (late, count) = (Arc::new(AtomicUsize::new(0)), Count::default());
            let (seen, counting) = (Arc::clone(&late), count.clone());
            let guard = bus.on("topic", move |&event| {
                counting.up();
                // An event of this number is emitted by this thread alone, and after the detach.
                if event as usize == thread + 1_000 {
                    seen.fetch_add(1, Ordering::SeqCst);
                }
            });
            bus.emit("topic", &1).unwrap();
            guard.unwrap().detach();
            bus.emit("topic", &(thread as u32 + 1_000)).unwrap();
            assert_eq!(late.load(Ordering::SeqCst), 0, "round {round}");
            assert!(count.get() > 0);
        }
    });
    assert!(bus.is_empty());
    bus.validate();
}

#[test]
fn nothing_runs_after_detach_and_wait() {
    let bus = bus();
    together(|thread| {
        for _ in 0..500 {
            let (running, (value, is_dropped)) = (Arc::new(AtomicUsize::new(0)), captured());
            let in_handler = Arc::clone(&running);
            let guard = bus.on("topic", move |_| {
                in_handler.fetch_add(1, Ordering::SeqCst);
                let _captured = &value;
                thread::yield_now();
                in_handler.fetch_sub(1, Ordering::SeqCst);
            });
            let guard = guard.unwrap();
            if thread % 2 == 0 {
                (0..3).for_each(|event| assert!(bus.emit("topic", &event).unwrap().called > 0));
            }
            assert_eq!(guard.detach_and_wait(HOUR), Ok(()));
            assert!(running.load(Ordering::SeqCst) == 0 && is_dropped());
        }
    });
}

#[test]
fn max_calls_holds_across_threads() {
    for times in [1, 2, 100, 1_000] {
        let (bus, count) = (bus(), Count::default());
        let counting = count.clone();
        let other = bus.on("topic", |_| ()).unwrap();
        let guard = bus
            .listen("topic")
            .max_calls(times)
            .on(move |_| counting.up())
            .unwrap();
        let called: usize = together(|_| {
            (0..300)
                .map(|event| bus.emit("topic", &event).unwrap().called - 1)
                .sum::<usize>()
        })
        .iter()
        .sum();
        assert_eq!((count.get(), called), (times as usize, times as usize));
        assert!(!guard.is_attached());
        assert_eq!(bus.stats().call_limit_reached, 1);
        drop(other);
        bus.validate();
    }
}

#[test]
fn concurrent_registrations_of_a_key_leave_one() {
    let bus = Bus::builder().max_per_topic(1).build().unwrap();
    together(|_| {
        for _ in 0..1_000 {
            let guard = bus.listen("topic").key("key").on(|_| ()).unwrap();
            // Half of them are stale by now, and must not detach the present one.
            guard.forget();
            assert_eq!(bus.len(), 1);
        }
    });
    let stats = bus.stats();
    assert_eq!(
        (stats.inserted, stats.replaced, stats.len),
        (8_000, 7_999, 1)
    );
    bus.validate();
}

#[test]
fn registration_racing_with_its_scope_end_is_detached() {
    let bus = bus();
    for _ in 0..300 {
        let (scope, start, (value, is_dropped)) = (bus.scope(), Barrier::new(2), captured());
        thread::scope(|threads| {
            let listen = bus.listen("topic").scope(&scope);
            threads.spawn(|| {
                start.wait();
                listen
                    .on(move |_| drop(Arc::clone(&value)))
                    .unwrap()
                    .forget();
            });
            start.wait();
            scope.renew();
        });
        assert!(bus.is_empty() && is_dropped());
    }
    assert_eq!(bus.stats().scope_ended, 300);
}

#[test]
fn limits_are_exact_under_concurrency() {
    let bus = Bus::builder()
        .max_listeners(100)
        .max_per_topic(30)
        .build()
        .unwrap();
    let topics = ["a", "b", "c", "d", "e"];
    let guards = together(|thread| {
        let on = |step: usize| bus.on(topics[(thread + step) % 5], |_| ()).ok();
        let guards: Vec<_> = (0..100).filter_map(on).collect();
        assert!(bus.len() <= 100 && topics.iter().all(|topic| bus.listener_count(topic) <= 30));
        guards
    });
    assert_eq!(guards.iter().map(Vec::len).sum::<usize>(), 100);
    assert_eq!((bus.len(), bus.stats().rejected), (100, 700));
    bus.validate();
    drop(guards);
    assert!(bus.is_empty());
}

#[test]
fn random_operations_on_threads_keep_the_registry_valid() {
    let time = ManualClock::new();
    let handlers = Arc::new(());
    let bus = builder()
        .max_listeners(60)
        .max_per_topic(20)
        .overflow(Overflow::EvictOldest)
        .circuit_breaker(CircuitBreaker {
            failures: 3,
            retry_after: Some(Duration::from_secs(5)),
        })
        .ttl(HOUR)
        .clock(&time)
        .build()
        .unwrap();
    let steps = AtomicU64::new(0);
    let topics = ["a", "b", "c", "d"];
    together(|thread| {
        let scope = bus.scope();
        let mut guards = Vec::new();
        for _ in 0..3_000 {
            let step = steps.fetch_add(1, Ordering::Relaxed) as usize;
            let topic = topics[step % 4];
            let (weak, value) = (bus.downgrade(), Arc::clone(&handlers));
            let handler = move |&event: &u32| {
                let _captured = &value;
                assert!(event % 97 != 0, "a handler panics");
                if event % 31 == 0 {
                    weak.upgrade()
                        .unwrap()
                        .emit(topics[(step + 1) % 4], &1)
                        .unwrap();
                }
                event % 7 != 0
            };
            match (step + thread) % 12 {
                0..2 => guards.push(bus.on(topic, handler).unwrap()),
                2 => drop(
                    bus.listen(topic)
                        .scope(&scope)
                        .priority(step as i32 % 3)
                        .on(handler)
                        .unwrap(),
                ),
                3 => guards.push(
                    bus.listen(topic)
                        .key(topics[thread % 4])
                        .on(handler)
                        .unwrap(),
                ),
                4 => drop(
                    bus.listen(topic)
                        .max_calls(3)
                        .filter(|event| event % 2 == 0)
                        .on(handler)
                        .unwrap(),
                ),
                5 if !guards.is_empty() => drop(guards.swap_remove(step % guards.len())),
                6 if !guards.is_empty() => {
                    assert_eq!(
                        guards
                            .swap_remove(step % guards.len())
                            .detach_and_wait(HOUR),
                        Ok(())
                    );
                }
                7 => {
                    let pause = step.is_multiple_of(2);
                    guards
                        .last()
                        .map(|guard| if pause { guard.pause() } else { guard.resume() });
                }
                8 => assert!(!step.is_multiple_of(10) || scope.renew() == scope.generation()),
                9 if step.is_multiple_of(50) => time.advance(Duration::from_secs(7)),
                _ => assert!(bus.emit(topic, &(step as u32)).unwrap().called <= 20),
            }
        }
    });
    bus.validate();
    let stats = bus.stats();
    let left = stats.expired
        + stats.evicted
        + stats.replaced
        + stats.removed
        + stats.scope_ended
        + stats.call_limit_reached;
    assert_eq!(stats.inserted, left + stats.len as u64);
    assert_eq!(
        Arc::strong_count(&handlers),
        1 + bus.len(),
        "what left is dropped, what is there is not"
    );
    bus.clear();
    assert_eq!(Arc::strong_count(&handlers), 1);
}

#[test]
fn panicking_thread_leaves_the_registry_valid() {
    let bus = bus();
    let (value, is_dropped) = captured();
    let died = thread::scope(|threads| {
        let dies = || {
            let _guard = bus.on("topic", move |_| drop(Arc::clone(&value))).unwrap();
            let _scope = bus.scope();
            panic!("half-way");
        };
        threads.spawn(dies).join()
    });
    assert!(died.is_err() && is_dropped() && bus.is_empty());
    bus.validate();
}
