//! `PanicCounter`: contains panics of user code, counts them, and reports the first one.

use crate::events;
use crate::panic::catch_user_panic;
use crate::sync::atomic::{AtomicU64, Ordering};

/// The panics of a collection's user code.
#[derive(Debug, Default)]
pub(crate) struct PanicCounter(AtomicU64);

impl PanicCounter {
    /// Runs user code, and returns `None` if it panics.
    ///
    /// The first panic is reported as an event about this collection and this code. The caller
    /// holds no lock.
    #[inline]
    pub(crate) fn catch<R>(
        &self,
        collection: &str,
        code: &str,
        work: impl FnOnce() -> R,
    ) -> Option<R> {
        let result = catch_user_panic(work);
        if result.is_none() {
            self.count(collection, code);
        }
        result
    }

    #[cold]
    fn count(&self, collection: &str, code: &str) {
        // Relaxed: the count guards no other data.
        if self.0.fetch_add(1, Ordering::Relaxed) == 0 {
            // A panic of the subscriber cannot be reported to the subscriber.
            catch_user_panic(|| events::panicked(collection, code));
        }
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
