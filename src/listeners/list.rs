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
    atomic::{AtomicU64, Ordering},
};

const STALE: u64 = 1;
const PASS: u64 = 2;

/// A hold on a list, the table's or an emit's.
pub(super) type Pin<E> = sync::Arc<List<E>>;

pub(super) struct List<E> {
    /// The calls stand apart from all else that is known of a listener, each small and alone in its allocation, because
    /// going through them is what an emit is to cost.
    pub(super) calls: Vec<Arc<dyn Call<E>>>,
    pub(super) slots: Vec<Arc<Slot>>,
    /// Whether it is stale, and how often it was gone through from beginning to end. One word, so that each pass is
    /// counted either by who copies the list or by the one who made the pass.
    state: AtomicU64,
    /// No listener's deadline is before this.
    earliest: Nanos,
    counters: Arc<Counters>,
}

impl<E> List<E> {
    pub(super) fn new(counters: Arc<Counters>) -> Self {
        Self { calls: Vec::new(), slots: Vec::new(), state: AtomicU64::new(0), earliest: NEVER, counters }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    #[inline]
    pub(super) fn is_stale(&self) -> bool {
        self.state.load(Ordering::Acquire) & STALE != 0
    }

    pub(super) fn earliest(&self) -> Nanos {
        self.earliest
    }

    /// How often every listener of it was called together with all others.
    pub(super) fn passes(&self) -> u64 {
        self.state.load(Ordering::Relaxed) / PASS
    }

    /// Counts the calls of those in `from..to`, who were called straight, or passed over and uncounted.
    pub(super) fn count_pass(&self, from: usize, to: usize) {
        let whole = from == 0 && to == self.len();
        if whole && self.state.fetch_add(PASS, Ordering::Relaxed) & STALE == 0 {
            return;
        }
        self.slots[from..to].iter().for_each(|slot| slot.count_call());
    }

    /// Where the first one after `key` stands.
    pub(super) fn after(&self, key: Option<Key>) -> usize {
        key.map_or(0, |key| self.slots.partition_point(|slot| slot.key() <= key))
    }

    pub(super) fn position(&self, key: Key) -> Option<usize> {
        self.slots.binary_search_by_key(&key, |slot| slot.key()).ok()
    }

    /// The list, to be changed: itself, or where an emit has pinned it a copy.
    pub(super) fn edit(list: &mut Pin<E>) -> &mut Self {
        if Pin::get_mut(list).is_none() {
            *list = Pin::new(list.retire());
        }
        Pin::get_mut(list).expect("only the table, which is locked, hands out more of it")
    }

    fn retire(&self) -> Self {
        let passes = self.state.fetch_or(STALE, Ordering::AcqRel) / PASS;
        for slot in &self.slots {
            slot.leave(passes);
            slot.enter(0);
        }
        Self {
            calls: self.calls.clone(),
            slots: self.slots.clone(),
            state: AtomicU64::new(0),
            earliest: self.earliest,
            counters: Arc::clone(&self.counters),
        }
    }

    pub(super) fn insert(&mut self, slot: Arc<Slot>, call: Arc<dyn Call<E>>) {
        slot.enter(self.passes());
        self.earliest = self.earliest.min(slot.deadline);
        let at = self.after(Some(slot.key()));
        self.calls.insert(at, call);
        self.slots.insert(at, slot);
    }

    /// Moves those that stand behind it: 24 bytes each.
    pub(super) fn remove(&mut self, at: usize) {
        self.calls.remove(at);
        let slot = self.slots.remove(at);
        slot.leave(self.passes());
        slot.enter(0);
    }

    /// Those whose deadline has come. The rest tell when the next one comes.
    pub(super) fn due(&mut self, now: Nanos) -> Vec<u64> {
        let (due, rest): (Vec<_>, Vec<_>) = self.slots.iter().partition(|slot| slot.deadline <= now);
        self.earliest = rest.iter().map(|slot| slot.deadline).min().unwrap_or(NEVER);
        due.iter().map(|slot| slot.number()).collect()
    }
}

impl<E> Drop for List<E> {
    fn drop(&mut self) {
        // The last one to let go of a stale list drops what was detached meanwhile; calls first, then slots.
        while let Some(call) = self.calls.pop() {
            contained(&self.counters, || drop(call));
        }
    }
}
