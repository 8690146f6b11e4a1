//! `Line`: what one cache miss of the index brings.
//!
//! 64 bytes: twenty slots of three bytes, and four for what the line knows beside them. A slot has the *group* of an
//! entry's number, 64 or more consecutive ones, and eight bits of its hash, the tag. Which of the group it is, the ring
//! finds out by eight more bits that it keeps there for each (see `block.rs`). What counts is how much of the index there
//! is: it is read at random, and does not fit into any cache. Whole numbers with a tag of 16 bits would fit ten times,
//! groups of 22 bits with a tag of ten fifteen times. Tags confuse two ids once in twenty looks, which then
//! costs a look at a group of hints, and once in four of those a look at a key.
//!
//! A slot whose group is not live is free, so nothing is ever erased when entries expire. The slots of a line are filled
//! in turn, so that they go round in it in order of age: the slot whose turn it is holds the oldest, and is free unless
//! the line is full. A new id so looks at one group of twenty. Removal and packing may leave others free; they are looked
//! for only where the one whose turn it is is taken.

use super::group::{Grouping, LiveGroups, UNIT, UNIT_BITS};
use super::ring::Seq;

const SLOTS: usize = 20;

#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Line {
    groups: [u16; SLOTS],
    tags: [u8; SLOTS],
    state: State,
}

pub(super) const EMPTY: Line = Line {
    groups: [0; SLOTS],
    tags: [0; SLOTS],
    state: State(0),
};

const _: () = assert!(size_of::<Line>() == 64);

/// What a slot holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    group: u16,
    tag: u8,
}

impl Entry {
    /// Of a removed entry.
    pub(super) const NONE: Self = Self { group: 0, tag: 0 };

    #[inline]
    pub(super) fn new(hash: u64, group: u16) -> Self {
        Self {
            group,
            tag: tag(hash),
        }
    }
}

/// The numbers that count as live: `from` and those after it.
#[derive(Clone, Copy)]
pub(crate) struct Live {
    pub(crate) from: Seq,
    pub(crate) len: u32,
}

impl Live {
    #[inline]
    pub(crate) fn between(from: Seq, to: Seq) -> Self {
        Self {
            from,
            len: to.wrapping_sub(from),
        }
    }

    #[inline]
    pub(crate) fn contains(self, seq: Seq) -> bool {
        seq.wrapping_sub(self.from) < self.len
    }
}

impl Line {
    /// Some word of it, to have it read.
    #[inline]
    pub(super) fn word(&self) -> u32 {
        self.state.0
    }

    #[inline]
    pub(super) fn state(&self) -> State {
        self.state
    }

    /// Whether any slot has the tag of this hash, live or not.
    ///
    /// Without a branch: one that depended on what the line holds could not be predicted, and the processor would wait
    /// for the line before it goes on to the next call's.
    #[inline]
    fn has_tag(&self, hash: u64) -> bool {
        self.tags
            .iter()
            .fold(false, |any, &its| any | (its == tag(hash)))
    }

    /// What `search` finds first in the live groups with the tag of this hash, of which it is given the first number
    /// and how many there are.
    #[inline]
    pub(super) fn find(
        &self,
        hash: u64,
        live: Live,
        grouping: Grouping,
        search: &mut impl FnMut(Seq, u32) -> Option<Seq>,
    ) -> Option<Seq> {
        if !self.has_tag(hash) {
            return None;
        }
        let groups = grouping.groups(live);
        let mut tagged = self.tagged(hash);
        let mut searched = 0;
        while tagged != 0 {
            let group = self.groups[tagged.trailing_zeros() as usize];
            // Entries of equal hashes that came together have equal slots: one search finds any of them.
            if groups.contains(group) && group != searched {
                searched = group;
                let found = search(grouping.first(group, live), grouping.size());
                if found.is_some() {
                    return found;
                }
            }
            tagged &= tagged - 1;
        }
        None
    }

    /// The slots that have the tag of this hash, a bit each.
    fn tagged(&self, hash: u64) -> u32 {
        let tagged = |(at, &its): (usize, &u8)| u32::from(its == tag(hash)) << at;
        self.tags
            .iter()
            .enumerate()
            .map(tagged)
            .fold(0, |all, bit| all | bit)
    }

    /// Fills the slot whose turn it is; whether it was free.
    #[inline]
    pub(super) fn fill(&mut self, entry: Entry, live: LiveGroups) -> bool {
        let turn = self.state.turn();
        let free = self
            .groups
            .get(turn)
            .is_some_and(|&group| !live.contains(group));
        if free {
            self.set(turn, entry);
            self.state.set_turn_after(turn);
        }
        free
    }

    /// Fills the free slot whose turn comes next; whether there was one.
    pub(super) fn fill_next(&mut self, entry: Entry, live: LiveGroups) -> bool {
        let turn = self.state.turn();
        let free = (turn..SLOTS)
            .chain(0..turn)
            .find(|&free| !live.contains(self.groups[free]));
        if let Some(free) = free {
            self.set(free, entry);
            self.state.set_turn_after(free);
        }
        free.is_some()
    }

    /// Fills the free slot that is farthest from its turn, since the entry is older than all others; whether there was
    /// one.
    pub(super) fn fill_last(&mut self, entry: Entry, live: LiveGroups) -> bool {
        let free = self.groups.iter().rposition(|&group| !live.contains(group));
        if let Some(free) = free {
            self.set(free, entry);
        }
        free.is_some()
    }

    /// Replaces what a slot holds; whether there was such a slot.
    pub(super) fn replace(&mut self, entry: Entry, by: Entry) -> bool {
        let mut entries = self.groups.iter().zip(&self.tags);
        let found = entries.position(|(&group, &tag)| Entry { group, tag } == entry);
        if let Some(at) = found {
            self.set(at, by);
        }
        found.is_some()
    }

    #[inline]
    fn set(&mut self, at: usize, entry: Entry) {
        (self.groups[at], self.tags[at]) = (entry.group, entry.tag);
    }

    /// Notes that an entry of a live group overflows.
    pub(super) fn overflow(&mut self, entry: Entry, live: LiveGroups) {
        self.state = self.state.with_overflow(entry, live);
    }
}

#[inline]
fn tag(hash: u64) -> u8 {
    hash as u8
}

/// What a line knows beside its slots: which of them is to be filled next, and what had to overflow.
///
/// The lowest five bits are the slot whose turn it is. The highest seven are the newest group that may have overflowed
/// into the next line, in [`UNIT`]s of groups. The twenty between are set by the tags of those that did, so that only every
/// few searches have to go on there; they are forgotten once that group has left.
///
/// By tags and groups, and nothing else: two entries of one group and one tag have equal slots, and which of the two slots
/// is whose must not matter.
#[derive(Clone, Copy)]
pub(super) struct State(u32);

impl State {
    const TAGS_FROM: u32 = 5;
    const NEWEST_FROM: u32 = u32::BITS - UNIT_BITS;
    const TURN: u32 = (1 << Self::TAGS_FROM) - 1;
    const TAGS: u32 = (1 << Self::NEWEST_FROM) - (1 << Self::TAGS_FROM);

    #[inline]
    fn turn(self) -> usize {
        (self.0 & Self::TURN) as usize
    }

    #[inline]
    fn set_turn_after(&mut self, slot: usize) {
        let next = if slot + 1 == SLOTS {
            0
        } else {
            slot as u32 + 1
        };
        self.0 = self.0 & !Self::TURN | next;
    }

    #[inline]
    fn bit(tag: u8) -> u32 {
        1 << (Self::TAGS_FROM + ((u32::from(tag) * Self::TAGS.count_ones()) >> u8::BITS))
    }

    /// Whether an entry with such a hash may have overflowed and be live.
    #[inline]
    pub(super) fn overflowed(self, hash: u64, live: Live, grouping: Grouping) -> bool {
        self.0 & Self::bit(tag(hash)) != 0 && self.is_live(grouping.groups(live))
    }

    fn newest(self) -> u32 {
        self.0 >> Self::NEWEST_FROM
    }

    fn is_live(self, live: LiveGroups) -> bool {
        self.0 & Self::TAGS != 0 && live.age_of_unit(self.newest()) <= live.last_age()
    }

    fn with_overflow(self, entry: Entry, live: LiveGroups) -> Self {
        let unit = u32::from(entry.group) / UNIT;
        let (newest, tags) = match self.is_live(live) {
            true if live.age_of_unit(self.newest()) >= live.age_of_unit(unit) => {
                (self.newest(), self.0)
            }
            true => (unit, self.0),
            false => (unit, 0),
        };
        Self(
            newest << Self::NEWEST_FROM
                | tags & Self::TAGS
                | Self::bit(entry.tag)
                | self.0 & Self::TURN,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_overflowed_is_known_until_it_has_left_and_forgotten_soon_after() {
        let (grouping, hash) = (Grouping::default(), 0xab);
        let numbers = |groups: u32| groups * grouping.size();
        let most = (0..=u32::from(u16::MAX))
            .rev()
            .find(|&groups| grouping.spans(numbers(groups)))
            .expect("some");
        for from in (0..1 << 16).step_by(997) {
            for span in [1, 2, UNIT, 5 * UNIT + 1, most] {
                for newest in [0, span / 3, span - 1] {
                    let live = |gone| Live {
                        from: numbers(from + gone),
                        len: numbers(span),
                    };
                    let entry = |hash, at| Entry::new(hash, grouping.group(numbers(from + at)));
                    let (last, older) = (entry(hash, newest), entry(hash, newest / 2));
                    let mut state = State(0);
                    for entry in [older, last, older] {
                        state = state.with_overflow(entry, grouping.groups(live(0)));
                    }
                    for gone in [0, newest / 2, newest] {
                        assert!(
                            state.overflowed(hash, live(gone), grouping),
                            "{from} {span} {newest} {gone}"
                        );
                        assert!(
                            !state.overflowed(!hash, live(gone), grouping),
                            "the tag of none"
                        );
                    }
                    if span < most / 2 {
                        let gone = newest + UNIT;
                        let live = live(gone);
                        assert!(
                            !state.overflowed(hash, live, grouping),
                            "{from} {span} {newest}"
                        );
                        let state = state.with_overflow(entry(!hash, gone), grouping.groups(live));
                        assert!(
                            !state.overflowed(hash, live, grouping),
                            "tags go with the group that left"
                        );
                    }
                }
            }
        }
    }
}
