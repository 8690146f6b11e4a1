//! `Slab`: a dense array in chunks, the places of which are `0..len`.
//!
//! Where an element leaves, the last one takes its place, so that there is neither a free list nor a hole, and memory
//! is as small as what is held. The alternative, a free list, leaves the survivors of a large removal scattered over all
//! chunks, none of which could then be freed without moving elements all the same.
//!
//! Chunks are allocated and freed one at a time and never moved: no call copies the array because it grew. Their size is
//! known to the compiler, and what is not in use is vacant, so that an access costs one check, of the chunk.

use std::mem::replace;
use std::ops::{Index, IndexMut};

/// Where an element is.
pub(super) type Place = u32;
/// No place.
pub(super) const NIL: Place = Place::MAX;

/// What a place can hold that is not in use.
pub(super) trait Vacant {
    const VACANT: Self;
}

/// Elements in a chunk.
const CHUNK: usize = 256;

pub(super) struct Slab<T> {
    /// Vacant from `len` on.
    chunks: Vec<Box<[T; CHUNK]>>,
    len: usize,
}

impl<T> Slab<T> {
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

    pub(super) fn into_elements(self) -> impl Iterator<Item = T> {
        self.chunks
            .into_iter()
            .flat_map(|chunk| chunk as Box<[T]>)
            .take(self.len)
    }
}

impl<T: Vacant> Slab<T> {
    /// Adds an element; its place.
    pub(super) fn push(&mut self, element: T) -> Place {
        if self.len == self.chunks.len() * CHUNK {
            // Collected, because an array would come by way of the stack.
            let chunk: Box<[T]> = (0..CHUNK).map(|_| T::VACANT).collect();
            self.chunks.extend(chunk.try_into().ok());
        }
        let at = self.len as Place;
        self[at] = element;
        self.len += 1;
        at
    }

    /// Takes an element out. The last one, if it is another, now has the place.
    pub(super) fn swap_remove(&mut self, at: Place) -> T {
        self.len -= 1;
        let last = self.len as Place;
        let last_one = replace(&mut self[last], T::VACANT);
        // One empty chunk stays, lest a collection that hovers here allocates at every call.
        self.chunks.truncate(self.len / CHUNK + 1);
        if at == last {
            last_one
        } else {
            replace(&mut self[at], last_one)
        }
    }
}

impl<T> Slab<T> {
    /// What is at a place, where there is such a chunk.
    #[inline(always)]
    pub(super) fn get(&self, at: Place) -> Option<&T> {
        let chunk = self.chunks.get(at as usize / CHUNK)?;
        Some(&chunk[at as usize % CHUNK])
    }
}

impl<T> Index<Place> for Slab<T> {
    type Output = T;

    #[inline(always)]
    fn index(&self, at: Place) -> &T {
        match self.get(at) {
            Some(element) => element,
            None => no_such_place(),
        }
    }
}

impl<T> IndexMut<Place> for Slab<T> {
    #[inline(always)]
    fn index_mut(&mut self, at: Place) -> &mut T {
        match self.chunks.get_mut(at as usize / CHUNK) {
            Some(chunk) => &mut chunk[at as usize % CHUNK],
            None => no_such_place(),
        }
    }
}

/// Never called. One message for all: to prepare one for each access costs instructions where it is right.
#[cold]
#[inline(never)]
pub(super) fn no_such_place() -> ! {
    panic!("a place is one of an element")
}
