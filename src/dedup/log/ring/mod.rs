//! `Ring`: entries in order of arrival, addressed by sequence number.
//!
//! Owns the entries and the two ends between which they live. Every entry gets the next sequence
//! number. The live entries are those present in `head..tail`. All entries have the same time to
//! live, so they expire in the order in which they arrived: expiry and eviction advance `head` and
//! touch no entry. The memory before `head` is freed later, a bounded piece at a time: see
//! `reclaim.rs`.
//!
//! Invariants:
//!
//! * `head` is the oldest live entry, or `tail` if there is none. `oldest` is its time.
//! * Times never decrease along the ring.
//! * `live` is the number of live entries. `bytes` is the sum of their keys' bytes, and each slot
//!   has both sums for its own entries, at the time when `head` was at `settled`, in the same
//!   slot. An eviction leaves the sums alone, because reading every evicted key costs 4% of an
//!   insert, and a whole slot can be subtracted at once.
//! * `tail - head` stays below what the index can tell apart: see `compact.rs`.
//!
//! Slots are kept in a deque, one for 1,024 entries. A linked list in a slab could remove entries
//! from the middle without leaving holes, but it takes 8 bytes per entry, and a cache miss for each
//! of a million entries that expire at once. Here, expiry takes one step per 1,024 entries.

mod expiry;

use std::collections::VecDeque;
use std::hash::BuildHasher;

use super::block::{BLOCK, Block, DeferredDrops};
use super::columns::KeyColumn;
use super::compact::Compaction;
use super::index::{LiveRange, Seq};
use super::slot::Slot;
use crate::clock::Nanos;
use crate::dedup::Key;

#[repr(C)]
pub(crate) struct Ring<K: ?Sized + Key, V> {
    pub(super) head: Seq,
    pub(super) tail: Seq,
    /// The time of the oldest live entry, `u64::MAX` if there is none.
    oldest: Nanos,
    pub(super) live: usize,
    pub(super) settled: Seq,
    bytes: u64,
    pub(super) slots: VecDeque<Slot<K, V>>,
    /// The sequence number of position 0 of the first slot.
    pub(super) base: Seq,
    /// Holes in all blocks.
    pub(super) holes: usize,
    /// The number of leading slots whose key bytes are freed.
    pub(super) drained: usize,
    pub(super) compaction: Option<Compaction>,
}

impl<K: ?Sized + Key, V> Ring<K, V> {
    /// Returns an empty ring. Its sequence numbers begin at `start` or slightly above.
    pub(crate) fn starting_at(start: Seq) -> Self {
        // Rounded up: a number must not be given twice while an iterator may still refer to it.
        let block = BLOCK as u32;
        let start = start.div_ceil(block).wrapping_mul(block);
        Self {
            slots: VecDeque::new(),
            base: start,
            head: start,
            tail: start,
            oldest: Nanos::MAX,
            live: 0,
            settled: start,
            bytes: 0,
            holes: 0,
            drained: 0,
            compaction: None,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.live
    }

    /// Returns the bytes of the live keys.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes - self.unsettled().1
    }

    /// Returns the number of entries between `settled` and `head`, and the bytes of their keys.
    #[inline]
    pub(super) fn unsettled(&self) -> (usize, u64) {
        if self.settled == self.head {
            return (0, 0);
        }
        let ((slot, from), (_, to)) = (self.locate(self.settled), self.locate(self.head));
        self.slots[slot].tally(&(from..to))
    }

    /// Subtracts evicted entries from the sums.
    pub(crate) fn settle(&mut self) {
        let (live, bytes) = self.unsettled();
        if live > 0 {
            let (slot, _) = self.locate(self.settled);
            self.subtract(slot, live, bytes);
        }
        self.settled = self.head;
    }

    fn subtract(&mut self, slot: usize, live: usize, bytes: u64) {
        let slot = &mut self.slots[slot];
        (slot.live, slot.bytes) = (slot.live - live, slot.bytes - bytes);
        self.bytes -= bytes;
    }

    /// Moves `head` past entries that are dead or were moved.
    pub(super) fn set_head(&mut self, to: Seq) {
        let ((slot, _), (to_slot, _)) = (self.locate(self.settled), self.locate(to));
        if slot != to_slot {
            // All that is left in the slot is dead.
            if let Some(&Slot { live, bytes, .. }) = self.slots.get(slot) {
                self.subtract(slot, live, bytes);
            }
            self.settled = to;
        }
        self.head = to;
    }

    pub(crate) fn head(&self) -> Seq {
        self.head
    }

    pub(crate) fn tail(&self) -> Seq {
        self.tail
    }

    /// Returns the time of the oldest live entry.
    pub(crate) fn oldest(&self) -> Option<Nanos> {
        (self.live > 0).then_some(self.oldest)
    }

    /// Returns the range of numbers in which entries are live.
    #[inline]
    pub(crate) fn live_range(&self) -> LiveRange {
        LiveRange::between(self.head, self.tail)
    }

    /// Returns the slot and position of a number that is not before the first slot.
    #[inline]
    pub(super) fn locate(&self, seq: Seq) -> (usize, usize) {
        let offset = seq.wrapping_sub(self.base) as usize;
        (offset / BLOCK, offset % BLOCK)
    }

    /// Returns the number of position `at` of slot `slot`.
    pub(super) fn seq(&self, slot: usize, at: usize) -> Seq {
        self.base.wrapping_add((slot * BLOCK + at) as u32)
    }

    fn at(&self, seq: Seq) -> (&Block<K, V>, usize) {
        let (slot, at) = self.locate(seq);
        let block = self.slots.get(slot).and_then(|slot| slot.part(at));
        (block.expect("the entry is present"), at)
    }

    /// Returns the block and position of a number in `head..tail`, if its entry is present.
    #[inline]
    pub(crate) fn place(&self, seq: Seq) -> Option<(&Block<K, V>, usize)> {
        let (slot, at) = self.locate(seq);
        let block = self.slots.get(slot)?.part(at)?;
        block.is_present(at).then_some((block, at))
    }

    pub(crate) fn key(&self, seq: Seq) -> &K {
        let (block, at) = self.at(seq);
        block.key(at)
    }

    /// Returns the hash of an entry's key.
    pub(crate) fn hash(&self, hasher: &impl BuildHasher, seq: Seq) -> u64 {
        let (block, at) = self.at(seq);
        block.hash(hasher, at)
    }

    pub(crate) fn value(&self, seq: Seq) -> &V {
        let (block, at) = self.at(seq);
        block.value(at)
    }

    pub(crate) fn value_mut(&mut self, seq: Seq) -> &mut V {
        let (slot, at) = self.locate(seq);
        let block = self.slots.get_mut(slot).and_then(|slot| slot.part_mut(at));
        block.expect("the entry is present").value_mut(at)
    }

    pub(crate) fn time(&self, seq: Seq) -> Nanos {
        let (block, at) = self.at(seq);
        block.time(at)
    }

    /// Returns `true` if [`push`](Self::push) can add an entry to the last block.
    #[inline]
    pub(crate) fn has_room(&self) -> bool {
        self.last_block().is_some_and(Block::has_room)
    }

    /// Adds the newest entry to the last block, which must have room, and returns its number.
    /// `time` must not be below that of the entry before. If the key's `Clone` panics, nothing is
    /// added.
    #[inline]
    pub(crate) fn push(&mut self, time: Nanos, key: &K, value: &mut Option<V>) -> Seq {
        let bytes = K::Column::weigh(key);
        let slot = self.slots.back_mut().expect("there is a last slot");
        slot.block
            .as_mut()
            .expect("the last slot has a block")
            .push_back(time, key, value);
        slot.live += 1;
        slot.bytes += bytes;
        let seq = self.tail;
        if self.live == 0 {
            self.set_head(seq);
            self.oldest = time;
        }
        self.live += 1;
        self.bytes += bytes;
        self.tail = seq.wrapping_add(1);
        seq
    }

    pub(super) fn last_block(&self) -> Option<&Block<K, V>> {
        self.slots.back()?.block.as_deref()
    }

    /// Opens a new last block for entries from time `first` on.
    pub(crate) fn open_slot(&mut self, first: Nanos) {
        if let Some(block) = self.slots.back_mut().and_then(|slot| slot.block.as_mut()) {
            block.seal();
        }
        let block = Block::new(false, self.last_block());
        self.tail = self.seq(self.slots.len(), 0);
        self.slots.push_back(Slot::new(first, block));
        if self.live == 0 {
            self.set_head(self.tail);
        }
    }

    fn next_from(&self, slot: usize, from: usize) -> Option<Seq> {
        if self.live == 0 {
            return None;
        }
        let here = self.slots[slot].next(from).map(|at| self.seq(slot, at));
        here.or_else(|| {
            let emptied = self.emptied_slots();
            let after = if emptied.contains(&(slot + 1)) {
                emptied.end
            } else {
                slot + 1
            };
            let slot = (after..self.slots.len()).find(|&slot| self.slots[slot].live > 0)?;
            self.slots[slot].next(0).map(|at| self.seq(slot, at))
        })
    }

    /// Returns the oldest live entry whose number is not below `from`, which must be in
    /// `head..=tail`.
    pub(crate) fn next(&self, from: Seq) -> Option<Seq> {
        let (slot, at) = self.locate(from);
        (slot < self.slots.len())
            .then(|| self.next_from(slot, at))
            .flatten()
    }

    /// Returns the newest live entry whose number is below `before`, which must be in
    /// `head..=tail`.
    pub(crate) fn previous(&self, before: Seq) -> Option<Seq> {
        if self.live == 0 || before == self.head {
            return None;
        }
        let (slot, at) = self.locate(before);
        let here = self
            .slots
            .get(slot)
            .and_then(|slot| slot.previous(at))
            .map(|at| self.seq(slot, at));
        let found = here.or_else(|| {
            let (first, _) = self.locate(self.head);
            let emptied = self.emptied_slots();
            let end = if slot > 0 && emptied.contains(&(slot - 1)) {
                emptied.start
            } else {
                slot
            };
            let slot = (first..end).rev().find(|&slot| self.slots[slot].live > 0)?;
            self.slots[slot]
                .previous(BLOCK)
                .map(|at| self.seq(slot, at))
        });
        // Entries before `head` stay present until they are freed.
        found.filter(|seq| before.wrapping_sub(*seq) <= before.wrapping_sub(self.head))
    }

    /// Removes a live entry, which leaves a hole.
    pub(crate) fn remove(&mut self, seq: Seq, drops: &mut DeferredDrops<K, V>) {
        self.remove_by(seq, |block, at| block.discard(at, drops));
    }

    /// Removes a live entry, which leaves a hole, and returns its value.
    pub(crate) fn take(&mut self, seq: Seq, drops: &mut DeferredDrops<K, V>) -> Option<V>
    where
        V: Clone,
    {
        self.remove_by(seq, |block, at| block.take(at, drops))
    }

    fn remove_by<R>(&mut self, seq: Seq, discard: impl FnOnce(&mut Block<K, V>, usize) -> R) -> R {
        let (index, at) = self.locate(seq);
        let slot = &mut self.slots[index];
        let block = slot.part_mut(at).expect("the entry is present");
        let bytes = block.weight(at);
        let result = discard(block, at);
        self.subtract(index, 1, bytes);
        self.live -= 1;
        self.holes += 1;
        if seq == self.head {
            self.advance_head(index, at);
        }
        result
    }
}
