//! `Line` and `Table`: one array of the index.
//!
//! A line is what one cache miss brings: 64 bytes, fifteen slots of 32 bits, and a word on the line itself. A slot holds a
//! place in the slab and, in the bits that the places of the table do not need, a tag: bits of the hash. All slots are
//! compared at once, in a way of which compilers make vector instructions. An entry is in the line that its hash chooses
//! or, where that is full, in the first one after it that is not. Each line counts the entries that had to pass it, so
//! that a look ends at the first line that none passed, and a removal leaves no tombstone. (The count is F14's, of Meta's
//! folly.) It counts them by class, eight of them, three bits of the hash: an entry that once found its line full stays
//! where it is when a slot there becomes free, so in a cache that evicts, a quarter of all lines have been passed by
//! something, but few by something of a given class.
//!
//! Lines are chosen by the size of the hash: the lower the hash, the lower the line, in a table of any number of
//! lines. So a table is moved to one of another size from one end to the other.

use super::slab::Place;

const SLOTS: usize = 15;
/// Slots of a line that are filled on average, at most: two thirds.
pub(super) const LOAD: usize = 10;

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line {
    /// The slots, of which the filled ones come first, and others are zero. The last word is no slot, but counts: in the
    /// lowest four bits the filled slots, and above them, three bits for each class, the entries that this line or one
    /// before it was chosen for, and that are in a line after it. A count that has come to its highest value stays
    /// there: it is right or too high.
    words: [u32; SLOTS + 1],
}

const EMPTY: Line = Line {
    words: [0; SLOTS + 1],
};

const FILLED: u32 = 0b1111;
const PASSED: u32 = 0b111;
const CLASSES: u32 = 8;

/// Where the class of a hash is counted: by how many bits from the lowest.
#[inline(always)]
fn class(hash: u32) -> u32 {
    hash % CLASSES * 3 + 4
}

impl Line {
    #[inline(always)]
    fn filled(&self) -> usize {
        (self.words[SLOTS] & FILLED) as usize
    }

    #[inline(always)]
    fn passed(&self, class: u32) -> u32 {
        self.words[SLOTS] >> class & PASSED
    }

    fn has_passed_none(&self) -> bool {
        self.words[SLOTS] <= FILLED
    }

    fn pass(&mut self, class: u32) {
        self.words[SLOTS] += u32::from(self.passed(class) != PASSED) << class;
    }

    fn unpass(&mut self, class: u32) {
        self.words[SLOTS] -= u32::from(self.passed(class) != PASSED) << class;
    }

    /// The words that are `like` where `mask` has bits, laid over each other: nearly always one or none.
    #[inline(always)]
    fn overlaid(&self, like: u32, mask: u32) -> u32 {
        self.words.iter().fold(0, |all, &word| {
            all | if word & mask == like { word } else { 0 }
        })
    }

    /// The slot of a word.
    #[inline(always)]
    fn slot(&self, word: u32) -> Option<usize> {
        // No slot has the same word as another, but the last word may be any. Were the numbers lower, compilers would treat
        // some of them apart, and not make vectors of all.
        const FIRST: u32 = 17;
        const LAST: u32 = FIRST + SLOTS as u32 - 1;
        let numbered = self.words.iter().zip(FIRST..);
        match numbered
            .map(|(&it, number)| if it == word { number } else { 0 })
            .fold(0, u32::wrapping_add)
        {
            0 => None,
            number @ FIRST..=LAST => Some((number - FIRST) as usize),
            _ => self.words[..SLOTS].iter().position(|&it| it == word),
        }
    }

    /// Fills a slot, if one is free.
    #[inline(always)]
    fn insert(&mut self, word: u32) -> bool {
        let filled = self.filled();
        let is_free = filled < SLOTS;
        if is_free {
            self.words[filled] = word;
            self.words[SLOTS] += 1;
        }
        is_free
    }

    /// Empties a slot, into which the last one goes.
    #[inline(always)]
    fn remove(&mut self, slot: usize) {
        self.words[SLOTS] -= 1;
        let last = self.filled();
        self.words[slot] = self.words[last];
        self.words[last] = 0;
    }
}

/// What a look into the line that a hash chooses tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Glance {
    Found(Place),
    /// No entry has the hash.
    Missing,
    /// A slot with the tag is another entry's, or something passed the line.
    Unclear,
}

/// So many lines, of which those from `lines.len()` on are empty and not yet allocated.
pub(super) struct Table {
    lines: Vec<Line>,
    count: usize,
    /// The bits of a word that are the place's. The next one is set, so that no filled slot is zero; the tag is above.
    bits: u32,
}

impl Table {
    /// A table of `count` lines. It allocates, and touches nothing.
    pub(super) fn new(count: usize) -> Self {
        // Two more entries for each line may come: one while the table is being moved to, and one while it is being left.
        let places = (count as u64 * (LOAD as u64 + 2)).next_power_of_two();
        Self {
            lines: Vec::with_capacity(count),
            count,
            bits: places.ilog2().min(31),
        }
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

    /// What the words of entries with this hash have above the place. The line is chosen by the highest bits.
    #[inline(always)]
    fn tag(&self, hash: u32) -> u32 {
        (hash << 1 | 1) << self.bits
    }

    #[inline(always)]
    fn word(&self, hash: u32, place: Place) -> u32 {
        debug_assert!(
            u64::from(place) < 1 << self.bits,
            "places are below what the table was made for"
        );
        self.tag(hash) | place
    }

    #[inline(always)]
    fn tag_mask(&self) -> u32 {
        !0 << self.bits
    }

    /// What the line that this hash chooses tells of the entry of which `is` says that it is the one. It may be asked of
    /// places that there are not.
    #[inline(always)]
    pub(super) fn glance(&self, hash: u32, is: impl Fn(Place) -> bool) -> Glance {
        let Some(line) = self.lines.get(self.home(hash)) else {
            return Glance::Missing;
        };
        let mask = self.tag_mask();
        let found = line.overlaid(self.tag(hash), mask);
        if found == 0 {
            return if line.passed(class(hash)) == 0 {
                Glance::Missing
            } else {
                Glance::Unclear
            };
        }
        let place = found & !mask;
        if is(place) {
            Glance::Found(place)
        } else {
            Glance::Unclear
        }
    }

    /// The place of an entry with this hash of which `is` says that it is the one, where a glance does not tell it.
    #[inline(never)]
    pub(super) fn search(&self, hash: u32, is: impl Fn(Place) -> bool) -> Option<Place> {
        let (tag, mask) = (self.tag(hash), self.tag_mask());
        for at in self.ways(hash) {
            let line = self.lines.get(at)?;
            let found = line.overlaid(tag, mask);
            if found != 0 {
                let alike = line.words[..SLOTS]
                    .iter()
                    .filter(|&word| word & mask == tag);
                let place = [found]
                    .iter()
                    .chain(alike)
                    .map(|word| word & !mask)
                    .find(|&place| is(place));
                if place.is_some() {
                    return place;
                }
            }
            if line.passed(class(hash)) == 0 {
                return None;
            }
        }
        None
    }

    /// The lines in which an entry may be, in their order.
    fn ways(&self, hash: u32) -> impl Iterator<Item = usize> + use<> {
        let home = self.home(hash);
        (home..self.count).chain(0..home)
    }

    /// Adds an entry. There must be a free slot in some line.
    #[inline(always)]
    pub(super) fn insert(&mut self, hash: u32, place: Place) {
        let word = self.word(hash, place);
        let mut at = self.home(hash);
        loop {
            if at >= self.lines.len() {
                self.lines.resize(at + 1, EMPTY);
            }
            let line = &mut self.lines[at];
            if line.insert(word) {
                return;
            }
            line.pass(class(hash));
            at = self.after(at);
        }
    }

    /// Removes an entry.
    #[inline(always)]
    pub(super) fn remove(&mut self, hash: u32, place: Place) {
        let (home, word) = (self.home(hash), self.word(hash, place));
        let line = &mut self.lines[home];
        match line.slot(word) {
            Some(slot) => line.remove(slot),
            None => self.remove_passing(hash, word),
        }
    }

    /// [`remove`](Self::remove), where the entry had to pass its line.
    #[inline(never)]
    fn remove_passing(&mut self, hash: u32, word: u32) {
        for at in self.ways(hash) {
            let line = &mut self.lines[at];
            if let Some(slot) = line.slot(word) {
                return line.remove(slot);
            }
            line.unpass(class(hash));
        }
        unreachable!("every entry is in the index");
    }

    /// Notes that an entry is at another place now.
    pub(super) fn relocated(&mut self, hash: u32, from: Place, to: Place) {
        let (from, to) = (self.word(hash, from), self.word(hash, to));
        let found = self
            .ways(hash)
            .find_map(|at| Some((at, self.lines[at].slot(from)?)));
        let (line, slot) = found.expect("every entry is in the index");
        self.lines[line].words[slot] = to;
    }

    /// Some entry of which the hash chose this line, if there is one: its hash and its place.
    pub(super) fn any_of(
        &self,
        home: usize,
        hash_of: impl Fn(Place) -> u32,
    ) -> Option<(u32, Place)> {
        let mut at = home;
        for _ in 0..self.count {
            let line = self.lines.get(at)?;
            let places = line.words[..line.filled()]
                .iter()
                .map(|word| word & !self.tag_mask());
            let mut entries = places.map(|place| (hash_of(place), place));
            if let Some(entry) = entries.find(|&(hash, _)| self.home(hash) == home) {
                return Some(entry);
            }
            if line.has_passed_none() {
                return None;
            }
            at = self.after(at);
        }
        None
    }

    /// Checks that `passed` is what the entries, of which the hash can be asked, make it; the number of entries.
    pub(super) fn validate(&self, hash_of: impl Fn(Place) -> u32) -> usize {
        let mut passed = vec![[0_u32; CLASSES as usize]; self.lines.len()];
        let mut entries = 0;
        for (at, line) in self.lines.iter().enumerate() {
            let (filled, free) = line.words[..SLOTS].split_at(line.filled());
            assert!(free.iter().all(|&word| word == 0), "nothing in a free slot");
            entries += filled.len();
            for &word in filled {
                let place = word & !self.tag_mask();
                let hash = hash_of(place);
                assert_eq!(word, self.word(hash, place), "the word of an entry");
                let passing = self.ways(hash).take_while(|&way| way != at);
                passing.for_each(|way| passed[way][(hash % CLASSES) as usize] += 1);
            }
        }
        for (line, passed) in self.lines.iter().zip(passed) {
            let is_right = |(&there, class): (&u32, u32)| {
                [PASSED, there].contains(&line.passed(self::class(class)))
            };
            assert!(
                passed.iter().zip(0..).all(is_right),
                "what passed each line"
            );
        }
        entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_found_in_every_slot_and_nowhere_else() {
        for slot in 0..SLOTS {
            let mut line = EMPTY;
            line.words[slot] = 7 << 8 | 3;
            assert_eq!(line.overlaid(7 << 8, !0xff), 7 << 8 | 3);
            assert_eq!(line.overlaid(6 << 8, !0xff), 0);
            assert_eq!(line.slot(7 << 8 | 3), Some(slot));
            assert_eq!(line.slot(7 << 8 | 2), None);
            // The word that is no slot may be the same.
            line.words[SLOTS] = 7 << 8 | 3;
            assert_eq!(line.slot(7 << 8 | 3), Some(slot));
            line.words[SLOTS] = 7 << 8 | 2;
            assert_eq!(line.slot(7 << 8 | 2), None);
        }
    }

    #[test]
    fn entries_of_one_tag_are_told_apart() {
        let mut table = Table::new(1);
        (0..SLOTS as Place).for_each(|place| table.insert(u32::MAX, place));
        for place in 0..SLOTS as Place {
            assert_eq!(
                table.glance(u32::MAX, |at| at == place && place == 15),
                Glance::Unclear
            );
            assert_eq!(table.search(u32::MAX, |at| at == place), Some(place));
        }
        assert_eq!(table.search(u32::MAX, |_| false), None);
        assert_eq!(table.glance(u32::MAX - 1, |_| true), Glance::Missing);
    }

    #[test]
    fn a_look_goes_on_past_lines_that_were_full_once() {
        let mut table = Table::new(3);
        // All of these choose the last line, and the table goes round.
        let hashes: Vec<u32> = (0..36).map(|n| u32::MAX - 255 * n).collect();
        for (place, &hash) in hashes.iter().enumerate() {
            table.insert(hash, place as Place);
        }
        let hash_of = |place: Place| hashes[place as usize];
        assert_eq!(table.validate(hash_of), 36);
        for (place, &hash) in hashes.iter().enumerate() {
            let place = place as Place;
            assert_eq!(table.search(hash, |at| at == place), Some(place));
            table.remove(hash, place);
            assert_eq!(table.validate(hash_of), 35 - place as usize);
        }
        assert!(table.lines.iter().all(Line::has_passed_none));
    }

    #[test]
    fn a_count_that_came_to_its_highest_value_stays_there() {
        let mut table = Table::new(3);
        // All of one line and one class.
        let hashes: Vec<u32> = (0..36).map(|n| u32::MAX - 256 * n).collect();
        for (place, &hash) in hashes.iter().enumerate() {
            table.insert(hash, place as Place);
        }
        let hash_of = |place: Place| hashes[place as usize];
        for (place, &hash) in hashes.iter().enumerate() {
            table.remove(hash, place as Place);
            assert_eq!(table.validate(hash_of), 35 - place);
        }
        assert_eq!(table.lines[2].passed(class(u32::MAX)), PASSED);
        assert_eq!(table.glance(u32::MAX, |_| true), Glance::Unclear);
        assert_eq!(table.search(u32::MAX, |_| true), None);
    }
}
