//! Ends a run without progress, because a deadlock breaks a promise as well.

use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::round::PROGRESS;
use example_support::output::note;

/// No operation takes that long, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) struct Watchdog {
    round: Arc<AtomicU64>,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    pub(crate) fn new(seed: u64) -> Self {
        let (stop, stopped) = channel();
        let round = Arc::new(AtomicU64::new(0));
        let of_thread = Arc::clone(&round);
        let thread = thread::spawn(move || {
            let mut seen = 0;
            while stopped.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                let now = PROGRESS.load(SeqCst);
                if now == seen {
                    let round = of_thread.load(SeqCst);
                    note(format_args!(
                        "soak: deadlock: no operation returned for {} s\n\
                         repeat with --seed {seed} --round {round}",
                        PATIENCE.as_secs()
                    ));
                    process::exit(1);
                }
                seen = now;
            }
        });
        Self {
            round,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Sets the number of the round.
    pub(crate) fn round(&self, number: u64) {
        self.round.store(number, SeqCst);
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}
