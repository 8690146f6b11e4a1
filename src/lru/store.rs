//! `Store`: entries, found by key, in order of use and in order of writing.
//!
//! Owns entries, index and the two orders, and keeps them in step. It knows of no limits. A look costs one cache miss in
//! the index and one for the entry; noting a use touches its neighbours in the order of use.

use std::borrow::Borrow;
use std::mem::replace;

use super::index::Index;
use super::order::{InOrder, Link, Linked, Order};
use super::slab::{Place, Slab};
use crate::clock::Nanos;

/// A key and what is known of it, times aside.
pub(super) struct Entry<K, V> {
    pub(super) key: K,
    pub(super) value: V,
    /// The half of the key's hash by which the index knows it: so that nothing but a lookup ever runs `Hash`.
    hash: u32,
    pub(super) weight: u32,
}

impl<K, V> Entry<K, V> {
    #[inline(always)]
    pub(super) fn new(hash: u64, key: K, value: V, weight: u32) -> Self {
        Self { key, value, hash: half(hash), weight }
    }
}

/// The order in which entries were last used.
pub(super) struct Recency;
/// The order in which entries were last written.
pub(super) struct Writes;

/// An entry with its place in both orders.
pub(super) struct Node<K, V> {
    entry: Entry<K, V>,
    used: Link,
    written: Link,
}

impl<K, V> Linked<Recency> for Node<K, V> {
    #[inline(always)]
    fn link(&self) -> &Link {
        &self.used
    }

    #[inline(always)]
    fn link_mut(&mut self) -> &mut Link {
        &mut self.used
    }
}

impl<K, V> Linked<Writes> for Node<K, V> {
    #[inline(always)]
    fn link(&self) -> &Link {
        &self.written
    }

    #[inline(always)]
    fn link_mut(&mut self) -> &mut Link {
        &mut self.written
    }
}

pub(super) struct Store<K, V> {
    nodes: Slab<Node<K, V>>,
    index: Index,
    recency: Order<Recency>,
    writes: Order<Writes>,
}

/// What the index knows of a hash: its upper half. The lower one chooses the shard.
#[inline]
fn half(hash: u64) -> u32 {
    (hash >> 32) as u32
}

impl<K, V> Store<K, V> {
    pub(super) fn new() -> Self {
        Self { nodes: Slab::new(), index: Index::new(), recency: Order::new(), writes: Order::new() }
    }

    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    #[inline(always)]
    pub(super) fn entry(&self, at: Place) -> &Entry<K, V> {
        &self.nodes[at].entry
    }

    #[inline(always)]
    pub(super) fn value_mut(&mut self, at: Place) -> &mut V {
        &mut self.nodes[at].entry.value
    }

    #[inline(always)]
    pub(super) fn recency(&self) -> InOrder<'_, Node<K, V>, Recency> {
        self.recency.of(&self.nodes)
    }

    #[inline(always)]
    pub(super) fn writes(&self) -> InOrder<'_, Node<K, V>, Writes> {
        self.writes.of(&self.nodes)
    }

    #[inline(always)]
    pub(super) fn find<Q: ?Sized + Eq>(&self, hash: u64, key: &Q) -> Option<Place>
    where
        K: Borrow<Q>,
    {
        self.index.find(half(hash), |at| self.nodes[at].entry.key.borrow() == key)
    }

    /// Notes that an entry was used.
    #[inline(always)]
    pub(super) fn used(&mut self, at: Place, now: Nanos) {
        self.recency.refresh(&mut self.nodes, at, now);
    }

    /// Gives an entry another value; the former.
    pub(super) fn rewrite(&mut self, at: Place, value: V, weight: u32, now: Nanos) -> V {
        self.note_written(at, now);
        let entry = &mut self.nodes[at].entry;
        entry.weight = weight;
        replace(&mut entry.value, value)
    }

    #[inline(always)]
    fn note_written(&mut self, at: Place, now: Nanos) {
        self.recency.refresh(&mut self.nodes, at, now);
        self.writes.refresh(&mut self.nodes, at, now);
    }

    /// The standing work that comes with adding an entry, by [`push`](Self::push) or [`replace`](Self::replace), to
    /// at most `bound`.
    #[inline(always)]
    pub(super) fn before_insert(&mut self, bound: usize) {
        let Self { nodes, index, .. } = self;
        index.before_insert(nodes.len(), bound, |at| nodes[at].entry.hash);
    }

    /// Adds an entry under a key that has none.
    #[inline]
    pub(super) fn push(&mut self, entry: Entry<K, V>, now: Nanos, bound: usize) {
        let hash = entry.hash;
        let at = self.nodes.push(Node { entry, used: Link::NONE, written: Link::NONE }, bound);
        self.index.insert(hash, at);
        self.recency.push(&mut self.nodes, at, now);
        self.writes.push(&mut self.nodes, at, now);
    }

    /// Adds an entry under a key that has none, in the place of another.
    #[inline(always)]
    pub(super) fn replace(&mut self, at: Place, entry: Entry<K, V>, now: Nanos) -> Entry<K, V> {
        let hash = entry.hash;
        let former = replace(&mut self.nodes[at].entry, entry);
        self.index.remove(former.hash, at);
        self.index.insert(hash, at);
        self.note_written(at, now);
        former
    }

    pub(super) fn remove(&mut self, at: Place) -> Entry<K, V> {
        self.recency.unlink(&mut self.nodes, at);
        self.writes.unlink(&mut self.nodes, at);
        let Node { entry, .. } = self.nodes.swap_remove(at);
        self.index.remove(entry.hash, at);
        let from = self.nodes.len() as Place;
        if at != from {
            self.recency.relocated(&mut self.nodes, at);
            self.writes.relocated(&mut self.nodes, at);
            self.index.relocated(self.nodes[at].entry.hash, from, at);
        }
        let Self { nodes, index, .. } = self;
        index.after_remove(nodes.len(), |at| nodes[at].entry.hash);
        entry
    }

    /// Goes on moving the index to a table of another size; whether there is more to move.
    pub(super) fn tidy(&mut self) -> bool {
        let Self { nodes, index, .. } = self;
        index.tidy(nodes.len(), |at| nodes[at].entry.hash)
    }

    /// Takes all entries out, with their places, and gives the memory of all else back.
    pub(super) fn into_entries(self) -> impl Iterator<Item = Entry<K, V>> {
        self.nodes.into_elements().map(|node| node.entry)
    }

    pub(super) fn validate(&self) {
        self.index.validate(self.len(), |at| self.nodes[at].entry.hash);
        self.recency().validate();
        self.writes().validate();
    }
}
