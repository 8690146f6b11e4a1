//! `Bucket`: 64 bytes of the index, which is what one cache miss fetches.
//!
//! | word | bits | content |
//! | --- | --- | --- |
//! | 0 to 14 | lowest `slot_bits` | slot of an entry |
//! | | next bit | 1, so that a used word is never zero |
//! | | the others | fingerprint: the lowest bits of the hash |
//! | 15 | 0 to 3 | number of used words, which come first |
//! | | 4 + 3c to 6 + 3c | overflow count of class c, of eight classes |
//!
//! An entry is in its home bucket, which its hash chooses, or if that is full in the next one that
//! is not. Every bucket counts the entries that passed it on the way to theirs. A lookup thus ends
//! at the first bucket that none passed, and a removal leaves no tombstone. (Meta's F14 has the
//! same count.) The count is by class, three bits of the hash: an entry that found its bucket full
//! stays where it is when a word there becomes free. In a cache that evicts, something has passed a
//! quarter of all buckets, but few have been passed by a given class.

// `#[inline(always)]`: see the core.

/// Entries that a bucket can hold.
pub(super) const CAPACITY: usize = 15;
/// Classes of hashes.
pub(super) const CLASSES: u32 = 8;
/// The largest overflow count. A count that reaches it stays there, because it may be too low from
/// then on.
pub(super) const SATURATED: u32 = 0b111;

const USED: u32 = 0b1111;

#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Bucket {
    words: [u32; CAPACITY + 1],
}

impl Bucket {
    pub(super) const EMPTY: Self = Self {
        words: [0; CAPACITY + 1],
    };

    /// Returns the words in use.
    #[inline(always)]
    pub(super) fn used(&self) -> &[u32] {
        &self.words[..(self.words[CAPACITY] & USED) as usize]
    }

    /// Returns the bits of all words that equal `fingerprint` under `mask`, combined by OR; usually
    /// that is one word or none.
    ///
    /// There is no branch in it, so compilers emit vector instructions that compare all words at
    /// once. The last word is no entry and may match by chance.
    #[inline(always)]
    pub(super) fn matching(&self, fingerprint: u32, mask: u32) -> u32 {
        self.words.iter().fold(0, |all, &word| {
            all | if word & mask == fingerprint { word } else { 0 }
        })
    }

    /// Returns the position of a word.
    #[inline(always)]
    pub(super) fn position(&self, word: u32) -> Option<usize> {
        // No two entries have the same word, so the sum over the matches is the position of the
        // only one. The last word may be equal by chance; the sum is out of range then. Numbers
        // from 17 on keep compilers from special cases, which would cost the vector instructions.
        const FIRST: u32 = 17;
        let numbered = self.words.iter().zip(FIRST..);
        let sum = numbered
            .map(|(&it, number)| if it == word { number } else { 0 })
            .fold(0, u32::wrapping_add);
        match sum {
            0 => None,
            FIRST..32 => Some((sum - FIRST) as usize),
            _ => self.used().iter().position(|&it| it == word),
        }
    }

    /// Adds a word, unless the bucket is full.
    #[inline(always)]
    pub(super) fn insert(&mut self, word: u32) -> bool {
        let used = self.used().len();
        let has_room = used < CAPACITY;
        if has_room {
            self.words[used] = word;
            self.words[CAPACITY] += 1;
        }
        has_room
    }

    /// Removes the word at a position. The last one takes its position.
    #[inline(always)]
    pub(super) fn remove(&mut self, position: usize) {
        self.words[CAPACITY] -= 1;
        let last = self.used().len();
        self.words[position] = self.words[last];
        self.words[last] = 0;
    }

    pub(super) fn replace(&mut self, position: usize, word: u32) {
        self.words[position] = word;
    }

    /// Returns how many entries with a hash of this class passed this bucket.
    #[inline(always)]
    pub(super) fn overflow_count(&self, hash: u32) -> u32 {
        self.words[CAPACITY] >> Self::overflow_shift(hash) & SATURATED
    }

    #[inline(always)]
    pub(super) fn add_overflow(&mut self, hash: u32) {
        let counts = self.overflow_count(hash) != SATURATED;
        self.words[CAPACITY] += u32::from(counts) << Self::overflow_shift(hash);
    }

    pub(super) fn remove_overflow(&mut self, hash: u32) {
        let counts = self.overflow_count(hash) != SATURATED;
        self.words[CAPACITY] -= u32::from(counts) << Self::overflow_shift(hash);
    }

    #[inline(always)]
    fn overflow_shift(hash: u32) -> u32 {
        hash % CLASSES * 3 + 4
    }

    pub(super) fn validate(&self) {
        let (used, free) = self.words[..CAPACITY].split_at(self.used().len());
        assert!(used.iter().all(|&word| word != 0), "no used word is zero");
        assert!(free.iter().all(|&word| word == 0), "free words are zero");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_finds_a_word_at_every_position() {
        for position in 0..CAPACITY {
            let mut bucket = Bucket::EMPTY;
            bucket.words[position] = 7 << 8 | 3;
            assert_eq!(bucket.matching(7 << 8, !0xff), 7 << 8 | 3);
            assert_eq!(bucket.matching(6 << 8, !0xff), 0);
            // The last word may be equal, or differ.
            for (last, used) in [(0, 0), (7 << 8 | 3, 3), (7 << 8 | 2, 2)] {
                bucket.words[CAPACITY] = last | 15;
                assert_eq!(bucket.position(7 << 8 | 3), Some(position), "{used}");
                assert_eq!(bucket.position(9 << 8 | 3), None);
            }
        }
    }
}
