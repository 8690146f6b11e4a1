//! Models of what threads do to each other, checked over all orders in which they can do it.
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test --release --test loom
//! ```
//!
//! In any other build this file is empty. The other tests know nothing of loom, and do not run under that flag.
#![cfg(loom)]

use std::sync::Arc;
use std::time::Duration;

use leakproof::{DedupSet, ManualClock};
use loom::thread;

#[test]
fn of_concurrent_inserts_exactly_one_is_new() {
    loom::model(|| {
        let builder = DedupSet::<str>::builder().ttl(Duration::from_secs(60)).max_entries(10).shards(1);
        let seen = Arc::new(builder.clock(&ManualClock::new()).build().expect("sound limits"));
        let other = Arc::clone(&seen);
        let thread = thread::spawn(move || other.insert("id"));
        let here = seen.insert("id");
        assert!(here ^ thread.join().expect("no panic"));
    });
}
