//! Restores random bytes: as a whole file, or as the records of a block with a valid checksum.
#![no_main]

use std::time::Duration;

use arbitrary::Arbitrary;
use leakproof::{DedupMap, ManualClock};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input {
    is_whole_file: bool,
    clock: u64,
    wall: u64,
    ttl: u32,
    max_entries: u8,
    bytes: Vec<u8>,
}

/// Returns a file with one block, as another program would write it.
fn file(input: &Input) -> Vec<u8> {
    let mut header = b"LEAKPRF\x01\x01\0\0\0\0\0\0\0".to_vec();
    header.extend([0; 16]);
    let mut anchor = input.clock.to_le_bytes().to_vec();
    anchor.extend(input.wall.to_le_bytes());
    header.extend(&anchor);
    header.extend(crc32fast::hash(&header).to_le_bytes());
    let mut block = (input.bytes.len() as u32).to_le_bytes().to_vec();
    block.extend(anchor);
    block.extend(&input.bytes);
    header.extend(b"LKB\x01");
    header.extend(crc32fast::hash(&block).to_le_bytes());
    header.extend(block);
    header
}

fuzz_target!(|input: Input| {
    let time = ManualClock::new();
    let map = DedupMap::<str, u32>::builder()
        .ttl(Duration::from_nanos(u64::from(input.ttl) + 1))
        .max_entries(usize::from(input.max_entries) + 1)
        .clock(&time)
        .build()
        .unwrap();
    let result = if input.is_whole_file {
        map.restore_from(&input.bytes[..])
    } else {
        map.restore_from(&file(&input)[..])
    };
    map.validate();
    let Ok(report) = result else { return };
    assert_eq!(report.restored, map.len() as u64);
    // The restored entries can be saved, and are restored again.
    let mut saved = Vec::new();
    assert_eq!(map.save_to(&mut saved).unwrap().saved, report.restored);
    let again = DedupMap::<str, u32>::builder()
        .ttl(map.ttl())
        .max_entries(map.max_entries())
        .clock(&time)
        .build()
        .unwrap();
    assert_eq!(
        again.restore_from(&saved[..]).unwrap().restored,
        report.restored
    );
    map.for_each(|key, value, age| {
        assert_eq!((again.get(key), again.age(key)), (Some(*value), Some(age)));
    });
});
