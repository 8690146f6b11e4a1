//! `Line`: what one cache miss of the index brings.
//!
//! 64 bytes: fifteen slots of four bytes, and one for what the line knows beside them. A slot has the *group* of an
//! entry's number, 64 or more consecutive ones, and ten bits of its hash, the tag. Which of the group it is, the ring
//! finds out by eight more bits that it keeps there for each (see `block.rs`). Whole numbers with a tag of 16 bits would
//! fit ten times only, and what counts is how much of the index there is: it is read at random, and does not fit into
//! any cache. Tags confuse two ids once in a hundred looks, which then costs a look into the ring.
//!
//! A slot whose group is not live is free, so nothing is ever erased when entries expire. The slots of a line are filled
//! in turn, so that they go round in it in order of age: the slot whose turn it is holds the oldest, and is free unless
//! the line is full. A new id so looks at one group of fifteen. Removal and packing may leave others free; they are looked
//! for only where the one whose turn it is is taken.
//!
//! Tags apart from the numbers were tried too: a new id then reads 5 bytes an id in place of 6. But the number has to be
//! written all the same, to a line that is in no cache, and single inserts took as long, batches twice as long.

use super::group::{Grouping, TAG, TAG_BITS};
use super::ring::Seq;

const SLOTS: usize = 15;

/// The slots, and last the [`State`]: one array, which four equal steps can look through.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Line([u32; SLOTS + 1]);

pub(super) const EMPTY: Line = Line([0; SLOTS + 1]);

/// The numbers, or the slots, that count as live: `from` and those after it, and never 0.
#[derive(Clone, Copy)]
pub(crate) struct Live {
    pub(crate) from: u32,
    pub(crate) len: u32,
}

impl Live {
    #[inline]
    pub(crate) fn between(from: u32, to: u32) -> Self {
        Self { from, len: to.wrapping_sub(from) }
    }

    #[inline]
    pub(crate) fn contains(self, it: u32) -> bool {
        (it != 0) & (it.wrapping_sub(self.from) < self.len)
    }
}

impl Line {
    fn slots(&self) -> &[u32] {
        &self.0[..SLOTS]
    }

    fn slots_mut(&mut self) -> &mut [u32] {
        &mut self.0[..SLOTS]
    }

    /// Some word of it, to have it read.
    #[inline]
    pub(super) fn word(&self) -> u32 {
        self.0[SLOTS]
    }

    #[inline]
    pub(super) fn state(&self) -> State {
        State(self.0[SLOTS])
    }

    /// Whether any slot has the tag of this hash, live or not; it may be said now and then where none has.
    ///
    /// Without a branch: one that depended on what the line holds could not be predicted, and the processor would wait
    /// for the line before it goes on to the next call's.
    #[inline]
    fn has_tag(&self, hash: u64) -> bool {
        let mut same = [0; 4];
        for four in self.0.as_chunks::<4>().0 {
            for (same, word) in same.iter_mut().zip(four) {
                *same |= u32::from(has_tag(*word, hash));
            }
        }
        same != [0; 4]
    }

    /// What `search` finds first in the live groups with the tag of this hash, of which it is given the first number.
    #[inline]
    pub(super) fn find(
        &self,
        hash: u64,
        live: Live,
        grouping: Grouping,
        search: &mut impl FnMut(Seq) -> Option<Seq>,
    ) -> Option<Seq> {
        if !self.has_tag(hash) {
            return None;
        }
        let slots = grouping.slots(live);
        let mut tagged = self.tagged(hash);
        let mut searched = 0;
        while tagged != 0 {
            let slot = self.0[tagged.trailing_zeros() as usize];
            // Entries of equal hashes that came together have equal slots: one search finds any of them.
            if slots.contains(slot) && slot != searched {
                searched = slot;
                let found = search(grouping.first(slot, live));
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
        let tagged = |(at, &slot): (usize, &u32)| u32::from(has_tag(slot, hash)) << at;
        self.slots().iter().enumerate().map(tagged).fold(0, |all, bit| all | bit)
    }

    /// Fills the slot whose turn it is; whether it was free. `live` are slots.
    #[inline]
    pub(super) fn fill(&mut self, slot: u32, live: Live) -> bool {
        let turn = self.state().turn();
        let free = !live.contains(self.0[turn]);
        if free {
            self.0[turn] = slot;
            self.0[SLOTS] = self.state().with_turn_after(turn);
        }
        free
    }

    /// Fills the free slot whose turn comes next; whether there was one.
    pub(super) fn fill_next(&mut self, slot: u32, live: Live) -> bool {
        let turn = self.state().turn();
        let free = (turn..SLOTS).chain(0..turn).find(|&free| !live.contains(self.0[free]));
        if let Some(free) = free {
            self.0[free] = slot;
            self.0[SLOTS] = self.state().with_turn_after(free);
        }
        free.is_some()
    }

    /// Fills the free slot that is farthest from its turn, since the entry is older than all others; whether there was
    /// one.
    pub(super) fn fill_last(&mut self, slot: u32, live: Live) -> bool {
        let free = self.slots_mut().iter_mut().rfind(|free| !live.contains(**free));
        free.map(|free| *free = slot).is_some()
    }

    /// Replaces what a slot has; whether there was such a slot.
    pub(super) fn replace(&mut self, slot: u32, by: u32) -> bool {
        let found = self.slots_mut().iter_mut().find(|it| **it == slot);
        found.map(|it| *it = by).is_some()
    }

    /// Notes that `seq`, which is live, overflows.
    pub(super) fn overflow(&mut self, hash: u64, seq: Seq, live: Live) {
        self.0[SLOTS] = self.state().with_overflow(hash, seq, live);
    }
}

#[inline]
fn has_tag(slot: u32, hash: u64) -> bool {
    (slot ^ hash as u32) & TAG == 0
}

/// What a line knows beside its slots: which of them is to be filled next, and what had to overflow.
///
/// The lowest four bits are the slot whose turn it is. The upper 22 are the newest number that overflowed into the next
/// line, in units of 1,024. The six between are set by the tags of those that did, so that only every few searches
/// have to go on there; they are forgotten once that number has left.
///
/// By tags and nothing else: two entries of one group and one tag have equal slots, and which of the two slots is whose
/// must not matter.
#[derive(Clone, Copy)]
pub(super) struct State(u32);

impl State {
    const TURN: u32 = 0xf;
    const TAGS: u32 = 0x3f0;
    const UNIT: u32 = 10;

    #[inline]
    fn turn(self) -> usize {
        (self.0 & Self::TURN) as usize
    }

    #[inline]
    fn with_turn_after(self, slot: usize) -> u32 {
        let next = if slot + 1 == SLOTS { 0 } else { slot as u32 + 1 };
        self.0 & !Self::TURN | next
    }

    #[inline]
    fn bit(hash: u64) -> u32 {
        0x10 << (((hash as u32 & TAG) * 6) >> TAG_BITS)
    }

    /// Whether an entry with such a hash may have overflowed and be live.
    #[inline]
    pub(super) fn overflowed(self, hash: u64, live: Live) -> bool {
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

    fn with_overflow(self, hash: u64, seq: Seq, live: Live) -> u32 {
        let (newest, tags) = match self.is_live(live) {
            true if Self::age(self.0, live) >= Self::age(seq, live) => (self.0, self.0),
            true => (seq, self.0),
            false => (seq, 0),
        };
        let newest = newest >> Self::UNIT << Self::UNIT;
        newest | tags & Self::TAGS | Self::bit(hash) | self.0 & Self::TURN
    }
}
