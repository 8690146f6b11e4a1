//! The process-wide sweeper, on which `sweep_every`, `sample_every` and the ends of leases run.

use std::sync::{OnceLock, Weak};
use std::time::Duration;

use super::Sweeper;
use crate::clock::Alarm;
use crate::limits::{self, BuildError};
use crate::sweep::Watch;

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

/// Sweeps a collection on the process-wide sweeper if `every` is set, by the builder method of this
/// name.
///
/// The name is shared by all collections of a kind, so limits are not reported as events.
pub(crate) fn watch_globally(
    kind: &str,
    collection: &impl Watch,
    method: &'static str,
    every: Option<Duration>,
) -> Result<(), BuildError> {
    if every.is_some() {
        let every = limits::duration(method, every)?;
        global()?.add(kind, collection.downgrade_to_sweep(), every, None);
    }
    Ok(())
}
