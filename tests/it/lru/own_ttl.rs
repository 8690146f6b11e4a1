//! Entries with a ttl of their own.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use leakproof::{BuildError, Lookup, LruBuilder, LruCache, ManualClock, RemovalCause};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const NANOSECOND: Duration = Duration::from_nanos(1);

/// Returns a builder of caches with one shard and this clock.
fn builder<V>(time: &ManualClock) -> LruBuilder<u32, V> {
    LruCache::builder()
        .max_entries(1_000)
        .ttl(MINUTE)
        .shards(1)
        .clock(time)
}

#[test]
fn own_ttl_is_exact_if_shorter_or_longer() {
    let time = ManualClock::new();
    for sweeps in [false, true] {
        let cache = builder(&time).build().expect("valid limits");
        let start = time.clock().now();
        let ttls = [1, 59, 61, 600, 100_000].map(|seconds| seconds * SECOND);
        for (key, ttl) in (0..).zip(ttls) {
            cache.insert_with_ttl(key, "own", ttl);
        }
        cache.insert(9, "usual");
        cache.insert_with_ttl(10, "forever", Duration::MAX);
        let usual = (9, MINUTE);
        let own = |key: u32| (key, ttls[key as usize]);
        for (key, ttl) in [own(0), own(1), usual, own(2), own(3), own(4)] {
            time.set(start + ttl - NANOSECOND);
            if sweeps {
                cache.sweep();
            }
            assert!(cache.get(&key).is_some(), "{key} before {ttl:?}");
            time.set(start + ttl);
            assert_eq!(cache.peek(&key), None, "{key} at {ttl:?}");
            assert!(!cache.contains_key(&key));
            cache.validate();
        }
        assert_eq!(cache.get(&10), Some("forever"));
        assert_eq!((cache.len(), cache.stats().expired), (1, 6));
    }
}

#[test]
fn sweep_removes_own_ttls_when_they_end() {
    let time = ManualClock::new();
    let cache = builder(&time).build().expect("valid limits");
    for key in 0..500 {
        cache.insert_with_ttl(key, key, (1 + key * 7 % 500) * SECOND);
    }
    for second in 1..=500 {
        time.advance(SECOND);
        assert_eq!(cache.sweep(), 1, "second {second}");
        cache.validate();
    }
    assert!(cache.is_empty());
}

#[test]
fn expired_own_ttl_is_evicted_before_live_entries() {
    let time = ManualClock::new();
    let cache = builder(&time).max_entries(3).build().expect("valid limits");
    cache.insert(1, "oldest");
    cache.insert_with_ttl(2, "short", SECOND);
    cache.insert_with_ttl(3, "long", 2 * MINUTE);
    time.advance(SECOND);
    cache.get(&3);
    cache.insert(4, "new");
    let stats = cache.stats();
    assert_eq!((stats.expired, stats.evicted), (1, 0));
    assert_eq!(cache.get(&1), Some("oldest"));
    cache.insert(5, "newer");
    assert_eq!((cache.peek(&3), cache.stats().evicted), (None, 1));
}

#[test]
fn write_sets_and_clears_the_own_ttl() {
    let time = ManualClock::new();
    let cache = builder(&time).build().expect("valid limits");
    cache.insert_with_ttl(1, "a", SECOND);
    assert_eq!(cache.insert(1, "b"), Some("a"));
    time.advance(MINUTE - NANOSECOND);
    assert_eq!(cache.get(&1), Some("b"));
    assert_eq!(cache.insert_with_ttl(1, "c", SECOND), Some("b"));
    assert_eq!(cache.insert_with_ttl(1, "d", 2 * SECOND), Some("c"));
    time.advance(SECOND);
    assert_eq!(cache.get(&1), Some("d"));
    time.advance(SECOND);
    assert_eq!(cache.get(&1), None);
    cache.validate();
}

#[test]
fn own_ttl_of_zero_expires_at_once_and_evicts_nothing() {
    let time = ManualClock::new();
    let cache = builder(&time).max_entries(2).build().expect("valid limits");
    cache.insert(1, "a");
    cache.insert(2, "b");
    assert_eq!(cache.insert_with_ttl(3, "c", Duration::ZERO), None);
    assert_eq!((cache.peek(&3), cache.len()), (None, 2));
    assert_eq!(cache.insert_with_ttl(1, "d", Duration::ZERO), Some("a"));
    let stats = cache.stats();
    assert_eq!((stats.len, stats.evicted, stats.expired), (1, 0, 2));
    cache.validate();
}

#[test]
fn idle_timeout_applies_to_entries_with_own_ttl() {
    let time = ManualClock::new();
    let cache = builder(&time)
        .idle_timeout(10 * SECOND)
        .build()
        .expect("valid limits");
    cache.insert_with_ttl(1, (), MINUTE * 9);
    cache.insert_with_ttl(2, (), SECOND);
    time.advance(10 * SECOND);
    assert_eq!((cache.get(&1), cache.get(&2)), (None, None));
    assert_eq!((cache.stats().idle, cache.stats().expired), (1, 1));
}

#[test]
fn pop_oldest_and_age_include_entries_with_own_ttl() {
    let time = ManualClock::new();
    let cache = builder(&time).build().expect("valid limits");
    for key in 0..6 {
        if key % 2 == 0 {
            cache.insert_with_ttl(key, key, 10 * MINUTE);
        } else {
            cache.insert(key, key);
        }
        time.advance(SECOND);
    }
    for key in 0..6 {
        let age = (6 - key) * SECOND;
        assert_eq!(cache.stats().oldest_entry_age, Some(age));
        assert_eq!(cache.pop_oldest(), Some((key, key)));
    }
}

#[test]
fn expire_after_derives_the_ttl_from_key_and_value() {
    let time = ManualClock::new();
    let cache = builder::<u32>(&time)
        .expire_after(|&key, &value| (key > 0).then(|| value * SECOND))
        .build()
        .expect("valid limits");
    cache.insert(0, 5);
    cache.insert(1, 5);
    cache.get_or_insert_with(&2, || 7);
    cache.insert_with_ttl(3, 5, 8 * SECOND);
    let live = || [0, 1, 2, 3].map(|key| cache.contains_key(&key));
    time.advance(5 * SECOND);
    assert_eq!(live(), [true, false, true, true]);
    time.advance(2 * SECOND);
    assert_eq!(live(), [true, false, false, true]);
    time.advance(SECOND);
    assert_eq!(live(), [true, false, false, false]);
    time.advance(MINUTE - 8 * SECOND);
    assert_eq!(live(), [false; 4]);
}

#[test]
fn jitter_shortens_ttls_within_its_fraction() {
    let time = ManualClock::new();
    let cache = builder(&time).ttl_jitter(0.1).build().expect("valid");
    for key in 0..1_000 {
        cache.insert(key, ());
    }
    time.advance(54 * SECOND - NANOSECOND);
    assert_eq!(cache.len(), 1_000);
    let mut lens = BTreeSet::new();
    for _ in 0..6 {
        time.advance(SECOND);
        lens.insert(cache.len());
    }
    assert_eq!(lens.len(), 6, "some expire in every second: {lens:?}");
    time.advance(NANOSECOND);
    assert_eq!(cache.len(), 0);

    cache.insert_with_ttl(1, (), MINUTE);
    time.advance(MINUTE - NANOSECOND);
    assert!(cache.contains_key(&1), "a given ttl is exact");
}

#[test]
fn jitter_must_be_a_fraction_of_a_ttl() {
    let time = ManualClock::new();
    for fraction in [-0.1, 1.1, f64::NAN] {
        let error = builder::<()>(&time)
            .ttl_jitter(fraction)
            .build()
            .unwrap_err();
        assert_eq!(error.to_string(), "`ttl_jitter` must be between 0 and 1");
    }
    let without_ttl = LruCache::<u32, u32>::builder()
        .max_entries(1)
        .ttl_jitter(0.5);
    let missing = BuildError::Missing {
        limit: "ttl or expire_after",
    };
    assert_eq!(without_ttl.build().unwrap_err(), missing);
    builder::<()>(&time).ttl_jitter(1.0).build().expect("valid");
}

#[test]
fn too_heavy_entry_with_own_ttl_is_rejected_and_notified() {
    let time = ManualClock::new();
    let notified = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&notified);
    let cache = builder(&time)
        .max_weight(10)
        .weigher(|_, &weight| weight)
        .on_removal(move |_, _, cause| {
            count.fetch_add(u32::from(cause == RemovalCause::Rejected), Ordering::SeqCst);
        })
        .build()
        .expect("valid limits");
    cache.insert_with_ttl(1, 11, SECOND);
    assert_eq!((cache.len(), cache.stats().rejected), (0, 1));
    assert_eq!(notified.load(Ordering::SeqCst), 1);
}

#[test]
fn reservation_inserts_with_an_own_ttl() {
    let time = ManualClock::new();
    let cache = builder(&time).build().expect("valid limits");
    for (key, ttl) in [(1, MINUTE / 2), (2, 2 * MINUTE)] {
        let Lookup::Vacant(reservation) = cache.get_or_reserve(&key) else {
            panic!("the key has no value");
        };
        assert_eq!(reservation.insert_with_ttl("token", ttl), "token");
        time.advance(ttl - NANOSECOND);
        assert_eq!(cache.get(&key), Some("token"));
        time.advance(NANOSECOND);
        assert_eq!(cache.get(&key), None);
    }
}
