//! `List`: the listeners of one topic, in the order in which they are called.
//!
//! The table holds the current list; an emit may hold ("pin") it for as long as it calls straight from it. Whoever changes
//! a pinned list changes a copy and marks the old one as stale, and who has pinned a stale list lets go of it before the next
//! call. The invariant that makes checks of a listener's state unnecessary: in a list that is not stale every listener is
//! attached, and one that is not to be called straight is represented by `Asks`.

use std::sync::Arc;

use super::call::Call;
use super::counters::{Counters, contained};
use super::slot::{Key, NEVER, Slot};
use crate::clock::Nanos;
use crate::sync::{
    self,
    atomic::{AtomicU8, Ordering},
};

/// A hold on a list, the table's or an emit's.
pub(super) type Pin<E> = sync::Arc<List<E>>;

/// Listeners of a list that is short: with 16 bytes of the list and a line or two of its own for each, it takes up no more
/// than the 32 KiB of a processor's nearest cache.
const SHORT: usize = 256;

pub(super) struct List<E> {
    /// The calls stand apart from all else that is known of a listener, each small and alone in its allocation, because
    /// going through them is what an emit is to cost.
    pub(super) calls: Vec<Arc<dyn Call<E>>>,
    pub(super) slots: Vec<Arc<Slot>>,
    stale: AtomicU8,
    /// No listener's deadline is before this.
    earliest: Nanos,
    counters: Arc<Counters>,
}

impl<E> List<E> {
    pub(super) fn new(counters: Arc<Counters>) -> Self {
        Self {
            calls: Vec::new(),
            slots: Vec::new(),
            stale: AtomicU8::new(0),
            earliest: NEVER,
            counters,
        }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Zero as long as the list may be called from.
    ///
    /// Who takes a listener out stores it before that returns, so every look that comes after the return sees it: two of one
    /// value in that order cannot show it older. Acquire, for the Release of that store, so that who sees it also sees all
    /// that was done before it.
    #[inline]
    pub(super) fn staleness(&self) -> u8 {
        self.stale.load(Ordering::Acquire)
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Whether it may all be in the nearest cache.
    #[inline]
    pub(super) fn is_short(&self) -> bool {
        self.len() <= SHORT
    }

    #[inline]
    pub(super) fn earliest(&self) -> Nanos {
        self.earliest
    }

    /// How many are for this generation of a scope.
    #[cold]
    pub(super) fn count_for(&self, generation: u64) -> usize {
        self.slots
            .iter()
            .filter(|slot| slot.is_for(generation))
            .count()
    }

    /// Where the first one after `key` stands.
    pub(super) fn after(&self, key: Option<Key>) -> usize {
        key.map_or(0, |key| {
            self.slots.partition_point(|slot| slot.key() <= key)
        })
    }

    pub(super) fn position(&self, key: Key) -> Option<usize> {
        self.slots
            .binary_search_by_key(&key, |slot| slot.key())
            .ok()
    }

    /// The list, to be changed: itself, or where an emit has pinned it a copy.
    pub(super) fn edit(list: &mut Pin<E>) -> &mut Self {
        if Pin::get_mut(list).is_none() {
            *list = Pin::new(list.retire());
        }
        Pin::get_mut(list).expect("only the table, which is locked, hands out more of it")
    }

    fn retire(&self) -> Self {
        self.stale.store(1, Ordering::Release);
        Self {
            calls: self.calls.clone(),
            slots: self.slots.clone(),
            stale: AtomicU8::new(0),
            earliest: self.earliest,
            counters: Arc::clone(&self.counters),
        }
    }

    pub(super) fn insert(&mut self, slot: Arc<Slot>, call: Arc<dyn Call<E>>) {
        self.earliest = self.earliest.min(slot.deadline);
        let at = self.after(Some(slot.key()));
        self.calls.insert(at, call);
        self.slots.insert(at, slot);
    }

    /// Moves those that stand behind it: 24 bytes each.
    pub(super) fn remove(&mut self, at: usize) {
        self.calls.remove(at);
        self.slots.remove(at);
        if let Some(room) = after_a_spike(self.slots.len(), self.slots.capacity()) {
            self.calls.shrink_to(room);
            self.slots.shrink_to(room);
        }
    }

    /// Those whose deadline has come. The rest tell when the next one comes.
    pub(super) fn due(&mut self, now: Nanos) -> Vec<u64> {
        let (due, rest): (Vec<_>, Vec<_>) =
            self.slots.iter().partition(|slot| slot.deadline <= now);
        self.earliest = rest.iter().map(|slot| slot.deadline).min().unwrap_or(NEVER);
        due.iter().map(|slot| slot.number()).collect()
    }
}

/// The room to be kept where a spike is over: the rest is given back, at a cost that those who left make up for.
pub(super) fn after_a_spike(len: usize, capacity: usize) -> Option<usize> {
    (capacity > 64 && len < capacity / 8).then_some(2 * len)
}

impl<E> Drop for List<E> {
    fn drop(&mut self) {
        // The last one to let go of a stale list drops what was detached meanwhile; calls first, then slots.
        while let Some(call) = self.calls.pop() {
            contained(&self.counters, || drop(call));
        }
    }
}
