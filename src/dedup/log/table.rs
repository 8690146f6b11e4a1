//! `Table`: one array of the index.
//!
//! Owns the lines, and sends what does not fit into one to the next. The array is cut into segments that are allocated when
//! first written and freed one at a time, so that neither zeroing nor freeing megabytes ever happens inside one call.

use super::group::{Grouping, LiveGroups};
use super::line::{EMPTY, Entry, Line, Live};
use super::ring::Seq;

/// Lines in a segment: 16 KiB.
const SEGMENT: usize = 256;

/// One array of lines.
#[derive(Default)]
pub(crate) struct Table {
    segments: Vec<Option<Box<[Line]>>>,
    lines: usize,
    grouping: Grouping,
}

impl Table {
    pub(crate) fn with_lines(lines: usize, grouping: Grouping) -> Self {
        let segments = lines.div_ceil(SEGMENT);
        Self {
            segments: std::iter::repeat_with(|| None).take(segments).collect(),
            lines,
            grouping,
        }
    }

    #[inline]
    pub(crate) fn grouping(&self) -> Grouping {
        self.grouping
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

    /// What a slot holds of a number.
    #[inline]
    fn entry(&self, hash: u64, seq: Seq) -> Entry {
        Entry::new(hash, self.grouping.group(seq))
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

    /// What `search` finds first in the live groups under this hash, of which it is given the first number and how many
    /// there are.
    #[inline]
    pub(crate) fn find(
        &self,
        hash: u64,
        live: Live,
        mut search: impl FnMut(Seq, u32) -> Option<Seq>,
    ) -> Option<Seq> {
        let home = self.home(hash);
        let line = self.line(home)?;
        let found = line.find(hash, live, self.grouping, &mut search);
        if found.is_none() && line.state().overflowed(hash, live, self.grouping) {
            return self.find_beyond(home, hash, live, search);
        }
        found
    }

    /// Goes on with a search in the lines after `home`.
    #[cold]
    fn find_beyond(
        &self,
        home: usize,
        hash: u64,
        live: Live,
        mut search: impl FnMut(Seq, u32) -> Option<Seq>,
    ) -> Option<Seq> {
        let mut at = self.after(home);
        while at != home {
            let line = self.line(at)?;
            let found = line.find(hash, live, self.grouping, &mut search);
            if found.is_some() || !line.state().overflowed(hash, live, self.grouping) {
                return found;
            }
            at = self.after(at);
        }
        None
    }

    /// Reads the line of a hash, so that it is in the cache when it is needed.
    #[inline]
    pub(crate) fn touch(&self, hash: u64) -> u32 {
        if self.lines == 0 {
            return 0;
        }
        self.line(self.home(hash)).map_or(0, Line::word)
    }

    /// Notes the newest number, which is live, under its hash. There must be a free slot in the table.
    #[inline]
    pub(crate) fn insert(&mut self, hash: u64, seq: Seq, live: Live) {
        let (entry, groups) = (self.entry(hash, seq), self.grouping.groups(live));
        if !self.line_mut(self.home(hash)).fill(entry, groups) {
            self.insert_next(hash, seq, live);
        }
    }

    #[cold]
    fn insert_next(&mut self, hash: u64, seq: Seq, live: Live) {
        self.insert_by(Line::fill_next, hash, seq, live);
    }

    /// Notes a number that is older than all others here.
    pub(crate) fn insert_oldest(&mut self, hash: u64, seq: Seq, live: Live) {
        self.insert_by(Line::fill_last, hash, seq, live);
    }

    /// Notes a number in the first line from its home on that `fill` can fill.
    fn insert_by(
        &mut self,
        fill: impl Fn(&mut Line, Entry, LiveGroups) -> bool,
        hash: u64,
        seq: Seq,
        live: Live,
    ) {
        let (entry, groups) = (self.entry(hash, seq), self.grouping.groups(live));
        let mut at = self.home(hash);
        loop {
            let next = self.after(at);
            let line = self.line_mut(at);
            if fill(line, entry, groups) {
                return;
            }
            line.overflow(entry, groups);
            at = next;
        }
    }

    /// Forgets a number that was noted under this hash.
    pub(crate) fn remove(&mut self, hash: u64, seq: Seq) {
        self.replace_entry(hash, self.entry(hash, seq), Entry::NONE, |_| {});
    }

    /// Replaces a number that was noted under this hash by another one, which is live.
    pub(crate) fn replace(&mut self, hash: u64, seq: Seq, by: Seq, live: Live) {
        let (entry, by, groups) = (
            self.entry(hash, seq),
            self.entry(hash, by),
            self.grouping.groups(live),
        );
        self.replace_entry(hash, entry, by, |passed| passed.overflow(by, groups));
    }

    fn replace_entry(&mut self, hash: u64, entry: Entry, by: Entry, pass: impl Fn(&mut Line)) {
        let mut at = self.home(hash);
        for _ in 0..self.lines {
            let next = self.after(at);
            let line = self.line_mut(at);
            if line.replace(entry, by) {
                return;
            }
            pass(line);
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
