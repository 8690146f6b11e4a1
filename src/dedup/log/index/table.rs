//! `Table`: one array of buckets.
//!
//! An entry that does not fit into its home bucket goes to the next one with a free slot. The array is divided into
//! segments, which are allocated when they are first written and freed one at a time. So no call zeroes or frees
//! megabytes.

use super::bucket::{Bucket, EMPTY, SlotContent};
use super::grouping::{Grouping, LiveGroups};
use super::{LiveRange, Seq};

/// Buckets in a segment: 16 KiB.
const SEGMENT: usize = 256;

#[derive(Default)]
pub(super) struct Table {
    segments: Vec<Option<Box<[Bucket]>>>,
    buckets: usize,
    grouping: Grouping,
}

impl Table {
    pub(super) fn with_buckets(buckets: usize, grouping: Grouping) -> Self {
        let segments = buckets.div_ceil(SEGMENT);
        Self {
            segments: std::iter::repeat_with(|| None).take(segments).collect(),
            buckets,
            grouping,
        }
    }

    #[inline]
    pub(super) fn grouping(&self) -> Grouping {
        self.grouping
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
    fn content(&self, hash: u64, seq: Seq) -> SlotContent {
        SlotContent::new(hash, self.grouping.group(seq))
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

    /// Calls `search` with the first number and the size of each live group under this hash, until it returns a number.
    #[inline]
    pub(super) fn find(
        &self,
        hash: u64,
        live: LiveRange,
        mut search: impl FnMut(Seq, u32) -> Option<Seq>,
    ) -> Option<Seq> {
        let home = self.home(hash);
        let bucket = self.bucket(home)?;
        let found = bucket.find(hash, live, self.grouping, &mut search);
        if found.is_none() && bucket.state().overflowed(hash, live, self.grouping) {
            return self.find_overflowed(home, hash, live, search);
        }
        found
    }

    /// Continues a search in the buckets after `home`.
    #[cold]
    fn find_overflowed(
        &self,
        home: usize,
        hash: u64,
        live: LiveRange,
        mut search: impl FnMut(Seq, u32) -> Option<Seq>,
    ) -> Option<Seq> {
        let mut at = self.after(home);
        while at != home {
            let bucket = self.bucket(at)?;
            let found = bucket.find(hash, live, self.grouping, &mut search);
            if found.is_some() || !bucket.state().overflowed(hash, live, self.grouping) {
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
        self.bucket(self.home(hash)).map_or(0, Bucket::word)
    }

    /// Inserts the newest number, which must be live. The table must have a free slot.
    #[inline]
    pub(super) fn insert(&mut self, hash: u64, seq: Seq, live: LiveRange) {
        let (content, groups) = (self.content(hash, seq), self.grouping.groups(live));
        if !self.bucket_mut(self.home(hash)).fill(content, groups) {
            self.insert_next(hash, seq, live);
        }
    }

    #[cold]
    fn insert_next(&mut self, hash: u64, seq: Seq, live: LiveRange) {
        self.insert_by(Bucket::fill_next, hash, seq, live);
    }

    /// Inserts a number that is older than all others in the table. Returns the number of probed buckets.
    pub(super) fn insert_oldest(&mut self, hash: u64, seq: Seq, live: LiveRange) -> usize {
        self.insert_by(Bucket::fill_last, hash, seq, live)
    }

    /// Inserts a number into the first bucket from its home on that `fill` can fill. Returns the number of probed
    /// buckets.
    fn insert_by(
        &mut self,
        fill: impl Fn(&mut Bucket, SlotContent, LiveGroups) -> bool,
        hash: u64,
        seq: Seq,
        live: LiveRange,
    ) -> usize {
        let (content, groups) = (self.content(hash, seq), self.grouping.groups(live));
        let mut at = self.home(hash);
        for probed in 1.. {
            let next = self.after(at);
            let bucket = self.bucket_mut(at);
            if fill(bucket, content, groups) {
                return probed;
            }
            bucket.overflow(content, groups);
            at = next;
        }
        unreachable!("the table has a free slot")
    }

    /// Removes a number that was inserted under this hash.
    pub(super) fn remove(&mut self, hash: u64, seq: Seq) {
        self.replace_content(hash, self.content(hash, seq), SlotContent::NONE, |_| {});
    }

    /// Replaces a number that was inserted under this hash by another, which must be live.
    pub(super) fn replace(&mut self, hash: u64, seq: Seq, by: Seq, live: LiveRange) {
        let (content, by, groups) = (
            self.content(hash, seq),
            self.content(hash, by),
            self.grouping.groups(live),
        );
        if content != by {
            self.replace_content(hash, content, by, |passed| passed.overflow(by, groups));
        }
    }

    fn replace_content(
        &mut self,
        hash: u64,
        content: SlotContent,
        by: SlotContent,
        pass: impl Fn(&mut Bucket),
    ) {
        let mut at = self.home(hash);
        for _ in 0..self.buckets {
            let next = self.after(at);
            let bucket = self.bucket_mut(at);
            if bucket.replace(content, by) {
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
                return !self.segments.is_empty();
            }
        }
        self.segments = Vec::new();
        false
    }
}
