//! The links of the queues: those of the nodes, or links of their own.

use std::num::NonZeroU32;

use super::super::Node;
use crate::clock::Nanos;
use crate::lru::list::{Link, Links};
use crate::lru::slab::{Slab, Slot};

/// The list that the two queues are made of.
pub(super) const QUEUE: usize = 2;

pub(super) const HITS: Nanos = 0b11;
pub(super) const IS_MAIN: Nanos = 0b100;
/// The bits of a link's time that are no time.
pub(super) const STATE: Nanos = HITS | IS_MAIN;

/// Returns the time without the state that is in its lower bits.
pub(in super::super) fn without_state(time: Nanos) -> Nanos {
    time & !STATE
}

/// The entries that are in the queues, with their links.
///
/// There are two kinds. A method of the queues is compiled for each of them. Otherwise every access
/// to a link would check the kind.
pub(super) trait Queued: Links<QUEUE> {
    /// Returns the link, the weight and the hash of an entry.
    fn entry(&self, slot: Slot) -> (Link, NonZeroU32, u32);
    fn len(&self) -> usize;
}

impl<K, V> Links<QUEUE> for Slab<Node<K, V>> {
    #[inline(always)]
    fn link(&self, slot: Slot) -> &Link {
        &self[slot].accessed
    }

    #[inline(always)]
    fn link_mut(&mut self, slot: Slot) -> &mut Link {
        &mut self[slot].accessed
    }
}

impl<K, V> Queued for Slab<Node<K, V>> {
    #[inline(always)]
    fn entry(&self, slot: Slot) -> (Link, NonZeroU32, u32) {
        let node = &self[slot];
        (node.accessed, node.entry.weight, node.entry.hash)
    }

    #[inline(always)]
    fn len(&self) -> usize {
        self.len()
    }
}

/// Nodes whose links the recency list needs.
pub(super) struct OwnLinks<'a, K, V> {
    pub(super) nodes: &'a Slab<Node<K, V>>,
    pub(super) links: &'a mut Slab<Link>,
}

impl Links<QUEUE> for Slab<Link> {
    fn link(&self, slot: Slot) -> &Link {
        &self[slot]
    }

    fn link_mut(&mut self, slot: Slot) -> &mut Link {
        &mut self[slot]
    }
}

impl<K, V> Links<QUEUE> for OwnLinks<'_, K, V> {
    fn link(&self, slot: Slot) -> &Link {
        self.links.link(slot)
    }

    fn link_mut(&mut self, slot: Slot) -> &mut Link {
        self.links.link_mut(slot)
    }
}

impl<K, V> Queued for OwnLinks<'_, K, V> {
    fn entry(&self, slot: Slot) -> (Link, NonZeroU32, u32) {
        let entry = &self.nodes[slot].entry;
        (self.links[slot], entry.weight, entry.hash)
    }

    fn len(&self) -> usize {
        self.nodes.len()
    }
}
