//! Entries with a ttl of their own.
//!
//! All other entries expire in write order, so their expiry costs one comparison with the oldest
//! write. Entries with their own ttl are in a write order of their own and in a heap of deadlines.
//! They use the same write link, so an entry is in exactly one of the two write orders, and needs
//! no flag: it has an own ttl if it has a deadline. All this exists only while there is such an
//! entry.

use std::num::NonZeroU32;

use super::{Core, Inserted, Limits, Node, WRITES};
use crate::clock::Nanos;
use crate::lru::deadlines::Deadlines;
use crate::lru::list::List;
use crate::lru::removal::RemovedEntries;
use crate::lru::slab::Slot;
use crate::removal::RemovalCause;

pub(super) struct OwnTtls {
    pub(super) deadlines: Deadlines,
    /// The write order of the entries that have a deadline.
    pub(super) writes: List<WRITES>,
}

impl Limits {
    /// Returns the end of an entry's ttl, which is its own or that of the cache.
    pub(super) fn ttl_end<K, V>(
        &self,
        slot: Slot,
        node: &Node<K, V>,
        own_ttls: Option<&OwnTtls>,
    ) -> Nanos {
        own_ttls
            .and_then(|own| own.deadlines.get(slot))
            .unwrap_or_else(|| node.written.time.saturating_add(self.ttl))
    }

    /// Returns the earliest time at which an entry that is written at `now` may expire, if it has
    /// no ttl of its own.
    #[inline]
    pub(super) fn earliest_expiry(&self, now: Nanos) -> Nanos {
        now.saturating_add(self.ttl.min(self.idle_timeout))
    }
}

impl OwnTtls {
    /// Returns the write order that has an entry: its own, or that of the other entries.
    pub(super) fn writes_with<'a>(
        &'a mut self,
        slot: Slot,
        others: &'a mut List<WRITES>,
    ) -> &'a mut List<WRITES> {
        if self.deadlines.get(slot).is_some() {
            &mut self.writes
        } else {
            others
        }
    }
}

impl<K, V> Core<K, V> {
    /// Does what [`insert`](Self::insert) does, for an entry with a ttl of its own.
    #[inline(never)]
    pub(super) fn insert_with_ttl(
        &mut self,
        now: Nanos,
        hash: u64,
        key: K,
        value: V,
        (weight, ttl): (NonZeroU32, Nanos),
        removed: &mut RemovedEntries<'_, K, V>,
    ) -> Inserted<K, V>
    where
        K: Eq,
    {
        if ttl > 0 {
            let inserted = self.write(now, hash, key, value, weight, removed);
            if let Some(slot) = inserted.slot {
                self.set_own_ttl(slot, ttl);
            }
            return inserted;
        }
        // The entry expires at once, so it is not stored, and evicts nothing.
        let now = self.prepare_write(now, removed);
        let found = self
            .find(hash, &key)
            .filter(|&slot| self.stays_live(now, slot, removed));
        self.counts.inserted += 1;
        self.counts.count_removal(RemovalCause::Expired);
        removed.push((key, value, RemovalCause::Expired));
        Inserted {
            slot: None,
            displaced: found.map(|slot| self.take(slot, RemovalCause::Replaced)),
        }
    }

    /// Clears the own ttl that an entry which was just written has from the former entry in its
    /// slot.
    #[cold]
    pub(super) fn clear_own_ttl(&mut self, slot: Slot) {
        if self.unlink_own_ttl(slot) {
            self.writes.push(&mut self.nodes, slot, self.latest);
        }
    }

    /// Sets the own ttl of an entry that was just written.
    fn set_own_ttl(&mut self, slot: Slot, ttl: Nanos) {
        let now = self.latest;
        let Self {
            nodes,
            writes,
            own_ttls,
            ..
        } = self;
        let own = own_ttls.get_or_insert_with(|| {
            Box::new(OwnTtls {
                deadlines: Deadlines::new(),
                writes: List::new(),
            })
        });
        if own.deadlines.get(slot).is_none() {
            let link = nodes[slot].written;
            writes.unlink(nodes, link);
            own.writes.push(nodes, slot, now);
        }
        let deadline = now.saturating_add(ttl);
        own.deadlines.set(slot, deadline);
        // Entries without an own ttl that are written later do not lower `next_expiry` and
        // `next_removal`, see `schedule_expiry`. So these must not be later than the ends of such
        // entries.
        let limits = &self.limits;
        let earliest = deadline.min(limits.earliest_expiry(now));
        self.next_expiry = self.next_expiry.min(earliest);
        let earliest = deadline
            .saturating_add(limits.stale)
            .min(limits.earliest_removal(now));
        self.next_removal = self.next_removal.min(earliest);
    }

    /// Removes an entry from its write order, and its deadline.
    #[inline]
    pub(super) fn unlink_write(&mut self, slot: Slot) {
        if self.own_ttls.is_none() || !self.unlink_own_ttl(slot) {
            let link = self.nodes[slot].written;
            self.writes.unlink(&mut self.nodes, link);
        }
    }

    /// Returns `false`, and does nothing, if the entry has no ttl of its own.
    #[cold]
    fn unlink_own_ttl(&mut self, slot: Slot) -> bool {
        let Some(own) = &mut self.own_ttls else {
            return false;
        };
        if !own.deadlines.remove(slot) {
            return false;
        }
        let link = self.nodes[slot].written;
        own.writes.unlink(&mut self.nodes, link);
        if own.deadlines.len() == 0 {
            self.own_ttls = None;
        }
        true
    }

    /// Updates the write order and the deadline of an entry that was moved.
    #[inline]
    pub(super) fn relocate_write(&mut self, from: Slot, to: Slot) {
        let Self {
            nodes,
            writes,
            own_ttls,
            ..
        } = self;
        let writes = match own_ttls {
            None => writes,
            Some(own) => {
                own.deadlines.relocate(from, to);
                own.writes_with(to, writes)
            }
        };
        writes.relocate(nodes, to);
    }

    /// Returns the oldest writes: of the entries without an own ttl, and of those with one.
    pub(super) fn oldest_writes(&self) -> [Option<Slot>; 2] {
        let own = self.own_ttls.as_ref();
        [
            self.writes.oldest(),
            own.and_then(|own| own.writes.oldest()),
        ]
    }

    /// Returns the entry with the earliest deadline, and the deadline.
    pub(super) fn first_own_deadline(&self) -> Option<(Slot, Nanos)> {
        self.own_ttls.as_ref()?.deadlines.first()
    }

    pub(super) fn validate_writes(&self) {
        let of_others = self.writes.validate(&self.nodes);
        let with_own_ttl = self.own_ttls.as_ref().map_or(0, |own| {
            own.deadlines.validate();
            let order = own.writes.oldest_first(&self.nodes);
            for slot in order {
                assert!(own.deadlines.get(slot).is_some(), "it has a deadline");
            }
            let len = own.writes.validate(&self.nodes);
            assert_eq!(len, own.deadlines.len(), "all deadlines are of entries");
            assert!(len > 0, "it exists only if there is such an entry");
            len
        });
        assert_eq!(
            of_others + with_own_ttl,
            self.nodes.len(),
            "every entry is in one write order"
        );
    }
}
