//! Containing panics: of callbacks, handlers, and whatever else is a user's and must not take others along.

use std::any::Any;
use std::mem::forget;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Runs a user's code; `None` where it panicked. Whoever calls this counts it.
#[inline]
pub(crate) fn contained<R>(work: impl FnOnce() -> R) -> Option<R> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => Some(result),
        Err(payload) => {
            discard(payload);
            None
        }
    }
}

/// A payload is a user's value, and may panic when it is dropped; so may that panic's.
fn discard(payload: Box<dyn Any + Send>) {
    if let Err(another) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        forget(another);
    }
}

/// The first panic in work of which all is to be done, whatever panics; it goes on to the caller after that.
#[derive(Default)]
pub(crate) struct FirstPanic(Option<Box<dyn Any + Send>>);

impl FirstPanic {
    /// Does a part of the work; `None` where it panicked.
    pub(crate) fn hold<R>(&mut self, work: impl FnOnce() -> R) -> Option<R> {
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

    /// Panics, where a part of the work did.
    pub(crate) fn go_on(self) {
        if let Some(payload) = self.0 {
            resume_unwind(payload);
        }
    }
}
