//! `Store`: entries, found by key, in order of use and in order of writing.
//!
//! Owns entries, index and the two orders, and keeps them in step. It knows of no limits. A look costs one cache miss in
//! the index and one for the entry; noting a use touches its neighbours in the order of use.

use std::borrow::Borrow;
use std::mem::replace;
use std::num::NonZeroU32;

use super::index::Index;
use super::line::Glance;
use super::order::{InOrder, Link, Linked, Order};
use super::slab::{Place, Slab, Vacant, no_such_place};
use crate::clock::Nanos;

/// A key and what is known of it, times aside.
pub(super) struct Entry<K, V> {
    pub(super) key: K,
    pub(super) value: V,
    /// The half of the key's hash by which the index knows it: so that nothing but a lookup ever runs `Hash`.
    hash: u32,
    pub(super) weight: NonZeroU32,
}

impl<K, V> Entry<K, V> {
    #[inline(always)]
    pub(super) fn new(hash: u64, key: K, value: V, weight: NonZeroU32) -> Self {
        Self {
            key,
            value,
            hash: half(hash),
            weight,
        }
    }
}

/// The order in which entries were last used.
pub(super) struct Recency;
/// The order in which entries were last written.
pub(super) struct Writes;

/// An entry with its place in both orders. Laid out so that what a look needs stands together, mostly in one cache line.
#[repr(C)]
pub(super) struct Node<K, V> {
    written: Link,
    used: Link,
    /// There at all places of the slab. That no weight is zero makes the option as small as the entry.
    entry: Option<Entry<K, V>>,
}

impl<K, V> Vacant for Node<K, V> {
    const VACANT: Self = Self {
        entry: None,
        used: Link::NONE,
        written: Link::NONE,
    };
}

impl<K, V> Node<K, V> {
    #[inline(always)]
    fn entry(&self) -> &Entry<K, V> {
        match &self.entry {
            Some(entry) => entry,
            None => no_such_place(),
        }
    }

    #[inline(always)]
    fn entry_mut(&mut self) -> &mut Entry<K, V> {
        match &mut self.entry {
            Some(entry) => entry,
            None => no_such_place(),
        }
    }
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

#[repr(C)]
pub(super) struct Store<K, V> {
    /// A hash that a look has found to be that of no entry: what is looked for in vain is often stored next.
    missing: Option<u32>,
    recency: Order<Recency>,
    writes: Order<Writes>,
    nodes: Slab<Node<K, V>>,
    index: Index,
}

/// What the index knows of a hash: its upper half. The lower one chooses the shard.
#[inline]
fn half(hash: u64) -> u32 {
    (hash >> 32) as u32
}

impl<K, V> Store<K, V> {
    pub(super) fn new() -> Self {
        Self {
            nodes: Slab::new(),
            index: Index::new(),
            recency: Order::new(),
            writes: Order::new(),
            missing: None,
        }
    }

    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    #[inline(always)]
    pub(super) fn entry(&self, at: Place) -> &Entry<K, V> {
        self.nodes[at].entry()
    }

    #[inline(always)]
    pub(super) fn value_mut(&mut self, at: Place) -> &mut V {
        &mut self.nodes[at].entry_mut().value
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
        if self.missing == Some(half(hash)) {
            return None;
        }
        match self.index.glance(half(hash), |at| self.is(at, key)) {
            Glance::Found(at) => Some(at),
            Glance::Missing => None,
            Glance::Unclear => self.search(hash, key),
        }
    }

    /// What is known of an entry at once, nearly always all: where it is not, [`search`](Self::search) tells.
    #[inline(always)]
    pub(super) fn glance<Q: ?Sized + Eq>(&mut self, hash: u64, key: &Q) -> Glance
    where
        K: Borrow<Q>,
    {
        let glance = self.index.glance(half(hash), |at| self.is(at, key));
        if glance == Glance::Missing {
            self.missing = Some(half(hash));
        }
        glance
    }

    #[inline(always)]
    pub(super) fn search<Q: ?Sized + Eq>(&self, hash: u64, key: &Q) -> Option<Place>
    where
        K: Borrow<Q>,
    {
        self.index.search(half(hash), |at| self.is(at, key))
    }

    /// Whether there is an entry at a place, under this key.
    #[inline(always)]
    fn is<Q: ?Sized + Eq>(&self, at: Place, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        let entry = self.nodes.get(at).and_then(|node| node.entry.as_ref());
        entry.is_some_and(|entry| entry.key.borrow() == key)
    }

    /// An entry's place in the order of use, to be handed to [`used`](Self::used).
    #[inline(always)]
    pub(super) fn link(&self, at: Place) -> &Link {
        &self.nodes[at].used
    }

    /// Notes that an entry, of which this is the place in the order of use, was used.
    #[inline(always)]
    pub(super) fn used(&mut self, at: Place, link: Link, now: Nanos) -> &mut V {
        let used = self.recency.refresh(&mut self.nodes, at, link, now);
        let node = &mut self.nodes[at];
        node.used = used;
        &mut node.entry_mut().value
    }

    /// Gives an entry another value; the former.
    pub(super) fn rewrite(&mut self, at: Place, value: V, weight: NonZeroU32, now: Nanos) -> V {
        let Node { used, written, .. } = self.nodes[at];
        let entry = self.written(at, used, written, now);
        entry.weight = weight;
        replace(&mut entry.value, value)
    }

    /// Notes that an entry, of which these are the places in the orders, was written.
    #[inline(always)]
    fn written(&mut self, at: Place, used: Link, written: Link, now: Nanos) -> &mut Entry<K, V> {
        let used = self.recency.refresh(&mut self.nodes, at, used, now);
        let written = self.writes.refresh(&mut self.nodes, at, written, now);
        let node = &mut self.nodes[at];
        (node.used, node.written) = (used, written);
        node.entry_mut()
    }

    /// Adds an entry under a key that has none, to at most `bound`.
    #[inline]
    pub(super) fn push(&mut self, entry: Entry<K, V>, bound: usize, now: Nanos) {
        let hash = entry.hash;
        let Self { nodes, index, .. } = self;
        index.before_push(nodes.len(), bound, |at| nodes[at].entry().hash);
        let at = self.nodes.push(Node {
            entry: Some(entry),
            ..Node::VACANT
        });
        self.add_to_index(hash, at);
        self.recency.push(&mut self.nodes, at, now);
        self.writes.push(&mut self.nodes, at, now);
    }

    /// Adds an entry under a key that has none, in the place of another.
    #[inline(always)]
    pub(super) fn replace(&mut self, at: Place, entry: Entry<K, V>, now: Nanos) -> Entry<K, V> {
        let Self { nodes, index, .. } = self;
        index.before_replace(|at| nodes[at].entry().hash);
        self.index.remove(self.nodes[at].entry().hash, at);
        self.add_to_index(entry.hash, at);
        let Node { used, written, .. } = self.nodes[at];
        replace(self.written(at, used, written, now), entry)
    }

    #[inline(always)]
    fn add_to_index(&mut self, hash: u32, at: Place) {
        self.index.insert(hash, at);
        self.missing = None;
    }

    pub(super) fn remove(&mut self, at: Place) -> Entry<K, V> {
        self.recency.unlink(&mut self.nodes, at);
        self.writes.unlink(&mut self.nodes, at);
        let Some(entry) = self.nodes.swap_remove(at).entry else {
            no_such_place()
        };
        self.index.remove(entry.hash, at);
        let from = self.nodes.len() as Place;
        if at != from {
            self.recency.relocated(&mut self.nodes, at);
            self.writes.relocated(&mut self.nodes, at);
            self.index.relocated(self.nodes[at].entry().hash, from, at);
        }
        let Self { nodes, index, .. } = self;
        index.after_remove(nodes.len(), |at| nodes[at].entry().hash);
        entry
    }

    /// Goes on moving the index to a table of another size; whether there is more to move.
    pub(super) fn tidy(&mut self) -> bool {
        let Self { nodes, index, .. } = self;
        index.tidy(nodes.len(), |at| nodes[at].entry().hash)
    }

    /// All entries, in no particular order.
    pub(super) fn into_entries(self) -> impl Iterator<Item = Entry<K, V>> {
        self.nodes.into_elements().filter_map(|node| node.entry)
    }

    pub(super) fn validate(&self) {
        self.index
            .validate(self.len(), |at| self.nodes[at].entry().hash);
        self.recency().validate();
        self.writes().validate();
        let hashes = (0..self.len() as Place).map(|at| self.nodes[at].entry().hash);
        assert!(
            hashes.into_iter().all(|hash| self.missing != Some(hash)),
            "no entry has the hash that is missing"
        );
    }
}
