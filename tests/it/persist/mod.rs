//! Snapshots and journals.

mod codec;
mod journal;
#[cfg(unix)]
mod kill;
mod snapshot;
