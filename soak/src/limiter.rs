//! A `BoundedStateStore` with more keys than it has room for.
//!
//! No time passes while threads check keys, so a key that is stored has exactly its burst.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use governor::Quota;
use governor::clock::FakeRelativeClock;
use leakproof::governor::{BoundedStateStore, WhenFull};

use crate::round::{Dice, Round, Tally};

/// In each of them all quotas are whole at first.
const PERIODS: usize = 3;
const CHECKS: usize = 5_000;

/// The checks of a key in a period.
#[derive(Default)]
struct Checks {
    all: AtomicU32,
    allowed: AtomicU32,
}

pub(crate) fn soak(round: &mut Round, causes: &mut Tally) -> Tally {
    let dice = &mut round.dice;
    let burst = NonZeroU32::new(1 + dice.below(20) as u32).expect("above zero");
    let keys = dice.between(10, 5_000);
    let max_entries = dice.between(8, 2 * keys) as usize;
    let shards = 1 + dice.below(8);
    let when_full = if dice.one_in(2) {
        WhenFull::Reject
    } else {
        WhenFull::EvictLru
    };
    let store = BoundedStateStore::<u64>::builder()
        .max_entries(max_entries)
        .quota(Quota::per_minute(burst))
        .when_full(when_full)
        .shards(shards)
        .build()
        .expect("valid limits");
    let clock = FakeRelativeClock::default();
    let limiter = store.limiter(clock.clone());
    let mut tally = Tally::default();
    for period in 0..PERIODS as u64 {
        let before = store.stats();
        let first = period * keys / 2;
        let checks: Vec<Checks> = (0..keys).map(|_| Checks::default()).collect();
        tally.add(&round.play_some(CHECKS, |_| {
            |dice: &mut Dice, tally: &mut Tally| {
                // Low keys are checked more often.
                let key = dice.between(1, keys) - 1;
                let of_key = &checks[key as usize];
                of_key.all.fetch_add(1, SeqCst);
                if limiter.check_key(&(first + key)).is_ok() {
                    tally.count("checks allowed");
                    of_key.allowed.fetch_add(1, SeqCst);
                } else {
                    tally.count("checks denied");
                }
                if dice.one_in(50) {
                    let stats = store.stats();
                    round.check(
                        stats.len <= max_entries && stats.high_water <= max_entries,
                        || format!("keys above the bound: {stats}"),
                    );
                }
            }
        }));
        store.validate();
        let after = store.stats();
        let (mut allowed, mut rejected) = (0, 0);
        for (key, of_key) in checks.iter().enumerate() {
            let [all, it] = [&of_key.all, &of_key.allowed].map(|it| it.load(SeqCst));
            let quota = all.min(burst.get());
            let holds = match when_full {
                // A key that found no room has nothing.
                WhenFull::Reject => it == quota || it == 0,
                // A key that was evicted begins anew.
                _ => it >= quota,
            };
            round.check(holds, || {
                format!("key {key} was allowed {it} of {all} checks, with a burst of {burst}")
            });
            allowed += u64::from(it);
            rejected += if it == 0 { u64::from(all) } else { 0 };
        }
        let counted = after.allowed - before.allowed;
        round.check_equal("checks allowed, as counted", counted, allowed);
        let counted = after.rejected - before.rejected;
        round.check_equal("checks without room, as counted", counted, rejected);
        if when_full == WhenFull::Reject {
            round.check_equal("keys evicted", after.evicted, 0);
        }
        clock.advance(Duration::from_secs(120));
    }
    let stats = store.stats();
    tally.count_many("checks without room", stats.rejected);
    causes.count_many("keys fresh again", stats.expired);
    causes.count_many("keys evicted", stats.evicted);
    tally
}
