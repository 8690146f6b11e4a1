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

use super::slab::{NIL, Slot};
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

    #[cfg(test)]
    pub(super) fn parts(&self) -> (Slot, Slot, Nanos) {
        (self.newer, self.older, self.time)
    }
}

/// The links of list `L`, by slot.
pub(super) trait Links<const L: usize> {
    fn link(&self, slot: Slot) -> &Link;
    fn link_mut(&mut self, slot: Slot) -> &mut Link;
}

/// One list, whose links every method is given.
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

    /// Returns `true` if a slot is the only one in the list.
    pub(super) fn is_only(&self, slot: Slot) -> bool {
        self.oldest == slot && self.newest == slot
    }

    /// Adds a slot that is not in the list as the newest.
    #[inline]
    pub(super) fn push(&mut self, links: &mut impl Links<L>, slot: Slot, now: Nanos) {
        let older = self.newest;
        *links.link_mut(slot) = Link {
            newer: NIL,
            older,
            time: now,
        };
        *self.newer_of(links, older) = slot;
        self.newest = slot;
    }

    /// Moves `slot`, whose link is `link`, to the front of the list, and returns its updated link.
    ///
    /// The caller stores the link, because it needs a reference to the node anyway.
    #[inline]
    #[must_use]
    pub(super) fn move_to_front(
        &mut self,
        links: &mut impl Links<L>,
        slot: Slot,
        link: Link,
        now: Nanos,
    ) -> Link {
        let newest = self.newest;
        if slot == newest {
            return Link { time: now, ..link };
        }
        // `link.newer` is a slot, because this one is not the newest.
        links.link_mut(link.newer).older = link.older;
        *self.newer_of(links, link.older) = link.newer;
        links.link_mut(newest).newer = slot;
        self.newest = slot;
        Link {
            newer: NIL,
            older: newest,
            time: now,
        }
    }

    /// Removes a slot, whose link is `link`, from the list.
    #[inline]
    pub(super) fn unlink(&mut self, links: &mut impl Links<L>, link: Link) {
        let Link { newer, older, .. } = link;
        *self.older_of(links, newer) = older;
        *self.newer_of(links, older) = newer;
    }

    /// Updates the neighbours of a node that was moved to `slot` with its link.
    pub(super) fn relocate(&mut self, links: &mut impl Links<L>, slot: Slot) {
        let Link { newer, older, .. } = *links.link(slot);
        *self.older_of(links, newer) = slot;
        *self.newer_of(links, older) = slot;
    }

    /// Returns where the slot older than `newer` is stored. Beyond the end, that is the list
    /// itself.
    #[inline]
    fn older_of<'a>(&'a mut self, links: &'a mut impl Links<L>, newer: Slot) -> &'a mut Slot {
        if newer == NIL {
            &mut self.newest
        } else {
            &mut links.link_mut(newer).older
        }
    }

    /// Returns where the slot newer than `older` is stored. Beyond the end, that is the list
    /// itself.
    #[inline]
    fn newer_of<'a>(&'a mut self, links: &'a mut impl Links<L>, older: Slot) -> &'a mut Slot {
        if older == NIL {
            &mut self.oldest
        } else {
            &mut links.link_mut(older).newer
        }
    }

    /// Returns the slots, the newest first.
    pub(super) fn newest_first<'a, C: Links<L>>(&self, links: &'a C) -> Walk<'a, C, L> {
        Walk {
            next: self.newest,
            step: |link| link.older,
            links,
        }
    }

    /// Returns the slots, the oldest first.
    pub(super) fn oldest_first<'a, C: Links<L>>(&self, links: &'a C) -> Walk<'a, C, L> {
        Walk {
            next: self.oldest,
            step: |link| link.newer,
            links,
        }
    }

    /// Checks the invariant, and returns the number of slots.
    pub(super) fn validate(&self, links: &impl Links<L>) -> usize {
        let order = self.validate_links(links);
        let time = |slot: Slot| links.link(slot).time;
        assert!(
            order.is_sorted_by(|&a, &b| time(a) >= time(b)),
            "the list is sorted by time"
        );
        order.len()
    }

    /// Checks the links, and returns the slots, the newest first.
    pub(super) fn validate_links(&self, links: &impl Links<L>) -> Vec<Slot> {
        let order: Vec<Slot> = self.newest_first(links).collect();
        let backwards = self.oldest_first(links);
        assert!(
            order.iter().rev().copied().eq(backwards),
            "the list is the same in both directions"
        );
        order
    }
}

/// The slots of a list, from one end to the other.
pub(super) struct Walk<'a, C, const L: usize> {
    next: Slot,
    step: fn(&Link) -> Slot,
    links: &'a C,
}

impl<C: Links<L>, const L: usize> Iterator for Walk<'_, C, L> {
    type Item = Slot;

    fn next(&mut self) -> Option<Slot> {
        let slot = self.next;
        if slot == NIL {
            return None;
        }
        self.next = (self.step)(self.links.link(slot));
        Some(slot)
    }
}

impl<C, const L: usize> Clone for Walk<'_, C, L> {
    fn clone(&self) -> Self {
        Self { ..*self }
    }
}
