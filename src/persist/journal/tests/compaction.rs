//! Crashes and failures of the disk during a compaction.

use super::super::super::format::{HEADER, read_block, take_record};
use super::super::disk::Disk;
use super::*;

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

/// A process may create a segment and crash before it writes a block to it.
#[test]
fn end_of_a_run_stays_if_its_last_segment_has_no_block() {
    let disk = SimDisk::default();
    let (mut process, _) = Process::start(disk.clone(), true, 1_000).expect("whole");
    process.step(Step::Insert(1));
    process.drain();
    let (mut process, _) = Process::start(disk.clone(), true, 1_005).expect("whole");
    process.step(Step::Insert(2));
    process.drain();
    // The wall clock does not advance.
    process.clock += 20;
    process.step(Step::Remove(2));
    process.drain();
    let last = process.writer.current.expect("a segment");
    let header = disk.with(|sim| sim.files[&last.number].content[..HEADER].to_vec());
    let mut appending = disk.clone();
    appending.create(last.number + 1).expect("it works");
    appending.append(&header).expect("it works");
    appending.sync().expect("it works");

    let (mut process, _) = Process::start(disk.clone(), true, 1_005).expect("whole");
    let age = |process: &Process| process.now - process.contents[&1];
    assert_eq!(age(&process), 25);
    process.step(Step::Insert(3));
    process.drain();
    process.writer.begin_pass();
    process.compact(u64::MAX);
    let (process, _) = Process::start(disk, true, 1_005).expect("whole");
    assert_eq!(age(&process), 25);
}

/// Ids that were recorded at these times. Each key has the same answer.
struct RecordedAt(Vec<Nanos>, Result<Option<Nanos>, String>);

impl Contents for RecordedAt {
    fn live_after(&self, times: &[Nanos]) -> Vec<u64> {
        let after = |&time: &Nanos| self.0.iter().filter(|&&it| it > time).count() as u64;
        times.iter().map(after).collect()
    }

    fn recorded_at(&self, _: &[u8]) -> Result<Option<Nanos>, String> {
        self.1.clone()
    }

    fn oldest_age(&self) -> Option<Duration> {
        None
    }
}

/// The times of the records of [`full_writer`].
fn all_times() -> impl Iterator<Item = Nanos> {
    (1..=100).flat_map(|time| [time; 20])
}

/// Returns a writer of small segments with twenty records of each time from 1 to 100.
fn full_writer() -> Writer {
    let (disk, start) = (Box::new(SimDisk::default()), Anchor::default());
    let mut writer = Writer::new(disk, true, 4 << 10, start, Vec::new(), 1);
    for time in 1..=100 {
        let mut block = empty_block();
        (0..20).for_each(|_| insert_into(&mut block, time, &[0; 20]));
        writer.push(block);
        let now = Anchor {
            clock: time,
            wall: WALL,
        };
        writer.write(now).expect("written");
    }
    writer
}

#[test]
fn pass_begins_only_if_it_frees_much() {
    let mut writer = full_writer();
    writer.plan(&RecordedAt(all_times().collect(), Ok(None)));
    assert!(writer.pass.is_none(), "all ids are live");
    writer.plan(&RecordedAt(all_times().step_by(3).collect(), Ok(None)));
    assert!(writer.pass.is_some(), "most ids were removed");
}

/// A pass that could not read any key keeps all records, for which the next one has to free more.
/// Once they are live again or deleted, the next pass begins as the first one did.
#[test]
fn kept_garbage_counts_only_as_long_as_it_exists() {
    let mut writer = full_writer();
    let unreadable = RecordedAt(Vec::new(), Err("the codec has changed".to_owned()));
    writer.plan(&unreadable);
    assert!(writer.pass.is_some());
    assert!(!writer.compact(&unreadable, u64::MAX).expect("it works"));
    let removed = RecordedAt(Vec::new(), Ok(None));
    writer.plan(&removed);
    assert!(writer.pass.is_none(), "the last pass kept all of it");
    writer.plan(&RecordedAt(all_times().collect(), Ok(None)));
    assert!(writer.pass.is_none(), "all ids are live");
    writer.plan(&removed);
    assert!(writer.pass.is_some(), "all ids were removed");
}
