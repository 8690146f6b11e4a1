//! The sweeper's thread. These tests let real time pass; no others do.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use leakproof::{DedupMap, ManualClock, Stats, Sweep, Sweeper, Swept};

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
fn expired(sweep_every: Option<Duration>) -> (Arc<DedupMap<str, Reports>>, Receiver<()>) {
    let time = ManualClock::new();
    let builder = DedupMap::builder().ttl(LONG).max_entries(10).clock(time.clock());
    let builder = match sweep_every {
        Some(every) => builder.sweep_every(every),
        None => builder,
    };
    let seen = Arc::new(builder.build().expect("sound limits"));
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
            Self::Endless => Swept { freed: 1, more: true },
            Self::Counts(count, sender) => {
                if count.fetch_add(1, Ordering::SeqCst) == 10 {
                    sender.send(()).ok();
                }
                Swept { freed: 0, more: false }
            }
        }
    }

    fn stats(&self) -> Stats {
        Stats::default()
    }
}

#[test]
fn a_panic_in_one_sweep_does_not_stop_the_others() {
    let sweeper = Sweeper::new();
    let (sender, receiver) = channel();
    let odd = [Arc::new(Odd::Panics), Arc::new(Odd::Counts(AtomicUsize::new(0), sender))];
    for collection in &odd {
        sweeper.watch("odd", collection, SOON);
    }
    assert_eq!(receiver.recv_timeout(PATIENCE), Ok(()), "swept again and again");
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
            Swept { freed: 0, more: false }
        }
        fn stats(&self) -> Stats {
            Stats::default()
        }
    }
    let (sender, receiver) = channel();
    let sweeper = Sweeper::new();
    let holds = Arc::new(Holds(std::sync::Mutex::new(None), sender));
    sweeper.watch("itself", &holds, Duration::from_millis(100));
    *holds.0.lock().expect("not poisoned") = Some(sweeper);
    assert_eq!(receiver.recv_timeout(PATIENCE), Ok(()));
}
