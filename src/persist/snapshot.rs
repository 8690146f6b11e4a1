//! Writes and reads snapshots, for all collections.
//!
//! A snapshot is one header, blocks of about 64 KiB, and an end record with the number of entries.
//! So a reader notices if a stream was cut, even between two blocks. All times are readings of one
//! clock, and each block repeats that clock's reading and the wall clock at the start.

use std::io::{Read, Write};
use std::time::Duration;

use super::format::{
    self, Anchor, BLOCK_HEADER, BadBlock, HEADER, Header, Kind, Record, put_end, read_block,
    read_full, seal_block, take_record,
};
use super::report::ClockProblem;
use super::{PersistError, RestoreReport, SaveReport};
use crate::clock::Nanos;

/// A block is written when it has reached this size.
const BLOCK_TARGET: usize = 64 << 10;

/// Wall clocks before 2020 and after 2200 are absurd: a machine without a battery begins in 1970.
const PLAUSIBLE: std::ops::Range<Nanos> =
    1_577_836_800 * 1_000_000_000..7_258_118_400 * 1_000_000_000;

impl Anchor {
    /// Returns the time from `self` to `later` by the wall clock.
    pub(crate) fn elapsed(&self, later: &Self) -> Result<Nanos, ClockProblem> {
        if !PLAUSIBLE.contains(&self.wall) || !PLAUSIBLE.contains(&later.wall) {
            return Err(ClockProblem::Absurd);
        }
        later
            .wall
            .checked_sub(self.wall)
            .ok_or(ClockProblem::WentBack)
    }
}

impl RestoreReport {
    /// Notes the time since the file was written, and returns the time that counts.
    pub(crate) fn set_downtime(&mut self, elapsed: Result<Nanos, ClockProblem>) -> Nanos {
        match elapsed {
            Ok(elapsed) => {
                self.downtime = Some(Duration::from_nanos(elapsed));
                elapsed
            }
            Err(problem) => {
                self.clock = problem;
                0
            }
        }
    }
}

pub(crate) struct SnapshotWriter<W> {
    writer: W,
    block: Vec<u8>,
    anchor: Anchor,
    report: SaveReport,
}

impl<W: Write> SnapshotWriter<W> {
    pub(crate) fn new(mut writer: W, kind: Kind, anchor: Anchor) -> Result<Self, PersistError> {
        let header = Header {
            kind,
            is_unsynchronised: false,
            number: 0,
            run: 0,
            start: anchor,
        };
        writer.write_all(&header.encode())?;
        Ok(Self {
            writer,
            block: format::new_block(),
            anchor,
            report: SaveReport {
                saved: 0,
                bytes: HEADER as u64,
            },
        })
    }

    /// Adds an entry, which `put` appends as one record.
    pub(crate) fn add(
        &mut self,
        put: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>,
    ) -> Result<(), PersistError> {
        put(&mut self.block)?;
        self.report.saved += 1;
        if self.block.len() >= BLOCK_TARGET {
            self.write_block()?;
        }
        Ok(())
    }

    fn write_block(&mut self) -> Result<(), PersistError> {
        seal_block(&mut self.block, self.anchor);
        self.writer.write_all(&self.block)?;
        self.report.bytes += self.block.len() as u64;
        self.block.truncate(BLOCK_HEADER);
        self.block.shrink_to(2 * BLOCK_TARGET);
        Ok(())
    }

    pub(crate) fn finish(mut self) -> Result<SaveReport, PersistError> {
        put_end(&mut self.block, self.report.saved);
        self.write_block()?;
        self.writer.flush()?;
        Ok(self.report)
    }
}

/// Reads a snapshot. Calls `begin` with the start of the snapshot, then `entry` with each record.
pub(crate) fn read(
    mut reader: impl Read,
    kind: Kind,
    mut entry: impl FnMut(&Anchor, Record<'_>) -> Result<(), String>,
) -> Result<(), PersistError> {
    let damaged = |offset: u64, reason: String| PersistError::Damaged {
        path: None,
        offset,
        reason,
    };
    let bad = |offset, bad| match bad {
        BadBlock::Io(error) => error.into(),
        BadBlock::Short => damaged(offset, "the file is cut off".to_owned()),
        BadBlock::Damaged(reason) => damaged(offset, reason),
    };
    let mut header = [0; HEADER];
    if read_full(&mut reader, &mut header).map_err(|error| bad(0, error))? < HEADER {
        return Err(damaged(0, "the header is cut off".to_owned()));
    }
    Header::decode(&header, kind).map_err(|reason| damaged(0, reason))?;
    let (mut offset, mut count) = (HEADER as u64, 0);
    let mut payload = Vec::new();
    loop {
        let anchor = read_block(&mut reader, &mut payload)
            .and_then(|anchor| anchor.ok_or(BadBlock::Short))
            .map_err(|error| bad(offset, error))?;
        let mut rest = &payload[..];
        while !rest.is_empty() {
            let Some((record, after)) = take_record(rest) else {
                return Err(damaged(offset, "a record is malformed".to_owned()));
            };
            rest = after;
            match record {
                Record::End { count: expected } if expected == count && rest.is_empty() => {
                    return Ok(());
                }
                Record::End { .. } => {
                    return Err(damaged(offset, "entries are missing".to_owned()));
                }
                record => entry(&anchor, record).map_err(|reason| damaged(offset, reason))?,
            }
            count += 1;
        }
        offset += (BLOCK_HEADER + payload.len()) as u64;
    }
}
