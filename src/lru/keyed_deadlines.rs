//! `KeyedDeadlines`: keys that have a deadline each, by key, by deadline, and by last access.
//!
//! It consists of the cache's data structures without the cache's rules: it has no clock, so it
//! does not know which deadlines have passed.

use super::deadlines::Deadlines;
use super::index::Index;
use super::list::{Link, Links, List};
use super::slab::{Slab, Slot};
use crate::clock::Nanos;

const RECENCY: usize = 0;

/// Invariant: every node has a deadline, an entry in the index, and a link in the recency list.
/// All of them have the same slot.
pub(crate) struct KeyedDeadlines<K> {
    nodes: Slab<Node<K>>,
    index: Index,
    deadlines: Deadlines,
    recency: List<RECENCY>,
}

struct Node<K> {
    /// Its time is not used.
    accessed: Link,
    /// The same as in `deadlines`, so that reading it costs no further cache misses.
    deadline: Nanos,
    /// The part of the hash that the index knows.
    hash: u32,
    key: K,
}

impl<K> Links<RECENCY> for Slab<Node<K>> {
    fn link(&self, slot: Slot) -> &Link {
        &self[slot].accessed
    }

    fn link_mut(&mut self, slot: Slot) -> &mut Link {
        &mut self[slot].accessed
    }
}

/// Returns the part of a hash that the index knows. The other half chooses the shard.
fn index_hash(hash: u64) -> u32 {
    (hash >> 32) as u32
}

impl<K> KeyedDeadlines<K> {
    pub(crate) fn new() -> Self {
        Self {
            nodes: Slab::new(),
            index: Index::new(),
            deadlines: Deadlines::new(),
            recency: List::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Returns the slot of a key.
    pub(crate) fn find(&self, hash: u64, key: &K) -> Option<Slot>
    where
        K: Eq,
    {
        let has_key = |slot| (self.nodes.get(slot)).is_some_and(|node| node.key == *key);
        self.index.find(index_hash(hash), has_key)
    }

    /// Returns the deadline of the key in a slot.
    pub(crate) fn deadline(&self, slot: Slot) -> Nanos {
        self.nodes[slot].deadline
    }

    /// Makes the key in a slot the most recently used.
    pub(crate) fn access(&mut self, slot: Slot) {
        let Self { nodes, recency, .. } = self;
        let link = nodes[slot].accessed;
        nodes[slot].accessed = recency.move_to_front(nodes, slot, link, 0);
    }

    /// Changes the deadline of the key in a slot, in up to `log4(n)` steps for `n` keys.
    pub(crate) fn set(&mut self, slot: Slot, deadline: Nanos) {
        self.nodes[slot].deadline = deadline;
        self.deadlines.set(slot, deadline);
    }

    /// Adds a key that is not there, as the most recently used of at most `bound`.
    pub(crate) fn push(&mut self, hash: u64, key: K, deadline: Nanos, bound: usize) {
        let Self { nodes, index, .. } = self;
        index.before_push(nodes.len(), bound, |slot| nodes[slot].hash);
        let hash = index_hash(hash);
        let node = Node {
            accessed: Link::NONE,
            deadline,
            hash,
            key,
        };
        let slot = nodes.push(node, bound);
        index.insert(hash, slot);
        self.recency.push(nodes, slot, 0);
        self.deadlines.set(slot, deadline);
    }

    /// Removes the key in a slot. The last key takes the slot.
    pub(crate) fn remove(&mut self, slot: Slot) -> K {
        let link = self.nodes[slot].accessed;
        self.recency.unlink(&mut self.nodes, link);
        self.deadlines.remove(slot);
        let Node { hash, key, .. } = self.nodes.swap_remove(slot);
        self.index.remove(hash, slot);
        let Self { nodes, index, .. } = self;
        let len = nodes.len();
        if slot as usize != len {
            self.recency.relocate(nodes, slot);
            self.deadlines.relocate(len as Slot, slot);
            index.relocate(nodes[slot].hash, len as Slot, slot);
        }
        index.after_remove(len, |slot| nodes[slot].hash);
        key
    }

    /// Returns the slot with the earliest deadline, and the deadline.
    pub(crate) fn first(&self) -> Option<(Slot, Nanos)> {
        self.deadlines.first()
    }

    /// Returns the slot of the least recently used key.
    pub(crate) fn least_recent(&self) -> Option<Slot> {
        self.recency.oldest()
    }

    pub(crate) fn validate(&self) {
        let len = self.len();
        self.index.validate(len, |slot| self.nodes[slot].hash);
        self.deadlines.validate();
        assert_eq!(self.deadlines.len(), len, "every deadline is of a key");
        for slot in 0..len as Slot {
            let deadline = Some(self.deadline(slot));
            assert_eq!(self.deadlines.get(slot), deadline, "the deadline of a key");
        }
        let by_recency = self.recency.validate(&self.nodes);
        assert_eq!(by_recency, len, "every key is in the recency list");
    }
}
