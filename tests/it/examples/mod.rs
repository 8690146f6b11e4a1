//! The examples, run as their users run them.

#[cfg(all(unix, feature = "redis"))]
mod cluster;
mod dedup;
#[cfg(feature = "governor")]
mod rate_limit;
mod reconnect;
mod replay;
#[cfg(all(unix, feature = "persist"))]
mod restart;
#[cfg(all(
    unix,
    feature = "metrics",
    feature = "redis",
    feature = "serde",
    feature = "tracing"
))]
mod service;
