//! The sweeper's thread. These tests let real time pass; no others do.

use std::env;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use leakproof::{DedupMap, DedupSet, LruCache, ManualClock, Sweep, Sweeper, Swept, Usage, Watch};

const SOON: Duration = Duration::from_millis(5);
const LONG: Duration = Duration::from_secs(3600);
/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A value that reports when it is dropped.
#[derive(Clone)]
struct Reports {
    /// Dropping it ends the channel.
    _sender: Sender<()>,
}

/// A map of one entry that has expired, and what tells when the entry is dropped.
fn expired(sweep_every: Option<Duration>) -> (DedupMap<str, Reports>, Receiver<()>) {
    let time = ManualClock::new();
    let builder = DedupMap::builder()
        .ttl(LONG)
        .max_entries(10)
        .clock(time.clock());
    let builder = match sweep_every {
        Some(every) => builder.sweep_every(every),
        None => builder,
    };
    let seen = builder.build().expect("sound limits");
    let (sender, receiver) = channel();
    seen.record("id", Reports { _sender: sender });
    time.advance(LONG);
    (seen, receiver)
}

/// Whether all senders are gone within our patience.
fn dropped(receiver: &Receiver<()>) -> bool {
    receiver.recv_timeout(PATIENCE) == Err(std::sync::mpsc::RecvTimeoutError::Disconnected)
}

#[test]
fn one_thread_sweeps_many_collections() {
    let sweeper = Sweeper::new();
    let collections: Vec<_> = (0..20).map(|_| expired(None)).collect();
    for (number, (seen, _)) in collections.iter().enumerate() {
        sweeper.watch(&format!("map {number}"), seen, SOON);
    }
    assert_eq!(sweeper.watched().len(), 20);
    assert!(collections.iter().all(|(_, receiver)| dropped(receiver)));
}

#[test]
fn sweep_every_registers_with_the_process_wide_sweeper() {
    let (_seen, receiver) = expired(Some(SOON));
    assert!(dropped(&receiver));
}

/// Set in the process that `a_sweeper_never_keeps_the_process_alive` starts: itself once more.
const LEAVES_SWEEPERS: &str = "LEAKPROOF_TEST_LEAVES_SWEEPERS";

/// Returns while the process-wide sweeper, one of its own, and what they sweep are all still there.
fn leave_sweepers_behind() {
    let seen = DedupSet::<u64>::builder()
        .ttl(LONG)
        .max_entries(10)
        .sweep_every(LONG)
        .build()
        .expect("sound limits");
    let sweeper = Sweeper::new();
    sweeper.watch("seen", &seen, LONG);
    std::mem::forget((seen, sweeper));
}

#[test]
fn a_sweeper_never_keeps_the_process_alive() {
    if env::var_os(LEAVES_SWEEPERS).is_some() {
        return leave_sweepers_behind();
    }
    let mut itself = Command::new(env::current_exe().expect("a test has a path"));
    itself
        .args([
            "--exact",
            "sweeper::a_sweeper_never_keeps_the_process_alive",
        ])
        .env(LEAVES_SWEEPERS, "")
        .stdout(Stdio::piped());
    let mut child = itself.spawn().expect("it can be run");
    let output = child.stdout.take().expect("it is piped");
    let (sender, receiver) = channel();
    // The pipe ends with the process.
    std::thread::spawn(move || sender.send(std::io::read_to_string(output)));
    let printed = receiver.recv_timeout(PATIENCE);
    if printed.is_err() {
        child.kill().expect("it can be killed");
    }
    assert!(
        child.wait().expect("it can be waited for").success(),
        "it should have ended by itself"
    );
    let printed = printed.expect("it ended").expect("text");
    assert!(
        printed.contains("1 passed"),
        "it left no sweeper behind: {printed}"
    );
}

#[test]
fn a_piece_of_a_sweep_frees_no_more_than_was_asked_for() {
    let time = ManualClock::new();
    let seen = DedupMap::<u64, String>::builder()
        .ttl(LONG)
        .max_entries(11_000)
        .shards(2)
        .clock(&time);
    let seen = seen.build().expect("sound limits");
    let cache = LruCache::<u64, String>::builder()
        .max_entries(11_000)
        .ttl(LONG)
        .shards(2)
        .clock(&time);
    let cache = cache.build().expect("sound limits");
    for number in 0..10_000 {
        seen.record(&number, number.to_string());
        cache.insert(number, number.to_string());
    }
    time.advance(LONG);
    for collection in [seen.downgrade_to_sweep(), cache.downgrade_to_sweep()] {
        let collection = collection.upgrade().expect("alive");
        let (mut freed, mut pieces) = (0, 0);
        loop {
            let swept = collection.sweep_some(100);
            assert!(swept.freed <= 100, "{} freed", swept.freed);
            (freed, pieces) = (freed + swept.freed, pieces + 1);
            if !swept.more {
                break;
            }
        }
        assert_eq!(freed, 10_000);
        assert!(pieces >= 100, "{pieces} pieces");
    }
}

#[test]
fn a_collection_is_held_weakly() {
    let sweeper = Sweeper::new();
    let (seen, receiver) = expired(None);
    sweeper.watch("gone", &seen, LONG);
    drop(seen);
    assert!(dropped(&receiver), "the map is gone, and its value with it");
    assert!(sweeper.watched().is_empty());
}

#[test]
fn a_sweeper_stops_at_once_when_dropped_however_long_it_would_sleep() {
    let (seen, _) = expired(None);
    let (sender, receiver) = channel::<()>();
    std::thread::spawn(move || {
        let sweeper = Sweeper::new();
        sweeper.watch("hourly", &seen, LONG);
        drop(sweeper);
        drop(sender);
    });
    assert!(dropped(&receiver));
}

/// A collection whose sweep panics, has no end, or counts.
enum Odd {
    Panics,
    Endless,
    Counts(AtomicUsize, Sender<()>),
}

impl Sweep for Odd {
    fn sweep_some(&self, _: usize) -> Swept {
        match self {
            Self::Panics => panic!("a value's drop"),
            Self::Endless => Swept {
                freed: 1,
                more: true,
            },
            Self::Counts(count, sender) => {
                if count.fetch_add(1, Ordering::SeqCst) == 10 {
                    sender.send(()).ok();
                }
                Swept {
                    freed: 0,
                    more: false,
                }
            }
        }
    }

    fn usage(&self) -> Usage {
        Usage::default()
    }
}

#[test]
fn a_panic_in_one_sweep_does_not_stop_the_others() {
    let sweeper = Sweeper::new();
    let (sender, receiver) = channel();
    let odd = [
        Arc::new(Odd::Panics),
        Arc::new(Odd::Counts(AtomicUsize::new(0), sender)),
    ];
    for collection in &odd {
        sweeper.watch("odd", collection, SOON);
    }
    assert_eq!(
        receiver.recv_timeout(PATIENCE),
        Ok(()),
        "swept again and again"
    );
    assert!(sweeper.panics() > 0);
}

#[test]
fn a_sweep_without_end_is_left_when_the_sweeper_is_dropped() {
    let endless = Arc::new(Odd::Endless);
    let (sender, receiver) = channel::<()>();
    std::thread::spawn(move || {
        let sweeper = Sweeper::new();
        sweeper.watch("endless", &endless, SOON);
        std::thread::park_timeout(4 * SOON);
        drop(sweeper);
        drop(sender);
    });
    assert!(dropped(&receiver));
}

#[test]
fn a_sweeper_may_be_dropped_by_what_it_sweeps() {
    struct Holds(std::sync::Mutex<Option<Sweeper>>, Sender<()>);
    impl Sweep for Holds {
        fn sweep_some(&self, _: usize) -> Swept {
            drop(self.0.lock().expect("not poisoned").take());
            self.1.send(()).ok();
            Swept {
                freed: 0,
                more: false,
            }
        }
        fn usage(&self) -> Usage {
            Usage::default()
        }
    }
    let (sender, receiver) = channel();
    let sweeper = Sweeper::new();
    let holds = Arc::new(Holds(std::sync::Mutex::new(None), sender));
    sweeper.watch("itself", &holds, Duration::from_millis(100));
    *holds.0.lock().expect("not poisoned") = Some(sweeper);
    assert_eq!(receiver.recv_timeout(PATIENCE), Ok(()));
}
