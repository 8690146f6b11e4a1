//! The promises of the monitor. Unless a test says otherwise, clock and process figures are its
//! own.

mod helpers;

mod alerts;
mod background;
mod collections;
mod process;
#[cfg(feature = "metrics")]
mod prometheus;
mod reports;
#[cfg(feature = "metrics")]
mod test_recorder;
