//! Reads a journal: scans all segments, then replays their records.
//!
//! The scan checks every byte and finds the reading of both clocks at the end of each run, which is
//! the lifetime of one process. A run's ids are ordered by its monotonic clock. From the end of a
//! run to the start of the next one, the wall clock counts. Each of these differences is at least
//! zero, so a wall clock that went back makes no id younger. The alternative, one wall time per
//! record, needs no scan, but each step of the wall clock changes ages within a run.
//!
//! A map stores ids in the order of their times, and an id that comes too late counts as recorded
//! with the one before it. The segments are only nearly in that order: a drain takes the buffers of
//! the shards one after the other, and a call may read the clock and append its record to a much
//! later block. So the records of a segment are sorted, and those wait for the next segment that
//! are newer than the oldest record in any later one. The alternative, a drain that locks all
//! buffers, stops all callers and does not help against a delayed call.

use std::io::{self, BufReader, Read};
use std::ops::Range;

use super::super::format::{
    Anchor, BLOCK_HEADER, BadBlock, HEADER, Header, Kind, MARK, MAX_BLOCK, Record, read_block,
    read_full, take_record,
};
use super::super::{PersistError, RestoreReport};
use super::disk::Disk;
use super::writer::{Inserts, Segment};
use crate::clock::Nanos;

/// Blocks that begin after a damaged one are searched for at this many marks.
const MAX_MARKS: usize = 1000;

/// The result of reading a segment.
struct Scanned {
    number: u64,
    /// The length without a torn tail.
    bytes: u64,
    run: u64,
    start: Anchor,
    /// The last block's reading of the clocks, or that of the header.
    end: Anchor,
    /// The time of the oldest record, or the largest number if there is none.
    oldest: Nanos,
    /// The time of the oldest record in the later segments of its run.
    oldest_later: Nanos,
}

/// The segments that one process wrote.
struct Run {
    number: u64,
    start: Anchor,
    end: Anchor,
    /// The time from the end to the present.
    since: Nanos,
}

/// All segments, in order.
pub(crate) struct Scan {
    segments: Vec<Scanned>,
    runs: Vec<Run>,
    /// The number of the next segment.
    pub(crate) next_number: u64,
}

/// A record to be replayed, with the age of the id.
pub(crate) struct Replayed<'a> {
    pub(crate) age: Nanos,
    pub(crate) record: Record<'a>,
}

impl Scan {
    /// Reads all segments, and cuts off a torn tail of the last one.
    pub(crate) fn new(
        disk: &mut dyn Disk,
        now: Anchor,
        report: &mut RestoreReport,
    ) -> Result<Self, PersistError> {
        let numbers = disk.segments()?;
        let mut segments = Vec::new();
        for &number in &numbers {
            let is_last = Some(&number) == numbers.last();
            let path = disk.path_of(number);
            let scanned = scan(disk, number, is_last, report).map_err(|error| error.at(&path))?;
            segments.extend(scanned);
        }
        let (mut run, mut oldest_later) = (None, Nanos::MAX);
        for segment in segments.iter_mut().rev() {
            if run.replace(segment.run) != Some(segment.run) {
                oldest_later = Nanos::MAX;
            }
            segment.oldest_later = oldest_later;
            oldest_later = oldest_later.min(segment.oldest);
        }
        let mut runs = runs(&segments);
        // The time from the end of each run to the present, the latest run first.
        let (mut next_start, mut since_next) = (now, 0);
        for (at, run) in runs.iter_mut().rev().enumerate() {
            let elapsed = run.end.elapsed(&next_start);
            let elapsed = if at == 0 {
                report.set_downtime(elapsed)
            } else {
                elapsed.unwrap_or(0)
            };
            run.since = elapsed.saturating_add(since_next);
            let length = run.end.clock.saturating_sub(run.start.clock);
            (next_start, since_next) = (run.start, run.since.saturating_add(length));
        }
        Ok(Self {
            segments,
            runs,
            next_number: numbers.last().map_or(1, |last| last + 1),
        })
    }
}

/// Groups segments by the process that wrote them.
fn runs(segments: &[Scanned]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for segment in segments {
        match runs.last_mut() {
            Some(run) if run.number == segment.run => {
                // A segment without a block has only the start of its run.
                if segment.end.clock > run.end.clock {
                    run.end = segment.end;
                }
            }
            _ => runs.push(Run {
                number: segment.run,
                start: segment.start,
                end: segment.end,
                since: 0,
            }),
        }
    }
    runs
}

/// Reads one segment. Returns `None` if nothing of it remains.
fn scan(
    disk: &mut dyn Disk,
    number: u64,
    is_last: bool,
    report: &mut RestoreReport,
) -> Result<Option<Scanned>, PersistError> {
    let mut reader = BufReader::new(disk.open(number)?);
    let mut bytes = [0; HEADER];
    let read = match read_full(&mut reader, &mut bytes) {
        Ok(read) => read,
        Err(BadBlock::Io(error)) => return Err(error.into()),
        Err(_) => 0,
    };
    // A block is appended after the header is on disk. So if there is none, the crash may have
    // happened while the segment was created.
    let is_alone = || Ok::<_, io::Error>(read_tail(&*disk, number, HEADER as u64)?.is_empty());
    if is_last && (read < HEADER || !Header::is_whole(&bytes)) && is_alone()? {
        report.cut_off += read as u64;
        disk.delete(number)?;
        return Ok(None);
    }
    if read < HEADER {
        return Err(damaged(0, "the header is cut off".to_owned()));
    }
    let header = Header::decode(&bytes, Kind::Segment).map_err(|reason| damaged(0, reason))?;
    let mut scanned = Scanned {
        number,
        bytes: HEADER as u64,
        run: header.run,
        start: header.start,
        end: header.start,
        oldest: Nanos::MAX,
        oldest_later: Nanos::MAX,
    };
    let mut payload = Vec::new();
    loop {
        let reason = match read_block(&mut reader, &mut payload) {
            Ok(None) => return Ok(Some(scanned)),
            Ok(Some(anchor)) => {
                let oldest = oldest_record(&payload);
                let oldest = oldest.map_err(|reason| damaged(scanned.bytes, reason))?;
                scanned.oldest = scanned.oldest.min(oldest);
                scanned.end = anchor;
                scanned.bytes += (BLOCK_HEADER + payload.len()) as u64;
                continue;
            }
            Err(BadBlock::Io(error)) => return Err(error.into()),
            Err(BadBlock::Short) => "the block is cut off".to_owned(),
            Err(BadBlock::Damaged(reason)) => reason,
        };
        drop(reader);
        let tail = read_tail(&*disk, number, scanned.bytes)?;
        // Without synchronisation, the system writes blocks in any order.
        if !is_last || (!header.is_unsynchronised && contains_block(&tail)) {
            return Err(damaged(scanned.bytes, reason));
        }
        report.cut_off += tail.len() as u64;
        disk.cut(number, scanned.bytes)?;
        return Ok(Some(scanned));
    }
}

fn damaged(offset: u64, reason: String) -> PersistError {
    PersistError::Damaged {
        path: None,
        offset,
        reason,
    }
}

/// Checks that a payload consists of records of a journal. Returns the time of the oldest one, or
/// the largest number if none has a time.
fn oldest_record(mut payload: &[u8]) -> Result<Nanos, String> {
    let mut oldest = Nanos::MAX;
    while !payload.is_empty() {
        let (record, rest) = take_record(payload).ok_or("a record is malformed")?;
        match record {
            Record::Insert { time, .. } | Record::Remove { time, .. } => oldest = oldest.min(time),
            Record::Clear => {}
            _ => return Err("an unexpected record".to_owned()),
        }
        payload = rest;
    }
    Ok(oldest)
}

/// Reads what follows an offset.
fn read_tail(disk: &dyn Disk, number: u64, offset: u64) -> io::Result<Vec<u8>> {
    let mut reader = disk.open(number)?;
    io::copy(&mut reader.by_ref().take(offset), &mut io::sink())?;
    let mut tail = Vec::new();
    reader.take(2 * MAX_BLOCK as u64).read_to_end(&mut tail)?;
    Ok(tail)
}

/// Returns `true` if a whole block begins somewhere behind the first byte. Then the bytes are not a
/// torn tail, because blocks are written one after the other.
fn contains_block(tail: &[u8]) -> bool {
    let mut payload = Vec::new();
    (1..tail.len())
        .filter(|&at| tail[at..].starts_with(&MARK))
        .take(MAX_MARKS)
        .any(|at| matches!(read_block(&mut &tail[at..], &mut payload), Ok(Some(_))))
}

/// Records that were read and not applied yet.
#[derive(Default)]
struct Held {
    records: Vec<HeldRecord>,
    bytes: Vec<u8>,
}

struct HeldRecord {
    time: Nanos,
    bytes: Range<usize>,
    block: BlockAt,
}

/// The number of a segment, and the offset of a block in it.
type BlockAt = (u64, u64);

impl Held {
    fn push(&mut self, time: Nanos, bytes: &[u8], block: BlockAt) {
        let begin = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        self.records.push(HeldRecord {
            time,
            bytes: begin..self.bytes.len(),
            block,
        });
    }

    /// Removes the records up to `time` and passes them to `apply`, the oldest first.
    fn apply_until(
        &mut self,
        time: Nanos,
        mut apply: impl FnMut(&HeldRecord, Record<'_>) -> Result<(), PersistError>,
    ) -> Result<(), PersistError> {
        // Stable: the records of one id are in order, and may have equal times.
        self.records.sort_by_key(|it| it.time);
        let count = self.records.partition_point(|it| it.time <= time);
        for held in self.records.drain(..count) {
            if let Some((record, _)) = take_record(&self.bytes[held.bytes.clone()]) {
                apply(&held, record)?;
            }
        }
        let mut bytes = Vec::new();
        for held in &mut self.records {
            let begin = bytes.len();
            bytes.extend_from_slice(&self.bytes[held.bytes.clone()]);
            held.bytes = begin..bytes.len();
        }
        self.bytes = bytes;
        Ok(())
    }
}

/// Passes the records of all segments to `apply`, those of each run in the order of their times.
/// Returns the segments.
///
/// Holds the records of one segment in memory, and those that wait for an older one.
pub(crate) fn replay(
    disk: &dyn Disk,
    scan: &Scan,
    now: Nanos,
    mut apply: impl FnMut(&Replayed<'_>) -> Result<(), String>,
) -> Result<Vec<Segment>, PersistError> {
    let mut segments = Vec::new();
    let mut runs = scan.runs.iter().peekable();
    let mut held = Held::default();
    for scanned in &scan.segments {
        while runs.next_if(|run| run.number != scanned.run).is_some() {}
        let Some(&run) = runs.peek() else {
            break;
        };
        let age_of = |time: Nanos| {
            let in_run = run.end.clock.saturating_sub(time);
            in_run.saturating_add(run.since)
        };
        let mut apply = |time, record: Record<'_>, (segment, offset): BlockAt| {
            let age = age_of(time);
            apply(&Replayed { age, record })
                .map_err(|reason| damaged(offset, reason).at(&disk.path_of(segment)))
        };
        let mut inserts = Inserts::default();
        each_block(disk, scanned, |block, mut payload| {
            while let Some((record, rest)) = take_record(payload) {
                let bytes = &payload[..payload.len() - rest.len()];
                payload = rest;
                let time = match record {
                    Record::Insert { time, .. } => {
                        inserts.add(now.saturating_sub(age_of(time)), bytes.len());
                        time
                    }
                    Record::Remove { time, .. } => time,
                    // A clear, which has no time: it comes after all records before it.
                    _ => {
                        held = Held::default();
                        apply(0, record, block)?;
                        continue;
                    }
                };
                held.push(time, bytes, block);
            }
            Ok(())
        })
        .map_err(|error| error.at(&disk.path_of(scanned.number)))?;
        held.apply_until(scanned.oldest_later, |held, record| {
            apply(held.time, record, held.block)
        })?;
        segments.push(Segment {
            number: scanned.number,
            run: scanned.run,
            bytes: scanned.bytes,
            inserts,
        });
    }
    Ok(segments)
}

/// Passes the payload of each block of a segment to `visit`.
fn each_block(
    disk: &dyn Disk,
    scanned: &Scanned,
    mut visit: impl FnMut(BlockAt, &[u8]) -> Result<(), PersistError>,
) -> Result<(), PersistError> {
    let mut reader = BufReader::new(disk.open(scanned.number)?.take(scanned.bytes));
    io::copy(&mut reader.by_ref().take(HEADER as u64), &mut io::sink())?;
    let (mut offset, mut payload) = (HEADER as u64, Vec::new());
    loop {
        match read_block(&mut reader, &mut payload) {
            Ok(None) => return Ok(()),
            Ok(Some(_)) => {}
            Err(BadBlock::Io(error)) => return Err(error.into()),
            Err(_) => {
                return Err(damaged(
                    offset,
                    "the file changes while it is read".to_owned(),
                ));
            }
        }
        visit((scanned.number, offset), &payload)?;
        offset += (BLOCK_HEADER + payload.len()) as u64;
    }
}
