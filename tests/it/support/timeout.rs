//! A timeout for work that may not end.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

/// Runs `work` on another thread, and panics if it does not end within 20 seconds.
pub fn in_time<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = channel();
    thread::spawn(move || sender.send(catch_unwind(AssertUnwindSafe(work))));
    match receiver
        .recv_timeout(Duration::from_secs(20))
        .expect("it comes to an end")
    {
        Ok(result) => result,
        Err(panic) => resume_unwind(panic),
    }
}
