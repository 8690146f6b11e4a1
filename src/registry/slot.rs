//! `Slot`: what is known of one listener, its handler aside.
//!
//! Everybody who holds a handler holds its slot too, and lets go of the slot last. So when a slot is dropped, its handler
//! is not running, and what that captured has been dropped: that is what `detach_and_wait` waits for.

use std::cmp::Reverse;
use std::fmt;
use std::panic::Location;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::frames;
use crate::clock::{Clock, Nanos, nanos};
use crate::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use crate::sync::{Condvar, Mutex};

/// Names a listener of a registry; never used again, in order of registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenerId(pub(super) u64);

impl fmt::Display for ListenerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A place in the order of calls: priority, the highest first, then registration.
pub(super) type Key = (Reverse<i32>, u64);

const LIVE: u8 = 0;
const PAUSED: u8 = 1;
const DETACHED: u8 = 2;

/// A deadline that never comes.
pub(super) const NEVER: Nanos = Nanos::MAX;

/// What a listener was registered with.
#[derive(Default)]
pub(super) struct Traits {
    pub(super) priority: i32,
    pub(super) key: Option<Arc<str>>,
    pub(super) label: Option<Arc<str>>,
    pub(super) generation: Option<u64>,
    pub(super) max_age: Option<Duration>,
    /// What is to be done when it has left, with no lock held.
    #[cfg(feature = "queue")]
    pub(super) on_leaving: Option<Box<dyn Fn() + Send + Sync>>,
}

pub(super) struct Slot {
    /// Given under the registry's lock, before anybody else sees the slot.
    number: AtomicU64,
    topic: AtomicU64,
    state: AtomicU8,
    /// Whether its last call failed.
    failing: AtomicU8,
    /// The thread that is about to drop what it captured, since it has left; zero before and after.
    dropped_by: AtomicUsize,
    /// Calls that were counted one by one, less those that a pass was to make and did not: it may wrap below zero.
    counted: AtomicU64,
    /// The topic's count of passes when this came in.
    base: AtomicU64,
    pub(super) traits: Traits,
    pub(super) location: &'static Location<'static>,
    pub(super) registered: Nanos,
    pub(super) deadline: Nanos,
    waited_for: OnceLock<Arc<Signal>>,
}

impl Slot {
    pub(super) fn new(traits: Traits, location: &'static Location<'static>, now: Nanos) -> Self {
        let deadline = traits
            .max_age
            .map_or(NEVER, |age| now.saturating_add(nanos(age)));
        Self {
            number: AtomicU64::new(0),
            topic: AtomicU64::new(0),
            state: AtomicU8::new(DETACHED),
            failing: AtomicU8::new(0),
            dropped_by: AtomicUsize::new(0),
            counted: AtomicU64::new(0),
            base: AtomicU64::new(0),
            traits,
            location,
            registered: now,
            deadline,
            waited_for: OnceLock::new(),
        }
    }

    pub(super) fn attach(&self, number: u64, topic: u64) {
        self.number.store(number, Ordering::Relaxed);
        self.topic.store(topic, Ordering::Relaxed);
        self.state.store(LIVE, Ordering::Release);
    }

    #[inline]
    pub(super) fn number(&self) -> u64 {
        self.number.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn topic(&self) -> u64 {
        self.topic.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn key(&self) -> Key {
        (Reverse(self.traits.priority), self.number())
    }

    /// It has left. Who says so is going to drop what it captured, unless an emit holds that, and then calls
    /// [`left`](Self::left).
    pub(super) fn detach(&self) {
        self.dropped_by.store(frames::thread(), Ordering::Relaxed);
        self.state.store(DETACHED, Ordering::Release);
    }

    pub(super) fn left(&self) {
        self.dropped_by.store(0, Ordering::Relaxed);
    }

    /// Whether this very thread is about to drop what it captured, so that it would wait for itself.
    ///
    /// Relaxed, and not of the shim: a thread finds itself named only where it has done that itself.
    pub(super) fn is_dropped_here(&self) -> bool {
        self.dropped_by.load(Ordering::Relaxed) == frames::thread()
    }

    /// Under the registry's lock.
    pub(super) fn note_failing(&self, failing: bool) {
        self.failing.store(failing.into(), Ordering::Release);
    }

    /// Whether the call that ended last had failed, so that a success is to be told of.
    #[inline]
    pub(super) fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Acquire) != 0
    }

    /// Under the registry's lock, so that it cannot bring back a detached one.
    pub(super) fn pause(&self, paused: bool) {
        self.state
            .store(if paused { PAUSED } else { LIVE }, Ordering::Release);
    }

    #[inline]
    pub(super) fn is_attached(&self) -> bool {
        self.state.load(Ordering::Acquire) != DETACHED
    }

    #[inline]
    pub(super) fn is_paused(&self) -> bool {
        self.state.load(Ordering::Acquire) == PAUSED
    }

    /// Whether it is to be called.
    #[inline]
    pub(super) fn is_live(&self) -> bool {
        self.state.load(Ordering::Acquire) == LIVE
    }

    #[inline]
    pub(super) fn is_for(&self, generation: u64) -> bool {
        self.traits.generation.is_none_or(|own| own == generation)
    }

    #[inline]
    pub(super) fn count_call(&self) {
        self.counted.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes back a call that was counted with a pass.
    #[inline]
    pub(super) fn uncount_call(&self) {
        self.counted.fetch_sub(1, Ordering::Relaxed);
    }

    /// The topic's passes from now on count for it.
    pub(super) fn enter(&self, passes: u64) {
        self.base.store(passes, Ordering::Relaxed);
    }

    pub(super) fn calls(&self, passes: u64) -> u64 {
        let passed = passes - self.base.load(Ordering::Relaxed);
        self.counted.load(Ordering::Relaxed).wrapping_add(passed)
    }

    /// What will be given when this slot is dropped.
    pub(super) fn signal(&self) -> Arc<Signal> {
        Arc::clone(self.waited_for.get_or_init(Arc::default))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(signal) = self.waited_for.get() {
            signal.give();
        }
    }
}

/// Given once, and waited for.
#[derive(Default)]
pub(super) struct Signal {
    given: Mutex<bool>,
    changed: Condvar,
}

impl Signal {
    fn give(&self) {
        *self.given.lock() = true;
        self.changed.notify_all();
    }

    /// Waits in real time; whether the signal came.
    pub(super) fn wait(&self, timeout: Duration) -> bool {
        let clock = Clock::precise();
        let mut given = self.given.lock();
        while !*given {
            let left = timeout.saturating_sub(clock.now());
            if left.is_zero() || self.changed.wait_for(&mut given, left).timed_out() {
                return *given;
            }
        }
        true
    }
}
