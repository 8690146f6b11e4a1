//! Runs random operations on `unsync::DedupMap` and on the reference of the model tests.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;

use leakproof_testkit::dedup::{Check, Limits, Op, run};

#[derive(Arbitrary, Debug)]
struct Input {
    ttl: u16,
    lease: u16,
    max_entries: u8,
    max_in_flight: u8,
    max_bytes: u16,
    boxed_values: bool,
    ops: Vec<Op>,
}

fuzz_target!(|input: Input| {
    let limits = Limits {
        ttl: u64::from(input.ttl) + 1,
        lease: u64::from(input.lease) + 1,
        // From a few up to some thousands, which are enough for compaction.
        max_entries: usize::from(input.max_entries).pow(2) / 16 + 1,
        max_in_flight: usize::from(input.max_in_flight) + 1,
        max_bytes: usize::from(input.max_bytes) + 1,
        boxed_values: input.boxed_values,
    };
    // Short runs, of which some still fill and compact several blocks.
    let mut ops = input.ops;
    ops.truncate(64);
    for op in &mut ops {
        if let Op::RecordNew(count) = op {
            *count %= 1_024;
        }
    }
    run(limits, &ops, Check::Amortized);
});
