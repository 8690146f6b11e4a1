//! `Order`: the entries of a store in the order of a time that each has, as a doubly linked list.
//!
//! Invariant: from `newest` along `older` one gets to every entry once and to `oldest` last, and the other way round, and
//! no time is before that of an older entry. So whatever is past a limit is at the old end.
//!
//! The links and times of one order are in an array of their own, apart from keys and values: putting an entry first touches
//! four of these nodes and nothing else, and four of them are in one cache line.

use std::iter::successors;
use std::ops::{Index, IndexMut};

use super::slab::{NIL, Place};
use crate::clock::Nanos;

pub(super) struct Order {
    nodes: Nodes,
    newest: Place,
    oldest: Place,
}

#[derive(Clone, Copy)]
struct Node {
    newer: Place,
    older: Place,
    time: Nanos,
}

/// Nodes in a chunk: 16 KiB.
const CHUNK: usize = 1024;

/// The nodes of the places `0..len`, in chunks of which the size is known to the compiler: four of them are looked at
/// with every use, and each costs a check less than in a [`Slab`](super::slab::Slab).
struct Nodes {
    chunks: Vec<Box<[Node; CHUNK]>>,
    len: usize,
}

impl Nodes {
    fn push(&mut self) -> Place {
        if self.len == self.chunks.len() * CHUNK {
            self.chunks.push(Box::new([Node { newer: NIL, older: NIL, time: 0 }; CHUNK]));
        }
        self.len += 1;
        (self.len - 1) as Place
    }

    fn swap_remove(&mut self, at: Place) {
        self.len -= 1;
        self[at] = self[self.len as Place];
        // One empty chunk stays, lest a collection that hovers here allocates at every call.
        self.chunks.truncate(self.len / CHUNK + 1);
    }
}

impl Index<Place> for Nodes {
    type Output = Node;

    #[inline]
    fn index(&self, at: Place) -> &Node {
        &self.chunks[at as usize / CHUNK][at as usize % CHUNK]
    }
}

impl IndexMut<Place> for Nodes {
    #[inline]
    fn index_mut(&mut self, at: Place) -> &mut Node {
        &mut self.chunks[at as usize / CHUNK][at as usize % CHUNK]
    }
}

impl Order {
    pub(super) const fn new() -> Self {
        Self { nodes: Nodes { chunks: Vec::new(), len: 0 }, newest: NIL, oldest: NIL }
    }

    /// The entry that was last, and when it was noted.
    #[inline]
    pub(super) fn oldest(&self) -> Option<(Place, Nanos)> {
        (self.oldest != NIL).then(|| (self.oldest, self.time(self.oldest)))
    }

    #[inline]
    pub(super) fn time(&self, at: Place) -> Nanos {
        self.nodes[at].time
    }

    /// All entries, the newest first.
    pub(super) fn newest_first(&self) -> impl Iterator<Item = Place> {
        self.walk(self.newest, |node| node.older)
    }

    /// All entries, the oldest first.
    pub(super) fn oldest_first(&self) -> impl Iterator<Item = Place> {
        self.walk(self.oldest, |node| node.newer)
    }

    fn walk(&self, first: Place, next: impl Fn(&Node) -> Place) -> impl Iterator<Item = Place> {
        let some = |at| (at != NIL).then_some(at);
        successors(some(first), move |&at| some(next(&self.nodes[at])))
    }

    /// Adds an entry as the newest, at the next place.
    #[inline]
    pub(super) fn push(&mut self, now: Nanos) {
        let at = self.nodes.push();
        self.put_first(at, now);
    }

    /// Makes an entry the newest.
    #[inline]
    pub(super) fn refresh(&mut self, at: Place, now: Nanos) {
        if self.newest == at {
            self.nodes[at].time = now;
        } else {
            self.unlink(at);
            self.put_first(at, now);
        }
    }

    /// Takes an entry out. The one at the last place, if it is another, now has its place.
    #[inline]
    pub(super) fn swap_remove(&mut self, at: Place) {
        self.unlink(at);
        self.nodes.swap_remove(at);
        if (at as usize) < self.nodes.len {
            let Node { newer, older, .. } = self.nodes[at];
            *self.older_of(newer) = at;
            *self.newer_of(older) = at;
        }
    }

    #[inline]
    fn put_first(&mut self, at: Place, now: Nanos) {
        let older = self.newest;
        self.nodes[at] = Node { newer: NIL, older, time: now };
        *self.newer_of(older) = at;
        self.newest = at;
    }

    #[inline]
    fn unlink(&mut self, at: Place) {
        let Node { newer, older, .. } = self.nodes[at];
        *self.older_of(newer) = older;
        *self.newer_of(older) = newer;
    }

    /// What says which entry comes after `newer`: beyond the end, that is the order itself.
    #[inline]
    fn older_of(&mut self, newer: Place) -> &mut Place {
        if newer == NIL { &mut self.newest } else { &mut self.nodes[newer].older }
    }

    #[inline]
    fn newer_of(&mut self, older: Place) -> &mut Place {
        if older == NIL { &mut self.oldest } else { &mut self.nodes[older].newer }
    }

    pub(super) fn validate(&self, entries: usize) {
        let order: Vec<Place> = self.newest_first().collect();
        assert!(order.iter().rev().copied().eq(self.oldest_first()), "the order, both ways");
        assert_eq!((order.len(), self.nodes.len), (entries, entries), "every entry is in the order");
        assert!(order.is_sorted_by(|&a, &b| self.time(a) >= self.time(b)), "the order is one of time");
    }
}
