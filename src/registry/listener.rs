//! The state of one listener, apart from its handler.
//!
//! The holder of a handler holds its [`Listener`] too, and releases the listener last. So when a
//! listener is dropped, its handler is not running and the handler's captures have been dropped.
//! `detach_and_wait` waits for that moment.

use std::cmp::Reverse;
use std::fmt;
use std::panic::Location;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::emit_stack::{self, HandlerRef};
use super::scope::Generation;
use crate::clock::{Clock, Nanos, nanos};
use crate::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use crate::sync::{Condvar, Mutex};

/// Identifies a listener of a registry. Ids ascend in order of registration and are never used
/// twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenerId(pub(super) u64);

impl fmt::Display for ListenerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The position in call order: descending priority, then ascending registration number.
pub(super) type CallOrder = (Reverse<i32>, u64);

const LIVE: u8 = 0;
const PAUSED: u8 = 1;
const DETACHED: u8 = 2;

/// A deadline that never passes.
pub(super) const NEVER: Nanos = Nanos::MAX;

/// The options of a registration that stay with the listener.
#[derive(Default)]
pub(super) struct ListenerOptions {
    pub(super) priority: i32,
    pub(super) key: Option<Arc<str>>,
    pub(super) label: Option<Arc<str>>,
    pub(super) generation: Option<Generation>,
    pub(super) ttl: Option<Duration>,
    /// Runs after the listener was detached, without a lock.
    #[cfg(feature = "queue")]
    pub(super) on_detach: Option<Box<dyn Fn() + Send + Sync>>,
}

/// The state of one listener.
pub(super) struct Listener {
    // `number` and `topic` are set under the registry's lock before any other thread sees the
    // listener.
    number: AtomicU64,
    topic: AtomicU64,
    state: AtomicU8,
    /// Is `true` if the call that ended last has failed.
    failing: AtomicBool,
    /// Is `true` if the consumer of the listener's queue reports results, so that a call which
    /// fills the queue says nothing about them.
    reports_later: AtomicBool,
    /// The table's sequence number at the removal; `u64::MAX` before it.
    detached_at: AtomicU64,
    /// The thread that removed the listener and has yet to drop the handler; 0 before and after.
    dropping_thread: AtomicUsize,
    /// Calls in addition to those that the topic's pin count implies. May wrap below zero.
    extra_calls: AtomicU64,
    /// The topic's pin count when the listener was registered.
    pins_before: AtomicU64,
    pub(super) options: ListenerOptions,
    pub(super) location: &'static Location<'static>,
    pub(super) registered: Nanos,
    pub(super) deadline: Nanos,
    dropped: OnceLock<Arc<Signal>>,
}

impl Listener {
    pub(super) fn new(
        options: ListenerOptions,
        location: &'static Location<'static>,
        now: Nanos,
    ) -> Self {
        let deadline = options
            .ttl
            .map_or(NEVER, |ttl| now.saturating_add(nanos(ttl)));
        Self {
            number: AtomicU64::new(0),
            topic: AtomicU64::new(0),
            state: AtomicU8::new(DETACHED),
            failing: AtomicBool::new(false),
            reports_later: AtomicBool::new(false),
            detached_at: AtomicU64::new(u64::MAX),
            dropping_thread: AtomicUsize::new(0),
            extra_calls: AtomicU64::new(0),
            pins_before: AtomicU64::new(0),
            options,
            location,
            registered: now,
            deadline,
            dropped: OnceLock::new(),
        }
    }

    /// Makes the listener live. The caller holds the registry's lock.
    pub(super) fn attach(&self, number: u64, topic: u64, pins: u64) {
        self.number.store(number, Ordering::Relaxed);
        self.topic.store(topic, Ordering::Relaxed);
        self.pins_before.store(pins, Ordering::Relaxed);
        // Release, paired with the Acquire loads of `state`: a thread that sees a live listener
        // sees its number.
        self.state.store(LIVE, Ordering::Release);
    }

    /// Marks the listener as detached by this thread, at this sequence number. The caller holds the
    /// registry's lock.
    ///
    /// This thread then drops the handler, unless an emit still holds it, and calls
    /// [`finish_detach`](Self::finish_detach).
    pub(super) fn detach(&self, sequence: u64) {
        self.dropping_thread
            .store(emit_stack::current_thread(), Ordering::Relaxed);
        self.detached_at.store(sequence, Ordering::Relaxed);
        self.state.store(DETACHED, Ordering::Release);
    }

    pub(super) fn finish_detach(&self) {
        self.dropping_thread.store(0, Ordering::Relaxed);
    }

    /// Returns the thread that has detached the listener and has yet to drop the handler, or 0.
    pub(super) fn dropping_thread(&self) -> usize {
        // Relaxed, and not loom's: a thread reads its own address only if it has stored that
        // address itself. It reads the address of a thread that waits only after that thread has
        // registered itself under a lock, which it does before the drop ends.
        self.dropping_thread.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn number(&self) -> u64 {
        self.number.load(Ordering::Relaxed)
    }

    /// Identifies the handler to the emits of the registry at this address.
    pub(super) fn handler_ref(&self, registry: usize) -> HandlerRef {
        HandlerRef {
            registry,
            topic: self.topic.load(Ordering::Relaxed),
            number: self.number(),
            detached_at: self.detached_at.load(Ordering::Relaxed),
        }
    }

    pub(super) fn call_order(&self) -> CallOrder {
        (Reverse(self.options.priority), self.number())
    }

    pub(super) fn has_deadline(&self) -> bool {
        self.deadline != NEVER
    }

    pub(super) fn is_expired(&self, now: Nanos) -> bool {
        self.deadline <= now
    }

    /// Returns `true` if an emit for this generation reaches the listener.
    pub(super) fn belongs_to(&self, generation: &Generation) -> bool {
        self.options
            .generation
            .as_ref()
            .is_none_or(|own| own == generation)
    }

    /// Stores if the last call has failed. The caller holds the registry's lock.
    pub(super) fn set_failing(&self, failing: bool) {
        self.failing.store(failing, Ordering::Release);
    }

    /// Returns `true` if the call that ended last has failed, so that a success must be recorded.
    pub(super) fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Acquire) && !self.reports_later()
    }

    /// Notes that results are reported after the calls. The caller holds the registry's lock.
    #[cfg(feature = "queue")]
    pub(super) fn set_reports_later(&self) {
        self.reports_later.store(true, Ordering::Release);
    }

    pub(super) fn reports_later(&self) -> bool {
        self.reports_later.load(Ordering::Acquire)
    }

    /// Pauses or resumes an attached listener. The caller holds the registry's lock, so a detached
    /// one stays detached.
    pub(super) fn set_paused(&self, paused: bool) {
        let state = if paused { PAUSED } else { LIVE };
        self.state.store(state, Ordering::Release);
    }

    pub(super) fn is_attached(&self) -> bool {
        self.state.load(Ordering::Acquire) != DETACHED
    }

    pub(super) fn is_paused(&self) -> bool {
        self.state.load(Ordering::Acquire) == PAUSED
    }

    pub(super) fn is_live(&self) -> bool {
        self.state.load(Ordering::Acquire) == LIVE
    }

    // The call counters are Relaxed: they order nothing.

    pub(super) fn count_call(&self) {
        self.extra_calls.fetch_add(1, Ordering::Relaxed);
    }

    /// Reverts a call that a pin of the list has counted.
    pub(super) fn uncount_call(&self) {
        self.extra_calls.fetch_sub(1, Ordering::Relaxed);
    }

    /// Returns the number of calls, if the listener's topic has been pinned `pins` times.
    pub(super) fn calls(&self, pins: u64) -> u64 {
        let since_registered = pins - self.pins_before.load(Ordering::Relaxed);
        self.extra_calls
            .load(Ordering::Relaxed)
            .wrapping_add(since_registered)
    }

    /// Returns a signal that is set when the listener is dropped.
    pub(super) fn dropped_signal(&self) -> Arc<Signal> {
        Arc::clone(self.dropped.get_or_init(Arc::default))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(signal) = self.dropped.get() {
            signal.set();
        }
    }
}

/// An event that happens once, and for which threads wait.
#[derive(Default)]
pub(super) struct Signal {
    is_set: Mutex<bool>,
    changed: Condvar,
}

impl Signal {
    fn set(&self) {
        *self.is_set.lock() = true;
        self.changed.notify_all();
    }

    /// Waits in real time. Returns `false` if the signal was not set within `timeout`.
    pub(super) fn wait(&self, timeout: Duration) -> bool {
        let clock = Clock::precise();
        let mut is_set = self.is_set.lock();
        while !*is_set {
            let remaining = timeout.saturating_sub(clock.now());
            if remaining.is_zero() || self.changed.wait_for(&mut is_set, remaining).timed_out() {
                return *is_set;
            }
        }
        true
    }
}
