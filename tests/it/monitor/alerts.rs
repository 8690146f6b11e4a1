//! The callback of a monitor: once per change, in order, without a lock, panics caught.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use leakproof::monitor::{Change, Monitor, Severity, Thresholds};

use super::helpers::{Fake, World, recording_callback};

const ZERO: Duration = Duration::ZERO;

fn world() -> (World, Arc<Fake>, Arc<Mutex<Vec<String>>>) {
    let (changes, callback) = recording_callback();
    // These tests fill a collection in steps, so they disable the findings about growth.
    let thresholds = Thresholds {
        time_left_warning: ZERO,
        time_left_critical: ZERO,
        ..Thresholds::default()
    };
    let world = World::with(|builder| builder.thresholds(thresholds).on_change(callback));
    let fake = Fake::new(|_| {});
    world.monitor.watch("fake", &fake);
    (world, fake, changes)
}

fn take(changes: &Mutex<Vec<String>>) -> Vec<String> {
    std::mem::take(&mut changes.lock().expect("not poisoned"))
}

#[test]
fn change_is_reported_once_on_appear_worsen_and_end() {
    let (world, fake, changes) = world();
    world.quiet(5);
    assert_eq!(take(&changes), [""; 0]);
    fake.set(|usage| usage.len = 800);
    world.quiet(20);
    assert_eq!(
        take(&changes),
        ["new: warning: fake: entries at 80.0% of the bound"]
    );
    fake.set(|usage| usage.len = 840);
    world.quiet(20);
    assert_eq!(take(&changes), [""; 0], "the severity is the same");
    fake.set(|usage| usage.len = 900);
    world.quiet(20);
    assert_eq!(
        take(&changes),
        ["worse than warning: critical: fake: entries at 90.0% of the bound"]
    );
    fake.set(|usage| usage.len = 800);
    world.quiet(20);
    assert_eq!(
        take(&changes),
        [""; 0],
        "the finding improved, but has not ended"
    );
    fake.set(|usage| usage.len = 100);
    world.quiet(20);
    assert_eq!(
        take(&changes),
        ["ended: warning: fake: entries at 80.0% of the bound"]
    );
    fake.set(|usage| usage.len = 900);
    world.quiet(20);
    assert_eq!(
        take(&changes),
        ["new: critical: fake: entries at 90.0% of the bound"]
    );
}

#[test]
fn swings_around_a_threshold_are_reported_once() {
    let (world, fake, changes) = world();
    for minute in 0..100 {
        fake.set(|usage| usage.len = if minute % 3 == 0 { 750 } else { 749 });
        world.quiet(1);
    }
    assert_eq!(take(&changes).len(), 1);
    for minute in 0..100 {
        fake.set(|usage| usage.len = if minute % 3 == 0 { 850 } else { 849 });
        world.quiet(1);
    }
    assert_eq!(take(&changes).len(), 1, "it worsened once");
}

#[test]
fn finding_ends_when_its_collection_is_dropped() {
    let (world, fake, changes) = world();
    fake.set(|usage| usage.len = 1_000);
    world.quiet(1);
    drop(fake);
    assert_eq!(take(&changes).len(), 1);
    world.quiet(3);
    assert_eq!(
        take(&changes),
        ["ended: critical: fake: entries at 100.0% of the bound"]
    );
}

#[test]
fn findings_of_different_names_are_independent() {
    let (world, fake, changes) = world();
    let other = Fake::new(|usage| usage.len = 1_000);
    world.monitor.watch("other", &other);
    fake.set(|usage| usage.len = 1_000);
    world.quiet(5);
    let mut changes = take(&changes);
    changes.sort();
    let expected = ["fake", "other"]
        .map(|name| format!("new: critical: {name}: entries at 100.0% of the bound"));
    assert_eq!(changes, expected);
}

#[test]
fn report_does_not_call_the_callback() {
    let (world, fake, changes) = world();
    fake.set(|usage| usage.len = 1_000);
    assert_eq!(world.monitor.report().severity(), Severity::Critical);
    assert_eq!(take(&changes), [""; 0]);
    world.monitor.sample();
    assert_eq!(take(&changes).len(), 1);
}

#[test]
fn report_does_not_count_as_a_sample_without_a_finding() {
    let (world, fake, changes) = world();
    fake.set(|usage| usage.len = 1_000);
    world.quiet(1);
    assert_eq!(take(&changes).len(), 1);
    fake.set(|usage| usage.len = 0);
    for _ in 0..10 {
        assert_eq!(world.monitor.report().severity(), Severity::Normal);
    }
    // A finding ends with its third sample in a row.
    world.quiet(2);
    assert_eq!(take(&changes), [""; 0]);
    world.quiet(1);
    assert_eq!(take(&changes).len(), 1);
}

#[test]
fn callback_panic_is_counted_and_reporting_continues() {
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    let world = World::with(|builder| {
        builder.on_change(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            panic!("the pager is down");
        })
    });
    let fake = Fake::new(|usage| usage.len = 800);
    world.monitor.watch("fake", &fake);
    world.quiet(3);
    assert_eq!(
        (calls.load(Ordering::SeqCst), world.monitor.report().panics),
        (1, 1)
    );
    fake.set(|usage| usage.len = 900);
    world.quiet(3);
    assert_eq!(
        (calls.load(Ordering::SeqCst), world.monitor.report().panics),
        (2, 2)
    );
}

#[test]
fn callback_may_use_the_monitor() {
    // With a lock held, this would deadlock.
    let monitor: Arc<OnceLock<Monitor>> = Arc::default();
    let calls = Arc::new(AtomicUsize::new(0));
    let (inside, count) = (Arc::clone(&monitor), Arc::clone(&calls));
    let fake = Fake::new(|usage| usage.len = 900);
    let another = Fake::new(|_| {});
    let watched = Arc::clone(&another);
    let builder = Monitor::builder()
        .process(Default::default)
        .on_change(move |_| {
            let monitor = inside.get().expect("set below");
            count.fetch_add(1, Ordering::SeqCst);
            monitor.watch("another", &watched);
            assert_eq!(monitor.sample().collections.len(), 2);
            assert_eq!(monitor.report().collections.len(), 2);
        });
    let monitor = monitor.get_or_init(|| builder.build().expect("valid options"));
    monitor.watch("fake", &fake);
    let report = monitor.sample();
    assert_eq!((report.panics, calls.load(Ordering::SeqCst)), (0, 1));
    assert_eq!(monitor.report().panics, 0);
}

#[test]
fn changes_from_several_threads_are_reported_in_order() {
    let fakes: Vec<_> = (0..4).map(|_| Fake::new(|_| {})).collect();
    let state: Arc<Mutex<std::collections::HashMap<String, bool>>> = Arc::default();
    let (here, wrong) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (seen, inside, count) = (Arc::clone(&state), Arc::clone(&here), Arc::clone(&wrong));
    let callback = move |change: &Change| {
        let alone = inside.fetch_add(1, Ordering::SeqCst) == 0;
        let appears = !matches!(change, Change::Ended(_));
        let name = format!("{} {:?}", change.finding().subject(), change.finding().kind);
        let was_there = seen
            .lock()
            .expect("not poisoned")
            .insert(name, appears)
            .unwrap_or(false);
        // A finding appears only if it was absent, and ends or worsens only if it was present.
        if !alone || was_there == matches!(change, Change::Appeared(_)) {
            count.fetch_add(1, Ordering::SeqCst);
        }
        std::thread::yield_now();
        inside.fetch_sub(1, Ordering::SeqCst);
    };
    let world = World::with(|builder| builder.on_change(callback));
    for (number, fake) in fakes.iter().enumerate() {
        world.monitor.watch(&number.to_string(), fake);
    }
    std::thread::scope(|scope| {
        for fake in &fakes {
            scope.spawn(|| {
                for round in 0..300 {
                    fake.set(|usage| usage.len = [0, 800, 900][round / 5 % 3]);
                    world.monitor.sample();
                }
                fake.set(|usage| usage.len = 900);
            });
        }
    });
    world.quiet(5);
    assert_eq!(wrong.load(Ordering::SeqCst), 0);
    let state = state.lock().expect("not poisoned");
    assert_eq!(
        state.values().filter(|there| **there).count(),
        4,
        "{state:?}"
    );
}
