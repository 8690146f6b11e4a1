//! A future with a waker that counts, for tests that poll in an order of their own.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// Counts the calls of a waker.
#[derive(Default)]
pub struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A future that is polled by the test only.
pub struct Task<'a, T> {
    future: Pin<Box<dyn Future<Output = T> + 'a>>,
    wakes: Arc<Wakes>,
}

impl<'a, T> Task<'a, T> {
    pub fn new(future: impl Future<Output = T> + 'a) -> Self {
        Self {
            future: Box::pin(future),
            wakes: Arc::default(),
        }
    }

    /// Creates a task and polls it once. It must not be ready.
    pub fn waiting(future: impl Future<Output = T> + 'a) -> Self {
        let mut task = Self::new(future);
        assert!(task.poll().is_none(), "it waits");
        task
    }

    pub fn poll(&mut self) -> Option<T> {
        self.poll_with(&Waker::from(Arc::clone(&self.wakes)))
    }

    /// Polls with another waker.
    pub fn poll_with(&mut self, waker: &Waker) -> Option<T> {
        match self.future.as_mut().poll(&mut Context::from_waker(waker)) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }

    /// Polls a task that must be ready.
    pub fn output(&mut self) -> T {
        self.poll().expect("it is ready")
    }

    /// Uses a new waker from now on. Returns the counts of the old one.
    pub fn change_waker(&mut self) -> Arc<Wakes> {
        std::mem::take(&mut self.wakes)
    }

    /// Returns how often the task was woken.
    pub fn wakes(&self) -> usize {
        count(&self.wakes)
    }
}

/// Returns how often a waker was called.
pub fn count(wakes: &Wakes) -> usize {
    wakes.0.load(Ordering::SeqCst)
}
