//! The crash protocol, searched exhaustively: every short sequence of steps, with a crash or a
//! failure at every operation of the disk and at every byte.

mod sim_disk;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::super::format::{
    Anchor, Record, put_clear, put_insert, put_remove, read_block, take_record,
};
use super::super::{PersistError, RestoreReport};
use super::replay::{Scan, replay};
use super::writer::{Block, Writer, empty_block};
use crate::clock::Nanos;
use crate::sweep::Contents;
use sim_disk::SimDisk;

const TTL: Nanos = 100;
const WALL: Nanos = 1_700_000_000 * 1_000_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Insert(u8),
    Remove(u8),
    Clear,
    /// Writes what was buffered.
    Drain,
    /// Lets a third of the ttl pass.
    Wait,
    /// Writes what was buffered, and compacts a block.
    Compact,
}

const STEPS: [Step; 6] = [
    Step::Insert(0),
    Step::Insert(1),
    Step::Remove(0),
    Step::Clear,
    Step::Drain,
    Step::Wait,
];

/// The ids and the times at which they were recorded, since the first start.
type Ids = BTreeMap<u8, Nanos>;

/// The live ids, as the compaction asks for them.
struct Live<'a> {
    ids: &'a Ids,
    /// The clock of the process at the first start, which may be negative.
    zero: i64,
}

impl Live<'_> {
    fn by_clock(&self, time: Nanos) -> Nanos {
        (time as i64 + self.zero) as Nanos
    }
}

impl Contents for Live<'_> {
    fn live_after(&self, times: &[Nanos]) -> Vec<u64> {
        let after = |&time: &Nanos| {
            let ids = self.ids.values();
            ids.filter(|&&id| self.by_clock(id) > time).count() as u64
        };
        times.iter().map(after).collect()
    }

    fn recorded_at(&self, key: &[u8]) -> Result<Option<Nanos>, String> {
        Ok(self.ids.get(&key[0]).map(|&time| self.by_clock(time)))
    }

    fn oldest_age(&self) -> Option<Duration> {
        None
    }
}

/// A process with a map, a buffer and a journal.
struct Process {
    disk: SimDisk,
    writer: Writer,
    contents: Ids,
    block: Block,
    /// The time since the first start, and the same by this process's clock.
    now: Nanos,
    clock: Nanos,
    /// The contents after each block that was, or may have been, written.
    states: Vec<Ids>,
    /// The number of leading states of which the newest was acknowledged.
    acknowledged: usize,
    /// Added to the wall clock.
    wall_shift: Nanos,
}

impl Process {
    /// Starts a process after a restart. Returns an error if the journal is damaged.
    fn start(disk: SimDisk, sync: bool, now: Nanos) -> Result<(Self, RestoreReport), PersistError> {
        // Each process has a clock of its own.
        let clock = 1000 + 7 * now;
        let anchor = Anchor {
            clock,
            wall: WALL + now,
        };
        let mut report = RestoreReport::default();
        let mut reading = disk.clone();
        let scan = Scan::new(&mut reading, anchor, &mut report)?;
        let mut contents = Ids::new();
        let closed = replay(&reading, &scan, clock, |replayed| {
            match replayed.record {
                Record::Insert { key, .. } => {
                    if replayed.age < TTL {
                        contents.insert(key[0], now - replayed.age);
                    }
                }
                Record::Remove { key, .. } => {
                    contents.remove(&key[0]);
                }
                Record::Clear => contents.clear(),
                _ => return Err("unexpected".to_owned()),
            }
            Ok(())
        })?;
        // One or two blocks each.
        let writer = Writer::new(
            Box::new(disk.clone()),
            sync,
            140,
            anchor,
            closed,
            scan.next_number,
        );
        let process = Self {
            disk,
            writer,
            states: vec![contents.clone()],
            contents,
            block: empty_block(),
            now,
            clock,
            acknowledged: 1,
            wall_shift: 0,
        };
        Ok((process, report))
    }

    fn step(&mut self, step: Step) {
        let key = |key: u8| {
            move |out: &mut Vec<u8>| {
                out.push(key);
                Ok(())
            }
        };
        let bytes = &mut self.block.bytes;
        self.contents.retain(|_, time| self.now - *time < TTL);
        match step {
            Step::Insert(id) => {
                if self.contents.contains_key(&id) {
                    return;
                }
                self.contents.insert(id, self.now);
                let before = bytes.len();
                put_insert(bytes, self.clock, key(id), |_| Ok(())).expect("it fits");
                self.block.inserts.add(self.clock, bytes.len() - before);
            }
            Step::Remove(id) => {
                if self.contents.remove(&id).is_none() {
                    return;
                }
                put_remove(bytes, self.clock, key(id)).expect("it fits");
            }
            Step::Clear => {
                self.contents.clear();
                self.block = empty_block();
                self.writer.drop_pending();
                put_clear(&mut self.block.bytes);
                self.block.records = 1;
                return self.drain();
            }
            Step::Drain => return self.drain(),
            Step::Compact => {
                self.drain();
                self.writer.begin_pass();
                return self.compact(60);
            }
            Step::Wait => {
                self.now += TTL / 3;
                self.clock += TTL / 3;
                return;
            }
        }
        self.block.records += 1;
    }

    fn drain(&mut self) {
        if self.block.records > 0 {
            self.writer
                .push(std::mem::replace(&mut self.block, empty_block()));
            self.states.push(self.contents.clone());
        }
        let anchor = Anchor {
            clock: self.clock,
            wall: WALL + self.now + self.wall_shift,
        };
        if self.writer.write(anchor).is_ok() {
            self.acknowledged = self.states.len();
            let _ = self.writer.delete_until(self.clock.saturating_sub(TTL));
        }
    }

    fn compact(&mut self, piece: u64) {
        let live = Live {
            ids: &self.contents,
            zero: self.clock as i64 - self.now as i64,
        };
        let _ = self.writer.compact(&live, piece);
    }
}

/// Returns all sequences of `length` steps that end with a drain.
fn sequences(length: u32) -> impl Iterator<Item = Vec<Step>> {
    (0..STEPS.len().pow(length)).map(move |mut number| {
        let mut steps = Vec::new();
        for _ in 0..length {
            steps.push(STEPS[number % STEPS.len()]);
            number /= STEPS.len();
        }
        steps.push(Step::Drain);
        steps
    })
}

/// Runs steps on an empty disk that fails once or crashes.
fn run(steps: &[Step], sync: bool, fuse: Option<(usize, usize)>, crashes: bool) -> Process {
    let disk = SimDisk::default();
    let (mut process, _) = Process::start(disk.clone(), sync, 0).expect("an empty disk");
    disk.with(|sim| {
        sim.fuse = fuse;
        sim.crashes = crashes;
        sim.operations = 0;
    });
    for &step in steps {
        process.step(step);
    }
    process
}

/// Checks that a process which starts on this disk finds the contents after one of the blocks from
/// `at_least` on, and that it can go on.
fn check_recovery(before: &Process, disk: SimDisk, at_least: usize, sync: bool) {
    let now = before.now + 5;
    let (mut process, _) =
        Process::start(disk.clone(), sync, now).unwrap_or_else(|error| panic!("{error}"));
    let live = |contents: &Ids| {
        let mut contents = contents.clone();
        contents.retain(|_, time| now - *time < TTL);
        contents
    };
    let allowed: Vec<Ids> = before.states[at_least - 1..].iter().map(live).collect();
    assert!(
        allowed.contains(&process.contents),
        "{:?} is none of {allowed:?}",
        process.contents
    );
    // The next process continues in a segment of its own.
    process.step(Step::Insert(9));
    process.drain();
    let expected = process.contents.clone();
    assert_eq!(process.acknowledged, process.states.len());
    let (again, report) = Process::start(disk, sync, now).expect("it is whole");
    assert_eq!((again.contents, report.cut_off), (expected, 0));
}

#[test]
fn acknowledged_ids_survive_a_crash_at_every_byte() {
    let mut crashes = 0;
    for length in 1..=3 {
        for steps in sequences(length) {
            let operations = run(&steps, true, None, false)
                .disk
                .with(|sim| sim.operations);
            for operation in 0..=operations {
                for bytes in [0, 1, 30, usize::MAX] {
                    let process = run(&steps, true, Some((operation, bytes)), true);
                    // The machine loses bytes that are not synchronised, or writes zeros.
                    for lost in 0..90 {
                        for torn in [0, 20] {
                            let Some(disk) = process.disk.after_crash(lost, torn) else {
                                continue;
                            };
                            check_recovery(&process, disk, process.acknowledged, true);
                            crashes += 1;
                        }
                    }
                }
            }
        }
    }
    assert!(crashes > 10_000, "{crashes} crashes");
}

#[test]
fn crash_of_the_process_loses_nothing_that_was_written() {
    for sync in [true, false] {
        for steps in sequences(3) {
            let operations = run(&steps, sync, None, false)
                .disk
                .with(|sim| sim.operations);
            for operation in 0..=operations {
                let process = run(&steps, sync, Some((operation, 10)), true);
                let disk = process.disk.after_crash(0, 0).expect("nothing is lost");
                check_recovery(&process, disk, process.acknowledged, sync);
            }
        }
    }
}

#[test]
fn unsynchronised_blocks_are_lost_from_the_end() {
    for steps in sequences(3) {
        let process = run(&steps, false, None, false);
        for lost in 0..200 {
            if let Some(disk) = process.disk.after_crash(lost, 0) {
                check_recovery(&process, disk, 1, false);
            }
        }
    }
}

#[test]
fn hole_in_unsynchronised_blocks_is_cut_off() {
    let mut holes = 0;
    for steps in sequences(3) {
        for sync in [false, true] {
            let process = run(&steps, sync, None, false);
            let Some((number, file)) = process.disk.with(|sim| sim.files.clone()).pop_last() else {
                continue;
            };
            for begin in file.synced..file.content.len() {
                let disk = process.disk.after_crash(0, 0).expect("nothing is lost");
                let end = (begin + 20).min(file.content.len());
                disk.with(|sim| {
                    let file = sim.files.get_mut(&number).expect("a file");
                    file.content[begin..end].fill(0);
                });
                check_recovery(&process, disk, 1, sync);
                holes += 1;
            }
        }
    }
    assert!(holes > 1_000, "{holes} holes");
}

#[test]
fn failure_of_every_operation_is_repaired_by_the_next_drain() {
    for sync in [true, false] {
        for steps in sequences(3) {
            let operations = run(&steps, sync, None, false)
                .disk
                .with(|sim| sim.operations);
            for operation in 0..operations {
                for bytes in [0, 1, 30, usize::MAX] {
                    let mut process = run(&steps, sync, Some((operation, bytes)), false);
                    process.drain();
                    assert_eq!(process.acknowledged, process.states.len(), "{steps:?}");
                    let disk = process.disk.after_crash(0, 0).expect("nothing is lost");
                    check_recovery(&process, disk, process.acknowledged, sync);
                }
            }
        }
    }
}

/// Returns random steps that leave much to compact.
fn random_steps(seed: u64, length: usize) -> Vec<Step> {
    let mut random = seed * 2 + 1;
    let mut next = |below: u64| {
        // xorshift64*
        random ^= random >> 12;
        random ^= random << 25;
        random ^= random >> 27;
        (random.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) % below
    };
    let steps = (0..length).map(|_| {
        let id = next(7) as u8;
        match next(32) {
            0..12 => Step::Insert(id),
            12..20 => Step::Remove(id),
            20 => Step::Clear,
            21 => Step::Wait,
            22..27 => Step::Drain,
            _ => Step::Compact,
        }
    });
    steps.chain([Step::Drain]).collect()
}

#[test]
fn crash_at_every_operation_of_a_compaction_loses_nothing() {
    let mut replaced = 0;
    for seed in 0..150 {
        let steps = random_steps(seed, 40);
        let whole = run(&steps, true, None, false);
        replaced += whole.disk.with(|sim| sim.replaced);
        for operation in 0..=whole.disk.with(|sim| sim.operations) {
            for bytes in [0, 1, usize::MAX] {
                let process = run(&steps, true, Some((operation, bytes)), true);
                let disk = process.disk.after_crash(0, 0).expect("nothing is lost");
                check_recovery(&process, disk, process.acknowledged, true);
            }
        }
    }
    assert!(replaced > 150, "{replaced} segments were rewritten");
}

#[test]
fn failure_of_every_operation_of_a_compaction_loses_nothing() {
    for seed in 0..150 {
        let steps = random_steps(seed, 40);
        let operations = run(&steps, true, None, false)
            .disk
            .with(|sim| sim.operations);
        for operation in 0..operations {
            for bytes in [0, usize::MAX] {
                let mut process = run(&steps, true, Some((operation, bytes)), false);
                process.drain();
                let disk = process.disk.after_crash(0, 0).expect("nothing is lost");
                check_recovery(&process, disk, process.states.len(), true);
            }
        }
    }
}

#[test]
fn two_passes_leave_nothing_but_live_ids() {
    for seed in 0..300 {
        let steps = random_steps(seed, 60);
        let mut process = run(&steps, true, None, false);
        // The first pass may have begun earlier, and one more closes the segment in use.
        for _ in 0..3 {
            process.drain();
            process.step(Step::Insert(100));
            process.step(Step::Drain);
            process.step(Step::Remove(100));
            process.step(Step::Drain);
            process.writer.begin_pass();
            process.compact(u64::MAX);
        }
        let live: Vec<u8> = process.contents.keys().copied().collect();
        let (_, closed) = process.disk.with(|sim| {
            let mut files = sim.files.clone();
            (files.remove(&sim.current), files)
        });
        let mut found = Vec::new();
        for file in closed.values() {
            let mut reader = &file.content[52..];
            let mut payload = Vec::new();
            while let Ok(Some(_)) = read_block(&mut reader, &mut payload) {
                let mut rest = &payload[..];
                while let Some((record, after)) = take_record(rest) {
                    rest = after;
                    match record {
                        Record::Insert { key, .. } => found.push(key[0]),
                        // The insertion of this id is in the segment in use.
                        Record::Remove { key: [100], .. } => {}
                        other => panic!("{other:?} in {steps:?}"),
                    }
                }
            }
        }
        found.sort_unstable();
        assert!(
            found.iter().all(|id| live.contains(id)),
            "{found:?} {live:?}"
        );
        found.dedup();
    }
}

#[test]
fn compacted_journal_is_replayed_over_several_processes() {
    for seed in 0..300 {
        let disk = SimDisk::default();
        let mut now = 0;
        for run in 0..4 {
            let (mut process, report) = Process::start(disk.clone(), true, now).expect("whole");
            assert_eq!(report.cut_off, 0);
            // The wall clock jumps within the run. Only the end of the run matters.
            for step in random_steps(seed * 4 + run, 25) {
                process.step(step);
                process.now += 1;
                process.clock += 1;
                process.wall_shift = 1_000_000 * (process.now % 3);
            }
            process.wall_shift = 0;
            process.step(Step::Insert(200));
            process.step(Step::Remove(200));
            process.drain();
            let expected = process.contents.clone();
            now = process.now + 3;
            let (again, _) = Process::start(disk.clone(), true, now).expect("whole");
            let live = |ids: &Ids| -> Ids {
                let all = ids.iter().map(|(&id, &time)| (id, time));
                all.filter(|&(_, time)| now - time < TTL).collect()
            };
            assert_eq!(again.contents, live(&expected), "seed {seed}, run {run}");
        }
    }
}

#[test]
fn damage_in_the_middle_names_file_and_offset() {
    let steps = [
        Step::Insert(0),
        Step::Drain,
        Step::Insert(1),
        Step::Drain,
        Step::Insert(2),
        Step::Drain,
    ];
    let process = run(&steps, true, None, false);
    let whole = process.disk.with(|sim| sim.files.clone());
    assert_eq!(whole.keys().copied().collect::<Vec<_>>(), [1, 2]);
    for (&number, file) in &whole {
        for at in 0..file.content.len() {
            let disk = SimDisk::default();
            disk.with(|sim| {
                sim.files = whole.clone();
                sim.files.get_mut(&number).expect("a file").content[at] ^= 1;
            });
            let result = Process::start(disk, true, 0);
            // Only the last block of all can be a torn one.
            if number == 2 && at >= 52 {
                let (process, report) = result.map_err(|error| error.to_string()).expect("cut");
                assert_eq!(process.contents.len(), 2);
                assert_eq!(report.cut_off, file.content.len() as u64 - 52);
                continue;
            }
            let Err(PersistError::Damaged { path, offset, .. }) = result else {
                panic!("{number} at {at}");
            };
            assert_eq!(path, Some(PathBuf::from(format!("{number}.segment"))));
            assert!(offset as usize <= at);
        }
    }
}

#[test]
fn damage_at_every_byte_is_reported_or_cut_off() {
    // Two segments of two blocks each, with every kind of record, and one of another process.
    let disk = SimDisk::default();
    let (mut process, _) = Process::start(disk.clone(), true, 0).expect("an empty disk");
    let insert = [0, 1, 2].map(Step::Insert);
    let steps = [Step::Remove(1), Step::Drain, Step::Insert(3), Step::Drain];
    for step in [insert[0], Step::Clear, insert[1], insert[2], Step::Drain]
        .into_iter()
        .chain(steps)
    {
        process.step(step);
    }
    let (mut process, _) = Process::start(disk.clone(), true, 5).expect("whole");
    process.step(Step::Insert(4));
    process.drain();
    process.step(Step::Insert(5));
    process.drain();
    let whole = disk.with(|sim| sim.files.clone());
    let last = *whole.keys().next_back().expect("a segment");
    assert_eq!(last, 3);
    let states = [&[2, 3][..], &[2, 3, 4], &[2, 3, 4, 5]];
    let mut found = [0; 2];
    for (&number, file) in &whole {
        for at in 0..file.content.len() {
            // Each bit is flipped, the rest is cut off or zero, and a length is enormous.
            for damage in 0..11 {
                let mut content = file.content.clone();
                match damage {
                    8 => content.truncate(at),
                    9 => content[at..].fill(0),
                    10 => content[at..].iter_mut().take(4).for_each(|byte| *byte = 3),
                    bit => content[at] ^= 1 << bit,
                }
                if content == file.content || (damage == 8 && number != last) {
                    continue;
                }
                let differs = file.content.iter().zip(&content).position(|(a, b)| a != b);
                let at = differs.unwrap_or(at);
                let disk = SimDisk::default();
                disk.with(|sim| {
                    sim.files = whole.clone();
                    sim.files.get_mut(&number).expect("a file").content = content;
                });
                let mut result = None;
                let measured = allocation_counter::measure(|| {
                    result = Some(Process::start(disk, true, 5));
                });
                assert!(measured.bytes_max < 100_000, "{measured:?}");
                match result.expect("it ran") {
                    Ok((process, report)) => {
                        assert!(number == last && report.cut_off > 0 || damage == 8);
                        let ids: Vec<u8> = process.contents.keys().copied().collect();
                        assert!(states.contains(&&ids[..]), "{ids:?}");
                        found[0] += 1;
                    }
                    Err(PersistError::Damaged { path, offset, .. }) => {
                        assert_eq!(path, Some(PathBuf::from(format!("{number}.segment"))));
                        assert!(offset as usize <= at);
                        found[1] += 1;
                    }
                    Err(other) => panic!("{other}"),
                }
            }
        }
    }
    assert!(found.iter().all(|&count| count > 500), "{found:?}");
}

#[test]
fn ages_are_exact_over_several_processes_and_clock_steps() {
    let disk = SimDisk::default();
    let mut now = 0;
    for id in 0..5 {
        let (mut process, _) = Process::start(disk.clone(), true, now).expect("whole");
        process.step(Step::Insert(id));
        process.drain();
        // Within a process, only its own clock counts.
        process.now += 10;
        process.clock += 10;
        process.step(Step::Insert(100 + id));
        process.drain();
        now = process.now + 3;
    }
    let (process, report) = Process::start(disk, true, now).expect("whole");
    let expected: Ids = (0..5)
        .flat_map(|id| {
            [
                (id, 13 * Nanos::from(id)),
                (100 + id, 13 * Nanos::from(id) + 10),
            ]
        })
        .collect();
    assert_eq!(process.contents, expected);
    assert_eq!(report.downtime.map(|time| time.as_nanos()), Some(3));
}
