//! `ByteArena`: a column of byte strings.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::mem::take;
use std::ops::Range;

use super::super::block::{BLOCK, PIECE};
use super::{Column, KeyColumn};
use crate::hash::hash;

/// The longest key that is stored in the arena.
pub(crate) const LONGEST_INLINE: usize = 255;
/// Keys whose ends are counted from a common base. 16 bits are enough for the length of 256
/// inline keys.
const SECTION: usize = 256;
const _: () = assert!(SECTION * LONGEST_INLINE <= u16::MAX as usize && PIECE % SECTION == 0);

/// A column of byte strings.
///
/// Keys of up to 255 bytes lie in one arena, in the order in which they were written. Each key
/// begins where the key written before it ends, so no length is stored. A longer key has an
/// allocation of its own and takes no bytes of the arena, so removal and expiry can free it at
/// once, whatever else the block holds.
///
/// `repr(C)`: the fields before `ends` share a cache line with the block's own.
#[derive(Debug)]
#[repr(C)]
pub struct ByteArena {
    /// `true` if keys are written from the last position down.
    backwards: bool,
    /// `true` if nothing is pushed to the back any more, so that the arena should fit exactly.
    sealed: bool,
    /// The offset in the arena at which each section begins.
    bases: [u32; BLOCK / SECTION],
    arena: Vec<u8>,
    /// The long keys, if there are any.
    long: Option<Box<LongKeys>>,
    /// The end of each key, by position, counted from the base of its section.
    ends: [u16; BLOCK],
    /// Bytes of keys that were discarded since the last compaction.
    hole_bytes: usize,
}

/// Long keys and their positions, in ascending order.
type LongKeys = VecDeque<(u16, Box<[u8]>)>;

impl ByteArena {
    /// Returns the part of the arena that a key takes.
    #[inline]
    fn extent(&self, at: usize) -> Range<usize> {
        let base = self.bases[at / SECTION] as usize;
        let (first_of_section, written_before) = if self.backwards {
            (SECTION - 1, at + 1)
        } else {
            (0, at.wrapping_sub(1))
        };
        let begin = if at % SECTION == first_of_section {
            base
        } else {
            base + usize::from(self.ends[written_before])
        };
        begin..base + usize::from(self.ends[at])
    }

    /// Sets the extent of a key, which begins where the extent of the key written before ends.
    #[inline]
    fn set_extent(&mut self, at: usize, begin: usize, len: usize) {
        let first_of_section = if self.backwards { SECTION - 1 } else { 0 };
        if at % SECTION == first_of_section {
            self.bases[at / SECTION] = begin as u32;
        }
        let base = self.bases[at / SECTION] as usize;
        self.ends[at] = (begin + len - base) as u16;
    }

    /// Lets the extents begin with that of `at`, at the front of the arena.
    fn begin_at(&mut self, at: usize) {
        self.bases[at / SECTION] = 0;
        let before = if self.backwards {
            at + 1
        } else {
            at.wrapping_sub(1)
        };
        if let Some(end) = self.ends.get_mut(before) {
            *end = 0;
        }
    }

    /// Returns the index of a long key.
    fn find_long(&self, at: usize) -> Option<(&LongKeys, usize)> {
        let long = self.long.as_deref()?;
        let index = long.binary_search_by_key(&at, |&(at, _)| usize::from(at));
        index.ok().map(|index| (long, index))
    }

    /// Appends bytes. A full arena grows by a quarter, so that little of it is unused.
    #[inline]
    fn append(&mut self, bytes: &[u8]) {
        if self.arena.capacity() - self.arena.len() < bytes.len() {
            self.grow(bytes.len());
        }
        self.arena.extend_from_slice(bytes);
    }

    #[cold]
    fn grow(&mut self, least: usize) {
        self.arena.reserve_exact(least.max(self.arena.len() / 4));
    }

    #[inline]
    fn bytes(&self, at: usize) -> &[u8] {
        match self.find_long(at) {
            Some((long, index)) => &long[index].1,
            None => &self.arena[self.extent(at)],
        }
    }

    /// Removes and returns a long key.
    fn take_long(&mut self, at: usize) -> Option<Box<[u8]>> {
        let (_, index) = self.find_long(at)?;
        let long = self.long.as_deref_mut()?;
        let (_, key) = long.remove(index)?;
        if long.is_empty() {
            self.long = None;
        }
        Some(key)
    }
}

impl Column for ByteArena {
    type Dropped = Box<[u8]>;
    const WEIGHS: bool = true;

    fn new(backwards: bool, previous: Option<&Self>) -> Self {
        let bytes = previous.map_or(0, |column| column.arena.len());
        // A 64th more, so that ids whose length varies a little do not reallocate the arena when it
        // is nearly full.
        let bytes = (bytes + bytes / 64).min(BLOCK * LONGEST_INLINE);
        Self {
            backwards,
            sealed: false,
            bases: [0; BLOCK / SECTION],
            arena: Vec::with_capacity(bytes),
            long: None,
            ends: [0; BLOCK],
            hole_bytes: 0,
        }
    }

    #[inline]
    fn weight(&self, at: usize) -> u64 {
        match self.find_long(at) {
            Some((long, index)) => long[index].1.len() as u64,
            None => self.extent(at).len() as u64,
        }
    }

    #[inline]
    fn needs_drop(&self) -> bool {
        self.long.is_some()
    }

    fn move_last(&mut self, from: usize, to: &mut Self, to_at: usize) {
        let extent = self.extent(from);
        to.set_extent(to_at, to.arena.len(), extent.len());
        to.append(&self.arena[extent]);
        if let Some(key) = self.take_long(from) {
            to.long
                .get_or_insert_default()
                .push_front((to_at as u16, key));
        }
        self.pop_back(from);
    }

    fn pop_back(&mut self, at: usize) {
        // Written backwards, it lies at the front of the arena, and stays there until the block is
        // freed.
        if !self.backwards {
            self.arena.truncate(self.extent(at).start);
        }
    }

    fn pop_front(&mut self, at: usize, drops: &mut Vec<Box<[u8]>>) {
        drops.extend(self.take_long(at));
        if self.backwards {
            self.arena.truncate(self.extent(at).start);
        }
    }

    fn discard(&mut self, at: usize, drops: &mut Vec<Box<[u8]>>) {
        drops.extend(self.take_long(at));
        self.hole_bytes += self.extent(at).len();
    }

    fn is_sparse(&self) -> bool {
        // An eighth of what the block takes, so that compaction moves at most eight bytes for one
        // that is removed.
        self.sealed && 8 * self.hole_bytes > self.arena.len() + size_of::<Self>()
    }

    fn compact(&mut self, held: Range<usize>, is_present: impl Fn(usize) -> bool) {
        let Some(last) = held.end.checked_sub(1).filter(|_| !held.is_empty()) else {
            return;
        };
        let bases = self.bases;
        let first = if self.backwards { last } else { held.start };
        let (mut old_begin, mut end) = (self.extent(first).start, 0);
        // In the order in which the keys were written, so that an end is read before it is
        // overwritten.
        for nth in 0..held.len() {
            let at = if self.backwards {
                last - nth
            } else {
                first + nth
            };
            let old_end = bases[at / SECTION] as usize + usize::from(self.ends[at]);
            let len = if is_present(at) {
                old_end - old_begin
            } else {
                0
            };
            if nth == 0 {
                self.begin_at(first);
            }
            self.set_extent(at, end, len);
            self.arena.copy_within(old_begin..old_begin + len, end);
            (old_begin, end) = (old_end, end + len);
        }
        self.arena.truncate(end);
        self.arena.shrink_to_fit();
        self.hole_bytes = 0;
    }

    fn drain(&mut self, until: usize, all: bool, bytes: u64) -> u64 {
        let mut freed = 0;
        while freed < bytes {
            let first = self.long.as_deref().and_then(VecDeque::front);
            let Some(&(at, _)) = first.filter(|&&(at, _)| usize::from(at) < until) else {
                break;
            };
            freed += self.take_long(at.into()).map_or(0, |key| key.len() as u64);
        }
        if freed < bytes && all {
            freed += take(&mut self.arena).len() as u64;
        }
        freed
    }

    fn seal(&mut self) {
        self.sealed = true;
        self.arena.shrink_to_fit();
        if let Some(long) = &mut self.long {
            long.shrink_to_fit();
        }
    }

    fn release_back(&mut self, end: usize) {
        if self.backwards {
            // The popped keys lie in front of the others. The last key left was the first of its
            // section to be written, so only the bases change.
            let popped = match end.checked_sub(1) {
                Some(last) => self.extent(last).start,
                None => self.arena.len(),
            };
            self.arena.drain(..popped.min(self.arena.len()));
            for base in &mut self.bases {
                // The sections of popped keys are never read again.
                *base = base.saturating_sub(popped as u32);
            }
        }
        self.arena.shrink_to_fit();
    }
}

impl KeyColumn<[u8]> for ByteArena {
    fn weigh(key: &[u8]) -> u64 {
        key.len() as u64
    }

    fn get(&self, at: usize) -> &[u8] {
        self.bytes(at)
    }

    #[inline]
    fn matches(&self, at: usize, key: &[u8]) -> bool {
        self.bytes(at) == key
    }

    #[inline]
    fn push_back(&mut self, at: usize, key: &[u8]) {
        if key.len() <= LONGEST_INLINE {
            self.set_extent(at, self.arena.len(), key.len());
            self.append(key);
        } else {
            self.set_extent(at, self.arena.len(), 0);
            self.long
                .get_or_insert_default()
                .push_back((at as u16, key.into()));
        }
    }
}

/// A string is stored and hashed as its bytes. Only [`get`](KeyColumn::get) validates the UTF-8
/// again.
impl KeyColumn<str> for ByteArena {
    #[inline]
    fn hash(hasher: &impl BuildHasher, key: &str) -> u64 {
        hash(hasher, key.as_bytes())
    }

    fn hash_at(&self, hasher: &impl BuildHasher, at: usize) -> u64 {
        hash(hasher, self.bytes(at))
    }

    #[inline]
    fn weigh(key: &str) -> u64 {
        key.len() as u64
    }

    fn get(&self, at: usize) -> &str {
        std::str::from_utf8(self.bytes(at)).expect("the bytes came from a str")
    }

    #[inline]
    fn matches(&self, at: usize, key: &str) -> bool {
        self.bytes(at) == key.as_bytes()
    }

    #[inline]
    fn push_back(&mut self, at: usize, key: &str) {
        KeyColumn::<[u8]>::push_back(self, at, key.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_arena_grows_by_a_quarter() {
        let mut keys = ByteArena::new(false, None);
        for at in 0..BLOCK {
            KeyColumn::<[u8]>::push_back(&mut keys, at, &[7; 45]);
            assert!(keys.arena.capacity() <= keys.arena.len() * 5 / 4 + 45);
        }
    }

    #[test]
    fn drain_frees_long_keys_one_by_one_and_the_rest_at_once() {
        let mut keys = ByteArena::new(false, None);
        for (at, len) in [10, 300, 400, 500, 20].into_iter().enumerate() {
            KeyColumn::<[u8]>::push_back(&mut keys, at, &vec![7; len]);
        }
        // The keys from position 2 on are live.
        assert_eq!(keys.drain(2, false, 1_000), 300);
        assert_eq!(keys.arena.len(), 30);
        assert_eq!(keys.drain(5, true, 400), 400);
        assert_eq!(keys.arena.len(), 30);
        assert_eq!(keys.drain(5, true, 501), 530);
        assert_eq!((keys.arena.capacity(), keys.needs_drop()), (0, false));
    }

    #[test]
    fn pop_front_returns_a_long_key_at_once() {
        let (mut keys, mut drops) = (ByteArena::new(false, None), Vec::new());
        for (at, len) in [10, 300, 20, 400].into_iter().enumerate() {
            KeyColumn::<[u8]>::push_back(&mut keys, at, &vec![7; len]);
        }
        (0..3).for_each(|at| keys.pop_front(at, &mut drops));
        assert_eq!((drops.len(), drops[0].len()), (1, 300));
        keys.pop_front(3, &mut drops);
        assert_eq!((drops[1].len(), keys.needs_drop()), (400, false));
    }

    #[test]
    fn sealed_arena_is_compacted_if_an_eighth_is_discarded() {
        let few = (BLOCK * 45 + size_of::<ByteArena>()) / (8 * 45);
        for is_sealed in [false, true] {
            let mut keys = ByteArena::new(false, None);
            for at in 0..BLOCK {
                KeyColumn::<[u8]>::push_back(&mut keys, at, &[7; 45]);
            }
            if is_sealed {
                keys.seal();
                assert_eq!(keys.arena.capacity(), keys.arena.len());
            }
            (0..few).for_each(|at| keys.discard(at, &mut Vec::new()));
            assert!(!keys.is_sparse());
            keys.discard(few, &mut Vec::new());
            assert_eq!(keys.is_sparse(), is_sealed);
            keys.compact(0..BLOCK, |at| at > few);
            assert_eq!(keys.arena.capacity(), 45 * (BLOCK - few - 1));
            assert!(!keys.is_sparse());
        }
    }
}
