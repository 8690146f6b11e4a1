//! A model of the dedup map, checked over all orders in which threads can meet. How to run it:
//! `src/sync.rs`.

use std::sync::Arc;
use std::time::Duration;

use leakproof::{DedupSet, ManualClock};
use loom::thread;

#[test]
fn concurrent_inserts_return_true_once() {
    loom::model(|| {
        let builder = DedupSet::<str>::builder()
            .ttl(Duration::from_secs(60))
            .max_entries(10)
            .shards(1);
        let seen = Arc::new(
            builder
                .clock(&ManualClock::new())
                .build()
                .expect("sound limits"),
        );
        let other = Arc::clone(&seen);
        let thread = thread::spawn(move || other.insert("id"));
        let here = seen.insert("id");
        assert!(here ^ thread.join().expect("no panic"));
    });
}
