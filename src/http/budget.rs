//! The bound on the bytes of all responses that a layer stores.
//!
//! The map bounds the number of its records and the bytes of their keys, not the bytes of their
//! values. A record is charged when it is stored, and gives its bytes back when its last handle is
//! dropped: after it has expired, or was evicted or removed, and no replay reads it any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The bytes that are stored at present, and their bound.
#[derive(Debug)]
pub(super) struct Budget {
    used: AtomicUsize,
    max: usize,
}

/// Bytes of a budget. Dropping it gives them back.
#[derive(Debug)]
pub(super) struct Charge {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Budget {
    pub(super) fn new(max: usize) -> Arc<Self> {
        let used = AtomicUsize::new(0);
        Arc::new(Self { used, max })
    }

    /// Returns the bytes that are charged at present.
    pub(super) fn used(&self) -> usize {
        // Relaxed, here and below: the counter guards no data.
        self.used.load(Ordering::Relaxed)
    }

    /// Charges `bytes`, unless the sum would exceed the bound.
    pub(super) fn charge(self: &Arc<Self>, bytes: usize) -> Option<Charge> {
        let add = |used: usize| used.checked_add(bytes).filter(|&sum| sum <= self.max);
        let order = Ordering::Relaxed;
        self.used.fetch_update(order, order, add).ok()?;
        let budget = Arc::clone(self);
        Some(Charge { budget, bytes })
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sum_of_charges_never_exceeds_the_bound() {
        let budget = Budget::new(10);
        let first = budget.charge(6).expect("there is room");
        assert!(budget.charge(5).is_none());
        assert!(budget.charge(usize::MAX).is_none());
        let second = budget.charge(4).expect("there is room");
        assert_eq!(budget.used(), 10);
        drop(first);
        assert!(budget.charge(7).is_none());
        assert!(budget.charge(6).is_some());
        drop(second);
        assert_eq!(budget.used(), 0);
    }
}
