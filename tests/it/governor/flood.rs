//! A flood of distinct keys: memory, the history of other keys, and counters.

use std::time::Duration;

use leakproof::governor::WhenFull;

use super::limiter;

const FLOOD: u64 = 300_000;
const ENTRIES: usize = 3_000;
/// An established key, whose quota is used up.
const CHAT: u64 = u64::MAX;

/// Returns the bytes that this thread holds more after `work`, and the most in between.
fn grown_by(work: impl FnOnce()) -> (i64, u64) {
    let counted = allocation_counter::measure(work);
    (counted.bytes_current, counted.bytes_max)
}

#[test]
fn flood_at_once_is_rejected_and_takes_no_memory() {
    let (store, limiter, _) = limiter(ENTRIES, 5, WhenFull::Reject);
    (0..5).for_each(|_| assert!(limiter.check_key(&CHAT).is_ok()));
    let new = |key| limiter.check_key(&key).is_ok();
    let (filled, _) = grown_by(|| {
        assert_eq!(
            (0..ENTRIES as u64).filter(|&key| new(key)).count(),
            ENTRIES - 1
        );
    });
    assert!(filled > 100_000, "{filled} bytes");
    let grown = grown_by(|| {
        for key in 0..FLOOD {
            assert!(!new(ENTRIES as u64 + key));
            assert!(key % 1_000 > 0 || limiter.check_key(&CHAT).is_err());
        }
    });
    assert_eq!(grown, (0, 0));
    assert_eq!(store.stats().rejected, FLOOD + 1);
    assert_eq!(store.stats().high_water, ENTRIES);
    store.validate();
}

#[test]
fn flood_over_time_replaces_fresh_keys_only() {
    let (store, limiter, clock) = limiter(ENTRIES, 5, WhenFull::Reject);
    (0..5).for_each(|_| assert!(limiter.check_key(&CHAT).is_ok()));
    // A key is fresh again after a second, when 2,000 others have arrived.
    let flood = |keys: std::ops::Range<u64>| {
        for key in keys {
            clock.advance(Duration::from_micros(500));
            assert!(limiter.check_key(&key).is_ok(), "{key}");
            // The established key uses what its quota allows, and no more.
            if key % 500 == 0 {
                assert_eq!(limiter.check_key(&CHAT).is_ok(), key % 2_000 == 0, "{key}");
            }
        }
    };
    flood(1..10_000);
    let (grown, most) = grown_by(|| flood(10_000..FLOOD));
    // The index may be between two sizes.
    assert!(
        grown.unsigned_abs() < 10_000 && most < 10_000,
        "{grown} bytes, at most {most}"
    );
    let stats = store.stats();
    assert_eq!((stats.rejected, stats.evicted), (0, 0));
    assert_eq!(stats.expired, FLOOD - ENTRIES as u64);
    store.validate();
}

#[test]
fn retain_recent_returns_the_memory_of_a_spike() {
    let (store, limiter, clock) = limiter(100_000, 5, WhenFull::Reject);
    let (grown, most) = grown_by(|| {
        (0..100_000).for_each(|key| assert!(limiter.check_key(&key).is_ok()));
        clock.advance(Duration::from_secs(10));
        limiter.retain_recent();
    });
    assert!(store.is_empty() && most > 1_000_000);
    assert!(grown < 10_000, "{grown} of {most} bytes");
}
