//! Queues that async tasks fill and empty.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use leakproof::{CircuitBreaker, ManualClock, QueueOverflow, RemovalCause};
use tokio::runtime::Builder;

use super::helpers::{Bus, MINUTE, builder, bus, later, put, take};
use crate::support::timeout::in_time;

const FAILED: Result<(), ()> = Err(());
const SUCCEEDED: Result<(), ()> = Ok(());

/// Runs a future on a runtime of a single thread, which a blocking emit would stop for good.
fn run(future: impl Future<Output = ()> + Send + 'static) {
    let runtime = Builder::new_current_thread().build().expect("a runtime");
    in_time(move || runtime.block_on(future));
}

#[test]
fn emit_async_waits_for_room_without_blocking_the_thread() {
    run(async {
        let bus = bus();
        let queue = bus.listen("topic").queue(1, QueueOverflow::Block).unwrap();
        let emitting = bus.clone();
        let emits = tokio::spawn(async move {
            for event in 0..100 {
                let summary = emitting.emit_async("topic", &event).await.unwrap();
                assert_eq!((summary.called, summary.failed), (1, 0));
            }
        });
        for event in 0..100 {
            assert_eq!(queue.recv().await, Some(event));
        }
        emits.await.unwrap();
        assert_eq!(bus.stats().dropped, 0);
    });
}

#[test]
fn nested_emit_in_emit_async_does_not_block_the_thread() {
    run(async {
        let bus = bus();
        let queue = bus.listen("inner").queue(1, QueueOverflow::Block).unwrap();
        let weak = bus.downgrade();
        let nest = move |event: &u32| {
            let bus = weak.upgrade().unwrap();
            assert_eq!(bus.emit("inner", event).unwrap().called, 1);
            assert_eq!(bus.emit("inner", event).unwrap().called, 1);
        };
        let _guard = bus.on("outer", nest).unwrap();
        let emitting = bus.clone();
        let emit = tokio::spawn(async move { emitting.emit_async("outer", &7).await.unwrap() });
        assert_eq!((queue.recv().await, queue.recv().await), (Some(7), Some(7)));
        assert_eq!(emit.await.unwrap().called, 1);
    });
}

#[test]
fn dropped_emit_async_counts_its_unsent_event() {
    let bus = bus();
    let queue = bus.listen("topic").queue(1, QueueOverflow::Block).unwrap();
    bus.emit("topic", &1).unwrap();
    {
        let mut emit = pin!(bus.emit_async("topic", &2));
        let poll = emit.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(poll.is_pending());
        assert_eq!(queue.dropped(), 0);
    }
    assert_eq!((queue.dropped(), bus.stats().dropped), (1, 1));
    assert_eq!((queue.try_recv(), queue.try_recv()), (Some(1), None));
    // A later emit does not find sends of the dropped one.
    assert_eq!(bus.emit("topic", &3).unwrap().called, 1);
    assert_eq!(queue.try_recv(), Some(3));
}

#[test]
fn emit_async_ends_if_the_listener_is_detached() {
    let bus = bus();
    let queue = bus.listen("topic").queue(1, QueueOverflow::Block).unwrap();
    bus.emit("topic", &1).unwrap();
    let mut emit = pin!(bus.emit_async("topic", &2));
    let mut poll = || emit.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(poll().is_pending());
    drop(queue);
    assert!(matches!(poll(), Poll::Ready(Ok(summary)) if summary.called == 1));
    assert_eq!(bus.stats().dropped, 1);
}

#[test]
fn panic_in_topic_hash_leaves_no_async_emit_behind() {
    #[derive(PartialEq, Eq)]
    struct Topic(bool);
    impl std::hash::Hash for Topic {
        fn hash<H: std::hash::Hasher>(&self, _: &mut H) {
            assert!(!self.0, "in a hash");
        }
    }
    let bus = leakproof::ListenerRegistry::<Topic, u32>::new();
    let queue = bus.listen(Topic(false)).queue(1, QueueOverflow::DropNewest);
    let queue = queue.unwrap();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let emit = pin!(bus.emit_async(&Topic(true), &1));
        assert!(
            emit.poll(&mut Context::from_waker(Waker::noop()))
                .is_ready()
        );
    }));
    assert!(panicked.is_err());
    // An emit on this thread waits for room again, instead of leaving its event to an async emit.
    let blocking = bus.listen(Topic(false)).queue(1, QueueOverflow::Block);
    let blocking = blocking.unwrap();
    let consumer = std::thread::spawn(move || blocking.iter().collect::<Vec<_>>());
    for event in 1..=10 {
        assert_eq!(bus.emit(&Topic(false), &event).unwrap().called, 2);
    }
    drop((queue, bus));
    assert_eq!(consumer.join().unwrap(), (1..=10).collect::<Vec<_>>());
}

fn with_breaker(retry_after: Option<Duration>, time: &ManualClock) -> Bus {
    let breaker = CircuitBreaker {
        failures: 2,
        retry_after,
    };
    let builder = builder().clock(time).circuit_breaker(breaker);
    builder.build().unwrap()
}

/// Emits one event, and returns `true` if it reached the queue.
fn is_delivered(bus: &Bus, queue: &leakproof::Queue<u32>) -> bool {
    let called = bus.emit("topic", &1).unwrap().called;
    assert_eq!(queue.try_recv().is_some(), called == 1);
    bus.validate();
    called == 1
}

#[test]
fn reported_failures_open_the_breaker_until_a_report_succeeds() {
    let time = ManualClock::new();
    let bus = with_breaker(Some(MINUTE), &time);
    let queue = bus.listen("topic").queue(8, QueueOverflow::DropOldest);
    let queue = queue.unwrap();
    for result in [FAILED, SUCCEEDED, FAILED] {
        assert!(is_delivered(&bus, &queue));
        queue.report(&result);
    }
    // Filling the queue is no success, so the next failure is the second in a row.
    assert!(is_delivered(&bus, &queue) && is_delivered(&bus, &queue));
    queue.report(&FAILED);
    assert_eq!((bus.stats().open_breakers, bus.stats().failures), (1, 3));
    assert!(!is_delivered(&bus, &queue));

    // A success that was in progress when the breaker opened does not close it.
    queue.report(&SUCCEEDED);
    assert!(!is_delivered(&bus, &queue));

    time.advance(MINUTE);
    assert!(is_delivered(&bus, &queue), "the probe");
    queue.report(&FAILED);
    assert!(!is_delivered(&bus, &queue));

    time.advance(MINUTE);
    // A consumer that does not report keeps no probe waiting.
    assert!(is_delivered(&bus, &queue) && is_delivered(&bus, &queue));
    queue.report(&SUCCEEDED);
    assert_eq!(bus.stats().open_breakers, 0);
    assert!(is_delivered(&bus, &queue));
}

#[test]
fn reported_failures_detach_without_a_retry() {
    let bus = with_breaker(None, &ManualClock::new());
    let queue = bus.listen("topic").queue(8, QueueOverflow::DropOldest);
    let queue = queue.unwrap();
    (1..=3).for_each(|event| _ = bus.emit("topic", &event).unwrap());
    queue.report(&FAILED);
    queue.report(&FAILED);
    assert_eq!((bus.len(), bus.stats().failed), (0, 1));
    assert_eq!(queue.iter().collect::<Vec<_>>(), [1, 2, 3]);
    queue.report(&FAILED);
    drop(bus);
    queue.report(&FAILED);
}

#[test]
fn reported_failure_that_detaches_calls_the_removal_callback() {
    let causes = later();
    let reported = Arc::clone(&causes);
    let builder = builder().on_removal(move |_, cause| put(&reported, cause));
    let builder = builder.circuit_breaker(CircuitBreaker {
        failures: 1,
        retry_after: None,
    });
    let bus = builder.build().unwrap();
    let queue = bus.listen("topic").queue(8, QueueOverflow::DropOldest);
    queue.unwrap().report(&FAILED);
    assert_eq!(take(&causes), Some(RemovalCause::Failed));
}

#[test]
fn failures_of_an_async_handler_reach_the_breaker() {
    run(async {
        let bus = with_breaker(None, &ManualClock::new());
        let queue = bus.listen("topic").queue(8, QueueOverflow::Block).unwrap();
        let handler = tokio::spawn(async move {
            let mut handled = 0;
            while let Some(event) = queue.recv().await {
                tokio::task::yield_now().await;
                queue.report(&u8::try_from(event));
                handled += 1;
            }
            handled
        });
        for event in [1, 1_000, 2, 1_000, 1_000, 3] {
            bus.emit_async("topic", &event).await.unwrap();
        }
        assert_eq!(handler.await.unwrap(), 6, "until the breaker detaches it");
        assert_eq!((bus.len(), bus.stats().failed), (0, 1));
    });
}
