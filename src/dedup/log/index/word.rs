//! `Layout`: how a word of the index is divided between a sequence number and a fingerprint.
//!
//! | bits | content |
//! | --- | --- |
//! | lowest `n` | the entry's sequence number modulo 2<sup>`n`</sup> |
//! | the rest | fingerprint: the lowest bits of the hash, but never 0 |
//!
//! So only an empty word is 0. Each table chooses `n` by the numbers that it has to tell apart. A
//! table whose live numbers come to span more is resized to a larger `n`, and so to shorter
//! fingerprints. At 1M ids `n` is 21, and one search in 200 for a new id compares a key in vain. At
//! 16M ids it is one in 13.
//!
//! A word whose number is not live is stale, and free for another entry. It would look live again
//! after 2<sup>`n`</sup> numbers, so the table erases it before that: see `table.rs`.

use super::{LiveRange, Seq};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// The bits of the number.
    bits: u32,
}

impl Layout {
    /// Leaves time to resize an index of a few entries whose numbers lie far apart.
    const FEWEST: u32 = 21;
    const MOST: u32 = 31;
    /// The bits of a number that [`unit`](LiveWords::unit) keeps.
    pub(super) const UNIT_BITS: u32 = 12;

    /// Returns the layout with the longest fingerprints whose numbers may span twice as much.
    pub(crate) fn of_span(span: u32) -> Self {
        (Self::FEWEST..Self::MOST)
            .map(|bits| Self { bits })
            .find(|layout| !layout.is_outgrown(span))
            .unwrap_or(Self { bits: Self::MOST })
    }

    /// Returns `true` if words and units tell numbers apart that span this much.
    #[inline]
    pub(crate) fn spans(self, span: u32) -> bool {
        span < (1 << self.bits) - (1 << (self.bits - Self::UNIT_BITS))
    }

    /// Returns `true` if longer numbers should be chosen while there is time.
    pub(crate) fn is_outgrown(self, span: u32) -> bool {
        self.bits < Self::MOST && !self.spans(span.saturating_mul(2))
    }

    /// Returns a quarter of the numbers after which words repeat.
    pub(super) fn period_quarter(self) -> u32 {
        1 << (self.bits - 2)
    }

    #[inline]
    pub(super) fn word(self, hash: u64, seq: Seq) -> u32 {
        self.fingerprint(hash) | self.number(seq)
    }

    /// Returns the bits of a word that depend on the hash alone.
    #[inline]
    pub(super) fn fingerprint(self, hash: u64) -> u32 {
        ((hash as u32) << self.bits).max(1 << self.bits)
    }

    #[inline]
    pub(super) fn fingerprint_mask(self) -> u32 {
        !0 << self.bits
    }

    /// Returns a few bits of the fingerprint of a word.
    #[inline]
    pub(super) fn class(self, word: u32, classes: u32) -> u32 {
        (word >> self.bits) % classes
    }

    #[inline]
    fn number(self, word: u32) -> u32 {
        word & !self.fingerprint_mask()
    }

    #[inline]
    pub(super) fn live(self, live: LiveRange) -> LiveWords {
        LiveWords { layout: self, live }
    }
}

impl Default for Layout {
    fn default() -> Self {
        Self { bits: Self::FEWEST }
    }
}

/// A layout together with the numbers that are live: what a word means now.
#[derive(Clone, Copy)]
pub(super) struct LiveWords {
    pub(super) layout: Layout,
    live: LiveRange,
}

impl LiveWords {
    /// Returns how many numbers a word's number lies after the oldest live one.
    #[inline]
    fn age(self, word: u32) -> u32 {
        self.layout.number(word.wrapping_sub(self.live.from))
    }

    /// Returns the number of a filled word if that is live.
    #[inline]
    pub(super) fn seq(self, word: u32) -> Option<Seq> {
        let age = self.age(word);
        (age < self.live.len).then(|| self.live.from.wrapping_add(age))
    }

    #[inline]
    pub(super) fn is_free(self, word: u32) -> bool {
        // Without a branch, since no processor predicts which words are empty.
        (word == 0) | (self.age(word) >= self.live.len)
    }

    /// Returns the highest bits of a word's number.
    pub(super) fn unit(self, word: u32) -> u32 {
        self.layout.number(word) >> (self.layout.bits - Layout::UNIT_BITS)
    }

    /// Returns how many units a unit lies after that of the oldest live number.
    pub(super) fn unit_age(self, unit: u32) -> u32 {
        unit.wrapping_sub(self.unit(self.live.from)) % (1 << Layout::UNIT_BITS)
    }

    /// Returns `true` if a number of this unit may be live.
    pub(super) fn is_unit_live(self, unit: u32) -> bool {
        let size = 1 << (self.layout.bits - Layout::UNIT_BITS);
        self.unit_age(unit) <= (self.live.from % size + self.live.len) / size
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn word_of_an_entry_is_never_empty() {
        assert_ne!(Layout::default().word(0, 0), 0);
    }
}
