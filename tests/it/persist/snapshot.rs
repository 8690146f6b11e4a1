//! Snapshots: `save` and `restore`.

use std::cell::Cell;
use std::fs;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use leakproof::persist::{ClockProblem, PersistError, RestoreReport};
use leakproof::{Claim, Codec, DedupMap, DedupSet, ManualClock};

use crate::support::example::Folder;

const SECOND: Duration = Duration::from_secs(1);
const TTL: Duration = Duration::from_secs(100);

fn map(time: &ManualClock, max: usize, shards: usize) -> DedupMap<str, u32> {
    let builder = DedupMap::builder().ttl(TTL).max_entries(max);
    builder.clock(time).shards(shards).build().expect("valid")
}

fn set(time: &ManualClock, max: usize, shards: usize) -> DedupSet<str> {
    let builder = DedupSet::builder().ttl(TTL).max_entries(max);
    builder.clock(time).shards(shards).build().expect("valid")
}

fn saved(set: &DedupSet<str>) -> Vec<u8> {
    let mut file = Vec::new();
    let report = set.save_to(&mut file).expect("written to memory");
    assert_eq!(report.bytes, file.len() as u64);
    assert_eq!(report.saved, set.len() as u64);
    file
}

/// Returns the clock of a process that starts `downtime` after that of another one.
fn restarted(time: &ManualClock, downtime: Duration) -> ManualClock {
    let after = ManualClock::new();
    after.set_wall(time.wall() + downtime);
    after
}

/// Ten ids, one per second, with their numbers as values. The newest has age zero.
fn ten_ids(time: &ManualClock) -> DedupMap<str, u32> {
    let map = map(time, 100, 4);
    for number in 0..10 {
        time.advance(SECOND);
        map.record(&format!("id {number}"), number);
    }
    map
}

#[test]
fn restored_ids_expire_at_their_own_ttl() {
    let time = ManualClock::new();
    let mut file = Vec::new();
    let report = ten_ids(&time).save_to(&mut file).expect("written");
    assert_eq!(report.saved, 10);

    let time = restarted(&time, 85 * SECOND);
    let map = map(&time, 100, 1);
    let report = map.restore_from(&file[..]).expect("restored");
    assert_eq!((report.restored, report.expired), (10, 0));
    assert_eq!((report.over_bound, report.cut_off), (0, 0));
    assert_eq!(report.downtime, Some(85 * SECOND));
    assert_eq!(report.clock, ClockProblem::None);
    map.validate();
    assert_eq!(map.stats().restored, 10);
    assert_eq!(map.stats().inserted, 0);
    // The oldest was 9 s old when it was saved.
    let nanosecond = Duration::from_nanos(1);
    time.advance(6 * SECOND - nanosecond);
    for number in 0..10 {
        assert_eq!(map.get(&format!("id {number}")), Some(number));
        time.advance(nanosecond);
        assert_eq!(map.get(&format!("id {number}")), None);
        time.advance(SECOND - nanosecond);
    }
    assert!(map.is_empty());
}

#[test]
fn ids_that_expired_during_downtime_are_counted() {
    let time = ManualClock::new();
    let mut file = Vec::new();
    ten_ids(&time).save_to(&mut file).expect("written");
    let map = map(&restarted(&time, 95 * SECOND), 100, 8);
    let report = map.restore_from(&file[..]).expect("restored");
    // Ids 0 to 4 were 9 to 5 s old.
    assert_eq!((report.restored, report.expired), (5, 5));
    assert_eq!(
        (map.len(), map.get("id 4"), map.get("id 5")),
        (5, None, Some(5))
    );
}

#[test]
fn wall_clock_that_went_back_makes_no_id_younger() {
    let time = ManualClock::new();
    let mut file = Vec::new();
    ten_ids(&time).save_to(&mut file).expect("written");
    let after = ManualClock::new();
    after.set_wall(time.wall() - 3600 * SECOND);
    let map = map(&after, 100, 2);
    let report = map.restore_from(&file[..]).expect("restored");
    assert_eq!(report.restored, 10);
    assert_eq!(report.clock, ClockProblem::WentBack);
    assert_eq!(report.downtime, None);
    assert_eq!(map.age("id 0"), Some(9 * SECOND));
    assert_eq!(map.age("id 9"), Some(Duration::ZERO));
    assert!(report.to_string().contains("the wall clock went back"));
}

#[test]
fn absurd_wall_clock_is_reported_and_expires_nothing() {
    let absurd = [Duration::ZERO, Duration::from_secs(8_000_000_000)];
    for wall in absurd {
        for at_save in [true, false] {
            let (before, after) = (ManualClock::new(), ManualClock::new());
            if at_save { &before } else { &after }.set_wall(wall);
            let mut file = Vec::new();
            let map_before = map(&before, 100, 1);
            map_before.record("id", 1);
            map_before.save_to(&mut file).expect("written");
            let map = map(&after, 100, 1);
            let report = map.restore_from(&file[..]).expect("restored");
            assert_eq!((report.restored, report.clock), (1, ClockProblem::Absurd));
        }
    }
}

#[test]
fn newest_ids_are_kept_at_a_smaller_bound() {
    let time = ManualClock::new();
    let mut file = Vec::new();
    ten_ids(&time).save_to(&mut file).expect("written");
    let map = map(&restarted(&time, SECOND), 3, 1);
    let report = map.restore_from(&file[..]).expect("restored");
    assert_eq!((report.restored, report.over_bound), (3, 7));
    let mut kept = Vec::new();
    map.for_each(|_, &number, _| kept.push(number));
    assert_eq!(kept, [7, 8, 9]);
    let stats = map.stats();
    assert_eq!(
        (stats.restored, stats.evicted, stats.shortest_window),
        (3, 0, None)
    );

    let bytes = DedupMap::<str, u32>::builder().ttl(TTL).max_entries(100);
    let map = bytes
        .max_bytes(11)
        .shards(1)
        .clock(&time)
        .build()
        .expect("valid");
    let report = map.restore_from(&file[..]).expect("restored");
    assert_eq!((report.restored, report.over_bound), (2, 8));
    map.validate();

    let bytes = DedupMap::<str, u32>::builder().ttl(TTL).max_entries(100);
    let map = bytes.max_bytes(3).shards(1).clock(&time).build();
    let map = map.expect("valid");
    let report = map.restore_from(&file[..]).expect("restored");
    assert_eq!((report.restored, report.over_bound), (0, 10));
    map.validate();
}

#[test]
fn ids_in_flight_are_not_saved() {
    let time = ManualClock::new();
    let set = set(&time, 100, 1);
    assert!(set.insert("handled"));
    let Claim::Fresh(_ticket) = set.claim("in flight") else {
        panic!("it is new")
    };
    let file = saved(&set);
    let after = self::set(&time, 100, 1);
    assert_eq!(after.restore_from(&file[..]).expect("restored").restored, 1);
    assert!(!after.insert("handled") && after.insert("in flight"));
}

#[test]
fn restore_requires_an_empty_map() {
    let time = ManualClock::new();
    let full = set(&time, 10, 2);
    full.insert("a");
    let file = saved(&full);
    let error = full.restore_from(&file[..]).unwrap_err();
    assert!(matches!(error, PersistError::NotEmpty), "{error}");
    assert!(full.contains("a"), "nothing was changed");
    // Expired ids do not count, although their times are later than the restored ones.
    let used = set(&time, 10, 2);
    used.insert("b");
    time.advance(TTL);
    let later = self::set(&time, 10, 2);
    later.insert("c");
    assert_eq!(
        used.restore_from(&saved(&later)[..])
            .expect("restored")
            .restored,
        1
    );
    assert!(!used.insert("c") && used.insert("b"));
    used.validate();
    // Nor do removed ones, and ids that were evicted are none of this restore.
    let used = set(&time, 1, 1);
    assert!(used.insert("b") && used.insert("d"));
    used.clear();
    let report = used.restore_from(&saved(&later)[..]).expect("restored");
    assert_eq!((report.restored, report.over_bound), (1, 0));
    time.advance(SECOND);
    let used = set(&time, 1, 1);
    assert!(used.insert("b") && used.remove("b"));
    let report = used.restore_from(&saved(&later)[..]).expect("restored");
    assert_eq!((report.restored, used.age("c")), (1, Some(SECOND)));
    used.validate();
}

#[test]
fn ids_recorded_during_a_restore_keep_the_map_consistent() {
    let time = ManualClock::new();
    let mut file = Vec::new();
    ten_ids(&time).save_to(&mut file).expect("written");
    let map = map(&restarted(&time, SECOND), 100, 1);
    /// Records an id each time that it is read from.
    struct Recording<'a>(&'a [u8], &'a DedupMap<str, u32>);
    impl io::Read for Recording<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.1.record(&format!("new {}", self.0.len()), 0);
            self.0.read(buffer)
        }
    }
    let report = map.restore_from(Recording(&file, &map)).expect("restored");
    assert_eq!(report.restored, 10);
    map.validate();
    // They are younger than they should be, which drops no message.
    assert_eq!(map.age("id 0"), Some(Duration::ZERO));
}

#[test]
fn snapshot_holds_no_lock_for_more_than_64_entries() {
    thread_local!(static COPIED: Cell<usize> = const { Cell::new(0) });
    /// Counts the copies that are made under a lock, until one is encoded without it.
    #[derive(Debug)]
    struct Copied;
    impl Clone for Copied {
        fn clone(&self) -> Self {
            COPIED.set(COPIED.get() + 1);
            Self
        }
    }
    impl Codec for Copied {
        fn encode(&self, _: &mut Vec<u8>) -> io::Result<()> {
            assert!(
                COPIED.get() <= 64,
                "{} entries under one lock",
                COPIED.get()
            );
            COPIED.set(0);
            Ok(())
        }

        fn decode(_: &[u8]) -> io::Result<Self> {
            Ok(Self)
        }
    }
    let map = DedupMap::<u32, Copied>::builder()
        .ttl(TTL)
        .max_entries(100_000);
    let map = map.shards(1).build().expect("valid");
    for number in 0..10_000 {
        map.record(&number, Copied);
    }
    COPIED.set(0);
    assert_eq!(map.save_to(io::sink()).expect("written").saved, 10_000);
}

#[test]
fn snapshot_takes_bounded_memory() {
    let set = DedupSet::<u64>::builder().ttl(TTL).max_entries(200_000);
    let set = set.shards(4).build().expect("valid");
    let ids: Vec<u64> = (0..200_000).collect();
    set.insert_batch(&ids);
    let measured = allocation_counter::measure(|| {
        assert!(set.save_to(io::sink()).expect("written").saved > 190_000);
    });
    assert!(
        measured.bytes_max < 512 << 10,
        "{} bytes",
        measured.bytes_max
    );
}

#[test]
fn snapshot_in_use_contains_all_that_was_recorded_before() {
    let time = ManualClock::new();
    let set = set(&time, 1_000_000, 8);
    for number in 0..20_000 {
        assert!(set.insert(&format!("before {number}")));
    }
    time.advance(SECOND);
    let stop = AtomicBool::new(false);
    let file = thread::scope(|scope| {
        for thread in 0..3 {
            let (set, stop) = (&set, &stop);
            scope.spawn(move || {
                let mut number = 0;
                while !stop.load(Ordering::Relaxed) {
                    set.insert(&format!("during {thread} {number}"));
                    set.remove(&format!("during {thread} {}", number / 2));
                    number += 1;
                }
            });
        }
        let mut file = Vec::new();
        let saved = set.save_to(&mut file);
        stop.store(true, Ordering::Relaxed);
        saved.map(|_| file)
    });
    let restored = self::set(&time, 1_000_000, 3);
    let report = restored.restore_from(&file.expect("written")[..]);
    assert!(report.expect("restored").restored >= 20_000);
    assert!((0..20_000).all(|number| restored.contains(&format!("before {number}"))));
    restored.validate();
}

/// Accepts this number of bytes.
struct Full(usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0 == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let written = bytes.len().min(self.0);
        self.0 -= written;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn failure_at_every_byte_of_a_save_is_returned() {
    let time = ManualClock::new();
    let set = set(&time, 10, 2);
    for id in ["a", "b", "c"] {
        set.insert(id);
    }
    let length = saved(&set).len();
    for room in 0..length {
        match set.save_to(Full(room)) {
            Err(PersistError::Io { source, .. }) => {
                assert_eq!(source.kind(), io::ErrorKind::StorageFull);
            }
            other => panic!("with room for {room} bytes: {other:?}"),
        }
    }
    assert_eq!(set.save_to(Full(length)).expect("room").saved, 3);
}

#[test]
fn damage_at_every_byte_of_a_snapshot_is_found() {
    let time = ManualClock::new();
    let set = set(&time, 10, 2);
    for id in ["a", "b", &"long ".repeat(100)] {
        set.insert(id);
    }
    let file = saved(&set);
    let restore = |bytes: &[u8]| self::set(&time, 10, 1).restore_from(bytes);
    assert_eq!(restore(&file).expect("intact").restored, 3);
    for at in 0..file.len() {
        let cut = restore(&file[..at]).expect_err("it is cut off");
        assert!(
            matches!(cut, PersistError::Damaged { .. }),
            "at {at}: {cut}"
        );
        for bit in 0..8 {
            let mut damaged = file.clone();
            damaged[at] ^= 1 << bit;
            let error = restore(&damaged).expect_err("it is damaged");
            assert!(
                matches!(error, PersistError::Damaged { .. }),
                "at {at}: {error}"
            );
        }
    }
}

#[test]
fn false_length_allocates_nothing() {
    let time = ManualClock::new();
    let set = set(&time, 10, 1);
    set.insert("a");
    let mut file = saved(&set);
    // The length of the first block, 60 MB.
    file[60..64].copy_from_slice(&60_000_000_u32.to_le_bytes());
    let restored = self::set(&time, 10, 1);
    let measured = allocation_counter::measure(|| {
        let error = restored.restore_from(&file[..]).unwrap_err();
        assert!(error.to_string().contains("the file is cut off"), "{error}");
    });
    assert!(measured.bytes_max < 10_000, "{} bytes", measured.bytes_max);
}

/// A value that cannot be encoded if it is zero.
#[derive(Clone, Debug, PartialEq)]
struct NotZero(u32);

impl Codec for NotZero {
    fn encode(&self, out: &mut Vec<u8>) -> io::Result<()> {
        match self.0 {
            0 => Err(io::Error::other("zero has no form")),
            number => number.encode(out),
        }
    }

    fn decode(bytes: &[u8]) -> io::Result<Self> {
        u32::decode(bytes).map(Self)
    }
}

#[test]
fn file_is_replaced_as_a_whole_or_not_at_all() {
    let folder = Folder::new("snapshot");
    let path = folder.path().join("seen.snapshot");
    let map = DedupMap::<str, NotZero>::new(100, TTL);
    let missing = map.restore(&path).unwrap_err();
    assert!(
        matches!(missing, PersistError::NotFound { .. }),
        "{missing}"
    );
    map.record("a", NotZero(1));
    map.save(&path).expect("saved");
    map.record("b", NotZero(0));
    let error = map.save(&path).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("seen.snapshot: zero has no form"),
        "{error}"
    );
    // The previous file is intact, and no temporary file is left.
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
    let restored = DedupMap::<str, NotZero>::new(100, TTL);
    assert_eq!(restored.restore(&path).expect("restored").restored, 1);
    assert_eq!(restored.get("a"), Some(NotZero(1)));

    fs::write(
        &path,
        b"LEAKPRF\x02 a file of a later version, which is long enough",
    )
    .expect("written");
    let later = DedupMap::<str, NotZero>::new(100, TTL)
        .restore(&path)
        .unwrap_err();
    let text = later.to_string();
    assert!(
        text.contains("seen.snapshot is damaged at byte 0: version 2"),
        "{text}"
    );
}

#[test]
fn value_of_another_type_is_an_error() {
    let text = DedupMap::<str, String>::new(10, TTL);
    text.record("a", "not four bytes".to_owned());
    let mut file = Vec::new();
    text.save_to(&mut file).expect("written");
    let error = DedupMap::<str, u32>::new(10, TTL)
        .restore_from(&file[..])
        .unwrap_err();
    assert!(
        error.to_string().contains("a value cannot be decoded"),
        "{error}"
    );
    assert_eq!(RestoreReport::default().restored, 0);
}
