//! Sweeping: one background thread that frees what expired, in any number of collections, and runs what else is due.
//!
//! Nothing depends on it but when memory is given back. The thread holds the collections weakly, sleeps until the next
//! one is due, and works in bounded pieces; a detached thread, it never keeps the process alive.

use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::bounds::{self, BuildError};
use crate::clock::Clock;
use crate::contained::contained;
use crate::events;
use crate::stats::Stats;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Condvar, Mutex};

/// A collection that can free what expired, a piece at a time, and tell what it holds.
pub trait Sweep: Send + Sync {
    /// Frees up to about `budget` entries.
    fn sweep_some(&self, budget: usize) -> Swept;

    /// What the collection holds.
    fn stats(&self) -> Stats;
}

/// What a piece of a sweep did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Swept {
    /// Entries whose memory was freed.
    pub freed: usize,
    /// Whether there is more to do.
    pub more: bool,
}

/// What the thread does when its time has come, a piece at a time.
pub(crate) trait Task: Send + Sync {
    /// Does a piece.
    fn run_piece(&self) -> Swept;

    /// What it holds, if it is a collection of which limits are told.
    fn held(&self) -> Option<Stats> {
        None
    }
}

impl<T: Sweep> Task for T {
    fn run_piece(&self) -> Swept {
        self.sweep_some(PIECE)
    }

    fn held(&self) -> Option<Stats> {
        Some(self.stats())
    }
}

/// Entries freed by one piece of work, before the sweeper looks whether it should stop, and lets others have the processor.
pub(crate) const PIECE: usize = 8192;

/// A background thread that sweeps collections at intervals, until it is dropped.
///
/// It holds them weakly: one that is gone is forgotten. A panic in one collection's sweep (in a value's `Drop`, say) is
/// contained, and the others are swept all the same; but where two values of one piece panic when they are dropped, the
/// second ends the process. Dropping the sweeper stops it after at most one piece of work.
///
/// ```
/// use leakproof::{DedupSet, Sweeper};
/// use std::{sync::Arc, time::Duration};
///
/// let seen = Arc::new(DedupSet::<str>::new(1_000_000, Duration::from_secs(24 * 3600)));
/// let sweeper = Sweeper::new();
/// sweeper.watch("message_dedup", &seen, Duration::from_secs(3600));
/// ```
#[derive(Debug)]
#[must_use = "a sweeper that is dropped stops"]
pub struct Sweeper {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread and its handle share.
struct Shared {
    clock: Clock,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    watched: Vec<Watched>,
    stopped: bool,
    panics: u64,
}

struct Watched {
    name: Arc<str>,
    task: Weak<dyn Task>,
    every: Duration,
    due: Duration,
    /// Whether it was told that the collection has reached a limit; nothing where that is not to be told.
    limit_told: Option<Arc<AtomicBool>>,
}

/// What is to be done now.
struct Due {
    name: Arc<str>,
    task: Arc<dyn Task>,
    limit_told: Option<Arc<AtomicBool>>,
}

impl Sweeper {
    /// Starts the thread, which sleeps until something is to do.
    ///
    /// # Panics
    ///
    /// Where the operating system cannot start a thread; [`try_new`](Self::try_new) returns the error instead.
    pub fn new() -> Self {
        match Self::try_new() {
            Ok(sweeper) => sweeper,
            Err(error) => panic!("Sweeper::new: {error}"),
        }
    }

    /// Starts the thread, which sleeps until something is to do.
    ///
    /// # Errors
    ///
    /// What the operating system says where it cannot start a thread.
    pub fn try_new() -> io::Result<Self> {
        let shared = Arc::new(Shared {
            clock: Clock::coarse(),
            state: Mutex::new(State::default()),
            changed: Condvar::new(),
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

    /// Has a collection swept at this interval, the first time after one interval. An interval of zero counts as
    /// a millisecond.
    pub fn watch<T: Sweep + 'static>(&self, name: &str, collection: &Arc<T>, every: Duration) {
        self.run(
            name,
            Arc::<T>::clone(collection),
            every,
            Some(Arc::default()),
        );
    }

    fn run(
        &self,
        name: &str,
        task: Arc<dyn Task>,
        every: Duration,
        limit_told: Option<Arc<AtomicBool>>,
    ) {
        let every = every.max(Duration::from_millis(1));
        let due = self.shared.clock.now().saturating_add(every);
        let watched = Watched {
            name: name.into(),
            task: Arc::downgrade(&task),
            every,
            due,
            limit_told,
        };
        self.shared.state.lock().watched.push(watched);
        self.shared.changed.notify_one();
    }

    /// The names of the collections watched, those that are gone left out.
    #[must_use]
    pub fn watched(&self) -> Vec<String> {
        let state = self.shared.state.lock();
        let alive = state
            .watched
            .iter()
            .filter(|watched| watched.task.strong_count() > 0);
        alive.map(|watched| watched.name.to_string()).collect()
    }

    /// How many panics were contained: of sweeps, and of whoever is told of them.
    #[must_use]
    pub fn panics(&self) -> u64 {
        self.shared.state.lock().panics
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
        if let Some(thread) = self.thread.take()
            // Dropped by something that it sweeps: the thread cannot wait for itself.
            && thread.thread().id() != thread::current().id()
        {
            // It contains panics, so it has none to report.
            drop(thread.join());
        }
    }
}

impl Shared {
    fn run(&self) {
        while let Some(due) = self.next_due() {
            let mut freed = 0;
            self.contained(|| {
                loop {
                    let swept = due.task.run_piece();
                    freed += swept.freed;
                    if !swept.more || self.state.lock().stopped {
                        break;
                    }
                    thread::yield_now();
                }
            });
            self.contained(|| due.tell(freed));
            // This may have been the last handle: then the collection is dropped here.
            self.contained(|| drop(due));
        }
    }

    /// Runs a user's code; a panic in it is counted.
    fn contained(&self, work: impl FnOnce()) {
        if contained(work).is_none() {
            self.state.lock().panics += 1;
        }
    }

    /// Sleeps until a collection is due, and schedules its next sweep; `None` once the sweeper is stopped.
    fn next_due(&self) -> Option<Due> {
        let mut state = self.state.lock();
        loop {
            if state.stopped {
                return None;
            }
            state
                .watched
                .retain(|watched| watched.task.strong_count() > 0);
            let now = self.clock.now();
            let Some(next) = state.watched.iter_mut().min_by_key(|watched| watched.due) else {
                self.changed.wait(&mut state);
                continue;
            };
            if next.due > now {
                let left = next.due - now;
                self.changed.wait_for(&mut state, left);
                continue;
            }
            next.due = now.saturating_add(next.every);
            if let Some(task) = next.task.upgrade() {
                return Some(Due {
                    name: Arc::clone(&next.name),
                    task,
                    limit_told: next.limit_told.clone(),
                });
            }
        }
    }
}

impl Due {
    /// Tells what a sweep has done and seen.
    fn tell(&self, freed: usize) {
        if freed > 0 {
            events::swept(&self.name, freed);
        }
        let Some(told) = self
            .limit_told
            .as_ref()
            .filter(|told| events::ENABLED && !told.load(Ordering::Relaxed))
        else {
            return;
        };
        // Relaxed: this thread alone reads and writes it.
        if let Some(stats) = self.task.held().filter(Stats::has_met_limit) {
            told.store(true, Ordering::Relaxed);
            events::limit_reached(&self.name, &stats);
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        let names = state.watched.iter().map(|watched| &watched.name);
        f.debug_list().entries(names).finish()
    }
}

/// Has the process-wide sweeper, started on first use, watch a collection, or run another task, if the builder was given an
/// interval: by its method of this name. Of a name that stands for any collection of its kind no limit is told.
pub(crate) fn watch_globally<T: Task + 'static>(
    name: &str,
    task: &Arc<T>,
    method: &'static str,
    every: Option<Duration>,
) -> Result<(), BuildError> {
    static SWEEPER: OnceLock<Sweeper> = OnceLock::new();
    if every.is_none() {
        return Ok(());
    }
    let every = bounds::time(method, every)?;
    let sweeper = match SWEEPER.get() {
        Some(sweeper) => sweeper,
        // Of two threads that get here at once, one starts a thread in vain, which then stops.
        None => {
            let started = Sweeper::try_new().map_err(|error| BuildError::NoSweeper {
                reason: error.to_string(),
            })?;
            SWEEPER.get_or_init(|| started)
        }
    };
    sweeper.run(name, Arc::<T>::clone(task), every, None);
    Ok(())
}
