//! Events of the feature `tracing`: their fields, and that each is emitted once.

mod tracing_capture;

mod config;
#[cfg(feature = "persist")]
mod journal;
#[cfg(feature = "monitor")]
mod monitor;
mod panics;
mod registry;
#[cfg(all(unix, feature = "redis"))]
mod shared;
mod sweeper;
