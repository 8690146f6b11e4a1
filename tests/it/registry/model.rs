//! Random operations on a registry and on the reference model of the testkit.

use leakproof_testkit::registry::{Limits, Op, run};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

fn op() -> impl Strategy<Value = Op> {
    let any = any::<u8>;
    prop_oneof![
        8 => (any(), any(), any()).prop_map(|(topic, options, number)| {
            Op::On { topic, options, number }
        }),
        8 => (any(), any()).prop_map(|(topic, event)| Op::Emit { topic, event }),
        2 => (any(), any(), any()).prop_map(|(topic, event, scope)| {
            Op::EmitTo { topic, event, scope }
        }),
        3 => any().prop_map(Op::DropGuard),
        2 => any().prop_map(Op::Detach),
        2 => any().prop_map(Op::Pause),
        2 => any().prop_map(Op::Resume),
        1 => any().prop_map(Op::DetachAll),
        1 => any().prop_map(Op::Renew),
        1 => any().prop_map(Op::DropOwner),
        3 => (0..500_u16).prop_map(Op::Advance),
        1 => Just(Op::Sweep),
        1 => (0..20_u8).prop_map(|dice| if dice == 0 { Op::Clear } else { Op::Sweep }),
    ]
}

fn limits() -> impl Strategy<Value = Limits> {
    (
        1..20_usize,
        1..12_usize,
        any::<bool>(),
        option::of(1..3000_u64),
        1..5_u32,
        option::of(1..600_u64),
    )
        .prop_map(
            |(max_listeners, max_per_topic, evict, max_age, failures, retry_after)| Limits {
                max_listeners,
                max_per_topic,
                evict,
                max_age,
                failures,
                retry_after,
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn registry_matches_the_reference((limits, ops) in (limits(), vec(op(), 0..200))) {
        run(limits, &ops);
    }
}
