//! Random operations on a `ListenerRegistry` and on the model tests' reference, step by step.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;

use leakproof_testkit::registry::{Limits, Op, run};

#[derive(Arbitrary, Debug)]
struct Input {
    max_listeners: u8,
    max_per_topic: u8,
    evict: bool,
    max_age: Option<u16>,
    failures: u8,
    retry_after: Option<u16>,
    ops: Vec<Op>,
}

fuzz_target!(|input: Input| {
    let limits = Limits {
        max_listeners: usize::from(input.max_listeners) % 24 + 1,
        max_per_topic: usize::from(input.max_per_topic) % 12 + 1,
        evict: input.evict,
        max_age: input.max_age.map(|age| u64::from(age) + 1),
        failures: u32::from(input.failures) % 5 + 1,
        retry_after: input.retry_after.map(|pause| u64::from(pause) + 1),
    };
    run(limits, &input.ops);
});
