//! How the keys and values of one block are held: in lanes, and `str` and `[u8]` keys in a heap of bytes.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::mem::needs_drop;
use std::ops::Range;

use super::block::BLOCK;
use crate::hash::hash;

/// A queue of places, counted from the oldest one held, in which single places can be emptied.
pub trait Places {
    /// What is left to be dropped of a place that is given up.
    type Remains;
    /// Whether that needs to be dropped at all.
    const REMAINS: bool = needs_drop::<Self::Remains>();
    /// Whether places count for anything in a bound on bytes.
    const WEIGHS: bool;

    /// An empty queue whose first place will stand at position `lo` of its block, with room for as much as `previous`
    /// held, so that a steady stream never reallocates.
    fn new(lo: usize, previous: Option<&Self>) -> Self;
    /// Whether one more place may be pushed.
    fn has_room(&self) -> bool;
    /// How much a place counts for in a bound on bytes.
    fn weight(&self, at: usize) -> u64 {
        self.bytes(at..at + 1)
    }
    /// The same for a range of places, which is not empty, emptied or not.
    fn bytes(&self, range: Range<usize>) -> u64;
    /// Moves the newest place before the oldest one of `to`, emptied or not.
    fn move_last(&mut self, to: &mut Self);
    /// Gives up the newest place, which was emptied.
    fn pop_back(&mut self);
    /// Gives up the oldest place; what is to be dropped goes to `trash`.
    fn pop_front(&mut self, trash: &mut Vec<Self::Remains>);
    /// Empties a place, which stays a place; what is to be dropped goes to `trash`.
    fn discard(&mut self, at: usize, trash: &mut Vec<Self::Remains>);
    fn shrink(&mut self);
}

/// Places that hold keys of type `K`.
pub trait Store<K: ?Sized + Hash>: Places {
    /// The hash of a key.
    fn hash(hasher: &impl BuildHasher, key: &K) -> u64 {
        hash(hasher, key)
    }
    /// The hash of the key in a place that was not emptied.
    fn hash_at(&self, hasher: &impl BuildHasher, at: usize) -> u64 {
        Self::hash(hasher, self.get(at))
    }
    /// How much `key` will count for in a bound on bytes.
    fn weigh(key: &K) -> u64;
    /// The key in a place that was not emptied.
    fn get(&self, at: usize) -> &K;
    fn matches(&self, at: usize, key: &K) -> bool;
    /// May panic in the key's `Clone`, and then changes nothing.
    fn push_back(&mut self, key: &K);
}

/// A store that may go to another thread.
pub trait SendStore: Places<Remains: Send> + Send {}

impl<S: Places<Remains: Send> + Send> SendStore for S {}

/// Places that hold a `T` each.
///
/// A type without drop glue needs no mark for an emptied place, since nothing is left to drop, and is held bare: a
/// `u64` takes 8 bytes, a `()` none. A type with drop glue is held in an `Option`, which mostly costs nothing, since
/// such types have a niche. Only one of the two queues is ever used.
pub struct Lane<T> {
    bare: VecDeque<T>,
    owning: VecDeque<Option<T>>,
}

impl<T> Lane<T> {
    pub(crate) fn get(&self, at: usize) -> &T {
        if Self::REMAINS {
            self.owning[at].as_ref().expect("the place was not emptied")
        } else {
            &self.bare[at]
        }
    }

    /// Takes the value that is there.
    pub(crate) fn push_back(&mut self, value: &mut Option<T>) {
        if Self::REMAINS {
            self.owning.push_back(value.take());
        } else if let Some(value) = value.take() {
            self.bare.push_back(value);
        }
    }
}

impl<T> Places for Lane<T> {
    type Remains = T;
    const WEIGHS: bool = false;

    fn new(_: usize, previous: Option<&Self>) -> Self {
        let (bare, owning) = previous.map_or((0, 0), |lane| (lane.bare.len(), lane.owning.len()));
        Self {
            bare: VecDeque::with_capacity(bare),
            owning: VecDeque::with_capacity(owning),
        }
    }

    fn has_room(&self) -> bool {
        true
    }

    fn bytes(&self, _: Range<usize>) -> u64 {
        0
    }

    fn move_last(&mut self, to: &mut Self) {
        if let Some(value) = self.bare.pop_back() {
            to.bare.push_front(value);
        }
        if let Some(place) = self.owning.pop_back() {
            to.owning.push_front(place);
        }
    }

    fn pop_back(&mut self) {
        self.bare.pop_back();
        self.owning.pop_back();
    }

    fn pop_front(&mut self, trash: &mut Vec<T>) {
        self.bare.pop_front();
        trash.extend(self.owning.pop_front().flatten());
    }

    fn discard(&mut self, at: usize, trash: &mut Vec<T>) {
        if Self::REMAINS {
            trash.extend(self.owning[at].take());
        }
    }

    fn shrink(&mut self) {
        self.bare.shrink_to_fit();
        self.owning.shrink_to_fit();
    }
}

impl<T: Hash + Eq + Clone> Store<T> for Lane<T> {
    fn weigh(_: &T) -> u64 {
        0
    }

    fn get(&self, at: usize) -> &T {
        self.get(at)
    }

    fn matches(&self, at: usize, key: &T) -> bool {
        self.get(at) == key
    }

    fn push_back(&mut self, key: &T) {
        self.push_back(&mut Some(key.clone()));
    }
}

impl<T> fmt::Debug for Lane<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane")
            .field("len", &(self.bare.len() + self.owning.len()))
            .finish()
    }
}

/// Byte strings back to back. Each ends where the one written after it begins, so that no length is stored.
///
/// A heap takes no further key once it is 64 KiB long, so that every key *begins* below 64 KiB and two bytes hold
/// its offset; the last one may be as long as it likes.
#[derive(Debug)]
pub struct Heap {
    /// The positions held.
    lo: usize,
    hi: usize,
    bytes: Vec<u8>,
    /// Whether keys were written at the front: then the one written last is the oldest.
    backwards: bool,
    /// Where each key begins, by position.
    offsets: [u16; BLOCK],
}

impl Heap {
    /// The length at which a heap takes no further key.
    pub(crate) const ROOM: usize = 1 << 16;

    fn begin(&self, position: usize) -> usize {
        usize::from(self.offsets[position])
    }

    #[inline]
    fn extent(&self, at: usize) -> Range<usize> {
        let at = self.lo + at;
        let written_last = if self.backwards {
            at == self.lo
        } else {
            at + 1 == self.hi
        };
        let written_next = if self.backwards {
            at.wrapping_sub(1)
        } else {
            at + 1
        };
        let end = if written_last {
            self.bytes.len()
        } else {
            self.begin(written_next)
        };
        self.begin(at)..end
    }

    #[inline]
    fn bytes(&self, at: usize) -> &[u8] {
        &self.bytes[self.extent(at)]
    }

    #[inline]
    fn append(&mut self, key: &[u8]) -> u16 {
        let offset = u16::try_from(self.bytes.len()).expect("has_room was asked before");
        self.bytes.extend_from_slice(key);
        offset
    }
}

impl Places for Heap {
    type Remains = Infallible;
    const WEIGHS: bool = true;

    fn new(lo: usize, previous: Option<&Self>) -> Self {
        let bytes = previous.map_or(0, |heap| heap.bytes.len());
        // A sixty-fourth more, so that ids whose length varies a little do not double the heap at its end.
        let bytes = (bytes + bytes / 64).min(Self::ROOM);
        Self {
            lo,
            hi: lo,
            bytes: Vec::with_capacity(bytes),
            backwards: false,
            offsets: [0; BLOCK],
        }
    }

    #[inline]
    fn has_room(&self) -> bool {
        self.bytes.len() < Self::ROOM
    }

    fn bytes(&self, range: Range<usize>) -> u64 {
        let (first, last) = (self.extent(range.start), self.extent(range.end - 1));
        (first.end.max(last.end) - first.start.min(last.start)) as u64
    }

    fn move_last(&mut self, to: &mut Self) {
        let offset = to.append(self.bytes(self.hi - 1 - self.lo));
        to.lo -= 1;
        to.offsets[to.lo] = offset;
        to.backwards = true;
        self.pop_back();
    }

    fn pop_back(&mut self) {
        self.hi -= 1;
        if !self.backwards {
            self.bytes.truncate(self.begin(self.hi));
        }
    }

    fn pop_front(&mut self, _: &mut Vec<Infallible>) {
        if self.backwards {
            self.bytes.truncate(self.begin(self.lo));
        }
        self.lo += 1;
    }

    fn discard(&mut self, _: usize, _: &mut Vec<Infallible>) {}

    fn shrink(&mut self) {
        self.bytes.shrink_to_fit();
    }
}

impl Store<[u8]> for Heap {
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
    fn push_back(&mut self, key: &[u8]) {
        self.offsets[self.hi] = self.append(key);
        self.hi += 1;
    }
}

/// A string is held, and hashed, as its bytes; only handing one out looks at them as UTF-8 again.
impl Store<str> for Heap {
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
        Store::<[u8]>::matches(self, at, key.as_bytes())
    }

    #[inline]
    fn push_back(&mut self, key: &str) {
        Store::<[u8]>::push_back(self, key.as_bytes());
    }
}
