//! Random operations, after each of which the log agrees with its reference.

use proptest::prelude::*;

use super::checked::{Checked, TTL};
use crate::dedup::log::block::BLOCK;

#[derive(Clone, Debug)]
enum Op {
    Push(usize),
    Evict(usize),
    EvictBytes(u64),
    Remove(usize, usize),
    Advance(u64),
    /// Advances to the time at which an entry expires that arrived this long after the oldest.
    Expire(u64),
    Sweep(usize),
    /// Resizes the index to the layout of numbers that span 2 to the power of this.
    Relayout(u32),
}

fn op() -> impl Strategy<Value = Op> {
    let many = 3 * BLOCK;
    prop_oneof![
        4 => (0..many).prop_map(Op::Push),
        1 => (0..many / 3).prop_map(Op::Evict),
        1 => (0..200_000_u64).prop_map(Op::EvictBytes),
        4 => (0..many, any::<usize>()).prop_map(|(count, step)| Op::Remove(count, step)),
        1 => (0..TTL / 2).prop_map(Op::Advance),
        1 => (0..many).prop_map(Op::Sweep),
        1 => (19..=27_u32).prop_map(Op::Relayout),
    ]
}

/// Fewer entries at a time, most of which are removed: compaction continues while the head comes
/// nearer.
fn small_op() -> impl Strategy<Value = Op> {
    let few = BLOCK;
    prop_oneof![
        3 => (0..few).prop_map(Op::Push),
        2 => (0..few / 4).prop_map(Op::Evict),
        1 => (0..10_000_u64).prop_map(Op::EvictBytes),
        4 => (0..few, any::<usize>()).prop_map(|(count, step)| Op::Remove(count, step)),
        1 => (0..few as u64).prop_map(Op::Expire),
        1 => (0..few).prop_map(Op::Sweep),
        1 => (19..=27_u32).prop_map(Op::Relayout),
    ]
}

fn any_start() -> impl Strategy<Value = u32> {
    prop_oneof![
        Just(0),
        (0..9 * BLOCK as u32).prop_map(|back| u32::MAX - back)
    ]
}

fn run(start: u32, ops: Vec<Op>) {
    let mut checked = Checked::starting_at(start);
    let mut id = 0_usize;
    for op in ops {
        match op {
            Op::Push(count) => {
                for _ in 0..count {
                    id += 1;
                    let padding = if id % 100 == 0 { 7_000 } else { id * 31 % 97 };
                    checked.push(&format!("{id}{}", "x".repeat(padding)));
                }
            }
            Op::Evict(count) => (0..count).for_each(|_| checked.evict()),
            Op::EvictBytes(bytes) => checked.evict_bytes(bytes),
            Op::Remove(count, step) => {
                for at in 0..count {
                    if checked.reference.is_empty() {
                        break;
                    }
                    checked.remove(at.wrapping_mul(step) % checked.reference.len());
                }
            }
            Op::Advance(by) => checked.advance(by),
            Op::Expire(after) => {
                let oldest = checked.reference.front().map_or(0, |entry| entry.1);
                checked.advance((oldest + after + TTL).saturating_sub(checked.now));
            }
            Op::Sweep(budget) => {
                checked.sweep_some(budget);
            }
            Op::Relayout(bits) => checked.relayout(bits),
        }
        checked.check();
    }
    checked.sweep();
    checked.check();
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(60) })]

    #[test]
    fn log_agrees_with_the_reference_for_many_entries(
        start in any_start(),
        ops in proptest::collection::vec(op(), 0..12),
    ) {
        run(start, ops);
    }

    #[test]
    fn log_agrees_with_the_reference_during_compaction(
        start in any_start(),
        ops in proptest::collection::vec(small_op(), 30..90),
    ) {
        run(start, ops);
    }
}
