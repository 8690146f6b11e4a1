//! Queues of events.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread;

use leakproof::{CircuitBreaker, Limit, Queue, QueueOverflow};

use super::helpers::{Bus, PATIENCE, bus, later, put, take};

fn emit(bus: &Bus, events: std::ops::RangeInclusive<u32>) -> usize {
    events
        .map(|event| bus.emit("topic", &event).unwrap().failed)
        .sum()
}

#[test]
fn full_queue_drops_the_oldest_or_newest_and_counts() {
    for (when_full, kept) in [
        (QueueOverflow::DropOldest, [3, 4, 5]),
        (QueueOverflow::DropNewest, [1, 2, 3]),
    ] {
        let bus = bus();
        let queue = bus
            .listen("topic")
            .filter(|&event| event > 0)
            .queue(3, when_full)
            .unwrap();
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
fn blocking_queue_delivers_every_event() {
    let bus = bus();
    let queue = bus.listen("topic").queue(2, QueueOverflow::Block).unwrap();
    let consumer = thread::spawn(move || queue.iter().take(1_000).collect::<Vec<_>>());
    assert_eq!(emit(&bus, 1..=1_000), 0);
    assert_eq!(consumer.join().unwrap(), (1..=1_000).collect::<Vec<_>>());
    assert!(bus.is_empty());
}

#[test]
fn blocking_queue_fails_on_the_thread_of_its_consumer() {
    let bus = bus();
    let queue = bus.listen("topic").queue(2, QueueOverflow::Block).unwrap();
    assert_eq!(emit(&bus, 1..=1), 0);
    assert_eq!(queue.blocking_recv(), Some(1));
    assert_eq!(emit(&bus, 2..=4), 1, "only this thread could make room");
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
fn queue_drop_ends_an_emit_that_waits_for_room() {
    let bus = bus();
    let queue = bus.listen("topic").queue(1, QueueOverflow::Block).unwrap();
    let (done, ended) = mpsc::channel();
    let emitting = bus.clone();
    thread::spawn(move || done.send(emit(&emitting, 1..=2)));
    while queue.is_empty() {
        thread::yield_now();
    }
    drop(queue);
    assert!(ended.recv_timeout(PATIENCE).is_ok());
    assert!(bus.is_empty());
    assert_eq!(bus.stats().dropped, 1, "the event that waited");
}

#[test]
fn detached_queue_delivers_its_events_and_then_ends() {
    let bus = bus();
    let scope = bus.scope();
    let queue = bus
        .listen("topic")
        .scope(&scope)
        .queue(8, QueueOverflow::DropOldest)
        .unwrap();
    emit(&bus, 1..=3);
    drop(scope);
    assert!(!queue.is_attached());
    assert_eq!(queue.iter().collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(queue.blocking_recv(), None);
}

#[test]
fn recv_waits_as_a_future() {
    let bus = bus();
    let queue = bus
        .listen("topic")
        .queue(8, QueueOverflow::DropOldest)
        .unwrap();
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
fn queue_counts_towards_the_limits() {
    let bus = Bus::builder().max_per_topic(1).build().unwrap();
    assert_eq!(
        bus.listen("topic")
            .queue(0, QueueOverflow::Block)
            .unwrap_err()
            .limit(),
        Limit::Zero
    );
    let queue = bus
        .listen("topic")
        .label("queue")
        .queue(1, QueueOverflow::DropNewest)
        .unwrap();
    assert_eq!(
        bus.listen("topic")
            .queue(1, QueueOverflow::Block)
            .unwrap_err()
            .limit(),
        Limit::MaxPerTopic
    );
    assert_eq!(bus.listeners()[0].label.as_deref(), Some("queue"));
    drop(queue);
    assert!(bus.is_empty());
}

#[test]
fn too_large_capacity_is_refused() {
    let bus = bus();
    for capacity in [(1 << 24) + 1, usize::MAX] {
        let rejected = bus
            .listen("topic")
            .queue(capacity, QueueOverflow::DropNewest)
            .unwrap_err();
        assert_eq!(
            (rejected.limit(), rejected.max()),
            (Limit::Capacity, 1 << 24)
        );
        assert_eq!(rejected.to_string(), "`capacity` must not exceed 16777216");
    }
    assert!(bus.is_empty());
}

#[test]
fn queue_that_ends_during_an_emit_has_not_failed() {
    let bus = Bus::builder()
        .circuit_breaker(CircuitBreaker {
            failures: 1,
            retry_after: None,
        })
        .build()
        .unwrap();
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
                drop(bus.listen("topic").queue(1, when_full).unwrap());
            }
        }
        done.store(true, Ordering::Relaxed);
        assert_eq!((emitting.join().unwrap(), bus.stats().failed), (0, 0));
    });
}

#[test]
fn detached_queue_ends_in_an_emit_that_holds_its_handler() {
    let (bus, queue) = (bus(), later());
    let (weak, own) = (bus.downgrade(), Arc::clone(&queue));
    let reads = move |&event: &u32| {
        let queue: Option<Queue<u32>> = (event == 1).then(|| take(&own)).flatten();
        if let Some(queue) = queue {
            assert!(weak.upgrade().unwrap().detach(queue.id()));
            assert!(queue.iter().all(|event| event == 0));
        }
    };
    bus.on("topic", reads).unwrap().forget();
    put(
        &queue,
        bus.listen("topic")
            .queue(1_000, QueueOverflow::DropNewest)
            .unwrap(),
    );
    let (done, ended) = mpsc::channel();
    thread::spawn(move || done.send(bus.emit("topic", &1).unwrap().called));
    assert_eq!(ended.recv_timeout(PATIENCE), Ok(1));
}

#[test]
fn detach_drops_and_counts_the_event_that_waits_for_room() {
    let bus = bus();
    let queue = bus
        .listen("topic")
        .filter(|&event| event > 0)
        .queue(1, QueueOverflow::Block)
        .unwrap();
    let emitting = bus.clone();
    let emits = thread::spawn(move || emit(&emitting, 1..=2));
    while queue.is_empty() {
        thread::yield_now();
    }
    // The second emit may have begun to wait, or find no listener any more.
    assert!(bus.detach(queue.id()));
    assert_eq!(emits.join().unwrap(), 0);
    assert_eq!(queue.iter().collect::<Vec<_>>(), [1]);
    assert!(queue.dropped() <= 1 && queue.dropped() == bus.stats().dropped);
}
