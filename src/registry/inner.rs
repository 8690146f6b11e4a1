//! `Inner`: what the handles of a registry share, and what guards hold weakly.
//!
//! Owns the rule that no lock is held while a user's code runs: the table hands out what left, and [`Inner::dismiss`]
//! drops it and tells of it.

use std::hash::{BuildHasher, Hash};
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use super::builder::Limits;
use super::counters::{Counters, contained};
use super::frames;
use super::info::ListenerInfo;
use super::slot::Slot;
use super::table::{Departed, Table};
use crate::clock::Clock;
use crate::hash::DefaultHashBuilder;
use crate::removal::RemovalCause;
use crate::stats::RegistryStats;
use crate::sweep::Swept;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};

/// Listeners that are looked at under one lock.
pub(super) const PIECE: usize = 256;

pub(super) type OnRemoval<T> = Box<dyn Fn(&ListenerInfo<T>, RemovalCause) + Send + Sync>;

pub(super) struct Inner<T, E: 'static> {
    pub(super) table: Mutex<Table<T, E>>,
    pub(super) clock: Clock,
    pub(super) counters: Arc<Counters>,
    pub(super) on_removal: Option<OnRemoval<T>>,
    /// How old listeners can get: the table's limit, for those who do not have the lock.
    pub(super) max_age: Option<Duration>,
    /// How many generations have ended.
    ended: AtomicU64,
    /// The listener with an owner at which the next piece of a sweep begins.
    next_swept: Mutex<u64>,
    hasher: DefaultHashBuilder,
}

impl<T, E: 'static> Inner<T, E> {
    pub(super) fn new(limits: Limits, clock: Clock, on_removal: Option<OnRemoval<T>>) -> Self {
        let counters = Arc::<Counters>::default();
        Self {
            table: Mutex::new(Table::new(limits, Arc::clone(&counters))),
            clock,
            counters,
            on_removal,
            max_age: limits.max_age,
            ended: AtomicU64::new(0),
            next_swept: Mutex::new(0),
            hasher: DefaultHashBuilder::default(),
        }
    }

    /// Names the registry among those of a thread's emits.
    pub(super) fn address(&self) -> usize {
        ptr::from_ref(self).addr()
    }

    /// Differs from what it was once another generation has ended.
    pub(super) fn ended(&self) -> u64 {
        self.ended.load(Ordering::Acquire)
    }

    pub(super) fn hash<Q: ?Sized + Hash>(&self, topic: &Q) -> u64 {
        self.hasher.hash_one(topic)
    }

    /// Drops what left, and tells the callback; the lock must not be held.
    pub(super) fn dismiss(&self, gone: impl IntoIterator<Item = Departed<T, E>>) {
        for departed in gone {
            let told = self
                .on_removal
                .as_ref()
                .map(|tell| (tell, departed.info(self.clock.nanos())));
            let Departed {
                cause,
                topic,
                call,
                slot,
                ..
            } = departed;
            #[cfg(feature = "queue")]
            if let Some(leave) = &slot.traits.on_leaving {
                contained(&self.counters, leave);
            }
            contained(&self.counters, || drop(call));
            slot.left();
            drop(slot);
            contained(&self.counters, || drop(topic));
            if let Some((tell, info)) = told {
                contained(&self.counters, move || tell(&info, cause));
            }
        }
    }

    /// Takes out, and drops, what `take` finds in pieces, until that is all; how many there were.
    pub(super) fn take_all(
        &self,
        mut take: impl FnMut(&mut Table<T, E>, &mut Vec<Departed<T, E>>) -> bool,
    ) -> usize {
        let mut taken = 0;
        loop {
            let mut gone = Vec::new();
            let all = take(&mut self.table.lock(), &mut gone);
            taken += gone.len();
            self.dismiss(gone);
            if all {
                return taken;
            }
        }
    }

    /// Detaches all listeners that there are now; how many there were. Those that a callback registers meanwhile stay.
    pub(super) fn clear(&self) -> usize {
        let now = self.clock.nanos();
        let before = self.table.lock().next();
        self.take_all(|table, gone| table.clear(now, before, PIECE, gone))
    }

    pub(super) fn stats(&self) -> RegistryStats {
        let now = self.clock.nanos();
        self.table.lock().stats(now)
    }

    pub(super) fn sweep_some(&self, budget: usize) -> Swept {
        let now = self.clock.nanos();
        let mut left = budget;
        let mut more = true;
        if budget == usize::MAX {
            // All of them: from the beginning, wherever the pieces of others have come to.
            *self.next_swept.lock() = 0;
        }
        let freed = self.take_all(|table, gone| {
            let piece = left.min(PIECE);
            left -= piece;
            let expired = table.expire(now, piece, gone);
            let mut cursor = self.next_swept.lock();
            let next = table.bury(*cursor, piece, gone);
            *cursor = next.unwrap_or(0);
            more = !expired || next.is_some();
            !more || left == 0
        });
        Swept { freed, more }
    }
}

/// What guards and scopes do to a registry, whatever its topics and events are.
pub(super) trait Control: Send + Sync {
    fn detach(&self, listener: u64) -> bool;
    fn pause(&self, listener: u64, paused: bool) -> bool;
    /// Whether an emit on this thread keeps this listener's handler from being dropped.
    fn holds_here(&self, slot: &Slot) -> bool;
    fn open(&self, generation: u64);
    fn close(&self, generation: u64);
    fn detach_all(&self, generation: u64) -> usize;
}

impl<T: Send + Sync, E: 'static> Control for Inner<T, E> {
    fn detach(&self, listener: u64) -> bool {
        let now = self.clock.nanos();
        let gone = self
            .table
            .lock()
            .remove_at(now, listener, RemovalCause::Removed);
        let was_there = gone.is_some();
        self.dismiss(gone);
        was_there
    }

    fn pause(&self, listener: u64, paused: bool) -> bool {
        self.table.lock().pause(listener, paused)
    }

    fn holds_here(&self, slot: &Slot) -> bool {
        frames::holds(self.address(), slot.topic(), slot.number())
    }

    fn open(&self, generation: u64) {
        self.table.lock().open(generation);
    }

    fn close(&self, generation: u64) {
        let now = self.clock.nanos();
        self.take_all(|table, gone| {
            table.close(now, generation, gone);
            self.ended.fetch_add(1, Ordering::Release);
            true
        });
    }

    fn detach_all(&self, generation: u64) -> usize {
        let now = self.clock.nanos();
        self.take_all(|table, gone| {
            table.detach_all(now, generation, gone);
            true
        })
    }
}

impl<T, E: 'static> Drop for Inner<T, E> {
    fn drop(&mut self) {
        self.clear();
    }
}
