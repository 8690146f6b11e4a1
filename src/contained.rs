//! Containing panics: of callbacks, handlers, and whatever else is a user's and must not take others along.

use std::mem::forget;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs a user's code; `None` where it panicked. Whoever calls this counts it.
#[inline]
pub(crate) fn contained<R>(work: impl FnOnce() -> R) -> Option<R> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => Some(result),
        Err(payload) => {
            // A payload is a user's value, and may panic when it is dropped; so may that panic's.
            if let Err(another) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
                forget(another);
            }
            None
        }
    }
}
