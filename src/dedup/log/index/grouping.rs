//! `Grouping`: the part of a sequence number that the index stores.
//!
//! The index stores the *group* of a number in 16 bits. A group has 64 or more consecutive numbers. Groups wrap as
//! numbers do, and are compared by their distance from the group of the oldest live entry. Group 0 is never given, so
//! a zeroed slot refers to nothing.
//!
//! The further apart the live numbers are, the larger the groups have to be, and the longer a search within one takes.
//! So each table has the grouping that its entries need. A table that needs larger groups is resized to another
//! grouping, if not to another size.

use super::{LiveRange, Seq};
use crate::dedup::log::block::BLOCK;

const GROUP_BITS: u32 = u16::BITS;

/// Bits of a unit number.
pub(super) const UNIT_BITS: u32 = 7;
/// The number of groups in a unit. Buckets store in units how new an overflowed group is.
pub(super) const UNIT: u32 = 1 << (GROUP_BITS - UNIT_BITS);

/// The binary logarithm of the number of sequence numbers in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grouping(u32);

impl Grouping {
    const SMALLEST: u32 = 6;
    const LARGEST: u32 = 14;
    pub(crate) const SMALLEST_SIZE: u32 = 1 << Self::SMALLEST;
    const LARGEST_SIZE: u32 = 1 << Self::LARGEST;

    /// Returns the smallest grouping that tells apart numbers which span `span` now and may come to span four times as
    /// much.
    pub(crate) fn of_span(span: u32) -> Self {
        let bits = u32::BITS - span.leading_zeros();
        Self(
            (bits + 2)
                .saturating_sub(GROUP_BITS)
                .clamp(Self::SMALLEST, Self::LARGEST),
        )
    }

    /// Returns the number of sequence numbers in a group.
    #[inline]
    pub(crate) fn size(self) -> u32 {
        1 << self.0
    }

    /// Returns `true` if groups and units tell apart live numbers that span this much.
    #[inline]
    pub(crate) fn spans(self, span: u32) -> bool {
        span >> self.0 < (1 << GROUP_BITS) - UNIT
    }

    /// Returns `true` if the table should get larger groups soon.
    pub(crate) fn is_outgrown(self, span: u32) -> bool {
        self.0 < Self::LARGEST && !self.spans(span * 2)
    }

    /// Returns `true` if `seq` must not be given because its group may be 0 under some grouping. Either all numbers of
    /// a slot of the ring are reserved, or none.
    pub(crate) fn is_reserved(seq: Seq) -> bool {
        seq % (1 << (GROUP_BITS + Self::SMALLEST)) < Self::LARGEST_SIZE
    }

    #[inline]
    pub(super) fn group(self, seq: Seq) -> u16 {
        (seq >> self.0) as u16
    }

    /// Returns the groups of live numbers.
    #[inline]
    pub(super) fn groups(self, live: LiveRange) -> LiveGroups {
        let before = live.from & (self.size() - 1);
        let len = (before + live.len + self.size() - 1) >> self.0;
        LiveGroups {
            from: self.group(live.from),
            len,
        }
    }

    /// Returns the first number of a live group.
    #[inline]
    pub(super) fn first(self, group: u16, live: LiveRange) -> Seq {
        let distance = u32::from(group.wrapping_sub(self.group(live.from)));
        (live.from & !(self.size() - 1)).wrapping_add(distance << self.0)
    }
}

impl Default for Grouping {
    fn default() -> Self {
        Self(Self::SMALLEST)
    }
}

/// The groups that count as live: `from` and the `len - 1` after it, except group 0.
#[derive(Clone, Copy)]
pub(super) struct LiveGroups {
    from: u16,
    len: u32,
}

impl LiveGroups {
    #[inline]
    pub(super) fn contains(self, group: u16) -> bool {
        // One comparison instead of two: the branch for group 0, which means a slot that was never filled, cannot be
        // predicted.
        let far = u32::from(group == 0) << (u32::BITS - 1);
        (far | u32::from(group.wrapping_sub(self.from))) < self.len
    }

    /// Returns the distance of a unit from that of the oldest live group.
    pub(super) fn age_of_unit(self, unit: u32) -> u32 {
        unit.wrapping_sub(u32::from(self.from) / UNIT) % (1 << UNIT_BITS)
    }

    /// Returns the distance of the unit of the newest live group, or of the unit after it.
    pub(super) fn last_age(self) -> u32 {
        (u32::from(self.from) % UNIT + self.len) / UNIT
    }
}

const _: () = assert!(
    Grouping::LARGEST_SIZE as usize >= BLOCK,
    "either all numbers of a slot are reserved, or none"
);
