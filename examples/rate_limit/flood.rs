//! A flood of new chats against a limiter, and against the limiter with the `HashMap` store of
//! governor.

use std::alloc::System;
use std::num::NonZeroU32;
use std::time::Duration;

use cap::Cap;
use example_support::Result;
use example_support::output::print;
use example_support::text::thousands;
use governor::clock::FakeRelativeClock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use leakproof::Clock;
use leakproof::governor::BoundedStateStore;

/// Counts the allocated bytes.
#[global_allocator]
static ALLOCATED: Cap<System> = Cap::new(System, usize::MAX);

/// The time between two checks: a million new chats per second.
const STEP: Duration = Duration::from_micros(1);
/// The chat that is active before the flood.
const ESTABLISHED: u64 = u64::MAX;

type Limiter<S> = RateLimiter<u64, S, FakeRelativeClock, NoOpMiddleware<Nanos>>;

/// Checks `keys` new chats with both stores, and prints what they hold afterwards.
pub(crate) fn run(chats: &BoundedStateStore<u64>, keys: u64) -> Result<()> {
    let (quota, keys_text) = (chats.quota(), thousands(keys));
    print(format_args!(
        "a flood of {keys_text} new chats, one per microsecond\n"
    ))?;
    flood("BoundedStateStore", quota, chats.clone(), keys)?;
    chats.validate();
    print(format_args!("  {}\n", chats.stats()))?;
    flood(
        "HashMapStateStore",
        quota,
        HashMapStateStore::<u64>::default(),
        keys,
    )
}

fn flood<S: StateStore<Key = u64>>(name: &str, quota: Quota, store: S, keys: u64) -> Result<()> {
    let before = ALLOCATED.allocated();
    let time = FakeRelativeClock::default();
    let limiter: Limiter<S> = RateLimiter::new(quota, store, time.clone());
    let allowed = |limiter: &Limiter<S>| {
        let checks = 0..quota.burst_size().get();
        checks
            .filter(|_| limiter.check_key(&ESTABLISHED).is_ok())
            .count()
    };
    allowed(&limiter);
    let clock = Clock::precise();
    let (mut most, mut denied) = (0, 0_u64);
    for key in 0..keys {
        time.advance(STEP);
        denied += u64::from(limiter.check_key(&key).is_err());
        if key % 1024 == 0 {
            most = most.max(ALLOCATED.allocated().saturating_sub(before));
        }
    }
    let per_check = clock.now().as_nanos() / u128::from(keys.max(1));
    let [most, denied] = [most as u64, denied].map(thousands);
    let burst: NonZeroU32 = quota.burst_size();
    print(format_args!(
        "{name}: at most {most} bytes, {denied} denied, {per_check} ns per check\n  \
         the established chat used its burst before, and {} of {burst} messages are allowed now\n",
        allowed(&limiter)
    ))
}
