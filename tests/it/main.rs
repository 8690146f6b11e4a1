//! Integration tests of the whole crate, in one binary.
#![cfg(not(loom))]

mod coming_from;
mod config;
mod dedup;
#[cfg(feature = "tracing")]
mod events;
mod examples;
#[cfg(feature = "governor")]
mod governor;
#[cfg(feature = "http")]
mod http;
#[cfg(feature = "serde")]
mod json;
mod layers;
mod lru;
mod memory;
#[cfg(feature = "monitor")]
mod monitor;
mod panics;
#[cfg(feature = "persist")]
mod persist;
#[cfg(all(unix, feature = "redis"))]
mod redis;
mod registry;
mod semantics;
mod support;
mod sweeper;
#[cfg(feature = "tokio")]
mod sweeper_task;
