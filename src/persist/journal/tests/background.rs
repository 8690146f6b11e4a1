//! The background thread and its end.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, Weak};
use std::thread;

use super::super::background::Handle;
use super::super::shared::{Buffered, Shared};
use super::super::{OnError, Sync};
use super::sim_disk::Sim;
use super::*;
use crate::clock::{Clock, ManualClock};
use crate::stats::Usage;
use crate::sweep::{Sweep, Swept};

/// A map that calls a closure when the thread searches for old segments.
struct Map<F> {
    /// The live ids, which were recorded at time 1.
    live: u64,
    search: F,
}

impl<F: Fn() + Send + std::marker::Sync + 'static> Sweep for Map<F> {
    fn sweep_some(&self, _: usize) -> Swept {
        Swept::default()
    }

    fn usage(&self) -> Usage {
        Usage::default()
    }

    fn journaled(&self) -> Option<&dyn Contents> {
        Some(self)
    }
}

impl<F: Fn()> Contents for Map<F> {
    fn live_after(&self, times: &[Nanos]) -> Vec<u64> {
        let after = |&time: &Nanos| if time < 1 { self.live } else { 0 };
        times.iter().map(after).collect()
    }

    fn recorded_at(&self, _: &[u8]) -> Result<Option<Nanos>, String> {
        Ok((self.live > 0).then_some(1))
    }

    fn oldest_age(&self) -> Option<Duration> {
        (self.search)();
        None
    }
}

/// Returns a map with `live` ids that calls this closure when the thread searches.
fn map(live: u64, search: impl Fn() + Send + std::marker::Sync + 'static) -> Arc<dyn Sweep> {
    Arc::new(Map { live, search })
}

/// Returns a journal with ten old segments, whose thread runs about once per millisecond. A
/// thread that has nothing to do searches for old segments 16 times per ttl.
fn with_closed_segments(disk: &SimDisk, ttl: Nanos) -> Handle {
    let start = Anchor::default();
    let mut writer = Writer::new(Box::new(disk.clone()), true, 1, start, Vec::new(), 1);
    for id in 0..11 {
        let mut block = empty_block();
        insert_into(&mut block, 1, &[id]);
        writer.push(block);
        writer.write(start).expect("written");
    }
    assert_eq!(writer.closed.len(), 10);
    Handle::new(Shared::new(
        1,
        (Sync::Every(Duration::from_millis(1)), OnError::Continue),
        (Clock::from(ManualClock::new()), 2, ttl),
        PathBuf::new(),
        writer,
    ))
}

/// Buffers a record.
fn append(journal: &Handle) {
    let put = |out: &mut Vec<u8>| put_remove(out, 1, of_key(b"id"));
    assert_eq!(journal.shared.append(0, None, put), Buffered::Wait(0));
}

/// Waits for the thread.
fn wait_until(condition: impl Fn() -> bool) {
    let clock = Clock::precise();
    while !condition() {
        assert!(
            clock.now() < Duration::from_secs(30),
            "it does not happen in time"
        );
        thread::yield_now();
    }
}

#[test]
fn thread_compacts_although_no_record_follows() {
    let disk = SimDisk::default();
    let mut journal = with_closed_segments(&disk, Nanos::MAX);
    let map = map(0, || panic!("the search would compact as well"));
    journal.shared.untidy.store(true, Ordering::Relaxed);
    journal.start(Arc::downgrade(&map)).expect("started");
    wait_until(|| !journal.shared.writer.lock().has_closed());
}

#[test]
fn idle_thread_wakes_for_a_record_and_for_the_end() {
    let mut journal = with_closed_segments(&SimDisk::default(), Nanos::MAX);
    let map = map(11, || panic!("it would take a minute"));
    journal.start(Arc::downgrade(&map)).expect("started");
    // The thread becomes idle.
    thread::park_timeout(Duration::from_millis(10));
    append(&journal);
    wait_until(|| journal.shared.is_written(1));
    thread::park_timeout(Duration::from_millis(10));
    let closing = thread::spawn(move || drop(journal));
    wait_until(|| closing.is_finished());
}

#[test]
fn dropped_handle_waits_for_the_work_of_its_thread() {
    let (search, is_searching) = channel();
    let has_ended = Arc::new(AtomicBool::new(false));
    let mut journal = with_closed_segments(&SimDisk::default(), TTL);
    let (shared, ended) = (Arc::downgrade(&journal.shared), Arc::clone(&has_ended));
    let map = map(11, move || {
        search.send(()).ok();
        let is_stopped = |it: Arc<Shared>| it.stopped.load(Ordering::Relaxed);
        wait_until(|| shared.upgrade().is_none_or(is_stopped));
        // The handle is being dropped, and would have ended by now if it did not wait.
        (0..1_000).for_each(|_| thread::yield_now());
        ended.store(true, Ordering::Relaxed);
    });
    journal.start(Arc::downgrade(&map)).expect("started");
    is_searching.recv().expect("no panic");
    drop(journal);
    assert!(has_ended.load(Ordering::Relaxed));
}

/// A subscriber of events may hold the last handle on a map.
#[test]
fn thread_that_drops_the_handle_closes_the_journal() {
    let (give, taken) = channel::<Handle>();
    let taken = Mutex::new(taken);
    let map = map(11, move || {
        let journal = taken.lock().expect("no panic").recv();
        let journal = journal.expect("the test sends it");
        append(&journal);
        drop(journal);
    });
    let disk = SimDisk::default();
    let mut journal = with_closed_segments(&disk, TTL);
    let segments = || disk.with(|sim: &mut Sim| sim.files.keys().copied().collect::<Vec<_>>());
    let before = segments();
    journal.start(Arc::downgrade(&map)).expect("started");
    let shared: Weak<Shared> = Arc::downgrade(&journal.shared);
    give.send(journal).expect("no panic");
    wait_until(|| shared.strong_count() == 0);
    // The record is in a segment of its own, and the search deletes none after the close.
    let after = segments();
    assert_eq!(after.split_last(), Some((&12, &before[..])));
}
