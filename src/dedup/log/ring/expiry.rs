//! Expiry and eviction: remove the oldest entries by moving `head`.
//!
//! All entries have the same time to live, so those that are due are the first ones of the ring.

use std::ops::Range;

use super::super::block::BLOCK;
use super::super::slot::Slot;
use super::Ring;
use crate::clock::Nanos;
use crate::dedup::Key;

impl<K: ?Sized + Key, V> Ring<K, V> {
    /// Removes all entries that arrived at or before `cutoff`, and returns their number. Takes one
    /// step per 1,024 of them, and looks at no more than the entries of one block.
    pub(crate) fn expire(&mut self, cutoff: Nanos) -> usize {
        let before = self.live;
        // If time advances with every call, one or two entries are due.
        for _ in 0..4 {
            if !self.is_due(cutoff) {
                return before - self.live;
            }
            self.evict();
        }
        if self.is_due(cutoff) {
            let (last, until) = self.boundary(cutoff);
            self.remove_up_to(last, until);
        }
        before - self.live
    }

    fn is_due(&self, cutoff: Nanos) -> bool {
        self.live > 0 && self.oldest <= cutoff
    }

    /// Returns the number of entries that arrived after `cutoff`, the bytes of their keys, and the
    /// oldest time.
    pub(crate) fn after(&self, cutoff: Nanos) -> (usize, u64, Option<Nanos>) {
        if !self.is_due(cutoff) {
            return (self.live, self.bytes(), self.oldest());
        }
        let (last, until) = self.boundary(cutoff);
        let (expired, expired_bytes) = self.sum_up_to(last, until);
        let (live, bytes) = (self.live - expired, self.bytes() - expired_bytes);
        let oldest = if live > 0 {
            self.next_from(last, until)
        } else {
            None
        };
        (live, bytes, oldest.map(|seq| self.time(seq)))
    }

    /// Returns the slot and position up to which entries arrived at or before `cutoff`. There must
    /// be one.
    fn boundary(&self, cutoff: Nanos) -> (usize, usize) {
        let last = self.last_slot_not_after(cutoff);
        (last, self.slots[last].first_after(cutoff))
    }

    /// Returns the last slot that has an entry which arrived at or before `cutoff`. There must be
    /// one.
    fn last_slot_not_after(&self, cutoff: Nanos) -> usize {
        let not_after = |slots: Range<usize>| {
            let (mut low, mut high) = (slots.start, slots.end);
            while low < high {
                let middle = (low + high) / 2;
                if self.slots[middle].first <= cutoff {
                    low = middle + 1;
                } else {
                    high = middle;
                }
            }
            low.checked_sub(1).filter(|last| slots.contains(last))
        };
        // The times of slots before `head`, and of those that compaction has emptied, mean nothing.
        let ((head, _), emptied) = (self.locate(self.head), self.emptied_slots());
        let found = not_after(head.max(emptied.end)..self.slots.len())
            .or_else(|| not_after(head..emptied.start));
        found.expect("an entry arrived before the cutoff")
    }

    /// Returns the number of live entries before a position, and the bytes of their keys.
    fn sum_up_to(&self, last: usize, until: usize) -> (usize, u64) {
        let (first, at) = self.locate(self.head);
        if first == last {
            return self.slots[last].tally(&(at..until));
        }
        let ends = [
            self.slots[first].tally(&(at..BLOCK)),
            self.slots[last].tally(&(0..until)),
        ];
        let between = self.slots.range(first + 1..last);
        let all = ends
            .into_iter()
            .chain(between.map(|slot| (slot.live, slot.bytes)));
        all.fold((0, 0), |sum, slot| (sum.0 + slot.0, sum.1 + slot.1))
    }

    /// Removes all live entries before a position.
    fn remove_up_to(&mut self, last: usize, until: usize) {
        self.settle();
        let (first, at) = self.locate(self.head);
        for slot in first..last {
            let Slot { live, bytes, .. } = self.slots[slot];
            self.live -= live;
            self.subtract(slot, live, bytes);
        }
        let from = if first == last { at } else { 0 };
        let (live, bytes) = self.slots[last].tally(&(from..until));
        self.live -= live;
        self.subtract(last, live, bytes);
        self.settled = self.seq(last, until - 1);
        self.advance_head(last, until);
        self.settled = self.head;
    }

    /// Removes the oldest live entry and returns its time.
    #[inline]
    pub(crate) fn evict(&mut self) -> Nanos {
        let time = self.oldest;
        let (index, at) = self.locate(self.head);
        self.live -= 1;
        // Mostly the next entry is at the next position.
        match self.slots[index].block.as_deref() {
            Some(block) if block.is_present(at + 1) => {
                self.oldest = block.time(at + 1);
                self.head = self.head.wrapping_add(1);
            }
            _ => self.advance_head(index, at + 1),
        }
        time
    }

    /// Removes the oldest live entries until `bytes` bytes of keys are removed. `bytes` must be
    /// above zero and at most [`bytes`](Self::bytes). Returns their number and the time of the
    /// newest of them.
    ///
    /// Takes one step per 1,024 entries, and looks at no more than the entries of one block.
    pub(crate) fn evict_bytes(&mut self, mut bytes: u64) -> (usize, Nanos) {
        self.settle();
        let before = self.live;
        let (mut slot, mut at) = self.locate(self.head);
        while self.slots[slot].bytes < bytes {
            bytes -= self.slots[slot].bytes;
            (slot, at) = (slot + 1, 0);
        }
        let mut removed = 0;
        loop {
            at = self.slots[slot].next(at).expect("the slot has these bytes");
            let block = self.slots[slot].part(at).expect("the entry is present");
            removed += block.weight(at);
            if removed >= bytes {
                let newest = block.time(at);
                self.remove_up_to(slot, at + 1);
                return (before - self.live, newest);
            }
            at += 1;
        }
    }

    /// Moves `head` to the oldest present entry at or after a position, or to `tail`.
    #[cold]
    pub(super) fn advance_head(&mut self, slot: usize, from: usize) {
        let next = self.next_from(slot, from);
        self.set_head(next.unwrap_or(self.tail));
        self.oldest = next.map_or(Nanos::MAX, |seq| self.time(seq));
    }
}
