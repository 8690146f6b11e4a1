//! Single flight in tokio tasks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::support::timeout::in_time;
use leakproof::{Lookup, LruCache};
use tokio::runtime::{Builder, Runtime};
use tokio::task::yield_now;
use tokio::time::{interval, sleep, timeout};

const MINUTE: Duration = Duration::from_secs(60);

type Cache = LruCache<String, u32>;

fn runtime(workers: usize) -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_time()
        .build()
        .expect("a runtime")
}

#[test]
fn hundred_tasks_on_one_key_compute_once() {
    in_time(|| {
        runtime(4).block_on(async {
            for round in 0..50_u32 {
                let (cache, computed) = (Cache::new(10, MINUTE), Arc::new(AtomicU32::new(0)));
                let tasks: Vec<_> = (0..100)
                    .map(|_| {
                        let (cache, computed) = (cache.clone(), Arc::clone(&computed));
                        tokio::spawn(async move {
                            let compute = async {
                                yield_now().await;
                                computed.fetch_add(1, Ordering::SeqCst) + round
                            };
                            cache.get_or_insert_async("key", compute).await
                        })
                    })
                    .collect();
                for task in tasks {
                    assert_eq!(task.await.expect("no panic"), round);
                }
                assert_eq!(computed.load(Ordering::SeqCst), 1);
                assert_eq!(cache.stats().waiting, 0);
            }
        });
    });
}

/// With the blocking form, the waiting threads are all workers, and the computation has none.
#[test]
fn twenty_waiters_on_eight_workers_do_not_deadlock() {
    in_time(|| {
        runtime(8).block_on(async {
            let cache = Cache::new(10, MINUTE);
            let tasks: Vec<_> = (0..20)
                .map(|_| {
                    let cache = cache.clone();
                    tokio::spawn(async move {
                        let compute = async {
                            // The computation needs a worker more than once.
                            let part = tokio::spawn(async {
                                sleep(Duration::from_millis(5)).await;
                                7
                            });
                            part.await.expect("no panic")
                        };
                        cache.get_or_insert_async("key", compute).await
                    })
                })
                .collect();
            for task in tasks {
                assert_eq!(task.await.expect("no panic"), 7);
            }
        });
    });
}

#[test]
fn aborted_leaders_hand_over_until_one_computes() {
    in_time(|| {
        runtime(4).block_on(async {
            let cache = Cache::new(10, MINUTE);
            let tasks: Vec<_> = (0..500_u32)
                .map(|at| {
                    let cache = cache.clone();
                    tokio::spawn(async move {
                        let compute = async {
                            if at < 499 {
                                sleep(MINUTE).await;
                            }
                            at
                        };
                        cache.get_or_insert_async("key", compute).await
                    })
                })
                .collect();
            // The last task may be the leader already, so no number of waiters is certain.
            while cache.stats().waits == 0 && cache.is_empty() {
                yield_now().await;
            }
            for task in &tasks[..499] {
                task.abort();
            }
            for (at, task) in tasks.into_iter().enumerate() {
                if let Ok(value) = task.await {
                    assert_eq!(value, 499, "task {at}");
                }
            }
            assert_eq!((cache.get("key"), cache.stats().waiting), (Some(499), 0));
        });
    });
}

#[test]
fn select_loop_that_drops_its_wait_gets_the_value_in_the_end() {
    in_time(|| {
        runtime(2).block_on(async {
            let cache = Cache::new(10, MINUTE);
            let Lookup::Vacant(reservation) = cache.get_or_reserve_async("key").await else {
                panic!("it has no value");
            };
            let waiting = cache.clone();
            let task = tokio::spawn(async move {
                let mut every = interval(Duration::from_millis(1));
                loop {
                    tokio::select! {
                        value = waiting.get_or_insert_async("key", async { 0 }) => break value,
                        _ = every.tick() => {}
                    }
                }
            });
            sleep(Duration::from_millis(20)).await;
            // In another task: a reservation moves.
            tokio::spawn(async move { reservation.insert(7) });
            assert_eq!(task.await.expect("no panic"), 7);
            assert_eq!(cache.stats().waiting, 0);
        });
    });
}

#[test]
fn paused_time_cancels_a_leader_and_the_waiter_computes() {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let cache = Cache::new(10, MINUTE);
        let slow = cache.get_or_insert_async("key", async {
            sleep(2 * MINUTE).await;
            1
        });
        let leader = timeout(MINUTE, slow);
        let waiter = async {
            yield_now().await;
            cache.get_or_insert_async("key", async { 2 }).await
        };
        let (leader, waiter) = tokio::join!(leader, waiter);
        assert!(leader.is_err());
        assert_eq!((waiter, cache.get("key")), (2, Some(2)));
    });
}
