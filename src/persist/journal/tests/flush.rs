//! Explicit flushes, and records that wait for the disk.

use std::path::PathBuf;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;

use super::super::super::format::{HEADER, read_block};
use super::super::shared::{Buffered, Drain, Shared};
use super::super::{OnError, Sync};
use super::sim_disk::File;
use super::*;
use crate::clock::{Clock, ManualClock};
use crate::stats::DedupStats;

/// Returns a journal on this disk that does not synchronise what it writes.
fn unsynchronised(disk: &SimDisk, shards: usize) -> Shared {
    journal(disk, Sync::Never, shards)
}

fn journal(disk: &SimDisk, sync: Sync, shards: usize) -> Shared {
    let (disk, start) = (Box::new(disk.clone()), Anchor::default());
    Shared::new(
        shards,
        (sync, OnError::Continue),
        (Clock::from(ManualClock::new()), 0, TTL),
        PathBuf::new(),
        Writer::new(disk, sync != Sync::Never, 16 << 20, start, Vec::new(), 1),
    )
}

/// Buffers this many bytes as a record of an id with this hash.
fn append(shared: &Shared, hash: u64, bytes: usize) -> Buffered {
    shared.append(hash, None, |out| {
        *out = vec![0; bytes];
        Ok(())
    })
}

#[test]
fn explicit_flush_synchronises_whatever_the_option_says() {
    let disk = SimDisk::default();
    let shared = unsynchronised(&disk, 1);
    let append = || {
        let appended = shared.append(0, None, |out| {
            put_clear(out);
            Ok(())
        });
        assert_eq!(appended, Buffered::Wait(0));
    };
    append();
    assert!(shared.flush());
    let is_synced = || {
        let is_synced = |file: &File| file.synced == file.content.len();
        disk.with(|sim| sim.files.values().all(is_synced))
    };
    assert!(!is_synced());
    shared.flush_and_sync().expect("it works");
    assert!(is_synced());
    // A failed write is an error, and so is a failed synchronisation.
    for is_written in [false, true] {
        append();
        if is_written {
            assert!(shared.flush());
        }
        disk.with(|sim| sim.fuse = Some((0, 0)));
        assert!(shared.flush_and_sync().is_err());
        assert!(shared.flush(), "the disk works again");
    }
}

#[test]
fn shard_buffers_its_share_before_a_call_writes() {
    let shared = unsynchronised(&SimDisk::default(), 4);
    // A quarter of 16 MiB.
    assert_eq!(append(&shared, 0, (4 << 20) - 1), Buffered::Wait(0));
    assert_eq!(append(&shared, 0, 4 << 20), Buffered::Wait(1));
}

#[test]
fn oldest_records_are_dropped_if_the_disk_fails_for_too_long() {
    let disk = SimDisk::default();
    disk.with(|sim| (sim.fuse, sim.crashes) = (Some((0, 0)), true));
    let shared = unsynchronised(&disk, 1);
    shared.count_unsaved();
    let large = 30 << 20;
    // Blocks of up to 64 MiB wait for the disk.
    for (bytes, dropped) in [(large, 0), (large, 0), (large, 1), (1, 1), (large, 2)] {
        assert_ne!(append(&shared, 0, bytes), Buffered::Refused);
        assert!(!shared.flush());
        let mut stats = DedupStats::default();
        shared.add_to(&mut stats);
        assert_eq!(stats.unsaved, 1 + dropped);
    }
}

#[test]
fn drain_of_much_writes_all_of_it_in_blocks_that_can_be_read() {
    let disk = SimDisk::default();
    let shared = unsynchronised(&disk, 2);
    // More than a block may have, and more than may wait for a disk that fails.
    for hash in [0, u64::MAX] {
        assert_ne!(append(&shared, hash, 40 << 20), Buffered::Refused);
    }
    assert!(shared.flush());
    let mut stats = DedupStats::default();
    shared.add_to(&mut stats);
    assert_eq!(stats.unsaved, 0);
    let files = disk.with(|sim| std::mem::take(&mut sim.files));
    for file in files.values() {
        let (mut reader, mut payload) = (&file.content[HEADER..], Vec::new());
        let block = read_block(&mut reader, &mut payload);
        assert!(matches!(block, Ok(Some(_))) && reader.is_empty());
    }
    assert_eq!(files.len(), 2);
}

/// Runs `first` until it waits for the disk, and `second` at the same time, with the drain that a
/// new record waits for. That drain is not written when `first` is.
fn overlap(first: fn(&Shared), second: fn(&Shared, Drain)) {
    let disk = SimDisk::default();
    let shared = journal(&disk, Sync::Always, 1);
    let record = || match append(&shared, 0, 9) {
        Buffered::Wait(drain) => drain,
        Buffered::Refused => panic!("the disk works"),
    };
    assert!(shared.wait(record()), "a segment exists from now on");
    let ((reach, reached), (permit, permits)) = (channel(), channel());
    disk.with(|sim| sim.gate = Some(Arc::new(Mutex::new((reach, permits)))));
    record();
    thread::scope(|scope| {
        // Dropped by a panic, so that no thread waits any longer.
        let permit = permit;
        let first = scope.spawn(|| first(&shared));
        reached.recv().expect("it appends");
        let next = record();
        let second = scope.spawn({
            let shared = &shared;
            move || second(shared, next)
        });
        // Enough for a drain to begin that does not wait for the end of the first.
        for _ in 0..50 {
            if record() != next {
                break;
            }
            thread::park_timeout(Duration::from_millis(1));
        }
        permit.send(()).expect("it waits");
        first.join().expect("no panic");
        assert!(!shared.is_written(next), "the record is not on disk");
        permit.send(()).expect("it waits");
        second.join().expect("no panic");
        assert!(shared.is_written(next));
    });
}

fn flush(shared: &Shared) {
    assert!(shared.flush());
}

fn clear(shared: &Shared) {
    shared.clear(|_, empty| empty());
}

fn wait(shared: &Shared, drain: Drain) {
    assert!(shared.wait(drain));
}

#[test]
fn drain_waits_for_the_end_of_the_one_before() {
    overlap(flush, wait);
}

#[test]
fn clear_waits_for_the_end_of_a_drain() {
    overlap(flush, |shared, _| clear(shared));
}

#[test]
fn drain_waits_for_the_end_of_a_clear() {
    overlap(clear, wait);
}
