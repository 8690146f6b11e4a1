//! `Deadlines`: the slots of a slab that have a deadline of their own, as a heap.
//!
//! A heap with four children per node, because its four siblings share a cache line. Setting,
//! changing and removing a deadline moves at most one node per level: 10 of a million deadlines.
//! A timing wheel would set one in constant time. It was not chosen, because its buckets are not
//! sorted: exact expiry at a bound would have to search one, and a bucket that moves to a finer
//! wheel is moved within one call.
//!
//! To remove a deadline, its position in the heap is needed. The positions are in pages by slot,
//! and only slots with a deadline need a page. So a slot without a deadline takes no memory, unless
//! its page is in use: 4 bytes.

// The heap is a slab for its chunks: it grows without moving what it holds.

use super::slab::{NIL, Slab, Slot};
use crate::clock::Nanos;

const CHILDREN: Slot = 4;
const PAGE: usize = 256;

#[derive(Clone, Copy)]
struct Timer {
    deadline: Nanos,
    slot: Slot,
}

pub(super) struct Deadlines {
    heap: Slab<Timer>,
    positions: Positions,
}

impl Deadlines {
    pub(super) const fn new() -> Self {
        Self {
            heap: Slab::new(),
            positions: Positions { pages: Vec::new() },
        }
    }

    pub(super) fn len(&self) -> usize {
        self.heap.len()
    }

    /// Returns the deadline of a slot, if it has one.
    pub(super) fn get(&self, slot: Slot) -> Option<Nanos> {
        let at = self.positions.get(slot)?;
        Some(self.heap[at].deadline)
    }

    /// Returns the slot with the earliest deadline.
    pub(super) fn first(&self) -> Option<(Slot, Nanos)> {
        let first = self.heap.get(0)?;
        Some((first.slot, first.deadline))
    }

    /// Sets or changes the deadline of a slot.
    pub(super) fn set(&mut self, slot: Slot, deadline: Nanos) {
        let timer = Timer { deadline, slot };
        let at = match self.positions.get(slot) {
            Some(at) => {
                self.heap[at] = timer;
                at
            }
            None => self.heap.push(timer, usize::MAX),
        };
        self.settle(at);
    }

    /// Removes the deadline of a slot. Returns `false` if it has none.
    pub(super) fn remove(&mut self, slot: Slot) -> bool {
        let Some(at) = self.positions.remove(slot) else {
            return false;
        };
        self.heap.swap_remove(at);
        if (at as usize) < self.heap.len() {
            self.settle(at);
        }
        true
    }

    /// Updates the slot of an element that moved, if it has a deadline. The slot that it moves to
    /// has none.
    pub(super) fn relocate(&mut self, from: Slot, to: Slot) {
        if let Some(at) = self.positions.remove(from) {
            self.heap[at].slot = to;
            self.positions.set(to, at);
        }
    }

    /// Calls `visit` with the slots whose deadline is not after `now`, in a step for each.
    pub(super) fn for_each_reached(&self, now: Nanos, mut visit: impl FnMut(Slot)) {
        let mut pending = vec![0];
        while let Some(at) = pending.pop() {
            if let Some(timer) = self.heap.get(at).filter(|timer| timer.deadline <= now) {
                visit(timer.slot);
                pending.extend(children(at));
            }
        }
    }

    /// Moves the timer at a position up or down until the heap is in order, and notes the position
    /// of every timer that it writes.
    fn settle(&mut self, mut at: Slot) {
        let timer = self.heap[at];
        while let Some(parent) = at.checked_sub(1).map(|below| below / CHILDREN) {
            if self.heap[parent].deadline <= timer.deadline {
                break;
            }
            self.put(at, self.heap[parent]);
            at = parent;
        }
        while let Some(child) = self.first_child(at) {
            if self.heap[child].deadline >= timer.deadline {
                break;
            }
            self.put(at, self.heap[child]);
            at = child;
        }
        self.put(at, timer);
    }

    fn put(&mut self, at: Slot, timer: Timer) {
        self.heap[at] = timer;
        self.positions.set(timer.slot, at);
    }

    /// Returns the child with the earliest deadline.
    fn first_child(&self, at: Slot) -> Option<Slot> {
        children(at)
            .filter_map(|child| Some((self.heap.get(child)?.deadline, child)))
            .min()
            .map(|(_, child)| child)
    }

    pub(super) fn validate(&self) {
        for at in 0..self.heap.len() as Slot {
            let Timer { deadline, slot } = self.heap[at];
            assert_eq!(self.positions.get(slot), Some(at), "a position is right");
            let above = at.checked_sub(1).map(|below| below / CHILDREN);
            assert!(
                above.is_none_or(|parent| self.heap[parent].deadline <= deadline),
                "no deadline is before that of its parent"
            );
        }
        let used = self.positions.pages.iter().flatten();
        assert_eq!(
            used.map(|page| page.used).sum::<usize>(),
            self.heap.len(),
            "every position has a timer"
        );
    }
}

/// Returns the positions of a node's children. Slots are below 2<sup>31</sup>, so a position whose
/// children overflow has none.
fn children(at: Slot) -> std::ops::Range<Slot> {
    let first = at.saturating_mul(CHILDREN).saturating_add(1);
    first..first.saturating_add(CHILDREN)
}

/// The position in the heap of every slot that has a deadline.
struct Positions {
    pages: Vec<Option<Box<Page>>>,
}

struct Page {
    positions: [Slot; PAGE],
    /// Positions that are not `NIL`. A page without any is freed.
    used: usize,
}

impl Positions {
    fn get(&self, slot: Slot) -> Option<Slot> {
        let page = self.pages.get(slot as usize / PAGE)?.as_ref()?;
        let at = page.positions[slot as usize % PAGE];
        (at != NIL).then_some(at)
    }

    fn set(&mut self, slot: Slot, at: Slot) {
        let page = slot as usize / PAGE;
        if page >= self.pages.len() {
            self.pages.resize_with(page + 1, || None);
        }
        let page = self.pages[page].get_or_insert_with(|| {
            Box::new(Page {
                positions: [NIL; PAGE],
                used: 0,
            })
        });
        let position = &mut page.positions[slot as usize % PAGE];
        page.used += usize::from(*position == NIL);
        *position = at;
    }

    fn remove(&mut self, slot: Slot) -> Option<Slot> {
        let at = self.get(slot)?;
        let page = self.pages[slot as usize / PAGE].as_mut()?;
        page.positions[slot as usize % PAGE] = NIL;
        page.used -= 1;
        if page.used == 0 {
            self.pages[slot as usize / PAGE] = None;
        }
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_without_deadlines_is_freed() {
        let mut deadlines = Deadlines::new();
        (0..10 * PAGE as Slot).for_each(|slot| deadlines.set(slot, 0));
        (0..9 * PAGE as Slot).for_each(|slot| assert!(deadlines.remove(slot)));
        assert_eq!(deadlines.positions.pages.iter().flatten().count(), 1);
    }

    #[test]
    fn deadlines_match_a_sorted_list() {
        let mut deadlines = Deadlines::new();
        let mut expected = Vec::<(Nanos, Slot)>::new();
        let mut random = 1_u64;
        for step in 0..20_000_u32 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let (slot, deadline) = ((random >> 33) as Slot % 2_000, random >> 60);
            let known = expected.iter().position(|&(_, it)| it == slot);
            match step / 2_000 % 5 {
                0..3 => {
                    deadlines.set(slot, deadline);
                    known.map(|at| expected.swap_remove(at));
                    expected.push((deadline, slot));
                }
                3 => {
                    assert_eq!(deadlines.remove(slot), known.is_some());
                    known.map(|at| expected.swap_remove(at));
                }
                _ => {
                    let to = 2_000 + step;
                    deadlines.relocate(slot, to);
                    if let Some(at) = known {
                        expected[at].1 = to;
                    }
                }
            }
            assert_eq!(deadlines.len(), expected.len());
            let first = expected.iter().map(|&(deadline, _)| deadline).min();
            assert_eq!(deadlines.first().map(|(_, deadline)| deadline), first);
            if step % 100 == 0 {
                deadlines.validate();
                let mut reached = 0;
                deadlines.for_each_reached(7, |slot| {
                    assert!(expected.iter().any(|&(at, it)| it == slot && at <= 7));
                    reached += 1;
                });
                let due = expected.iter().filter(|&&(at, _)| at <= 7).count();
                assert_eq!(reached, due);
            }
        }
    }
}
