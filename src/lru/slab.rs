//! `Slab`: a dense array in chunks, whose slots are `0..len`.
//!
//! If an element is removed, the last one takes its slot. The slab thus needs no free list, has no
//! holes, and its memory follows its length. A free list would leave the survivors of a large
//! removal scattered over all chunks, and none of these could be freed without moving elements all
//! the same.
//!
//! A full chunk never moves, so growth does not copy the array. Its type is an array, so an access
//! checks the number of the chunk and nothing else. A `Vec` per chunk needs a second check, and a
//! `get` of the cache then executes 15% more instructions.
//!
//! The elements behind the last full chunk are in a `Vec`, which grows in steps: a small slab takes
//! a few elements' worth of memory. When that `Vec` is full, it becomes the next chunk without a
//! copy.

// `#[inline(always)]`: see the core.

use std::iter::{Chain, FlatMap};
use std::mem::{replace, take};
use std::ops::{Index, IndexMut};
use std::{slice, vec};

/// The position of an element.
pub(super) type Slot = u32;

/// No slot.
pub(super) const NIL: Slot = Slot::MAX;

/// Elements in a chunk. With more, a larger part of a slab of some hundred elements is in the tail,
/// whose accesses are slower. With fewer, the addresses of the chunks take more of the processor's
/// cache.
const CHUNK: usize = 64;
/// The tail starts with this many elements, and grows by at least this many.
const MIN_GROWTH: usize = 4;

type Chunk<T> = Box<[T; CHUNK]>;

pub(super) struct Slab<T> {
    full: Vec<Chunk<T>>,
    /// The elements behind the full chunks, fewer than a chunk.
    tail: Vec<T>,
}

impl<T> Slab<T> {
    pub(super) const fn new() -> Self {
        Self {
            full: Vec::new(),
            tail: Vec::new(),
        }
    }

    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        self.full.len() * CHUNK + self.tail.len()
    }

    /// Returns the element in a slot, or `None` if the slot is out of range.
    #[inline(always)]
    pub(super) fn get(&self, slot: Slot) -> Option<&T> {
        match self.full.get(slot as usize / CHUNK) {
            Some(chunk) => Some(&chunk[slot as usize % CHUNK]),
            None => self.get_in_tail(slot),
        }
    }

    #[inline(always)]
    fn get_in_tail(&self, slot: Slot) -> Option<&T> {
        self.tail.get(slot as usize - self.full.len() * CHUNK)
    }

    #[inline(always)]
    fn get_mut_in_tail(&mut self, slot: Slot) -> Option<&mut T> {
        self.tail.get_mut(slot as usize - self.full.len() * CHUNK)
    }

    /// Appends an element to a slab that will hold at most `bound` of them, and returns its slot.
    pub(super) fn push(&mut self, element: T, bound: usize) -> Slot {
        let slot = self.len();
        if self.tail.len() == self.tail.capacity() {
            self.grow(bound);
        }
        self.tail.push(element);
        if self.tail.len() == CHUNK {
            self.full.extend(take(&mut self.tail).try_into().ok());
        }
        slot as Slot
    }

    /// Makes room for a quarter more elements, within one chunk and within the bound.
    #[cold]
    fn grow(&mut self, bound: usize) {
        let more = (self.len() / 4)
            .max(MIN_GROWTH)
            .min(bound.saturating_sub(self.len()).max(1))
            .min(CHUNK - self.tail.len());
        self.tail.reserve_exact(more);
    }

    /// Removes an element. The last one, if it is another, takes its slot.
    pub(super) fn swap_remove(&mut self, slot: Slot) -> T {
        // An empty tail stays until here, so that a slab whose length hovers at a multiple of the
        // chunk does not allocate in every call.
        if self.tail.is_empty() {
            self.tail = self.full.pop().map(into_vec).unwrap_or_default();
        }
        let last = self.tail.pop().expect("the slab is not empty");
        self.shrink();
        if slot as usize == self.len() {
            last
        } else {
            replace(&mut self[slot], last)
        }
    }

    /// Halves the tail, if there is nothing else, and the list of chunks, if they are three
    /// quarters empty. An emptied slab thus takes almost nothing.
    fn shrink(&mut self) {
        shrink_vec(&mut self.full);
        if self.full.is_empty() {
            shrink_vec(&mut self.tail);
        }
    }

    pub(super) fn iter_mut(&mut self) -> IterMut<'_, T> {
        let iter_mut: fn(&mut Chunk<T>) -> slice::IterMut<'_, T> = |chunk| chunk.iter_mut();
        self.full
            .iter_mut()
            .flat_map(iter_mut)
            .chain(&mut self.tail)
    }
}

fn shrink_vec<T>(vec: &mut Vec<T>) {
    if vec.capacity() > MIN_GROWTH && vec.len() <= vec.capacity() / 4 {
        vec.shrink_to(vec.capacity() / 2);
    }
}

fn into_vec<T>(chunk: Chunk<T>) -> Vec<T> {
    (chunk as Box<[T]>).into_vec()
}

/// The elements of a slab, mutable.
pub(super) type IterMut<'a, T> = Chain<
    FlatMap<
        slice::IterMut<'a, Chunk<T>>,
        slice::IterMut<'a, T>,
        fn(&'a mut Chunk<T>) -> slice::IterMut<'a, T>,
    >,
    slice::IterMut<'a, T>,
>;

/// The elements of a slab that was consumed.
pub(super) type IntoIter<T> =
    Chain<FlatMap<vec::IntoIter<Chunk<T>>, Vec<T>, fn(Chunk<T>) -> Vec<T>>, vec::IntoIter<T>>;

impl<T> IntoIterator for Slab<T> {
    type Item = T;
    type IntoIter = IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        let into_vec: fn(Chunk<T>) -> Vec<T> = into_vec;
        self.full.into_iter().flat_map(into_vec).chain(self.tail)
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
        // Checked before the borrow, which the compiler otherwise extends to the tail.
        let chunk = slot as usize / CHUNK;
        if chunk < self.full.len() {
            return &mut self.full[chunk][slot as usize % CHUNK];
        }
        match self.get_mut_in_tail(slot) {
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
        assert!(
            slab.full.capacity() <= MIN_GROWTH,
            "the list of chunks shrinks"
        );
        assert!(slab.tail.capacity() <= 2 * MIN_GROWTH, "the tail shrinks");
    }

    #[test]
    fn slab_never_reserves_beyond_the_bound() {
        for bound in [1, 3, 10, 1_000, 2_049] {
            let mut slab = Slab::new();
            for number in 0..bound as u64 {
                slab.push(number, bound);
            }
            assert_eq!(slab.full.len() * CHUNK + slab.tail.capacity(), bound);
        }
    }

    #[test]
    fn slab_grows_by_a_quarter_within_a_chunk() {
        let mut slab = Slab::new();
        for number in 0..10 * CHUNK {
            slab.push(number, usize::MAX);
            let room = slab.tail.capacity() - slab.tail.len();
            assert!(room < (slab.len() / 4).max(MIN_GROWTH));
            assert!(slab.tail.capacity() <= CHUNK);
        }
    }

    #[test]
    fn slab_halves_its_tail_at_a_quarter() {
        let mut slab = Slab::new();
        (0..CHUNK as u64).for_each(|number| _ = slab.push(number, usize::MAX));
        slab.swap_remove(0);
        assert_eq!(slab.tail.capacity(), CHUNK);
        while slab.tail.len() > CHUNK / 4 + 1 {
            slab.swap_remove(0);
            assert_eq!(slab.tail.capacity(), CHUNK);
        }
        slab.swap_remove(0);
        assert_eq!(slab.tail.capacity(), CHUNK / 2);
    }

    #[test]
    fn slab_that_hovers_at_a_full_chunk_keeps_its_memory() {
        let mut slab = Slab::new();
        (0..8 * CHUNK as u64).for_each(|number| _ = slab.push(number, usize::MAX));
        for _ in 0..3 {
            let slot = slab.push(0, usize::MAX);
            let room = slab.tail.capacity();
            slab.swap_remove(slot);
            assert_eq!(slab.tail.capacity(), room);
        }
    }
}
