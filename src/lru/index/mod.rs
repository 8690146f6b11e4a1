//! `Index`: finds the slot of an entry by its hash, and grows and shrinks one bucket per call.
//!
//! During a resize there are two tables. A call moves the entries of one bucket, at most 15, from
//! the old table to the new one. The bound holds for any hasher; a weak one makes each of these
//! moves as long as a lookup.
//!
//! The cursor goes through the old table's buckets in order. A new entry whose home is behind the
//! cursor goes into the new table, and another one into the old. Both tables therefore fill from
//! the low end, and the new one's memory is touched a little per call. At the first pass an entry
//! stays if it wrapped around the end, because its home is ahead; a second pass moves what is left.
//! A lookup asks both tables.
//!
//! # Why neither table fills up
//!
//! A table of `n` buckets is made for `10 n` entries, and a bucket holds 15.
//!
//! * Growth begins at `10 n` entries and goes to `2 n` buckets, or to as many as the bound needs.
//!   One bucket is moved with every entry that is added. The first pass thus adds at most `n`
//!   entries, and with a good hasher the second one has nothing to do. With a bad one, it adds at
//!   most another `n`: 12 per bucket in the old table, and less in the new.
//! * If the bound allowed only a few more buckets and is raised during the move, the new table is
//!   left for another one right after the move: that makes one more per bucket.
//! * Shrinking begins below an eighth of `10 n` and goes to `n / 4` buckets. One bucket is moved
//!   with every entry that is added, two with one that is removed. So at most `1.25 n + 2 n`
//!   entries come into room for `3.75 n`.

// `#[inline(always)]`: see the core.

mod bucket;
mod table;

use std::mem::replace;

use super::slab::Slot;
use table::{LOAD, Probe, Table};

pub(super) struct Index {
    table: Table,
    /// Boxed, because it is rarely there, and most calls only check that.
    old: Option<Box<Old>>,
    /// Entries that the table was made for.
    capacity: usize,
}

/// The table that is being left.
struct Old {
    table: Table,
    /// The bucket that is moved next. From the number of buckets on, this is the second pass.
    cursor: usize,
}

impl Index {
    pub(super) fn new() -> Self {
        Self {
            table: Table::new(1),
            old: None,
            capacity: LOAD,
        }
    }

    /// Returns the slot with this hash for which `eq` returns `true`. `eq` must return `false` for
    /// a slot that is out of range.
    #[inline(always)]
    pub(super) fn find(&self, hash: u32, eq: impl Fn(Slot) -> bool) -> Option<Slot> {
        match self.table.probe_home(hash, &eq) {
            Probe::Found(slot) => Some(slot),
            Probe::Missing if self.old.is_none() => None,
            _ => self.find_further(hash, eq),
        }
    }

    /// Finds an entry that is in no home bucket of the table.
    #[cold]
    #[inline(never)]
    fn find_further(&self, hash: u32, eq: impl Fn(Slot) -> bool) -> Option<Slot> {
        self.table
            .find(hash, &eq)
            .or_else(|| self.old.as_ref()?.table.find(hash, eq))
    }

    /// Adds an entry, for which [`before_push`](Self::before_push) made room.
    #[inline(always)]
    pub(super) fn insert(&mut self, hash: u32, slot: Slot) {
        match &mut self.old {
            Some(old) if old.table.home(hash) >= old.cursor => old.table.insert(hash, slot),
            _ => self.table.insert(hash, slot),
        }
    }

    /// Removes an entry.
    #[inline(always)]
    pub(super) fn remove(&mut self, hash: u32, slot: Slot) {
        let removed = self.table.remove(hash, slot)
            || (self.old.as_mut()).is_some_and(|old| old.table.remove(hash, slot));
        debug_assert!(removed, "every entry is in the index");
    }

    /// Changes the slot of an entry.
    #[inline(always)]
    pub(super) fn relocate(&mut self, hash: u32, from: Slot, to: Slot) {
        let found = self.table.relocate(hash, from, to)
            || (self.old.as_mut()).is_some_and(|old| old.table.relocate(hash, from, to));
        debug_assert!(found, "every entry is in the index");
    }

    /// Makes room for one entry in addition to `len`, of at most `bound`, and continues a resize.
    #[inline(always)]
    pub(super) fn before_push(&mut self, len: usize, bound: usize, hash_of: impl Fn(Slot) -> u32) {
        if len >= self.capacity || self.old.is_some() {
            self.grow(len, bound, hash_of);
        }
    }

    /// Replaces the entry of a slot by one with another hash, and continues a resize before that.
    #[inline(always)]
    pub(super) fn replace(
        &mut self,
        old_hash: u32,
        new_hash: u32,
        slot: Slot,
        hash_of: impl Fn(Slot) -> u32,
    ) {
        if self.old.is_some() {
            self.move_bucket(hash_of);
        }
        self.remove(old_hash, slot);
        self.insert(new_hash, slot);
    }

    /// Continues a resize after a removal, or starts one if the table has become far too large.
    #[inline(always)]
    pub(super) fn after_remove(&mut self, len: usize, hash_of: impl Fn(Slot) -> u32) {
        if self.needs_work(len) {
            self.maintain(len, &hash_of);
            self.maintain(len, &hash_of);
        }
    }

    #[cold]
    fn grow(&mut self, len: usize, bound: usize, hash_of: impl Fn(Slot) -> u32) {
        self.move_bucket(hash_of);
        let needed = Table::buckets_for((len + 1).min(bound));
        let count = self.table.bucket_count();
        if self.old.is_none() && needed > count {
            self.resize((2 * count).min(Table::buckets_for(bound)).max(needed));
        }
    }

    #[inline(always)]
    fn needs_work(&self, len: usize) -> bool {
        self.old.is_some() || 8 * len.max(LOAD) < self.capacity
    }

    /// Moves one bucket, after starting a resize if the table is far too large. Returns whether
    /// there is more to do.
    #[cold]
    pub(super) fn maintain(&mut self, len: usize, hash_of: impl Fn(Slot) -> u32) -> bool {
        if self.old.is_none() && self.needs_work(len) {
            self.resize(self.table.bucket_count() / 4);
        }
        self.move_bucket(hash_of);
        self.needs_work(len)
    }

    fn resize(&mut self, buckets: usize) {
        let table = replace(&mut self.table, Table::new(buckets));
        self.old = Some(Box::new(Old { table, cursor: 0 }));
        self.capacity = buckets * LOAD;
    }

    /// Moves the entries of one bucket to the new table.
    #[cold]
    fn move_bucket(&mut self, hash_of: impl Fn(Slot) -> u32) {
        let Some(old) = &mut self.old else { return };
        let count = old.table.bucket_count();
        let (is_first_pass, at) = (old.cursor < count, old.cursor % count);
        old.table.drain_bucket(
            at,
            hash_of,
            |home| !is_first_pass || home <= at,
            |hash, slot| self.table.insert(hash, slot),
        );
        old.cursor += 1;
        if old.table.len() == 0 {
            self.old = None;
        }
    }

    pub(super) fn validate(&self, len: usize, hash_of: impl Fn(Slot) -> u32) {
        self.table.validate(&hash_of);
        let mut entries = self.table.len();
        if let Some(old) = &self.old {
            old.table.validate(&hash_of);
            entries += old.table.len();
        }
        assert_eq!(entries, len, "the number of entries in the index");
        for slot in 0..len as Slot {
            let found = self.find(hash_of(slot), |at| at == slot);
            assert_eq!(found, Some(slot), "the entry is found");
        }
    }
}

#[cfg(test)]
mod tests;
