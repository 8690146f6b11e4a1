//! Queues: bounded, counted, and gone with whatever end comes first.

use std::sync::mpsc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use leakproof::{Limit, WhenFull};

use super::helpers::{Bus, bus, calm};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

fn emit(bus: &Bus, events: std::ops::RangeInclusive<u32>) -> usize {
    events.map(|event| bus.emit("topic", &event).failed).sum()
}

#[test]
fn a_full_queue_drops_the_oldest_or_the_newest_and_counts_them() {
    for (when_full, kept) in [(WhenFull::DropOldest, [3, 4, 5]), (WhenFull::DropNewest, [1, 2, 3])] {
        let bus = bus();
        let queue = bus.listen("topic").filter(|&event| event > 0).queue(3, when_full).expect("room");
        calm(&bus, "topic");
        assert_eq!(emit(&bus, 1..=5), 0, "as asked for: no failure");
        assert_eq!((queue.len(), queue.dropped(), bus.stats().dropped), (3, 2, 2));
        assert_eq!([(); 3].map(|()| queue.try_recv()), kept.map(Some));
        assert!(queue.try_recv().is_none() && queue.is_empty() && queue.is_attached());
    }
}

#[test]
fn a_blocking_queue_loses_nothing() {
    let bus = bus();
    let queue = bus.listen("topic").queue(2, WhenFull::Block).expect("room");
    let consumer = thread::spawn(move || queue.iter().take(1_000).collect::<Vec<_>>());
    assert_eq!(emit(&bus, 1..=1_000), 0);
    assert_eq!(consumer.join().expect("no panic"), (1..=1_000).collect::<Vec<_>>());
    assert!(bus.is_empty());
}

#[test]
fn a_blocking_queue_fails_instead_of_waiting_for_its_own_thread() {
    let bus = bus();
    let queue = bus.listen("topic").queue(2, WhenFull::Block).expect("room");
    assert_eq!(emit(&bus, 1..=1), 0);
    assert_eq!(queue.recv_blocking(), Some(1));
    assert_eq!(emit(&bus, 2..=4), 1, "the third finds the queue full, and nobody else to empty it");
    assert_eq!((queue.try_recv(), queue.try_recv(), queue.dropped()), (Some(2), Some(3), 1));
}

#[test]
fn dropping_a_queue_detaches_it_and_ends_an_emit_that_waits_for_room() {
    let bus = bus();
    let queue = bus.listen("topic").queue(1, WhenFull::Block).expect("room");
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
    let queue = bus.listen("topic").scope(&scope).queue(8, WhenFull::DropOldest).expect("room");
    emit(&bus, 1..=3);
    drop(scope);
    assert!(!queue.is_attached());
    assert_eq!(queue.iter().collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(queue.recv_blocking(), None);
}

#[test]
fn a_queue_is_received_from_with_async() {
    let bus = bus();
    let queue = bus.listen("topic").queue(8, WhenFull::DropOldest).expect("room");
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
    let bus = Bus::builder().max_per_topic(1).build().expect("sound limits");
    assert_eq!(bus.listen("topic").queue(0, WhenFull::Block).expect_err("no room for any").limit(), Limit::Zero);
    let queue = bus.listen("topic").label("queue").queue(1, WhenFull::DropNewest).expect("room");
    assert_eq!(bus.listen("topic").queue(1, WhenFull::Block).expect_err("full").limit(), Limit::MaxPerTopic);
    assert_eq!(bus.listeners()[0].label.as_deref(), Some("queue"));
    drop(queue);
    assert!(bus.is_empty());
}
