//! `Bucket`: the part of the index that one cache miss loads.
//!
//! A bucket has 64 bytes:
//!
//! | bytes | content |
//! | ---: | --- |
//! | 40 | twenty slots of two bytes: the group of an entry's sequence number |
//! | 20 | the fingerprint of each slot: eight bits of the hash |
//! | 4 | [`BucketState`]: the next slot to fill, and what overflowed |
//!
//! The ring tells apart the entries of a group by eight more bits of the hash: see `block.rs`. The size of the index
//! matters most, because it is read at random and fits into no cache. Whole numbers with fingerprints of 16 bits would
//! allow ten slots per bucket, groups of 22 bits with fingerprints of ten bits would allow fifteen. A fingerprint matches
//! by accident in one lookup of twenty. This costs a look at one group, and in a quarter of these cases at one key.
//!
//! A slot whose group is not live is free, so expiry erases nothing. The slots of a bucket are filled in turn, so they
//! are ordered by age: the next slot to fill holds the oldest entry, and is free unless the bucket is full. Removal and
//! compaction may free other slots. These are only searched for if the next slot is taken.

use super::grouping::{Grouping, LiveGroups, UNIT, UNIT_BITS};
use super::{LiveRange, Seq};

const SLOTS: usize = 20;

#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Bucket {
    groups: [u16; SLOTS],
    fingerprints: [u8; SLOTS],
    state: BucketState,
}

pub(super) const EMPTY: Bucket = Bucket {
    groups: [0; SLOTS],
    fingerprints: [0; SLOTS],
    state: BucketState(0),
};

const _: () = assert!(size_of::<Bucket>() == 64);

/// The content of a slot. Two entries of one group and one fingerprint have equal contents, and nothing may depend on
/// which of the two slots belongs to which entry.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct SlotContent {
    group: u16,
    fingerprint: u8,
}

impl SlotContent {
    /// The content of a free slot.
    pub(super) const NONE: Self = Self {
        group: 0,
        fingerprint: 0,
    };

    #[inline]
    pub(super) fn new(hash: u64, group: u16) -> Self {
        Self {
            group,
            fingerprint: fingerprint(hash),
        }
    }
}

impl Bucket {
    /// Returns some word of the bucket, so that the bucket is loaded.
    #[inline]
    pub(super) fn word(&self) -> u32 {
        self.state.0
    }

    #[inline]
    pub(super) fn state(&self) -> BucketState {
        self.state
    }

    /// Returns `true` if any slot, live or not, has the fingerprint of this hash.
    ///
    /// There is no branch before the result: a branch on the content could not be predicted, and the processor would
    /// wait for this bucket before it begins to load the next call's.
    #[inline]
    fn has_fingerprint(&self, hash: u64) -> bool {
        self.fingerprints
            .iter()
            .fold(false, |any, &its| any | (its == fingerprint(hash)))
    }

    /// Calls `search` with the first number and the size of each live group that has the fingerprint of this hash,
    /// until it returns a number.
    #[inline]
    pub(super) fn find(
        &self,
        hash: u64,
        live: LiveRange,
        grouping: Grouping,
        search: &mut impl FnMut(Seq, u32) -> Option<Seq>,
    ) -> Option<Seq> {
        if !self.has_fingerprint(hash) {
            return None;
        }
        let groups = grouping.groups(live);
        let mut candidates = self.candidates(hash);
        let mut searched = 0;
        while candidates != 0 {
            let group = self.groups[candidates.trailing_zeros() as usize];
            // Entries of equal hashes that arrived together have equal slots. One search finds each of them.
            if groups.contains(group) && group != searched {
                searched = group;
                let found = search(grouping.first(group, live), grouping.size());
                if found.is_some() {
                    return found;
                }
            }
            candidates &= candidates - 1;
        }
        None
    }

    /// Returns one bit for each slot that has the fingerprint of this hash.
    fn candidates(&self, hash: u64) -> u32 {
        let candidates = |(at, &its): (usize, &u8)| u32::from(its == fingerprint(hash)) << at;
        self.fingerprints
            .iter()
            .enumerate()
            .map(candidates)
            .fold(0, |all, bit| all | bit)
    }

    /// Fills the next slot if it is free. Returns `true` if it was.
    #[inline]
    pub(super) fn fill(&mut self, entry: SlotContent, live: LiveGroups) -> bool {
        let next_slot = self.state.next_slot();
        let free = self
            .groups
            .get(next_slot)
            .is_some_and(|&group| !live.contains(group));
        if free {
            self.set(next_slot, entry);
            self.state.set_next_slot_after(next_slot);
        }
        free
    }

    /// Fills the first free slot from the next one on. Returns `true` if there was one.
    pub(super) fn fill_next(&mut self, entry: SlotContent, live: LiveGroups) -> bool {
        let next_slot = self.state.next_slot();
        let free = (next_slot..SLOTS)
            .chain(0..next_slot)
            .find(|&free| !live.contains(self.groups[free]));
        if let Some(free) = free {
            self.set(free, entry);
            self.state.set_next_slot_after(free);
        }
        free.is_some()
    }

    /// Fills the last free slot, because the entry is older than all others. Returns `true` if there was one.
    pub(super) fn fill_last(&mut self, entry: SlotContent, live: LiveGroups) -> bool {
        let free = self.groups.iter().rposition(|&group| !live.contains(group));
        if let Some(free) = free {
            self.set(free, entry);
        }
        free.is_some()
    }

    /// Replaces one slot's content by another. Returns `true` if there was such a slot.
    pub(super) fn replace(&mut self, entry: SlotContent, by: SlotContent) -> bool {
        let mut entries = self.groups.iter().zip(&self.fingerprints);
        let found =
            entries.position(|(&group, &fingerprint)| SlotContent { group, fingerprint } == entry);
        if let Some(at) = found {
            self.set(at, by);
        }
        found.is_some()
    }

    #[inline]
    fn set(&mut self, at: usize, entry: SlotContent) {
        (self.groups[at], self.fingerprints[at]) = (entry.group, entry.fingerprint);
    }

    /// Records that an entry of a live group did not fit.
    pub(super) fn overflow(&mut self, entry: SlotContent, live: LiveGroups) {
        self.state = self.state.with_overflow(entry, live);
    }
}

#[inline]
fn fingerprint(hash: u64) -> u8 {
    hash as u8
}

/// The next slot to fill, and a filter of the entries that overflowed into the following bucket.
///
/// | bits | content |
/// | --- | --- |
/// | 0–4 | the next slot to fill |
/// | 5–24 | one bit for each class of fingerprints of which an entry overflowed |
/// | 25–31 | the newest group that overflowed, in [`UNIT`]s of groups |
///
/// The filter is forgotten when that newest group is no longer live. It is built from fingerprints and groups alone,
/// because nothing may depend on which of two equal slots belongs to which entry.
#[derive(Clone, Copy)]
pub(super) struct BucketState(u32);

impl BucketState {
    const OVERFLOWED_FROM: u32 = 5;
    const NEWEST_FROM: u32 = u32::BITS - UNIT_BITS;
    const NEXT_SLOT: u32 = (1 << Self::OVERFLOWED_FROM) - 1;
    const OVERFLOWED: u32 = (1 << Self::NEWEST_FROM) - (1 << Self::OVERFLOWED_FROM);

    #[inline]
    fn next_slot(self) -> usize {
        (self.0 & Self::NEXT_SLOT) as usize
    }

    #[inline]
    fn set_next_slot_after(&mut self, slot: usize) {
        let next = if slot + 1 == SLOTS {
            0
        } else {
            slot as u32 + 1
        };
        self.0 = self.0 & !Self::NEXT_SLOT | next;
    }

    #[inline]
    fn bit(fingerprint: u8) -> u32 {
        1 << (Self::OVERFLOWED_FROM
            + ((u32::from(fingerprint) * Self::OVERFLOWED.count_ones()) >> u8::BITS))
    }

    /// Returns `true` if a live entry with such a hash may have overflowed.
    #[inline]
    pub(super) fn overflowed(self, hash: u64, live: LiveRange, grouping: Grouping) -> bool {
        self.0 & Self::bit(fingerprint(hash)) != 0 && self.is_live(grouping.groups(live))
    }

    fn newest(self) -> u32 {
        self.0 >> Self::NEWEST_FROM
    }

    fn is_live(self, live: LiveGroups) -> bool {
        self.0 & Self::OVERFLOWED != 0 && live.age_of_unit(self.newest()) <= live.last_age()
    }

    fn with_overflow(self, entry: SlotContent, live: LiveGroups) -> Self {
        let unit = u32::from(entry.group) / UNIT;
        let (newest, fingerprints) = match self.is_live(live) {
            true if live.age_of_unit(self.newest()) >= live.age_of_unit(unit) => {
                (self.newest(), self.0)
            }
            true => (unit, self.0),
            false => (unit, 0),
        };
        Self(
            newest << Self::NEWEST_FROM
                | fingerprints & Self::OVERFLOWED
                | Self::bit(entry.fingerprint)
                | self.0 & Self::NEXT_SLOT,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overflow_is_known_until_its_group_expires() {
        let (grouping, hash) = (Grouping::default(), 0xab);
        let numbers = |groups: u32| groups * grouping.size();
        let most = (0..=u32::from(u16::MAX))
            .rev()
            .find(|&groups| grouping.spans(numbers(groups)))
            .expect("some");
        for from in (0..1 << 16).step_by(997) {
            for span in [1, 2, UNIT, 5 * UNIT + 1, most] {
                for newest in [0, span / 3, span - 1] {
                    let live = |gone| LiveRange {
                        from: numbers(from + gone),
                        len: numbers(span),
                    };
                    let entry =
                        |hash, at| SlotContent::new(hash, grouping.group(numbers(from + at)));
                    let (last, older) = (entry(hash, newest), entry(hash, newest / 2));
                    let mut state = BucketState(0);
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
                            "the fingerprint of none"
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
                            "fingerprints go with the group that left"
                        );
                    }
                }
            }
        }
    }
}
