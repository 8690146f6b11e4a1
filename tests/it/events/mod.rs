//! What is told as events, and that it is told once. The subscribers are the tests' own.

mod captured;

mod config;
mod listeners;
#[cfg(feature = "monitor")]
mod monitor;
mod sweeper;
