//! Random operations on `unsync::LruCache` and on the model tests' reference, step by step.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;

use leakproof_testkit::lru::{Limits, Op, run};

#[derive(Arbitrary, Debug)]
struct Input {
    max_entries: u8,
    max_weight: u16,
    ttl: u16,
    idle_timeout: u16,
    stale: u16,
    expire_after: bool,
    ops: Vec<Op>,
}

fuzz_target!(|input: Input| {
    let limits = Limits {
        max_entries: usize::from(input.max_entries) + 1,
        max_weight: u64::from(input.max_weight) + 1,
        ttl: u64::from(input.ttl) + 1,
        idle_timeout: u64::from(input.idle_timeout) + 1,
        stale: u64::from(input.stale),
        expire_after: input.expire_after,
    };
    run(limits, &input.ops);
});
