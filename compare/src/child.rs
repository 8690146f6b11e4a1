//! Work that is done in a process of its own, so that it starts from an untouched heap.
//!
//! A child is this program again, told by an environment variable what to do.

use std::env;
use std::process::Command;

use crate::{growth, lru, memory, pauses};

const VARIABLE: &str = "COMPARE_CHILD";

#[derive(Clone, Copy, Debug)]
pub(crate) enum Work {
    /// Fills a contestant and tells by how much memory grew.
    Fill,
    /// Fills a cache and tells by how much memory grew.
    FillCache,
    /// Grows a contestant and tells how long that took, and how much memory, size by size.
    Grow,
    /// Tells the longest calls of the standard library's set, or of ours.
    Pauses,
}

/// What a child prints that is given this work.
pub(crate) fn run(work: Work, args: &[&str]) -> String {
    let this = env::current_exe().expect("the path of this program");
    let order = format!("{work:?}\n{}", args.join("\n"));
    let child = Command::new(this)
        .env(VARIABLE, order)
        .output()
        .expect("a child process");
    assert!(
        child.status.success(),
        "{work:?} {args:?}: {}",
        String::from_utf8_lossy(&child.stderr)
    );
    String::from_utf8_lossy(&child.stdout).into_owned()
}

/// Where this is a child, does what it was told; whether it is one.
pub(crate) fn main() -> bool {
    let Ok(order) = env::var(VARIABLE) else {
        return false;
    };
    let lines: Vec<&str> = order.lines().collect();
    match lines.split_first() {
        Some((&"Fill", args)) => memory::fill(args),
        Some((&"FillCache", args)) => lru::memory::fill(args),
        Some((&"Grow", args)) => growth::print(args),
        Some((&"Pauses", args)) => pauses::print(args),
        _ => panic!("no work for a child: {order}"),
    }
    true
}
