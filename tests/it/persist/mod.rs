//! Snapshots and journals.

mod codec;
mod snapshot;
