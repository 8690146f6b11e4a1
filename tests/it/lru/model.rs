//! Random operations with clock steps, on the cache and on a reference.

use leakproof::Policy;
use leakproof_testkit::lru::{Limits, Op, run};
use proptest::collection::vec;
use proptest::prelude::*;

fn op(keys: u16) -> impl Strategy<Value = Op> {
    prop_oneof![
        10 => (0..keys, 0..20_u8).prop_map(|(key, weight)| Op::Insert { key, weight }),
        5 => (0..keys, 0..20_u8, 0..300_u16)
            .prop_map(|(key, weight, ttl)| Op::InsertWithTtl { key, weight, ttl }),
        6 => (0..keys).prop_map(Op::Get),
        2 => (0..keys, 0..30_u8).prop_map(|(key, weight)| Op::Update { key, weight }),
        2 => (0..keys).prop_map(Op::Peek),
        2 => (0..keys).prop_map(Op::Compute),
        3 => (0..keys).prop_map(Op::Remove),
        1 => Just(Op::PopLru),
        1 => Just(Op::PopOldest),
        1 => (0..5_u8).prop_map(Op::Retain),
        1 => (0..300_u16).prop_map(Op::SetMaxEntries),
        1 => (0..2000_u16).prop_map(Op::SetMaxWeight),
        3 => (0..200_u16).prop_map(Op::Advance),
        1 => (0..2000_u16).prop_map(Op::SetBack),
        1 => Just(Op::Sweep),
        1 => (0..20_u8).prop_map(|dice| if dice == 0 { Op::Clear } else { Op::Sweep }),
    ]
}

fn limits() -> impl Strategy<Value = Limits> {
    let stale = prop_oneof![Just(0), 1..1000_u64];
    let idle_timeout = prop_oneof![Just(u64::MAX), 1..2000_u64];
    let times = (1..4000_u64, idle_timeout, stale, any::<bool>());
    let policy = prop_oneof![Just(Policy::Lru), Just(Policy::S3Fifo)];
    let limits = (1..400_usize, 1..4000_u64, times, policy);
    limits.prop_map(|(max_entries, max_weight, times, policy)| {
        let (ttl, idle_timeout, stale, expire_after) = times;
        Limits {
            max_entries,
            max_weight,
            ttl,
            idle_timeout,
            stale,
            expire_after,
            policy,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 500,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn cache_answers_like_the_reference((limits, ops) in (limits(), vec(op(500), 0..400))) {
        run(limits, &ops);
    }

    #[test]
    fn cache_with_few_keys_answers_like_it(
        (limits, ops) in (limits(), vec(op(8), 0..300)),
    ) {
        run(limits, &ops);
    }
}
