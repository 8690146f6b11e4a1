//! `Writer`: appends blocks to segments, and deletes segments.
//!
//! The writer knows neither keys nor threads. Its caller passes blocks of records and retries after
//! an error.

use std::collections::VecDeque;
use std::io;

use super::super::format::{Anchor, BLOCK_HEADER, HEADER, Header, Kind, new_block, seal_block};
use super::compact::{PER_BYTE, Pass, Rewriting};
use super::disk::Disk;
use crate::clock::Nanos;

/// Blocks of this size wait for a disk that fails. Beyond it, the oldest are dropped.
const MAX_PENDING: usize = 64 << 20;
/// The largest block whose memory is kept for the next one.
const MAX_SPARE: usize = 16 << 20;

/// The insert records of a block or segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Inserts {
    pub(crate) count: u64,
    pub(crate) bytes: u64,
    /// The time at which the newest id was recorded, by the map's clock. Zero if there is none.
    pub(crate) newest: Nanos,
}

impl Inserts {
    pub(crate) fn add(&mut self, time: Nanos, bytes: usize) {
        self.merge(Self {
            count: 1,
            bytes: bytes as u64,
            newest: time,
        });
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.count += other.count;
        self.bytes += other.bytes;
        self.newest = self.newest.max(other.newest);
    }
}

/// Records that are not on disk yet.
pub(crate) struct Block {
    /// Begins with room for the block's header.
    pub(crate) bytes: Vec<u8>,
    pub(crate) records: u64,
    pub(crate) inserts: Inserts,
}

/// A segment on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) number: u64,
    /// The number of the first segment that the same process wrote.
    pub(crate) run: u64,
    pub(crate) bytes: u64,
    pub(crate) inserts: Inserts,
}

pub(crate) struct Writer {
    pub(super) disk: Box<dyn Disk>,
    /// `true` if blocks are synchronised.
    sync: bool,
    pub(super) segment_bytes: u64,
    /// The start of this process.
    pub(super) start: Anchor,
    /// The number of its first segment.
    pub(super) run: Option<u64>,
    next_number: u64,
    pub(super) closed: VecDeque<Segment>,
    pub(super) current: Option<Segment>,
    /// `true` if bytes behind the current segment's length have to be cut off before a write.
    torn: bool,
    pending: VecDeque<Block>,
    pending_bytes: usize,
    /// The memory of a block that was written, or empty.
    spare: Vec<u8>,
    /// Records that were dropped because the disk failed for too long.
    pub(crate) dropped: u64,
    /// `true` if a segment was closed since the last plan.
    pub(super) unplanned: bool,
    /// Removals that were written since the last plan.
    pub(super) removals: u64,
    pub(super) pass: Option<Pass>,
    pub(super) rewriting: Option<Rewriting>,
    /// Bytes to be read because others were appended during a pass.
    pub(super) debt: u64,
    /// The garbage that the last pass left, or less.
    pub(super) kept_garbage: u64,
}

impl Writer {
    /// Returns a writer that continues after `closed` segments. Creates no file before the first
    /// block.
    pub(crate) fn new(
        disk: Box<dyn Disk>,
        sync: bool,
        segment_bytes: u64,
        start: Anchor,
        closed: Vec<Segment>,
        next_number: u64,
    ) -> Self {
        Self {
            disk,
            sync,
            segment_bytes,
            start,
            run: None,
            next_number,
            closed: closed.into(),
            current: None,
            torn: false,
            pending: VecDeque::new(),
            pending_bytes: 0,
            spare: Vec::new(),
            dropped: 0,
            unplanned: true,
            removals: 0,
            pass: None,
            rewriting: None,
            debt: 0,
            kept_garbage: 0,
        }
    }

    /// Returns an empty block, with the memory of one that was written: fresh memory costs a page
    /// fault per 4 KiB, and the thread that causes it delays the others.
    pub(crate) fn new_block(&mut self) -> Block {
        let bytes = std::mem::take(&mut self.spare);
        let mut block = empty_block();
        if !bytes.is_empty() {
            block.bytes = bytes;
        }
        block
    }

    /// Adds a block to those that the next [`write`](Self::write) writes.
    pub(crate) fn push(&mut self, block: Block) {
        self.pending_bytes += block.bytes.len();
        self.pending.push_back(block);
    }

    /// Drops the oldest blocks if too many wait.
    ///
    /// Only a failed write does this. A drain of many shards may push more blocks at once, and a
    /// disk that works takes all of them.
    fn drop_oldest(&mut self) {
        while self.pending_bytes > MAX_PENDING && self.pending.len() > 1 {
            if let Some(oldest) = self.pending.pop_front() {
                self.pending_bytes -= oldest.bytes.len();
                self.dropped += oldest.records;
            }
        }
    }

    /// Gives the directory up. Nothing is written, rewritten or deleted from there on, even if a
    /// sweeper still holds the map.
    pub(crate) fn close(&mut self) {
        self.closed.clear();
        (self.current, self.pass, self.rewriting) = (None, None, None);
        self.drop_pending();
        self.disk.release();
    }

    /// Drops the blocks that are not on disk, because all ids are removed.
    pub(crate) fn drop_pending(&mut self) {
        self.pending.clear();
        self.pending_bytes = 0;
    }

    /// Writes all blocks. After an error, the rest is kept for the next call.
    pub(crate) fn write(&mut self, now: Anchor) -> io::Result<()> {
        while let Some(mut block) = self.pending.pop_front() {
            let written = self.write_block(&mut block, now);
            if written.is_err() {
                self.pending.push_front(block);
                self.drop_oldest();
                return written;
            }
            self.pending_bytes -= block.bytes.len();
            if block.bytes.capacity() <= MAX_SPARE {
                block.bytes.truncate(BLOCK_HEADER);
                self.spare = block.bytes;
            }
        }
        Ok(())
    }

    fn write_block(&mut self, block: &mut Block, now: Anchor) -> io::Result<()> {
        let mut segment = self.segment(block.bytes.len() as u64)?;
        seal_block(&mut block.bytes, now);
        // Until the block is known to be on disk.
        self.torn = true;
        self.disk.append(&block.bytes)?;
        if self.sync {
            self.disk.sync()?;
        }
        self.torn = false;
        segment.bytes += block.bytes.len() as u64;
        segment.inserts.merge(block.inserts);
        self.removals += block.records - block.inserts.count;
        self.current = Some(segment);
        if self.pass.is_some() {
            self.debt += PER_BYTE * block.bytes.len() as u64;
        }
        Ok(())
    }

    /// Returns the segment to append a block of this size to, in a state that allows it.
    fn segment(&mut self, bytes: u64) -> io::Result<Segment> {
        if let Some(segment) = self.current {
            if self.torn {
                self.disk.cut(segment.number, segment.bytes)?;
                self.torn = false;
            }
            // A block that is larger than a segment has one of its own.
            let is_empty = segment.bytes == HEADER as u64;
            if is_empty || segment.bytes + bytes <= self.segment_bytes {
                return Ok(segment);
            }
            if !self.sync {
                // Only the last segment may end in a torn block.
                self.disk.sync()?;
            }
            self.closed.push_back(segment);
            self.current = None;
            self.unplanned = true;
        }
        let number = self.next_number;
        let run = self.run.unwrap_or(number);
        let header = Header {
            kind: Kind::Segment,
            is_unsynchronised: !self.sync,
            number,
            run,
            start: self.start,
        };
        // A failure leaves a file that the next attempt replaces.
        self.disk.create(number)?;
        self.disk.append(&header.encode())?;
        self.disk.sync()?;
        self.torn = false;
        self.run = Some(run);
        self.next_number += 1;
        let segment = Segment {
            number,
            run,
            bytes: HEADER as u64,
            inserts: Inserts::default(),
        };
        self.current = Some(segment);
        Ok(segment)
    }

    /// Synchronises what was written without it.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        match self.current {
            Some(_) if !self.torn => self.disk.sync(),
            _ => Ok(()),
        }
    }

    /// Deletes the oldest segments, as long as all of their ids were recorded at `cutoff` or
    /// before, and so are not live.
    ///
    /// Only a prefix is deleted: the removal of an id is in a later segment than its insertion.
    pub(crate) fn delete_until(&mut self, cutoff: Nanos) -> io::Result<()> {
        while let Some(segment) = self.closed.front() {
            if segment.inserts.newest > cutoff {
                break;
            }
            self.disk.delete(segment.number)?;
            self.closed.pop_front();
        }
        Ok(())
    }

    pub(crate) fn has_closed(&self) -> bool {
        !self.closed.is_empty()
    }

    /// Returns `true` if so much has changed that a [`plan`](Self::plan) may find garbage.
    pub(crate) fn is_unplanned(&self) -> bool {
        let inserts = self.closed.iter().map(|segment| segment.inserts.count);
        self.unplanned || (self.removals > 16 && self.removals > inserts.sum::<u64>() / 16)
    }

    /// Returns `true` if there may be something to [`compact`](Self::compact).
    pub(crate) fn is_untidy(&self) -> bool {
        self.pass.is_some() || self.is_unplanned()
    }

    /// Returns the size of all segments.
    pub(crate) fn bytes(&self) -> u64 {
        let segments = self.closed.iter().chain(&self.current);
        segments.map(|segment| segment.bytes).sum()
    }
}

/// Returns an empty block.
pub(crate) fn empty_block() -> Block {
    Block {
        bytes: new_block(),
        records: 0,
        inserts: Inserts::default(),
    }
}
