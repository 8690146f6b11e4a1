//! `Sweeper`: a background thread that frees expired entries at intervals.
//!
//! Correctness never depends on a sweep: expiry is exact at every call. A sweep only returns memory
//! while no calls arrive. The thread holds collections weakly, sleeps until the next deadline,
//! works in bounded pieces and never keeps the process alive.

mod global;
mod schedule;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::clock::Clock;
use crate::events::{self, ReportedLimits};
use crate::panic_counter::PanicCounter;
use crate::sweep::{Sweep, Swept, Watch};
use crate::sync::{Condvar, Mutex};
pub(crate) use global::{ring_after, watch_globally};
use schedule::{Due, Schedule, Task, TaskId};

/// The number of entries that one piece of a sweep frees. Between pieces the thread serves other
/// collections and checks whether it should stop.
const PIECE: usize = 8192;

/// A background thread that sweeps collections at intervals until it is dropped.
///
/// The thread holds collections weakly and forgets those that were dropped. If several collections
/// are due, it frees one piece of each in turn, so a large collection does not delay the others.
/// Adding a collection, and choosing the next one, take logarithmic time.
///
/// The thread catches a panic in a sweep, for example in a value's `Drop`, and continues with the
/// other collections. If two values of one piece panic in `Drop`, the second panic aborts the
/// process. Dropping the sweeper stops the thread after at most one piece.
///
/// Removal callbacks run on this thread for entries that a sweep removes. It is not part of an
/// async runtime, so `tokio::spawn` panics there; an [event](crate::events) reports the first such
/// panic. Send the entry through a channel, or capture a `tokio::runtime::Handle` and call its
/// `spawn`:
///
/// ```
/// use leakproof::{LruCache, RemovalCause};
/// use std::sync::mpsc::channel;
/// use std::time::Duration;
///
/// let (closed, receiver) = channel(); // or `tokio::sync::mpsc::unbounded_channel()`
/// let sessions = LruCache::<u64, String>::builder()
///     .max_entries(10_000)
///     .idle_timeout(Duration::from_secs(300))
///     .sweep_every(Duration::from_secs(60))
///     .on_removal(move |id, _session, cause| {
///         if cause == RemovalCause::Idle {
///             closed.send(*id).ok();
///         }
///     })
///     .build()?;
/// # drop((sessions, receiver));
/// # Ok::<(), leakproof::BuildError>(())
/// ```
///
/// # Example
///
/// ```
/// use leakproof::{DedupSet, Sweeper};
/// use std::time::Duration;
///
/// let seen = DedupSet::<str>::new(1_000_000, Duration::from_secs(24 * 3600));
/// let sweeper = Sweeper::new();
/// sweeper.watch("message_dedup", &seen, Duration::from_secs(3600));
/// ```
#[derive(Debug)]
#[must_use = "dropping a sweeper stops its thread"]
pub struct Sweeper {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// The part that the thread and its handle share.
struct Shared {
    clock: Clock,
    state: Mutex<Schedule>,
    changed: Condvar,
    panics: PanicCounter,
}

impl Sweeper {
    /// Starts the thread.
    ///
    /// # Panics
    ///
    /// Panics if the operating system cannot start a thread. [`try_new`](Self::try_new) returns the
    /// error instead.
    pub fn new() -> Self {
        match Self::try_new() {
            Ok(sweeper) => sweeper,
            Err(error) => panic!("cannot start the sweeper thread: {error}"),
        }
    }

    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// Returns the error of the operating system if it cannot start a thread.
    pub fn try_new() -> io::Result<Self> {
        let shared = Arc::new(Shared {
            clock: Clock::coarse(),
            state: Mutex::new(Schedule::default()),
            changed: Condvar::new(),
            panics: PanicCounter::default(),
        });
        let for_thread = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("leakproof-sweep".into())
            .spawn(move || for_thread.run())?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Sweeps a collection at an interval of at least 1 ms, for the first time after one interval.
    ///
    /// Several collections may have the same name. The name appears in [`events`](crate::events).
    pub fn watch(&self, name: &str, collection: &impl Watch, every: Duration) {
        let collection = collection.downgrade_to_sweep();
        self.add(name, collection, every, Some(ReportedLimits::default()));
    }

    /// Stops sweeping all collections of a name, and returns `true` if there was one. A piece in
    /// progress is finished.
    pub fn unwatch(&self, name: &str) -> bool {
        let mut state = self.shared.state.lock();
        let of_name: Vec<TaskId> = state
            .tasks
            .range((Arc::from(name), 0)..)
            .take_while(|((other, _), _)| &**other == name)
            .map(|(id, _)| id.clone())
            .collect();
        for id in &of_name {
            state.tasks.remove(id);
        }
        !of_name.is_empty()
    }

    /// Returns the names of the watched collections that were not dropped, in alphabetical order.
    #[must_use]
    pub fn watched(&self) -> Vec<String> {
        let state = self.shared.state.lock();
        let alive = state
            .tasks
            .iter()
            .filter(|(_, task)| task.collection.strong_count() > 0);
        alive.map(|((name, _), _)| name.to_string()).collect()
    }

    /// Returns the number of panics that the thread caught, in sweeps and in subscribers of events.
    #[must_use]
    pub fn panics(&self) -> u64 {
        self.shared.panics.get()
    }

    fn add(
        &self,
        name: &str,
        collection: Weak<dyn Sweep>,
        every: Duration,
        reported: Option<ReportedLimits>,
    ) {
        let every = every.max(Duration::from_millis(1));
        let due = self.shared.clock.now().saturating_add(every);
        let task = Task {
            collection,
            every,
            sweep: None,
            reported,
        };
        if self.shared.state.lock().add(name.into(), task, due) {
            self.shared.changed.notify_one();
        }
    }
}

impl Default for Sweeper {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        self.shared.state.lock().stopped = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            // A collection may own its sweeper and be dropped on the thread itself, which cannot
            // wait for its own end.
            if thread.thread().id() != thread::current().id() {
                // The thread catches every panic, so there is no error to report.
                drop(thread.join());
            }
        }
    }
}

impl Shared {
    fn run(&self) {
        while let Some(due) = self.next_due() {
            let (id, collection) = match due {
                Due::Task(id, collection) => (id, collection),
                Due::Alarm(alarm) => {
                    self.catch(&("alarm".into(), 0), || alarm());
                    continue;
                }
            };
            let swept = self.catch(&id, || collection.sweep_some(PIECE));
            // A sweep that panicked is over until its next deadline.
            self.finish_piece(&id, &*collection, swept.unwrap_or_default());
            // This may be the last handle, so user code may run here.
            self.catch(&id, || drop(collection));
        }
    }

    /// Runs user code. A panic is counted, and reported as an event if it is the first one.
    fn catch<R>(&self, id: &TaskId, work: impl FnOnce() -> R) -> Option<R> {
        self.panics.catch(&id.0, "sweep", work)
    }

    /// Sleeps until work is due and returns it, or `None` if the sweeper is stopped.
    fn next_due(&self) -> Option<Due> {
        let mut state = self.state.lock();
        loop {
            if state.stopped {
                return None;
            }
            let now = self.clock.now();
            match state.next_time() {
                None => {
                    self.changed.wait(&mut state);
                    continue;
                }
                Some(due) if due > now => {
                    self.changed.wait_for(&mut state, due - now);
                    continue;
                }
                Some(_) => {}
            }
            if let Some(due) = state.pop(now) {
                return Some(due);
            }
        }
    }

    /// Schedules the task again, and reports the sweep if it is finished.
    fn finish_piece(&self, id: &TaskId, collection: &dyn Sweep, swept: Swept) {
        let Some((freed, reported)) = self.schedule(id, swept) else {
            return;
        };
        if freed > 0 {
            self.catch(id, || events::swept(&id.0, freed));
        }
        if let Some(mut reported) = reported {
            if let Some(usage) = self.catch(id, || collection.usage()) {
                for limit in reported.update(&usage) {
                    self.catch(id, || events::limit_reached(&id.0, limit, &usage));
                }
            }
            if let Some(task) = self.state.lock().tasks.get_mut(id) {
                task.reported = Some(reported);
            }
        }
    }

    /// Schedules the next piece, or the next sweep if this one is finished.
    ///
    /// If the sweep is finished, returns the number of freed entries and takes out the reported
    /// limits.
    fn schedule(&self, id: &TaskId, swept: Swept) -> Option<(usize, Option<ReportedLimits>)> {
        let mut state = self.state.lock();
        // `unwatch` may have removed the task during the piece.
        let task = state.tasks.get_mut(id)?;
        let mut sweep = task.sweep.take()?;
        sweep.freed += swept.freed;
        if swept.more {
            task.sweep = Some(sweep);
            // Every task that is due already comes before the next piece of this one.
            state.push(self.clock.now(), id.clone());
            drop(state);
            thread::yield_now();
            return None;
        }
        let reported = if events::ENABLED {
            task.reported.take()
        } else {
            None
        };
        state.push(sweep.next, id.clone());
        Some((sweep.freed, reported))
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        f.debug_list()
            .entries(state.tasks.keys().map(|(name, _)| name))
            .finish()
    }
}
