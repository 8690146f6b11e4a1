//! A cache that several threads use at once.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Barrier, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use crate::support::concurrently::{THREADS, together};
use crate::support::timeout::in_time;
use leakproof::{ComputeError, LruCache, ManualClock, RemovalCause};

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn concurrent_callers_share_one_computation() {
    for round in 0..200 {
        let cache = LruCache::<u32, Arc<u32>>::new(10, MINUTE);
        let computed = AtomicU32::new(0);
        let values = together(|_| {
            cache.get_or_insert_with(&round, || {
                thread::yield_now();
                Arc::new(computed.fetch_add(1, Ordering::SeqCst))
            })
        });
        assert_eq!(computed.load(Ordering::SeqCst), 1);
        assert!(values.iter().all(|value| Arc::ptr_eq(value, &values[0])));
    }
}

#[test]
fn failed_computation_lets_the_next_caller_try() {
    for _ in 0..100 {
        let cache = LruCache::<u32, u32>::new(10, MINUTE);
        let tries = AtomicU32::new(0);
        let values = together(|_| {
            cache.try_get_or_insert_with(&1, || match tries.fetch_add(1, Ordering::SeqCst) {
                3 => Ok(7),
                n => Err(n),
            })
        });
        assert_eq!(
            tries.load(Ordering::SeqCst),
            4,
            "three fail, and the fourth serves the others"
        );
        let failed = values
            .iter()
            .filter(|value| matches!(value, Err(ComputeError::Failed(0..3))))
            .count();
        assert_eq!(
            (
                failed,
                values.iter().filter(|value| **value == Ok(7)).count()
            ),
            (3, THREADS - 3)
        );
        assert_eq!(cache.get(&1), Some(7));
    }
}

#[test]
fn panicking_computation_lets_the_next_caller_try() {
    let cache = LruCache::<u32, u32>::new(10, MINUTE);
    let tries = AtomicU32::new(0);
    let values = together(|_| {
        let compute = || match tries.fetch_add(1, Ordering::SeqCst) {
            0 => panic!("the first computation panics"),
            n => n,
        };
        thread::scope(|scope| {
            scope
                .spawn(|| cache.get_or_insert_with(&1, compute))
                .join()
                .ok()
        })
    });
    assert_eq!(
        values.iter().filter(|value| **value == Some(1)).count(),
        THREADS - 1
    );
    assert_eq!(values.iter().filter(|value| value.is_none()).count(), 1);
    assert_eq!(tries.load(Ordering::SeqCst), 2);
}

#[test]
fn computation_may_use_the_cache() {
    let cache = LruCache::<u32, u64>::builder()
        .max_entries(100)
        .shards(1)
        .build()
        .expect("valid limits");
    fn fibonacci(cache: &LruCache<u32, u64>, n: u32) -> u64 {
        cache.get_or_insert_with(&n, || {
            if n < 2 {
                n.into()
            } else {
                fibonacci(cache, n - 1) + fibonacci(cache, n - 2)
            }
        })
    }
    assert_eq!(fibonacci(&cache, 80), 23_416_728_348_467_685);
    assert_eq!(cache.len(), 81);
    let within = cache.get_or_insert_with(&1_000, || {
        cache.insert(1_001, 1);
        cache.sweep();
        cache.clear();
        cache.stats().len as u64
    });
    assert_eq!(within, 0);
}

#[test]
fn computation_that_needs_itself_is_an_error() {
    let cache = LruCache::<u32, u32>::new(10, MINUTE);
    let result = cache.try_get_or_insert_with(&1, || {
        let inner = cache.try_get_or_insert_with(&1, || Ok::<_, ()>(2));
        assert_eq!(inner, Err(ComputeError::Cycle));
        cache.try_get_or_insert_with(&2, || cache.try_get_or_insert_with(&1, || Ok::<_, ()>(3)))
    });
    assert_eq!(
        result,
        Err(ComputeError::Failed(ComputeError::Failed(
            ComputeError::Cycle
        )))
    );
    assert_eq!(
        cache.try_get_or_insert_with(&1, || Ok::<_, ()>(4)),
        Ok(4),
        "the key is free again"
    );
    let panics = || cache.get_or_insert_with(&5, || cache.get_or_insert_with(&5, || 6));
    let message =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(panics)).expect_err("a cycle");
    assert!(
        message
            .downcast::<String>()
            .expect("a message")
            .contains("compute itself")
    );
}

#[test]
fn compute_errors_convert_into_the_callers_error() {
    type Boxed = Box<dyn std::error::Error>;
    let cache = LruCache::<u32, u32>::new(10, MINUTE);
    let get = |key, compute: &dyn Fn() -> Result<u32, Boxed>| -> Result<u32, Boxed> {
        cache
            .try_get_or_insert_with(&key, compute)
            .map_err(ComputeError::into_error)
    };
    assert_eq!(
        get(1, &|| Err("no such key".into()))
            .expect_err("it failed")
            .to_string(),
        "no such key"
    );
    let cycle = get(2, &|| get(2, &|| Ok(3))).expect_err("a cycle");
    assert_eq!(
        cycle.downcast_ref(),
        Some(&ComputeError::<std::convert::Infallible>::Cycle)
    );
}

#[test]
fn computations_that_need_each_other_are_an_error() {
    for _ in 0..50 {
        let cache = LruCache::<u32, u32>::builder()
            .max_entries(100)
            .shards(4)
            .build()
            .expect("valid limits");
        let both = Barrier::new(3);
        let results = thread::scope(|scope| {
            let compute = |mine: u32, other: u32| {
                let (cache, both) = (&cache, &both);
                scope.spawn(move || {
                    cache.try_get_or_insert_with(&mine, || {
                        both.wait();
                        cache.try_get_or_insert_with(&other, || Ok::<u32, ()>(100 + other))
                    })
                })
            };
            let threads = [compute(1, 2), compute(2, 3), compute(3, 1)];
            threads.map(|thread| thread.join().expect("no panic"))
        });
        // The call that would complete the cycle fails. The thread that waits for its key computes
        // it then.
        assert!(results.iter().any(Result::is_err), "{results:?}");
        assert!(results.iter().any(Result::is_ok), "{results:?}");
        cache.validate();
    }
}

#[test]
fn computation_does_not_overwrite_later_writes() {
    let cache = LruCache::<u32, u32>::new(10, MINUTE);
    let got = cache.get_or_insert_with(&1, || {
        cache.insert(1, 20);
        10
    });
    assert_eq!(
        (got, cache.get(&1)),
        (10, Some(20)),
        "the write is later than the computation"
    );
    cache.remove(&1);
    let got = cache.get_or_insert_with(&1, || {
        assert_eq!(cache.remove(&1), None);
        11
    });
    assert_eq!((got, cache.get(&1)), (11, None));
    cache.get_or_insert_with(&1, || {
        cache.clear();
        12
    });
    assert!(cache.is_empty());
}

#[test]
fn too_heavy_computed_value_is_returned_and_not_stored() {
    let rejected = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&rejected);
    let cache = LruCache::<u32, u32>::builder()
        .max_weight(10)
        .weigher(|_, weight| *weight)
        .on_removal(move |_, weight, _| {
            count.fetch_add(*weight, Ordering::SeqCst);
        })
        .build()
        .expect("valid limits");
    assert_eq!(cache.get_or_insert_with(&1, || 11), 11);
    assert_eq!(
        (
            cache.len(),
            rejected.load(Ordering::SeqCst),
            cache.stats().rejected
        ),
        (0, 11, 1)
    );
}

/// A cache that its own removal callback uses.
type Slot = Arc<OnceLock<LruCache<u32, u32>>>;

#[test]
fn removal_callback_may_compute_the_expired_key() {
    let (time, slot) = (ManualClock::new(), Slot::default());
    let refill = {
        let slot = Arc::clone(&slot);
        move |key: &u32, _: &u32, cause| {
            if cause == RemovalCause::Expired {
                slot.get()
                    .expect("initialized")
                    .get_or_insert_with(key, || 7);
            }
        }
    };
    let builder = LruCache::builder()
        .max_entries(10)
        .ttl(MINUTE)
        .shards(1)
        .clock(&time)
        .on_removal(refill);
    let cache = slot.get_or_init(|| builder.build().expect("valid limits"));
    cache.insert(1, 1);
    time.advance(MINUTE);
    assert_eq!(
        (
            cache.get_or_insert_with(&1, || 8),
            cache.stats().callback_panics
        ),
        (8, 0)
    );
    assert_eq!(cache.peek(&1), Some(8));
}

#[test]
fn waiting_callers_get_the_value_before_callbacks_run() {
    let (slot, log) = (Slot::default(), Arc::new(Mutex::new(Vec::new())));
    // The value of 99 needs the value of 1, whose insert evicts 0.
    let asks = {
        let (slot, log) = (Arc::clone(&slot), Arc::clone(&log));
        move |&key: &u32, _: &u32, _| {
            if key == 0 {
                let cache = slot.get().expect("initialized");
                let got =
                    cache.try_get_or_insert_with(&99, || Err::<u32, _>("it is being computed"));
                log.lock().expect("not poisoned").push(got);
            }
        }
    };
    let builder = LruCache::builder()
        .max_entries(1)
        .shards(1)
        .on_removal(asks);
    slot.set(builder.build().expect("valid limits"))
        .expect("the first");
    let values = in_time(move || {
        let cache = slot.get().expect("initialized");
        cache.insert(0, 0);
        let (begun, ready) = (Barrier::new(2), Barrier::new(2));
        thread::scope(|scope| {
            let needs = scope.spawn(|| {
                cache.get_or_insert_with(&99, || {
                    begun.wait();
                    ready.wait();
                    cache.get_or_insert_with(&1, || unreachable!("it is being computed")) + 1
                })
            });
            begun.wait();
            let value = cache.get_or_insert_with(&1, || {
                ready.wait();
                // Long enough for the other thread to wait for this.
                thread::park_timeout(Duration::from_millis(200));
                1
            });
            (value, needs.join().expect("no panic"))
        })
    });
    assert_eq!(values, (1, 2));
    assert_eq!(*log.lock().expect("not poisoned"), [Ok(2)]);
}

#[test]
fn removal_callback_may_change_the_same_bound() {
    let slot = Slot::default();
    let resize = {
        let slot = Arc::clone(&slot);
        move |_: &u32, _: &u32, _| {
            slot.get()
                .expect("initialized")
                .set_max_entries(3)
                .expect("a valid limit");
        }
    };
    let builder = LruCache::builder()
        .max_entries(100)
        .shards(2)
        .on_removal(resize);
    slot.set(builder.build().expect("valid limits"))
        .expect("the first");
    in_time(move || {
        let cache = slot.get().expect("initialized");
        (0..10).for_each(|key| assert_eq!(cache.insert(key, key), None));
        cache.set_max_entries(4).expect("a valid limit");
        assert_eq!(
            (cache.stats().max_entries, cache.stats().callback_panics),
            (3, 0)
        );
        assert!(cache.len() <= 3);
        cache.validate();
    });
}

#[test]
fn call_counts_as_one_hit_or_miss() {
    let time = ManualClock::new();
    let builder = LruCache::<u32, u32>::builder()
        .max_entries(10)
        .ttl(MINUTE)
        .shards(1);
    let cache = builder.clock(&time).build().expect("valid limits");
    let begun = Barrier::new(2);
    thread::scope(|scope| {
        scope.spawn(|| {
            begun.wait();
            assert_eq!(cache.get_or_insert_with(&1, || 5), 5);
        });
        let failed = cache.try_get_or_insert_with(&1, || {
            begun.wait();
            // Long enough for the other thread to wait for this.
            thread::park_timeout(Duration::from_millis(200));
            Err(())
        });
        assert_eq!(failed, Err(ComputeError::Failed(())));
    });
    assert_eq!((cache.stats().hits, cache.stats().misses), (0, 2));
    time.advance(MINUTE);
    assert_eq!(
        (
            cache.get_or_insert_with(&1, || 6),
            cache.get_or_insert_with(&1, || 7)
        ),
        (6, 6)
    );
    assert_eq!((cache.stats().hits, cache.stats().misses), (1, 3));
}

#[test]
fn bounds_hold_under_concurrent_use() {
    let time = ManualClock::new();
    let log = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&log);
    let cache = LruCache::<u32, u32>::builder()
        .max_entries(300)
        .max_weight(2_000)
        .weigher(|_, weight| *weight)
        .ttl(MINUTE)
        .idle_timeout(MINUTE / 2)
        .on_removal(move |_, _, _| {
            count.fetch_add(1, Ordering::SeqCst);
        })
        .shards(4)
        .clock(&time)
        .build()
        .expect("valid limits");
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                assert!(cache.len() <= 300 && cache.weight() <= 2_000);
                cache.validate();
            }
        });
        together(|thread| {
            let mut random = thread as u32 + 1;
            for step in 0..5_000 {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let key = random >> 8 & 511;
                match random >> 20 & 15 {
                    0..6 => drop(cache.insert(key, key % 17)),
                    6..10 => drop(cache.get(&key)),
                    10..12 => drop(cache.get_or_insert_with(&key, || key % 17)),
                    12 => drop(cache.remove(&key)),
                    13 => drop(cache.pop_lru()),
                    14 => time.advance(Duration::from_millis(100)),
                    _ if step % 50 == 0 => cache
                        .set_max_entries(200 + key as usize % 100)
                        .expect("a valid limit"),
                    _ => drop(cache.sweep()),
                }
            }
        });
        done.store(true, Ordering::SeqCst);
    });
    cache.clear();
    let stats = cache.stats();
    let gone = stats.expired + stats.idle + stats.evicted + stats.replaced + stats.removed;
    assert_eq!(
        (stats.inserted, u64::from(log.load(Ordering::SeqCst))),
        (gone, gone),
        "every removal is notified once: {stats}"
    );
}

#[test]
fn waiter_for_another_key_closes_no_cycle() {
    let cache = LruCache::<u32, u32>::new(10, MINUTE);
    let await_misses = |misses| {
        while cache.stats().misses < misses {
            thread::yield_now();
        }
    };
    let begun = Barrier::new(3);
    let (begun, cache, await_misses) = (&begun, &cache, &await_misses);
    let result = thread::scope(|scope| {
        let first = scope.spawn(move || {
            cache.try_get_or_insert_with(&1, || {
                begun.wait();
                await_misses(3);
                // Long enough that the third thread waits, most of the time.
                thread::park_timeout(Duration::from_millis(20));
                cache.try_get_or_insert_with(&2, || Ok::<_, ()>(3))
            })
        });
        scope.spawn(move || {
            cache.get_or_insert_with(&2, || {
                begun.wait();
                await_misses(4);
                thread::park_timeout(Duration::from_millis(20));
                2
            })
        });
        scope.spawn(move || {
            begun.wait();
            drop(cache.try_get_or_insert_with(&1, || Ok::<_, ()>(4)));
        });
        first.join().unwrap()
    });
    assert_eq!(result, Ok(2));
}
