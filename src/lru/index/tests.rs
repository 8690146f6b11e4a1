use std::cell::Cell;

use super::*;

/// An index and the hashes of its entries, by slot, used as the core uses them.
struct Indexed {
    index: Index,
    hashes: Vec<u32>,
    /// Makes the hash of the nth entry.
    hash: fn(u32) -> u32,
    pushed: u32,
    /// The most hashes that one call asked for: the entries that it moved or tried to.
    most_moved: usize,
}

impl Indexed {
    fn new(hash: fn(u32) -> u32) -> Self {
        Self {
            index: Index::new(),
            hashes: Vec::new(),
            hash,
            pushed: 0,
            most_moved: 0,
        }
    }

    fn push(&mut self) {
        let Self { index, hashes, .. } = self;
        let moved = Cell::new(0);
        index.before_push(hashes.len(), usize::MAX, |slot| {
            moved.set(moved.get() + 1);
            hashes[slot as usize]
        });
        self.most_moved = self.most_moved.max(moved.get());
        let hash = (self.hash)(self.pushed);
        self.pushed += 1;
        index.insert(hash, hashes.len() as Slot);
        hashes.push(hash);
    }

    fn remove(&mut self, slot: usize) {
        let Self { index, hashes, .. } = self;
        index.remove(hashes.swap_remove(slot), slot as Slot);
        if let Some(&last) = hashes.get(slot) {
            index.relocate(last, hashes.len() as Slot, slot as Slot);
        }
        let moved = Cell::new(0);
        index.after_remove(hashes.len(), |slot| {
            moved.set(moved.get() + 1);
            hashes[slot as usize]
        });
        self.most_moved = self.most_moved.max(moved.get());
    }

    fn finish_resize(&mut self) {
        let Self { index, hashes, .. } = self;
        while index.maintain(hashes.len(), |slot| hashes[slot as usize]) {}
    }

    /// Validates always if that is little work, and otherwise now and then.
    fn validate(&self) {
        if self.hashes.len() < 200 || self.hashes.len() % 64 == 0 {
            self.index
                .validate(self.hashes.len(), |slot| self.hashes[slot as usize]);
        }
    }
}

fn spread(number: u32) -> u32 {
    number.wrapping_mul(0x9E37_79B9)
}

/// Hashes of ever the same home in any table: the last bucket, so that all entries wrap around.
fn weak(number: u32) -> u32 {
    u32::MAX - number % 5
}

fn grow_and_shrink(hash: fn(u32) -> u32, sizes: &[usize]) {
    let mut indexed = Indexed::new(hash);
    for &most in sizes {
        while indexed.hashes.len() < most {
            indexed.push();
            indexed.validate();
        }
        indexed.finish_resize();
        while indexed.index.old.is_none() && !indexed.hashes.is_empty() {
            indexed.remove(indexed.hashes.len() / 2);
            indexed.validate();
        }
        for _ in 0..most {
            indexed.push();
            indexed.validate();
        }
    }
    indexed.finish_resize();
    while !indexed.hashes.is_empty() {
        indexed.remove(indexed.hashes.len() / 3);
        indexed.validate();
    }
    assert!(
        indexed.most_moved <= 2 * bucket::CAPACITY,
        "a call moved {} entries",
        indexed.most_moved
    );
}

#[test]
fn index_finds_entries_while_it_grows_and_shrinks() {
    grow_and_shrink(spread, &[30, 100, 1_000, 5_000]);
}

#[test]
fn index_bounds_the_moves_per_call_with_a_weak_hasher() {
    grow_and_shrink(weak, &[30, 100, 1_000]);
    grow_and_shrink(|_| 0, &[30, 100, 1_000]);
}
