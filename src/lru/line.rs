//! `Line` and `Table`: one array of the index.
//!
//! A line is what one cache miss brings: 64 bytes, twelve slots of an 8-bit tag and a place in the slab. An entry is in
//! the line that its hash chooses or, where that is full, in the first one after it that is not. Each line counts the
//! entries that had to pass it, so that a look ends at the first line that none passed, and a removal leaves no
//! tombstone. (The count is F14's, of Meta's folly.) It counts them by class, eight of them, three other bits of the
//! hash: an entry that once found its line full stays where it is when a slot there becomes free, so in a cache that
//! evicts, half of all lines have been passed by something, but few by something of a given class.
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
    /// Of each class, four bits each, the entries that this line or one before it was chosen for, and that are in a line
    /// after it. A count that has come to its highest value stays there: it is right or too high.
    passed: u32,
    places: [Place; SLOTS],
}

const EMPTY: Line = Line { tags: [0; SLOTS], passed: 0, places: [0; SLOTS] };

/// The tag of a hash. The line is chosen by the highest bits.
#[inline(always)]
fn tag(hash: u32) -> u8 {
    // Not 0, and not 1 either: see `zero_bytes`.
    (hash as u8).max(2)
}

/// Where the class of a hash is counted: by how many bits from the lowest.
#[inline(always)]
fn class(hash: u32) -> u32 {
    (hash >> 6) & 0b11100
}

const COUNT: u32 = 0b1111;

impl Line {
    #[inline(always)]
    fn passed(&self, class: u32) -> u32 {
        self.passed >> class & COUNT
    }

    #[inline(always)]
    fn pass(&mut self, class: u32) {
        self.passed += u32::from(self.passed(class) != COUNT) << class;
    }

    #[inline(always)]
    fn unpass(&mut self, class: u32) {
        self.passed -= u32::from(self.passed(class) != COUNT) << class;
    }

    /// The slots with this tag, as bits: slot `s` at bit `8 s`, and from slot 8 on at bit `8 (s - 8) + 1`.
    ///
    /// The lowest in each half is right; of those above it, one may be of a tag that differs in the lowest bit. No
    /// free slot is ever among those of an entry's tag.
    #[inline(always)]
    fn with_tag(&self, tag: u8) -> u64 {
        let same = u64::from(tag) * LOW;
        let [a, b, c, d, e, f, g, h, i, j, k, l] = self.tags;
        let first = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        let rest = u32::from_le_bytes([i, j, k, l]);
        zero_bytes(first ^ same) >> 7 | u64::from(zero_bytes_of_half(rest ^ same as u32)) >> 6
    }

    #[inline(always)]
    fn slot(bit: u32) -> usize {
        ((bit >> 3 | bit << 3) & 15) as usize
    }

    /// A slot with this tag of which `is` says that it is the one.
    #[inline(always)]
    fn find(&self, tag: u8, is: impl Fn(Place) -> bool) -> Option<(usize, Place)> {
        let mut candidates = self.with_tag(tag);
        while candidates != 0 {
            let slot = Self::slot(candidates.trailing_zeros());
            let place = self.places[slot];
            if is(place) {
                return Some((slot, place));
            }
            candidates &= candidates - 1;
        }
        None
    }

    #[inline(always)]
    fn free_slot(&self) -> Option<usize> {
        let free = self.with_tag(0);
        (free != 0).then(|| Self::slot(free.trailing_zeros()))
    }
}

const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// The highest bit of each byte that is zero, and perhaps of a byte that is 1 above one that is zero: that is what the
/// borrow makes of it. To be exact would cost half as much again, and a candidate is confirmed by its key anyway.
#[inline(always)]
fn zero_bytes(word: u64) -> u64 {
    word.wrapping_sub(LOW) & !word & HIGH
}

#[inline(always)]
fn zero_bytes_of_half(word: u32) -> u32 {
    word.wrapping_sub(LOW as u32) & !word & HIGH as u32
}

/// An entry in a table.
#[derive(Clone, Copy)]
pub(super) struct Found {
    line: usize,
    slot: usize,
    pub(super) place: Place,
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

    #[inline(always)]
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// The line that is chosen by a hash.
    #[inline(always)]
    pub(super) fn home(&self, hash: u32) -> usize {
        ((u64::from(hash) * self.count as u64) >> 32) as usize
    }

    #[inline(always)]
    fn after(&self, line: usize) -> usize {
        if line + 1 == self.count { 0 } else { line + 1 }
    }

    /// The line and the slot of an entry with this hash of which `is` says that it is the one.
    #[inline(always)]
    pub(super) fn find(&self, hash: u32, is: impl Fn(Place) -> bool + Copy) -> Option<Found> {
        let home = self.home(hash);
        let line = self.lines.get(home)?;
        if let Some((slot, place)) = line.find(tag(hash), is) {
            return Some(Found { line: home, slot, place });
        }
        if line.passed(class(hash)) == 0 { None } else { self.find_after(home, hash, is) }
    }

    /// [`find`](Self::find) in the lines after the one that the hash chooses.
    #[inline(never)]
    fn find_after(&self, home: usize, hash: u32, is: impl Fn(Place) -> bool) -> Option<Found> {
        let mut at = self.after(home);
        while at != home {
            let line = self.lines.get(at)?;
            if let Some((slot, place)) = line.find(tag(hash), &is) {
                return Some(Found { line: at, slot, place });
            }
            if line.passed(class(hash)) == 0 {
                return None;
            }
            at = self.after(at);
        }
        None
    }

    #[inline(always)]
    pub(super) fn set_place(&mut self, Found { line, slot, .. }: Found, place: Place) {
        self.lines[line].places[slot] = place;
    }

    /// Adds an entry. There must be a free slot in some line.
    #[inline(always)]
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
            line.pass(class(hash));
            at = self.after(at);
        }
    }

    /// Removes what [`find`](Self::find) found for this hash.
    #[inline(always)]
    pub(super) fn remove(&mut self, hash: u32, Found { line, slot, .. }: Found) {
        self.lines[line].tags[slot] = 0;
        let mut at = self.home(hash);
        while at != line {
            self.lines[at].unpass(class(hash));
            at = self.after(at);
        }
    }

    /// Some entry of which the hash chose this line, with its hash, if there is one.
    pub(super) fn any_of(&self, home: usize, hash_of: impl Fn(Place) -> u32) -> Option<(u32, Found)> {
        let mut at = home;
        for _ in 0..self.count {
            let line = self.lines.get(at)?;
            for slot in (0..SLOTS).filter(|&slot| line.tags[slot] != 0) {
                let hash = hash_of(line.places[slot]);
                if self.home(hash) == home {
                    return Some((hash, Found { line: at, slot, place: line.places[slot] }));
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
        let mut passed = vec![[0_u32; 8]; self.lines.len()];
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
                passed[at][class(hash) as usize / 4] += 1;
                at = self.after(at);
            }
        }
        for (line, passed) in self.lines.iter().zip(passed) {
            let is_right =
                |class: u32| line.passed(4 * class) == COUNT || line.passed(4 * class) == passed[class as usize];
            assert!((0..8).all(is_right), "what passed each line");
        }
        entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_found_in_every_slot_and_nowhere_else() {
        for slot in 0..SLOTS {
            for (there, others) in [(7, 5), (2, 0), (0, 2), (255, 254), (128, 0), (3, 2)] {
                let mut line = EMPTY;
                line.tags = [others; SLOTS];
                line.tags[slot] = there;
                let bits = line.with_tag(there);
                assert_eq!(Line::slot(bits.trailing_zeros()), slot);
                assert!(bits.count_ones() == 1 || others == there ^ 1, "{there} among {others} in {slot}");
            }
        }
    }

    #[test]
    fn a_free_slot_is_never_taken_for_an_entry() {
        for tag in (0..=255).map(tag) {
            let mut line = EMPTY;
            line.tags[0] = tag;
            assert_eq!(line.with_tag(tag), 1);
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

    #[test]
    fn a_count_that_came_to_its_highest_value_stays_there() {
        let mut table = Table::new(3);
        // All of one line and one class.
        let hashes: Vec<u32> = (0..30).map(|n| u32::MAX - 2048 * n).collect();
        for (place, &hash) in hashes.iter().enumerate() {
            table.insert(hash, place as Place);
        }
        let hash_of = |place: Place| hashes[place as usize];
        for (place, &hash) in hashes.iter().enumerate() {
            let found = table.find(hash, |at| at == place as Place).expect("it is there");
            table.remove(hash, found);
            assert_eq!(table.validate(hash_of), 29 - place);
        }
        assert_eq!(table.lines[2].passed(class(u32::MAX)), COUNT);
        assert!(table.find(u32::MAX, |_| true).is_none());
    }
}
