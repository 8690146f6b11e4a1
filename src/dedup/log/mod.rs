//! The first-in-first-out log: the data structure of `DedupMap`.
//!
//! All entries have one time to live, so they expire in the order in which they arrived. Hence:
//!
//! * [`ring`] holds the entries in that order, in [`slot`]s of one [`block`] each. Expiry and
//!   eviction only move its head.
//! * [`columns`] lays out the keys and values of a block in memory.
//! * [`index`] finds the number of an entry by its hash. An expired entry needs no removal from the
//!   index: its number is not live any more.
//! * [`reclaim`] frees what expired, and [`compact`] returns the memory of entries that were
//!   removed from the middle.
//!
//! `Log` joins ring and index. Every call does a small, constant number of entries' worth of work:
//! it moves a few entries to a resized index, frees a few that expired, and leaves the rest to the
//! next calls. It never runs a user's `Drop`: removed entries go into [`DeferredDrops`], for the
//! caller to drop without a lock. A user's `Hash`, `Eq` and `Clone` run before anything is changed,
//! so they may panic.
//!
//! # Bound on memory
//!
//! Let `n` be the largest number of live entries, and `b` the largest sum of their key bytes,
//! within the last `n / 4` calls that write. Then a log holds at most `1.25 * (n * (value + 30) +
//! b)` bytes, plus a constant: `3 * BLOCK * (key + value)` and 64 KiB, where `key` is the longest
//! key, at most 255. For keys of another type than `str` and `[u8]`, `n * key` takes the place of
//! `b`. A key of more than 255 bytes counts for 24 more.
//!
//! | per live entry | bytes | at most |
//! | --- | ---: | ---: |
//! | value, time, offset, share of block and slot | value + 11.3 | times 1.23, with holes: see `compact.rs` |
//! | key in the arena | key | times 1.15, with holes: see `ByteArena::is_sparse` |
//! | long key | key + 24 | its own length; the 24 times 1.23 |
//! | index | 6.4 at its bound | 23.4: shrinking from 4.5 entries per bucket to 7 |
//!
//! The sum of the last column is below `1.25 * (value + key + 30)` for every length. Expired and
//! evicted entries are held until they are freed. Each call frees more of these entries and bytes
//! than it adds (see `reclaim.rs`), so together with the live ones they never exceed `n` and `b`.
//! All of them are freed, the index is resized, and holes are compacted within `n / 4` calls. `n`
//! and `b` never exceed the bounds of the map. The constant covers what blocks hold without a live
//! entry:
//!
//! | block | keys | values | why |
//! | --- | ---: | ---: | --- |
//! | the last one | 1.25 | 1 | holes and unused capacity: an arena grows by a quarter |
//! | the one of `head` | 1 | 1 | dead entries, until all of the block are |
//! | the one moved away | 0.25 | 0.25 | it releases memory once per `PIECE` |
//! | the one moved to | 0.25 | 0.25 | it reserves memory for a `PIECE` |
//! | others | 0 | 0.28 | `1.1 * FEW` holes beyond those of the first table |
//!
//! These are shares of `BLOCK` entries, and the sums are below 3. A block without entries takes
//! 10.6 KiB. At most five are partly filled: these four, and the one with which the last compaction
//! ended. With the smallest index and the deque of slots they stay below 64 KiB.

mod block;
pub(crate) mod columns;
mod compact;
mod index;
mod reclaim;
mod ring;
mod slot;
#[cfg(test)]
mod tests;
mod validate;

use std::hash::BuildHasher;
use std::hint::black_box;

use crate::clock::Nanos;
use crate::dedup::Key;
use block::Block;
pub(crate) use block::DeferredDrops;
use columns::{Column, KeyColumn};
use index::Index;
pub(crate) use index::Seq;
use ring::Ring;

/// Entries moved to a resized index by one call.
const MOVED: usize = 8;
/// Buckets probed by one call to move them. Reached only if a hasher sends many keys to one bucket.
const PROBED: usize = 64;
/// Expired entries freed by one call, unless a whole block is freed instead.
const FREED: usize = 8;
/// Steps of compaction taken by one call: see `compact.rs`.
const STEPS: usize = 24;

#[repr(C)]
pub(crate) struct Log<K: ?Sized + Key, V> {
    /// The earliest time at which a write has anything to do besides its own entry. Zero while
    /// maintenance is pending, so that one comparison covers both.
    due: Nanos,
    ring: Ring<K, V>,
    index: Index,
    ttl: Nanos,
    max: usize,
}

impl<K: ?Sized + Key, V> Log<K, V> {
    /// Returns an empty log, which allocates when the first entry is pushed. Its owner keeps it to
    /// `max` entries.
    pub(crate) fn new(ttl: Nanos, max: usize) -> Self {
        Self::starting_at(0, ttl, max)
    }

    fn starting_at(start: Seq, ttl: Nanos, max: usize) -> Self {
        let (ring, index) = (Ring::starting_at(start), Index::bounded(max));
        Self {
            ring,
            index,
            ttl,
            max,
            due: Nanos::MAX,
        }
    }

    /// Returns the number of entries. Counts those that have expired since the last
    /// [`expire`](Self::expire).
    pub(crate) fn len(&self) -> usize {
        self.ring.len()
    }

    /// Returns the bytes of these entries' keys.
    pub(crate) fn bytes(&self) -> u64 {
        self.ring.bytes()
    }

    /// Returns the same. Costs a step per entry that was evicted since the last call.
    pub(crate) fn settled_bytes(&mut self) -> u64 {
        self.ring.settle();
        self.ring.bytes()
    }

    /// Returns the latest time of arrival that has expired at `now`. A ttl of `Nanos::MAX` never
    /// ends.
    fn cutoff(&self, now: Nanos) -> Option<Nanos> {
        now.checked_sub(self.ttl).filter(|_| self.ttl < Nanos::MAX)
    }

    /// Returns the number of entries that are live at `now`, the bytes of their keys, and the age
    /// of the oldest.
    pub(crate) fn live_at(&self, now: Nanos) -> (usize, u64, Option<Nanos>) {
        let (live, bytes, oldest) = match self.cutoff(now) {
            Some(cutoff) => self.ring.after(cutoff),
            None => (self.ring.len(), self.ring.bytes(), self.ring.oldest()),
        };
        (live, bytes, oldest.map(|time| now.saturating_sub(time)))
    }

    /// Returns the number of entries that are live at `now` and arrived after `time`.
    #[cfg(feature = "persist")]
    pub(crate) fn live_after(&self, now: Nanos, time: Nanos) -> usize {
        let cutoff = self.cutoff(now).map_or(time, |cutoff| cutoff.max(time));
        self.ring.after(cutoff).0
    }

    /// Returns `true` if a call that writes at `now` has to [`expire`](Self::expire) and
    /// [`maintain`](Self::maintain) first.
    #[inline]
    pub(crate) fn is_due(&self, now: Nanos) -> bool {
        now >= self.due
    }

    /// Removes the entries that have expired, and returns their number.
    pub(crate) fn expire(&mut self, now: Nanos) -> usize {
        let expired = self
            .cutoff(now)
            .map_or(0, |cutoff| self.ring.expire(cutoff));
        if expired > 0 {
            self.head_moved();
        }
        expired
    }

    /// Removes the oldest entry, and returns its time of arrival.
    #[inline]
    pub(crate) fn evict(&mut self) -> Nanos {
        let time = self.ring.evict();
        if self.due == 0 || self.ring.needs_reclaim() {
            self.head_moved();
        }
        time
    }

    /// Removes the oldest entries until `bytes` bytes of keys are removed. `bytes` must be above
    /// zero and at most [`bytes`](Self::bytes). Returns their number, and the time of arrival of
    /// the newest of them.
    pub(crate) fn evict_bytes(&mut self, bytes: u64) -> (usize, Nanos) {
        let evicted = self.ring.evict_bytes(bytes);
        self.head_moved();
        evicted
    }

    /// Returns the entry with this key, live or expired since the last [`expire`](Self::expire).
    #[inline]
    pub(crate) fn find(&self, hash: u64, key: &K) -> Option<Seq> {
        self.search(hash, |block, at| block.matches(at, key))
    }

    /// Returns the entry under this hash for whose value `is` holds.
    #[inline]
    pub(crate) fn find_by_value(&self, hash: u64, is: impl Fn(&V) -> bool) -> Option<Seq> {
        self.search(hash, |block, at| is(block.value(at)))
    }

    #[inline]
    fn search(&self, hash: u64, mut is: impl FnMut(&Block<K, V>, usize) -> bool) -> Option<Seq> {
        self.index.find(hash, self.ring.live_range(), |seq| {
            self.ring
                .place(seq)
                .is_some_and(|(block, at)| is(block, at))
        })
    }

    /// Returns the entry with this key that is live at `now`.
    pub(crate) fn find_live(&self, now: Nanos, hash: u64, key: &K) -> Option<Seq> {
        self.find(hash, key).filter(|&seq| self.is_live(now, seq))
    }

    /// Returns `true` if an entry has not expired at `now`.
    pub(crate) fn is_live(&self, now: Nanos, seq: Seq) -> bool {
        self.age(now, seq) < self.ttl || self.ttl == Nanos::MAX
    }

    pub(crate) fn age(&self, now: Nanos, seq: Seq) -> Nanos {
        now.saturating_sub(self.ring.time(seq))
    }

    pub(crate) fn time(&self, seq: Seq) -> Nanos {
        self.ring.time(seq)
    }

    /// Returns the number that the next entry will have, or a lower one.
    pub(crate) fn end(&self) -> Seq {
        self.ring.tail()
    }

    pub(crate) fn key(&self, seq: Seq) -> &K {
        self.ring.key(seq)
    }

    /// Returns the bytes of an entry's key.
    pub(crate) fn weight(&self, seq: Seq) -> u64 {
        K::Column::weigh(self.key(seq))
    }

    pub(crate) fn value(&self, seq: Seq) -> &V {
        self.ring.value(seq)
    }

    pub(crate) fn value_mut(&mut self, seq: Seq) -> &mut V {
        self.ring.value_mut(seq)
    }

    /// Returns the oldest entry whose number is `from` or newer. Begins at the oldest entry of all
    /// if `from` is `None` or no longer live.
    pub(crate) fn next(&self, from: Option<Seq>) -> Option<Seq> {
        let (head, tail) = (self.ring.head(), self.ring.tail());
        let from = from.filter(|from| from.wrapping_sub(head) <= tail.wrapping_sub(head));
        self.ring.next(from.unwrap_or(head))
    }

    /// Adds an entry with a key that is not present, and takes its value. If the key's `Clone`
    /// panics, nothing is added.
    ///
    /// The value stays with the caller until it is stored, so it is never dropped here.
    #[inline]
    pub(crate) fn push(&mut self, now: Nanos, hash: u64, key: &K, value: &mut Option<V>) {
        if self.index.is_full(self.ring.len()) || !self.ring.has_room() {
            self.make_room(now);
        }
        let seq = self.ring.push(now, key, value);
        self.index.insert(hash, seq, self.ring.live_range());
        if self.ring.len() == 1 {
            // All other entries expire later than the oldest.
            self.due = self.due.min(now.saturating_add(self.ttl));
        }
        if self.due == 0 && K::Column::WEIGHS {
            self.ring.drain(K::Column::weigh(key));
        }
    }

    #[cold]
    fn make_room(&mut self, now: Nanos) {
        if !self.ring.has_room() {
            self.ring.open_slot(now);
        }
        self.index
            .make_room(self.ring.len(), self.ring.live_range());
        self.due = 0;
    }

    /// Removes an entry and compacts, for callers that have not called [`maintain`](Self::maintain)
    /// before. If the key's `Hash` panics, the entry is removed all the same.
    pub(crate) fn remove(
        &mut self,
        hash: u64,
        seq: Seq,
        hasher: &impl BuildHasher,
        drops: &mut DeferredDrops<K, V>,
    ) {
        self.index.remove(hash, seq, self.ring.live_range());
        self.ring.remove(seq, drops);
        self.head_moved();
        if self.ring.is_sparse() {
            self.compact(STEPS, hasher);
        }
    }

    /// Removes an entry and returns its value, after [`maintain`](Self::maintain). If the value's
    /// `Clone` panics, nothing is removed.
    pub(crate) fn take(&mut self, hash: u64, seq: Seq, drops: &mut DeferredDrops<K, V>) -> Option<V>
    where
        V: Clone,
    {
        let live = self.ring.live_range();
        let value = self.ring.take(seq, drops);
        self.index.remove(hash, seq, live);
        self.head_moved();
        value
    }

    /// Takes steps of compaction: see `compact.rs`.
    fn compact(&mut self, mut steps: usize, hasher: &impl BuildHasher) {
        while let Some(old) = self.ring.next_to_move(&mut steps) {
            let hash = self.ring.hash(hasher, old);
            let live = self.ring.live_range();
            let new = self.ring.move_entry();
            self.index.renumber(hash, old, new, live);
            self.head_moved();
        }
    }

    /// Does a bounded part of the pending work, after [`expire`](Self::expire): frees expired
    /// entries, moves entries to a resized index, and compacts. If the key's `Hash` panics, the
    /// rest stays pending.
    pub(crate) fn maintain(&mut self, hasher: &impl BuildHasher, drops: &mut DeferredDrops<K, V>) {
        if !self.is_settled() {
            self.ring.reclaim(FREED, true, drops);
            self.index.free_some();
            self.index
                .make_room(self.ring.len(), self.ring.live_range());
            self.resize(MOVED, hasher);
            if self.ring.is_sparse() {
                self.compact(STEPS, hasher);
            }
        }
        let expires = self
            .ring
            .oldest()
            .map_or(Nanos::MAX, |oldest| oldest.saturating_add(self.ttl));
        self.due = if self.is_settled() { expires } else { 0 };
    }

    fn is_settled(&self) -> bool {
        self.index
            .is_settled(self.ring.len(), self.ring.live_range())
            && !self.ring.needs_reclaim()
            && !self.ring.is_sparse()
    }

    /// Frees up to `budget` expired entries, and does as much of the other pending work. Returns
    /// the number of freed entries, and `true` if work is left.
    pub(crate) fn sweep(
        &mut self,
        budget: usize,
        hasher: &impl BuildHasher,
        drops: &mut DeferredDrops<K, V>,
    ) -> (usize, bool) {
        self.due = 0;
        let freed = self.ring.reclaim(budget, false, drops);
        self.index
            .make_room(self.ring.len(), self.ring.live_range());
        self.resize(budget, hasher);
        if self.ring.is_worth_sweeping() {
            self.compact(budget, hasher);
        }
        let freeing = (0..budget.div_ceil(FREED)).all(|_| self.index.free_some());
        let more = freeing
            || self.ring.has_garbage(false)
            || self.index.mark().is_some()
            || self.ring.is_worth_sweeping();
        (freed, more)
    }

    /// Moves up to `budget` entries to the new index, if it is being resized.
    fn resize(&mut self, budget: usize, hasher: &impl BuildHasher) {
        for _ in 0..budget.div_ceil(MOVED) {
            let Some(mark) = self.index.mark() else {
                return;
            };
            // All are hashed and their buckets loaded before the first is moved, so that the cache
            // misses overlap.
            let mut moved = [(0, 0); MOVED];
            let (mut count, mut before) = (0, mark);
            while count < MOVED {
                let Some(seq) = self.ring.previous(before) else {
                    break;
                };
                moved[count] = (self.ring.hash(hasher, seq), seq);
                (count, before) = (count + 1, seq);
            }
            let is_last = count < MOVED;
            let moved = &moved[..count];
            self.touch(moved.iter().map(|&(hash, _)| hash));
            let live = self.ring.live_range();
            let mut probed = 0;
            for &(hash, seq) in moved {
                probed += self.index.move_down_to(hash, seq, live);
                // If a hasher sends many keys to one bucket, every move is expensive. One move for
                // each inserted entry is enough: the new table is full only when as many were
                // inserted as there were.
                if probed > PROBED {
                    return;
                }
            }
            if is_last {
                self.index.finish_resize();
            }
        }
    }

    /// Loads what [`find`](Self::find) will read for each hash.
    pub(crate) fn touch(&self, hashes: impl Iterator<Item = u64>) {
        black_box(hashes.fold(0, |sum, hash| sum ^ self.index.touch(hash)));
    }

    /// Removes all entries.
    pub(crate) fn clear(&mut self, drops: &mut DeferredDrops<K, V>) {
        let empty = Self::starting_at(self.ring.tail(), self.ttl, self.max);
        std::mem::replace(self, empty).ring.clear(drops);
    }

    /// There may be something to free. If no entry below the index's mark remains, the
    /// previous table is dropped, because its numbers mean nothing.
    fn head_moved(&mut self) {
        self.due = 0;
        if let Some(mark) = self.index.mark() {
            let (head, tail) = (self.ring.head(), self.ring.tail());
            let below = mark.wrapping_sub(head);
            if self.ring.len() == 0 || below == 0 || below > tail.wrapping_sub(head) {
                self.index.finish_resize();
            }
        }
    }
}
