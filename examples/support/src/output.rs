//! Output that does not panic where nobody reads it.

use std::error::Error;
use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

/// Whoever reads may have seen enough, as `head` does: that is no error.
pub fn print(text: impl Display) -> Result<(), Box<dyn Error>> {
    let mut stdout = io::stdout().lock();
    match write!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// `eprintln` would panic where nobody reads.
pub fn note(text: impl Display) {
    writeln!(io::stderr(), "{text}").ok();
}
