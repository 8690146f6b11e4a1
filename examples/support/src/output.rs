//! Output to a pipe that may have no reader.

use std::error::Error;
use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Prints to standard output. A reader that closes the pipe early, as `head` does, is no error.
pub fn print(text: impl Display) -> Result<(), Box<dyn Error>> {
    let mut stdout = io::stdout().lock();
    match write!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Prints a line to standard error. Unlike `eprintln`, it does not panic if the pipe is closed.
pub fn note(text: impl Display) {
    writeln!(io::stderr(), "{text}").ok();
}

/// Returns the default path of a chart: in `target` if that directory exists, else here.
pub fn chart_path(name: &str) -> PathBuf {
    let target = Path::new("target");
    if target.is_dir() {
        target.join(name)
    } else {
        name.into()
    }
}

/// Writes a file. Does not create its directory.
pub fn write_file(path: &Path, text: &str) -> Result<(), Box<dyn Error>> {
    std::fs::write(path, text)
        .map_err(|error| format!("cannot write {}: {error}", path.display()).into())
}
