//! Snapshots and journals.

mod cache;
mod codec;
mod journal;
#[cfg(unix)]
mod kill;
mod snapshot;
