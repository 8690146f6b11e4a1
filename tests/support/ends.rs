//! Work that might never end.

use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

/// Runs `work` in a thread of its own, and fails if it has not ended in time.
pub fn ends(work: impl FnOnce() + Send + 'static) {
    let (ended, end) = channel();
    thread::spawn(move || {
        work();
        ended.send(()).ok();
    });
    end.recv_timeout(Duration::from_secs(10)).expect("it ends");
}
