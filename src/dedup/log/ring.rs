//! `Ring`: entries in order of arrival, addressed by sequence number.
//!
//! Owns the entries and the two ends between which they live. Every entry gets the next sequence number; the live
//! ones are those present in `head..tail`. Since all have the same time to live, they leave in the order in which
//! they came: expiry and eviction advance `head` and touch no entry. What lies before `head` is freed later, a bounded
//! piece at a time.
//!
//! Invariants: `head` is the oldest live entry, or `tail` when there is none, and `oldest` is its time. Times never
//! decrease along the ring. `live` is the number of live entries, and `held_bytes` the sum over the slots from that of
//! `head` on, so that it needs no look at a key that is evicted. `tail - head` stays within
//! what the [`Grouping`] of the index spans, so that it can tell old from new.
//!
//! Slots stand in a deque, one for 1,024 entries. A linked list in a slab would remove from the middle without leaving
//! holes (see `pack.rs` for what is done about them), but costs 8 bytes an entry, and a cache miss for each
//! of a million entries that expire at once; here those cost one step a thousand.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::ops::Range;

use super::block::{BLOCK, Block, Trash};
use super::group::Grouping;
use super::line::Live;
use super::pack::Pack;
use super::slot::Slot;
use super::store::Store;
use crate::clock::Nanos;
use crate::key::Key;

/// The number of an entry. Numbers wrap, and are compared by their distance from `head`.
pub(crate) type Seq = u32;

#[repr(C)]
pub(crate) struct Ring<K: ?Sized + Key, V> {
    pub(super) head: Seq,
    pub(super) tail: Seq,
    /// The time of the oldest live entry, `u64::MAX` when there is none.
    oldest: Nanos,
    pub(super) live: usize,
    /// The bytes of the keys in the slots from that of `head` on.
    pub(super) held_bytes: u64,
    pub(super) slots: VecDeque<Slot<K, V>>,
    /// The number of position 0 of the first slot.
    pub(super) base: Seq,
    pub(super) holes: usize,
    pub(super) hole_bytes: u64,
    pub(super) pack: Option<Pack>,
}

impl<K: ?Sized + Key, V> Ring<K, V> {
    /// An empty ring whose first entry gets a number not far from `start`.
    pub(crate) fn starting_at(start: Seq) -> Self {
        let start = start / BLOCK as u32 * BLOCK as u32;
        Self {
            slots: VecDeque::new(),
            base: start,
            head: start,
            tail: start,
            oldest: Nanos::MAX,
            live: 0,
            held_bytes: 0,
            holes: 0,
            hole_bytes: 0,
            pack: None,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.live
    }

    /// The bytes of the live keys.
    pub(crate) fn bytes(&self) -> u64 {
        let (slot, at) = self.locate(self.head);
        let before = self
            .slots
            .get(slot)
            .map_or(0, |slot| slot.tally(&(0..at)).1);
        self.held_bytes - before
    }

    pub(crate) fn head(&self) -> Seq {
        self.head
    }

    pub(crate) fn tail(&self) -> Seq {
        self.tail
    }

    /// When the oldest live entry came.
    pub(crate) fn oldest(&self) -> Option<Nanos> {
        (self.live > 0).then_some(self.oldest)
    }

    /// The numbers between which entries are live.
    #[inline]
    pub(crate) fn live(&self) -> Live {
        Live::between(self.head, self.tail)
    }

    /// Where number `seq`, which is not before the first slot, stands.
    pub(super) fn locate(&self, seq: Seq) -> (usize, usize) {
        let offset = seq.wrapping_sub(self.base) as usize;
        (offset / BLOCK, offset % BLOCK)
    }

    /// The number of position `at` of slot `slot`.
    pub(super) fn seq(&self, slot: usize, at: usize) -> Seq {
        self.base.wrapping_add((slot * BLOCK + at) as u32)
    }

    /// The block and position of a number in `head..tail`, if an entry is present there.
    fn place(&self, seq: Seq) -> Option<(&Block<K, V>, usize)> {
        let (slot, at) = self.locate(seq);
        let block = self.slots.get(slot)?.part(at)?;
        block.is_present(at).then_some((block, at))
    }

    fn at(&self, seq: Seq) -> (&Block<K, V>, usize) {
        self.place(seq).expect("the entry is present")
    }

    /// The live entry for which `is` holds, of those with this hint in the group of `size` numbers from `first` on.
    #[inline]
    pub(crate) fn search(
        &self,
        first: Seq,
        size: u32,
        hint: u8,
        mut is: impl FnMut(&Block<K, V>, usize) -> bool,
    ) -> Option<Seq> {
        let live = self.live();
        // A group is a part of a slot, or some slots, of which the first may be gone.
        for first in (0..size)
            .step_by(BLOCK)
            .map(|offset| first.wrapping_add(offset))
        {
            let (slot, at) = self.locate(first);
            let group = at..at + BLOCK.min(size as usize);
            for block in self.slots.get(slot).into_iter().flat_map(Slot::parts) {
                let is =
                    |at| block.is_present(at) && live.contains(self.seq(slot, at)) && is(block, at);
                if let Some(at) = block.find_hinted(group.clone(), hint, is) {
                    return Some(self.seq(slot, at));
                }
            }
        }
        None
    }

    pub(crate) fn key(&self, seq: Seq) -> &K {
        let (block, at) = self.at(seq);
        block.key(at)
    }

    /// The hash of an entry's key.
    pub(crate) fn hash(&self, hasher: &impl BuildHasher, seq: Seq) -> u64 {
        let (block, at) = self.at(seq);
        block.hash(hasher, at)
    }

    pub(crate) fn value(&self, seq: Seq) -> &V {
        let (block, at) = self.at(seq);
        block.value(at)
    }

    pub(crate) fn time(&self, seq: Seq) -> Nanos {
        let (block, at) = self.at(seq);
        block.time(at)
    }

    /// Whether an entry may be pushed.
    #[inline]
    pub(crate) fn has_room(&self) -> bool {
        self.last_block().is_some_and(Block::has_room)
    }

    /// Adds the newest entry, where there is room. `time` is not below that of the one before. May panic in the key's
    /// `Clone`, then no entry was added.
    #[inline]
    pub(crate) fn push(&mut self, time: Nanos, hint: u8, key: &K, value: &mut Option<V>) -> Seq {
        let bytes = K::Store::weigh(key);
        let slot = self.slots.back_mut().expect("there is a last slot");
        slot.block
            .as_mut()
            .expect("the last slot has a block")
            .push_back(time, hint, key, value);
        slot.present += 1;
        slot.bytes += bytes;
        let seq = self.tail;
        if self.live == 0 {
            self.move_head(seq);
            self.oldest = time;
        }
        self.live += 1;
        self.held_bytes += bytes;
        self.tail = seq.wrapping_add(1);
        seq
    }

    fn last_block(&self) -> Option<&Block<K, V>> {
        self.slots.back()?.block.as_deref()
    }

    /// Makes room for entries from this time on.
    pub(crate) fn open_slot(&mut self, time: Nanos) {
        if let Some(block) = self.slots.back_mut().and_then(|slot| slot.block.as_mut()) {
            block.seal();
        }
        let block = Block::new(0, self.last_block());
        while Grouping::is_reserved(self.seq(self.slots.len(), 0)) {
            self.slots.push_back(Slot::new(time, None));
        }
        self.tail = self.seq(self.slots.len(), 0);
        self.slots.push_back(Slot::new(time, Some(block)));
        if self.live == 0 {
            self.move_head(self.tail);
        }
    }

    /// Lets the entries that came at or before `cutoff` expire, and returns how many did. Looks at one slot a
    /// thousand entries, and at no more than 64 entries.
    pub(crate) fn expire(&mut self, cutoff: Nanos) -> usize {
        let before = self.live;
        // Where time moves on with every call, one entry or two are due.
        for _ in 0..4 {
            if !self.is_due(cutoff) {
                return before - self.live;
            }
            self.evict();
        }
        if self.is_due(cutoff) {
            let (last, until) = self.boundary(cutoff);
            for (slot, range) in self.expired(last, until) {
                self.live -= self.slots[slot].tally(&range).0;
            }
            self.advance_head(last, until);
        }
        before - self.live
    }

    fn is_due(&self, cutoff: Nanos) -> bool {
        self.live > 0 && self.oldest <= cutoff
    }

    /// How many entries came after `cutoff`, the bytes of their keys, and when the oldest of them came.
    pub(crate) fn after(&self, cutoff: Nanos) -> (usize, u64, Option<Nanos>) {
        if !self.is_due(cutoff) {
            return (self.live, self.bytes(), self.oldest());
        }
        let (last, until) = self.boundary(cutoff);
        let (mut live, mut bytes) = (self.live, self.bytes());
        for (slot, range) in self.expired(last, until) {
            let (expired, expired_bytes) = self.slots[slot].tally(&range);
            live -= expired;
            bytes -= expired_bytes;
        }
        let oldest = if live > 0 {
            self.next_from(last, until)
        } else {
            None
        };
        (live, bytes, oldest.map(|seq| self.time(seq)))
    }

    /// The slot and position up to which entries came at or before `cutoff`. There are some.
    fn boundary(&self, cutoff: Nanos) -> (usize, usize) {
        let last = self.last_slot_not_after(cutoff);
        (last, self.slots[last].first_after(cutoff))
    }

    /// The parts of the slots between `head` and a boundary.
    fn expired(
        &self,
        last: usize,
        until: usize,
    ) -> impl Iterator<Item = (usize, Range<usize>)> + use<K, V> {
        let (first, at) = self.locate(self.head);
        (first..=last).map(move |slot| match (slot == first, slot == last) {
            (true, true) => (slot, at..until),
            (true, false) => (slot, at..BLOCK),
            (false, true) => (slot, 0..until),
            (false, false) => (slot, 0..BLOCK),
        })
    }

    /// The last slot that has an entry which came at or before `cutoff`. There is one.
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
        // The times of those before `head`, and of those that packing has emptied, say nothing.
        let ((head, _), emptied) = (self.locate(self.head), self.emptied_by_packing());
        let found = not_after(head.max(emptied.end)..self.slots.len())
            .or_else(|| not_after(head..emptied.start));
        found.expect("an entry came before the cutoff")
    }

    /// Lets the oldest live entry go and returns when it came.
    #[inline]
    pub(crate) fn evict(&mut self) -> Nanos {
        let time = self.oldest;
        let (slot, at) = self.locate(self.head);
        self.live -= 1;
        // Mostly the next entry is the next position, and then this is all.
        if let Some(block) = self.slots.get(slot).and_then(|slot| slot.block.as_deref())
            && block.is_present(at + 1)
        {
            self.oldest = block.time(at + 1);
            self.head = self.head.wrapping_add(1);
        } else {
            self.advance_head(slot, at + 1);
        }
        time
    }

    /// Lets the oldest live entries go until their keys come to `bytes`, which is not above [`bytes`](Self::bytes) and not
    /// zero: how many, and when the youngest of them came. Looks at one slot a thousand entries, and into one of these.
    pub(crate) fn evict_bytes(&mut self, mut bytes: u64) -> (usize, Nanos) {
        let before = self.live;
        let (mut slot, mut from) = self.locate(self.head);
        loop {
            let (live, its_bytes) = self.slots[slot].tally(&(from..BLOCK));
            if its_bytes >= bytes {
                break;
            }
            self.live -= live;
            bytes -= its_bytes;
            (slot, from) = (slot + 1, 0);
        }
        let slots = &self.slots;
        let enough = |until: usize| slots[slot].tally(&(from..until)).1 >= bytes;
        let (mut low, mut high) = (from, BLOCK);
        while low + 1 < high {
            let middle = (low + high) / 2;
            if enough(middle) {
                high = middle;
            } else {
                low = middle;
            }
        }
        // The one before is what it took, and so it is present.
        let youngest = self.time(self.seq(slot, high - 1));
        self.live -= self.slots[slot].tally(&(from..high)).0;
        self.advance_head(slot, high);
        (before - self.live, youngest)
    }

    /// Moves `head` to the oldest present entry at or after a position, or to `tail`.
    #[cold]
    fn advance_head(&mut self, slot: usize, from: usize) {
        let next = self.next_from(slot, from);
        self.move_head(next.unwrap_or(self.tail));
        self.oldest = next.map_or(Nanos::MAX, |seq| self.time(seq));
    }

    /// Sets `head`, which may leave slots behind.
    pub(super) fn move_head(&mut self, to: Seq) {
        let (from_slot, _) = self.locate(self.head);
        let (to_slot, _) = self.locate(to);
        self.held_bytes -= self
            .slots
            .range(from_slot..to_slot)
            .map(|slot| slot.bytes)
            .sum::<u64>();
        self.head = to;
    }

    fn next_from(&self, slot: usize, from: usize) -> Option<Seq> {
        if self.live == 0 {
            return None;
        }
        let here = self.slots[slot].next(from).map(|at| self.seq(slot, at));
        here.or_else(|| {
            let slot = (slot + 1..self.slots.len()).find(|&slot| self.slots[slot].present > 0)?;
            self.slots[slot].next(0).map(|at| self.seq(slot, at))
        })
    }

    /// The oldest live entry whose number is not below `from`, which is in `head..=tail`.
    pub(crate) fn next(&self, from: Seq) -> Option<Seq> {
        let (slot, at) = self.locate(from);
        (slot < self.slots.len())
            .then(|| self.next_from(slot, at))
            .flatten()
    }

    /// The newest live entry whose number is below `before`, which is in `head..=tail`.
    pub(crate) fn previous(&self, before: Seq) -> Option<Seq> {
        if self.live == 0 || before == self.head {
            return None;
        }
        let (slot, at) = self.locate(before);
        // Mostly it is the position before.
        if at > 0
            && let Some(block) = self.slots.get(slot).and_then(|slot| slot.block.as_deref())
            && block.is_present(at - 1)
        {
            return Some(before.wrapping_sub(1));
        }
        let (first, _) = self.locate(self.head);
        let here = self
            .slots
            .get(slot)
            .and_then(|slot| slot.previous(at))
            .map(|at| self.seq(slot, at));
        let found = here.or_else(|| {
            let slot = (first..slot)
                .rev()
                .find(|&slot| self.slots[slot].present > 0)?;
            self.slots[slot]
                .previous(BLOCK)
                .map(|at| self.seq(slot, at))
        });
        // Entries before `head` are still present until they are freed.
        found.filter(|seq| before.wrapping_sub(*seq) <= before.wrapping_sub(self.head))
    }

    /// Takes an entry in `head..tail` out of the middle, where it leaves a hole.
    pub(crate) fn remove(&mut self, seq: Seq, trash: &mut Trash<K, V>) {
        let (index, at) = self.locate(seq);
        let slot = &mut self.slots[index];
        let block = slot.part_mut(at).expect("the entry is present");
        let bytes = block.weight(at);
        block.discard(at, trash);
        slot.present -= 1;
        slot.bytes -= bytes;
        self.live -= 1;
        self.held_bytes -= bytes;
        self.holes += 1;
        self.hole_bytes += bytes;
        if seq == self.head {
            self.advance_head(index, at);
        }
    }

    pub(super) fn forget_holes(&mut self, block: &Block<K, V>) {
        self.holes -= block.holes;
        self.hole_bytes -= block.hole_bytes;
    }
}
