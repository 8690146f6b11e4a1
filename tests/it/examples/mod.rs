//! The examples, run as their users run them.

#[cfg(all(unix, feature = "redis"))]
mod cluster;
mod dedup;
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
