//! `block_on`: a thread that waits through the same lists as a future.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use crate::clock::Clock;
use crate::sync::{Condvar, Mutex};

/// Runs a future on this thread. Returns `None` if it is not ready within the timeout.
///
/// A future that is ready at once costs neither an allocation nor a reading of the clock.
pub(crate) fn block_on<F: Future>(future: F, timeout: Option<Duration>) -> Option<F::Output> {
    let mut future = pin!(future);
    if let Poll::Ready(output) = future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
    {
        return Some(output);
    }
    let signal = Arc::new(Signal::new());
    let waker = Waker::from(Arc::clone(&signal));
    let clock = Clock::precise();
    // The first poll stored a waker that does nothing. This poll replaces it, and finds what
    // happened in between.
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Some(output);
        }
        let time_left = timeout.map(|timeout| timeout.saturating_sub(clock.now()));
        if time_left == Some(Duration::ZERO) {
            return None;
        }
        signal.wait(time_left);
    }
}

/// A flag that wakes one thread. Not `thread::park`, whose token other code on the thread may take.
struct Signal {
    is_woken: Mutex<bool>,
    changed: Condvar,
}

impl Signal {
    fn new() -> Self {
        Self {
            is_woken: Mutex::new(false),
            changed: Condvar::new(),
        }
    }

    /// Waits until the flag is set, at most for the given time, and clears it.
    fn wait(&self, at_most: Option<Duration>) {
        let mut is_woken = self.is_woken.lock();
        while !*is_woken {
            match at_most {
                None => self.changed.wait(&mut is_woken),
                Some(at_most) => {
                    // The caller polls again, and computes the time that is left.
                    self.changed.wait_for(&mut is_woken, at_most);
                    break;
                }
            }
        }
        *is_woken = false;
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        *self.is_woken.lock() = true;
        self.changed.notify_one();
    }
}
