//! What the sweeper's thread tells. Real time passes here, and nothing is said of how much.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use leakproof::{DedupSet, ManualClock, Sweep, Sweeper, Swept, Usage};
use tracing::Level;

use super::captured::{Calling, Told};

const SOON: Duration = Duration::from_millis(5);
/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
const HOUR: Duration = Duration::from_secs(3600);

static SENDERS: Mutex<Vec<(&str, Sender<Told>)>> = Mutex::new(Vec::new());
static PANICS: AtomicBool = AtomicBool::new(false);

/// What the whole process tells of a collection, but on the threads of tests that listen themselves.
fn told_of(name: &'static str) -> Receiver<Told> {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let tell = |told: Told| {
            let of = told.field("collection").to_owned();
            for (_, sender) in SENDERS
                .lock()
                .expect("not poisoned")
                .iter()
                .filter(|(name, _)| *name == of)
            {
                sender.send(told.clone()).ok();
            }
            assert!(
                !(of == "panics" && PANICS.load(Ordering::SeqCst)),
                "the log is full"
            );
        };
        tracing::subscriber::set_global_default(Calling(tell)).expect("nobody else does");
    });
    let (sender, receiver) = channel();
    SENDERS.lock().expect("not poisoned").push((name, sender));
    receiver
}

fn set(time: &ManualClock) -> DedupSet<u32> {
    DedupSet::builder()
        .ttl(HOUR)
        .max_entries(100)
        .clock(time)
        .build()
        .expect("sound limits")
}

/// Notes that it was swept.
struct Noting(Sender<()>);

impl Sweep for Noting {
    fn sweep_some(&self, _: usize) -> Swept {
        self.0.send(()).ok();
        Swept {
            freed: 0,
            more: false,
        }
    }

    fn usage(&self) -> Usage {
        Usage::default()
    }
}

#[test]
fn a_sweep_that_freed_something_is_told_for_debugging() {
    let told = told_of("freed");
    let time = ManualClock::new();
    let seen = set(&time);
    (0..50).for_each(|id| assert!(seen.insert(&id)));
    let sweeper = Sweeper::new();
    sweeper.watch("freed", &seen, SOON);
    let sweeps = |sets: usize| {
        // So many collections that come later have been swept: so has the first.
        for _ in 0..sets {
            let (sender, swept) = channel();
            let later = Arc::new(Noting(sender));
            sweeper.watch("later", &later, SOON);
            assert_eq!(swept.recv_timeout(PATIENCE), Ok(()));
        }
    };
    sweeps(3);
    assert!(told.try_recv().is_err(), "nothing has expired");
    time.advance(HOUR);
    let first = told.recv_timeout(PATIENCE).expect("it is swept");
    assert_eq!(
        (first.level, &*first.target),
        (Level::DEBUG, "leakproof::sweep")
    );
    assert_eq!(
        (first.field("collection"), first.field("freed")),
        ("freed", "50")
    );
    sweeps(3);
    assert!(told.try_recv().is_err(), "nothing is left");
}

#[test]
fn a_limit_that_is_reached_for_the_first_time_is_told_once_with_the_sweepers_name() {
    let told = told_of("full");
    let time = ManualClock::new();
    let seen = set(&time);
    (0..150).for_each(|id| assert!(seen.insert(&id)));
    let sweeper = Sweeper::new();
    sweeper.watch("full", &seen, SOON);
    let next = |target: &str| {
        let mut told = std::iter::from_fn(|| told.recv_timeout(PATIENCE).ok());
        told.find(|told| told.target == target || told.target == "leakproof::limit")
            .expect("it is swept")
    };
    let first = next("leakproof::limit");
    assert_eq!(
        (first.level, &*first.target),
        (Level::WARN, "leakproof::limit")
    );
    assert_eq!(
        (first.field("max_entries"), first.field("collection")),
        ("100", "full")
    );
    for _ in 0..3 {
        (0..150).for_each(|id| assert!(seen.insert(&id)));
        time.advance(HOUR);
        assert_eq!(next("leakproof::sweep").target, "leakproof::sweep");
    }
}

#[test]
fn a_panic_of_the_subscriber_is_counted_and_sweeping_goes_on() {
    let told = told_of("panics");
    let time = ManualClock::new();
    let seen = set(&time);
    let sweeper = Sweeper::new();
    PANICS.store(true, Ordering::SeqCst);
    sweeper.watch("panics", &seen, SOON);
    let next_sweep = || {
        let mut told = std::iter::from_fn(|| told.recv_timeout(PATIENCE).ok());
        told.find(|told| told.target == "leakproof::sweep")
            .expect("it is swept")
    };
    for round in 1..=3 {
        seen.insert(&7);
        time.advance(HOUR);
        next_sweep();
        // The count is told after the fact; the next sweep comes later still.
        seen.insert(&8);
        time.advance(HOUR);
        next_sweep();
        assert!(sweeper.panics() >= 2 * round - 1, "{}", sweeper.panics());
    }
}
