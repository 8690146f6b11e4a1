//! Sends to full queues that an async emit waits for after it has called all listeners.
//!
//! A handler is a plain function and cannot wait. While [`collect`] runs on a thread, a handler of
//! a full queue therefore leaves a future, and the emit waits for it after it has released the
//! list. Nested emits of handlers leave theirs as well, so none of them blocks the thread.

use std::cell::RefCell;
use std::pin::Pin;

pub(super) type WaitingSend = Pin<Box<dyn Future<Output = ()> + Send>>;

thread_local! {
    /// `None` if no async emit is being polled on this thread.
    static SENDS: RefCell<Option<Vec<WaitingSend>>> = const { RefCell::new(None) };
}

/// Restores the sends of an outer async emit, also if the topic's `Hash` or `Eq` panics.
struct Restore(Option<Vec<WaitingSend>>);

impl Drop for Restore {
    fn drop(&mut self) {
        // The sends of a panicked emit are dropped here, without a borrow.
        let dropped = SENDS.replace(self.0.take());
        drop(dropped);
    }
}

/// Runs an emit, and returns the sends that its handlers left.
pub(super) fn collect<R>(emit: impl FnOnce() -> R) -> (R, Vec<WaitingSend>) {
    let _restore = Restore(SENDS.replace(Some(Vec::new())));
    let result = emit();
    (result, SENDS.replace(None).unwrap_or_default())
}

/// Leaves a send for the async emit that is being polled on this thread. Returns the event if there
/// is none.
pub(super) fn add<E, F>(event: E, send: impl FnOnce(E) -> F) -> Result<(), E>
where
    F: Future<Output = ()> + Send + 'static,
{
    SENDS.with_borrow_mut(|sends| match sends {
        None => Err(event),
        Some(sends) => {
            sends.push(Box::pin(send(event)));
            Ok(())
        }
    })
}
