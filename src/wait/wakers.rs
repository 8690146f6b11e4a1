//! `Wakers`: tasks to wake after the locks are released.

use std::task::Waker;

use crate::panic::catch_user_panic;

/// Wakers that a call took out of a list under a lock.
#[derive(Default)]
pub(crate) struct Wakers(Vec<Waker>);

impl Wakers {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn extend(&mut self, waker: Option<Waker>) {
        self.0.extend(waker);
    }
}

/// Wakes the tasks. The owner drops this without a lock.
impl Drop for Wakers {
    fn drop(&mut self) {
        for waker in self.0.drain(..) {
            // If one executor panics, the tasks of the others are woken all the same.
            catch_user_panic(|| waker.wake());
        }
    }
}
