//! Queues: bounded, counted, and gone with whatever end comes first.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use leakproof::{CircuitBreaker, Limit, Queue, QueueOverflow};

use super::helpers::{Bus, both, bus, calm, later, put, take};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

fn emit(bus: &Bus, events: std::ops::RangeInclusive<u32>) -> usize {
    events
        .map(|event| bus.emit("topic", &event).unwrap().failed)
        .sum()
}

#[test]
fn a_full_queue_drops_the_oldest_or_the_newest_and_counts_them() {
    for (when_full, kept) in [
        (QueueOverflow::DropOldest, [3, 4, 5]),
        (QueueOverflow::DropNewest, [1, 2, 3]),
    ] {
        let bus = bus();
        let queue = bus
            .listen("topic")
            .filter(|&event| event > 0)
            .queue(3, when_full)
            .expect("room");
        calm(&bus, "topic");
        assert_eq!(emit(&bus, 1..=5), 0, "as asked for: no failure");
        assert_eq!(
            (queue.len(), queue.dropped(), bus.stats().dropped),
            (3, 2, 2)
        );
        assert_eq!([(); 3].map(|()| queue.try_recv()), kept.map(Some));
        assert!(queue.try_recv().is_none() && queue.is_empty() && queue.is_attached());
    }
}

#[test]
fn a_blocking_queue_loses_nothing() {
    let bus = bus();
    let queue = bus
        .listen("topic")
        .queue(2, QueueOverflow::Block)
        .expect("room");
    let consumer = thread::spawn(move || queue.iter().take(1_000).collect::<Vec<_>>());
    assert_eq!(emit(&bus, 1..=1_000), 0);
    assert_eq!(
        consumer.join().expect("no panic"),
        (1..=1_000).collect::<Vec<_>>()
    );
    assert!(bus.is_empty());
}

#[test]
fn a_blocking_queue_fails_instead_of_waiting_for_its_own_thread() {
    let bus = bus();
    let queue = bus
        .listen("topic")
        .queue(2, QueueOverflow::Block)
        .expect("room");
    assert_eq!(emit(&bus, 1..=1), 0);
    assert_eq!(queue.blocking_recv(), Some(1));
    assert_eq!(
        emit(&bus, 2..=4),
        1,
        "the third finds the queue full, and nobody else to empty it"
    );
    assert_eq!(
        (queue.try_recv(), queue.try_recv(), queue.dropped()),
        (Some(2), Some(3), 1)
    );
}

#[test]
fn polling_in_vain_does_not_make_a_thread_the_consumer() {
    let bus = bus();
    let queue = bus.listen("topic").queue(1, QueueOverflow::Block).unwrap();
    assert_eq!(queue.try_recv(), None);
    let (queue, emitting) = (Arc::new(queue), bus.clone());
    let receiving = Arc::clone(&queue);
    let consumer = thread::spawn(move || {
        // Receives only after the queue is full.
        while receiving.is_empty() {
            thread::yield_now();
        }
        [receiving.blocking_recv(), receiving.blocking_recv()]
    });
    assert_eq!(emit(&emitting, 1..=2), 0);
    assert_eq!(consumer.join().unwrap(), [Some(1), Some(2)]);
    assert_eq!(queue.dropped(), 0);
}

#[test]
fn dropping_a_queue_detaches_it_and_ends_an_emit_that_waits_for_room() {
    let bus = bus();
    let queue = bus
        .listen("topic")
        .queue(1, QueueOverflow::Block)
        .expect("room");
    let (done, ended) = mpsc::channel();
    let emitting = bus.clone();
    thread::spawn(move || done.send(emit(&emitting, 1..=2)));
    while queue.is_empty() {
        thread::yield_now();
    }
    drop(queue);
    assert!(ended.recv_timeout(PATIENCE).is_ok());
    assert!(bus.is_empty());
}

#[test]
fn a_queue_ends_when_its_listener_is_detached_and_what_waits_is_still_received() {
    let bus = bus();
    let scope = bus.scope();
    let queue = bus
        .listen("topic")
        .scope(&scope)
        .queue(8, QueueOverflow::DropOldest)
        .expect("room");
    emit(&bus, 1..=3);
    drop(scope);
    assert!(!queue.is_attached());
    assert_eq!(queue.iter().collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(queue.blocking_recv(), None);
}

#[test]
fn a_queue_is_received_from_with_async() {
    let bus = bus();
    let queue = bus
        .listen("topic")
        .queue(8, QueueOverflow::DropOldest)
        .expect("room");
    let mut context = Context::from_waker(Waker::noop());
    let mut receiving = std::pin::pin!(queue.recv());
    assert_eq!(receiving.as_mut().poll(&mut context), Poll::Pending);
    emit(&bus, 7..=7);
    assert_eq!(receiving.as_mut().poll(&mut context), Poll::Ready(Some(7)));
    assert!(bus.detach(queue.id()));
    let mut receiving = std::pin::pin!(queue.recv());
    assert_eq!(receiving.as_mut().poll(&mut context), Poll::Ready(None));
}

#[test]
fn a_queue_is_a_listener_with_its_limits() {
    let bus = Bus::builder()
        .max_per_topic(1)
        .build()
        .expect("sound limits");
    assert_eq!(
        bus.listen("topic")
            .queue(0, QueueOverflow::Block)
            .expect_err("no room for any")
            .limit(),
        Limit::Zero
    );
    let queue = bus
        .listen("topic")
        .label("queue")
        .queue(1, QueueOverflow::DropNewest)
        .expect("room");
    assert_eq!(
        bus.listen("topic")
            .queue(1, QueueOverflow::Block)
            .expect_err("full")
            .limit(),
        Limit::MaxPerTopic
    );
    assert_eq!(bus.listeners()[0].label.as_deref(), Some("queue"));
    drop(queue);
    assert!(bus.is_empty());
}

#[test]
fn a_capacity_beyond_reach_is_refused() {
    let bus = bus();
    for capacity in [(1 << 24) + 1, usize::MAX] {
        let rejected = bus
            .listen("topic")
            .queue(capacity, QueueOverflow::DropNewest)
            .expect_err("too much");
        assert_eq!(
            (rejected.limit(), rejected.max()),
            (Limit::Capacity, 1 << 24)
        );
        assert_eq!(rejected.to_string(), "`capacity` must not exceed 16777216");
    }
    assert!(bus.is_empty());
}

#[test]
fn a_queue_that_ends_under_an_emit_has_not_failed() {
    let bus = Bus::builder()
        .circuit_breaker(CircuitBreaker {
            failures: 1,
            retry_after: None,
        })
        .build()
        .expect("sound limits");
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let emitting = scope.spawn(|| {
            let mut failed = 0;
            while !done.load(Ordering::Relaxed) {
                failed += bus.emit("topic", &1).unwrap().failed;
            }
            failed
        });
        for when_full in [
            QueueOverflow::DropOldest,
            QueueOverflow::DropNewest,
            QueueOverflow::Block,
        ] {
            for _ in 0..20_000 {
                drop(bus.listen("topic").queue(1, when_full).expect("room"));
            }
        }
        done.store(true, Ordering::Relaxed);
        assert_eq!(
            (emitting.join().expect("no panic"), bus.stats().failed),
            (0, 0)
        );
    });
}

#[test]
fn a_detached_queue_ends_though_an_emit_on_the_very_thread_that_reads_it_holds_its_handler() {
    both(|make_calm| {
        let (bus, queue) = (bus(), later());
        let (weak, own) = (bus.downgrade(), Arc::clone(&queue));
        let reads = move |&event: &u32| {
            let queue: Option<Queue<u32>> = (event == 1).then(|| take(&own)).flatten();
            if let Some(queue) = queue {
                assert!(weak.upgrade().expect("it emits").detach(queue.id()));
                assert!(queue.iter().all(|event| event == 0));
            }
        };
        bus.on("topic", reads).expect("room").forget();
        put(
            &queue,
            bus.listen("topic")
                .queue(1_000, QueueOverflow::DropNewest)
                .expect("room"),
        );
        make_calm(&bus);
        let (done, ended) = mpsc::channel();
        thread::spawn(move || done.send(bus.emit("topic", &1).unwrap().called));
        assert_eq!(ended.recv_timeout(PATIENCE), Ok(1));
    });
}

#[test]
fn what_an_emit_wanted_to_put_into_a_full_queue_that_is_detached_is_dropped_and_counted() {
    for is_calm in [false, true] {
        let bus = bus();
        let queue = bus
            .listen("topic")
            .filter(|&event| event > 0)
            .queue(1, QueueOverflow::Block)
            .expect("room");
        if is_calm {
            calm(&bus, "topic");
        }
        let emitting = bus.clone();
        let emits = thread::spawn(move || emit(&emitting, 1..=2));
        while queue.is_empty() {
            thread::yield_now();
        }
        // The second may have begun to wait or not: then nobody is there to be called.
        assert!(bus.detach(queue.id()));
        assert_eq!(emits.join().expect("no panic"), 0);
        assert_eq!(queue.iter().collect::<Vec<_>>(), [1]);
        assert!(queue.dropped() <= 1 && queue.dropped() == bus.stats().dropped);
    }
}
