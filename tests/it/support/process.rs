//! Where the examples are, and how they are started.

use std::env;
use std::path::Path;
use std::process::{Command, Stdio};

/// Cargo puts an example beside the directory of this test. It runs where it may write.
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
