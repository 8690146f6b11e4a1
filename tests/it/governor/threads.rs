//! Checks on several threads.

use governor::clock::FakeRelativeClock;
use leakproof::governor::{BoundedStateStore, WhenFull};

use super::quota;
use crate::support::concurrently::{THREADS, together};

#[test]
fn concurrent_checks_of_a_key_allow_exactly_its_burst() {
    let store = BoundedStateStore::<u64>::new(10, quota(1_000));
    let limiter = store.limiter(FakeRelativeClock::default());
    let allowed = together(|_| (0..500).filter(|_| limiter.check_key(&7).is_ok()).count());
    assert_eq!(allowed.iter().sum::<usize>(), 1_000);
    let stats = store.stats();
    let checks = 500 * THREADS as u64;
    assert_eq!((stats.allowed, stats.limited), (1_000, checks - 1_000));
}

#[test]
fn bound_holds_while_threads_add_keys() {
    for when_full in [WhenFull::Reject, WhenFull::EvictLru] {
        let store = BoundedStateStore::<u64>::builder()
            .max_entries(100)
            .quota(quota(2))
            .when_full(when_full)
            .shards(3)
            .build()
            .expect("valid options");
        let limiter = store.limiter(FakeRelativeClock::default());
        together(|thread| {
            for number in 0..5_000 {
                // Some keys are those of other threads.
                let _ = limiter.check_key(&((thread as u64 * 4_000 + number) % 20_000));
                assert!(number % 100 > 0 || store.len() <= 100);
            }
        });
        store.validate();
        let stats = store.stats();
        let answers = stats.allowed + stats.limited + stats.rejected;
        assert_eq!(answers, 5_000 * THREADS as u64);
        assert_eq!((stats.len, stats.high_water), (100, 100));
        assert_eq!(stats.rejected > 0, when_full == WhenFull::Reject);
        assert_eq!(stats.evicted > 0, when_full == WhenFull::EvictLru);
    }
}
