//! `Line` and `Table`: one array of the index.
//!
//! A line is what one cache miss brings: 64 bytes, ten slots of a 16-bit tag and a 32-bit sequence number, and the
//! newest number that had to overflow into the next line. A slot whose number is not live is free, so nothing is ever
//! erased when entries expire. Seven slots with 32-bit tags would also fit; ten with 16 make the table a third smaller,
//! and confuse two ids once in 6,500 looks, which then costs a comparison and nothing else.
//!
//! Tags apart from the numbers were tried too: a new id then reads 5 bytes an id in place of 12. But the number has to be
//! written all the same, to a line that is in no cache, and single inserts took as long, batches twice as long.
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

impl Line {
    /// The slots with this tag whose number is live, and those whose number is not, a bit each.
    ///
    /// Without a branch: one that depended on what the line holds could not be predicted, and the processor would wait
    /// for the line before it goes on to the next call's.
    #[inline]
    fn scan(&self, tag: u16, live: Live) -> (u32, u32) {
        let (mut same, mut free) = (0, 0);
        for slot in 0..SLOTS {
            same |= u32::from(self.tags[slot] == tag) << slot;
            free |= u32::from(!live.contains(self.seqs[slot])) << slot;
        }
        (same & !free, free)
    }

    /// The first number among the candidates for which `is` holds.
    #[inline]
    fn confirm(&self, mut candidates: u32, is: &mut impl FnMut(Seq) -> bool) -> Option<Seq> {
        while candidates != 0 {
            let seq = self.seqs[candidates.trailing_zeros() as usize];
            if is(seq) {
                return Some(seq);
            }
            candidates &= candidates - 1;
        }
        None
    }
}

/// A free slot that a search came by.
#[derive(Clone, Copy)]
pub(crate) struct Vacancy {
    line: u32,
    slot: u8,
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
        (((hash >> 32) * self.lines as u64) >> 32) as usize
    }

    #[inline]
    fn after(&self, line: usize) -> usize {
        if line + 1 == self.lines { 0 } else { line + 1 }
    }

    #[inline]
    fn line(&self, at: usize) -> Option<&Line> {
        self.segments.get(at / SEGMENT)?.as_ref()?.get(at % SEGMENT)
    }

    #[inline]
    fn line_mut(&mut self, at: usize) -> &mut Line {
        let segment = &mut self.segments[at / SEGMENT];
        if segment.is_none() {
            let length = SEGMENT.min(self.lines - at / SEGMENT * SEGMENT);
            *segment = Some(vec![EMPTY; length].into_boxed_slice());
        }
        &mut segment.as_mut().expect("it was just made")[at % SEGMENT]
    }

    /// The live number under this hash for which `is` holds; else a free slot of its home line, if there is one.
    #[inline]
    pub(crate) fn find(&self, hash: u64, live: Live, mut is: impl FnMut(Seq) -> bool) -> Result<Seq, Option<Vacancy>> {
        let home = self.home(hash);
        let Some(line) = self.line(home) else { return Err(None) };
        let (candidates, free) = line.scan(hash as u16, live);
        if candidates != 0
            && let Some(seq) = line.confirm(candidates, &mut is)
        {
            return Ok(seq);
        }
        if live.contains(line.overflow)
            && let Some(seq) = self.find_beyond(home, hash, live, is)
        {
            return Ok(seq);
        }
        Err((free != 0).then(|| Vacancy { line: home as u32, slot: free.trailing_zeros() as u8 }))
    }

    /// Goes on with a search in the lines after `home`.
    #[cold]
    fn find_beyond(&self, home: usize, hash: u64, live: Live, mut is: impl FnMut(Seq) -> bool) -> Option<Seq> {
        let mut at = self.after(home);
        while at != home {
            let line = self.line(at)?;
            let (candidates, _) = line.scan(hash as u16, live);
            if let Some(seq) = line.confirm(candidates, &mut is) {
                return Some(seq);
            }
            if !live.contains(line.overflow) {
                return None;
            }
            at = self.after(at);
        }
        None
    }

    /// Notes a number, which is live, in a slot that was found free and still is.
    #[inline]
    pub(crate) fn fill(&mut self, vacancy: Vacancy, hash: u64, seq: Seq) {
        let line = self.line_mut(vacancy.line as usize);
        let slot = usize::from(vacancy.slot) % SLOTS;
        line.seqs[slot] = seq;
        line.tags[slot] = hash as u16;
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
            let (_, free) = line.scan(hash as u16, live);
            if free != 0 {
                return self.fill(Vacancy { line: at as u32, slot: free.trailing_zeros() as u8 }, hash, seq);
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

    /// Whether any memory is held.
    pub(crate) fn is_empty(&self) -> bool {
        self.segments.is_empty()
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
