//! `Index`: from hashes to places in the slab, in a table that grows and shrinks a line a call.
//!
//! While it does, entries of which the hash chooses a line below `moved` in the old table are in the new one, and the
//! others still in the old: there is one table to look into for any hash.
//!
//! A table of `n` lines is left for one of up to `2n` at 10 entries a line, and one line is moved with every entry that
//! is added: so at the end there are at most 11 of 15 a line, in the old table as in the new one. Where the bound allows for
//! hardly more lines, and is raised meanwhile, the new table is left in turn as soon as the move to it ends, at 11 entries a
//! line: then there are up to 12. A table is left for one of `n / 4` at an eighth of 10, and a line is moved with every
//! entry that is added, two with one that is removed: then at most about 9.

use std::mem::replace;

use super::line::{Glance, LOAD, Table};
use super::slab::Place;

pub(super) struct Index {
    table: Table,
    /// Boxed, because it is seldom there: to see so is all that most calls do with it.
    old: Option<Box<Old>>,
    /// The number of entries that the table is enough for.
    enough: usize,
}

struct Old {
    table: Table,
    moved: usize,
}

impl Old {
    /// Whether an entry with this hash is here, or belongs here.
    #[cold]
    fn has(&self, hash: u32) -> bool {
        self.table.home(hash) >= self.moved
    }

    #[cold]
    fn or<'a>(&'a self, table: &'a Table, hash: u32) -> &'a Table {
        if self.has(hash) { &self.table } else { table }
    }
}

impl Index {
    pub(super) fn new() -> Self {
        Self {
            table: Table::new(1),
            old: None,
            enough: LOAD,
        }
    }

    /// The table that an entry with this hash is in, or belongs into.
    #[inline(always)]
    fn table(&self, hash: u32) -> &Table {
        match &self.old {
            Some(old) => old.or(&self.table, hash),
            None => &self.table,
        }
    }

    #[inline(always)]
    fn table_mut(&mut self, hash: u32) -> &mut Table {
        match &mut self.old {
            Some(old) if old.has(hash) => &mut old.table,
            _ => &mut self.table,
        }
    }

    /// What the line that this hash chooses tells of the entry of which `is` says that it is the one. It may be asked of
    /// places that there are not.
    #[inline(always)]
    pub(super) fn glance(&self, hash: u32, is: impl Fn(Place) -> bool) -> Glance {
        self.table(hash).glance(hash, is)
    }

    /// The place of an entry, where a [`glance`](Self::glance) does not tell it.
    #[inline(always)]
    pub(super) fn search(&self, hash: u32, is: impl Fn(Place) -> bool) -> Option<Place> {
        self.table(hash).search(hash, is)
    }

    #[inline(always)]
    pub(super) fn insert(&mut self, hash: u32, place: Place) {
        self.table_mut(hash).insert(hash, place);
    }

    /// Removes the entry that is at this place.
    #[inline(always)]
    pub(super) fn remove(&mut self, hash: u32, place: Place) {
        self.table_mut(hash).remove(hash, place);
    }

    /// Notes that an entry is at another place now.
    #[inline(always)]
    pub(super) fn relocated(&mut self, hash: u32, from: Place, to: Place) {
        self.table_mut(hash).relocated(hash, from, to);
    }

    /// Sees to it that there is room for one more than there are, of at most `bound`, and goes on moving.
    #[inline(always)]
    pub(super) fn before_push(
        &mut self,
        entries: usize,
        bound: usize,
        hash_of: impl Fn(Place) -> u32,
    ) {
        if entries >= self.enough || self.old.is_some() {
            self.grow(entries, bound, hash_of);
        }
    }

    /// Goes on moving, where an entry comes for another that goes.
    #[inline(always)]
    pub(super) fn before_replace(&mut self, hash_of: impl Fn(Place) -> u32) {
        if self.old.is_some() {
            self.move_line(hash_of);
        }
    }

    #[cold]
    fn grow(&mut self, entries: usize, bound: usize, hash_of: impl Fn(Place) -> u32) {
        self.move_line(hash_of);
        let needed = Table::lines_for((entries + 1).min(bound));
        let lines = self.table.count();
        if self.old.is_none() && needed > lines {
            self.resize((2 * lines).min(Table::lines_for(bound)).max(needed));
        }
    }

    /// Goes on moving, or begins to where the table has become far too large.
    #[inline(always)]
    pub(super) fn after_remove(&mut self, entries: usize, hash_of: impl Fn(Place) -> u32) {
        if self.is_untidy(entries) {
            self.tidy(entries, &hash_of);
            self.tidy(entries, &hash_of);
        }
    }

    #[inline(always)]
    fn is_untidy(&self, entries: usize) -> bool {
        self.old.is_some() || 8 * entries.max(LOAD) < self.enough
    }

    /// Goes on moving, or begins to where the table has become far too large; whether there is more to move.
    #[cold]
    pub(super) fn tidy(&mut self, entries: usize, hash_of: impl Fn(Place) -> u32) -> bool {
        if self.old.is_none() && self.is_untidy(entries) {
            self.resize(self.table.count() / 4);
        }
        self.move_line(hash_of);
        self.is_untidy(entries)
    }

    fn resize(&mut self, lines: usize) {
        let table = replace(&mut self.table, Table::new(lines));
        self.old = Some(Box::new(Old { table, moved: 0 }));
        self.enough = lines * LOAD;
    }

    /// Moves the entries of one line.
    #[cold]
    fn move_line(&mut self, hash_of: impl Fn(Place) -> u32) {
        let Some(old) = &mut self.old else { return };
        while let Some((hash, place)) = old.table.any_of(old.moved, &hash_of) {
            self.table.insert(hash, place);
            old.table.remove(hash, place);
        }
        old.moved += 1;
        if old.moved == old.table.count() {
            self.old = None;
        }
    }

    pub(super) fn validate(&self, entries: usize, hash_of: impl Fn(Place) -> u32) {
        let mut found = self.table.validate(&hash_of);
        if let Some(old) = &self.old {
            found += old.table.validate(&hash_of);
        }
        assert_eq!(found, entries, "the entries in the index");
        for place in 0..entries as Place {
            let hash = hash_of(place);
            let glance = self.glance(hash, |at| at == place);
            assert!(
                [Glance::Found(place), Glance::Unclear].contains(&glance),
                "the entry is not overlooked"
            );
            assert_eq!(
                self.search(hash, |at| at == place),
                Some(place),
                "the entry is found"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An index with the hashes of its entries, by place, and what a store does about both.
    struct Indexed {
        index: Index,
        hashes: Vec<u32>,
        next: u32,
    }

    impl Indexed {
        fn push(&mut self) {
            let Self {
                index,
                hashes,
                next,
            } = self;
            index.before_push(hashes.len(), usize::MAX, |at| hashes[at as usize]);
            *next = next.wrapping_add(0x9E37_79B9);
            index.insert(*next, hashes.len() as Place);
            hashes.push(*next);
        }

        fn remove(&mut self, at: usize) {
            let Self { index, hashes, .. } = self;
            index.remove(hashes.swap_remove(at), at as Place);
            if let Some(&moved) = hashes.get(at) {
                index.relocated(moved, hashes.len() as Place, at as Place);
            }
            index.after_remove(hashes.len(), |at| hashes[at as usize]);
        }

        fn settle(&mut self) {
            let Self { index, hashes, .. } = self;
            while index.tidy(hashes.len(), |at| hashes[at as usize]) {}
        }

        /// Validates always where that is little work, and else now and then.
        fn validate(&self) {
            if self.hashes.len() < 200 || self.hashes.len().is_multiple_of(64) {
                self.index
                    .validate(self.hashes.len(), |at| self.hashes[at as usize]);
            }
        }
    }

    #[test]
    fn entries_stay_found_while_the_table_grows_shrinks_and_grows_again_before_it_has_shrunk() {
        let mut indexed = Indexed {
            index: Index::new(),
            hashes: Vec::new(),
            next: 0,
        };
        for most in [30, 100, 1_000, 5_000] {
            while indexed.hashes.len() < most {
                indexed.push();
                indexed.validate();
            }
            indexed.settle();
            while indexed.index.old.is_none() && !indexed.hashes.is_empty() {
                indexed.remove(indexed.hashes.len() / 2);
                indexed.validate();
            }
            for _ in 0..most {
                indexed.push();
                indexed.validate();
            }
        }
    }
}
