//! Random operations on `unsync::LruCache` and on the model tests' reference, step by step.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;

use leakproof::Policy;
use leakproof_testkit::lru::{Limits, Op, run};

#[derive(Arbitrary, Debug)]
struct Input {
    max_entries: u8,
    max_weight: u16,
    ttl: u16,
    idle_timeout: u16,
    stale: u16,
    expire_after: bool,
    is_s3_fifo: bool,
    ops: Vec<Op>,
}

fuzz_target!(|input: Input| {
    let limits = Limits {
        max_entries: usize::from(input.max_entries) + 1,
        max_weight: u64::from(input.max_weight) + 1,
        ttl: u64::from(input.ttl) + 1,
        // The longest means none.
        idle_timeout: match input.idle_timeout {
            u16::MAX => u64::MAX,
            idle_timeout => u64::from(idle_timeout) + 1,
        },
        stale: u64::from(input.stale),
        expire_after: input.expire_after,
        policy: if input.is_s3_fifo {
            Policy::S3Fifo
        } else {
            Policy::Lru
        },
    };
    run(limits, &input.ops);
});
