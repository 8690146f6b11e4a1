//! `Slab`: a dense array in chunks, whose slots are `0..len`.
//!
//! If an element is removed, the last one takes its slot. The slab thus needs no free list, has no
//! holes, and its memory follows its length. A free list would leave the survivors of a large
//! removal scattered over all chunks, and none of these could be freed without moving elements all
//! the same.
//!
//! A full chunk never moves, so growth does not copy the array. Only the last chunk grows: a small
//! slab takes a few elements' worth of memory, and a growing one moves at most one chunk.

// `#[inline(always)]`: see the core.

use std::iter::Flatten;
use std::mem::replace;
use std::ops::{Index, IndexMut};
use std::{slice, vec};

/// The position of an element.
pub(super) type Slot = u32;

/// No slot.
pub(super) const NIL: Slot = Slot::MAX;

/// A chunk takes about this many bytes at most, so that moving one is cheap.
const CHUNK_BYTES: usize = 64 << 10;
/// A chunk has at most 2<sup>this</sup> elements.
const MAX_SHIFT: u32 = 10;
/// The first chunk starts with this many elements, and grows by at least this many.
const MIN_GROWTH: usize = 4;

pub(super) struct Slab<T> {
    /// All chunks but the last are full. An empty one may follow that, see `swap_remove`.
    chunks: Vec<Vec<T>>,
    len: usize,
}

impl<T> Slab<T> {
    /// The binary logarithm of the length of a full chunk.
    const SHIFT: u32 = {
        let size = if size_of::<T>() == 0 {
            1
        } else {
            size_of::<T>()
        };
        match (CHUNK_BYTES / size).checked_ilog2() {
            None => 0,
            Some(shift) if shift > MAX_SHIFT => MAX_SHIFT,
            Some(shift) => shift,
        }
    };
    const CHUNK: usize = 1 << Self::SHIFT;

    pub(super) const fn new() -> Self {
        Self {
            chunks: Vec::new(),
            len: 0,
        }
    }

    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Returns the element in a slot, or `None` if the slot is out of range.
    #[inline(always)]
    pub(super) fn get(&self, slot: Slot) -> Option<&T> {
        self.chunks
            .get(slot as usize >> Self::SHIFT)?
            .get(slot as usize % Self::CHUNK)
    }

    /// Appends an element to a slab that will hold at most `bound` of them, and returns its slot.
    pub(super) fn push(&mut self, element: T, bound: usize) -> Slot {
        let chunk = self.len >> Self::SHIFT;
        match self.chunks.get(chunk) {
            Some(last) if last.len() < last.capacity() => {}
            _ => self.grow(bound),
        }
        self.chunks[chunk].push(element);
        self.len += 1;
        (self.len - 1) as Slot
    }

    /// Makes room for a quarter more elements, within one chunk and within the bound.
    #[cold]
    fn grow(&mut self, bound: usize) {
        let (chunk, used) = (self.len >> Self::SHIFT, self.len % Self::CHUNK);
        let more = (self.len / 4)
            .max(MIN_GROWTH)
            .min(bound.saturating_sub(self.len).max(1))
            .min(Self::CHUNK - used);
        if chunk == self.chunks.len() {
            self.chunks.push(Vec::new());
        }
        self.chunks[chunk].reserve_exact(more);
    }

    /// Removes an element. The last one, if it is another, takes its slot.
    pub(super) fn swap_remove(&mut self, slot: Slot) -> T {
        self.len -= 1;
        let chunk = self.len >> Self::SHIFT;
        // One empty chunk stays, so that a slab whose length hovers here does not allocate in every
        // call.
        self.chunks.truncate(chunk + 1);
        let last = self.chunks[chunk].pop().expect("the chunk is not empty");
        if chunk == 0 {
            self.shrink_first();
        }
        if slot as usize == self.len {
            last
        } else {
            replace(&mut self[slot], last)
        }
    }

    /// Halves the first chunk if it is three quarters empty, so that an emptied slab takes almost
    /// nothing.
    fn shrink_first(&mut self) {
        let first = &mut self.chunks[0];
        if first.capacity() > MIN_GROWTH && first.len() <= first.capacity() / 4 {
            first.shrink_to(first.capacity() / 2);
        }
    }

    pub(super) fn iter_mut(&mut self) -> Flatten<slice::IterMut<'_, Vec<T>>> {
        self.chunks.iter_mut().flatten()
    }
}

impl<T> IntoIterator for Slab<T> {
    type Item = T;
    type IntoIter = Flatten<vec::IntoIter<Vec<T>>>;

    fn into_iter(self) -> Self::IntoIter {
        self.chunks.into_iter().flatten()
    }
}

impl<T> Index<Slot> for Slab<T> {
    type Output = T;

    #[inline(always)]
    fn index(&self, slot: Slot) -> &T {
        match self.get(slot) {
            Some(element) => element,
            None => out_of_range(),
        }
    }
}

impl<T> IndexMut<Slot> for Slab<T> {
    #[inline(always)]
    fn index_mut(&mut self, slot: Slot) -> &mut T {
        match self
            .chunks
            .get_mut(slot as usize >> Self::SHIFT)
            .and_then(|chunk| chunk.get_mut(slot as usize % Self::CHUNK))
        {
            Some(element) => element,
            None => out_of_range(),
        }
    }
}

/// Panics. One message for all accesses: to prepare one with the slot costs two instructions in
/// every access.
#[cold]
#[inline(never)]
fn out_of_range() -> ! {
    panic!("the slot is out of range")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slab_elements_stay_in_order_over_growth_and_removal() {
        let mut slab = Slab::new();
        let mut expected = Vec::new();
        for number in 0..5_000_u64 {
            assert_eq!(slab.push(number, usize::MAX) as usize, expected.len());
            expected.push(number);
            if number % 3 == 0 {
                let slot = (number * 7 % expected.len() as u64) as usize;
                assert_eq!(slab.swap_remove(slot as Slot), expected.swap_remove(slot));
            }
        }
        while let Some(slot) = expected.len().checked_sub(1).map(|last| last / 2) {
            let all = (0..expected.len()).map(|slot| slab[slot as Slot]);
            assert!(expected.len() % 64 > 0 || all.eq(expected.iter().copied()));
            assert_eq!(slab.swap_remove(slot as Slot), expected.swap_remove(slot));
            assert_eq!(slab.get(expected.len() as Slot), None);
        }
        assert!(slab.chunks[0].capacity() <= 2 * MIN_GROWTH, "it shrinks");
    }

    #[test]
    fn slab_never_reserves_beyond_the_bound() {
        for bound in [1, 3, 10, 1_000, 2_049] {
            let mut slab = Slab::new();
            for number in 0..bound as u64 {
                slab.push(number, bound);
            }
            let reserved: usize = slab.chunks.iter().map(Vec::capacity).sum();
            assert_eq!(reserved, bound);
        }
    }

    #[test]
    fn slab_halves_its_first_chunk_at_a_quarter() {
        let mut slab = Slab::new();
        (0..1_000_u64).for_each(|number| _ = slab.push(number, usize::MAX));
        let capacity = slab.chunks[0].capacity();
        while slab.chunks[0].len() > capacity / 4 + 1 {
            slab.swap_remove(0);
            assert_eq!(slab.chunks[0].capacity(), capacity);
        }
        slab.swap_remove(0);
        assert_eq!(slab.chunks[0].capacity(), capacity / 2);
    }
}
