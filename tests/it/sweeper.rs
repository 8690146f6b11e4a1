//! The background thread of `Sweeper`. These tests wait in real time, because the thread does.

use std::env;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use leakproof::{
    Clock, DedupMap, DedupSet, LruCache, ManualClock, Sweep, Sweeper, Swept, Usage, Watch,
};

use crate::support::fn_sweep::{fn_sweep, swept};

const SOON: Duration = Duration::from_millis(5);
const LONG: Duration = Duration::from_secs(3600);
/// Longer than anything in this file takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A value whose drop ends a channel.
#[derive(Clone)]
struct Signal {
    _sender: Sender<()>,
}

/// Returns a map with one expired entry, and a receiver that disconnects when the entry's value is
/// dropped.
fn map_with_expired_entry(sweep_every: Option<Duration>) -> (DedupMap<str, Signal>, Receiver<()>) {
    let time = ManualClock::new();
    let mut builder = DedupMap::builder().ttl(LONG).max_entries(10).clock(&time);
    if let Some(every) = sweep_every {
        builder = builder.sweep_every(every);
    }
    let seen = builder.build().expect("valid options");
    let (sender, receiver) = channel();
    seen.record("id", Signal { _sender: sender });
    time.advance(LONG);
    (seen, receiver)
}

fn is_disconnected_in_time(receiver: &Receiver<()>) -> bool {
    receiver.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Disconnected)
}

/// Lets at least this much real time pass.
fn pause(time: Duration) {
    let clock = Clock::precise();
    while clock.now() < time {
        thread::park_timeout(time - clock.now().min(time));
    }
}

fn wait_until(condition: impl Fn() -> bool) -> bool {
    let clock = Clock::precise();
    while clock.now() < PATIENCE {
        if condition() {
            return true;
        }
        pause(Duration::from_millis(1));
    }
    false
}

#[test]
fn sweeper_frees_entries_of_many_collections() {
    let sweeper = Sweeper::new();
    let maps: Vec<_> = (0..20).map(|_| map_with_expired_entry(None)).collect();
    for (number, (seen, _)) in maps.iter().enumerate() {
        sweeper.watch(&format!("map {number}"), seen, SOON);
    }
    assert_eq!(sweeper.watched().len(), 20);
    for (_, receiver) in &maps {
        assert!(is_disconnected_in_time(receiver));
    }
}

#[test]
fn sweep_every_uses_the_process_wide_sweeper() {
    let (_seen, receiver) = map_with_expired_entry(Some(SOON));
    assert!(is_disconnected_in_time(&receiver));
}

/// Set in the child process that `sweeper_does_not_keep_the_process_alive` starts.
const IS_CHILD: &str = "LEAKPROOF_TEST_LEAVES_SWEEPERS";

/// Returns while the process-wide sweeper, another sweeper and their collections are alive.
fn leak_sweepers() {
    let seen = DedupSet::<u64>::builder()
        .ttl(LONG)
        .max_entries(10)
        .sweep_every(LONG)
        .build()
        .expect("valid options");
    let sweeper = Sweeper::new();
    sweeper.watch("seen", &seen, LONG);
    std::mem::forget((seen, sweeper));
}

#[test]
fn sweeper_does_not_keep_the_process_alive() {
    if env::var_os(IS_CHILD).is_some() {
        return leak_sweepers();
    }
    let mut child = Command::new(env::current_exe().expect("a test binary has a path"))
        .args([
            "--exact",
            "sweeper::sweeper_does_not_keep_the_process_alive",
        ])
        .env(IS_CHILD, "")
        .stdout(Stdio::piped())
        .spawn()
        .expect("the test binary starts");
    let output = child.stdout.take().expect("stdout is piped");
    let (sender, receiver) = channel();
    // The pipe ends when the process ends.
    thread::spawn(move || sender.send(std::io::read_to_string(output)));
    let printed = receiver.recv_timeout(PATIENCE);
    if printed.is_err() {
        child.kill().expect("the child can be killed");
    }
    let status = child.wait().expect("the child can be waited for");
    assert!(status.success(), "the child ends without being killed");
    let printed = printed.expect("the child ended").expect("text");
    // Without this check, a wrong test name would run no test and pass.
    assert!(printed.contains("1 passed"), "{printed}");
}

#[test]
fn sweep_that_only_resizes_an_index_reports_more_to_do() {
    let cache = LruCache::<u64, u64>::builder();
    let cache = cache.max_entries(10_000).shards(1).build().expect("valid");
    (0..10_000).for_each(|key| _ = cache.insert(key, key));
    let collection = cache.downgrade_to_sweep().upgrade().expect("alive");
    let mut unfinished = 0;
    for key in 0..10_000 {
        cache.remove(&key);
        let swept = collection.sweep_some(1);
        assert_eq!(swept.freed, 0, "nothing has expired");
        unfinished += u32::from(swept.more);
    }
    assert!(unfinished > 100, "{unfinished} of 10,000 sweeps");
}

#[test]
fn sweep_some_frees_at_most_its_budget() {
    let time = ManualClock::new();
    let seen = DedupMap::<u64, String>::builder()
        .ttl(LONG)
        .max_entries(11_000)
        .shards(2)
        .clock(&time)
        .build()
        .expect("valid options");
    let cache = LruCache::<u64, String>::builder()
        .max_entries(11_000)
        .ttl(LONG)
        .shards(2)
        .clock(&time)
        .build()
        .expect("valid options");
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
fn watch_does_not_keep_the_collection_alive() {
    let sweeper = Sweeper::new();
    let (seen, receiver) = map_with_expired_entry(None);
    sweeper.watch("dropped", &seen, LONG);
    drop(seen);
    assert!(is_disconnected_in_time(&receiver));
    assert!(sweeper.watched().is_empty());
}

#[test]
fn dropped_collection_is_forgotten_at_its_deadline() {
    let sweeper = Sweeper::new();
    let (seen, _) = map_with_expired_entry(None);
    sweeper.watch("dropped", &seen, SOON);
    drop(seen);
    // The debug output lists all tasks, those of dropped collections included.
    assert!(wait_until(|| !format!("{sweeper:?}").contains("dropped")));
}

#[test]
fn unwatch_stops_sweeps_of_all_collections_of_a_name() {
    let sweeper = Sweeper::new();
    let sweeps = Arc::new(AtomicUsize::new(0));
    let collections: Vec<_> = (0..3)
        .map(|_| {
            let count = Arc::clone(&sweeps);
            fn_sweep(move || {
                count.fetch_add(1, Ordering::SeqCst);
                swept(0, false)
            })
        })
        .collect();
    sweeper.watch("a", &collections[0], SOON);
    sweeper.watch("a", &collections[1], SOON);
    sweeper.watch("b", &collections[2], LONG);
    assert!(wait_until(|| sweeps.load(Ordering::SeqCst) > 10));
    assert!(sweeper.unwatch("a"));
    assert!(!sweeper.unwatch("a"));
    assert_eq!(sweeper.watched(), ["b"]);
    // Pieces that were in progress are finished by then.
    pause(4 * SOON);
    let before = sweeps.load(Ordering::SeqCst);
    pause(4 * SOON);
    assert_eq!(sweeps.load(Ordering::SeqCst), before);
}

#[test]
fn unwatch_during_a_sweep_ends_that_sweep() {
    let sweeper = Arc::new(Sweeper::new());
    let (handle, pieces) = (Arc::downgrade(&sweeper), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&pieces);
    let endless = fn_sweep(move || {
        if count.fetch_add(1, Ordering::SeqCst) == 9 {
            let sweeper = handle.upgrade().expect("alive");
            assert!(sweeper.unwatch("endless"));
        }
        swept(1, true)
    });
    sweeper.watch("endless", &endless, SOON);
    assert!(wait_until(|| sweeper.watched().is_empty()));
    pause(4 * SOON);
    assert_eq!(pieces.load(Ordering::SeqCst), 10);
}

#[test]
fn sweeper_stops_at_once_when_dropped() {
    let (seen, _) = map_with_expired_entry(None);
    let (sender, receiver) = channel::<()>();
    thread::spawn(move || {
        let sweeper = Sweeper::new();
        sweeper.watch("hourly", &seen, LONG);
        drop(sweeper);
        drop(sender);
    });
    assert!(is_disconnected_in_time(&receiver));
}

#[test]
fn endless_sweep_ends_when_the_sweeper_is_dropped() {
    let endless = fn_sweep(|| swept(1, true));
    let (sender, receiver) = channel::<()>();
    thread::spawn(move || {
        let sweeper = Sweeper::new();
        sweeper.watch("endless", &endless, SOON);
        pause(4 * SOON);
        drop(sweeper);
        drop(sender);
    });
    assert!(is_disconnected_in_time(&receiver));
}

#[test]
fn endless_sweep_does_not_delay_other_collections() {
    let sweeper = Sweeper::new();
    let endless = fn_sweep(|| swept(1, true));
    sweeper.watch("endless", &endless, Duration::from_millis(1));
    let (sender, receiver) = channel();
    let sender = Mutex::new(sender);
    let other = fn_sweep(move || {
        sender.lock().expect("no panic").send(()).ok();
        swept(0, false)
    });
    sweeper.watch("other", &other, SOON);
    for _ in 0..10 {
        assert_eq!(receiver.recv_timeout(PATIENCE), Ok(()));
    }
}

#[test]
fn sweep_frees_all_pieces_without_waiting_for_the_next_interval() {
    const PIECES: usize = 1_000;
    // With one piece per interval, the sweep would take 100 seconds.
    let interval = Duration::from_millis(100);
    let pieces = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&pieces);
    let large = fn_sweep(move || {
        let piece = count.fetch_add(1, Ordering::SeqCst) + 1;
        swept(1, piece < PIECES)
    });
    let sweeper = Sweeper::new();
    sweeper.watch("large", &large, interval);
    assert!(wait_until(|| pieces.load(Ordering::SeqCst) >= PIECES));
}

#[test]
fn panic_in_a_sweep_does_not_stop_the_others() {
    let sweeper = Sweeper::new();
    let panics = fn_sweep(|| panic!("a value's drop"));
    let (sender, receiver) = channel();
    let sender = Mutex::new(sender);
    let other = fn_sweep(move || {
        sender.lock().expect("no panic").send(()).ok();
        swept(0, false)
    });
    sweeper.watch("panics", &panics, SOON);
    sweeper.watch("other", &other, SOON);
    for _ in 0..10 {
        assert_eq!(receiver.recv_timeout(PATIENCE), Ok(()));
    }
    assert!(wait_until(|| sweeper.panics() > 1));
}

#[test]
fn panic_in_drop_of_the_last_handle_does_not_stop_the_sweeper() {
    /// Waits in its sweep until its other handle is dropped, and panics when it is dropped itself.
    struct PanicsOnDrop {
        is_swept: AtomicBool,
        handle_is_dropped: Arc<AtomicBool>,
    }
    impl Sweep for PanicsOnDrop {
        fn sweep_some(&self, _: usize) -> Swept {
            self.is_swept.store(true, Ordering::SeqCst);
            assert!(wait_until(|| self.handle_is_dropped.load(Ordering::SeqCst)));
            swept(0, false)
        }
        fn usage(&self) -> Usage {
            Usage::default()
        }
    }
    impl Drop for PanicsOnDrop {
        fn drop(&mut self) {
            panic!("in drop");
        }
    }
    let sweeper = Sweeper::new();
    let handle_is_dropped = Arc::new(AtomicBool::new(false));
    let collection = Arc::new(PanicsOnDrop {
        is_swept: AtomicBool::new(false),
        handle_is_dropped: Arc::clone(&handle_is_dropped),
    });
    sweeper.watch("panics on drop", &collection, SOON);
    assert!(wait_until(|| collection.is_swept.load(Ordering::SeqCst)));
    drop(collection);
    handle_is_dropped.store(true, Ordering::SeqCst);
    let (_seen, receiver) = map_with_expired_entry(None);
    sweeper.watch("seen", &_seen, SOON);
    assert!(is_disconnected_in_time(&receiver), "the thread is alive");
    assert_eq!(sweeper.panics(), 1);
}

#[test]
fn sweeper_may_be_dropped_by_a_collection_that_it_sweeps() {
    let owner: Arc<Mutex<Option<Sweeper>>> = Arc::default();
    let (sender, receiver) = channel();
    let (owned, sender) = (Arc::clone(&owner), Mutex::new(sender));
    let collection = fn_sweep(move || {
        drop(owned.lock().expect("no panic").take());
        sender.lock().expect("no panic").send(()).ok();
        swept(0, false)
    });
    let sweeper = Sweeper::new();
    sweeper.watch("owner", &collection, Duration::from_millis(100));
    *owner.lock().expect("no panic") = Some(sweeper);
    assert_eq!(receiver.recv_timeout(PATIENCE), Ok(()));
}

#[test]
fn collections_of_one_name_are_all_watched() {
    let sweeper = Sweeper::new();
    let collections = [(); 2].map(|()| fn_sweep(|| swept(0, false)));
    for collection in &collections {
        sweeper.watch("name", collection, LONG);
    }
    assert_eq!(sweeper.watched(), ["name", "name"]);
}

#[test]
fn earlier_deadline_wakes_a_sleeping_sweeper() {
    let sweeper = Sweeper::new();
    let later = fn_sweep(|| swept(0, false));
    sweeper.watch("later", &later, LONG);
    // Long enough that the thread sleeps, most of the time.
    pause(4 * SOON);
    let (seen, receiver) = map_with_expired_entry(None);
    sweeper.watch("sooner", &seen, SOON);
    assert!(is_disconnected_in_time(&receiver));
}

#[test]
fn drop_of_a_sweeper_waits_for_the_piece_in_progress() {
    let (begun, ended) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicBool::new(false)),
    );
    let collection = {
        let (begun, ended) = (Arc::clone(&begun), Arc::clone(&ended));
        fn_sweep(move || {
            begun.store(true, Ordering::SeqCst);
            pause(4 * SOON);
            ended.store(true, Ordering::SeqCst);
            swept(0, false)
        })
    };
    let sweeper = Sweeper::new();
    sweeper.watch("slow", &collection, SOON);
    assert!(wait_until(|| begun.load(Ordering::SeqCst)));
    ended.store(false, Ordering::SeqCst);
    drop(sweeper);
    let ended_at_drop = ended.load(Ordering::SeqCst);
    pause(8 * SOON);
    assert!(ended_at_drop || !ended.load(Ordering::SeqCst));
}
