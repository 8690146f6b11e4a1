//! Loom models: every interleaving of a few threads. `src/sync.rs` says how to run them.
#![cfg(loom)]

mod dedup;
#[cfg(feature = "persist")]
mod journal;
mod lru;
mod registry;
mod tasks;
mod waiting;
