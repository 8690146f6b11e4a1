//! `Sweeper`: a background thread that frees expired entries at intervals.
//!
//! Correctness never depends on a sweep: expiry is exact at every call. A sweep only returns memory
//! while no calls arrive. The thread holds collections weakly, sleeps until the next deadline,
//! works in bounded pieces and never keeps the process alive.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::clock::{Alarm, Clock};
use crate::events::{self, Reported};
use crate::limits::{self, BuildError};
use crate::panic::catch_user_panic;
use crate::steps::Counted;
use crate::sweep::{Sweep, Swept, Watch};
use crate::sync::{Condvar, Mutex};

/// The number of entries that one piece of a sweep frees. Between pieces the thread serves other
/// collections and checks whether it should stop.
const PIECE: usize = 8192;

/// The smallest number of deadlines that is worth a search for dead collections.
const MIN_PURGE: usize = 64;

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
    state: Mutex<State>,
    changed: Condvar,
}

/// The name, and a number that makes it unique.
type TaskId = (Arc<str>, u64);

/// The time, a turn that orders equal times first come first served, and the task.
type Deadline = (Duration, Counted<u64>, TaskId);

#[derive(Default)]
struct State {
    /// Ordered by name, so that `unwatch` finds all tasks of a name without a search.
    tasks: BTreeMap<TaskId, Task>,
    /// The next deadline of each task. An entry whose task was removed is skipped when its deadline
    /// comes.
    deadlines: BinaryHeap<Reverse<Deadline>>,
    /// The number of deadlines at which `add` next searches for dead tasks.
    purge_at: usize,
    /// Calls that are due once, by time and turn.
    alarms: BTreeMap<(Duration, u64), Weak<Alarm>>,
    /// The number of alarms at which `add_alarm` next searches for dead ones.
    purge_alarms_at: usize,
    /// The number of the next task and of the next turn.
    next_number: u64,
    next_turn: u64,
    stopped: bool,
    panics: u64,
}

struct Task {
    work: WeakWork,
    every: Duration,
    /// The progress of a sweep that is not finished.
    sweep: Option<SweepInProgress>,
    /// The conditions that were reported as events. `None` while the thread reports them.
    reported: Option<Reported>,
}

#[derive(Clone, Copy)]
struct SweepInProgress {
    freed: usize,
    /// The deadline of the sweep after this one.
    next: Duration,
}

/// Periodic work that is not a sweep.
pub(crate) trait Periodic: Send + Sync + 'static {
    fn run(&self);
}

enum WeakWork {
    Sweep(Weak<dyn Sweep>),
    #[cfg_attr(
        not(feature = "monitor"),
        allow(dead_code, reason = "only a monitor has other work")
    )]
    Periodic(Weak<dyn Periodic>),
}

enum Work {
    Sweep(Arc<dyn Sweep>),
    Periodic(Arc<dyn Periodic>),
}

/// Work that is due.
enum Due {
    Task(TaskId, Work),
    Alarm(Arc<Alarm>),
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

    /// Sweeps a collection at an interval of at least 1 ms, for the first time after one interval.
    ///
    /// Several collections may have the same name. The name appears in [`events`](crate::events).
    pub fn watch(&self, name: &str, collection: &impl Watch, every: Duration) {
        let work = WeakWork::Sweep(collection.downgrade_to_sweep());
        self.add(name, work, every, Reported::nothing());
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
        let alive = state.tasks.iter().filter(|(_, task)| task.work.is_alive());
        alive.map(|((name, _), _)| name.to_string()).collect()
    }

    /// Returns the number of panics that the thread caught, in sweeps and in subscribers of events.
    #[must_use]
    pub fn panics(&self) -> u64 {
        self.shared.state.lock().panics
    }

    fn add(&self, name: &str, work: WeakWork, every: Duration, reported: Reported) {
        let every = every.max(Duration::from_millis(1));
        let due = self.shared.clock.now().saturating_add(every);
        let task = Task {
            work,
            every,
            sweep: None,
            reported: Some(reported),
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

impl State {
    /// Adds a task, and returns `true` if its deadline is the next one.
    fn add(&mut self, name: Arc<str>, task: Task, due: Duration) -> bool {
        if self.deadlines.len() >= self.purge_at {
            self.purge();
        }
        let is_next = self
            .deadlines
            .peek()
            .is_none_or(|Reverse((next, ..))| due < *next);
        let id = (name, self.next_number);
        self.next_number += 1;
        self.tasks.insert(id.clone(), task);
        self.push(due, id);
        is_next
    }

    /// Adds an alarm, and returns `true` if it is the next one.
    fn add_alarm(&mut self, due: Duration, alarm: Weak<Alarm>) -> bool {
        if self.alarms.len() >= self.purge_alarms_at {
            self.alarms.retain(|_, alarm| alarm.strong_count() > 0);
            self.purge_alarms_at = (2 * self.alarms.len()).max(MIN_PURGE);
        }
        let next = self.alarms.first_key_value();
        let is_next = next.is_none_or(|(&(next, _), _)| due < next);
        self.alarms.insert((due, self.next_turn), alarm);
        self.next_turn += 1;
        is_next
    }

    /// Returns the time at which the thread has something to do.
    fn next_time(&self) -> Option<Duration> {
        let task = self.deadlines.peek().map(|Reverse((due, ..))| *due);
        let alarm = self.alarms.first_key_value().map(|(&(due, _), _)| due);
        task.into_iter().chain(alarm).min()
    }

    fn push(&mut self, due: Duration, id: TaskId) {
        let turn = Counted(self.next_turn);
        self.deadlines.push(Reverse((due, turn, id)));
        self.next_turn += 1;
    }

    /// Removes the tasks of dropped collections, and the deadlines of removed tasks.
    ///
    /// Deadlines do this as well, but may be a day away. `add` calls this each time the number of
    /// deadlines has doubled, so the cost per added task is constant and dead tasks never outnumber
    /// the live ones by much.
    fn purge(&mut self) {
        self.tasks.retain(|_, task| task.work.is_alive());
        let tasks = &self.tasks;
        self.deadlines
            .retain(|Reverse((.., id))| tasks.contains_key(id));
        self.purge_at = (2 * self.deadlines.len()).max(MIN_PURGE);
    }
}

impl Shared {
    fn run(&self) {
        while let Some(due) = self.next_due() {
            let (id, work) = match due {
                Due::Task(id, work) => (id, work),
                Due::Alarm(alarm) => {
                    self.catch(&("alarm".into(), 0), || alarm());
                    continue;
                }
            };
            let swept = self.catch(&id, || work.run_piece());
            // A sweep that panicked is over until its next deadline.
            self.finish_piece(&id, &work, swept.unwrap_or_default());
            // This may be the last handle, so user code may run here.
            self.catch(&id, || drop(work));
        }
    }

    /// Runs user code. A panic is counted, and reported as an event if it is the first one.
    fn catch<R>(&self, id: &TaskId, work: impl FnOnce() -> R) -> Option<R> {
        let result = catch_user_panic(work);
        if result.is_none() {
            let mut state = self.state.lock();
            state.panics += 1;
            let is_first = state.panics == 1;
            drop(state);
            if is_first {
                catch_user_panic(|| events::panicked(&id.0, "sweep", 1));
            }
        }
        result
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
            // Alarms come first: each is one short call, and callers wait for it.
            if let Some(entry) = state.alarms.first_entry().filter(|it| it.key().0 <= now) {
                if let Some(alarm) = entry.remove().upgrade() {
                    return Some(Due::Alarm(alarm));
                }
                continue;
            }
            let Some(Reverse((.., id))) = state.deadlines.pop() else {
                continue;
            };
            let Some(task) = state.tasks.get_mut(&id) else {
                continue;
            };
            let next = now.saturating_add(task.every);
            task.sweep.get_or_insert(SweepInProgress { freed: 0, next });
            match task.work.upgrade() {
                Some(work) => return Some(Due::Task(id, work)),
                None => {
                    state.tasks.remove(&id);
                }
            }
        }
    }

    /// Schedules the task again, and reports the sweep if it is finished.
    fn finish_piece(&self, id: &TaskId, work: &Work, swept: Swept) {
        let Some((freed, reported)) = self.schedule(id, swept) else {
            return;
        };
        if freed > 0 {
            self.catch(id, || events::swept(&id.0, freed));
        }
        if let Some((mut reported, collection)) = reported.zip(work.collection()) {
            if let Some(usage) = self.catch(id, || collection.usage()) {
                for condition in reported.update(&usage) {
                    self.catch(id, || condition.emit(&id.0, &usage));
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
    /// conditions.
    fn schedule(&self, id: &TaskId, swept: Swept) -> Option<(usize, Option<Reported>)> {
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

impl WeakWork {
    fn is_alive(&self) -> bool {
        match self {
            Self::Sweep(collection) => collection.strong_count() > 0,
            Self::Periodic(periodic) => periodic.strong_count() > 0,
        }
    }

    fn upgrade(&self) -> Option<Work> {
        match self {
            Self::Sweep(collection) => collection.upgrade().map(Work::Sweep),
            Self::Periodic(periodic) => periodic.upgrade().map(Work::Periodic),
        }
    }
}

impl Work {
    fn collection(&self) -> Option<&Arc<dyn Sweep>> {
        match self {
            Self::Sweep(collection) => Some(collection),
            Self::Periodic(_) => None,
        }
    }

    fn run_piece(&self) -> Swept {
        match self {
            Self::Sweep(collection) => collection.sweep_some(PIECE),
            Self::Periodic(periodic) => {
                periodic.run();
                Swept::default()
            }
        }
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

/// Returns the sweeper of the process, and starts it on first use.
fn global() -> Result<&'static Sweeper, BuildError> {
    static SWEEPER: OnceLock<Sweeper> = OnceLock::new();
    if let Some(sweeper) = SWEEPER.get() {
        return Ok(sweeper);
    }
    let started = Sweeper::try_new().map_err(|error| BuildError::NoSweeper {
        reason: error.to_string(),
    })?;
    // If two threads get here at once, one of the two sweepers is dropped, which stops its thread.
    Ok(SWEEPER.get_or_init(|| started))
}

/// Calls `alarm` on the process-wide sweeper once, after a delay.
///
/// # Errors
///
/// Returns an error if the operating system cannot start the thread.
pub(crate) fn ring_after(delay: Duration, alarm: &Weak<Alarm>) -> Result<(), BuildError> {
    let shared = &global()?.shared;
    // A millisecond, so that a clock that does not move cannot keep the thread busy.
    let delay = delay.max(Duration::from_millis(1));
    let due = shared.clock.now().saturating_add(delay);
    if shared.state.lock().add_alarm(due, Weak::clone(alarm)) {
        shared.changed.notify_one();
    }
    Ok(())
}

/// Sweeps a collection on the process-wide sweeper if its builder's `sweep_every` is set.
///
/// The name is shared by all collections of a kind, so limits are not reported as events.
pub(crate) fn watch_globally(
    kind: &str,
    collection: &impl Watch,
    every: Option<Duration>,
) -> Result<(), BuildError> {
    if every.is_some() {
        let every = limits::duration("sweep_every", every)?;
        let work = WeakWork::Sweep(collection.downgrade_to_sweep());
        global()?.add(kind, work, every, Reported::without_limits());
    }
    Ok(())
}

/// Runs periodic work on the process-wide sweeper if `every` is set, by the builder method of this
/// name.
#[cfg(feature = "monitor")]
pub(crate) fn run_globally(
    name: &str,
    periodic: &Arc<impl Periodic>,
    method: &'static str,
    every: Option<Duration>,
) -> Result<(), BuildError> {
    if every.is_some() {
        let every = limits::duration(method, every)?;
        let weak: Weak<_> = Arc::downgrade(periodic);
        global()?.add(
            name,
            WeakWork::Periodic(weak),
            every,
            Reported::without_limits(),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::stats::Usage;
    use crate::steps;

    struct Empty;

    impl Sweep for Empty {
        fn sweep_some(&self, _: usize) -> Swept {
            Swept::default()
        }

        fn usage(&self) -> Usage {
            Usage::default()
        }
    }

    fn add(state: &mut State, collection: &Arc<Empty>) {
        let task = Task {
            work: WeakWork::Sweep(collection.downgrade_to_sweep()),
            every: Duration::from_secs(3600),
            sweep: None,
            reported: None,
        };
        state.add("name".into(), task, Duration::from_secs(3600));
    }

    #[test]
    fn add_removes_tasks_of_dropped_collections_in_time() {
        let mut state = State::default();
        let alive: Vec<_> = (0..100).map(|_| Arc::new(Empty)).collect();
        for collection in &alive {
            add(&mut state, collection);
        }
        for _ in 0..100_000 {
            add(&mut state, &Arc::new(Empty));
            assert!(state.tasks.len() <= 2 * (alive.len() + MIN_PURGE));
            assert_eq!(state.tasks.len(), state.deadlines.len());
        }
        state.purge();
        assert_eq!(state.tasks.len(), alive.len());
    }

    #[test]
    fn deadlines_of_unwatched_collections_do_not_accumulate() {
        let sweeper = Sweeper::new();
        let collection = Arc::new(Empty);
        for _ in 0..10_000 {
            sweeper.watch("name", &collection, Duration::from_secs(3600));
            assert!(sweeper.unwatch("name"));
        }
        let state = sweeper.shared.state.lock();
        assert!(state.deadlines.len() <= 2 * MIN_PURGE);
    }

    /// Returns a sweeper's state without its thread, with tasks that are all due now. Their names
    /// are in descending order.
    fn all_due(collection: &Arc<Empty>, tasks: u64) -> Shared {
        let time = ManualClock::new();
        let mut state = State::default();
        for number in 0..tasks {
            let task = Task {
                work: WeakWork::Sweep(collection.downgrade_to_sweep()),
                every: Duration::from_secs(3600),
                sweep: None,
                reported: None,
            };
            let name = (u64::MAX - number).to_string();
            state.add(name.into(), task, Duration::from_secs(3600));
        }
        time.advance(Duration::from_secs(3600));
        Shared {
            clock: time.clock(),
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    #[test]
    fn next_task_is_found_in_logarithmic_steps() {
        let collection = Arc::new(Empty);
        let shared = all_due(&collection, 4_000);
        let steps = steps::during(|| {
            for _ in 0..4_000 {
                let Some(Due::Task(id, work)) = shared.next_due() else {
                    panic!("a task is due");
                };
                shared.finish_piece(&id, &work, Swept::default());
            }
        });
        // A heap of 4,000 has 12 levels. A linear search compares all.
        assert!(steps / 4_000 < 60, "{steps} steps");
    }

    #[test]
    fn tasks_due_at_the_same_time_run_first_come_first_served() {
        let collection = Arc::new(Empty);
        let shared = all_due(&collection, 100);
        for round in 0..3 {
            for number in 0..100 {
                let Some(Due::Task(id, work)) = shared.next_due() else {
                    panic!("a task is due");
                };
                assert_eq!(id.1, number, "in round {round}");
                // The first two rounds are pieces of one sweep.
                let (freed, more) = (0, round < 2);
                shared.finish_piece(&id, &work, Swept { freed, more });
            }
        }
    }
}
