//! `Table`: one array of buckets, of any number.
//!
//! Home buckets are in the order of the hashes: the lower the hash, the lower the bucket, whatever
//! the number of buckets. A table can thus be moved to one of another size from one end to the
//! other, and the memory of the new one is touched a little at a time.

// `#[inline(always)]`: see the core.

use super::super::slab::Slot;
use super::bucket::{Bucket, CAPACITY};

/// Entries per bucket, on average, for which a table is made: two thirds of what it can hold.
pub(super) const LOAD: usize = 10;
/// Entries per bucket that may come beyond that while one table is moved to another.
const EXCESS: usize = 4;
const _: () = assert!(LOAD + EXCESS < CAPACITY, "a table never fills up");

/// The result of searching the home bucket.
pub(super) enum Probe {
    Found(Slot),
    /// No entry has the hash.
    Missing,
    /// Another entry has the same fingerprint, or an entry passed the bucket.
    Inconclusive,
}

pub(super) struct Table {
    /// The buckets that were needed until now. The others, up to `count`, are empty.
    buckets: Vec<Bucket>,
    count: usize,
    entries: usize,
    /// Bits of a word that hold the slot.
    slot_bits: u32,
}

impl Table {
    /// Creates a table of `count` buckets. It allocates them and touches none.
    pub(super) fn new(count: usize) -> Self {
        let slots = (count as u64 * (LOAD + EXCESS) as u64).next_power_of_two();
        Self {
            buckets: Vec::with_capacity(count),
            count,
            entries: 0,
            slot_bits: slots.ilog2().min(31),
        }
    }

    /// Returns the number of buckets for `entries`.
    pub(super) fn buckets_for(entries: usize) -> usize {
        entries.div_ceil(LOAD).max(1)
    }

    pub(super) fn bucket_count(&self) -> usize {
        self.count
    }

    pub(super) fn len(&self) -> usize {
        self.entries
    }

    /// Returns the home bucket of a hash.
    #[inline(always)]
    pub(super) fn home(&self, hash: u32) -> usize {
        ((u64::from(hash) * self.count as u64) >> 32) as usize
    }

    #[inline(always)]
    fn after(&self, bucket: usize) -> usize {
        if bucket + 1 == self.count {
            0
        } else {
            bucket + 1
        }
    }

    /// Returns the bits above the slot in the words of this hash. The highest bits of the hash
    /// chose the bucket.
    #[inline(always)]
    fn fingerprint(&self, hash: u32) -> u32 {
        (hash << 1 | 1) << self.slot_bits
    }

    #[inline(always)]
    fn fingerprint_mask(&self) -> u32 {
        !0 << self.slot_bits
    }

    #[inline(always)]
    fn word(&self, hash: u32, slot: Slot) -> u32 {
        debug_assert!(u64::from(slot) < 1 << self.slot_bits, "the slot fits");
        self.fingerprint(hash) | slot
    }

    /// Searches the home bucket of a hash for the slot for which `eq` returns `true`. `eq` must
    /// return `false` for a slot that is out of range.
    #[inline(always)]
    pub(super) fn probe_home(&self, hash: u32, eq: impl Fn(Slot) -> bool) -> Probe {
        let Some(bucket) = self.buckets.get(self.home(hash)) else {
            return Probe::Missing;
        };
        let mask = self.fingerprint_mask();
        let found = bucket.matching(self.fingerprint(hash), mask);
        if found != 0 {
            // If several words match, this is no slot, or another one.
            if eq(found & !mask) {
                return Probe::Found(found & !mask);
            }
        } else if bucket.overflow_count(hash) == 0 {
            return Probe::Missing;
        }
        Probe::Inconclusive
    }

    /// Returns the slot with this hash for which `eq` returns `true`.
    pub(super) fn find(&self, hash: u32, eq: impl Fn(Slot) -> bool) -> Option<Slot> {
        let (fingerprint, mask) = (self.fingerprint(hash), self.fingerprint_mask());
        for at in self.probe_sequence(hash) {
            let bucket = self.buckets.get(at)?;
            let alike = bucket
                .used()
                .iter()
                .filter(|&word| word & mask == fingerprint);
            let found = alike.map(|word| word & !mask).find(|&slot| eq(slot));
            if found.is_some() || bucket.overflow_count(hash) == 0 {
                return found;
            }
        }
        None
    }

    /// Returns the buckets in which an entry with this hash may be, in order.
    fn probe_sequence(&self, hash: u32) -> impl Iterator<Item = usize> + use<> {
        let home = self.home(hash);
        (home..self.count).chain(0..home)
    }

    /// Adds an entry. Some bucket must have room.
    #[inline(always)]
    pub(super) fn insert(&mut self, hash: u32, slot: Slot) {
        let word = self.word(hash, slot);
        self.entries += 1;
        let home = self.home(hash);
        if !self
            .buckets
            .get_mut(home)
            .is_some_and(|home| home.insert(word))
        {
            self.insert_further(hash, word, home);
        }
    }

    /// Adds a word that its home bucket `at` has no room for, or that is not allocated.
    #[cold]
    #[inline(never)]
    fn insert_further(&mut self, hash: u32, word: u32, mut at: usize) {
        loop {
            if at >= self.buckets.len() {
                self.buckets.resize(at + 1, Bucket::EMPTY);
            }
            let bucket = &mut self.buckets[at];
            if bucket.insert(word) {
                return;
            }
            bucket.add_overflow(hash);
            at = self.after(at);
        }
    }

    /// Removes an entry, and returns whether it was there.
    #[inline(always)]
    pub(super) fn remove(&mut self, hash: u32, slot: Slot) -> bool {
        let word = self.fingerprint(hash) | slot;
        let home = self.home(hash);
        let home = self.buckets.get_mut(home);
        if let Some((bucket, position)) = home.and_then(|it| it.position(word).map(|at| (it, at))) {
            bucket.remove(position);
            self.entries -= 1;
            return true;
        }
        self.remove_further(hash, slot)
    }

    /// Removes an entry that is not in its home bucket, and returns whether it was there.
    #[cold]
    #[inline(never)]
    fn remove_further(&mut self, hash: u32, slot: Slot) -> bool {
        let Some((at, position)) = self.position(hash, slot) else {
            return false;
        };
        self.buckets[at].remove(position);
        self.entries -= 1;
        self.remove_overflows(hash, at);
        true
    }

    /// Changes the slot of an entry, and returns whether the entry was there.
    pub(super) fn relocate(&mut self, hash: u32, from: Slot, to: Slot) -> bool {
        let Some((at, position)) = self.position(hash, from) else {
            return false;
        };
        let word = self.word(hash, to);
        self.buckets[at].replace(position, word);
        true
    }

    /// Returns the bucket of an entry and its position there.
    #[inline(always)]
    fn position(&self, hash: u32, slot: Slot) -> Option<(usize, usize)> {
        let word = self.fingerprint(hash) | slot;
        let home = self.home(hash);
        let mut at = home;
        loop {
            let bucket = self.buckets.get(at)?;
            if let Some(position) = bucket.position(word) {
                return Some((at, position));
            }
            at = self.after(at);
            if bucket.overflow_count(hash) == 0 || at == home {
                return None;
            }
        }
    }

    /// Undoes the overflow counts of an entry that is no longer in bucket `at`.
    #[inline(always)]
    fn remove_overflows(&mut self, hash: u32, at: usize) {
        let mut passed = self.home(hash);
        while passed != at {
            self.buckets[passed].remove_overflow(hash);
            passed = self.after(passed);
        }
    }

    /// Removes the entries of one bucket whose home `is_wanted` accepts, and calls `work` with the
    /// hash and slot of each.
    pub(super) fn drain_bucket(
        &mut self,
        at: usize,
        hash_of: impl Fn(Slot) -> u32,
        is_wanted: impl Fn(usize) -> bool,
        mut work: impl FnMut(u32, Slot),
    ) {
        // Downwards, because the last word takes the position of a removed one.
        let used = self.buckets.get(at).map_or(0, |bucket| bucket.used().len());
        for position in (0..used).rev() {
            let slot = self.buckets[at].used()[position] & !self.fingerprint_mask();
            let hash = hash_of(slot);
            if is_wanted(self.home(hash)) {
                self.buckets[at].remove(position);
                self.entries -= 1;
                self.remove_overflows(hash, at);
                work(hash, slot);
            }
        }
    }

    /// Checks that the overflow counts are what the entries make them.
    pub(super) fn validate(&self, hash_of: impl Fn(Slot) -> u32) {
        use super::bucket::{CLASSES, SATURATED};
        let mut counts = vec![[0_u32; CLASSES as usize]; self.buckets.len()];
        let mut entries = 0;
        for (at, bucket) in self.buckets.iter().enumerate() {
            bucket.validate();
            entries += bucket.used().len();
            for &word in bucket.used() {
                let slot = word & !self.fingerprint_mask();
                let hash = hash_of(slot);
                assert_eq!(word, self.word(hash, slot), "the word of an entry");
                let passed = self.probe_sequence(hash).take_while(|&passed| passed != at);
                passed.for_each(|passed| counts[passed][(hash % CLASSES) as usize] += 1);
            }
        }
        assert_eq!(entries, self.entries, "the number of entries in a table");
        for (bucket, counts) in self.buckets.iter().zip(counts) {
            for (class, count) in (0..).zip(counts) {
                let there = bucket.overflow_count(class);
                assert!(there == count || there == SATURATED, "an overflow count");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(hashes: &[u32], buckets: usize) -> Table {
        let mut table = Table::new(buckets);
        for (slot, &hash) in hashes.iter().enumerate() {
            table.insert(hash, slot as Slot);
        }
        table.validate(|slot| hashes[slot as usize]);
        table
    }

    #[test]
    fn find_tells_equal_fingerprints_apart() {
        let table = filled(&[u32::MAX; CAPACITY], 1);
        for slot in 0..CAPACITY as Slot {
            assert_eq!(table.find(u32::MAX, |at| at == slot), Some(slot));
        }
        assert_eq!(table.find(u32::MAX, |_| false), None);
        assert_eq!(table.find(u32::MAX - 1, |_| true), None);
    }

    #[test]
    fn find_passes_buckets_that_were_full_once() {
        // The home of all of these is the last bucket, and the table wraps around. Classes differ.
        let hashes: Vec<u32> = (0..36).map(|n| u32::MAX - 255 * n).collect();
        let mut table = filled(&hashes, 3);
        for (slot, &hash) in (0..).zip(&hashes) {
            assert_eq!(table.find(hash, |at| at == slot), Some(slot));
            assert!(table.remove(hash, slot) && !table.remove(hash, slot));
            table.validate(|slot| hashes[slot as usize]);
        }
        assert!((0..8).all(|class| table.buckets[2].overflow_count(class) == 0));
    }

    #[test]
    fn saturated_overflow_count_stays() {
        // All of one home and one class.
        let hashes: Vec<u32> = (0..36).map(|n| u32::MAX - 256 * n).collect();
        let mut table = filled(&hashes, 3);
        for (slot, &hash) in (0..).zip(&hashes) {
            assert!(table.remove(hash, slot));
            table.validate(|slot| hashes[slot as usize]);
        }
        assert_eq!(table.buckets[2].overflow_count(u32::MAX), 7);
        assert_eq!(table.find(u32::MAX, |_| true), None);
    }
}
