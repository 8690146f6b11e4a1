//! `BoundedStateStore`: rate limits for a bounded number of keys.

mod flood;
mod model;
mod promises;
mod threads;

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::FakeRelativeClock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::{Quota, RateLimiter};
use leakproof::governor::{BoundedStateStore, WhenFull};

pub type Limiter<K = u64> =
    RateLimiter<K, BoundedStateStore<K>, FakeRelativeClock, NoOpMiddleware<Nanos>>;

pub fn nonzero(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).expect("above zero")
}

/// A cell every second, and a burst.
pub fn quota(burst: u32) -> Quota {
    Quota::with_period(Duration::from_secs(1))
        .expect("above zero")
        .allow_burst(nonzero(burst))
}

/// Returns a store of one shard, its limiter, and the clock.
pub fn limiter(
    max_entries: usize,
    burst: u32,
    when_full: WhenFull,
) -> (BoundedStateStore<u64>, Limiter, FakeRelativeClock) {
    let builder = BoundedStateStore::builder()
        .max_entries(max_entries)
        .quota(quota(burst))
        .when_full(when_full)
        .shards(1);
    let store = builder.build().expect("valid options");
    let clock = FakeRelativeClock::default();
    let limiter = store.limiter(clock.clone());
    (store, limiter, clock)
}
