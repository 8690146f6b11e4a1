//! What the monitor promises. Time and the process's figures are the tests' own, but where it is said.

mod helpers;

mod background;
mod collections;
mod process;
#[cfg(feature = "metrics")]
mod published;
#[cfg(feature = "metrics")]
mod recorders;
mod reports;
mod telling;
