//! The work that no call waits for: drains at an interval, compaction, and deletion of segments.
//!
//! With [`Sync::Always`] there is no thread: the calls drain, and compact a piece afterwards.

use std::io;
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::Sync;
use super::compact::PIECE;
use super::shared::Shared;
use crate::clock::{Clock, nanos};
use crate::sweep::Contents;
use crate::sweep::Sweep;
use crate::sync::atomic::Ordering;

/// The interval at which records are handed to the operating system with [`Sync::Never`].
const NEVER_SYNCED: Duration = Duration::from_millis(100);
/// The longest time between two searches for segments to delete.
const MAINTENANCE: Duration = Duration::from_secs(60);

impl Shared {
    /// Does a bounded part of the compaction, if there is something to do.
    pub(super) fn compact_piece(&self) {
        if !self.untidy.load(Ordering::Relaxed) {
            return;
        }
        // `None` if the last handle on the map is being dropped.
        let map = self.map.get().and_then(Weak::upgrade);
        if let Some(contents) = map.as_ref().and_then(|map| map.journaled()) {
            self.compact(contents, false);
        }
    }

    /// Compacts a piece. Returns `true` if there is more to do.
    fn compact(&self, contents: &dyn Contents, plans: bool) -> bool {
        let mut writer = self.writer.lock();
        if plans || writer.is_unplanned() {
            writer.plan(contents);
        }
        let result = writer.compact(contents, PIECE);
        self.store_figures(&writer);
        drop(writer);
        let more = matches!(result, Ok(true));
        self.note(result.map(drop));
        more
    }

    /// Deletes segments whose ids have all expired, were evicted or removed, and compacts a piece.
    /// Returns `true` if there is more to compact.
    pub(crate) fn maintain(&self, contents: &dyn Contents) -> bool {
        if !self.writer.lock().has_closed() {
            return false;
        }
        // Read before the map: an entry that is recorded in between is not in a closed segment.
        let now = self.now();
        let oldest = contents.oldest_age().map_or(0, nanos);
        if let Some(cutoff) = now.saturating_sub(oldest).checked_sub(1) {
            let deleted = self.writer.lock().delete_until(cutoff);
            self.note(deleted);
        }
        let more = self.compact(contents, true);
        self.report();
        more
    }

    /// Does the same, and compacts all there is.
    pub(crate) fn maintain_all(&self, contents: &dyn Contents) {
        let mut more = self.maintain(contents);
        while more {
            more = self.compact(contents, false);
        }
    }

    /// Wakes the background thread, if there is one, after a flag was set that the thread reads.
    ///
    /// A condition variable would need a lock here, because the thread may be between its check of
    /// the flags and its wait. `park` returns at once then. Events and the map's code may take the
    /// wake-up, but the thread checks the flags after each of them.
    pub(super) fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    /// Runs the background thread until it is stopped.
    fn run(&self, every: Duration) {
        // Real time, as in the sweeper.
        let clock = Clock::coarse();
        let maintenance = MAINTENANCE
            .min(Duration::from_nanos(self.ttl / 16))
            .max(every);
        let mut maintained = clock.now();
        let is_stopped = || self.stopped.load(Ordering::Relaxed);
        let is_idle = || {
            let dirty = self.dirty.load(Ordering::Relaxed);
            !dirty && !self.untidy.load(Ordering::Relaxed)
        };
        loop {
            while !is_stopped() && is_idle() {
                let idle = clock.now() - maintained;
                if idle >= maintenance {
                    break;
                }
                thread::park_timeout(maintenance - idle);
            }
            if is_stopped() {
                return;
            }
            // Cleared before the drain: a record that follows wakes the thread again.
            let begun = clock.now();
            if !self.dirty.swap(false, Ordering::Relaxed) {
                self.compact_piece();
            } else if !self.flush() {
                self.dirty.store(true, Ordering::Relaxed);
            }
            if begun - maintained >= maintenance {
                maintained = begun;
                let map = self.map.get().and_then(Weak::upgrade);
                if let Some(contents) = map.as_ref().and_then(|map| map.journaled()) {
                    self.maintain(contents);
                }
            }
            // A record waits for at most this interval and one synchronisation.
            while !is_stopped() {
                let passed = clock.now() - begun;
                if passed >= every {
                    break;
                }
                thread::park_timeout(every - passed);
            }
        }
    }
}

/// Owns the background thread, if there is one. Dropping it writes everything, and gives the
/// directory up.
pub(crate) struct Handle {
    pub(crate) shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Handle {
    pub(crate) fn new(shared: Shared) -> Self {
        Self {
            shared: Arc::new(shared),
            thread: None,
        }
    }

    /// Starts the background thread. It and the drains hold the map weakly.
    pub(crate) fn start(&mut self, map: Weak<dyn Sweep>) -> io::Result<()> {
        self.shared.map.get_or_init(|| map);
        let every = match self.shared.sync {
            Sync::Always => return Ok(()),
            Sync::Never => NEVER_SYNCED,
            Sync::Every(every) => every.max(Duration::from_millis(1)),
        };
        let shared = Arc::clone(&self.shared);
        let thread = thread::Builder::new()
            .name("leakproof-journal".into())
            .spawn(move || shared.run(every))?;
        // No record was buffered yet, so none misses the thread.
        self.shared.thread.get_or_init(|| thread.thread().clone());
        self.thread = Some(thread);
        Ok(())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // Relaxed: the wake-up orders it, as it does `dirty`.
        self.shared.stopped.store(true, Ordering::Relaxed);
        self.shared.wake();
        if let Some(thread) = self.thread.take() {
            // A subscriber of events may drop the last handle on this thread, which cannot wait for
            // itself.
            if thread.thread().id() != thread::current().id() {
                drop(thread.join());
            }
        }
        self.shared.flush();
        self.shared.writer.lock().close();
    }
}
