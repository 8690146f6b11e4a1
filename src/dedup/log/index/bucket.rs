//! `Bucket`: the 64 bytes of the index that one cache miss loads.
//!
//! A bucket has fifteen words of 32 bits for entries and one word of state. See
//! [`Layout`](super::word::Layout) for the words.
//!
//! Expiry erases nothing, because a word whose number is not live is free. Words are filled in
//! turn, so the word whose turn it is holds the oldest entry of the bucket. That word is free
//! unless the bucket is full. Removal and compaction free other words, which are searched for only
//! if the word whose turn it is is taken.

use super::Seq;
use super::word::LiveWords;

const SLOTS: usize = 15;

#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Bucket {
    /// The last word is the [`State`].
    words: [u32; SLOTS + 1],
}

pub(super) const EMPTY: Bucket = Bucket {
    words: [0; SLOTS + 1],
};

const _: () = assert!(size_of::<Bucket>() == 64);

impl Bucket {
    /// Returns the state as a number that means nothing. Reading it loads the bucket.
    #[inline]
    pub(super) fn touch(&self) -> u32 {
        self.words[SLOTS]
    }

    #[inline]
    fn state(&self) -> State {
        State(self.words[SLOTS])
    }

    #[inline]
    fn set_state(&mut self, state: State) {
        self.words[SLOTS] = state.0;
    }

    /// Returns the live number with the fingerprint of `hash` for which `is` holds.
    #[inline]
    pub(super) fn find(
        &self,
        hash: u64,
        live: LiveWords,
        is: &mut impl FnMut(Seq) -> bool,
    ) -> Option<Seq> {
        let (fingerprint, mask) = (
            live.layout.fingerprint(hash),
            live.layout.fingerprint_mask(),
        );
        let matches = |word: u32| word & mask == fingerprint;
        // One branch for all words: a branch for each could not be predicted, and the processor
        // would wait for the bucket before it starts the next call. The state takes part, so that
        // the loop becomes vector instructions.
        let any = |any: bool, &word: &u32| any | matches(word);
        if !self.words.iter().fold(false, any) {
            return None;
        }
        let matching = self.words[..SLOTS].iter().filter(|&&word| matches(word));
        matching
            .filter_map(|&word| live.seq(word))
            .find(|&seq| is(seq))
    }

    /// Returns `true` if an entry with this hash may be in a later bucket.
    #[inline]
    pub(super) fn has_overflowed(&self, hash: u64, live: LiveWords) -> bool {
        self.state()
            .has_overflowed(live.layout.fingerprint(hash), live)
    }

    /// Records that a live entry is stored in a later bucket.
    pub(super) fn overflow(&mut self, word: u32, live: LiveWords) {
        self.set_state(self.state().with_overflow(word, live));
    }

    /// Fills the word whose turn it is. Returns `false` if that word is taken.
    #[inline]
    pub(super) fn fill(&mut self, word: u32, live: LiveWords) -> bool {
        let turn = self.state().turn();
        let is_free = live.is_free(self.words[turn]);
        if is_free {
            self.words[turn] = word;
            self.set_state(self.state().with_turn_after(turn));
        }
        is_free
    }

    /// Fills the free word whose turn comes next. Returns `false` if all words are taken.
    pub(super) fn fill_next(&mut self, word: u32, live: LiveWords) -> bool {
        let turn = self.state().turn();
        let free = (turn..SLOTS)
            .chain(0..turn)
            .find(|&at| live.is_free(self.words[at]));
        if let Some(at) = free {
            self.words[at] = word;
            self.set_state(self.state().with_turn_after(at));
        }
        free.is_some()
    }

    /// Fills the free word whose turn comes last, for an entry that is older than all others of the
    /// table. Returns `false` if all words are taken.
    pub(super) fn fill_last(&mut self, word: u32, live: LiveWords) -> bool {
        let free = self.words[..SLOTS]
            .iter()
            .rposition(|&word| live.is_free(word));
        if let Some(at) = free {
            self.words[at] = word;
        }
        free.is_some()
    }

    /// Erases the words that are not live, and the filter if it counts as empty.
    pub(super) fn erase_stale(&mut self, live: LiveWords) {
        for word in &mut self.words[..SLOTS] {
            if live.is_free(*word) {
                *word = 0;
            }
        }
        self.set_state(self.state().without_stale(live));
    }

    /// Replaces a word. Returns `false` if it is not in this bucket.
    pub(super) fn replace(&mut self, word: u32, by: u32) -> bool {
        let mut words = self.words[..SLOTS].iter_mut();
        words
            .find(|it| **it == word)
            .map(|found| *found = by)
            .is_some()
    }
}

/// The state of a bucket: the word that is filled next, and a filter of what had to be stored in a
/// later bucket.
///
/// | bits | content |
/// | --- | --- |
/// | lowest 4 | the word whose turn it is |
/// | next 16 | the filter: a bit for each class of fingerprints that overflowed |
/// | highest 12 | the [unit](LiveWords::unit) of the newest number that overflowed |
///
/// The filter counts as empty once that newest number is no longer live.
#[derive(Clone, Copy)]
struct State(u32);

impl State {
    const TURN: u32 = 0xf;
    const CLASSES: u32 = 16;
    const FILTER_FROM: u32 = 4;
    const FILTER: u32 = 0xffff << Self::FILTER_FROM;
    const NEWEST_FROM: u32 = 20;

    #[inline]
    fn turn(self) -> usize {
        (self.0 & Self::TURN) as usize
    }

    #[inline]
    fn with_turn_after(self, at: usize) -> Self {
        let next = if at + 1 == SLOTS { 0 } else { at as u32 + 1 };
        Self(self.0 & !Self::TURN | next)
    }

    /// Returns the bit of the filter for a word's fingerprint.
    #[inline]
    fn bit(word: u32, live: LiveWords) -> u32 {
        1 << (Self::FILTER_FROM + live.layout.class(word, Self::CLASSES))
    }

    #[inline]
    fn has_overflowed(self, word: u32, live: LiveWords) -> bool {
        self.0 & Self::bit(word, live) != 0 && live.is_unit_live(self.newest())
    }

    fn newest(self) -> u32 {
        self.0 >> Self::NEWEST_FROM
    }

    fn without_stale(self, live: LiveWords) -> Self {
        if live.is_unit_live(self.newest()) {
            self
        } else {
            Self(self.0 & Self::TURN)
        }
    }

    fn with_overflow(self, word: u32, live: LiveWords) -> Self {
        let (mut newest, mut filter) = (live.unit(word), Self::bit(word, live));
        if self.0 & Self::FILTER != 0 && live.is_unit_live(self.newest()) {
            newest = [newest, self.newest()]
                .into_iter()
                .max_by_key(|&unit| live.unit_age(unit))
                .expect("there are two");
            filter |= self.0 & Self::FILTER;
        }
        Self(newest << Self::NEWEST_FROM | filter | self.0 & Self::TURN)
    }
}

const _: () = assert!(State::NEWEST_FROM + super::word::Layout::UNIT_BITS == u32::BITS);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dedup::log::index::LiveRange;
    use crate::dedup::log::index::word::Layout;

    #[test]
    fn overflow_is_known_until_no_longer_live() {
        let layout = Layout::default();
        let (hash, other, third) = (0xa, 0xb, 0xc);
        let unit = 512;
        for from in (0_u32..1 << 22).step_by(99_991) {
            for span in [1, 2, unit, 5 * unit + 1, (1 << 21) - unit - 1] {
                for newest in [0, span / 3, span - 1] {
                    let live = |passed| {
                        layout.live(LiveRange {
                            from: from + passed,
                            len: span,
                        })
                    };
                    let word = |hash, age| layout.word(hash, from + age);
                    let mut state = State(0).with_overflow(word(third, newest), live(0));
                    for age in [newest / 2, newest, newest / 2] {
                        state = state.with_overflow(word(hash, age), live(0));
                    }
                    let knows = |state: State, hash, live| {
                        state.has_overflowed(layout.fingerprint(hash), live)
                    };
                    for passed in [0, newest / 2, newest] {
                        assert!(knows(state, hash, live(passed)), "{from} {span} {newest}");
                        assert!(knows(state, third, live(passed)), "the filter is kept");
                        let state = state.without_stale(live(passed));
                        assert!(knows(state, hash, live(passed)), "it is not stale");
                        assert!(!knows(state, other, live(passed)), "another class");
                    }
                    if span < 1 << 20 {
                        let later = live(newest + unit);
                        assert!(!knows(state, hash, later), "{from} {span} {newest}");
                        let erased = state.without_stale(later);
                        assert!(!knows(erased, hash, live(0)), "the filter is erased");
                        let state =
                            state.with_overflow(word(other, newest + unit + span - 1), later);
                        assert!(!knows(state, hash, later), "the filter is cleared");
                        assert!(knows(state, other, later));
                    }
                }
            }
        }
    }
}
