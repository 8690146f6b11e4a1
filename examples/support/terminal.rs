//! What is told to whoever started the example.

use std::fmt::Display;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::process::ExitCode;

use super::text::thousands;
use super::{MILLION, Result};

/// Ends the example of this name.
pub(crate) fn exit(name: &str, result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            note(format_args!("{name}: {error}"));
            ExitCode::from(2)
        }
    }
}

/// Tells somebody who waits how far it is; a short run into a file stays silent.
pub(crate) fn progress(what: &str, done: usize) {
    if done.is_multiple_of(MILLION) && (done > 2 * MILLION || io::stderr().is_terminal()) {
        note(format_args!("{} {what} ...", thousands(done)));
    }
}

/// Whoever reads may have seen enough, as `head` does: that is no error.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// `eprintln` would panic where nobody reads.
pub(crate) fn note(text: impl Display) {
    writeln!(io::stderr(), "{text}").ok();
}
