//! The state that the handles of a registry share: the table behind its lock, clock and callback.
//!
//! Owns the rule that no lock is held while user code runs: the table returns the listeners that it
//! removed, and [`Inner::finish_removals`] drops them and calls the removal callback.

use std::hash::{BuildHasher, Hash};
use std::ptr;
use std::sync::Arc;

use super::breaker::Transition;
use super::counters::{Counters, contain};
use super::handle::RegistryHandle;
use super::info::ListenerInfo;
use super::table::{Limits, Recorded, RemovedListener, Table};
use crate::clock::Clock;
use crate::events::{self, BreakerState};
use crate::hash::DefaultHashBuilder;
use crate::removal::RemovalCause;
use crate::stats::{RegistryStats, Usage};
use crate::sweep::{Sweep, Swept};
use crate::sync::Mutex;

/// Listeners that one piece of a long operation handles under the lock.
pub(super) const PIECE: usize = 256;

pub(super) type OnRemoval<T> = Box<dyn Fn(&ListenerInfo<T>, RemovalCause) + Send + Sync>;

/// The state that the handles of a registry share.
pub(super) struct Inner<T, E: 'static> {
    pub(super) table: Mutex<Table<T, E>>,
    pub(super) clock: Clock,
    pub(super) limits: Limits,
    pub(super) counters: Arc<Counters>,
    on_removal: Option<OnRemoval<T>>,
    /// The owned listener that the next piece of a background sweep checks first.
    next_swept: Mutex<u64>,
    hasher: DefaultHashBuilder,
}

impl<T, E: 'static> Inner<T, E> {
    pub(super) fn new(limits: Limits, clock: Clock, on_removal: Option<OnRemoval<T>>) -> Self {
        let counters = Arc::<Counters>::default();
        Self {
            table: Mutex::new(Table::new(limits, Arc::clone(&counters))),
            clock,
            limits,
            counters,
            on_removal,
            next_swept: Mutex::new(0),
            hasher: DefaultHashBuilder::default(),
        }
    }

    /// Returns the address that identifies the registry.
    pub(super) fn address(&self) -> usize {
        ptr::from_ref(self).addr()
    }

    pub(super) fn hash<Q: ?Sized + Hash>(&self, topic: &Q) -> u64 {
        self.hasher.hash_one(topic)
    }

    /// Drops removed listeners and calls the removal callback for each. The caller does not hold
    /// the lock.
    pub(super) fn finish_removals(&self, removed: impl IntoIterator<Item = RemovedListener<T, E>>) {
        for removed in removed {
            let notification = self
                .on_removal
                .as_ref()
                .map(|callback| (callback, removed.info(self.clock.nanos())));
            let RemovedListener {
                cause,
                topic,
                handler,
                listener,
                ..
            } = removed;
            #[cfg(feature = "queue")]
            if let Some(on_detach) = &listener.options.on_detach {
                contain(&self.counters, on_detach);
            }
            contain(&self.counters, || drop(handler));
            listener.finish_detach();
            drop(listener);
            contain(&self.counters, || drop(topic));
            if let Some((callback, info)) = notification {
                contain(&self.counters, move || callback(&info, cause));
            }
        }
    }

    /// Records that a call failed or succeeded; `None` if its result is not known. Reports a change
    /// of the listener's circuit breaker.
    pub(super) fn record(&self, listener: u64, is_probe: bool, failed: Option<bool>) {
        let now = self.clock.nanos();
        let recorded = self.table.lock().record(listener, is_probe, failed, now);
        self.finish_record(recorded);
    }

    fn finish_record(&self, recorded: Option<Recorded<T, E>>) {
        let Some(recorded) = recorded else {
            return;
        };
        let (failures, listener) = (recorded.failures, &recorded.listener);
        let state = match recorded.transition {
            Transition::None => None,
            Transition::Opened => Some(BreakerState::Open { failures }),
            Transition::Closed => Some(BreakerState::Closed),
            Transition::Detach => Some(BreakerState::Detached { failures }),
        };
        if let Some(state) = state {
            let (label, key) = (&listener.options.label, &listener.options.key);
            contain(&self.counters, || {
                events::breaker_turned(
                    state,
                    listener.number(),
                    label.as_deref(),
                    key.as_deref(),
                    listener.location,
                );
            });
        }
        self.finish_removals(recorded.removed);
    }

    /// Removes listeners in pieces, one lock each, until `remove` returns `true`. Then drops them
    /// in order of registration, and returns their number.
    ///
    /// Nothing is dropped before the last piece: user code finds none or all of the listeners
    /// attached.
    fn remove_in_pieces(
        &self,
        mut remove: impl FnMut(&mut Table<T, E>, &mut Vec<RemovedListener<T, E>>) -> bool,
    ) -> usize {
        let mut removed = Vec::new();
        while !remove(&mut self.table.lock(), &mut removed) {}
        removed.sort_unstable_by_key(|removed| removed.listener.number());
        let count = removed.len();
        self.finish_removals(removed);
        count
    }

    pub(super) fn clear(&self) -> usize {
        let now = self.clock.nanos();
        // A bound, so that `clear` ends even if callbacks register listeners.
        let before = self.table.lock().next();
        self.remove_in_pieces(|table, removed| table.remove_before(before, PIECE, now, removed))
    }

    pub(super) fn stats(&self) -> RegistryStats {
        let now = self.clock.nanos();
        self.table.lock().stats(now)
    }

    pub(super) fn sweep_pieces(&self, budget: usize) -> Swept {
        let now = self.clock.nanos();
        // A full sweep begins at the first listener. Pieces of a background sweep continue where
        // the last one stopped.
        let mut from = if budget == usize::MAX {
            0
        } else {
            *self.next_swept.lock()
        };
        let (mut freed, mut remaining) = (0, budget);
        loop {
            let piece = remaining.min(PIECE);
            remaining -= piece;
            let mut removed = Vec::new();
            let (no_expired, next) = {
                let mut table = self.table.lock();
                let no_expired = table.remove_expired(now, piece, &mut removed);
                (
                    no_expired,
                    table.remove_orphans(from, piece, now, &mut removed),
                )
            };
            from = next.unwrap_or(0);
            freed += removed.len();
            self.finish_removals(removed);
            let more = !no_expired || next.is_some();
            if !more || remaining == 0 {
                *self.next_swept.lock() = from;
                return Swept { freed, more };
            }
        }
    }
}

impl<T: Send + Sync, E: 'static> RegistryHandle for Inner<T, E> {
    fn detach(&self, listener: u64) -> bool {
        let now = self.clock.nanos();
        let removed = self
            .table
            .lock()
            .remove_or_expire(listener, RemovalCause::Removed, now);
        let was_attached = removed.is_some();
        self.finish_removals(removed);
        was_attached
    }

    fn set_paused(&self, listener: u64, paused: bool) -> bool {
        self.table.lock().set_paused(listener, paused)
    }

    #[cfg(feature = "queue")]
    fn report(&self, listener: u64, failed: bool) {
        self.counters.count_emit(usize::from(failed), 0, 0);
        let now = self.clock.nanos();
        let recorded = self.table.lock().report(listener, failed, now);
        self.finish_record(recorded);
    }

    fn detach_members(&self, generation: u64) -> usize {
        let now = self.clock.nanos();
        let before = self.table.lock().next();
        self.remove_in_pieces(|table, removed| {
            table.remove_members(generation, before, PIECE, now, removed)
        })
    }
}

impl<T, E: 'static> Drop for Inner<T, E> {
    fn drop(&mut self) {
        self.clear();
    }
}

impl<T: Send + Sync + 'static, E: 'static> Sweep for Inner<T, E> {
    fn sweep_some(&self, budget: usize) -> Swept {
        self.sweep_pieces(budget)
    }

    fn usage(&self) -> Usage {
        self.stats().usage()
    }
}
