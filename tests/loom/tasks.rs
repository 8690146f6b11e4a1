//! Futures in loom models: a waker that loom knows, and an executor for one future.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use loom::sync::{Condvar, Mutex};

/// Explores all orders in which no thread is preempted more than three times.
pub fn explore(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

/// A flag that a waker sets, and that a thread waits for.
#[derive(Default)]
pub struct Flag {
    is_set: Mutex<bool>,
    changed: Condvar,
}

impl Flag {
    pub fn wait(&self) {
        let mut is_set = self.is_set.lock().expect("no panic");
        while !*is_set {
            is_set = self.changed.wait(is_set).expect("no panic");
        }
        *is_set = false;
    }
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        *self.is_set.lock().expect("no panic") = true;
        self.changed.notify_one();
    }
}

/// Polls a future with the flag as its waker.
pub fn poll<F: Future + ?Sized>(future: Pin<&mut F>, flag: &Arc<Flag>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(&Waker::from(Arc::clone(flag))))
}

/// Runs a future to its end. Each wake-up has to come.
pub fn run<F: Future>(future: F) -> F::Output {
    let (mut future, flag) = (Box::pin(future), Arc::<Flag>::default());
    loop {
        if let Poll::Ready(output) = poll(future.as_mut(), &flag) {
            return output;
        }
        flag.wait();
    }
}
