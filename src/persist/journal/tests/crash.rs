//! Crashes and failures of the disk while blocks are written.

use super::*;

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

/// Only the last segment may end in a torn block.
#[test]
fn closed_segment_is_synchronised_whatever_the_option_says() {
    let steps = [0, 1, 2].map(|id| [Step::Insert(id), Step::Drain]).concat();
    let process = run(&steps, false, None, false);
    let unsynced = |file: &sim_disk::File| file.content.len() - file.synced;
    let unsynced = |sim: &mut sim_disk::Sim| sim.files.values().map(unsynced).collect();
    let unsynced: Vec<usize> = process.disk.with(unsynced);
    assert!(unsynced.len() == 2 && unsynced[0] == 0 && unsynced[1] > 0);
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
