//! The columns of a block: one for its keys and one for its values.

use std::collections::VecDeque;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::mem::{needs_drop, take};
use std::ops::Range;

use super::block::BLOCK;
use crate::hash::hash;

/// A queue with one item for each held position of a block.
pub trait Column {
    /// The part of an item that needs to be dropped after its entry was removed.
    type Dropped;
    /// `true` if the items count towards a bound on bytes.
    const WEIGHS: bool;

    /// Returns an empty column with capacity for as much as `previous` holds. If `backwards`, items
    /// are written from the last position down, otherwise from position 0 up.
    fn new(backwards: bool, previous: Option<&Self>) -> Self;
    /// Returns the bytes that an item counts for.
    fn weight(&self, at: usize) -> u64;
    /// Returns `true` if some item owns memory or has drop glue, so that dropping the column drops
    /// items one by one.
    fn needs_drop(&self) -> bool;
    /// Moves the newest item, at `from`, to the front of `to`, at `to_at`.
    fn move_last(&mut self, from: usize, to: &mut Self, to_at: usize);
    /// Removes the newest item, at `at`, which was discarded.
    fn pop_back(&mut self, at: usize);
    /// Removes the oldest item, at `at`.
    fn pop_front(&mut self, at: usize, drops: &mut Vec<Self::Dropped>);
    /// Removes the content of an item. The item keeps its position.
    fn discard(&mut self, at: usize, drops: &mut Vec<Self::Dropped>);
    /// Returns `true` if discarded items take enough memory that [`compact`](Self::compact) should
    /// return it.
    fn is_sparse(&self) -> bool;
    /// Returns the memory of discarded items among the `held` positions.
    fn compact(&mut self, held: Range<usize>, is_present: impl Fn(usize) -> bool);
    /// Frees the bytes of items below `until`, oldest first, until `bytes` are freed. If `all`,
    /// every item is below `until`, and the rest of the memory is freed with them. Returns the
    /// number of freed bytes.
    ///
    /// Afterwards, these items may only be popped.
    fn drain(&mut self, until: usize, all: bool, bytes: u64) -> u64;
    /// Releases unused capacity. Nothing is pushed to the back afterwards.
    fn seal(&mut self);
}

/// A column of keys.
pub trait KeyColumn<K: ?Sized + Hash>: Column {
    /// Returns the hash of a key.
    fn hash(hasher: &impl BuildHasher, key: &K) -> u64 {
        hash(hasher, key)
    }
    /// Returns the hash of a stored key.
    fn hash_at(&self, hasher: &impl BuildHasher, at: usize) -> u64 {
        Self::hash(hasher, self.get(at))
    }
    /// Returns the bytes that `key` counts for.
    fn weigh(key: &K) -> u64;
    /// Returns a stored key.
    fn get(&self, at: usize) -> &K;
    /// Returns `true` if the stored key equals `key`.
    fn matches(&self, at: usize, key: &K) -> bool;
    /// Appends a copy of `key` at `at`. If the key's `Clone` panics, the column is unchanged.
    fn push_back(&mut self, at: usize, key: &K);
}

/// A column of `T`s.
///
/// Only one of the two queues is used. A type without drop glue is stored bare: a discarded item
/// needs no mark, because nothing of it is dropped. A type with drop glue is stored in an `Option`,
/// which is free for types with a niche.
pub struct VecColumn<T> {
    /// The oldest held position.
    lo: usize,
    bare: VecDeque<T>,
    owning: VecDeque<Option<T>>,
}

impl<T> VecColumn<T> {
    const NEEDS_DROP: bool = needs_drop::<T>();

    #[inline]
    pub(crate) fn item(&self, at: usize) -> &T {
        if Self::NEEDS_DROP {
            self.owning[at - self.lo]
                .as_ref()
                .expect("the item is present")
        } else {
            &self.bare[at - self.lo]
        }
    }

    pub(crate) fn item_mut(&mut self, at: usize) -> &mut T {
        if Self::NEEDS_DROP {
            self.owning[at - self.lo]
                .as_mut()
                .expect("the item is present")
        } else {
            &mut self.bare[at - self.lo]
        }
    }

    /// Appends the value, taking it from `value`.
    #[inline]
    pub(crate) fn push(&mut self, value: &mut Option<T>) {
        if Self::NEEDS_DROP {
            self.owning.push_back(value.take());
        } else if let Some(value) = value.take() {
            self.bare.push_back(value);
        }
    }

    /// Removes the content of an item and returns it. An item without drop glue cannot be moved out
    /// of the queue, but the item that stays behind is never read again.
    pub(crate) fn take_item(&mut self, at: usize) -> Option<T>
    where
        T: Clone,
    {
        if Self::NEEDS_DROP {
            self.owning[at - self.lo].take()
        } else {
            self.bare.get(at - self.lo).cloned()
        }
    }
}

impl<T> Column for VecColumn<T> {
    type Dropped = T;
    const WEIGHS: bool = false;

    fn new(backwards: bool, previous: Option<&Self>) -> Self {
        let (bare, owning) =
            previous.map_or((0, 0), |column| (column.bare.len(), column.owning.len()));
        Self {
            lo: if backwards { BLOCK } else { 0 },
            bare: VecDeque::with_capacity(bare),
            owning: VecDeque::with_capacity(owning),
        }
    }

    #[inline]
    fn weight(&self, _: usize) -> u64 {
        0
    }

    #[inline]
    fn needs_drop(&self) -> bool {
        Self::NEEDS_DROP
    }

    fn move_last(&mut self, _: usize, to: &mut Self, to_at: usize) {
        to.lo = to_at;
        if let Some(item) = self.bare.pop_back() {
            to.bare.push_front(item);
        }
        if let Some(item) = self.owning.pop_back() {
            to.owning.push_front(item);
        }
    }

    fn pop_back(&mut self, _: usize) {
        self.bare.pop_back();
        self.owning.pop_back();
    }

    fn pop_front(&mut self, at: usize, drops: &mut Vec<T>) {
        self.lo = at + 1;
        self.bare.pop_front();
        drops.extend(self.owning.pop_front().flatten());
    }

    fn discard(&mut self, at: usize, drops: &mut Vec<T>) {
        if Self::NEEDS_DROP {
            drops.extend(self.owning[at - self.lo].take());
        }
    }

    fn is_sparse(&self) -> bool {
        false
    }

    fn compact(&mut self, _: Range<usize>, _: impl Fn(usize) -> bool) {}

    fn drain(&mut self, _: usize, _: bool, _: u64) -> u64 {
        0
    }

    fn seal(&mut self) {
        self.bare.shrink_to_fit();
        self.owning.shrink_to_fit();
    }
}

impl<T: Hash + Eq + Clone> KeyColumn<T> for VecColumn<T> {
    fn weigh(_: &T) -> u64 {
        0
    }

    fn get(&self, at: usize) -> &T {
        self.item(at)
    }

    fn matches(&self, at: usize, key: &T) -> bool {
        self.item(at) == key
    }

    fn push_back(&mut self, _: usize, key: &T) {
        self.push(&mut Some(key.clone()));
    }
}

impl<T> fmt::Debug for VecColumn<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VecColumn")
            .field("len", &(self.bare.len() + self.owning.len()))
            .finish()
    }
}

/// The longest key that is stored in the arena.
pub(crate) const LONGEST_INLINE: usize = 255;
/// Keys whose ends are counted from a common base. 16 bits are enough for the length of 256
/// inline keys.
const SECTION: usize = 256;
const _: () = assert!(SECTION * LONGEST_INLINE <= u16::MAX as usize && BLOCK % SECTION == 0);

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
        to.arena.extend_from_slice(&self.arena[extent]);
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
            self.arena.extend_from_slice(key);
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
