//! Compaction: rewrites segments without the records of ids that are no longer live.
//!
//! Expired and evicted ids need none, because their segments are deleted as a whole. Ids that are
//! removed leave records in the middle of the log, and so do their removals. Two designs were
//! considered:
//!
//! * *Append the live records of a sparse segment to the newest one.* A replay would then read old
//!   ids after newer ones, but a map stores ids in the order of their times, so it would have to
//!   sort the log.
//! * *Rewrite a segment in place* (in use). The new form takes the name of the old one, so the
//!   order, the times and the rest of the protocol stay as they are.
//!
//! A *pass* rewrites all closed segments, the oldest first, and merges small blocks. It begins if
//! these segments have more than 1.5 times the bytes of the live ids, and one segment more. So a
//! pass frees at least a third of what it reads, and the work is in proportion to the bytes that
//! calls append. It runs in pieces after drains, and reads 16 bytes for each one that is appended,
//! so that the whole journal stays within 2 times the bytes of the live ids and two segments.
//!
//! # The records that are kept
//!
//! | record | kept if |
//! | --- | --- |
//! | insert | the id is live and was recorded at this time |
//! | remove, clear | never |
//!
//! The segments of a pass were closed before it began, so the map had applied all of their records.
//! When the pass reaches a removal, it has compared every older segment with the map. None of them
//! has a record of the removed id any more, unless the id was recorded again later. A pass that an
//! error ends is followed by one that begins with the oldest segment.
//!
//! The last block of each segment keeps its reading of the clocks, although it may be empty: the
//! ages of a run count from its last block. See `replay`.
//!
//! # The crash protocol
//!
//! | step | after a crash before the next step |
//! | --- | --- |
//! | new form written to another file, and synchronised | the old form counts |
//! | new form renamed | either form counts: both have the same live ids |
//! | directory synchronised, then the next segment is read | the new form counts |
//!
//! A removal is therefore dropped only after the disk no longer has the records that it removed.

use std::io::{self, BufReader, Read};

use super::super::format::{
    Anchor, BLOCK_HEADER, BadBlock, HEADER, Record, new_block, read_block, read_full, seal_block,
    take_record,
};
use super::writer::{Inserts, Segment, Writer};
use crate::clock::Nanos;
use crate::sweep::Contents;

/// The bytes that a call reads, in addition to [`PER_BYTE`] for each byte appended since.
pub(super) const PIECE: u64 = 256 << 10;
pub(super) const PER_BYTE: u64 = 16;
/// Small blocks are merged until they have this size.
const TARGET: usize = 64 << 10;

/// The segments that a pass has yet to rewrite, by number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pass {
    next: u64,
    last: u64,
}

/// A segment that is being rewritten.
pub(super) struct Rewriting {
    segment: Segment,
    reader: BufReader<Box<dyn Read + Send>>,
    /// `true` if a record was dropped.
    dropped: bool,
    /// The block that is being filled, and the reading of the clocks for it.
    block: Vec<u8>,
    anchor: Anchor,
    /// The bytes that were written, with the header.
    bytes: u64,
    inserts: Inserts,
    /// `true` if nothing but empty blocks was written.
    is_empty: bool,
}

impl Writer {
    /// Begins a pass if the records of ids that are not live take too much space.
    pub(crate) fn plan(&mut self, contents: &dyn Contents) {
        (self.unplanned, self.removals) = (false, 0);
        let closed = self.closed_bytes();
        if self.pass.is_some() || closed <= self.segment_bytes {
            return;
        }
        let live = self.live_bytes(contents);
        let garbage = closed.saturating_sub(live);
        // A pass that would free what the last one could not is useless.
        self.kept_garbage = self.kept_garbage.min(garbage);
        let is_new = garbage > self.kept_garbage.saturating_add(self.segment_bytes / 2);
        if is_new && closed > live.saturating_add(live / 2 + self.segment_bytes) {
            self.pass = self.closed.back().map(|segment| Pass {
                next: 0,
                last: segment.number,
            });
        }
    }

    /// Begins a pass, whatever it would free.
    #[cfg(test)]
    pub(super) fn begin_pass(&mut self) {
        if self.pass.is_none() {
            let last = self.closed.back().map_or(0, |segment| segment.number);
            self.pass = Some(Pass { next: 0, last });
        }
    }

    fn closed_bytes(&self) -> u64 {
        self.closed.iter().map(|segment| segment.bytes).sum()
    }

    /// Returns the bytes of the live ids' records, to within the differences of their lengths
    /// within one segment.
    fn live_bytes(&self, contents: &dyn Contents) -> u64 {
        let segments = || self.closed.iter().chain(&self.current);
        let mut times = vec![0];
        for segment in segments() {
            let before = times[times.len() - 1];
            times.push(segment.inserts.newest.max(before));
        }
        let live = contents.live_after(&times);
        let each = segments().zip(live.windows(2));
        each.map(|(segment, after)| {
            let Inserts { count, bytes, .. } = segment.inserts;
            let live = after[0].saturating_sub(after[1]).min(count);
            // At most `bytes`, because `live` is at most `count`.
            (u128::from(bytes) * u128::from(live) / u128::from(count.max(1))) as u64
        })
        .sum()
    }

    /// Continues a pass. Reads about `piece` bytes. Returns `true` if there is more to do.
    ///
    /// An error ends the pass, and leaves the segment that was being rewritten as it is.
    pub(crate) fn compact(&mut self, contents: &dyn Contents, piece: u64) -> io::Result<bool> {
        let mut budget = piece.saturating_add(std::mem::take(&mut self.debt));
        while let Some(pass) = self.pass {
            if budget == 0 {
                return Ok(true);
            }
            let read = match self.rewriting.take() {
                Some(rewriting) => self.rewrite_block(rewriting, contents),
                None => self.begin_segment(pass),
            };
            match read {
                Ok(read) => budget = budget.saturating_sub(read),
                Err(error) => {
                    self.pass = None;
                    return Err(error);
                }
            }
            if self.pass.is_none() {
                let live = self.live_bytes(contents);
                self.kept_garbage = self.closed_bytes().saturating_sub(live);
            }
        }
        Ok(false)
    }

    /// Opens the next segment of a pass, or ends the pass. Returns the number of bytes read.
    fn begin_segment(&mut self, pass: Pass) -> io::Result<u64> {
        let numbers = pass.next..=pass.last;
        let next = self.closed.iter().find(|it| numbers.contains(&it.number));
        let Some(&segment) = next else {
            self.pass = None;
            return Ok(0);
        };
        let number = segment.number;
        let mut reader = BufReader::new(self.disk.open(number)?);
        let mut header = [0; HEADER];
        read_full(&mut reader, &mut header).map_err(|bad| failed(number, bad))?;
        self.disk.rewrite(number)?;
        self.disk.append_rewritten(&header)?;
        self.rewriting = Some(Rewriting {
            segment,
            reader,
            dropped: false,
            block: new_block(),
            anchor: Anchor::default(),
            bytes: HEADER as u64,
            inserts: Inserts::default(),
            is_empty: true,
        });
        Ok(HEADER as u64)
    }

    /// Copies the records of one block that are kept. Returns the number of bytes read.
    fn rewrite_block(
        &mut self,
        mut rewriting: Rewriting,
        contents: &dyn Contents,
    ) -> io::Result<u64> {
        let mut payload = Vec::new();
        let read = read_block(&mut rewriting.reader, &mut payload);
        let segment = rewriting.segment;
        let Some(anchor) = read.map_err(|bad| failed(segment.number, bad))? else {
            self.finish_segment(rewriting)?;
            return Ok(0);
        };
        // A clear is the first record of its block.
        let clears = matches!(take_record(&payload), Some((Record::Clear, _)));
        let is_full = rewriting.block.len() + payload.len() > TARGET;
        if rewriting.block.len() > BLOCK_HEADER && (clears || is_full) {
            self.write_rewritten(&mut rewriting)?;
        }
        rewriting.anchor = anchor;
        let is_own_run = self.run == Some(segment.run);
        let is_live = |time: Nanos, key: &[u8]| match contents.recorded_at(key) {
            // An id of an earlier run was recorded before the start of this one. Its time is by
            // another clock, so it is not compared.
            Ok(Some(at)) if is_own_run => at == time,
            Ok(Some(at)) => at <= self.start.clock,
            Ok(None) => false,
            // Unknown, so the record is kept.
            Err(_) => true,
        };
        let mut rest = &payload[..];
        while let Some((record, after)) = take_record(rest) {
            let bytes = &rest[..rest.len() - after.len()];
            rest = after;
            let is_kept = match record {
                Record::Insert { time, key, .. } if is_live(time, key) => {
                    // The newest of them is not known in the map's time, so the old one stays.
                    rewriting.inserts.add(segment.inserts.newest, bytes.len());
                    true
                }
                _ => false,
            };
            if is_kept {
                rewriting.block.extend_from_slice(bytes);
            }
            rewriting.dropped |= !is_kept;
        }
        self.rewriting = Some(rewriting);
        Ok((BLOCK_HEADER + payload.len()) as u64)
    }

    fn write_rewritten(&mut self, rewriting: &mut Rewriting) -> io::Result<()> {
        let block = &mut rewriting.block;
        rewriting.is_empty &= block.len() == BLOCK_HEADER;
        seal_block(block, rewriting.anchor);
        self.disk.append_rewritten(block)?;
        rewriting.bytes += block.len() as u64;
        block.truncate(BLOCK_HEADER);
        block.shrink_to(2 * TARGET);
        Ok(())
    }

    /// Lets the new form take the place of a segment, or deletes the segment if it has no record.
    fn finish_segment(&mut self, mut rewriting: Rewriting) -> io::Result<()> {
        let Segment { number, run, .. } = rewriting.segment;
        if let Some(pass) = &mut self.pass {
            pass.next = number + 1;
        }
        // A sweep may have deleted it since.
        let Some(at) = self.closed.iter().position(|it| it.number == number) else {
            return self.disk.discard_rewritten();
        };
        // The last block of a segment is written even if it is empty, for the clocks.
        self.write_rewritten(&mut rewriting)?;
        let segment = &self.closed[at];
        if !rewriting.dropped && rewriting.bytes >= segment.bytes {
            return self.disk.discard_rewritten();
        }
        let next = self.closed.get(at + 1).or(self.current.as_ref());
        // The last block of a run has the clocks for the ages of all older ids. A segment that was
        // created before a crash has none.
        let has_later_block =
            next.is_some_and(|next| next.run == run && next.bytes > HEADER as u64);
        if rewriting.is_empty && has_later_block {
            self.disk.discard_rewritten()?;
            self.disk.delete(number)?;
            self.closed.remove(at);
            return Ok(());
        }
        self.disk.replace(number)?;
        let segment = &mut self.closed[at];
        segment.bytes = rewriting.bytes;
        segment.inserts = rewriting.inserts;
        Ok(())
    }
}

fn failed(number: u64, bad: BadBlock) -> io::Error {
    match bad {
        BadBlock::Io(error) => error,
        BadBlock::Short => io::Error::other(format!("segment {number} is cut off")),
        BadBlock::Damaged(reason) => io::Error::other(format!("segment {number}: {reason}")),
    }
}
