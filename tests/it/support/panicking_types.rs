//! User types that count themselves, or panic.

use std::cell::Cell;
use std::hash::{Hash, Hasher};
use std::rc::Rc;

/// Counts the live instances.
pub struct Counted(Rc<Cell<isize>>);

impl Counted {
    pub fn new(alive: &Rc<Cell<isize>>) -> Self {
        alive.set(alive.get() + 1);
        Self(Rc::clone(alive))
    }
}

impl Clone for Counted {
    fn clone(&self) -> Self {
        Self::new(&self.0)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
        assert!(self.0.get() >= 0, "dropped twice");
    }
}

thread_local! {
    /// The number of calls of user code before one panics.
    pub static FUSE: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// Panics if the fuse has burnt down. User code calls it wherever it may panic.
pub fn burn() {
    let left = FUSE.get();
    FUSE.set(left.wrapping_sub(1));
    assert!(left != 0, "user code panics");
}

/// A key or value that panics in every trait once the fuse has burnt down.
#[derive(Debug)]
pub struct Fused(pub u64);

impl Hash for Fused {
    fn hash<H: Hasher>(&self, state: &mut H) {
        burn();
        self.0.hash(state);
    }
}

impl PartialEq for Fused {
    fn eq(&self, other: &Self) -> bool {
        burn();
        self.0 == other.0
    }
}

impl Eq for Fused {}

impl Clone for Fused {
    fn clone(&self) -> Self {
        burn();
        Self(self.0)
    }
}

impl Drop for Fused {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            burn();
        }
    }
}
