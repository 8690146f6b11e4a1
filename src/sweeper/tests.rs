//! Tests of a sweeper that need its schedule.

use std::sync::Arc;
use std::time::Duration;

use super::schedule::{Due, MIN_PURGE, Schedule, Task};
use super::{Shared, Sweeper};
use crate::clock::{Alarm, ManualClock};
use crate::panic_counter::PanicCounter;
use crate::stats::Usage;
use crate::steps;
use crate::sweep::{Sweep, Swept, Watch};
use crate::sync::{Condvar, Mutex};

struct Empty;

impl Sweep for Empty {
    fn sweep_some(&self, _: usize) -> Swept {
        Swept::default()
    }

    fn usage(&self) -> Usage {
        Usage::default()
    }
}

fn add(state: &mut Schedule, collection: &Arc<Empty>) {
    let task = Task {
        collection: collection.downgrade_to_sweep(),
        every: Duration::from_secs(3600),
        sweep: None,
        reported: None,
    };
    state.add("name".into(), task, Duration::from_secs(3600));
}

#[test]
fn add_removes_tasks_of_dropped_collections_in_time() {
    let mut state = Schedule::default();
    let alive: Vec<_> = (0..100).map(|_| Arc::new(Empty)).collect();
    for collection in &alive {
        add(&mut state, collection);
    }
    for _ in 0..100_000 {
        add(&mut state, &Arc::new(Empty));
        assert!(state.tasks.len() <= 2 * (alive.len() + MIN_PURGE));
        assert_eq!(state.tasks.len(), state.deadlines.len());
    }
    state.purge();
    assert_eq!(state.tasks.len(), alive.len());
}

#[test]
fn deadlines_of_unwatched_collections_do_not_accumulate() {
    let sweeper = Sweeper::new();
    let collection = Arc::new(Empty);
    for _ in 0..10_000 {
        sweeper.watch("name", &collection, Duration::from_secs(3600));
        assert!(sweeper.unwatch("name"));
    }
    let state = sweeper.shared.state.lock();
    assert!(state.deadlines.len() <= 2 * MIN_PURGE);
}

/// Returns a sweeper's state without its thread, with tasks that are all due now. Their names
/// are in descending order.
fn all_due(collection: &Arc<Empty>, tasks: u64) -> Shared {
    let time = ManualClock::new();
    let mut state = Schedule::default();
    for number in 0..tasks {
        let task = Task {
            collection: collection.downgrade_to_sweep(),
            every: Duration::from_secs(3600),
            sweep: None,
            reported: None,
        };
        let name = (u64::MAX - number).to_string();
        state.add(name.into(), task, Duration::from_secs(3600));
    }
    time.advance(Duration::from_secs(3600));
    Shared {
        clock: time.clock(),
        state: Mutex::new(state),
        changed: Condvar::new(),
        panics: PanicCounter::default(),
    }
}

#[test]
fn next_task_is_found_in_logarithmic_steps() {
    let collection = Arc::new(Empty);
    let shared = all_due(&collection, 4_000);
    let steps = steps::during(|| {
        for _ in 0..4_000 {
            let Some(Due::Task(id, collection)) = shared.next_due() else {
                panic!("a task is due");
            };
            shared.finish_piece(&id, &*collection, Swept::default());
        }
    });
    // A heap of 4,000 has 12 levels. A linear search compares all.
    assert!(steps / 4_000 < 60, "{steps} steps");
}

#[test]
fn tasks_due_at_the_same_time_run_first_come_first_served() {
    let collection = Arc::new(Empty);
    let shared = all_due(&collection, 100);
    for round in 0..3 {
        for number in 0..100 {
            let Some(Due::Task(id, collection)) = shared.next_due() else {
                panic!("a task is due");
            };
            assert_eq!(id.1, number, "in round {round}");
            // The first two rounds are pieces of one sweep.
            let (freed, more) = (0, round < 2);
            shared.finish_piece(&id, &*collection, Swept { freed, more });
        }
    }
}

#[test]
fn due_alarms_are_served_in_order_and_before_tasks() {
    let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3600));
    let collection = Arc::new(Empty);
    let mut state = Schedule::default();
    add(&mut state, &collection);
    let calls = Arc::new(Mutex::new(Vec::new()));
    let alarm = |number: u32| -> Arc<Alarm> {
        let calls = Arc::clone(&calls);
        Arc::new(move || calls.lock().push(number))
    };
    let alarms = [0, 1, 2, 3].map(alarm);
    let mut add_alarm = |at, number: usize| state.add_alarm(at, Arc::downgrade(&alarms[number]));
    assert!(add_alarm(2 * second, 0), "there is none before");
    assert!(
        !add_alarm(2 * second, 1),
        "one at the same time comes first"
    );
    assert!(add_alarm(second, 2));
    assert!(!add_alarm(hour, 3));
    for due in [second, 2 * second, 2 * second, hour] {
        assert_eq!(state.next_time(), Some(due));
        let Some(Due::Alarm(alarm)) = state.pop(due) else {
            panic!("an alarm is due at {due:?}");
        };
        alarm();
    }
    assert_eq!(*calls.lock(), [2, 0, 1, 3]);
    assert!(matches!(state.pop(hour), Some(Due::Task(..))));
    assert_eq!(state.next_time(), None);
}

#[test]
fn dropped_alarms_do_not_accumulate() {
    let hour = Duration::from_secs(3600);
    let mut state = Schedule::default();
    let alarm: Arc<Alarm> = Arc::new(|| ());
    state.add_alarm(hour, Arc::downgrade(&alarm));
    for _ in 0..1_000 {
        let dropped: Arc<Alarm> = Arc::new(|| ());
        state.add_alarm(hour, Arc::downgrade(&dropped));
    }
    let mut popped = Vec::new();
    while state.next_time().is_some() {
        popped.push(state.pop(hour));
    }
    assert_eq!(popped.iter().flatten().count(), 1, "one is alive");
    assert!(popped.len() <= 2 * MIN_PURGE, "{}", popped.len());
}
