//! Tests of a registry that need its table.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use super::inner::PIECE;
use super::list::capacity_after_spike;
use crate::{ListenerRegistry, ManualClock, steps};

type Bus = ListenerRegistry<usize, u8>;

fn sized(listeners: usize) -> Bus {
    let builder = Bus::builder().max_listeners(listeners);
    builder.max_per_topic(listeners).build().unwrap()
}

#[test]
fn scope_end_moves_each_listener_at_most_once() {
    let bus = sized(30_000);
    let scope = bus.scope();
    for _ in 0..30_000 {
        bus.listen(1).scope(&scope).on(|_| ()).unwrap().forget();
    }
    let moved = steps::during(|| drop(scope));
    assert!(bus.is_empty());
    // The removed listeners are counted as moved.
    assert_eq!(moved, 30_000);
}

#[test]
fn clear_moves_each_listener_at_most_once() {
    let bus = sized(30_000);
    for _ in 0..30_000 {
        bus.on(1, |_| ()).unwrap().forget();
    }
    let moved = steps::during(|| assert_eq!(bus.clear(), 30_000));
    // The removed listeners are counted as moved.
    assert_eq!(moved, 30_000);
}

#[test]
fn rejection_checks_at_most_64_owners() {
    for (max_listeners, topics) in [(1_000, 1_000), (1_001, 1)] {
        let builder = Bus::builder().max_listeners(max_listeners);
        let bus = builder.max_per_topic(1_000).build().unwrap();
        let owner = Arc::new(());
        for number in 0..1_000 {
            let listener = bus.listen(number % topics).owner(&Arc::downgrade(&owner));
            listener.on(|_| ()).unwrap().forget();
        }
        // More than one round of the cursor.
        for _ in 0..40 {
            let checked = steps::during(|| assert!(bus.on(0, |_| ()).is_err()));
            assert_eq!(checked, 64);
        }
    }
}

#[test]
fn scope_end_removes_at_most_one_piece_under_a_lock() {
    let bus = ListenerRegistry::<u8, u8>::builder()
        .max_listeners(1_000)
        .max_per_topic(1_000)
        .build()
        .unwrap();
    let scope = bus.scope();
    for _ in 0..1_000 {
        bus.listen(1).scope(&scope).on(|_| ()).unwrap().forget();
    }
    let (generation, mut removed) = (scope.generation().id(), Vec::new());
    let mut table = bus.inner.table.lock();
    let before = table.next();
    let is_done = table.remove_members(generation, before, PIECE, 0, &mut removed);
    assert_eq!((removed.len(), is_done), (PIECE, false));
    table.validate();
    drop(table);
    bus.inner.finish_removals(removed);
    drop(scope);
    assert!(bus.is_empty());
}

#[test]
fn forgotten_scope_without_listeners_takes_no_memory() {
    let bus = ListenerRegistry::<u8, u8>::new();
    for _ in 0..100 {
        let scope = bus.scope();
        let guard = bus.listen(1).scope(&scope).on(|_| ()).unwrap();
        guard.detach();
        mem::forget(scope);
    }
    assert_eq!(bus.stats().scopes, 0);
}

#[test]
fn memory_of_ended_scopes_is_returned() {
    let bus = sized(10_000);
    let scopes: Vec<_> = (0..10_000)
        .map(|topic| {
            let scope = bus.scope();
            let listener = bus.listen(topic).key("key").scope(&scope);
            listener.on(|_| ()).unwrap().forget();
            scope
        })
        .collect();
    assert_eq!(bus.stats().scopes, 10_000);
    let capacities = || bus.inner.table.lock().capacities();
    assert!(capacities().iter().all(|&capacity| capacity >= 10_000));
    drop(scopes);
    assert_eq!(bus.stats().scopes, 0);
    let left = capacities();
    assert!(left.iter().all(|&capacity| capacity <= 64), "{left:?}");
}

#[test]
fn spare_capacity_is_kept_down_to_an_eighth_in_use() {
    assert_eq!(capacity_after_spike(0, 64), None);
    assert_eq!(capacity_after_spike(10, 80), None);
    assert_eq!(capacity_after_spike(9, 80), Some(18));
}

#[test]
fn oldest_age_is_zero_if_registered_after_the_clock_was_read() {
    let time = ManualClock::new();
    let bus = ListenerRegistry::<u8, u8>::builder()
        .clock(&time)
        .build()
        .unwrap();
    let read_before = 0;
    time.advance(Duration::from_secs(1));
    let guard = bus.on(1, |_| ()).unwrap();
    let stats = bus.inner.table.lock().stats(read_before);
    assert_eq!(stats.oldest_entry_age, Some(Duration::ZERO));
    drop(guard);
}
