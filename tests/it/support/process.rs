//! Starts the examples.

use std::env;
use std::path::Path;
use std::process::{Command, Stdio};

/// Returns the command of an example, which runs in a temporary directory.
///
/// Cargo builds examples into `target/<profile>/examples` and tests into `target/<profile>/deps`.
pub fn command(example: &str, args: &[&str]) -> Command {
    let test = env::current_exe().expect("a test has a path");
    let profile = test
        .parent()
        .and_then(Path::parent)
        .expect("a test lies in target/<profile>/deps");
    let path = profile
        .join("examples")
        .join(example)
        .with_extension(env::consts::EXE_EXTENSION);
    assert!(
        path.exists(),
        "no example there: `cargo build --example {example}`"
    );
    let mut command = Command::new(path);
    command
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}
