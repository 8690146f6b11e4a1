//! Random operations, with clock steps, on the map and on a reference built from std collections.

use leakproof_testkit::dedup::{Check, Limits, Op, run};
use proptest::collection::vec;
use proptest::prelude::*;

fn op(keys: u8) -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0..keys).prop_map(Op::Record),
        2 => vec(0..keys, 0..80).prop_map(Op::Batch),
        2 => (0..keys).prop_map(Op::Contains),
        4 => (0..keys).prop_map(Op::Remove),
        4 => (0..keys).prop_map(Op::Claim),
        3 => any::<u8>().prop_map(Op::Commit),
        1 => any::<u8>().prop_map(Op::Release),
        2 => (any::<u8>(), 0..2000_u16).prop_map(|(which, by)| Op::Extend(which, by)),
        4 => (0..200_u16).prop_map(Op::Advance),
        1 => (0..2000_u16).prop_map(Op::SetBack),
        1 => Just(Op::Sweep),
        1 => (0..20_u8).prop_map(|dice| if dice == 0 { Op::Clear } else { Op::Sweep }),
    ]
}

fn limits() -> impl Strategy<Value = Limits> {
    (
        1..2000_u64,
        1..1000_u64,
        1..150_usize,
        1..20_usize,
        1..4000_usize,
        any::<bool>(),
    )
        .prop_map(
            |(ttl, lease, max_entries, max_in_flight, max_bytes, boxed_values)| Limits {
                ttl,
                lease,
                max_entries,
                max_in_flight,
                max_bytes,
                boxed_values,
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn map_agrees_with_the_reference((limits, ops) in (limits(), vec(op(200), 0..300))) {
        run(limits, &ops, Check::EveryStep);
    }

    #[test]
    fn map_agrees_for_few_keys((limits, ops) in (limits(), vec(op(8), 0..300))) {
        run(limits, &ops, Check::EveryStep);
    }
}

/// Some thousands of ids, most of which are removed.
fn mass_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        2 => (0..4_096_u16).prop_map(Op::RecordNew),
        4 => (0..20_u8, 0..4_000_u16).prop_map(|(from, count)| Op::RemoveMany(from, count)),
        1 => any::<u8>().prop_map(Op::RemoveAllBut),
        2 => (0..6_000_u16).prop_map(Op::Advance),
        1 => Just(Op::Sweep),
        1 => op(6),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn map_agrees_for_mass_removals(boxed_values in any::<bool>(), ops in vec(mass_op(), 0..16)) {
        let limits = Limits {
            ttl: 6_000,
            lease: 500,
            max_entries: 6_000,
            max_in_flight: 20,
            max_bytes: 100_000,
            boxed_values,
        };
        run(limits, &ops, Check::EveryStep);
    }
}
