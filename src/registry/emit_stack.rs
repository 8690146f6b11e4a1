//! The emits in progress on this thread, one frame each.
//!
//! Owns the limit on nested emits, which counts across registries. Also knows which handlers the
//! emits of a thread keep from being dropped: see [`wait_for`](super::wait_for).

use std::cell::Cell;
use std::ptr;

/// The largest number of nested emits on a thread.
pub(super) const MAX_DEPTH: usize = 32;

struct Stack {
    depth: Cell<usize>,
    frames: [Frame; MAX_DEPTH],
}

struct Frame {
    /// The address of the registry.
    registry: Cell<usize>,
    /// The listener that runs outside of a pinned list.
    running: Cell<Option<u64>>,
    /// The topic whose list is pinned.
    topic: Cell<u64>,
    /// The table's sequence number when the list was pinned; 0 while no list is pinned.
    pinned_at: Cell<u64>,
}

impl Frame {
    const fn new() -> Self {
        Self {
            registry: Cell::new(0),
            running: Cell::new(None),
            topic: Cell::new(0),
            pinned_at: Cell::new(0),
        }
    }

    fn hold(&self) -> Hold {
        Hold {
            registry: self.registry.get(),
            running: self.running.get(),
            topic: self.topic.get(),
            pinned_at: self.pinned_at.get(),
        }
    }
}

/// The handlers that a frame holds.
#[derive(Clone, Copy)]
pub(super) struct Hold {
    registry: usize,
    running: Option<u64>,
    topic: u64,
    pinned_at: u64,
}

impl Hold {
    pub(super) fn contains(&self, handler: HandlerRef) -> bool {
        // A pinned list contains the listeners that were registered before the pin and not removed
        // before it.
        let is_in_pinned_list = self.topic == handler.topic
            && handler.number < self.pinned_at
            && self.pinned_at <= handler.detached_at;
        self.registry == handler.registry
            && (is_in_pinned_list || self.running == Some(handler.number))
    }
}

impl Stack {
    const fn new() -> Self {
        Self {
            depth: Cell::new(0),
            frames: [const { Frame::new() }; MAX_DEPTH],
        }
    }
}

#[cfg(not(loom))]
thread_local! {
    static STACK: Stack = const { Stack::new() };
}

#[cfg(loom)]
loom::thread_local! {
    static STACK: Stack = Stack::new();
}

/// Returns a number that identifies this thread among the running ones. Never 0.
pub(super) fn current_thread() -> usize {
    STACK.with(|stack| ptr::from_ref(stack).addr())
}

/// An emit in progress on this thread, until it is dropped.
pub(super) struct EmitFrame {
    at: usize,
}

/// Begins an emit of the registry at this address. Returns `None` if too many emits are nested.
#[inline]
pub(super) fn enter(registry: usize) -> Option<EmitFrame> {
    STACK.with(|stack| {
        let at = stack.depth.get();
        let frame = stack.frames.get(at)?;
        frame.registry.set(registry);
        frame.running.set(None);
        frame.pinned_at.set(0);
        stack.depth.set(at + 1);
        Some(EmitFrame { at })
    })
}

impl EmitFrame {
    #[inline]
    fn with(&self, set: impl FnOnce(&Frame)) {
        STACK.with(|stack| set(&stack.frames[self.at]));
    }

    /// Notes that the list of this topic is pinned since this sequence number.
    #[inline]
    pub(super) fn set_pinned(&self, topic: u64, sequence: u64) {
        self.with(|frame| {
            frame.topic.set(topic);
            frame.pinned_at.set(sequence);
        });
    }

    /// Returns the topic whose list is pinned, and the sequence number of the pin.
    pub(super) fn pinned(&self) -> (u64, u64) {
        STACK.with(|stack| {
            let frame = &stack.frames[self.at];
            (frame.topic.get(), frame.pinned_at.get())
        })
    }

    /// Notes that no list is pinned.
    pub(super) fn set_unpinned(&self) {
        self.with(|frame| frame.pinned_at.set(0));
    }

    /// Notes which listener runs outside of a pinned list.
    pub(super) fn set_running(&self, listener: Option<u64>) {
        self.with(|frame| frame.running.set(listener));
    }
}

impl Drop for EmitFrame {
    #[inline]
    fn drop(&mut self) {
        STACK.with(|stack| stack.depth.set(self.at));
    }
}

/// Returns what the emits in progress on this thread hold.
pub(super) fn holds() -> Vec<Hold> {
    STACK.with(|stack| {
        let frames = &stack.frames[..stack.depth.get()];
        frames.iter().map(Frame::hold).collect()
    })
}

/// Identifies a handler to the frames that may hold it.
#[derive(Clone, Copy)]
pub(super) struct HandlerRef {
    pub(super) registry: usize,
    pub(super) topic: u64,
    pub(super) number: u64,
    /// The table's sequence number at the removal; `u64::MAX` before it.
    pub(super) detached_at: u64,
}
