//! Input, output and charts for the examples, the comparison and the soak test.

pub mod csv;
pub mod lines;
pub mod output;
pub mod progress;
pub mod random;
pub mod redis_server;
pub mod svg;
pub mod text;
pub mod time;

use std::process::ExitCode;

pub type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// Converts the result of the program `name` into its exit code, and prints an error.
pub fn exit(name: &str, result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::note(format_args!("{name}: {error}"));
            ExitCode::FAILURE
        }
    }
}
