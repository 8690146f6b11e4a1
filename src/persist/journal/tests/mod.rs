//! The crash protocol, searched exhaustively: every short sequence of steps, with a crash or a
//! failure at every operation of the disk and at every byte.

mod background;
mod compaction;
mod crash;
mod flush;
mod recovery;
mod sim_disk;

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use super::super::format::{Anchor, Record, put_clear, put_insert, put_remove};
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
        self.contents.retain(|_, time| self.now - *time < TTL);
        match step {
            Step::Insert(id) => {
                if self.contents.contains_key(&id) {
                    return;
                }
                self.contents.insert(id, self.now);
                return insert_into(&mut self.block, self.clock, &[id]);
            }
            Step::Remove(id) => {
                if self.contents.remove(&id).is_none() {
                    return;
                }
                let bytes = &mut self.block.bytes;
                put_remove(bytes, self.clock, of_key(&[id])).expect("it fits");
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

/// Returns the codec of a key.
fn of_key(key: &[u8]) -> impl FnOnce(&mut Vec<u8>) -> io::Result<()> + use<'_> {
    move |out| {
        out.extend_from_slice(key);
        Ok(())
    }
}

/// Appends an insert record to a block.
fn insert_into(block: &mut Block, time: Nanos, key: &[u8]) {
    let before = block.bytes.len();
    put_insert(&mut block.bytes, time, of_key(key), |_| Ok(())).expect("it fits");
    block.inserts.add(time, block.bytes.len() - before);
    block.records += 1;
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
