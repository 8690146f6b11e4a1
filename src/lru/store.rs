//! `Store`: entries, found by key, in order of use and in order of writing.
//!
//! Owns entries, index and the two orders, and keeps them in step: an entry is at the same place in all of them. It knows
//! of no limits. A look costs one cache miss in the index and one for the entry; noting a use touches its neighbours in
//! the order of use.

use std::borrow::Borrow;
use std::mem::replace;

use super::index::Index;
use super::order::Order;
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
    #[inline]
    pub(super) fn new(hash: u64, key: K, value: V, weight: u32) -> Self {
        Self { key, value, hash: half(hash), weight }
    }
}

pub(super) struct Store<K, V> {
    entries: Slab<Entry<K, V>>,
    index: Index,
    recency: Order,
    writes: Order,
}

/// What the index knows of a hash: its upper half. The lower one chooses the shard.
#[inline]
fn half(hash: u64) -> u32 {
    (hash >> 32) as u32
}

impl<K, V> Store<K, V> {
    pub(super) fn new() -> Self {
        Self { entries: Slab::new(), index: Index::new(), recency: Order::new(), writes: Order::new() }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    #[inline]
    pub(super) fn entry(&self, at: Place) -> &Entry<K, V> {
        &self.entries[at]
    }

    #[inline]
    pub(super) fn value_mut(&mut self, at: Place) -> &mut V {
        &mut self.entries[at].value
    }

    /// The order in which entries were last used.
    #[inline]
    pub(super) fn recency(&self) -> &Order {
        &self.recency
    }

    /// The order in which entries were last written.
    #[inline]
    pub(super) fn writes(&self) -> &Order {
        &self.writes
    }

    #[inline]
    pub(super) fn find<Q: ?Sized + Eq>(&self, hash: u64, key: &Q) -> Option<Place>
    where
        K: Borrow<Q>,
    {
        self.index.find(half(hash), |at| self.entries[at].key.borrow() == key)
    }

    /// Notes that an entry was used.
    #[inline]
    pub(super) fn used(&mut self, at: Place, now: Nanos) {
        self.recency.refresh(at, now);
    }

    /// Gives an entry another value; the former.
    pub(super) fn rewrite(&mut self, at: Place, value: V, weight: u32, now: Nanos) -> V {
        self.note_written(at, now);
        let entry = &mut self.entries[at];
        entry.weight = weight;
        replace(&mut entry.value, value)
    }

    #[inline]
    fn note_written(&mut self, at: Place, now: Nanos) {
        self.recency.refresh(at, now);
        self.writes.refresh(at, now);
    }

    /// The standing work that comes with adding an entry, by [`push`](Self::push) or [`replace`](Self::replace), to
    /// at most `bound`.
    #[inline]
    pub(super) fn before_insert(&mut self, bound: usize) {
        let Self { entries, index, .. } = self;
        index.before_insert(entries.len(), bound, |at| entries[at].hash);
    }

    /// Adds an entry under a key that has none.
    #[inline]
    pub(super) fn push(&mut self, entry: Entry<K, V>, now: Nanos, bound: usize) {
        let hash = entry.hash;
        let at = self.entries.push(entry, bound);
        self.index.insert(hash, at);
        self.recency.push(now);
        self.writes.push(now);
    }

    /// Adds an entry under a key that has none, in the place of another.
    #[inline]
    pub(super) fn replace(&mut self, at: Place, entry: Entry<K, V>, now: Nanos) -> Entry<K, V> {
        let hash = entry.hash;
        let former = replace(&mut self.entries[at], entry);
        self.index.remove(former.hash, at);
        self.index.insert(hash, at);
        self.note_written(at, now);
        former
    }

    pub(super) fn remove(&mut self, at: Place) -> Entry<K, V> {
        let entry = self.entries.swap_remove(at);
        self.index.remove(entry.hash, at);
        self.recency.swap_remove(at);
        self.writes.swap_remove(at);
        let from = self.entries.len() as Place;
        if at != from {
            self.index.relocated(self.entries[at].hash, from, at);
        }
        let Self { entries, index, .. } = self;
        index.after_remove(entries.len(), |at| entries[at].hash);
        entry
    }

    /// Goes on moving the index to a table of another size; whether there is more to move.
    pub(super) fn tidy(&mut self) -> bool {
        let Self { entries, index, .. } = self;
        index.tidy(entries.len(), |at| entries[at].hash)
    }

    /// Takes all entries out, with their places, and gives the memory of all else back.
    pub(super) fn into_entries(self) -> impl Iterator<Item = Entry<K, V>> {
        self.entries.into_elements()
    }

    pub(super) fn validate(&self) {
        self.index.validate(self.len(), |at| self.entries[at].hash);
        self.recency.validate(self.len());
        self.writes.validate(self.len());
    }
}
