//! `spawn_sweeper`: a sweeper as a task of a tokio runtime.
//!
//! One task sweeps one collection. A task for all collections would need a shared list with a lock,
//! as the sweeper's thread has, and tokio already schedules thousands of timers.

use std::sync::Weak;
use std::time::Duration;

use tokio::task::{AbortHandle, yield_now};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use crate::panic_counter::PanicCounter;
use crate::sweep::{Sweep, Watch};

/// Entries that one piece of a sweep frees, before the task yields to others. About a millisecond.
const PIECE: usize = 8192;

/// A task that sweeps a collection at intervals. Dropping it ends the task.
///
/// Returned by [`spawn_sweeper`].
#[derive(Debug)]
#[must_use = "dropping the handle ends the task"]
pub struct SweeperTask {
    task: AbortHandle,
}

impl SweeperTask {
    /// Returns `true` if the task has ended, because the collection was dropped or the runtime shut
    /// down.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.task.is_finished()
    }
}

impl Drop for SweeperTask {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Spawns a task that sweeps a collection at an interval of at least 1 ms, for the first time after
/// one interval.
///
/// Use it instead of `sweep_every` if removal callbacks need the runtime: they run in the task, so
/// `tokio::spawn` works in them. The task holds the collection weakly and ends at the first
/// interval after the collection was dropped. It sweeps in pieces of 8,192 entries and yields
/// between them. A panic in a piece, for example in a value's `Drop`, ends that sweep only.
///
/// The interval follows tokio's clock, so it can be paused. Expiry follows the collection's clock.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use leakproof::{LruCache, RemovalCause, spawn_sweeper};
/// use std::time::Duration;
///
/// let sessions = LruCache::<u64, String>::builder()
///     .max_entries(10_000)
///     .idle_timeout(Duration::from_secs(300))
///     .on_removal(|&id, _session, cause| {
///         if cause == RemovalCause::Idle {
///             tokio::spawn(async move { println!("session {id} timed out") });
///         }
///     })
///     .build()?;
/// let sweeper = spawn_sweeper(&sessions, Duration::from_secs(60)); // dropped = ended
/// # drop(sweeper);
/// # Ok::<(), leakproof::BuildError>(())
/// # }).unwrap();
/// ```
///
/// # Panics
///
/// Panics outside of a tokio runtime, and in a runtime without a timer.
pub fn spawn_sweeper(collection: &impl Watch, every: Duration) -> SweeperTask {
    let every = every.max(Duration::from_millis(1));
    let mut interval = interval_at(Instant::now() + every, every);
    // A late sweep frees what the missed ones would have freed.
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let sweeps = sweep_at(interval, collection.downgrade_to_sweep());
    SweeperTask {
        task: tokio::spawn(sweeps).abort_handle(),
    }
}

async fn sweep_at(mut interval: Interval, collection: Weak<dyn Sweep>) {
    let panics = PanicCounter::default();
    loop {
        interval.tick().await;
        // The handle of a piece may be the last one, so its drop may run user code, and it is not
        // held while the task waits.
        while let Some(collection) = collection.upgrade() {
            let piece = || {
                let collection = collection;
                collection.sweep_some(PIECE).more
            };
            if panics.catch("collection of a task", "sweep", piece) != Some(true) {
                break;
            }
            yield_now().await;
        }
        if collection.strong_count() == 0 {
            return;
        }
    }
}
