//! Counts steps of work, for unit tests that hold a bound on work without measuring time.
//!
//! Outside of unit tests, counting compiles to nothing.

#[cfg(test)]
use std::cell::Cell;
use std::cmp::Ordering;

#[cfg(test)]
thread_local! {
    static STEPS: Cell<u64> = const { Cell::new(0) };
    static LARGEST_PIECE: Cell<u64> = const { Cell::new(0) };
}

/// Counts this many steps of the current thread.
#[inline]
pub(crate) fn count(steps: usize) {
    #[cfg(test)]
    STEPS.with(|total| total.set(total.get() + steps as u64));
    #[cfg(not(test))]
    let _ = steps;
}

/// Returns the number of steps that this thread takes in `work`.
#[cfg(test)]
pub(crate) fn during(work: impl FnOnce()) -> u64 {
    let before = STEPS.get();
    work();
    STEPS.get() - before
}

/// Does one piece of work, and remembers the largest number of steps of a piece.
#[inline]
pub(crate) fn piece<R>(work: impl FnOnce() -> R) -> R {
    #[cfg(not(test))]
    return work();
    #[cfg(test)]
    {
        let before = STEPS.get();
        let result = work();
        LARGEST_PIECE.set(LARGEST_PIECE.get().max(STEPS.get() - before));
        result
    }
}

/// Returns the largest number of steps of a piece that this thread does in `work`.
#[cfg(test)]
pub(crate) fn largest_piece_during(work: impl FnOnce()) -> u64 {
    LARGEST_PIECE.set(0);
    work();
    LARGEST_PIECE.get()
}

/// A value each of whose comparisons counts as a step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counted<T>(pub(crate) T);

impl<T: Ord> PartialEq for Counted<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<T: Ord> Eq for Counted<T> {}

impl<T: Ord> PartialOrd for Counted<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T: Ord> Ord for Counted<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        count(1);
        self.0.cmp(&other.0)
    }
}
