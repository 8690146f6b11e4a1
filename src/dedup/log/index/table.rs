//! `Table`: one array of buckets.
//!
//! An entry that does not fit into its home bucket goes to the next one with a free word. The array
//! is divided into segments, which are allocated when they are first written and freed one at a
//! time. So no call zeroes or frees megabytes.
//!
//! # A table has a free word for each insert
//!
//! The words of a bucket that look live are those of live entries, of which there are fewer than
//! words: removal and renumbering erase words, and a stale word never comes to look live again. It
//! would after a period of 2<sup>`n`</sup> numbers, see `word.rs`. But live numbers span at most
//! three quarters of a period, since the table is replaced when they span half of it. So at least a
//! quarter of a period passes from the time when a number dies until its word would look live. In
//! each quarter, inserts erase the stale words of all buckets, a few buckets at a time. A hasher
//! that sends keys to few buckets cannot leave stale words in the others.

use super::bucket::{Bucket, EMPTY};
use super::word::{Layout, LiveWords};
use super::{LiveRange, Seq};

/// Buckets in a segment: 16 KiB.
const SEGMENT: usize = 256;
/// Buckets whose stale words are erased together.
const ERASED: usize = 8;

#[derive(Default)]
pub(super) struct Table {
    segments: Vec<Option<Box<[Bucket]>>>,
    buckets: usize,
    layout: Layout,
    /// The next bucket whose stale words are erased, and the number at which this happens.
    stale_from: usize,
    erase_at: Seq,
}

impl Table {
    /// Returns an empty table. `next` is the number after the newest live one.
    pub(super) fn with_buckets(buckets: usize, layout: Layout, next: Seq) -> Self {
        let segments = buckets.div_ceil(SEGMENT);
        Self {
            segments: std::iter::repeat_with(|| None).take(segments).collect(),
            buckets,
            layout,
            stale_from: 0,
            erase_at: next,
        }
    }

    #[inline]
    pub(super) fn layout(&self) -> Layout {
        self.layout
    }

    pub(super) fn buckets(&self) -> usize {
        self.buckets
    }

    /// Returns the home bucket of a hash, chosen by its upper half.
    #[inline]
    fn home(&self, hash: u64) -> usize {
        (((hash >> 32) * self.buckets as u64) >> 32) as usize
    }

    #[inline]
    fn after(&self, bucket: usize) -> usize {
        if bucket + 1 == self.buckets {
            0
        } else {
            bucket + 1
        }
    }

    #[inline]
    fn bucket(&self, at: usize) -> Option<&Bucket> {
        self.segments.get(at / SEGMENT)?.as_ref()?.get(at % SEGMENT)
    }

    #[inline]
    fn bucket_mut(&mut self, at: usize) -> &mut Bucket {
        let segment = &mut self.segments[at / SEGMENT];
        let segment = segment.get_or_insert_with(|| {
            let len = SEGMENT.min(self.buckets - at / SEGMENT * SEGMENT);
            vec![EMPTY; len].into_boxed_slice()
        });
        &mut segment[at % SEGMENT]
    }

    /// Returns the live number under this hash for which `is` holds.
    #[inline]
    pub(super) fn find(
        &self,
        hash: u64,
        live: LiveRange,
        mut is: impl FnMut(Seq) -> bool,
    ) -> Option<Seq> {
        let live = self.layout.live(live);
        let home = self.home(hash);
        let bucket = self.bucket(home)?;
        let found = bucket.find(hash, live, &mut is);
        if found.is_none() && bucket.has_overflowed(hash, live) {
            return self.find_overflowed(home, hash, live, is);
        }
        found
    }

    /// Continues a search in the buckets after `home`.
    #[cold]
    fn find_overflowed(
        &self,
        home: usize,
        hash: u64,
        live: LiveWords,
        mut is: impl FnMut(Seq) -> bool,
    ) -> Option<Seq> {
        let mut at = self.after(home);
        while at != home {
            let bucket = self.bucket(at)?;
            let found = bucket.find(hash, live, &mut is);
            if found.is_some() || !bucket.has_overflowed(hash, live) {
                return found;
            }
            at = self.after(at);
        }
        None
    }

    /// Reads the home bucket of a hash, so that it is in the cache when it is needed.
    #[inline]
    pub(super) fn touch(&self, hash: u64) -> u32 {
        if self.buckets == 0 {
            return 0;
        }
        self.bucket(self.home(hash)).map_or(0, Bucket::touch)
    }

    /// Inserts a number that is newer than most others, and live.
    #[inline]
    pub(super) fn insert(&mut self, hash: u64, seq: Seq, live: LiveRange) {
        let next = live.from.wrapping_add(live.len);
        if next.wrapping_sub(self.erase_at) <= Seq::MAX / 2 {
            self.erase_stale(next, live);
        }
        let (word, words) = (self.layout.word(hash, seq), self.layout.live(live));
        if !self.bucket_mut(self.home(hash)).fill(word, words) {
            self.insert_next(hash, seq, live);
        }
    }

    /// Erases the stale words of as many buckets as are due before `next` is given.
    #[cold]
    fn erase_stale(&mut self, next: Seq, live: LiveRange) {
        let words = self.layout.live(live);
        // All buckets in a quarter of a period.
        let step = self.layout.period_quarter() / self.buckets.div_ceil(ERASED) as u32;
        while next.wrapping_sub(self.erase_at) <= Seq::MAX / 2 {
            for _ in 0..ERASED.min(self.buckets) {
                let at = self.stale_from;
                self.stale_from = self.after(at);
                if let Some(segment) = &mut self.segments[at / SEGMENT] {
                    segment[at % SEGMENT].erase_stale(words);
                }
            }
            self.erase_at = self.erase_at.wrapping_add(step);
        }
    }

    #[cold]
    fn insert_next(&mut self, hash: u64, seq: Seq, live: LiveRange) {
        self.insert_by(Bucket::fill_next, hash, seq, live);
    }

    /// Inserts a number that is older than all others in the table. Returns the number of probed
    /// buckets.
    pub(super) fn insert_oldest(&mut self, hash: u64, seq: Seq, live: LiveRange) -> usize {
        self.insert_by(Bucket::fill_last, hash, seq, live)
    }

    /// Inserts a number into the first bucket from its home on that `fill` can fill. Returns the
    /// number of probed buckets.
    fn insert_by(
        &mut self,
        fill: impl Fn(&mut Bucket, u32, LiveWords) -> bool,
        hash: u64,
        seq: Seq,
        live: LiveRange,
    ) -> usize {
        let (word, live) = (self.layout.word(hash, seq), self.layout.live(live));
        let mut at = self.home(hash);
        for probed in 1..=self.buckets {
            let next = self.after(at);
            let bucket = self.bucket_mut(at);
            if fill(bucket, word, live) {
                return probed;
            }
            bucket.overflow(word, live);
            at = next;
        }
        unreachable!("the table has a free word")
    }

    /// Removes a number that was inserted under this hash.
    pub(super) fn remove(&mut self, hash: u64, seq: Seq) {
        self.replace_word(hash, self.layout.word(hash, seq), 0, |_| {});
    }

    /// Replaces a number that was inserted under this hash by another, which must be live.
    pub(super) fn replace(&mut self, hash: u64, seq: Seq, by: Seq, live: LiveRange) {
        let (word, by) = (self.layout.word(hash, seq), self.layout.word(hash, by));
        let live = self.layout.live(live);
        self.replace_word(hash, word, by, |passed| passed.overflow(by, live));
    }

    fn replace_word(&mut self, hash: u64, word: u32, by: u32, pass: impl Fn(&mut Bucket)) {
        let mut at = self.home(hash);
        for _ in 0..self.buckets {
            let next = self.after(at);
            let bucket = self.bucket_mut(at);
            if bucket.replace(word, by) {
                return;
            }
            pass(bucket);
            at = next;
        }
        unreachable!("the number was inserted under this hash");
    }

    /// Takes over the memory of another table, to be freed with its own.
    pub(super) fn absorb(&mut self, mut other: Self) {
        self.buckets = 0;
        if self.segments.len() < other.segments.len() {
            std::mem::swap(&mut self.segments, &mut other.segments);
        }
        self.segments.append(&mut other.segments);
    }

    /// Returns `true` if no memory is held.
    pub(super) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Frees one segment. Returns `true` if more are left.
    pub(super) fn free_some(&mut self) -> bool {
        while let Some(segment) = self.segments.pop() {
            if segment.is_some() {
                break;
            }
        }
        if self.segments.is_empty() {
            self.segments = Vec::new();
        }
        !self.segments.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn insert_finds_a_free_word_under_any_hasher() {
        let (buckets, period) = (11, 1_u32 << 21);
        let mut table = Table::with_buckets(buckets, Layout::default(), 0);
        let hash = |bucket: u64, low: u64| (bucket * (1_u64 << 32).div_ceil(11)) << 32 | low;
        let window = 100;
        for lap in 0..6 {
            // The entries of every lap go to other buckets than those of the lap before, under the
            // same numbers. The words of all laps together are more than there are.
            let bucket = [0, 7][lap as usize % 2];
            for at in 0..window {
                let seq = lap * period + at;
                let live = LiveRange::between(seq.saturating_sub(window - 1), seq + 1);
                table.insert(hash(bucket, u64::from(at)), seq, live);
                let found = table.find(hash(bucket, u64::from(at)), live, |it| it == seq);
                assert_eq!(found, Some(seq));
            }
            for later in (period / 8..period).step_by(period as usize / 8) {
                let seq = lap * period + later;
                table.insert(hash(10, 0), seq, LiveRange::between(seq, seq + 1));
            }
        }
    }

    /// A number that died would look live again after a period.
    #[test]
    fn stale_words_are_erased_within_a_quarter_of_a_period() {
        for buckets in [11, 300] {
            let layout = Layout::default();
            let mut table = Table::with_buckets(buckets, layout, 0);
            let hash = |seq: u32| (u64::from(seq) << 32).div_ceil(buckets as u64) << 32;
            let mut insert = |hash, seq| table.insert(hash, seq, LiveRange::between(seq, seq + 1));
            (0..buckets as u32).for_each(|seq| insert(hash(seq), seq));
            // Numbers jump from slot to slot, so few are those at which words are due.
            let step = layout.period_quarter() / 16 + 3;
            (1..=17).for_each(|at| insert(1, buckets as u32 + at * step));
            for seq in 0..buckets as u32 {
                let live = LiveRange::between(seq, seq + 1);
                assert_eq!(table.find(hash(seq), live, |_| true), None, "{seq}");
            }
        }
    }

    #[test]
    fn last_segment_is_as_long_as_necessary() {
        let mut table = Table::with_buckets(SEGMENT + 44, Layout::default(), 0);
        _ = [0, SEGMENT].map(|at| *table.bucket_mut(at) = EMPTY);
        let lens = table.segments.iter().flatten().map(|segment| segment.len());
        assert_eq!(lens.collect::<Vec<_>>(), [SEGMENT, 44]);
    }

    #[test]
    fn free_some_frees_one_segment_per_call() {
        let mut table = Table::with_buckets(3 * SEGMENT, Layout::default(), 0);
        (0..3).for_each(|segment| *table.bucket_mut(segment * SEGMENT) = EMPTY);
        let mut retired = Table::default();
        retired.absorb(table);
        assert_eq!([(); 3].map(|()| retired.free_some()), [true, true, false]);
        assert_eq!((retired.is_empty(), retired.segments.capacity()), (true, 0));
    }

    #[test]
    fn overflowed_entry_is_found_after_removals_and_renumbering() {
        let mut table = Table::with_buckets(3, Layout::default(), 100);
        let hash = |bucket: u64, low: u64| ((bucket * 0x6000_0000) << 32) | low;
        let live = LiveRange::between(100, 150);
        // Two buckets are full, so an id whose home is the first of them goes to the third.
        for seq in 100..130 {
            let id = hash(u64::from(seq - 100) / 15, u64::from(seq));
            table.insert(id, seq, live);
        }
        let id = hash(0, 7);
        table.insert(id, 130, live);
        // One entry leaves the second bucket, and an id of the same hash takes its place.
        table.remove(hash(1, 129), 129);
        table.insert(id, 131, live);
        let find = |table: &Table, seq| table.find(id, live, |it| it == seq);
        assert_eq!(
            (find(&table, 130), find(&table, 131)),
            (Some(130), Some(131))
        );
        table.replace(id, 130, 140, live);
        assert_eq!((find(&table, 130), find(&table, 140)), (None, Some(140)));
        table.remove(id, 131);
        assert_eq!((find(&table, 131), find(&table, 140)), (None, Some(140)));
        // The buckets before it know its number also when all older numbers are dead.
        table.replace(id, 140, 5_000, LiveRange::between(100, 5_001));
        let live = LiveRange::between(2_000, 5_001);
        let find = |table: &Table, seq| table.find(id, live, |it| it == seq);
        assert_eq!(find(&table, 5_000), Some(5_000));
        table.remove(id, 5_000);
        assert_eq!(find(&table, 5_000), None);
    }
}
