//! Inserts: a new entry, or a new value for a key that has one.

use std::mem::replace;
use std::num::NonZeroU32;

use super::{Core, Entry, Node, index_hash};
use crate::clock::Nanos;
use crate::lru::attributes::Attributes;
use crate::lru::list::Link;
use crate::lru::removal::{Removal, RemovedEntries};
use crate::lru::slab::Slot;
use crate::removal::RemovalCause;

/// The outcome of an insert.
pub(in crate::lru) struct Inserted<K, V> {
    /// The entry, which is in this slot until the next write, or `None` if it was not stored.
    pub(in crate::lru) slot: Option<Slot>,
    /// The displaced entry: the key that was passed with the live value that it replaces, or the
    /// last entry that was evicted for it, or the refused entry itself.
    ///
    /// It is returned, and not added to `removed`, because most inserts displace one entry and
    /// remove no other.
    pub(in crate::lru) displaced: Option<Removal<K, V>>,
}

impl<K, V> Core<K, V> {
    /// Stores a value. A refused entry also replaces what was stored: that is out of date.
    #[inline]
    pub(in crate::lru) fn insert(
        &mut self,
        now: Nanos,
        hash: u64,
        key: K,
        value: V,
        attributes: Attributes,
        removed: &mut RemovedEntries<'_, K, V>,
    ) -> Inserted<K, V>
    where
        K: Eq,
    {
        let Attributes { weight, ttl } = attributes;
        if let Some(ttl) = ttl {
            return self.insert_with_ttl(now, hash, key, value, (weight, ttl), removed);
        }
        let inserted = self.write(now, hash, key, value, weight, removed);
        if self.own_ttls.is_some() {
            if let Some(slot) = inserted.slot {
                self.clear_own_ttl(slot);
            }
        }
        inserted
    }

    /// Stores an entry, see [`insert`](Self::insert). The entry keeps the own ttl of the one whose
    /// slot it takes.
    #[inline]
    pub(super) fn write(
        &mut self,
        now: Nanos,
        hash: u64,
        key: K,
        value: V,
        weight: NonZeroU32,
        removed: &mut RemovedEntries<'_, K, V>,
    ) -> Inserted<K, V>
    where
        K: Eq,
    {
        let now = self.prepare_write(now, removed);
        let found = if self.missing == Some(index_hash(hash)) {
            None
        } else {
            self.find(hash, &key)
        };
        let found = found.filter(|&slot| self.stays_live(now, slot, removed));
        if u64::from(weight.get()) > self.limits.max_weight {
            self.counts.rejected += 1;
            if let Some(slot) = found {
                self.remove_entry(slot, RemovalCause::Replaced, removed);
            }
            return Inserted {
                slot: None,
                displaced: Some((key, value, RemovalCause::Rejected)),
            };
        }
        self.counts.inserted += 1;
        self.weight += u64::from(weight.get());
        if let Some(slot) = found {
            let former = self.rewrite(now, slot, value, weight);
            // The entry is within the bound alone, so others are evicted.
            let slot = self.evict_others(slot, removed);
            return Inserted {
                slot: Some(slot),
                displaced: Some((key, former, RemovalCause::Replaced)),
            };
        }
        self.missing = None;
        let entry = Entry {
            key,
            value,
            hash: index_hash(hash),
            weight,
        };
        self.add(now, entry, removed)
    }

    fn rewrite(&mut self, now: Nanos, slot: Slot, value: V, weight: NonZeroU32) -> V {
        let node = &self.nodes[slot];
        let links = (node.accessed, node.written);
        let node = self.move_to_front(now, slot, links, (weight, false));
        let former_weight = replace(&mut node.entry.weight, weight);
        let former = replace(&mut node.entry.value, value);
        self.weight -= u64::from(former_weight.get());
        self.counts.replaced += 1;
        former
    }

    /// Moves an entry that is written at `now` to the front of both lists, in which it has these
    /// links. Passes its weight, and whether it is a new one.
    #[inline]
    fn move_to_front(
        &mut self,
        now: Nanos,
        slot: Slot,
        (accessed, written): (Link, Link),
        write: (NonZeroU32, bool),
    ) -> &mut Node<K, V> {
        if self.own_ttls.is_some() || self.s3_fifo.is_some() {
            return self.move_to_front_of_any(now, slot, write);
        }
        let Self { nodes, .. } = self;
        let accessed = self.recency.move_to_front(nodes, slot, accessed, now);
        let written = self.writes.move_to_front(nodes, slot, written, now);
        let node = &mut nodes[slot];
        (node.accessed, node.written) = (accessed, written);
        node
    }

    /// Adds an entry, whose weight is counted already, and evicts what it leaves no room for.
    #[inline]
    fn add(
        &mut self,
        now: Nanos,
        entry: Entry<K, V>,
        removed: &mut RemovedEntries<'_, K, V>,
    ) -> Inserted<K, V> {
        self.schedule_expiry(now);
        let Some(slot) = self.make_room(now, entry.hash, removed) else {
            return Inserted {
                slot: Some(self.push(now, entry)),
                displaced: None,
            };
        };
        // The new entry takes the slot of the last victim, so no third entry moves into that.
        let victim = &self.nodes[slot];
        let (hash, links) = (victim.entry.hash, (victim.accessed, victim.written));
        self.counts.evicted += 1;
        self.weight -= u64::from(victim.entry.weight.get());
        let Self { nodes, index, .. } = self;
        index.replace(hash, entry.hash, slot, |slot| nodes[slot].entry.hash);
        let node = self.move_to_front(now, slot, links, (entry.weight, true));
        let victim = replace(&mut node.entry, entry);
        Inserted {
            slot: Some(slot),
            displaced: Some((victim.key, victim.value, RemovalCause::Evicted)),
        }
    }

    #[inline(never)]
    fn push(&mut self, now: Nanos, entry: Entry<K, V>) -> Slot {
        let Self { nodes, index, .. } = self;
        let bound = self.limits.max_entries;
        index.before_push(nodes.len(), bound, |slot| nodes[slot].entry.hash);
        let hash = entry.hash;
        let node = Node {
            written: Link::NONE,
            accessed: Link::NONE,
            entry,
        };
        let slot = nodes.push(node, bound);
        index.insert(hash, slot);
        self.writes.push(nodes, slot, now);
        self.counts.high_water = self.counts.high_water.max(nodes.len());
        self.link_access(slot, now);
        slot
    }
}
