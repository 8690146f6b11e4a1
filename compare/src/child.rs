//! Work in a child process, which starts with an untouched heap.
//!
//! A child is this program again. An environment variable has its work.

use std::env;
use std::process::Command;

use crate::{growth, http, limiter, lru, memory, pauses};

const VARIABLE: &str = "COMPARE_CHILD";

#[derive(Clone, Copy, Debug)]
pub(crate) enum Work {
    /// Fills a contestant and prints the growth of memory.
    Fill,
    /// Fills a cache and prints the growth of memory.
    FillCache,
    /// Grows a contestant and prints time and memory at each size.
    Grow,
    /// Prints the longest calls of the standard library's set, or of ours.
    Pauses,
    /// Stores responses and prints the growth of memory.
    Store,
    /// Floods a limiter with keys and prints the growth of memory.
    Flood,
}

/// Runs a child and returns its output.
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

/// Does the work of a child. Returns `false` if this process is no child.
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
        Some((&"Store", args)) => http::store(args),
        Some((&"Flood", args)) => limiter::flood(args),
        _ => panic!("no work for a child: {order}"),
    }
    true
}
