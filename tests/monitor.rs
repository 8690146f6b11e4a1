//! What the monitor promises. Time and the process's figures are the tests' own, but where it is said.
#![cfg(feature = "monitor")]

#[path = "monitor/helpers.rs"]
mod helpers;

#[path = "monitor/background.rs"]
mod background;
#[path = "monitor/collections.rs"]
mod collections;
#[path = "monitor/process.rs"]
mod process;
#[cfg(feature = "metrics")]
#[path = "monitor/published.rs"]
mod published;
#[cfg(feature = "metrics")]
#[path = "monitor/recorders.rs"]
mod recorders;
#[path = "monitor/reports.rs"]
mod reports;
#[path = "monitor/telling.rs"]
mod telling;
