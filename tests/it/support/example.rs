//! Runs an example as a process, on input of every kind.

use std::env;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{self, Command, Output};

pub use super::process::command;
use flate2::Compression;
use flate2::write::GzEncoder;

/// A temporary directory, removed when dropped.
pub struct Folder(PathBuf);

impl Folder {
    /// Creates a directory with a name that no other test and no other process uses.
    pub fn new(name: &str) -> Self {
        let path = env::temp_dir().join(format!("leakproof-{name}-{}", process::id()));
        fs::create_dir_all(&path).expect("the temporary directory can be written");
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn write(&self, name: &str, content: &[u8]) {
        fs::write(self.0.join(name), content).expect("the temporary directory can be written");
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub fn run(mut command: Command, input: &[u8]) -> Output {
    let mut process = command.spawn().expect("the example starts");
    // An example that rejects its options does not read its input.
    let _ = process.stdin.take().expect("a pipe").write_all(input);
    process.wait_with_output().expect("the example ends")
}

/// Runs an example with a closed standard output.
pub fn run_unread(mut command: Command) -> Output {
    let mut process = command.spawn().expect("the example starts");
    drop(process.stdout.take());
    process.wait_with_output().expect("the example ends")
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("text")
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(bytes).expect("written to memory");
    gzip.finish().expect("written to memory")
}

/// Returns the path of real input, which is not part of the repository, or reports that it is
/// absent.
pub fn real_input(name: &str) -> Option<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../shared/data")
        .join(name);
    if !path.exists() {
        eprintln!("skipped: {} does not exist", path.display());
        return None;
    }
    Some(path.to_str().expect("a path in UTF-8").to_string())
}

/// Checks the exit code and the texts of an error, and that nothing else was printed.
#[track_caller]
pub fn assert_fails(output: &Output, code: i32, texts: &[&str]) {
    let error = stderr(output);
    assert_eq!(
        output.status.code(),
        Some(code),
        "{error}\n{}",
        stdout(output)
    );
    for text in texts {
        assert!(error.contains(text), "no {text:?} in {error}");
    }
    assert!(output.stdout.is_empty(), "{}", stdout(output));
}
