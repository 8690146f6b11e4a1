//! What is told as events, and that it is told once. The subscribers are the tests' own.
#![cfg(feature = "tracing")]

#[path = "events/captured.rs"]
mod captured;

#[path = "events/config.rs"]
mod config;
#[path = "events/listeners.rs"]
mod listeners;
#[cfg(feature = "monitor")]
#[path = "events/monitor.rs"]
mod monitor;
#[path = "events/sweeper.rs"]
mod sweeper;
