//! Helpers that several test modules share.

pub mod concurrently;
pub mod example;
pub mod fn_sweep;
pub mod panicking_types;
pub mod process;
#[cfg(all(unix, feature = "metrics", feature = "serde", feature = "tracing"))]
pub mod prometheus;
pub mod task;
pub mod timeout;
