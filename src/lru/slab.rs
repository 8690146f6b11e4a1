//! `Slab`: a dense array in chunks, the places of which are `0..len`.
//!
//! Where an element leaves, the last one takes its place, so that there is neither a free list nor a hole, and memory
//! is as small as what is held. The alternative, a free list, leaves the survivors of a large removal scattered over all
//! chunks, none of which could then be freed without moving elements all the same.
//!
//! Chunks are allocated and freed one at a time and never moved: no call copies the array because it grew.

use std::mem::replace;
use std::ops::{Index, IndexMut};

/// Where an element is.
pub(super) type Place = u32;
/// No place.
pub(super) const NIL: Place = Place::MAX;

pub(super) struct Slab<T> {
    chunks: Vec<Vec<T>>,
    len: usize,
}

impl<T> Slab<T> {
    /// Elements in a chunk, a power of two: about 64 KiB of them, but no more than 1024.
    const CHUNK: usize = {
        let fit = (64 << 10) / size_of::<T>();
        let power = if fit < 2 { 1 } else { 1 << fit.ilog2() };
        if power < 1024 { power } else { 1024 }
    };

    pub(super) const fn new() -> Self {
        Self { chunks: Vec::new(), len: 0 }
    }

    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Adds an element, in a slab that is to hold `bound` of them at most; its place.
    #[inline(always)]
    pub(super) fn push(&mut self, element: T, bound: usize) -> Place {
        let chunk = self.len / Self::CHUNK;
        if chunk == self.chunks.len() {
            self.add_chunk(bound);
        }
        self.chunks[chunk].push(element);
        self.len += 1;
        (self.len - 1) as Place
    }

    #[cold]
    fn add_chunk(&mut self, bound: usize) {
        let room = bound.saturating_sub(self.len).clamp(1, Self::CHUNK);
        self.chunks.push(Vec::with_capacity(room));
    }

    /// Takes an element out. The last one, if it is another, now has the place.
    #[inline(always)]
    pub(super) fn swap_remove(&mut self, at: Place) -> T {
        self.len -= 1;
        let last = self.chunks[self.len / Self::CHUNK].pop().expect("chunks are full up to the last element");
        if self.len.is_multiple_of(Self::CHUNK) {
            // One empty chunk stays, lest a collection that hovers here allocates at every call.
            self.chunks.truncate(self.len / Self::CHUNK + 1);
        }
        if at as usize == self.len { last } else { replace(&mut self[at], last) }
    }

    pub(super) fn into_elements(self) -> impl Iterator<Item = T> {
        self.chunks.into_iter().flatten()
    }
}

impl<T> Index<Place> for Slab<T> {
    type Output = T;

    #[inline(always)]
    fn index(&self, at: Place) -> &T {
        &self.chunks[at as usize / Self::CHUNK][at as usize % Self::CHUNK]
    }
}

impl<T> IndexMut<Place> for Slab<T> {
    #[inline(always)]
    fn index_mut(&mut self, at: Place) -> &mut T {
        &mut self.chunks[at as usize / Self::CHUNK][at as usize % Self::CHUNK]
    }
}
