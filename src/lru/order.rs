//! `Order`: the entries of a store in the order of a time that each has, as a doubly linked list.
//!
//! Invariant: from `newest` along `older` one gets to every entry once and to `oldest` last, and the other way round, and
//! no time is before that of an older entry. So whatever is past a limit is at the old end.
//!
//! Links and times are in the entries themselves: whoever uses an entry has brought its cache line already, and only the
//! neighbours cost another. An entry has one [`Link`] for each order that it is in; a type names the order, so that none
//! can be mistaken for another.

use std::iter::successors;
use std::marker::PhantomData;

use super::slab::{NIL, Place, Slab};
use crate::clock::Nanos;

/// What an entry knows of its place in one order.
#[derive(Clone, Copy)]
pub(super) struct Link {
    newer: Place,
    older: Place,
    time: Nanos,
}

impl Link {
    /// Of an entry that is in the order not yet.
    pub(super) const NONE: Self = Self {
        newer: NIL,
        older: NIL,
        time: 0,
    };
}

/// What has a link for the order that `O` names.
pub(super) trait Linked<O> {
    fn link(&self) -> &Link;
    fn link_mut(&mut self) -> &mut Link;
}

pub(super) struct Order<O> {
    newest: Place,
    oldest: Place,
    of: PhantomData<O>,
}

impl<O> Order<O> {
    pub(super) const fn new() -> Self {
        Self {
            newest: NIL,
            oldest: NIL,
            of: PhantomData,
        }
    }

    /// Makes an entry, which is in the order not yet, the newest.
    #[inline(always)]
    pub(super) fn push<E: Linked<O>>(&mut self, entries: &mut Slab<E>, at: Place, now: Nanos) {
        let older = self.newest;
        *entries[at].link_mut() = Link {
            newer: NIL,
            older,
            time: now,
        };
        *self.newer_of(entries, older) = at;
        self.newest = at;
    }

    /// Makes an entry that has this link the newest; the link that it is to have.
    ///
    /// So the entry itself, at hand where it was found, is not looked up once more.
    #[inline(always)]
    #[must_use]
    pub(super) fn refresh<E: Linked<O>>(
        &mut self,
        entries: &mut Slab<E>,
        at: Place,
        link: Link,
        now: Nanos,
    ) -> Link {
        let newest = self.newest;
        if at == newest {
            return Link { time: now, ..link };
        }
        // There is a newer one, so what is above is an entry and no check for the end is needed.
        entries[link.newer].link_mut().older = link.older;
        *self.newer_of(entries, link.older) = link.newer;
        entries[newest].link_mut().newer = at;
        self.newest = at;
        Link {
            newer: NIL,
            older: newest,
            time: now,
        }
    }

    /// Takes an entry out of the order.
    #[inline]
    pub(super) fn unlink<E: Linked<O>>(&mut self, entries: &mut Slab<E>, at: Place) {
        let Link { newer, older, .. } = *entries[at].link();
        *self.older_of(entries, newer) = older;
        *self.newer_of(entries, older) = newer;
    }

    /// Notes that an entry, with its link, is at this place now.
    #[inline]
    pub(super) fn relocated<E: Linked<O>>(&mut self, entries: &mut Slab<E>, at: Place) {
        let Link { newer, older, .. } = *entries[at].link();
        *self.older_of(entries, newer) = at;
        *self.newer_of(entries, older) = at;
    }

    /// What says which entry comes after `newer`: beyond the end, that is the order itself.
    #[inline(always)]
    fn older_of<'a, E: Linked<O>>(
        &'a mut self,
        entries: &'a mut Slab<E>,
        newer: Place,
    ) -> &'a mut Place {
        if newer == NIL {
            &mut self.newest
        } else {
            &mut entries[newer].link_mut().older
        }
    }

    #[inline(always)]
    fn newer_of<'a, E: Linked<O>>(
        &'a mut self,
        entries: &'a mut Slab<E>,
        older: Place,
    ) -> &'a mut Place {
        if older == NIL {
            &mut self.oldest
        } else {
            &mut entries[older].link_mut().newer
        }
    }

    /// The order, to be looked at.
    #[inline(always)]
    pub(super) fn of<'a, E: Linked<O>>(&self, entries: &'a Slab<E>) -> InOrder<'a, E, O> {
        InOrder {
            newest: self.newest,
            oldest: self.oldest,
            entries,
            of: PhantomData,
        }
    }
}

/// The entries of a store, in one of its orders.
pub(super) struct InOrder<'a, E, O> {
    newest: Place,
    oldest: Place,
    entries: &'a Slab<E>,
    of: PhantomData<O>,
}

impl<'a, E: Linked<O>, O> InOrder<'a, E, O> {
    /// The entry that was last.
    #[inline(always)]
    pub(super) fn last(&self) -> Option<Place> {
        (self.oldest != NIL).then_some(self.oldest)
    }

    /// The entry that was last, and when it was noted.
    pub(super) fn oldest(&self) -> Option<(Place, Nanos)> {
        self.last().map(|at| (at, self.time(at)))
    }

    #[inline(always)]
    pub(super) fn time(&self, at: Place) -> Nanos {
        self.entries[at].link().time
    }

    /// All entries, the newest first.
    pub(super) fn newest_first(&self) -> impl Iterator<Item = Place> + use<'a, E, O> {
        Self::walk(self.entries, self.newest, |link| link.older)
    }

    /// All entries, the oldest first.
    pub(super) fn oldest_first(&self) -> impl Iterator<Item = Place> + use<'a, E, O> {
        Self::walk(self.entries, self.oldest, |link| link.newer)
    }

    fn walk(
        entries: &'a Slab<E>,
        first: Place,
        next: fn(&Link) -> Place,
    ) -> impl Iterator<Item = Place> + use<'a, E, O> {
        let some = |at| (at != NIL).then_some(at);
        successors(some(first), move |&at| some(next(entries[at].link())))
    }

    pub(super) fn validate(&self) {
        let order: Vec<Place> = self.newest_first().collect();
        assert!(
            order.iter().rev().copied().eq(self.oldest_first()),
            "the order, both ways"
        );
        assert_eq!(
            order.len(),
            self.entries.len(),
            "every entry is in the order"
        );
        assert!(
            order.is_sorted_by(|&a, &b| self.time(a) >= self.time(b)),
            "the order is one of time"
        );
    }
}
