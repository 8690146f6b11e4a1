//! Events of the sweeper's thread. These tests wait in real time.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, Once};
use std::time::Duration;

use leakproof::{DedupSet, LruCache, ManualClock, Sweeper, Swept};
use tracing::Level;

use super::tracing_capture::{Captured, OnEvent};
use crate::support::fn_sweep::{fn_sweep, swept};

const SOON: Duration = Duration::from_millis(5);
/// Longer than anything in this file takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
const HOUR: Duration = Duration::from_secs(3600);

static SENDERS: Mutex<Vec<(&str, Sender<Captured>)>> = Mutex::new(Vec::new());
static SUBSCRIBER_PANICS: AtomicBool = AtomicBool::new(false);

/// Returns a receiver of all events about a collection, from threads that have no subscriber of
/// their own.
fn events_about(collection: &'static str) -> Receiver<Captured> {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let distribute = |event: Captured| {
            let about = event.field("collection").to_owned();
            for (name, sender) in &*SENDERS.lock().expect("not poisoned") {
                if *name == about {
                    sender.send(event.clone()).ok();
                }
            }
            let panics = about == "panics" && SUBSCRIBER_PANICS.load(Ordering::SeqCst);
            assert!(!panics, "the log is full");
        };
        tracing::subscriber::set_global_default(OnEvent(distribute)).expect("the only one");
    });
    let (sender, receiver) = channel();
    SENDERS
        .lock()
        .expect("not poisoned")
        .push((collection, sender));
    receiver
}

/// Returns the next event of a target.
fn next(events: &Receiver<Captured>, target: &str) -> Captured {
    loop {
        let event = events.recv_timeout(PATIENCE).expect("an event in time");
        if event.target == target {
            return event;
        }
    }
}

fn set_of_100(time: &ManualClock) -> DedupSet<u32> {
    DedupSet::builder()
        .ttl(HOUR)
        .max_entries(100)
        .clock(time)
        .build()
        .expect("valid options")
}

#[test]
fn sweep_event_is_emitted_only_if_entries_were_freed() {
    let events = events_about("freed");
    let time = ManualClock::new();
    let seen = set_of_100(&time);
    (0..50).for_each(|id| assert!(seen.insert(&id)));
    let sweeper = Sweeper::new();
    sweeper.watch("freed", &seen, SOON);
    let wait_for_sweeps = || {
        // A collection that is added later is swept later, so the first one has been swept as well.
        for _ in 0..3 {
            let (sender, begun) = channel();
            let sender = Mutex::new(sender);
            let later = fn_sweep(move || {
                sender.lock().expect("not poisoned").send(()).ok();
                Swept::default()
            });
            sweeper.watch("later", &later, SOON);
            assert_eq!(begun.recv_timeout(PATIENCE), Ok(()));
        }
    };
    wait_for_sweeps();
    assert!(events.try_recv().is_err(), "nothing has expired");
    time.advance(HOUR);
    let event = events.recv_timeout(PATIENCE).expect("an event in time");
    assert_eq!(event.level, Level::DEBUG);
    assert_eq!(event.target, "leakproof::sweep");
    assert_eq!(event.field("freed"), "50");
    wait_for_sweeps();
    assert!(events.try_recv().is_err(), "everything was freed");
}

#[test]
fn sweep_of_several_pieces_is_one_event() {
    let events = events_about("pieces");
    let (sweeper, pieces) = (Sweeper::new(), AtomicUsize::new(0));
    // Frees 10 entries in each of 3 pieces, once.
    let large = fn_sweep(move || match pieces.fetch_add(1, Ordering::SeqCst) {
        piece @ 0..3 => swept(10, piece < 2),
        _ => Swept::default(),
    });
    sweeper.watch("pieces", &large, SOON);
    assert_eq!(next(&events, "leakproof::sweep").field("freed"), "30");
}

#[test]
fn limit_event_names_each_limit_once() {
    let events = events_about("full");
    let time = ManualClock::new();
    let seen = DedupSet::<str>::builder()
        .ttl(HOUR)
        .max_entries(100)
        .max_bytes(1_000)
        .shards(1)
        .clock(&time)
        .build()
        .expect("valid options");
    (0..150).for_each(|id| assert!(seen.insert(&id.to_string())));
    let sweeper = Sweeper::new();
    sweeper.watch("full", &seen, SOON);
    let event = next(&events, "leakproof::limit");
    assert_eq!(event.level, Level::WARN);
    assert_eq!(event.field("limit"), "max_entries");
    assert_eq!(event.field("max_entries"), "100");

    assert!(seen.insert(&"long".repeat(200)));
    assert_eq!(
        next(&events, "leakproof::limit").field("limit"),
        "max_bytes"
    );

    for _ in 0..3 {
        seen.insert(&"long".repeat(200));
        (0..150).for_each(|id| _ = seen.insert(&id.to_string()));
        time.advance(HOUR);
        let event = events.recv_timeout(PATIENCE).expect("an event in time");
        assert_eq!(event.target, "leakproof::sweep");
    }
}

fn cache_with_panicking_callback(time: &ManualClock) -> LruCache<u32, u32> {
    LruCache::builder()
        .max_entries(10)
        .ttl(HOUR)
        .clock(time)
        // `tokio::spawn` panics in the same place on a thread outside the runtime.
        .on_removal(|_, _, _| panic!("there is no reactor running"))
        .build()
        .expect("valid options")
}

#[test]
fn panic_event_reports_the_first_callback_panic() {
    // The only test whose sweeper runs callbacks of a cache that panic.
    let events = events_about("lru");
    let time = ManualClock::new();
    let sessions = cache_with_panicking_callback(&time);
    let sweeper = Sweeper::new();
    sweeper.watch("sessions", &sessions, SOON);
    let swept = events_about("sessions");
    for key in 1..5 {
        sessions.insert(key, key);
        time.advance(HOUR);
        next(&swept, "leakproof::sweep");
    }
    assert_eq!(sessions.stats().callback_panics, 4);
    let event = next(&events, "leakproof::panic");
    assert_eq!(
        (event.level, event.field("code")),
        (Level::WARN, "removal callback")
    );
    assert!(events.try_recv().is_err(), "one event");
}

#[test]
fn subscriber_panic_is_counted_and_sweeps_continue() {
    let events = events_about("panics");
    let time = ManualClock::new();
    let seen = set_of_100(&time);
    let sweeper = Sweeper::new();
    SUBSCRIBER_PANICS.store(true, Ordering::SeqCst);
    sweeper.watch("panics", &seen, SOON);
    for round in 1..=3 {
        // The panic of one event is counted before the next sweep begins.
        for _ in 0..2 {
            seen.insert(&7);
            time.advance(HOUR);
            next(&events, "leakproof::sweep");
        }
        assert!(sweeper.panics() >= 2 * round - 1, "{}", sweeper.panics());
    }
}

#[test]
fn panic_event_reports_the_first_panic_of_the_sweeper() {
    let events = events_about("panics in sweeps");
    let (sweeper, panics) = (Sweeper::new(), fn_sweep(|| panic!("in a sweep")));
    sweeper.watch("panics in sweeps", &panics, SOON);
    assert_eq!(next(&events, "leakproof::panic").field("code"), "sweep");
    let clock = leakproof::Clock::precise();
    while sweeper.panics() < 3 {
        assert!(clock.now() < PATIENCE);
        std::thread::yield_now();
    }
    assert!(events.try_recv().is_err(), "one event");
}
