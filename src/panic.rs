//! Catches panics of user code: callbacks, handlers and `Drop` implementations.

use std::any::Any;
use std::mem::forget;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Runs user code, and returns `None` if it panics. The caller counts the panic.
#[inline]
pub(crate) fn catch_user_panic<R>(work: impl FnOnce() -> R) -> Option<R> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => Some(result),
        Err(payload) => {
            discard(payload);
            None
        }
    }
}

/// Drops a panic payload.
fn discard(payload: Box<dyn Any + Send>) {
    // A payload is a user's value, so its `Drop` may panic as well. The payload of that second
    // panic is leaked: dropping it could panic again, and so on without end.
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        forget(second);
    }
}

/// Keeps the first panic of several pieces of work that must all run. The panic resumes when all of
/// them are done.
#[derive(Default)]
pub(crate) struct FirstPanic(Option<Box<dyn Any + Send>>);

impl FirstPanic {
    /// Runs one piece, and returns `None` if it panics.
    pub(crate) fn catch<R>(&mut self, work: impl FnOnce() -> R) -> Option<R> {
        match catch_unwind(AssertUnwindSafe(work)) {
            Ok(result) => Some(result),
            Err(payload) => {
                match self.0 {
                    None => self.0 = Some(payload),
                    Some(_) => discard(payload),
                }
                None
            }
        }
    }

    /// Resumes the first panic, if any piece panicked.
    pub(crate) fn resume(self) {
        if let Some(payload) = self.0 {
            resume_unwind(payload);
        }
    }
}
