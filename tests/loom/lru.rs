//! Single flight in every interleaving of two threads. `src/sync.rs` says how to run it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::tasks::{Flag, explore, poll, run};
use leakproof::{ComputeError, Lookup, LruCache, ManualClock, Reservation};
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;

fn cache() -> Arc<LruCache<u32, u32>> {
    let builder = LruCache::builder()
        .max_entries(4)
        .shards(1)
        .clock(&ManualClock::new());
    Arc::new(builder.build().expect("valid limits"))
}

#[test]
fn concurrent_callers_share_one_computation() {
    loom::model(|| {
        let (cache, computed) = (cache(), Arc::new(AtomicU32::new(0)));
        let ask = {
            let (cache, computed) = (Arc::clone(&cache), Arc::clone(&computed));
            move || cache.get_or_insert_with(&1, || computed.fetch_add(1, Ordering::SeqCst) + 10)
        };
        let other = thread::spawn(ask.clone());
        assert_eq!((ask(), other.join().expect("no panic")), (10, 10));
        assert_eq!(computed.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn waiting_caller_computes_after_a_failure() {
    for panics in [false, true] {
        loom::model(move || {
            let cache = cache();
            let failing = Arc::clone(&cache);
            let other = thread::spawn(move || {
                let compute = || {
                    if panics {
                        panic!("the computation panics")
                    } else {
                        Err::<u32, ()>(())
                    }
                };
                let result = catch_unwind(AssertUnwindSafe(|| {
                    failing.try_get_or_insert_with(&1, compute)
                }));
                // If the other thread was first, there was nothing to compute.
                result.map_or(true, |result| {
                    matches!(result, Err(ComputeError::Failed(())) | Ok(7))
                })
            });
            assert_eq!(cache.get_or_insert_with(&1, || 7), 7);
            assert!(other.join().expect("contained"));
            assert_eq!(cache.peek(&1), Some(7));
        });
    }
}

#[test]
fn computation_does_not_overwrite_a_write() {
    loom::model(|| {
        let cache = cache();
        let writing = Arc::clone(&cache);
        let other = thread::spawn(move || {
            writing.insert(1, 20);
        });
        let got = cache.get_or_insert_with(&1, || 10);
        other.join().expect("no panic");
        assert!(got == 10 || got == 20);
        assert_eq!(
            cache.peek(&1),
            Some(20),
            "the write is later, or replaced the value"
        );
    });
}

#[test]
fn computation_is_not_stored_after_a_removal() {
    loom::model(|| {
        let (cache, begun) = (cache(), Arc::new(AtomicU32::new(0)));
        let (removing, seen) = (Arc::clone(&cache), Arc::clone(&begun));
        let other = thread::spawn(move || {
            let during = seen.load(Ordering::SeqCst) == 1;
            let removed = removing.remove(&1);
            during && removed.is_none()
        });
        cache.get_or_insert_with(&1, || {
            begun.store(1, Ordering::SeqCst);
            10
        });
        if other.join().expect("no panic") {
            assert_eq!(cache.peek(&1), None, "removed during the computation");
        }
    });
}

#[test]
fn computations_that_need_each_other_end() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let cache = cache();
        let ask = |cache: &LruCache<u32, u32>, mine: u32, other: u32| {
            cache.try_get_or_insert_with(&mine, || {
                cache.try_get_or_insert_with(&other, || Ok::<u32, ()>(other))
            })
        };
        let there = Arc::clone(&cache);
        let other = thread::spawn(move || ask(&there, 2, 1).is_ok());
        let here = ask(&cache, 1, 2).is_ok();
        assert!(
            other.join().expect("no panic") | here,
            "at least one thread gets a value"
        );
    });
}

#[test]
fn no_cycle_is_reported_without_one() {
    loom::model(|| {
        let cache = cache();
        let there = Arc::clone(&cache);
        let other = thread::spawn(move || {
            there.try_get_or_insert_with(&2, || {
                there.try_get_or_insert_with(&1, || Ok::<u32, ()>(10))
            })
        });
        let first = cache.try_get_or_insert_with(&1, || Ok::<u32, ()>(10));
        let then = cache.try_get_or_insert_with(&2, || Ok::<u32, ()>(10));
        assert_eq!(
            (first, then, other.join().expect("no panic")),
            (Ok(10), Ok(10), Ok(10))
        );
    });
}

#[test]
fn failed_refresh_is_not_repeated_by_another_caller() {
    loom::model(|| {
        let (time, minute) = (ManualClock::new(), std::time::Duration::from_secs(60));
        let builder = LruCache::builder().max_entries(4).shards(1);
        let builder = builder.ttl(minute).stale(minute).clock(&time);
        let cache = Arc::new(builder.build().expect("valid limits"));
        cache.insert(1, 10);
        time.advance(minute);
        let runs = Arc::new(AtomicU32::new(0));
        let refresh = {
            let (cache, runs) = (Arc::clone(&cache), Arc::clone(&runs));
            move || {
                cache.get_or_refresh_with(&1, || {
                    runs.fetch_add(1, Ordering::SeqCst);
                    Err(())
                })
            }
        };
        let other = thread::spawn(refresh.clone());
        assert_eq!(
            (refresh(), other.join().expect("no panic")),
            (Ok(10), Ok(10))
        );
        assert_eq!(runs.load(Ordering::SeqCst), 1);
        assert_eq!(cache.stats().stale_hits, 2);
    });
}

fn reserve(cache: &LruCache<u32, u32>) -> Reservation<u32, u32> {
    match cache.get_or_reserve(&1) {
        Lookup::Vacant(reservation) => reservation,
        Lookup::Hit(value) => panic!("hit: {value}"),
    }
}

#[test]
fn tasks_and_threads_share_one_computation() {
    explore(|| {
        let (cache, computed) = (cache(), Arc::new(AtomicU32::new(0)));
        let (there, count) = (Arc::clone(&cache), Arc::clone(&computed));
        let other = thread::spawn(move || {
            there.get_or_insert_with(&1, || count.fetch_add(1, Ordering::SeqCst) + 10)
        });
        let compute = async { computed.fetch_add(1, Ordering::SeqCst) + 10 };
        let here = run(cache.get_or_insert_async(&1, compute));
        assert_eq!((here, other.join().expect("no panic")), (10, 10));
        assert_eq!(computed.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn cancelled_leader_hands_over_to_a_caller_that_begins_to_wait() {
    explore(|| {
        let cache = cache();
        let reservation = reserve(&cache);
        let cancelling = thread::spawn(move || drop(reservation));
        assert_eq!(run(cache.get_or_insert_async(&1, async { 7 })), 7);
        cancelling.join().expect("no panic");
        assert_eq!(cache.stats().waiting, 0);
    });
}

#[test]
fn turn_of_a_cancelled_waiter_reaches_the_other() {
    explore(|| {
        let (cache, flag) = (cache(), Arc::<Flag>::default());
        let reservation = reserve(&cache);
        let there = Arc::clone(&cache);
        let mut cancelled = Box::pin(async move { there.get_or_reserve_async(&1).await });
        assert!(poll(cancelled.as_mut(), &flag).is_pending());
        let mut other = Box::pin(cache.get_or_insert_async(&1, async { 7 }));
        assert!(poll(other.as_mut(), &flag).is_pending());
        let thread = thread::spawn(move || drop(cancelled));
        drop(reservation);
        let value = loop {
            if let std::task::Poll::Ready(value) = poll(other.as_mut(), &flag) {
                break value;
            }
            flag.wait();
        };
        assert_eq!(value, 7);
        thread.join().expect("no panic");
    });
}

#[test]
fn write_during_a_hand_over_reaches_the_waiter() {
    explore(|| {
        let cache = cache();
        let reservation = reserve(&cache);
        let writing = Arc::clone(&cache);
        let thread = thread::spawn(move || {
            writing.insert(1, 20);
        });
        let (flag, compute) = (Arc::<Flag>::default(), async { 10 });
        let mut waiter = Box::pin(cache.get_or_insert_async(&1, compute));
        if poll(waiter.as_mut(), &flag).is_pending() {
            drop(reservation);
            let value = run(waiter);
            assert!(value == 10 || value == 20);
        }
        thread.join().expect("no panic");
        assert_eq!(
            cache.peek(&1),
            Some(20),
            "the write is later, or superseded it"
        );
    });
}
