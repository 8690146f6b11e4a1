//! `Line` and `Table`: one array of the index.
//!
//! A line is what one cache miss brings: 64 bytes, twelve slots of an 8-bit tag and a place in the slab. An entry is in
//! the line that its hash chooses or, where that is full, in the first one after it that is not. Each line counts the
//! entries that had to pass it, so that a look ends at the first line that none passed, and a removal leaves no
//! tombstone. (The count is F14's, of Meta's folly.)
//!
//! Lines are chosen by the size of the hash: the lower the hash, the lower the line, in a table of any number of
//! lines. So a table is moved to one of another size from one end to the other.

use super::slab::Place;

const SLOTS: usize = 12;
/// Slots of a line that are filled on average, at most: three quarters.
pub(super) const LOAD: usize = 9;

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line {
    /// Zero where the slot is free.
    tags: [u8; SLOTS],
    /// Entries that this line or one before it was chosen for, and that are in a line after it.
    passed: u32,
    places: [Place; SLOTS],
}

const EMPTY: Line = Line { tags: [0; SLOTS], passed: 0, places: [0; SLOTS] };

/// The tag of a hash. The line is chosen by the highest bits.
#[inline]
fn tag(hash: u32) -> u8 {
    let tag = hash as u8;
    tag + u8::from(tag == 0)
}

impl Line {
    /// The slots with this tag, as bits: slot `s` at bit `8 s`, and from slot 8 on at bit `8 (s - 8) + 1`.
    #[inline]
    fn with_tag(&self, tag: u8) -> u64 {
        let same = u64::from(tag) * 0x0101_0101_0101_0101;
        let [a, b, c, d, e, f, g, h, i, j, k, l] = self.tags;
        let first = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        let rest = u64::from(u32::from_le_bytes([i, j, k, l]));
        zero_bytes(first ^ same) >> 7 | (zero_bytes(rest ^ same) & 0xffff_ffff) >> 6
    }

    #[inline]
    fn slot(bit: u32) -> usize {
        (bit as usize >> 3) + (bit as usize & 1) * 8
    }

    /// A slot with this tag of which `is` says that it is the one.
    #[inline]
    fn find(&self, tag: u8, is: &mut impl FnMut(Place) -> bool) -> Option<usize> {
        let mut candidates = self.with_tag(tag);
        while candidates != 0 {
            let slot = Self::slot(candidates.trailing_zeros());
            if is(self.places[slot]) {
                return Some(slot);
            }
            candidates &= candidates - 1;
        }
        None
    }

    #[inline]
    fn free_slot(&self) -> Option<usize> {
        let free = self.with_tag(0);
        (free != 0).then(|| Self::slot(free.trailing_zeros()))
    }
}

/// The highest bit of each byte that is zero.
#[inline]
fn zero_bytes(word: u64) -> u64 {
    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    !(((word & LOW) + LOW) | word | LOW)
}

/// So many lines, of which those from `lines.len()` on are empty and not yet allocated.
pub(super) struct Table {
    lines: Vec<Line>,
    count: usize,
}

impl Table {
    /// A table of `count` lines. It allocates, and touches nothing.
    pub(super) fn new(count: usize) -> Self {
        Self { lines: Vec::with_capacity(count), count }
    }

    /// The lines that so many entries need.
    pub(super) fn lines_for(entries: usize) -> usize {
        entries.div_ceil(LOAD).max(1)
    }

    #[inline]
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// The line that is chosen by a hash.
    #[inline]
    pub(super) fn home(&self, hash: u32) -> usize {
        ((u64::from(hash) * self.count as u64) >> 32) as usize
    }

    #[inline]
    fn after(&self, line: usize) -> usize {
        if line + 1 == self.count { 0 } else { line + 1 }
    }

    /// The line and the slot of an entry with this hash of which `is` says that it is the one.
    #[inline]
    pub(super) fn find(&self, hash: u32, mut is: impl FnMut(Place) -> bool) -> Option<(usize, usize)> {
        let tag = tag(hash);
        let mut at = self.home(hash);
        for _ in 0..self.count {
            let line = self.lines.get(at)?;
            if let Some(slot) = line.find(tag, &mut is) {
                return Some((at, slot));
            }
            if line.passed == 0 {
                return None;
            }
            at = self.after(at);
        }
        None
    }

    #[inline]
    pub(super) fn place(&self, (line, slot): (usize, usize)) -> Place {
        self.lines[line].places[slot]
    }

    #[inline]
    pub(super) fn set_place(&mut self, (line, slot): (usize, usize), place: Place) {
        self.lines[line].places[slot] = place;
    }

    /// Adds an entry. There must be a free slot in some line.
    #[inline]
    pub(super) fn insert(&mut self, hash: u32, place: Place) {
        let mut at = self.home(hash);
        loop {
            if at >= self.lines.len() {
                self.lines.resize(at + 1, EMPTY);
            }
            let line = &mut self.lines[at];
            if let Some(slot) = line.free_slot() {
                line.tags[slot] = tag(hash);
                line.places[slot] = place;
                return;
            }
            line.passed += 1;
            at = self.after(at);
        }
    }

    /// Removes what [`find`](Self::find) found for this hash.
    #[inline]
    pub(super) fn remove(&mut self, hash: u32, (line, slot): (usize, usize)) {
        self.lines[line].tags[slot] = 0;
        let mut at = self.home(hash);
        while at != line {
            self.lines[at].passed -= 1;
            at = self.after(at);
        }
    }

    /// Some entry of which the hash chose this line, with its hash, if there is one.
    pub(super) fn any_of(&self, home: usize, hash_of: impl Fn(Place) -> u32) -> Option<(u32, (usize, usize))> {
        let mut at = home;
        for _ in 0..self.count {
            let line = self.lines.get(at)?;
            for slot in (0..SLOTS).filter(|&slot| line.tags[slot] != 0) {
                let hash = hash_of(line.places[slot]);
                if self.home(hash) == home {
                    return Some((hash, (at, slot)));
                }
            }
            if line.passed == 0 {
                return None;
            }
            at = self.after(at);
        }
        None
    }

    /// Checks that `passed` is what the entries, of which the hash can be asked, make it; the number of entries.
    pub(super) fn validate(&self, hash_of: impl Fn(Place) -> u32) -> usize {
        let mut passed = vec![0; self.lines.len()];
        let mut entries = 0;
        for (line, slot) in (0..self.lines.len()).flat_map(|line| (0..SLOTS).map(move |slot| (line, slot))) {
            if self.lines[line].tags[slot] == 0 {
                continue;
            }
            entries += 1;
            let hash = hash_of(self.lines[line].places[slot]);
            assert_eq!(self.lines[line].tags[slot], tag(hash), "the tag of an entry");
            let mut at = self.home(hash);
            while at != line {
                passed[at] += 1;
                at = self.after(at);
            }
        }
        assert!(self.lines.iter().map(|line| line.passed).eq(passed), "what passed each line");
        entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_found_in_every_slot_and_nowhere_else() {
        for slot in 0..SLOTS {
            for (there, others) in [(7, 6), (1, 0), (0, 1), (255, 254), (128, 0)] {
                let mut line = EMPTY;
                line.tags = [others; SLOTS];
                line.tags[slot] = there;
                let bits = line.with_tag(there);
                assert_eq!((bits.count_ones(), Line::slot(bits.trailing_zeros())), (1, slot));
            }
        }
    }

    #[test]
    fn a_look_goes_on_past_lines_that_were_full_once() {
        let mut table = Table::new(3);
        // All of these choose the last line, and the table goes round.
        let hashes: Vec<u32> = (0..30).map(|n| u32::MAX - 256 * n).collect();
        for (place, &hash) in hashes.iter().enumerate() {
            table.insert(hash, place as Place);
        }
        let hash_of = |place: Place| hashes[place as usize];
        assert_eq!(table.validate(hash_of), 30);
        for (place, &hash) in hashes.iter().enumerate() {
            let found = table.find(hash, |at| at == place as Place).expect("it is there");
            table.remove(hash, found);
            assert_eq!(table.validate(hash_of), 29 - place);
        }
        assert!(table.lines.iter().all(|line| line.passed == 0));
    }
}
