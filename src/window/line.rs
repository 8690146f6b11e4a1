//! `Line` and `Table`: one array of the index.
//!
//! A line is what one cache miss brings: 64 bytes, ten slots of a 16-bit tag and a 32-bit sequence number, and the
//! newest number that had to overflow into the next line. A slot whose number is not live is free, so nothing is ever
//! erased when entries expire. Seven slots with 32-bit tags would also fit; ten with 16 make the table a third smaller,
//! and confuse two ids once in 6,500 looks, which then costs a comparison and nothing else.
//!
//! The slots of a line are filled in turn, so that numbers go round in it in order of age: the slot whose turn it is
//! holds the oldest, and is free unless the line is full. A new id so looks at one number of ten. Removal and packing
//! may leave others free; they are looked for only where the one whose turn it is is taken.
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
    tags: [u16; SLOTS],
    state: State,
    seqs: [Seq; SLOTS],
}

const EMPTY: Line = Line { tags: [0; SLOTS], state: State(0), seqs: [0; SLOTS] };

/// The numbers that count as live: `from` and those after it, and never 0.
#[derive(Clone, Copy)]
pub(crate) struct Live {
    pub(crate) from: Seq,
    pub(crate) len: u32,
}

impl Live {
    #[inline]
    pub(crate) fn between(from: Seq, to: Seq) -> Self {
        Self { from, len: to.wrapping_sub(from) }
    }

    #[inline]
    pub(crate) fn contains(self, seq: Seq) -> bool {
        (seq != 0) & (seq.wrapping_sub(self.from) < self.len)
    }
}

/// What a line knows beside its slots: which of them is to be filled next, and what had to overflow.
///
/// The lowest four bits are the slot whose turn it is. The upper 22 are the newest number that overflowed into the next
/// line, in units of 1,024. The six between are set by the hashes of those that did, so that only every few searches
/// have to go on there; they are forgotten once that number has left.
#[derive(Clone, Copy)]
struct State(u32);

impl State {
    const TURN: u32 = 0xf;
    const HASHES: u32 = 0x3f0;
    const UNIT: u32 = 10;

    #[inline]
    fn turn(self) -> usize {
        (self.0 & Self::TURN) as usize
    }

    #[inline]
    fn pass_turn_after(&mut self, slot: usize) {
        let next = if slot + 1 == SLOTS { 0 } else { slot as u32 + 1 };
        self.0 = self.0 & !Self::TURN | next;
    }

    /// The bit of a hash, by some of its bits that choose neither line nor tag.
    #[inline]
    fn bit(hash: u64) -> u32 {
        0x10 << ((((hash >> 16) & 0xff) * 6) >> 8)
    }

    /// Whether an entry with such a hash may have overflowed and be live.
    #[inline]
    fn overflowed(self, hash: u64, live: Live) -> bool {
        (self.0 & Self::bit(hash) != 0) & self.is_live(live)
    }

    #[inline]
    fn is_live(self, live: Live) -> bool {
        Self::age(self.0, live) <= Self::age(live.from.wrapping_add(live.len), live)
    }

    /// How many units a number lies after the oldest live one.
    #[inline]
    fn age(seq: Seq, live: Live) -> u32 {
        (seq >> Self::UNIT).wrapping_sub(live.from >> Self::UNIT) & (u32::MAX >> Self::UNIT)
    }

    /// Notes that `seq`, which is live, overflows.
    fn overflow(&mut self, hash: u64, seq: Seq, live: Live) {
        let (newest, hashes) = match self.is_live(live) {
            true if Self::age(self.0, live) >= Self::age(seq, live) => (self.0, self.0),
            true => (seq, self.0),
            false => (seq, 0),
        };
        let newest = newest >> Self::UNIT << Self::UNIT;
        self.0 = newest | hashes & Self::HASHES | Self::bit(hash) | self.0 & Self::TURN;
    }
}

impl Line {
    /// The slots with this tag, a bit each, live or not.
    ///
    /// Without a branch: one that depended on what the line holds could not be predicted, and the processor would wait
    /// for the line before it goes on to the next call's.
    #[inline]
    fn tagged(&self, tag: u16) -> u32 {
        let mut same = [0u16; SLOTS];
        for slot in 0..SLOTS {
            same[slot] = if self.tags[slot] == tag { 1 << slot } else { 0 };
        }
        u32::from(same.iter().fold(0, |all, bit| all | bit))
    }

    /// The first live number with this tag for which `is` holds.
    #[inline]
    fn find(&self, tag: u16, live: Live, is: &mut impl FnMut(Seq) -> bool) -> Option<Seq> {
        let mut candidates = self.tagged(tag);
        while candidates != 0 {
            let seq = self.seqs[candidates.trailing_zeros() as usize];
            if live.contains(seq) && is(seq) {
                return Some(seq);
            }
            candidates &= candidates - 1;
        }
        None
    }

    #[inline]
    fn fill(&mut self, slot: usize, hash: u64, seq: Seq) {
        self.seqs[slot] = seq;
        self.tags[slot] = hash as u16;
    }

    /// Takes the free slot whose turn comes next.
    fn take_next(&mut self, live: Live) -> Option<usize> {
        let turn = self.state.turn();
        let slot = (turn..SLOTS).chain(0..turn).find(|&slot| !live.contains(self.seqs[slot]))?;
        self.state.pass_turn_after(slot);
        Some(slot)
    }

    /// A free slot for an entry that is older than all others: as far from its turn as can be.
    fn take_last(&mut self, live: Live) -> Option<usize> {
        self.seqs.iter().rposition(|&seq| !live.contains(seq))
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

    /// The live number under this hash for which `is` holds.
    #[inline]
    pub(crate) fn find(&self, hash: u64, live: Live, mut is: impl FnMut(Seq) -> bool) -> Option<Seq> {
        let home = self.home(hash);
        let line = self.line(home)?;
        let found = line.find(hash as u16, live, &mut is);
        if found.is_none() && line.state.overflowed(hash, live) {
            return self.find_beyond(home, hash, live, is);
        }
        found
    }

    /// Goes on with a search in the lines after `home`.
    #[cold]
    fn find_beyond(&self, home: usize, hash: u64, live: Live, mut is: impl FnMut(Seq) -> bool) -> Option<Seq> {
        let mut at = self.after(home);
        while at != home {
            let line = self.line(at)?;
            let found = line.find(hash as u16, live, &mut is);
            if found.is_some() || !line.state.overflowed(hash, live) {
                return found;
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
        self.line(self.home(hash)).map_or(0, |line| line.state.0)
    }

    /// Notes the newest number, which is live, under its hash. There must be a free slot in the table.
    #[inline]
    pub(crate) fn insert(&mut self, hash: u64, seq: Seq, live: Live) {
        let line = self.line_mut(self.home(hash));
        let slot = line.state.turn();
        if live.contains(line.seqs[slot]) {
            return self.insert_where(Line::take_next, hash, seq, live);
        }
        line.fill(slot, hash, seq);
        line.state.pass_turn_after(slot);
    }

    /// Notes a number that is older than all others here.
    pub(crate) fn insert_oldest(&mut self, hash: u64, seq: Seq, live: Live) {
        self.insert_where(Line::take_last, hash, seq, live);
    }

    /// Notes a number in the slot that `take` finds in the first line that has a free one.
    #[inline(never)]
    fn insert_where(&mut self, take: fn(&mut Line, Live) -> Option<usize>, hash: u64, seq: Seq, live: Live) {
        let mut at = self.home(hash);
        loop {
            let next = self.after(at);
            let line = self.line_mut(at);
            if let Some(slot) = take(line, live) {
                return line.fill(slot, hash, seq);
            }
            line.state.overflow(hash, seq, live);
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
                line.state.overflow(hash, by, live);
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
