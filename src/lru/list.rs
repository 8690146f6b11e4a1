//! `List`: the slots of a slab in order of a time, as a doubly linked list.
//!
//! The cache has two of them: the recency list, by the time of the last access, and the write
//! order, by the time of the last write.
//!
//! Invariant: following `older` from `newest` visits every slot once and ends at `oldest`,
//! following `newer` is the reverse, and no time is before that of an older slot. So everything
//! that exceeds an age is at the old end.
//!
//! The links are inside the nodes. A call that uses a node has fetched its links with it, and only
//! the neighbours cost further cache misses.

// `#[inline(always)]`: see the core.

use super::slab::{NIL, Slab, Slot};
use crate::clock::Nanos;

/// The position of a node in one list.
#[derive(Clone, Copy)]
pub(super) struct Link {
    newer: Slot,
    older: Slot,
    pub(super) time: Nanos,
}

impl Link {
    /// The link of a node that is not in the list.
    pub(super) const NONE: Self = Self {
        newer: NIL,
        older: NIL,
        time: 0,
    };
}

/// A node that is in list `L`.
pub(super) trait Linked<const L: usize> {
    fn link(&self) -> &Link;
    fn link_mut(&mut self) -> &mut Link;
}

/// One list of the nodes of a slab, which every method is given.
pub(super) struct List<const L: usize> {
    newest: Slot,
    oldest: Slot,
}

impl<const L: usize> List<L> {
    pub(super) const fn new() -> Self {
        Self {
            newest: NIL,
            oldest: NIL,
        }
    }

    /// Returns the slot whose time is the oldest.
    #[inline]
    pub(super) fn oldest(&self) -> Option<Slot> {
        (self.oldest != NIL).then_some(self.oldest)
    }

    /// Adds a slot that is not in the list as the newest.
    #[inline]
    pub(super) fn push<N: Linked<L>>(&mut self, nodes: &mut Slab<N>, slot: Slot, now: Nanos) {
        let older = self.newest;
        *nodes[slot].link_mut() = Link {
            newer: NIL,
            older,
            time: now,
        };
        *self.newer_of(nodes, older) = slot;
        self.newest = slot;
    }

    /// Moves `slot`, whose link is `link`, to the front of the list, and returns its updated link.
    ///
    /// The caller stores the link, because it needs a reference to the node anyway.
    #[inline(always)]
    #[must_use]
    pub(super) fn move_to_front<N: Linked<L>>(
        &mut self,
        nodes: &mut Slab<N>,
        slot: Slot,
        link: Link,
        now: Nanos,
    ) -> Link {
        let newest = self.newest;
        if slot == newest {
            return Link { time: now, ..link };
        }
        // `link.newer` is a slot, because this one is not the newest.
        nodes[link.newer].link_mut().older = link.older;
        *self.newer_of(nodes, link.older) = link.newer;
        nodes[newest].link_mut().newer = slot;
        self.newest = slot;
        Link {
            newer: NIL,
            older: newest,
            time: now,
        }
    }

    /// Removes a slot from the list.
    pub(super) fn unlink<N: Linked<L>>(&mut self, nodes: &mut Slab<N>, slot: Slot) {
        let Link { newer, older, .. } = *nodes[slot].link();
        *self.older_of(nodes, newer) = older;
        *self.newer_of(nodes, older) = newer;
    }

    /// Updates the neighbours of a node that was moved to `slot` with its link.
    pub(super) fn relocate<N: Linked<L>>(&mut self, nodes: &mut Slab<N>, slot: Slot) {
        let Link { newer, older, .. } = *nodes[slot].link();
        *self.older_of(nodes, newer) = slot;
        *self.newer_of(nodes, older) = slot;
    }

    /// Returns where the slot older than `newer` is stored. Beyond the end, that is the list
    /// itself.
    #[inline(always)]
    fn older_of<'a, N: Linked<L>>(
        &'a mut self,
        nodes: &'a mut Slab<N>,
        newer: Slot,
    ) -> &'a mut Slot {
        if newer == NIL {
            &mut self.newest
        } else {
            &mut nodes[newer].link_mut().older
        }
    }

    /// Returns where the slot newer than `older` is stored. Beyond the end, that is the list
    /// itself.
    #[inline(always)]
    fn newer_of<'a, N: Linked<L>>(
        &'a mut self,
        nodes: &'a mut Slab<N>,
        older: Slot,
    ) -> &'a mut Slot {
        if older == NIL {
            &mut self.oldest
        } else {
            &mut nodes[older].link_mut().newer
        }
    }

    /// Returns the slots, the newest first.
    pub(super) fn newest_first<'a, N: Linked<L>>(&self, nodes: &'a Slab<N>) -> Walk<'a, N, L> {
        Walk {
            next: self.newest,
            step: |link| link.older,
            nodes,
        }
    }

    /// Returns the slots, the oldest first.
    pub(super) fn oldest_first<'a, N: Linked<L>>(&self, nodes: &'a Slab<N>) -> Walk<'a, N, L> {
        Walk {
            next: self.oldest,
            step: |link| link.newer,
            nodes,
        }
    }

    /// Checks the invariant, and returns the number of slots.
    pub(super) fn validate<N: Linked<L>>(&self, nodes: &Slab<N>) -> usize {
        let order: Vec<Slot> = self.newest_first(nodes).collect();
        let backwards = self.oldest_first(nodes);
        assert!(
            order.iter().rev().copied().eq(backwards),
            "the list is the same in both directions"
        );
        let time = |slot: Slot| nodes[slot].link().time;
        assert!(
            order.is_sorted_by(|&a, &b| time(a) >= time(b)),
            "the list is sorted by time"
        );
        order.len()
    }
}

/// The slots of a list, from one end to the other.
pub(super) struct Walk<'a, N, const L: usize> {
    next: Slot,
    step: fn(&Link) -> Slot,
    nodes: &'a Slab<N>,
}

impl<N: Linked<L>, const L: usize> Iterator for Walk<'_, N, L> {
    type Item = Slot;

    fn next(&mut self) -> Option<Slot> {
        let slot = self.next;
        if slot == NIL {
            return None;
        }
        self.next = (self.step)(self.nodes[slot].link());
        Some(slot)
    }
}

impl<N, const L: usize> Clone for Walk<'_, N, L> {
    fn clone(&self) -> Self {
        Self { ..*self }
    }
}
