//! Computations that tasks and threads share, polled one step at a time.

use std::cell::Cell;
use std::future::{pending, ready};
use std::hash::{BuildHasherDefault, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use crate::support::task::{Task, count};
use crate::support::timeout::in_time;
use leakproof::{ComputeError, Lookup, LruCache, ManualClock, Reservation};

const MINUTE: Duration = Duration::from_secs(60);

type Cache = LruCache<String, u32>;

fn cache() -> Cache {
    limited(10_000)
}

fn limited(max_waiting: usize) -> Cache {
    let builder = LruCache::builder()
        .max_entries(10)
        .ttl(MINUTE)
        .shards(1)
        .max_waiting(max_waiting);
    builder
        .clock(ManualClock::new())
        .build()
        .expect("valid limits")
}

/// Returns the reservation of a key without a value.
fn reserve(cache: &Cache, key: &str) -> Reservation<String, u32> {
    match Task::new(cache.get_or_reserve_async(key)).output() {
        Lookup::Vacant(reservation) => reservation,
        Lookup::Hit(value) => panic!("hit: {value}"),
    }
}

/// A future that must not be polled.
async fn not_polled() -> u32 {
    panic!("another caller computes")
}

fn assert_idle(cache: &Cache) {
    cache.validate();
    assert_eq!(cache.stats().waiting, 0);
    // No computation is left in the table.
    assert_eq!(
        Task::new(cache.get_or_insert_async("idle?", ready(0))).output(),
        0
    );
    cache.remove("idle?");
}

#[test]
fn waiting_callers_get_the_value_of_one_computation() {
    let cache = cache();
    let reservation = reserve(&cache, "key");
    assert_eq!(reservation.key(), "key");
    let mut tasks: Vec<_> = (0..100)
        .map(|_| Task::waiting(cache.get_or_insert_async("key", not_polled())))
        .collect();
    assert_eq!(cache.stats().waiting, 100);
    assert_eq!(reservation.insert(7), 7);
    for task in &mut tasks {
        assert_eq!((task.wakes(), task.output()), (1, 7));
    }
    let mut hit = Task::new(cache.get_or_insert_async("key", not_polled()));
    assert_eq!(hit.output(), 7);
    let stats = cache.stats();
    assert_eq!((stats.misses, stats.hits, stats.waits), (101, 1, 100));
    assert_idle(&cache);
}

#[test]
fn cancelled_leader_hands_over_to_the_first_waiter_only() {
    let cache = cache();
    let leader = Task::waiting(cache.get_or_insert_async("key", pending()));
    let mut first = Task::waiting(cache.get_or_insert_async("key", ready(1)));
    let mut second = Task::waiting(cache.get_or_insert_async("key", not_polled()));
    drop(leader);
    assert_eq!((first.wakes(), second.wakes()), (1, 0));
    // A later caller does not overtake.
    let mut late = Task::waiting(cache.get_or_insert_async("key", not_polled()));
    assert_eq!(first.output(), 1);
    assert_eq!((second.output(), late.output()), (1, 1));
    assert_idle(&cache);
}

#[test]
fn failed_leader_keeps_its_error_and_hands_over() {
    let cache = cache();
    let (sender, receiver) = std::sync::mpsc::channel::<Result<u32, &str>>();
    let compute = std::future::poll_fn(|_| match receiver.try_recv() {
        Ok(result) => Poll::Ready(result),
        Err(_) => Poll::Pending,
    });
    let mut leader = Task::waiting(cache.try_get_or_insert_async("key", compute));
    let mut fails =
        Task::waiting(cache.try_get_or_insert_async("key", ready(Err::<u32, _>("second"))));
    let mut succeeds = Task::waiting(cache.try_get_or_insert_async("key", ready(Ok::<_, &str>(3))));
    sender.send(Err("first")).expect("it is received");
    assert_eq!(leader.output(), Err(ComputeError::Failed("first")));
    assert_eq!(fails.output(), Err(ComputeError::Failed("second")));
    assert_eq!(succeeds.output(), Ok(3));
    assert_idle(&cache);
}

#[test]
fn thousands_of_cancelled_leaders_harm_no_waiter() {
    let cache = cache();
    let mut tasks: Vec<_> = (0..5_000)
        .map(|_| Task::new(cache.get_or_insert_async("key", pending())))
        .collect();
    let mut last = Task::new(cache.get_or_insert_async("key", ready(7)));
    for task in &mut tasks {
        assert!(task.poll().is_none());
    }
    assert!(last.poll().is_none());
    for mut task in tasks {
        // Each takes over, and is cancelled.
        assert!(task.poll().is_none());
    }
    assert_eq!((last.wakes(), last.output()), (1, 7));
    assert_idle(&cache);
}

#[test]
fn woken_waiter_that_is_dropped_passes_the_turn_on() {
    let cache = cache();
    let reservation = reserve(&cache, "key");
    let first = Task::waiting(cache.get_or_insert_async("key", not_polled()));
    let second = Task::waiting(cache.get_or_insert_async("key", not_polled()));
    let mut third = Task::waiting(cache.get_or_insert_async("key", ready(3)));
    drop(reservation);
    assert_eq!((first.wakes(), second.wakes()), (1, 0));
    drop(first);
    assert_eq!((second.wakes(), third.wakes()), (1, 0));
    drop(second);
    assert_eq!((third.wakes(), third.output()), (1, 3));
    // The last one leaves the key free.
    let reservation = reserve(&cache, "other");
    let only = Task::waiting(cache.get_or_insert_async("other", not_polled()));
    drop(reservation);
    drop(only);
    drop(reserve(&cache, "other"));
    assert_idle(&cache);
}

#[test]
fn panic_in_poll_hands_over() {
    let cache = cache();
    let polls = Cell::new(0);
    let panics = std::future::poll_fn(|_| {
        polls.set(polls.get() + 1);
        assert_eq!(polls.get(), 1, "the future panics");
        Poll::<u32>::Pending
    });
    let mut leader = Task::waiting(cache.get_or_insert_async("key", panics));
    let mut waiter = Task::waiting(cache.get_or_insert_async("key", ready(2)));
    assert!(catch_unwind(AssertUnwindSafe(|| leader.poll())).is_err());
    drop(leader);
    assert_eq!((waiter.wakes(), waiter.output()), (1, 2));
    // The computation that panicked is not on the stack of this thread any more.
    let mut nested = Task::new(cache.try_get_or_insert_async("a", async {
        cache
            .try_get_or_insert_async("b", ready(Ok::<_, ()>(1)))
            .await
    }));
    assert_eq!(nested.output(), Ok(1));
    assert_idle(&cache);
}

#[test]
fn waiter_polled_with_another_waker_wakes_that_one() {
    let cache = cache();
    let reservation = reserve(&cache, "key");
    let mut task = Task::waiting(cache.get_or_insert_async("key", not_polled()));
    let old = task.change_waker();
    assert!(task.poll().is_none());
    reservation.insert(7);
    assert_eq!((count(&old), task.wakes(), task.output()), (0, 1, 7));
    assert_idle(&cache);
}

#[test]
fn write_and_removal_supersede_a_computation_with_waiters() {
    let cache = cache();
    let changes: [(&dyn Fn(), Option<u32>); 3] = [
        (&|| assert_eq!(cache.remove("key"), None), None),
        (&|| cache.clear(), None),
        (
            &|| assert_eq!(cache.insert("key".to_string(), 20), None),
            Some(20),
        ),
    ];
    for (change, stored) in changes {
        let reservation = reserve(&cache, "key");
        let mut waiter = Task::waiting(cache.get_or_insert_async("key", not_polled()));
        change();
        assert_eq!(reservation.insert(10), 10);
        assert_eq!(waiter.output(), 10, "it gets the value that it waited for");
        assert_eq!(cache.peek("key"), stored);
        cache.clear();
    }
    assert_idle(&cache);
}

#[test]
fn waiters_of_a_superseded_computation_that_fails_start_again() {
    let cache = cache();
    // A write: they get its value.
    let reservation = reserve(&cache, "key");
    let mut waiters =
        [(); 2].map(|()| Task::waiting(cache.get_or_insert_async("key", not_polled())));
    cache.insert("key".to_string(), 20);
    drop(reservation);
    for waiter in &mut waiters {
        assert_eq!((waiter.wakes(), waiter.output()), (1, 20));
    }
    // A removal: one computes again, and the other one waits for it.
    cache.clear();
    let reservation = reserve(&cache, "key");
    let mut first = Task::waiting(cache.get_or_insert_async("key", ready(1)));
    let mut second = Task::waiting(cache.get_or_insert_async("key", not_polled()));
    cache.remove("key");
    drop(reservation);
    assert_eq!((first.output(), second.output()), (1, 1));
    // A write after the turn was given: the first waiter does not compute.
    cache.clear();
    let reservation = reserve(&cache, "key");
    let mut waiters =
        [(); 2].map(|()| Task::waiting(cache.get_or_insert_async("key", not_polled())));
    drop(reservation);
    cache.insert("key".to_string(), 30);
    for waiter in &mut waiters {
        assert_eq!(waiter.output(), 30);
    }
    assert_idle(&cache);
}

#[test]
fn expiry_and_eviction_leave_computations_alone() {
    let time = ManualClock::new();
    let builder = LruCache::<String, u32>::builder()
        .max_entries(2)
        .ttl(MINUTE);
    let cache = builder.clock(&time).build().expect("valid limits");
    let reservation = reserve(&cache, "key");
    let mut waiter = Task::waiting(cache.get_or_insert_async("key", not_polled()));
    for key in 0..10 {
        cache.insert(key.to_string(), key);
    }
    time.advance(MINUTE);
    cache.sweep();
    assert_eq!(reservation.insert(7), 7);
    for key in 0..10 {
        cache.insert(key.to_string(), key);
    }
    time.advance(MINUTE);
    assert_eq!((waiter.output(), cache.peek("key")), (7, None));
    cache.validate();
}

#[test]
fn panicking_weigher_leaves_the_key_to_a_waiter() {
    let builder = LruCache::<String, u32>::builder().max_weight(100);
    let builder = builder.weigher(|_, &value| if value == 0 { panic!("no weight") } else { 1 });
    let cache = builder.build().expect("valid limits");
    let reservation = reserve(&cache, "key");
    let mut waiter = Task::waiting(cache.get_or_insert_async("key", ready(2)));
    assert!(catch_unwind(AssertUnwindSafe(|| reservation.insert(0))).is_err());
    assert_eq!((waiter.wakes(), waiter.output()), (1, 2));
    cache.validate();
}

#[test]
fn callers_above_max_waiting_compute_for_themselves() {
    let cache = limited(1);
    let reservation = reserve(&cache, "key");
    let mut waiter = Task::waiting(cache.get_or_insert_async("key", not_polled()));
    let mut own = Task::new(cache.get_or_insert_async("key", ready(2)));
    assert_eq!((own.output(), cache.peek("key")), (2, None));
    assert_eq!(cache.get_or_insert_with("key", || 3), 3);
    let stats = cache.stats();
    assert_eq!((stats.waiting, stats.max_waiting), (1, 1));
    assert_eq!((stats.waits, stats.waits_rejected), (1, 2));
    reservation.insert(1);
    assert_eq!((waiter.output(), cache.peek("key")), (1, Some(1)));
    assert_idle(&cache);
}

#[test]
fn computation_that_needs_itself_is_an_error_in_async_code() {
    let cache = cache();
    let mut task = Task::new(cache.try_get_or_insert_async("a", async {
        let inner = cache
            .try_get_or_insert_async("a", ready(Ok::<_, ()>(1)))
            .await;
        assert_eq!(inner, Err(ComputeError::Cycle));
        let through_b = cache.try_get_or_insert_async("b", async {
            cache
                .try_get_or_insert_async("a", ready(Ok::<_, ()>(1)))
                .await
        });
        through_b.await
    }));
    let cycle = ComputeError::Failed(ComputeError::Failed(ComputeError::Cycle));
    assert_eq!(task.output(), Err(cycle));
    // A thread's computation within a task's, and the other one within that.
    let mut task = Task::new(cache.try_get_or_insert_async("a", async {
        cache.try_get_or_insert_with("b", || cache.try_get_or_insert_with("a", || Ok::<_, ()>(1)))
    }));
    let cycle = ComputeError::Failed(ComputeError::Failed(ComputeError::Cycle));
    assert_eq!(task.output(), Err(cycle));
    let panics = || {
        let mut task =
            Task::new(cache.get_or_insert_async("a", cache.get_or_insert_async("a", ready(1))));
        task.output()
    };
    assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
    assert_idle(&cache);
}

#[test]
fn computations_of_two_tasks_that_need_each_other_are_an_error() {
    let (cache, other) = (cache(), cache());
    for other in [&cache, &other] {
        // The second poll of each reaches the inner call.
        let needs =
            |mine: &'static Cache, theirs: &'static Cache, from: &'static str, to: &'static str| {
                mine.try_get_or_insert_async(from, async move {
                    let mut is_first = true;
                    std::future::poll_fn(|_| {
                        if std::mem::take(&mut is_first) {
                            Poll::Pending
                        } else {
                            Poll::Ready(())
                        }
                    })
                    .await;
                    theirs
                        .try_get_or_insert_async(to, ready(Ok::<_, ()>(1)))
                        .await
                })
            };
        let leak = |cache: &Cache| -> &'static Cache { Box::leak(Box::new(cache.clone())) };
        let (here, there) = (leak(&cache), leak(other));
        let mut a = Task::waiting(needs(here, there, "a", "b"));
        let mut b = Task::waiting(needs(there, here, "b", "a"));
        assert!(a.poll().is_none(), "it waits for b");
        assert_eq!(b.output(), Err(ComputeError::Failed(ComputeError::Cycle)));
        assert_eq!(a.output(), Ok(1), "it took b over");
        cache.clear();
        other.clear();
    }
    assert_idle(&cache);
}

#[test]
fn waiting_for_a_computation_that_waits_for_another_is_no_cycle() {
    let cache = cache();
    let reservation = reserve(&cache, "b");
    let mut a = Task::waiting(cache.try_get_or_insert_async("a", async {
        cache
            .try_get_or_insert_async("b", ready(Ok::<_, ()>(1)))
            .await
    }));
    let mut c = Task::waiting(cache.try_get_or_insert_async("c", async {
        let a = cache
            .try_get_or_insert_async("a", ready(Ok::<_, ()>(1)))
            .await?;
        let b = cache
            .try_get_or_insert_async("b", ready(Ok::<_, ()>(1)))
            .await?;
        Ok::<_, ComputeError<()>>(a + b)
    }));
    reservation.insert(2);
    assert_eq!((a.output(), c.output()), (Ok(2), Ok(4)));
    assert_idle(&cache);
}

#[test]
fn keys_with_equal_hashes_are_computed_independently() {
    #[derive(Default)]
    struct Constant;

    impl Hasher for Constant {
        fn write(&mut self, _: &[u8]) {}

        fn finish(&self) -> u64 {
            0
        }
    }

    let builder = LruCache::<u32, u32>::builder().max_entries(10).shards(1);
    let builder = builder.hasher(BuildHasherDefault::<Constant>::default());
    let cache = builder.build().expect("valid limits");
    let computed = cache.get_or_insert_with(&1, || {
        cache.insert(3, 3);
        cache.get_or_insert_with(&2, || 2) - 1
    });
    assert_eq!(
        (computed, cache.get(&1), cache.get(&2)),
        (1, Some(1), Some(2))
    );
}

#[test]
fn threads_and_tasks_share_one_computation() {
    in_time(|| {
        let cache = cache();
        let reservation = reserve(&cache, "key");
        let waiting = cache.clone();
        let thread = thread::spawn(move || waiting.get_or_insert_with("key", || 1));
        while cache.stats().waiting == 0 {
            thread::yield_now();
        }
        let mut task = Task::waiting(cache.get_or_insert_async("key", not_polled()));
        // The thread is first, so it computes.
        drop(reservation);
        assert_eq!(thread.join().expect("no panic"), 1);
        assert_eq!((task.wakes(), task.output()), (1, 1));
        // And a task waits for a thread.
        let (begun, go_on) = (std::sync::mpsc::channel(), std::sync::mpsc::channel());
        let computing = cache.clone();
        let thread = thread::spawn(move || {
            computing.get_or_insert_with("other", || {
                begun.0.send(()).expect("it is received");
                go_on.1.recv().expect("it is sent")
            })
        });
        begun.1.recv().expect("it is sent");
        let mut task = Task::waiting(cache.get_or_insert_async("other", not_polled()));
        go_on.0.send(5).expect("it is received");
        assert_eq!(thread.join().expect("no panic"), 5);
        assert_eq!(task.output(), 5);
        assert_idle(&cache);
    });
}

#[test]
fn reservation_blocks_threads_until_it_is_inserted_or_dropped() {
    in_time(|| {
        let cache = cache();
        for insert in [true, false] {
            let Lookup::Vacant(reservation) = cache.get_or_reserve("key") else {
                panic!("it has no value");
            };
            let waiting = cache.clone();
            let thread = thread::spawn(move || match waiting.get_or_reserve("key") {
                Lookup::Hit(value) => value,
                Lookup::Vacant(reservation) => reservation.insert(2),
            });
            while cache.stats().waiting == 0 {
                thread::yield_now();
            }
            if insert {
                reservation.insert(1);
            } else {
                drop(reservation);
            }
            assert_eq!(thread.join().expect("no panic"), if insert { 1 } else { 2 });
            cache.clear();
        }
        assert_idle(&cache);
    });
}

#[test]
fn cancelled_waits_for_a_value_leave_no_memory() {
    let cache = cache();
    let reservation = reserve(&cache, "key");
    drop(Task::waiting(
        cache.get_or_insert_async("key", not_polled()),
    ));
    let counted = allocation_counter::measure(|| {
        for _ in 0..1_000_000 {
            // On the stack, so that only the cache allocates.
            let mut future = pin!(cache.get_or_insert_async("key", not_polled()));
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            assert!(future.as_mut().poll(&mut context).is_pending());
        }
    });
    assert_eq!(counted.bytes_current, 0);
    assert!(counted.bytes_max < 10_000);
    drop(reservation);
    // Cancelled leaders leave no key either.
    let counted = allocation_counter::measure(|| {
        for key in 0..10_000 {
            drop(Task::waiting(
                cache.get_or_insert_async(key.to_string().as_str(), pending()),
            ));
        }
    });
    assert!(counted.bytes_current < 1_000, "{}", counted.bytes_current);
    assert_idle(&cache);
}

#[test]
fn futures_of_single_flight_contain_the_computation_once() {
    let cache = cache();
    for size in [0, 10_000] {
        let large = async {
            let bytes = [1_u8; 10_000];
            std::future::poll_fn(|_| Poll::<()>::Pending).await;
            bytes.len() as u32
        };
        let small = ready(1_u32);
        let (own, total) = if size == 0 {
            (
                size_of_val(&small),
                size_of_val(&cache.get_or_insert_async("key", small)),
            )
        } else {
            (
                size_of_val(&large),
                size_of_val(&cache.get_or_insert_async("key", large)),
            )
        };
        assert!(total <= own + 512, "{total} for a future of {own}");
    }
}

#[test]
fn computing_futures_and_reservations_are_send() {
    fn send<T: Send>(value: T) -> T {
        value
    }
    let cache = cache();
    drop(send(cache.get_or_insert_async("key", ready(1))));
    drop(send(
        cache.try_get_or_insert_async("key", ready(Ok::<_, ()>(1))),
    ));
    drop(send(cache.get_or_reserve_async("key")));
    let reservation = send(reserve(&cache, "key"));
    thread::spawn(move || reservation.insert(1))
        .join()
        .expect("no panic");
    assert_eq!(cache.get("key"), Some(1));
}
