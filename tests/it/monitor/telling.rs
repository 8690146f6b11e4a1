//! The callback: once each, in order, while no lock is held, panics contained.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use leakproof::monitor::{Change, Monitor, Severity, Thresholds};

use super::helpers::{Fake, World, told};

const ZERO: Duration = Duration::ZERO;

fn world() -> (World, Arc<Fake>, Arc<Mutex<Vec<String>>>) {
    let (told, callback) = told();
    // Use of the bound alone: a test that fills a collection by steps is not to hear of its growth.
    let thresholds = Thresholds {
        time_left_warning: ZERO,
        time_left_critical: ZERO,
        ..Thresholds::default()
    };
    let world = World::with(|builder| builder.thresholds(thresholds).on_change(callback));
    let fake = Fake::new(|_| {});
    world.monitor.watch("fake", &fake);
    (world, fake, told)
}

fn take(told: &Mutex<Vec<String>>) -> Vec<String> {
    std::mem::take(&mut told.lock().expect("not poisoned"))
}

#[test]
fn a_finding_is_told_of_once_when_it_appears_worsens_and_ends() {
    let (world, fake, told) = world();
    world.quiet(5);
    assert_eq!(take(&told), [""; 0]);
    fake.set(|stats| stats.len = 800);
    world.quiet(20);
    assert_eq!(
        take(&told),
        ["new: warning: fake: entries at 80.0% of the bound"]
    );
    fake.set(|stats| stats.len = 840);
    world.quiet(20);
    assert_eq!(take(&told), [""; 0], "more, but no worse");
    fake.set(|stats| stats.len = 900);
    world.quiet(20);
    assert_eq!(
        take(&told),
        ["worse than warning: critical: fake: entries at 90.0% of the bound"]
    );
    fake.set(|stats| stats.len = 800);
    world.quiet(20);
    assert_eq!(take(&told), [""; 0], "better, but not ended");
    fake.set(|stats| stats.len = 100);
    world.quiet(20);
    assert_eq!(
        take(&told),
        ["ended: warning: fake: entries at 80.0% of the bound"]
    );
    fake.set(|stats| stats.len = 900);
    world.quiet(20);
    assert_eq!(
        take(&told),
        ["new: critical: fake: entries at 90.0% of the bound"]
    );
}

#[test]
fn what_swings_about_a_threshold_is_told_of_once() {
    let (world, fake, told) = world();
    for minute in 0..100 {
        fake.set(|stats| stats.len = if minute % 3 == 0 { 750 } else { 749 });
        world.quiet(1);
    }
    assert_eq!(take(&told).len(), 1);
    for minute in 0..100 {
        fake.set(|stats| stats.len = if minute % 3 == 0 { 850 } else { 849 });
        world.quiet(1);
    }
    assert_eq!(take(&told).len(), 1, "it worsened once");
}

#[test]
fn a_finding_ends_with_its_collection() {
    let (world, fake, told) = world();
    fake.set(|stats| stats.len = 1_000);
    world.quiet(1);
    drop(fake);
    assert_eq!(take(&told).len(), 1);
    world.quiet(3);
    assert_eq!(
        take(&told),
        ["ended: critical: fake: entries at 100.0% of the bound"]
    );
}

#[test]
fn collections_of_different_names_have_findings_of_their_own() {
    let (world, fake, told) = world();
    let other = Fake::new(|stats| stats.len = 1_000);
    world.monitor.watch("other", &other);
    fake.set(|stats| stats.len = 1_000);
    world.quiet(5);
    let mut changes = take(&told);
    changes.sort();
    let expected = ["fake", "other"]
        .map(|name| format!("new: critical: {name}: entries at 100.0% of the bound"));
    assert_eq!(changes, expected);
}

#[test]
fn a_report_tells_nobody() {
    let (world, fake, told) = world();
    fake.set(|stats| stats.len = 1_000);
    assert_eq!(world.monitor.report().severity(), Severity::Critical);
    assert_eq!(take(&told), [""; 0]);
    world.monitor.sample();
    assert_eq!(take(&told).len(), 1);
}

#[test]
fn a_panic_of_the_callback_is_contained_and_counted_and_the_next_change_is_told() {
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    let world = World::with(|builder| {
        builder.on_change(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            panic!("the pager is down");
        })
    });
    let fake = Fake::new(|stats| stats.len = 800);
    world.monitor.watch("fake", &fake);
    world.quiet(3);
    assert_eq!(
        (calls.load(Ordering::SeqCst), world.monitor.report().panics),
        (1, 1)
    );
    fake.set(|stats| stats.len = 900);
    world.quiet(3);
    assert_eq!(
        (calls.load(Ordering::SeqCst), world.monitor.report().panics),
        (2, 2)
    );
}

#[test]
fn the_callback_may_use_the_monitor() {
    // Were a lock held, this would not come to an end.
    let monitor: Arc<OnceLock<Monitor>> = Arc::default();
    let calls = Arc::new(AtomicUsize::new(0));
    let (inside, count) = (Arc::clone(&monitor), Arc::clone(&calls));
    let fake = Fake::new(|stats| stats.len = 900);
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
    let monitor = monitor.get_or_init(|| builder.build().expect("sound limits"));
    monitor.watch("fake", &fake);
    let report = monitor.sample();
    assert_eq!((report.panics, calls.load(Ordering::SeqCst)), (0, 1));
    assert_eq!(monitor.report().panics, 0);
}

#[test]
fn changes_are_told_one_at_a_time_and_in_order_whoever_takes_the_samples() {
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
        // What appears was not there, what ends or worsens was.
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
                    fake.set(|stats| stats.len = [0, 800, 900][round / 5 % 3]);
                    world.monitor.sample();
                }
                fake.set(|stats| stats.len = 900);
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
