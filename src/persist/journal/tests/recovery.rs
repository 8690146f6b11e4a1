//! Damage, ages, and the order of the records.

use std::path::PathBuf;

use super::*;

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
fn segment_without_a_header_is_damaged_unless_it_is_the_last() {
    let steps = [0, 1, 2].map(|id| [Step::Insert(id), Step::Drain]).concat();
    let process = run(&steps, true, None, false);
    for (number, is_last) in [(1, false), (2, true)] {
        let disk = process.disk.after_crash(0, 0).expect("nothing is lost");
        disk.with(|sim| {
            let file = sim.files.get_mut(&number).expect("a file");
            file.content.truncate(30);
        });
        match Process::start(disk, true, 0) {
            Ok((_, report)) => assert!(is_last && report.cut_off == 30),
            Err(PersistError::Damaged { offset, .. }) => assert!(!is_last && offset == 0),
            Err(other) => panic!("{other}"),
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
    // The last downtime is a longer one.
    let (process, report) = Process::start(disk, true, now + 1).expect("whole");
    let expected: Ids = (0..5)
        .flat_map(|id| {
            [
                (id, 13 * Nanos::from(id)),
                (100 + id, 13 * Nanos::from(id) + 10),
            ]
        })
        .collect();
    assert_eq!(process.contents, expected);
    assert_eq!(report.downtime.map(|time| time.as_nanos()), Some(4));
}

/// A block with an insert record of each of these ids, at this time.
fn block_of(inserts: &[(u8, Nanos)]) -> Block {
    let mut block = empty_block();
    for &(id, time) in inserts {
        insert_into(&mut block, time, &[id]);
    }
    block
}

/// A drain takes the buffers one after the other, and a call may be delayed between its reading of
/// the clock and its record.
#[test]
fn records_of_all_segments_are_replayed_by_age() {
    let disk = SimDisk::default();
    for start in [1_000, 1_001] {
        let (mut process, _) = Process::start(disk.clone(), true, start).expect("whole");
        let now = process.clock;
        let blocks = [
            [(1, now + 6), (2, now + 2)],
            [(3, now + 10), (4, now + 4)],
            [(5, now + 3), (6, now + 8)],
            [(7, now + 12), (8, now + 1)],
        ];
        for inserts in &blocks {
            process.writer.push(block_of(inserts));
        }
        process.clock += 12;
        process.drain();
    }
    let anchor = Anchor {
        clock: 100_000,
        wall: WALL + 1_010,
    };
    let mut report = RestoreReport::default();
    let scan = Scan::new(&mut disk.clone(), anchor, &mut report).expect("whole");
    let mut replayed = Vec::new();
    let segments = replay(&disk, &scan, anchor.clock, |it| {
        if let Record::Insert { key, .. } = it.record {
            replayed.push((key[0], it.age));
        }
        Ok(())
    });
    assert_eq!(segments.expect("whole").len(), 8);
    let ids: Vec<u8> = replayed.iter().map(|&(id, _)| id).collect();
    assert_eq!(ids, [8, 2, 5, 4, 1, 6, 3, 7].repeat(2));
    let ages: Vec<Nanos> = replayed.iter().map(|&(_, age)| age).collect();
    assert!(ages.is_sorted_by(|a, b| a > b), "{ages:?}");
}

#[test]
fn clear_removes_newer_records_that_were_written_before_it() {
    let disk = SimDisk::default();
    let (mut process, _) = Process::start(disk.clone(), true, 0).expect("whole");
    let now = process.clock;
    process.writer.push(block_of(&[(1, now + 30)]));
    process.drain();
    process.step(Step::Clear);
    process.writer.push(block_of(&[(2, now + 20)]));
    process.drain();
    process.writer.push(block_of(&[(3, now + 10)]));
    process.drain();
    let (again, _) = Process::start(disk, true, 0).expect("whole");
    assert!(again.contents.keys().eq(&[2, 3]), "{:?}", again.contents);
}
