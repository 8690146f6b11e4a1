//! `Line` and `Table`: one array of the index.
//!
//! A line is what one cache miss brings: 64 bytes, ten slots of a 16-bit tag and a 32-bit sequence number, and the
//! newest number that had to overflow into the next line. A slot whose number is not live is free, so nothing is ever
//! erased when entries expire. Seven slots with 32-bit tags would also fit; ten with 16 make the table a third smaller,
//! and confuse two ids once in 6,500 looks, which then costs a comparison and nothing else.
//!
//! The array is cut into segments that are allocated when first written and freed one at a time, so that neither
//! zeroing nor freeing megabytes ever happens inside one call.

use super::ring::Seq;

const SLOTS: usize = 10;
/// Lines in a segment: 16 KiB.
const SEGMENT: usize = 256;

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line {
    seqs: [Seq; SLOTS],
    overflow: Seq,
    tags: [u16; SLOTS],
}

const EMPTY: Line = Line { seqs: [0; SLOTS], overflow: 0, tags: [0; SLOTS] };

/// The numbers that count as live: `from` and those after it, and never 0.
#[derive(Clone, Copy)]
pub(crate) struct Live {
    pub(crate) from: Seq,
    pub(crate) len: u32,
}

impl Live {
    pub(crate) fn between(from: Seq, to: Seq) -> Self {
        Self { from, len: to.wrapping_sub(from) }
    }

    #[inline]
    pub(crate) fn contains(self, seq: Seq) -> bool {
        (seq != 0) & (seq.wrapping_sub(self.from) < self.len)
    }

    /// The newer of two numbers, of which `b` is live.
    fn newer(self, a: Seq, b: Seq) -> Seq {
        if self.contains(a) && a.wrapping_sub(self.from) > b.wrapping_sub(self.from) { a } else { b }
    }
}

/// One array of lines.
#[derive(Default)]
pub(crate) struct Table {
    segments: Vec<Option<Box<[Line]>>>,
    lines: usize,
}

impl Table {
    pub(crate) fn with_lines(lines: usize) -> Self {
        let segments = lines.div_ceil(SEGMENT);
        Self { segments: std::iter::repeat_with(|| None).take(segments).collect(), lines }
    }

    pub(crate) fn lines(&self) -> usize {
        self.lines
    }

    /// The line at which the search for a hash begins, by its upper half.
    #[inline]
    fn home(&self, hash: u64) -> usize {
        ((hash >> 32) * self.lines as u64 >> 32) as usize
    }

    #[inline]
    fn after(&self, line: usize) -> usize {
        if line + 1 == self.lines { 0 } else { line + 1 }
    }

    #[inline]
    fn line(&self, at: usize) -> Option<&Line> {
        Some(&self.segments[at / SEGMENT].as_ref()?[at % SEGMENT])
    }

    fn line_mut(&mut self, at: usize) -> &mut Line {
        let length = SEGMENT.min(self.lines - at / SEGMENT * SEGMENT);
        let segment = self.segments[at / SEGMENT].get_or_insert_with(|| vec![EMPTY; length].into_boxed_slice());
        &mut segment[at % SEGMENT]
    }

    /// The live number under this hash for which `is` holds.
    #[inline]
    pub(crate) fn find(&self, hash: u64, live: Live, mut is: impl FnMut(Seq) -> bool) -> Option<Seq> {
        let (tag, mut at) = (hash as u16, self.home(hash));
        for _ in 0..self.lines {
            let line = self.line(at)?;
            let mut matches = 0_u32;
            for slot in 0..SLOTS {
                matches |= u32::from(line.tags[slot] == tag) << slot;
            }
            while matches != 0 {
                let seq = line.seqs[matches.trailing_zeros() as usize];
                if live.contains(seq) && is(seq) {
                    return Some(seq);
                }
                matches &= matches - 1;
            }
            if !live.contains(line.overflow) {
                return None;
            }
            at = self.after(at);
        }
        None
    }

    /// Reads the line of a hash, so that it is in the cache when it is needed.
    #[inline]
    pub(crate) fn touch(&self, hash: u64) -> Seq {
        if self.lines == 0 {
            return 0;
        }
        self.line(self.home(hash)).map_or(0, |line| line.overflow)
    }

    /// Notes a number, which is live, under its hash. There must be a free slot in the table.
    pub(crate) fn insert(&mut self, hash: u64, seq: Seq, live: Live) {
        let mut at = self.home(hash);
        loop {
            let next = self.after(at);
            let line = self.line_mut(at);
            if let Some(slot) = line.seqs.iter().position(|&seq| !live.contains(seq)) {
                line.seqs[slot] = seq;
                line.tags[slot] = hash as u16;
                return;
            }
            line.overflow = live.newer(line.overflow, seq);
            at = next;
        }
    }

    /// Replaces a number that was noted under this hash: by 0, which is never live, or by another one.
    pub(crate) fn replace(&mut self, hash: u64, seq: Seq, by: Seq, live: Live) {
        let mut at = self.home(hash);
        for _ in 0..self.lines {
            let next = self.after(at);
            let line = self.line_mut(at);
            if let Some(slot) = (0..SLOTS).find(|&slot| line.seqs[slot] == seq && line.tags[slot] == hash as u16) {
                line.seqs[slot] = by;
                return;
            }
            if by != 0 {
                line.overflow = live.newer(line.overflow, by);
            }
            at = next;
        }
        unreachable!("the number was noted under this hash");
    }

    /// Takes over the memory of another table, to be freed with its own.
    pub(crate) fn absorb(&mut self, mut other: Self) {
        self.lines = 0;
        if self.segments.len() < other.segments.len() {
            std::mem::swap(&mut self.segments, &mut other.segments);
        }
        self.segments.append(&mut other.segments);
    }

    /// Frees one segment; whether more are left.
    pub(crate) fn free_some(&mut self) -> bool {
        while let Some(segment) = self.segments.pop() {
            if segment.is_some() {
                return !self.segments.is_empty();
            }
        }
        self.segments = Vec::new();
        false
    }
}
