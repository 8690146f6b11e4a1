//! Random checks with clock steps: against the `HashMap` store of `governor` with room for every
//! key, and against a reference in a full store.

use std::time::Duration;

use governor::clock::FakeRelativeClock;
use governor::middleware::StateInformationMiddleware;
use governor::state::StateStore;
use governor::{Quota, RateLimiter};
use leakproof::governor::{BoundedStateStore, WhenFull};
use leakproof_testkit::rate_limits::{self, Counts, Limits, Op, run};
use proptest::collection::vec;
use proptest::prelude::*;

use super::{Limiter, nonzero};

fn quota(limits: Limits) -> Quota {
    Quota::with_period(Duration::from_nanos(limits.interval))
        .expect("above zero")
        .allow_burst(nonzero(limits.burst))
}

struct Bounded {
    store: BoundedStateStore<u16>,
    limiter: Limiter<u16>,
    clock: FakeRelativeClock,
}

impl Bounded {
    fn new(limits: Limits) -> Self {
        let builder = BoundedStateStore::builder()
            .max_entries(limits.max_entries)
            .quota(quota(limits))
            .when_full(if limits.evicts_lru {
                WhenFull::EvictLru
            } else {
                WhenFull::Reject
            })
            .shards(1);
        let store = builder.build().expect("valid options");
        let clock = FakeRelativeClock::default();
        Self {
            limiter: store.limiter(clock.clone()),
            store,
            clock,
        }
    }
}

impl rate_limits::Limiter for Bounded {
    fn check(&self, key: u16, cells: u32) -> Result<(), u64> {
        let checked = self.limiter.check_key_n(&key, nonzero(cells));
        let checked = checked.expect("it fits into the burst");
        checked.map_err(|denied| denied.earliest_possible().as_u64())
    }

    fn advance(&self, by: u64) {
        self.clock.advance(Duration::from_nanos(by));
    }

    fn retain_recent(&self) {
        self.limiter.retain_recent();
    }

    fn validate(&self) {
        self.store.validate();
    }

    fn counts(&self) -> Counts {
        let stats = self.store.stats();
        Counts {
            allowed: stats.allowed,
            limited: stats.limited,
            evicted: stats.evicted,
            rejected: stats.rejected,
        }
    }
}

/// Checks each operation with both stores, and compares every detail of the answers.
fn compare_with_hash_map(limits: Limits, shards: usize, ops: &[Op]) {
    fn with_state<S: StateStore<Key = u16>>(
        limits: Limits,
        store: S,
        clock: &FakeRelativeClock,
    ) -> RateLimiter<u16, S, FakeRelativeClock, StateInformationMiddleware> {
        RateLimiter::new(quota(limits), store, clock.clone())
    }
    let clock = FakeRelativeClock::default();
    let builder = BoundedStateStore::<u16>::builder()
        .max_entries(limits.max_entries)
        .quota(quota(limits))
        .shards(shards);
    let store = builder.build().expect("valid options");
    let bounded = with_state(limits, store.clone(), &clock);
    let unbounded = with_state(
        limits,
        governor::state::keyed::HashMapStateStore::<u16>::default(),
        &clock,
    );
    for op in ops {
        match *op {
            Op::Check { key, more: 0 } => {
                assert_eq!(bounded.check_key(&key), unbounded.check_key(&key), "{op:?}");
            }
            Op::Check { key, more } => {
                // More cells than the burst are an error of both.
                let cells = nonzero(u32::from(more) + 1);
                let (ours, theirs) = (
                    bounded.check_key_n(&key, cells),
                    unbounded.check_key_n(&key, cells),
                );
                assert_eq!(ours, theirs, "{op:?}");
            }
            Op::Advance(by) => clock.advance(Duration::from_nanos(u64::from(by))),
            Op::RetainRecent => {
                bounded.retain_recent();
                unbounded.retain_recent();
                assert_eq!(bounded.len(), unbounded.len());
            }
        }
        store.validate();
    }
    assert_eq!(store.stats().rejected + store.stats().evicted, 0);
}

fn op(keys: u16) -> impl Strategy<Value = Op> {
    prop_oneof![
        10 => (0..keys).prop_map(|key| Op::Check { key, more: 0 }),
        4 => (0..keys, 0..12_u8).prop_map(|(key, more)| Op::Check { key, more }),
        4 => (0..300_u16).prop_map(Op::Advance),
        1 => Just(Op::RetainRecent),
    ]
}

fn limits() -> impl Strategy<Value = Limits> {
    (1..20_usize, 1..200_u64, 1..10_u32, any::<bool>()).prop_map(
        |(max_entries, interval, burst, evicts_lru)| Limits {
            max_entries,
            interval,
            burst,
            evicts_lru,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn store_with_room_answers_like_hash_map_of_governor(
        (limits, shards, ops) in (limits(), 1..5_usize, vec(op(100), 0..400)),
    ) {
        // Room for every key in every shard.
        let limits = Limits { max_entries: 100 * shards, ..limits };
        compare_with_hash_map(limits, shards, &ops);
    }

    #[test]
    fn store_with_fresh_keys_answers_like_hash_map_of_governor(
        (limits, ops) in (limits(), vec(op(100), 0..400)),
    ) {
        // Between two checks of other keys, every key becomes fresh. So one place is enough.
        let limits = Limits { max_entries: 1, ..limits };
        let fresh_after = limits.interval * u64::from(limits.burst);
        let mut last = None;
        let mut spaced = Vec::new();
        for op in ops {
            if let Op::Check { key, .. } = op {
                if last.replace(key) != Some(key) {
                    spaced.push(Op::Advance(fresh_after as u16));
                }
            }
            if !matches!(op, Op::RetainRecent) {
                spaced.push(op);
            }
        }
        compare_with_hash_map(limits, 1, &spaced);
    }

    #[test]
    fn full_store_answers_like_the_reference(
        (limits, ops) in (limits(), vec(op(40), 0..400)),
    ) {
        run(limits, &Bounded::new(limits), &ops);
    }
}
