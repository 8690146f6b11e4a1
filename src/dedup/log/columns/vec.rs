//! `VecColumn`: a column of values, or of keys that are stored as they are.

use std::collections::VecDeque;
use std::fmt;
use std::hash::Hash;
use std::mem::needs_drop;
use std::ops::Range;

use super::super::block::{BLOCK, PIECE};
use super::{Column, KeyColumn};

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
        // A power of two doubles to the size of a block, and not beyond.
        let capacity = |len: usize| if len == 0 { 0 } else { len.next_power_of_two() };
        Self {
            lo: if backwards { BLOCK } else { 0 },
            bare: VecDeque::with_capacity(capacity(previous.map_or(0, |it| it.bare.len()))),
            owning: VecDeque::with_capacity(capacity(previous.map_or(0, |it| it.owning.len()))),
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
        move_back_to_front(&mut self.bare, &mut to.bare);
        move_back_to_front(&mut self.owning, &mut to.owning);
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

    fn release_back(&mut self, _: usize) {
        self.seal();
    }
}

fn move_back_to_front<T>(from: &mut VecDeque<T>, to: &mut VecDeque<T>) {
    if let Some(item) = from.pop_back() {
        if to.len() == to.capacity() {
            to.reserve_exact(PIECE);
        }
        to.push_front(item);
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
