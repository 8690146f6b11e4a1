//! The first-in-first-out window: the engine of `DedupMap`.
//!
//! With one time to live for all, entries leave in the order in which they came. So:
//!
//! * [`ring`] holds the entries in that order, in [`slot`]s of one [`block`] each; expiry and eviction only move its head.
//! * [`index`] finds by hash which [`group`] of numbers an entry is in, in [`table`]s of [`line`]s, each one cache line.
//!   An entry that left needs no erasing: its number is simply not live any more.
//! * [`store`] says how the keys and values of a block lie in memory.
//! * [`reclaim`] frees what left, and [`pack`] gives back the room of entries that were removed from the middle.
//!
//! `Window` joins ring and index, and sees to it that every call does a small, constant number of entries' worth of
//! work: it moves a few entries to a resized index, frees a few that expired, and leaves the rest to the next calls.
//! It never runs a user's `Drop`: what leaves goes into a [`Trash`], for its owner to drop where no lock is held.
//! A user's `Hash`, `Eq` and `Clone` run before anything is changed, so that they may panic.

mod block;
mod group;
mod index;
mod line;
mod pack;
mod reclaim;
mod ring;
mod slot;
pub(crate) mod store;
mod table;
#[cfg(test)]
mod tests;
mod validate;

use std::hash::BuildHasher;
use std::hint::black_box;

use crate::clock::Nanos;
use crate::hash::hint;
use crate::key::Key;
use block::Block;
pub(crate) use block::Trash;
use index::Index;
use ring::Ring;
pub(crate) use ring::Seq;

/// Entries moved to a resized index by one call.
const MOVED: usize = 8;
/// Entries that left, freed by one call; or one whole block, where entries leave nothing to drop.
const FREED: usize = 8;
/// Entries packed by one removal.
const PACKED: usize = 8;
/// Holes and empty slots that one removal skips while packing.
const SKIPPED: usize = 64;
/// Numbers that the next entry may take up: those left in a slot of the ring, those that are not given, a slot.
const RESERVE: u32 = 1 << 15;

#[repr(C)]
pub(crate) struct Window<K: ?Sized + Key, V> {
    /// Before this time nothing expires, and no standing work is left: then a call that writes has its own entry to see
    /// to and nothing else, and finds that out with one comparison. 0 where it has to look.
    due: Nanos,
    ring: Ring<K, V>,
    index: Index,
    ttl: Nanos,
    max: usize,
}

impl<K: ?Sized + Key, V> Window<K, V> {
    /// An empty window, which allocates nothing until something is pushed. Its owner keeps to `max` entries.
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

    /// The number of entries, of which those that expired since the last [`expire`](Self::expire) are some.
    pub(crate) fn len(&self) -> usize {
        self.ring.len()
    }

    /// The bytes of those entries' keys.
    pub(crate) fn bytes(&self) -> u64 {
        self.ring.bytes()
    }

    /// What came at this time or before has expired. A ttl beyond all time never ends, at the end of time either.
    fn cutoff(&self, now: Nanos) -> Option<Nanos> {
        now.checked_sub(self.ttl).filter(|_| self.ttl < Nanos::MAX)
    }

    /// The number of entries that are live at `now`, the bytes of their keys, and the age of the oldest.
    pub(crate) fn live_at(&self, now: Nanos) -> (usize, u64, Option<Nanos>) {
        let (live, bytes, oldest) = match self.cutoff(now) {
            Some(cutoff) => self.ring.after(cutoff),
            None => (self.ring.len(), self.ring.bytes(), self.ring.oldest()),
        };
        (live, bytes, oldest.map(|time| now.saturating_sub(time)))
    }

    /// Whether no number is left for another entry until one goes.
    pub(crate) fn is_exhausted(&self) -> bool {
        !self.index.spans(self.ring.live().len + RESERVE)
    }

    /// Whether a call that writes at `now` has to [`expire`](Self::expire) and [`maintain`](Self::maintain) first.
    #[inline]
    pub(crate) fn is_due(&self, now: Nanos) -> bool {
        now >= self.due
    }

    /// Lets entries whose time is over expire; how many did.
    pub(crate) fn expire(&mut self, now: Nanos) -> usize {
        let expired = self
            .cutoff(now)
            .map_or(0, |cutoff| self.ring.expire(cutoff));
        if expired > 0 {
            self.head_moved();
        }
        expired
    }

    /// Lets the oldest entry go; when it came.
    #[inline]
    pub(crate) fn evict(&mut self) -> Nanos {
        let time = self.ring.evict();
        if self.ring.needs_reclaim() || self.due == 0 {
            self.head_moved();
        }
        time
    }

    /// Lets the oldest entries go until their keys come to `bytes`, which is not above [`bytes`](Self::bytes) and not zero:
    /// how many, and when the youngest of them came.
    pub(crate) fn evict_bytes(&mut self, bytes: u64) -> (usize, Nanos) {
        let evicted = self.ring.evict_bytes(bytes);
        self.head_moved();
        evicted
    }

    /// The entry with this key, live or expired since the last [`expire`](Self::expire).
    #[inline]
    pub(crate) fn find(&self, hash: u64, key: &K) -> Option<Seq> {
        self.search(hash, |block, at| block.matches(at, key))
    }

    /// The entry under this hash with such a value.
    pub(crate) fn find_by_value(&self, hash: u64, is: impl Fn(&V) -> bool) -> Option<Seq> {
        self.search(hash, |block, at| is(block.value(at)))
    }

    #[inline]
    fn search(&self, hash: u64, mut is: impl FnMut(&Block<K, V>, usize) -> bool) -> Option<Seq> {
        self.index.find(hash, self.ring.live(), |first, size| {
            self.ring.search(first, size, hint(hash), &mut is)
        })
    }

    /// The entry with this key that is live at `now`.
    pub(crate) fn find_live(&self, now: Nanos, hash: u64, key: &K) -> Option<Seq> {
        self.find(hash, key).filter(|&seq| self.is_live(now, seq))
    }

    /// Whether an entry's time is not over at `now`.
    pub(crate) fn is_live(&self, now: Nanos, seq: Seq) -> bool {
        self.age(now, seq) < self.ttl || self.ttl == Nanos::MAX
    }

    pub(crate) fn age(&self, now: Nanos, seq: Seq) -> Nanos {
        now.saturating_sub(self.ring.time(seq))
    }

    pub(crate) fn time(&self, seq: Seq) -> Nanos {
        self.ring.time(seq)
    }

    /// The number that the next entry will have, or a lower one.
    pub(crate) fn end(&self) -> Seq {
        self.ring.tail()
    }

    pub(crate) fn key(&self, seq: Seq) -> &K {
        self.ring.key(seq)
    }

    pub(crate) fn value(&self, seq: Seq) -> &V {
        self.ring.value(seq)
    }

    /// The oldest entry whose number is `from` or newer; `None`, or a number that has left, begins at the oldest of all.
    pub(crate) fn next(&self, from: Option<Seq>) -> Option<Seq> {
        let (head, tail) = (self.ring.head(), self.ring.tail());
        let from = from.filter(|from| from.wrapping_sub(head) <= tail.wrapping_sub(head));
        self.ring.next(from.unwrap_or(head))
    }

    /// Adds an entry whose key is not there, with the value that is. May panic in the key's `Clone`, and then adds nothing.
    ///
    /// A value is the caller's until it is stored: whatever happens, it is not dropped here.
    #[inline]
    pub(crate) fn push(&mut self, now: Nanos, hash: u64, key: &K, value: &mut Option<V>) {
        if self.index.is_full(self.ring.len()) || !self.ring.has_room() {
            self.make_room(now);
        }
        let seq = self.ring.push(now, hint(hash), key, value);
        self.index.insert(hash, seq, self.ring.live());
        if self.ring.len() == 1 {
            // The others expire later than the oldest.
            self.due = self.due.min(now.saturating_add(self.ttl));
        }
    }

    #[cold]
    fn make_room(&mut self, now: Nanos) {
        if !self.ring.has_room() {
            self.ring.open_slot(now);
        }
        self.index.make_room(self.ring.len(), self.ring.live());
        self.due = 0;
    }

    /// Takes an entry out. May panic in the key's `Hash`, and then has taken it out.
    pub(crate) fn remove(
        &mut self,
        hash: u64,
        seq: Seq,
        hasher: &impl BuildHasher,
        trash: &mut Trash<K, V>,
    ) {
        self.index.remove(hash, seq, self.ring.live());
        self.ring.remove(seq, trash);
        self.head_moved();
        if self.ring.is_sparse() {
            self.pack(hasher);
        }
    }

    fn pack(&mut self, hasher: &impl BuildHasher) {
        for _ in 0..PACKED {
            let Some(old) = self.ring.next_to_pack(SKIPPED) else {
                return;
            };
            let hash = self.ring.hash(hasher, old);
            let live = self.ring.live();
            let new = self.ring.pack();
            self.index.renumber(hash, old, new, live);
            self.head_moved();
        }
    }

    /// The piece of standing work that comes with calls that write, after [`expire`](Self::expire): moves a few entries
    /// to a resized index, and frees a few that left. May panic in the key's `Hash`, and then more stays due.
    pub(crate) fn maintain(&mut self, hasher: &impl BuildHasher, trash: &mut Trash<K, V>) {
        let mut settled = self.is_settled();
        if !settled {
            self.ring.reclaim(FREED, true, trash);
            self.index.free_some();
            self.index.make_room(self.ring.len(), self.ring.live());
            self.resize(MOVED, hasher);
            settled = self.is_settled();
        }
        let expires = self
            .ring
            .oldest()
            .map_or(Nanos::MAX, |oldest| oldest.saturating_add(self.ttl));
        self.due = if settled { expires } else { 0 };
    }

    fn is_settled(&self) -> bool {
        self.index.is_settled(self.ring.len(), self.ring.live()) && !self.ring.needs_reclaim()
    }

    /// Frees up to `budget` entries that left; how many, and whether more work is left.
    pub(crate) fn sweep(
        &mut self,
        budget: usize,
        hasher: &impl BuildHasher,
        trash: &mut Trash<K, V>,
    ) -> (usize, bool) {
        self.due = 0;
        let freed = self.ring.reclaim(budget, false, trash);
        self.index.make_room(self.ring.len(), self.ring.live());
        self.resize(budget, hasher);
        let freeing = (0..budget.div_ceil(FREED)).all(|_| self.index.free_some());
        (
            freed,
            freeing || self.ring.has_garbage(false) || self.index.mark().is_some(),
        )
    }

    /// Moves up to `budget` entries to the new index, while it is being resized.
    fn resize(&mut self, budget: usize, hasher: &impl BuildHasher) {
        for _ in 0..budget.div_ceil(MOVED) {
            let Some(mark) = self.index.mark() else {
                return;
            };
            // All are hashed and their lines fetched before the first is moved, so that the cache misses overlap.
            let mut moved = [(0, 0); MOVED];
            let (mut count, mut before) = (0, mark);
            while count < MOVED
                && let Some(seq) = self.ring.previous(before)
            {
                let hash = self.ring.hash(hasher, seq);
                moved[count] = (hash, seq);
                (count, before) = (count + 1, seq);
            }
            let moved = &moved[..count];
            self.touch(moved.iter().map(|&(hash, _)| hash));
            let live = self.ring.live();
            for &(hash, seq) in moved {
                self.index.move_down_to(hash, seq, live);
            }
            if count < MOVED {
                self.index.resized();
            }
        }
    }

    /// Brings what [`find`](Self::find) will read into the cache, for each hash.
    pub(crate) fn touch(&self, hashes: impl Iterator<Item = u64>) {
        black_box(hashes.fold(0, |sum, hash| sum ^ self.index.touch(hash)));
    }

    /// Empties the window.
    pub(crate) fn clear(&mut self, trash: &mut Trash<K, V>) {
        let emptied = std::mem::replace(
            self,
            Self::starting_at(self.ring.tail(), self.ttl, self.max),
        );
        emptied.ring.clear(trash);
    }

    /// There may be something to free. The entries below the mark may all be gone: then the previous index goes too,
    /// since its numbers mean nothing.
    fn head_moved(&mut self) {
        self.due = 0;
        if let Some(mark) = self.index.mark() {
            let (head, tail) = (self.ring.head(), self.ring.tail());
            let below = mark.wrapping_sub(head);
            if self.ring.len() == 0 || below == 0 || below > tail.wrapping_sub(head) {
                self.index.resized();
            }
        }
    }
}
