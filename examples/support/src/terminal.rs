//! What is told to whoever started the example.

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use crate::output::note;
use crate::text::thousands;
use crate::{MILLION, Result};

/// Ends the example of this name.
pub fn exit(name: &str, result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            note(format_args!("{name}: {error}"));
            ExitCode::from(2)
        }
    }
}

/// Tells somebody who waits how far it is; a short run into a file stays silent.
pub fn progress(what: &str, done: usize) {
    if done.is_multiple_of(MILLION) && (done > 2 * MILLION || io::stderr().is_terminal()) {
        note(format_args!("{} {what} ...", thousands(done)));
    }
}
