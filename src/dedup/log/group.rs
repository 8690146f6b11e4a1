//! `Grouping`: what a table of the index keeps of a sequence number.
//!
//! The *group* of a number, which is one of 64 consecutive ones or more, in 16 bits. Groups wrap as numbers do, and are
//! compared by their distance from that of the oldest live entry. Group 0 is never given, so that a zeroed slot refers
//! to nothing.
//!
//! The more numbers there are to tell apart, the larger are the groups, and the longer takes a search in one. So each table
//! has the grouping that its entries need, and one that comes to need larger groups is resized, to another grouping
//! where it is not to another size.

use super::block::BLOCK;
use super::line::Live;
use super::ring::Seq;

/// Bits of a group.
const GROUP_BITS: u32 = u16::BITS;

/// Groups that lines count together when they note how new one is that overflowed: so many that seven bits tell.
pub(super) const UNIT: u32 = 1 << (GROUP_BITS - UNIT_BITS);
/// Bits of what tells one such unit from another.
pub(super) const UNIT_BITS: u32 = 7;

/// How many numbers form a group: 2 to the power of this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grouping(u32);

impl Grouping {
    const SMALLEST: u32 = 6;
    const LARGEST: u32 = 14;
    /// How many numbers a group has at least.
    pub(super) const SMALLEST_SIZE: u32 = 1 << Self::SMALLEST;
    /// How many numbers a group has at most.
    pub(super) const LARGEST_SIZE: u32 = 1 << Self::LARGEST;

    /// Groups so large that numbers which span this much now may span four times as much, where that is to be had.
    pub(crate) fn of_span(span: u32) -> Self {
        let bits = u32::BITS - span.leading_zeros();
        Self(
            (bits + 2)
                .saturating_sub(GROUP_BITS)
                .clamp(Self::SMALLEST, Self::LARGEST),
        )
    }

    /// How many numbers a group has.
    #[inline]
    pub(crate) fn size(self) -> u32 {
        1 << self.0
    }

    /// Whether the groups, and units of them, tell old from new among live numbers that span this much.
    #[inline]
    pub(crate) fn spans(self, span: u32) -> bool {
        span >> self.0 < (1 << GROUP_BITS) - UNIT
    }

    /// Whether larger groups are called for, while there is time.
    pub(crate) fn is_outgrown(self, span: u32) -> bool {
        self.0 < Self::LARGEST && !self.spans(span * 2)
    }

    /// Whether `seq` is not to be given, because it might be of group 0, whatever the grouping. So is all of its slot of the
    /// ring, or none.
    pub(crate) fn is_reserved(seq: Seq) -> bool {
        seq % (1 << (GROUP_BITS + Self::SMALLEST)) < Self::LARGEST_SIZE
    }

    #[inline]
    pub(super) fn group(self, seq: Seq) -> u16 {
        (seq >> self.0) as u16
    }

    /// The groups that numbers may have which are live.
    #[inline]
    pub(super) fn groups(self, live: Live) -> LiveGroups {
        let before = live.from & (self.size() - 1);
        let len = (before + live.len + self.size() - 1) >> self.0;
        LiveGroups {
            from: self.group(live.from),
            len,
        }
    }

    /// The first number of a group that is one of those that are live.
    #[inline]
    pub(super) fn first(self, group: u16, live: Live) -> Seq {
        let distance = u32::from(group.wrapping_sub(self.group(live.from)));
        (live.from & !(self.size() - 1)).wrapping_add(distance << self.0)
    }
}

impl Default for Grouping {
    fn default() -> Self {
        Self(Self::SMALLEST)
    }
}

/// The groups that count as live: `from` and those after it, and never 0.
#[derive(Clone, Copy)]
pub(super) struct LiveGroups {
    from: u16,
    len: u32,
}

impl LiveGroups {
    #[inline]
    pub(super) fn contains(self, group: u16) -> bool {
        // One comparison: compilers make two branches of two, and which slots have never been filled, none can predict.
        let far = u32::from(group == 0) << (u32::BITS - 1);
        (far | u32::from(group.wrapping_sub(self.from))) < self.len
    }

    /// How many units of groups a unit lies after that of the oldest live group.
    pub(super) fn age_of_unit(self, unit: u32) -> u32 {
        unit.wrapping_sub(u32::from(self.from) / UNIT) % (1 << UNIT_BITS)
    }

    /// The same of the unit of the newest live group, or of the one after it.
    pub(super) fn last_age(self) -> u32 {
        (u32::from(self.from) % UNIT + self.len) / UNIT
    }
}

const _: () = assert!(
    Grouping::LARGEST_SIZE as usize >= BLOCK,
    "all of a slot of the ring is reserved, or none"
);
