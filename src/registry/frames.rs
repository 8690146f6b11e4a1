//! What this thread is inside of: a frame for each emit that has begun on it and not ended.
//!
//! Owns the limit on nested emits, across registries, and the knowledge of which handlers this very thread keeps from
//! being dropped, for which it would thus wait in vain.

use std::cell::Cell;
use std::ptr;

/// Emits that may be nested on a thread.
pub(super) const MAX_DEPTH: usize = 32;

struct Stack {
    depth: Cell<usize>,
    frames: [Frame; MAX_DEPTH],
}

struct Frame {
    /// The address of the registry.
    registry: Cell<usize>,
    topic: Cell<u64>,
    /// The listener that runs, where one at a time is held.
    running: Cell<Option<u64>>,
    /// Where a list is pinned: its listeners have lower numbers than this.
    pinned_below: Cell<u64>,
}

impl Frame {
    const fn new() -> Self {
        Self {
            registry: Cell::new(0),
            topic: Cell::new(0),
            running: Cell::new(None),
            pinned_below: Cell::new(0),
        }
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

/// Names this thread, among those that there are; never zero.
pub(super) fn thread() -> usize {
    STACK.with(|stack| ptr::from_ref(stack).addr())
}

/// An emit that has begun; it ends when this is dropped.
pub(super) struct Entered {
    at: usize,
}

/// Begins an emit of the registry at this address, unless too many are nested.
#[inline]
pub(super) fn enter(registry: usize) -> Option<Entered> {
    STACK.with(|stack| {
        let at = stack.depth.get();
        let frame = stack.frames.get(at)?;
        frame.registry.set(registry);
        frame.running.set(None);
        frame.pinned_below.set(0);
        stack.depth.set(at + 1);
        Some(Entered { at })
    })
}

impl Entered {
    #[inline]
    fn frame(&self, set: impl FnOnce(&Frame)) {
        STACK.with(|stack| set(&stack.frames[self.at]));
    }

    #[inline]
    pub(super) fn run(&self, listener: Option<u64>) {
        self.frame(|frame| frame.running.set(listener));
    }

    /// A list of this topic is pinned, with listeners below this number; below zero, none is.
    #[inline]
    pub(super) fn pin(&self, topic: u64, below: u64) {
        self.frame(|frame| {
            frame.topic.set(topic);
            frame.pinned_below.set(below);
        });
    }
}

impl Drop for Entered {
    #[inline]
    fn drop(&mut self) {
        STACK.with(|stack| stack.depth.set(self.at));
    }
}

/// Whether an emit on this thread holds the handler of this listener, in that it runs it or may.
pub(super) fn holds(registry: usize, topic: u64, listener: u64) -> bool {
    STACK.with(|stack| {
        stack.frames[..stack.depth.get()]
            .iter()
            .filter(|frame| frame.registry.get() == registry)
            .any(|frame| {
                let pinned = frame.topic.get() == topic && listener < frame.pinned_below.get();
                pinned || frame.running.get() == Some(listener)
            })
    })
}
