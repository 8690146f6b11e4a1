//! Models of single flight, checked over all orders in which threads can meet. How to run them: `src/sync.rs`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use leakproof::{ComputeError, LruCache, ManualClock};
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;

fn cache() -> Arc<LruCache<u32, u32>> {
    let builder = LruCache::builder()
        .max_entries(4)
        .shards(1)
        .clock(&ManualClock::new());
    Arc::new(builder.build().expect("sound limits"))
}

#[test]
fn one_computes_and_the_other_gets_its_value() {
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
fn who_waits_for_a_computation_that_fails_or_panics_is_woken_and_computes() {
    for panics in [false, true] {
        loom::model(move || {
            let cache = cache();
            let failing = Arc::clone(&cache);
            let other = thread::spawn(move || {
                let compute = || {
                    if panics {
                        panic!("half-way")
                    } else {
                        Err::<u32, ()>(())
                    }
                };
                let result = catch_unwind(AssertUnwindSafe(|| {
                    failing.try_get_or_insert_with(&1, compute)
                }));
                // Where the other was first, there was nothing to compute.
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
fn what_is_written_during_a_computation_stays() {
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
            "the write was later, or found the value and replaced it"
        );
    });
}

#[test]
fn what_is_removed_during_a_computation_is_not_stored_by_it() {
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
            assert_eq!(
                cache.peek(&1),
                None,
                "asked to be gone when it was being computed"
            );
        }
    });
}

#[test]
fn threads_that_need_each_others_values_do_not_wait_for_ever() {
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
            "one of them at least gets a value"
        );
    });
}

#[test]
fn no_circle_is_told_where_there_is_none() {
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
