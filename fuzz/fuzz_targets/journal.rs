//! Replays a directory of random segments. Checksums are corrected on request, so that damaged
//! lengths and records are reached as well.
//!
//! The first byte says if they are, the next two are the bound and the ttl. The rest are segments,
//! each of which begins with the magic bytes of a header.
#![no_main]

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use leakproof::persist::{Journal, Sync};
use leakproof::{BuildError, DedupMap, ManualClock};
use libfuzzer_sys::fuzz_target;

const MAGIC: &[u8] = b"LEAKPRF";
const HEADER: usize = 52;
const BLOCK_HEADER: usize = 28;

fn segments(bytes: &[u8]) -> Vec<Vec<u8>> {
    let starts: Vec<usize> = (1..bytes.len())
        .filter(|&at| bytes[at..].starts_with(MAGIC))
        .take(4)
        .collect();
    let ends = starts.iter().copied().chain([bytes.len()]);
    let begins = [0].into_iter().chain(starts.iter().copied());
    begins
        .zip(ends)
        .map(|(begin, end)| bytes[begin..end].to_vec())
        .collect()
}

fn correct_checksums(segment: &mut [u8]) {
    let Some((header, mut blocks)) = segment.split_at_mut_checked(HEADER) else {
        return;
    };
    let crc = crc32fast::hash(&header[..48]);
    header[48..].copy_from_slice(&crc.to_le_bytes());
    while blocks.len() >= BLOCK_HEADER {
        let length = u32::from_le_bytes(blocks[8..12].try_into().unwrap()) as usize;
        let Some((block, rest)) = blocks.split_at_mut_checked(BLOCK_HEADER + length) else {
            return;
        };
        let crc = crc32fast::hash(&block[8..]);
        block[4..8].copy_from_slice(&crc.to_le_bytes());
        blocks = rest;
    }
}

fuzz_target!(|input: &[u8]| {
    let [corrects, max, ttl, bytes @ ..] = input else {
        return;
    };
    // In memory if possible, where a synchronisation takes no time.
    let memory = PathBuf::from("/dev/shm");
    let base = if memory.is_dir() {
        memory
    } else {
        std::env::temp_dir()
    };
    let path = base.join(format!("leakproof-fuzz-{}", std::process::id()));
    fs::remove_dir_all(&path).ok();
    fs::create_dir_all(&path).unwrap();
    let mut written = Vec::new();
    for (number, mut segment) in (1..).zip(segments(bytes)) {
        if corrects % 2 == 1 {
            correct_checksums(&mut segment);
        }
        let file = path.join(format!("{number:020}.segment"));
        fs::write(&file, &segment).unwrap();
        written.push((file, segment));
    }
    let total = written
        .iter()
        .map(|(_, segment)| segment.len() as u64)
        .sum();
    // A run ends with its last block, and ages depend on the clocks of that block. If a segment
    // without live ids was deleted, another block is the last, whose clocks may contradict it here.
    let is_compacted = || {
        let is_kept = |(file, segment): &(PathBuf, Vec<u8>)| {
            fs::read(file).is_ok_and(|bytes| segment.starts_with(&bytes))
        };
        !written.iter().all(is_kept)
    };
    let time = ManualClock::new();
    let build = || {
        let journal = Journal::open(&path).unwrap().sync(Sync::Never);
        DedupMap::<str, Vec<u8>>::builder()
            .ttl(Duration::from_nanos(1 << (ttl % 60)))
            .max_entries(usize::from(*max) + 1)
            .clock(&time)
            .journal(journal)
            .build()
    };
    let contents = |map: &DedupMap<str, Vec<u8>>| {
        let mut all = Vec::new();
        map.for_each(|key, value, age| all.push((key.to_owned(), value.clone(), age)));
        all.sort();
        all
    };
    match build() {
        Ok(map) => {
            map.validate();
            let report = map.replayed().unwrap();
            assert_eq!(report.restored, map.len() as u64);
            assert!(report.cut_off <= total);
            let expected = contents(&map);
            drop(map);
            // A torn tail was cut off, and nothing else changed.
            let again = build().unwrap();
            assert_eq!(again.replayed().unwrap().cut_off, 0);
            if !is_compacted() {
                assert_eq!(contents(&again), expected);
            }
        }
        Err(BuildError::Journal { reason }) => assert!(reason.contains("damaged at byte")),
        Err(other) => panic!("{other}"),
    }
});
