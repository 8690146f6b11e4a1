//! The order of eviction: the recency list, or the queues of S3-FIFO.
//!
//! Under `Policy::Lru` an entry is in the recency list. Under `Policy::S3Fifo` it is in a queue,
//! and in the recency list only if there is an idle timeout. The methods of this file keep both in
//! step with the entries.

use std::num::NonZeroU32;

use super::s3_fifo::without_state;
use super::{Core, Node};
use crate::clock::Nanos;
use crate::lru::slab::{NIL, Slot};
use crate::removal::RemovalCause;

impl<K, V> Core<K, V> {
    /// Returns `true` if there is a recency list.
    #[inline]
    pub(super) fn keeps_recency(&self) -> bool {
        self.s3_fifo.as_ref().is_none_or(|it| it.keeps_recency())
    }

    /// Returns the time of the last access to an entry. It is rounded down to 8 ns if there is no
    /// recency list.
    pub(super) fn access_time(&self, slot: Slot) -> Nanos {
        let time = self.nodes[slot].accessed.time;
        if self.keeps_recency() {
            time
        } else {
            without_state(time)
        }
    }

    /// Notes an access to an entry, and returns its value.
    #[inline(always)]
    pub(super) fn access(&mut self, slot: Slot) -> &mut V {
        if let Some(s3_fifo) = &mut self.s3_fifo {
            if !s3_fifo.keeps_recency() {
                // One access to the slab, because each checks the slot again.
                let node = &mut self.nodes[slot];
                s3_fifo.hit(node, slot, self.latest);
                return &mut node.entry.value;
            }
            s3_fifo.hit(&mut self.nodes[slot], slot, self.latest);
        }
        &mut self.promote(slot).entry.value
    }

    /// Makes an entry the most recently used.
    #[inline(always)]
    fn promote(&mut self, slot: Slot) -> &mut Node<K, V> {
        let Self { nodes, recency, .. } = self;
        let link = nodes[slot].accessed;
        let link = recency.move_to_front(nodes, slot, link, self.latest);
        let node = &mut nodes[slot];
        node.accessed = link;
        node
    }

    /// Adds an entry whose slot is a new one.
    pub(super) fn link_access(&mut self, slot: Slot, now: Nanos) {
        let Self { nodes, s3_fifo, .. } = self;
        if let Some(s3_fifo) = s3_fifo {
            let weight = nodes[slot].entry.weight;
            s3_fifo.push(nodes, slot, weight, now);
            if !s3_fifo.keeps_recency() {
                return;
            }
        }
        self.recency.push(nodes, slot, now);
    }

    /// Notes a write of an entry to a slot, unless there is neither S3-FIFO nor an entry with an
    /// own ttl. The node still has the former entry. If that has another key, it is in no queue.
    ///
    /// If [`move_to_front`](Self::move_to_front) did this, every write would execute more
    /// instructions.
    #[inline(never)]
    pub(super) fn move_to_front_of_any(
        &mut self,
        now: Nanos,
        slot: Slot,
        (weight, is_new): (NonZeroU32, bool),
    ) -> &mut Node<K, V> {
        if let Some(s3_fifo) = &mut self.s3_fifo {
            if is_new {
                s3_fifo.push(&mut self.nodes, slot, weight, now);
            } else {
                s3_fifo.reweigh(&mut self.nodes, slot, weight);
                s3_fifo.hit(&mut self.nodes[slot], slot, now);
            }
        }
        if self.keeps_recency() {
            self.promote(slot);
        }
        let Self {
            nodes,
            writes,
            own_ttls,
            ..
        } = self;
        let writes = match own_ttls {
            None => writes,
            Some(own) => own.writes_with(slot, writes),
        };
        let link = nodes[slot].written;
        let link = writes.move_to_front(nodes, slot, link, now);
        let node = &mut nodes[slot];
        node.written = link;
        node
    }

    /// Removes an entry that is removed for `cause`.
    pub(super) fn unlink_access(&mut self, slot: Slot, cause: RemovalCause) {
        let Self { nodes, s3_fifo, .. } = self;
        if let Some(s3_fifo) = s3_fifo {
            s3_fifo.unlink(nodes, slot, cause);
            s3_fifo.swap_remove(slot);
            if !s3_fifo.keeps_recency() {
                return;
            }
        }
        let link = nodes[slot].accessed;
        self.recency.unlink(nodes, link);
    }

    /// Updates the neighbours of an entry that was moved to `slot`.
    pub(super) fn relocate_access(&mut self, slot: Slot) {
        let Self { nodes, s3_fifo, .. } = self;
        if let Some(s3_fifo) = s3_fifo {
            s3_fifo.relocate(nodes, slot);
            if !s3_fifo.keeps_recency() {
                return;
            }
        }
        self.recency.relocate(nodes, slot);
    }

    /// Returns the entry to evict next, which is not the one in slot `kept`.
    pub(super) fn victim(&mut self, kept: Slot) -> Option<Slot> {
        match &mut self.s3_fifo {
            // An entry that is kept was just accessed, so it is not the oldest of several.
            None => self.recency.oldest(),
            Some(s3_fifo) => s3_fifo.victim(&mut self.nodes, kept),
        }
    }

    /// Returns the entry that `pop_lru` removes: the least recently used one or, if there is no
    /// recency list, the next to evict.
    pub(super) fn least_recent(&mut self) -> Option<Slot> {
        if self.keeps_recency() {
            self.recency.oldest()
        } else {
            self.victim(NIL)
        }
    }
}
