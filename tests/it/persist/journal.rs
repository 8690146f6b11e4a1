//! The journal of a map: what survives a restart, and what a failing disk does.

use std::fs;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake};
use std::thread;
use std::time::Duration;

use leakproof::persist::{ClockProblem, Journal, OnError, PersistError, Sync};
use leakproof::{
    BuildError, Claim, Clock, Codec, DedupMap, DedupSet, ManualClock, Recorded, Watch,
};

use crate::support::concurrently::{THREADS, together};
use crate::support::example::Folder;

const SECOND: Duration = Duration::from_secs(1);
const TTL: Duration = Duration::from_secs(100);

type Map = DedupMap<str, String>;

fn open(path: &Path, sync: Sync) -> Journal {
    Journal::open(path).expect("not in use").sync(sync)
}

fn map(time: &ManualClock, journal: Journal) -> Map {
    let builder = DedupMap::builder().ttl(TTL).max_entries(100).clock(time);
    builder.journal(journal).build().expect("whole")
}

/// Returns the map of a process that starts `downtime` after the previous one ended.
fn restart(time: &mut ManualClock, path: &Path, sync: Sync, downtime: Duration) -> Map {
    let wall = time.wall() + downtime;
    *time = ManualClock::new();
    time.set_wall(wall);
    map(time, open(path, sync))
}

fn segments(path: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(path)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|it| it == "segment"))
        .collect();
    paths.sort();
    paths
}

/// Waits for a background thread.
fn wait_until(condition: impl Fn() -> bool) {
    let clock = Clock::precise();
    while !condition() {
        assert!(clock.now() < 30 * SECOND, "it does not happen in time");
        thread::yield_now();
    }
}

#[test]
fn commits_in_time_survive_with_their_age_and_late_ones_do_not() {
    let folder = Folder::new("journal-commit");
    let path = folder.path().join("seen.d");
    let mut time = ManualClock::new();
    let seen = map(&time, open(&path, Sync::Always));
    assert_eq!(seen.record("before", String::new()), Recorded::New);
    let claim = |id| match seen.claim(id) {
        Claim::Fresh(ticket) => ticket,
        other => panic!("{other:?}"),
    };
    let in_time = claim("in time");
    time.advance(5 * SECOND);
    in_time.commit("1".to_owned()).expect("within the lease");
    assert_eq!(seen.stats().unsaved, 0);
    let late = claim("late");
    time.advance(61 * SECOND);
    late.commit("2".to_owned()).expect_err("the lease ended");
    drop(seen);

    let seen = restart(&mut time, &path, Sync::Always, SECOND);
    assert_eq!(seen.age("in time"), Some(62 * SECOND));
    assert_eq!(seen.get("late"), None);
    assert_eq!(seen.len(), 2);
}

/// Its commit records nothing, so the newest id of the map is another one, or none.
#[test]
fn commit_of_an_id_that_exceeds_the_bound_writes_nothing() {
    let folder = Folder::new("journal-unstored");
    let path = folder.path().join("seen.d");
    let build = || {
        let builder = DedupSet::<str>::builder().ttl(TTL).max_entries(100);
        let builder = builder.max_bytes(4).shards(1);
        builder.journal(open(&path, Sync::Always)).build()
    };
    let seen = build().expect("whole");
    let Claim::Fresh(ticket) = seen.claim("longer than four") else {
        panic!("it is new");
    };
    assert!(!ticket.is_stored());
    ticket.commit().expect("handled");
    drop(seen);

    let seen = build().expect("whole");
    let report = seen.replayed().expect("a journal");
    assert_eq!((report.restored, seen.len()), (0, 0));
}

#[test]
fn last_handle_closes_the_journal_although_a_sweeper_holds_it() {
    for sync in [Sync::Never, Sync::Every(3600 * SECOND), Sync::Always] {
        let folder = Folder::new("journal-watched");
        let path = folder.path().join("seen.d");
        let mut time = ManualClock::new();
        let seen = map(&time, open(&path, sync));
        assert_eq!(seen.record("first", String::new()), Recorded::New);
        drop(seen);
        let seen = restart(&mut time, &path, sync, Duration::ZERO);
        assert_eq!(seen.record("second", String::new()), Recorded::New);
        let held = seen.downgrade_to_sweep().upgrade().expect("it is alive");
        let former_time = time.clone();
        drop(seen.clone());
        drop(seen);

        let seen = restart(&mut time, &path, sync, Duration::ZERO);
        assert_eq!(seen.len(), 2);
        let before = segments(&path);
        former_time.advance(TTL);
        assert_eq!(held.sweep_some(1_000).freed, 2);
        drop(held);
        assert_eq!(segments(&path), before, "of the new map");
        let second = Journal::open(&path);
        assert!(matches!(second, Err(PersistError::InUse { .. })));
        drop(seen);
        assert_eq!(restart(&mut time, &path, sync, Duration::ZERO).len(), 2);
    }
}

#[test]
fn ids_survive_restarts_until_exactly_their_ttl() {
    for sync in [Sync::Never, Sync::Every(SECOND), Sync::Always] {
        let folder = Folder::new("journal-ttl");
        let path = folder.path().join("seen.d");
        let mut time = ManualClock::new();
        let seen = map(&time, open(&path, sync));
        assert_eq!(seen.replayed().expect("a journal").restored, 0);
        assert_eq!(seen.record("a", "1".to_owned()), Recorded::New);
        time.advance(10 * SECOND);
        assert_eq!(seen.record("b", "2".to_owned()), Recorded::New);
        drop(seen);

        let seen = restart(&mut time, &path, sync, 20 * SECOND);
        let report = seen.replayed().expect("a journal").clone();
        assert_eq!((report.restored, report.expired, report.cut_off), (2, 0, 0));
        assert_eq!(report.downtime, Some(20 * SECOND));
        assert_eq!((seen.stats().restored, seen.stats().high_water), (2, 2));
        assert_eq!(
            (seen.age("a"), seen.age("b")),
            (Some(30 * SECOND), Some(20 * SECOND))
        );
        assert_eq!(seen.get("a").as_deref(), Some("1"));
        time.advance(5 * SECOND);
        assert_eq!(seen.record("c", "3".to_owned()), Recorded::New);
        drop(seen);

        // A clock that went back makes no id younger.
        time.set_wall(time.wall() - 3600 * SECOND);
        let seen = restart(&mut time, &path, sync, Duration::ZERO);
        let report = seen.replayed().expect("a journal");
        assert_eq!((report.restored, report.clock), (3, ClockProblem::WentBack));
        assert_eq!(seen.age("a"), Some(35 * SECOND));
        assert_eq!(seen.age("c"), Some(Duration::ZERO));
        time.advance(65 * SECOND - Duration::from_nanos(1));
        assert!(seen.contains_key("a"));
        time.advance(Duration::from_nanos(1));
        assert!(!seen.contains_key("a") && seen.contains_key("b"));
        seen.validate();
    }
}

#[test]
fn removed_cleared_and_claimed_ids_are_as_before_the_restart() {
    let folder = Folder::new("journal-removed");
    let mut time = ManualClock::new();
    let seen = map(&time, open(folder.path(), Sync::Always));
    for id in ["cleared", "also cleared"] {
        seen.record(id, String::new());
    }
    seen.clear();
    for id in ["kept", "removed", "again"] {
        seen.record(id, "first".to_owned());
    }
    assert!(seen.remove("removed").is_some() && seen.remove("again").is_some());
    assert!(seen.remove("never there").is_none());
    seen.record("again", "second".to_owned());
    let Claim::Fresh(ticket) = seen.claim("committed") else {
        panic!("it is new")
    };
    ticket.commit("reply".to_owned()).expect("in time");
    let Claim::Fresh(in_flight) = seen.claim("in flight") else {
        panic!("it is new")
    };
    let Claim::Fresh(released) = seen.claim("released") else {
        panic!("it is new")
    };
    released.release();
    drop(in_flight);
    drop(seen);

    let seen = restart(&mut time, folder.path(), Sync::Always, SECOND);
    let mut ids = Vec::new();
    seen.for_each(|id, value, _| ids.push((id.to_owned(), value.clone())));
    ids.sort();
    let expected = [
        ("again", "second"),
        ("committed", "reply"),
        ("kept", "first"),
    ];
    assert_eq!(
        ids,
        expected.map(|(id, value)| (id.to_owned(), value.to_owned()))
    );
    assert_eq!(seen.replayed().expect("a journal").restored, 3);
    assert_eq!(seen.stats().restored, 3);
    seen.validate();
}

#[test]
fn always_writes_before_the_call_returns() {
    let folder = Folder::new("journal-always");
    let time = ManualClock::new();
    let build = |path: &Path| {
        let builder = DedupSet::<str>::builder().ttl(TTL).max_entries(100);
        let builder = builder.clock(&time).journal(open(path, Sync::Always));
        builder.build().expect("whole")
    };
    let seen = build(folder.path());
    // A process that starts now, because the first one was killed, finds these.
    let found = || {
        let copy = Folder::new("journal-always-copy");
        for segment in segments(folder.path()) {
            let name = segment.file_name().expect("a name");
            fs::copy(&segment, copy.path().join(name)).expect("copied");
        }
        let mut ids = String::new();
        build(copy.path()).for_each(|id, _| ids += id);
        ids
    };
    assert!(seen.insert("a"));
    assert_eq!(found(), "a");
    assert_eq!(seen.insert_batch(["b", "a", "c"]), [true, false, true]);
    assert_eq!(found(), "abc");
    assert!(seen.remove("b"));
    assert_eq!(found(), "ac");
    let Claim::Fresh(ticket) = seen.claim("d") else {
        panic!("it is new")
    };
    ticket.commit().expect("in time");
    assert_eq!(found(), "acd");
}

/// A `clear` empties the buffers, because their records would follow its own.
#[test]
fn cleared_ids_that_were_not_written_stay_cleared() {
    let folder = Folder::new("journal-clear");
    let mut time = ManualClock::new();
    let sync = Sync::Every(3600 * SECOND);
    let seen = map(&time, open(folder.path(), sync));
    assert_eq!(seen.record("before", String::new()), Recorded::New);
    seen.clear();
    assert_eq!(seen.record("after", String::new()), Recorded::New);
    drop(seen);
    let seen = restart(&mut time, folder.path(), sync, SECOND);
    assert!(seen.contains_key("after") && !seen.contains_key("before"));
}

#[test]
fn waiter_is_woken_after_the_record_is_on_disk() {
    /// Notes if the id is in a segment when it is woken.
    struct Reading(PathBuf, AtomicBool);
    impl Wake for Reading {
        fn wake(self: Arc<Self>) {
            let is_in = |path: &PathBuf| {
                let content = fs::read(path).expect("a file");
                content.windows(6).any(|bytes| bytes == b"the id")
            };
            self.1
                .store(segments(&self.0).iter().any(is_in), Ordering::Relaxed);
        }
    }
    let folder = Folder::new("journal-waiter");
    let seen = map(&ManualClock::new(), open(folder.path(), Sync::Always));
    let Claim::Fresh(ticket) = seen.claim("the id") else {
        panic!("it is new")
    };
    let woken = Arc::new(Reading(folder.path().to_owned(), AtomicBool::new(false)));
    let waker = Arc::clone(&woken).into();
    let mut context = Context::from_waker(&waker);
    let mut waiting = pin!(seen.claim_wait("the id"));
    assert!(waiting.as_mut().poll(&mut context).is_pending());
    ticket.commit("reply".to_owned()).expect("in time");
    assert!(woken.1.load(Ordering::Relaxed), "woken too early");
    let Poll::Ready(Claim::Duplicate { value, .. }) = waiting.poll(&mut context) else {
        panic!("it was committed")
    };
    assert_eq!(value, "reply");
}

#[test]
fn concurrent_calls_are_replayed_as_they_ended() {
    let folder = Folder::new("journal-threads");
    for sync in [Sync::Always, Sync::Every(Duration::from_millis(2))] {
        let path = folder.path().join(format!("{sync:?}"));
        let build = || {
            let builder = DedupMap::<str, u32>::builder()
                .ttl(TTL)
                .max_entries(10_000)
                .shards(4);
            builder.journal(open(&path, sync)).build().expect("whole")
        };
        let seen = build();
        together(|thread| {
            for number in 0..100_u32 {
                // All threads insert and remove the same ids.
                let id = format!("id {}", number % 10);
                seen.record(&id, number);
                if (number as usize + thread) % 3 == 0 {
                    seen.remove(&id);
                }
                seen.record(&format!("own {thread} {number}"), number);
            }
        });
        let contents = |map: &DedupMap<str, u32>| {
            let mut all = Vec::new();
            map.for_each(|id, value, _| all.push((id.to_owned(), *value)));
            all.sort();
            all
        };
        let expected = contents(&seen);
        assert!(expected.len() >= 800);
        drop(seen);
        assert_eq!(contents(&build()), expected);
    }
}

/// A drain takes the records of one shard after the other, while calls go on and time passes.
#[test]
fn ages_after_a_restart_are_those_before_it() {
    let folder = Folder::new("journal-ages");
    let path = folder.path().join("seen.d");
    let time = ManualClock::new();
    let open_with = |shards| {
        let journal = open(&path, Sync::Every(Duration::from_millis(1)));
        let seen = DedupSet::<u64>::builder().ttl(TTL).max_entries(100_000);
        let seen = seen.shards(shards).clock(&time).journal(journal);
        seen.build().expect("whole")
    };
    let ids = |thread: usize| (thread as u64 * 4_000)..(thread as u64 + 1) * 4_000;
    let seen = open_with(16);
    together(|thread| {
        for id in ids(thread) {
            time.advance(Duration::from_nanos(1));
            assert!(seen.insert(&id));
        }
    });
    // The run ends with this reading of the clock.
    seen.insert(&u64::MAX);
    let all: Vec<u64> = (0..THREADS).flat_map(ids).collect();
    let ages = |seen: &DedupSet<u64>| all.iter().map(|id| seen.age(id)).collect::<Vec<_>>();
    let before = ages(&seen);
    drop(seen);
    assert_eq!(ages(&open_with(1)), before);
}

#[test]
fn newest_ids_are_kept_if_the_bound_is_smaller() {
    let folder = Folder::new("journal-bound");
    let time = ManualClock::new();
    let seen = map(&time, open(folder.path(), Sync::Never));
    for number in 0..10 {
        time.advance(SECOND);
        seen.record(&format!("id {number}"), String::new());
    }
    drop(seen);
    let builder = DedupMap::<str, String>::builder()
        .ttl(TTL)
        .max_entries(3)
        .clock(&time);
    let seen = builder
        .shards(1)
        .journal(open(folder.path(), Sync::Never))
        .build()
        .expect("whole");
    let report = seen.replayed().expect("a journal");
    assert_eq!((report.restored, report.over_bound), (3, 7));
    assert!(seen.contains_key("id 7") && !seen.contains_key("id 6"));
}

#[test]
fn drop_in_clear_may_record_an_id() {
    static SEEN: OnceLock<DedupMap<str, Recording>> = OnceLock::new();
    /// Records an id when it is dropped, once.
    #[derive(Clone)]
    struct Recording(bool);
    impl Drop for Recording {
        fn drop(&mut self) {
            if let Some(seen) = SEEN.get().filter(|_| self.0) {
                seen.record("by a drop", Self(false));
            }
        }
    }
    impl Codec for Recording {
        fn encode(&self, _: &mut Vec<u8>) -> io::Result<()> {
            Ok(())
        }

        fn decode(_: &[u8]) -> io::Result<Self> {
            Ok(Self(false))
        }
    }
    let folder = Folder::new("journal-drop");
    let builder = DedupMap::<str, Recording>::builder()
        .ttl(TTL)
        .max_entries(100);
    let seen = builder.journal(open(folder.path(), Sync::Always)).build();
    let seen = SEEN.get_or_init(|| seen.expect("whole"));
    seen.record("cleared", Recording(true));
    let (done, ended) = channel();
    thread::spawn(move || {
        seen.clear();
        done.send(()).ok();
    });
    let result = ended.recv_timeout(Duration::from_secs(60));
    assert!(result.is_ok(), "`clear` waits for itself");
    assert!(seen.contains_key("by a drop") && !seen.contains_key("cleared"));
}

#[test]
fn torn_tail_is_cut_off_and_reported() {
    let folder = Folder::new("journal-torn");
    let mut time = ManualClock::new();
    let seen = map(&time, open(folder.path(), Sync::Always));
    seen.record("a", String::new());
    let whole = fs::metadata(&segments(folder.path())[0])
        .expect("a file")
        .len();
    seen.record("b", String::new());
    drop(seen);
    let segment = &segments(folder.path())[0];
    let length = fs::metadata(segment).expect("a file").len();
    fs::OpenOptions::new()
        .write(true)
        .open(segment)
        .and_then(|file| file.set_len(length - 1))
        .expect("cut");
    let seen = restart(&mut time, folder.path(), Sync::Always, SECOND);
    let report = seen.replayed().expect("a journal");
    assert_eq!((report.restored, report.cut_off), (1, length - 1 - whole));
    assert!(
        report
            .to_string()
            .contains("bytes of an incomplete write cut off")
    );
    assert_eq!(fs::metadata(segment).expect("a file").len(), whole);
    assert_eq!(seen.record("b", String::new()), Recorded::New);
}

#[test]
fn damaged_block_is_an_error_with_file_and_offset() {
    let folder = Folder::new("journal-damaged");
    let time = ManualClock::new();
    let seen = map(&time, open(folder.path(), Sync::Always));
    seen.record("a", String::new());
    seen.record("b", String::new());
    drop(seen);
    let segment = &segments(folder.path())[0];
    let mut content = fs::read(segment).expect("a file");
    content[70] ^= 1;
    fs::write(segment, content).expect("written");
    let builder = DedupMap::<str, String>::builder().ttl(TTL).max_entries(100);
    let error = builder
        .journal(open(folder.path(), Sync::Always))
        .build()
        .unwrap_err();
    let BuildError::Journal { reason } = &error else {
        panic!("{error}")
    };
    let name = segment
        .file_name()
        .expect("a name")
        .to_str()
        .expect("UTF-8");
    assert!(
        reason.contains(name) && reason.contains("damaged at byte 52"),
        "{reason}"
    );
}

#[test]
fn directory_is_used_by_one_journal_at_a_time() {
    let folder = Folder::new("journal-lock");
    let path = folder.path().join("new/seen.d");
    let first = open(&path, Sync::Never);
    let error = Journal::open(&path).unwrap_err();
    assert!(matches!(error, PersistError::InUse { .. }), "{error}");
    assert!(
        error.to_string().contains("is in use by another process"),
        "{error}"
    );
    let seen = map(&ManualClock::new(), first);
    assert!(Journal::open(&path).is_err());
    let error = seen.restore_from(&b""[..]).unwrap_err();
    assert!(matches!(error, PersistError::HasJournal), "{error}");
    drop(seen);
    assert!(Journal::open(&path).is_ok());
}

#[test]
fn flush_writes_everything() {
    let folder = Folder::new("journal-flush");
    let hour = 3600 * SECOND;
    for sync in [Sync::Never, Sync::Every(hour), Sync::Always] {
        let path = folder.path().join(format!("{sync:?}"));
        let seen = map(&ManualClock::new(), open(&path, sync));
        seen.record("a", String::new());
        seen.flush().expect("written");
        let bytes = fs::metadata(&segments(&path)[0]).expect("a file").len();
        assert_eq!(seen.stats().journal_bytes, Some(bytes));
        let longest = || seen.stats().journal_longest_write.expect("a journal");
        assert!(longest() > Duration::ZERO);
        if sync == Sync::Always {
            // No thread writes, so no write is in progress that becomes the longest one.
            let (before, clock) = (longest(), Clock::precise());
            wait_until(|| clock.now() > before);
            assert_eq!(longest(), before);
        }
    }
    let without = DedupSet::<str>::new(10, TTL);
    without.flush().expect("nothing to do");
    assert!(without.replayed().is_none());
    assert_eq!(without.stats().journal_bytes, None);
}

/// A day with one id per second and a ttl of an hour, by a clock that jumps over quiet nights.
#[test]
fn disk_use_stays_within_twice_the_window_over_a_week() {
    const RECORD: u64 = 1 + 8 + 1 + 20 + 1;
    const SEGMENT: u64 = 64 << 10;
    let folder = Folder::new("journal-week");
    let mut time = ManualClock::new();
    let hour = 3600 * SECOND;
    let build = |time: &ManualClock, max| {
        let journal = open(folder.path(), Sync::Never).segment_bytes(SEGMENT);
        let builder = DedupSet::<str>::builder()
            .ttl(hour)
            .max_entries(max)
            .clock(time);
        builder.shards(2).journal(journal).build().expect("whole")
    };
    let mut seen = build(&time, 100_000);
    let mut number = 0_u64;
    for day in 0..7 {
        for minute in 0..24 * 60 {
            // At night, a tenth of the messages arrives. From day 4 on, the bound evicts.
            let per_minute = if minute < 8 * 60 { 6 } else { 60 };
            for _ in 0..per_minute {
                time.advance(SECOND * 60 / per_minute);
                number += 1;
                assert!(seen.insert(&format!("id {number:017}")));
            }
            if minute % 10 == 0 {
                seen.flush().expect("written");
                seen.sweep();
                let live = seen.len() as u64 * RECORD;
                let bytes = seen.stats().journal_bytes.expect("a journal");
                let on_disk: u64 = segments(folder.path())
                    .iter()
                    .map(|path| fs::metadata(path).expect("a file").len())
                    .sum();
                assert_eq!(bytes, on_disk);
                // Each flush adds the 28 bytes of a block, each segment the 52 of a header.
                let overhead = 28 * 70 + 52 * (bytes / SEGMENT + 1);
                assert!(
                    bytes <= 2 * live + 2 * SEGMENT + overhead,
                    "{bytes} bytes for {live} on day {day} at minute {minute}"
                );
            }
        }
        drop(seen);
        let wall = time.wall();
        time = ManualClock::new();
        time.set_wall(wall);
        seen = build(&time, if day < 3 { 100_000 } else { 1_000 });
    }
    assert!(number > 400_000, "{number} ids");
}

/// Returns the bytes of all files in a directory.
fn bytes_on_disk(path: &Path) -> u64 {
    let entries = fs::read_dir(path).expect("a directory");
    entries
        .map(|entry| {
            entry
                .and_then(|entry| entry.metadata())
                .expect("a file")
                .len()
        })
        .sum()
}

/// A week in which ids are removed in every way. The bound is exact here: block headers, segment
/// headers and files that are being rewritten are included.
#[test]
fn disk_use_stays_within_twice_the_window_with_removed_ids() {
    const RECORD: u64 = 1 + 8 + 1 + 20 + 1;
    const SEGMENT: u64 = 16 << 10;
    const AT_ONCE: usize = 50;
    let folder = Folder::new("journal-removing");
    let mut time = ManualClock::new();
    let build = |time: &ManualClock, day: u32| {
        // The background thread writes once, and then the flushes below do, and compact.
        let journal = open(folder.path(), Sync::Every(24 * 3600 * SECOND));
        let journal = journal.segment_bytes(SEGMENT);
        // On the last day, the bound evicts most ids, in the order of their times.
        let (max, shards) = if day < 6 { (100_000, 4) } else { (500, 1) };
        let builder = DedupSet::<str>::builder().ttl(4 * 3600 * SECOND);
        let builder = builder.max_entries(max).shards(shards).clock(time);
        builder.journal(journal).build().expect("whole")
    };
    let mut random = 1_u64;
    let mut next = |below: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005) + 1;
        (random >> 33) as usize % below
    };
    let (mut number, mut removed, mut largest) = (0_u64, 0, 0.0_f64);
    for day in 0..7 {
        let mut seen = build(&time, day);
        let mut ids: Vec<String> = Vec::new();
        seen.for_each(|id, _| ids.push(id.to_owned()));
        for minute in (0..24 * 60).step_by(5) {
            for _ in 0..AT_ONCE {
                time.advance(SECOND * 300 / AT_ONCE as u32);
                let id = match day {
                    // The same hundred ids are recorded and removed again and again.
                    2 => format!("again {:014}", next(100)),
                    _ => {
                        number += 1;
                        format!("id {number:017}")
                    }
                };
                let is_new = seen.insert(&id);
                let remove = match day {
                    0 => next(10) < 6,
                    1 => true,
                    2 => next(2) == 0,
                    3 => next(100) < 98,
                    _ => false,
                };
                if remove {
                    // At random, or at once.
                    let at = next(ids.len() + 1);
                    let id = ids.get(at).filter(|_| day != 1).unwrap_or(&id).clone();
                    removed += u32::from(seen.remove(&id));
                }
                if is_new {
                    ids.push(id);
                }
            }
            if minute % 200 == 0 {
                ids.retain(|id| seen.contains(id));
            }
            if day == 4 && minute % 300 == 0 {
                for (at, id) in ids.drain(..).enumerate() {
                    removed += u32::from(seen.remove(&id));
                    // Records that are written at once are one block, which is never split.
                    if at % 200 == 0 {
                        seen.flush().expect("written");
                    }
                }
            }
            if day == 5 && minute % 300 == 0 {
                seen.clear();
            }
            seen.flush().expect("written");
            if minute == 0 {
                // The thread may not have compacted yet what it wrote.
                seen.sweep();
            }
            if minute % 60 == 0 {
                let (live, bytes) = (seen.len() as u64 * RECORD, bytes_on_disk(folder.path()));
                assert!(
                    bytes <= 2 * live + 2 * SEGMENT,
                    "{bytes} bytes for {live} on day {day} at minute {minute}"
                );
                largest = largest.max(bytes as f64 / (2 * live + 2 * SEGMENT) as f64);
            }
        }
        let mut expected = Vec::new();
        seen.for_each(|id, age| expected.push((id.to_owned(), age)));
        drop(seen);
        let wall = time.wall();
        time = ManualClock::new();
        time.set_wall(wall);
        seen = build(&time, day);
        let mut found = Vec::new();
        seen.for_each(|id, age| found.push((id.to_owned(), age)));
        expected.sort();
        found.sort();
        assert!(found == expected, "on day {day}");
        seen.validate();
    }
    println!("{removed} ids removed, at most {largest:.2} of the bound used");
    assert!(removed > 30_000);
}

/// Without it, the thread does it once a minute.
#[test]
fn sweep_compacts_the_segments() {
    const SEGMENT: u64 = 16 << 10;
    let folder = Folder::new("journal-sweep");
    let time = ManualClock::new();
    let build = || {
        let journal = open(folder.path(), Sync::Every(24 * 3600 * SECOND));
        let builder = DedupSet::<str>::builder().ttl(TTL).max_entries(10_000);
        let builder = builder.journal(journal.segment_bytes(SEGMENT));
        builder.clock(&time).build().expect("whole")
    };
    let seen = build();
    let ids: Vec<String> = (0..4_000).map(|id| format!("id {id:017}")).collect();
    for ids in ids.chunks(200) {
        seen.insert_batch(ids);
        seen.flush().expect("written");
        time.advance(SECOND);
    }
    // Records that are written at once are one block, which is never split.
    for ids in ids[10..].chunks(200) {
        assert!(ids.iter().all(|id| seen.remove(id)));
        seen.flush().expect("written");
    }
    seen.sweep();
    let bytes = bytes_on_disk(folder.path());
    assert!(bytes <= 3 * SEGMENT, "{bytes} bytes for 10 ids");
    drop(seen);
    let seen = build();
    assert_eq!(seen.len(), 10);
    time.advance(TTL);
    let bytes = bytes_on_disk(folder.path());
    seen.sweep();
    let left = bytes_on_disk(folder.path());
    assert!(left < bytes / 4, "{left} of {bytes} bytes for no id");
}

/// Segments and the work of a sweep are larger here than the blocks and pieces of a compaction.
#[test]
fn sweep_compacts_large_segments() {
    const SEGMENT: u64 = 256 << 10;
    const RECORD: u64 = 1 + 8 + 1 + 20 + 1;
    let folder = Folder::new("journal-large");
    let journal = open(folder.path(), Sync::Every(24 * 3600 * SECOND));
    let builder = DedupSet::<str>::builder().ttl(TTL).max_entries(100_000);
    let builder = builder.journal(journal.segment_bytes(SEGMENT));
    let time = ManualClock::new();
    let seen = builder.clock(&time).build().expect("whole");
    let ids: Vec<String> = (0..60_000).map(|id| format!("id {id:017}")).collect();
    for ids in ids.chunks(2_000) {
        seen.insert_batch(ids);
        seen.flush().expect("written");
        time.advance(SECOND);
    }
    let removed = (0..60_000).filter(|at| at % 3 > 0);
    assert!(removed.map(|at| &ids[at]).all(|id| seen.remove(id)));
    // The removals are not written yet, so no call has compacted anything.
    seen.sweep();
    let (live, bytes) = (20_000 * RECORD, bytes_on_disk(folder.path()));
    assert!(bytes <= live + SEGMENT, "{bytes} bytes for {live}");
}

#[test]
fn ids_are_written_without_a_flush() {
    let folder = Folder::new("journal-thread");
    for sync in [Sync::Never, Sync::Every(Duration::from_millis(5))] {
        let path = folder.path().join(format!("{sync:?}"));
        // With a long ttl, the thread sleeps for a minute unless a record wakes it.
        let builder = DedupSet::<str>::builder().ttl(3600 * SECOND);
        let builder = builder.max_entries(10).journal(open(&path, sync));
        let seen = builder.build().expect("whole");
        for id in ["a", "b"] {
            // More than an interval, so that the thread sleeps.
            let clock = Clock::precise();
            wait_until(|| clock.now() > Duration::from_millis(150));
            let before = seen.stats().journal_bytes;
            assert!(seen.insert(id));
            wait_until(|| seen.stats().journal_bytes > before);
        }
        assert_eq!(seen.stats().unsaved, 0);
    }
}

#[test]
fn segments_of_expired_ids_are_deleted_without_a_call() {
    let folder = Folder::new("journal-idle");
    let time = ManualClock::new();
    // The thread searches for such segments 16 times per ttl.
    let ttl = Duration::from_millis(16);
    let journal = open(folder.path(), Sync::Every(ttl / 16)).segment_bytes(4 << 10);
    let builder = DedupSet::<str>::builder().ttl(ttl).max_entries(10_000);
    let seen = builder.journal(journal).clock(&time).build();
    let seen = seen.expect("whole");
    for number in 0..1_000 {
        seen.insert(&format!("id {number:017}"));
        if number % 100 == 99 {
            seen.flush().expect("written");
        }
    }
    // A drain that begins later deletes them as well, so the last one has to be over.
    seen.insert("the last id");
    wait_until(|| {
        let last = segments(folder.path()).pop().expect("a segment");
        let bytes = fs::read(last).expect("a file");
        bytes.windows(11).any(|it| it == b"the last id")
    });
    assert!(segments(folder.path()).len() > 5);
    time.advance(ttl);
    wait_until(|| segments(folder.path()).len() == 1);
}

#[cfg(target_os = "linux")]
mod full_disk {
    use super::*;

    /// A value that cannot be encoded if it is zero.
    #[derive(Clone, Debug, PartialEq)]
    struct NotZero(u32);

    impl Codec for NotZero {
        fn encode(&self, out: &mut Vec<u8>) -> std::io::Result<()> {
            match self.0 {
                0 => Err(std::io::Error::other("zero has no form")),
                number => number.encode(out),
            }
        }

        fn decode(bytes: &[u8]) -> std::io::Result<Self> {
            u32::decode(bytes).map(Self)
        }
    }

    fn not_zero(path: &Path, on_error: OnError) -> DedupMap<str, NotZero> {
        let journal = open(path, Sync::Always).on_error(on_error);
        let builder = DedupMap::builder().ttl(TTL).max_entries(100);
        builder.journal(journal).build().expect("whole")
    }

    #[test]
    fn record_that_cannot_be_encoded_is_counted_or_refused() {
        let folder = Folder::new("journal-codec");
        let seen = not_zero(folder.path(), OnError::Continue);
        assert_eq!(seen.record("a", NotZero(0)), Recorded::New);
        assert!(seen.contains_key("a"));
        let stats = seen.stats();
        assert_eq!(
            (stats.journal_errors, stats.unsaved, stats.inserted),
            (1, 1, 1)
        );
        drop(seen);
        let seen = not_zero(folder.path(), OnError::Refuse);
        let value = NotZero(0);
        assert_eq!(
            seen.record("a", value.clone()),
            Recorded::Rejected { value }
        );
        assert!(!seen.contains_key("a"));
        let Claim::Fresh(ticket) = seen.claim("handled") else {
            panic!("it is new")
        };
        let stats = seen.stats();
        assert_eq!((stats.journal_errors, stats.unsaved), (1, 0));
        assert_eq!((stats.inserted, stats.rejected), (0, 1));
        assert_eq!(seen.record("a", NotZero(1)), Recorded::New);
        ticket.commit(NotZero(0)).expect("in time");
        assert_eq!(seen.stats().unsaved, 1, "a commit is not refused");
        seen.validate();
    }

    /// Makes the journal's next segment fail: a directory has its name.
    fn obstruct(path: &Path) -> PathBuf {
        let obstacle = path.join(format!("{:020}.segment", 1));
        fs::create_dir(&obstacle).expect("created");
        obstacle
    }

    #[test]
    fn failing_disk_refuses_new_ids_until_it_works() {
        let folder = Folder::new("journal-refuse");
        let path = folder.path().join("seen.d");
        let journal = open(&path, Sync::Always).on_error(OnError::Refuse);
        let seen = map(&ManualClock::new(), journal);
        let obstacle = obstruct(&path);
        let value = "1".to_owned();
        let rejected = Recorded::Rejected {
            value: value.clone(),
        };
        assert_eq!(seen.record("a", value.clone()), rejected);
        assert_eq!(seen.record("refused", value.clone()), rejected);
        assert!(!seen.contains_key("a"));
        assert!(matches!(seen.claim("b"), Claim::Full));
        assert!(seen.flush().is_err());
        assert!(seen.stats().journal_errors >= 2);
        assert_eq!(seen.stats().in_flight, 0);
        seen.validate();
        fs::remove_dir(obstacle).expect("removed");
        assert_eq!(seen.record("a", value.clone()), Recorded::New);
        assert!(matches!(seen.claim("b"), Claim::Fresh(_)));
        drop(seen);
        let seen = map(&ManualClock::new(), open(&path, Sync::Always));
        assert_eq!(seen.get("a"), Some(value));
        assert_eq!(seen.len(), 1);
    }

    #[test]
    fn refused_ids_of_a_batch_are_new() {
        let folder = Folder::new("journal-batch");
        let journal = open(folder.path(), Sync::Always).on_error(OnError::Refuse);
        let builder = DedupSet::<str>::builder().ttl(TTL).max_entries(100);
        let seen = builder.journal(journal).build().expect("whole");
        let obstacle = obstruct(folder.path());
        assert_eq!(seen.insert_batch(["a", "b"]), [true, true]);
        assert!(!seen.contains("a") && !seen.contains("b"));
        fs::remove_dir(obstacle).expect("removed");
        assert_eq!(seen.insert_batch(["a", "b"]), [true, true]);
        assert_eq!(seen.insert_batch(["a", "b"]), [false, false]);
    }

    /// A service that only claims makes no call that writes while claims are refused.
    #[test]
    fn refused_claims_try_to_write() {
        let folder = Folder::new("journal-claims");
        let journal = open(folder.path(), Sync::Always).on_error(OnError::Refuse);
        let seen = map(&ManualClock::new(), journal);
        let obstacle = obstruct(folder.path());
        let Claim::Fresh(ticket) = seen.claim("a") else {
            panic!("it is new")
        };
        ticket.commit("1".to_owned()).expect("in time");
        assert!(matches!(seen.claim("b"), Claim::Full));
        fs::remove_dir(obstacle).expect("removed");
        assert!(matches!(seen.claim("b"), Claim::Fresh(_)));
    }

    #[test]
    fn removal_that_is_not_written_is_counted() {
        let folder = Folder::new("journal-removal");
        let journal = open(folder.path(), Sync::Every(3600 * SECOND));
        let seen = map(&ManualClock::new(), journal.on_error(OnError::Refuse));
        assert_eq!(seen.record("a", "1".to_owned()), Recorded::New);
        let obstacle = obstruct(folder.path());
        assert!(seen.flush().is_err());
        assert_eq!(seen.remove("a").as_deref(), Some("1"));
        assert_eq!(seen.stats().unsaved, 1);
        fs::remove_dir(obstacle).expect("removed");
    }

    #[test]
    fn duplicate_that_is_not_on_disk_is_refused_until_it_is() {
        let folder = Folder::new("journal-unwritten");
        let path = folder.path().join("seen.d");
        let journal = open(&path, Sync::Always).on_error(OnError::Refuse);
        let seen = map(&ManualClock::new(), journal);
        let Claim::Fresh(ticket) = seen.claim("a") else {
            panic!("it is new")
        };
        let obstacle = obstruct(&path);
        // The message was handled, so the commit succeeds.
        ticket.commit("1".to_owned()).expect("in time");
        let value = "2".to_owned();
        let rejected = Recorded::Rejected {
            value: value.clone(),
        };
        assert_eq!(seen.record("a", value.clone()), rejected);
        assert!(matches!(seen.claim("a"), Claim::Full));
        fs::remove_dir(obstacle).expect("removed");
        assert_eq!(seen.record("a", value.clone()), rejected);
        let again = seen.record("a", value);
        assert!(matches!(again, Recorded::Duplicate { value, .. } if value == "1"));
        assert!(matches!(seen.claim("a"), Claim::Duplicate { .. }));
        seen.validate();
    }

    #[test]
    fn failed_write_is_repeated_without_a_call() {
        let folder = Folder::new("journal-repeat");
        let journal = open(folder.path(), Sync::Every(Duration::from_millis(1)));
        let seen = map(&ManualClock::new(), journal);
        let obstacle = obstruct(folder.path());
        assert_eq!(seen.record("a", "1".to_owned()), Recorded::New);
        wait_until(|| seen.stats().journal_errors > 0);
        fs::remove_dir(&obstacle).expect("removed");
        wait_until(|| obstacle.is_file());
    }

    #[test]
    fn failing_disk_is_counted_and_repaired_if_calls_go_on() {
        let folder = Folder::new("journal-continue");
        let path = folder.path().join("seen.d");
        let seen = map(&ManualClock::new(), open(&path, Sync::Always));
        let obstacle = obstruct(&path);
        assert_eq!(seen.record("a", "1".to_owned()), Recorded::New);
        assert!(seen.contains_key("a"));
        assert!(seen.stats().journal_errors > 0);
        fs::remove_dir(obstacle).expect("removed");
        assert_eq!(seen.record("b", "2".to_owned()), Recorded::New);
        assert_eq!(seen.stats().unsaved, 0);
        drop(seen);
        let seen = map(&ManualClock::new(), open(&path, Sync::Always));
        assert_eq!(
            (seen.get("a").as_deref(), seen.get("b").as_deref()),
            (Some("1"), Some("2"))
        );
    }
}
