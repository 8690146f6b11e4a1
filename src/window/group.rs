//! `Grouping`: what the index keeps of a sequence number.
//!
//! A slot of the index has four bytes: in the upper 22 bits the *group* of an entry's number, 64 consecutive ones or more,
//! and below them a tag. Groups wrap as numbers do, and are compared by their distance from that of the oldest live entry.
//! Group 0 is never given, so that a zeroed slot refers to nothing.

use super::block::BLOCK;
use super::line::Live;
use super::ring::Seq;

/// Bits of a slot that are the tag, the lowest of the hash.
pub(super) const TAG_BITS: u32 = 10;
pub(super) const TAG: u32 = (1 << TAG_BITS) - 1;

/// How many numbers form a group: 2 to the power of this.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Grouping(u32);

impl Grouping {
    const SMALLEST: u32 = 6;
    const LARGEST: u32 = 9;

    /// Groups so large that the numbers of `max` entries do not run out, though holes take up seven times as many.
    pub(crate) fn of_entries(max: usize) -> Self {
        let bits = usize::BITS - max.leading_zeros();
        Self((bits + 3).saturating_sub(u32::BITS - TAG_BITS).clamp(Self::SMALLEST, Self::LARGEST))
    }

    /// How many numbers a group has.
    #[inline]
    pub(crate) fn size(self) -> u32 {
        1 << self.0
    }

    /// The distance below which any two live numbers must be, for 22 bits of group to tell old from new.
    #[inline]
    pub(crate) fn max_span(self) -> u32 {
        1 << (self.0 + u32::BITS - TAG_BITS)
    }

    /// The first position that may be used of the slot of the ring that begins with number `first`: none is of group 0,
    /// whatever the grouping.
    pub(crate) fn floor(first: Seq) -> usize {
        let wraps = first << (TAG_BITS - Self::SMALLEST) == 0;
        if wraps { 1 << Self::LARGEST } else { 0 }
    }

    /// What a slot has for a number.
    #[inline]
    pub(super) fn slot(self, hash: u64, seq: Seq) -> u32 {
        seq >> self.0 << TAG_BITS | hash as u32 & TAG
    }

    /// The slots, with any tag, that numbers may have which are live.
    #[inline]
    pub(super) fn slots(self, live: Live) -> Live {
        let before = live.from & (self.size() - 1);
        let groups = (before + live.len + self.size() - 1) >> self.0;
        Live { from: live.from >> self.0 << TAG_BITS, len: groups << TAG_BITS }
    }

    /// The first number of the group that a slot has, which is one of those that are live.
    #[inline]
    pub(super) fn first(self, slot: u32, live: Live) -> Seq {
        let groups = slot.wrapping_sub(live.from >> self.0 << TAG_BITS) >> TAG_BITS;
        (live.from & !(self.size() - 1)).wrapping_add(groups << self.0)
    }
}

const _: () = assert!(1 << Grouping::LARGEST < BLOCK, "a group lies within a slot of the ring");
