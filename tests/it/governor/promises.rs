//! The promises of a store that is full, one by one.

use std::cell::Cell;
use std::hash::{Hash, Hasher};
use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use governor::clock::{Clock, FakeRelativeClock, MonotonicClock};
use governor::middleware::{RateLimitingMiddleware, StateSnapshot};
use governor::nanos::Nanos;
use governor::{Quota, RateLimiter};
use leakproof::BuildError;
use leakproof::governor::{BoundedStateStore, WhenFull};

use super::{Limiter, limiter, nonzero, quota};
use crate::support::timeout::in_time;

const SECOND: Duration = Duration::from_secs(1);

/// Returns the time for which a check is denied.
fn wait<const N: u32>(limiter: &Limiter, key: u64) -> Option<Duration> {
    let checked = limiter.check_key_n(&key, nonzero(N));
    let denied = checked.expect("it fits into the burst").err()?;
    Some(denied.wait_time_from(limiter.clock().now()))
}

/// Every shard has its share of the bound, so a small store has one shard.
#[test]
fn small_store_is_not_divided_among_shards() {
    let store = BoundedStateStore::<u64>::new(10, quota(1));
    let limiter = store.limiter(FakeRelativeClock::default());
    assert!((0..10).all(|key| limiter.check_key(&key).is_ok()));
    assert_eq!((store.len(), store.max_entries()), (10, 10));
    assert_eq!(store.stats().rejected, 0);
}

#[test]
fn full_store_replaces_the_first_fresh_key() {
    let (store, limiter, clock) = limiter(2, 5, WhenFull::Reject);
    // Key 1 is used first and becomes fresh last.
    assert_eq!(wait::<5>(&limiter, 1), None);
    assert_eq!(wait::<1>(&limiter, 2), None);
    clock.advance(SECOND);
    assert_eq!(wait::<1>(&limiter, 3), None);
    let stats = store.stats();
    assert_eq!((stats.len, stats.expired, stats.rejected), (2, 1, 0));
    assert_eq!(
        wait::<5>(&limiter, 1),
        Some(4 * SECOND),
        "it has its history"
    );
    assert_eq!(stats.evicted, 0);
}

#[test]
fn full_store_rejects_new_keys_until_one_is_fresh() {
    let (store, limiter, clock) = limiter(2, 5, WhenFull::Reject);
    assert_eq!(wait::<3>(&limiter, 1), None);
    assert_eq!(wait::<2>(&limiter, 2), None);
    assert_eq!(wait::<1>(&limiter, 3), Some(2 * SECOND));
    assert_eq!(wait::<3>(&limiter, 3), Some(4 * SECOND), "two cells more");
    assert_eq!(wait::<5>(&limiter, 3), Some(6 * SECOND));
    clock.advance(2 * SECOND - Duration::from_nanos(1));
    assert_eq!(
        wait::<5>(&limiter, 3),
        Some(4 * SECOND + Duration::from_nanos(1))
    );
    assert_eq!(wait::<1>(&limiter, 3), Some(Duration::from_nanos(1)));
    clock.advance(Duration::from_nanos(1));
    assert_eq!(wait::<5>(&limiter, 3), None);
    let stats = store.stats();
    assert_eq!((stats.rejected, stats.expired, stats.evicted), (5, 1, 0));
    assert_eq!(
        stats.limited, 0,
        "rejected keys have not exceeded their quota"
    );
    store.validate();
}

#[test]
fn evict_lru_evicts_the_least_recently_used_key() {
    let (store, limiter, _) = limiter(2, 2, WhenFull::EvictLru);
    assert_eq!(wait::<2>(&limiter, 1), None);
    assert_eq!(wait::<1>(&limiter, 2), None);
    assert_eq!(
        wait::<1>(&limiter, 1),
        Some(SECOND),
        "a denied check is a use"
    );
    assert_eq!(wait::<1>(&limiter, 3), None);
    assert_eq!(store.stats().evicted, 1);
    assert_eq!(wait::<1>(&limiter, 1), Some(SECOND), "it is still there");
    assert_eq!(wait::<2>(&limiter, 2), None, "its history is lost");
    assert_eq!(store.stats().evicted, 2);
    assert_eq!(store.stats().rejected, 0);
    store.validate();
}

#[test]
fn evict_lru_evicts_fresh_keys_first() {
    let (store, limiter, clock) = limiter(2, 5, WhenFull::EvictLru);
    assert_eq!(wait::<5>(&limiter, 1), None);
    assert_eq!(wait::<1>(&limiter, 2), None);
    clock.advance(SECOND);
    assert_eq!(wait::<1>(&limiter, 3), None);
    assert_eq!((store.stats().expired, store.stats().evicted), (1, 0));
    assert_eq!(
        wait::<5>(&limiter, 1),
        Some(4 * SECOND),
        "it has its history"
    );
}

#[test]
fn limiter_with_another_quota_keeps_the_bound() {
    let store = BoundedStateStore::<u64>::new(1, quota(2));
    let clock = FakeRelativeClock::default();
    let limiter: Limiter = RateLimiter::new(quota(1_000), store.clone(), clock);
    assert!(limiter.check_key(&1).is_ok());
    assert!(limiter.check_key(&2).is_err());
    assert_eq!((store.len(), store.stats().rejected), (1, 1));
}

#[test]
fn retain_recent_removes_fresh_keys() {
    let (store, limiter, clock) = limiter(10_000, 2, WhenFull::Reject);
    for key in 0..5_000 {
        assert_eq!(wait::<1>(&limiter, key), None);
    }
    assert_eq!(wait::<2>(&limiter, 9_999), None);
    clock.advance(2 * SECOND);
    limiter.retain_recent();
    assert_eq!((limiter.len(), limiter.is_empty()), (1, false));
    assert_eq!(store.stats().expired, 5_000);
    clock.advance(SECOND);
    limiter.retain_recent();
    assert!(store.is_empty() && limiter.is_empty());
    store.validate();
}

#[test]
fn build_names_the_option_that_is_missing_or_out_of_range() {
    let builder = BoundedStateStore::<u64>::builder;
    let error =
        |builder: leakproof::governor::BoundedStateStoreBuilder<u64>| builder.build().unwrap_err();
    let missing = |limit| BuildError::Missing { limit };
    assert_eq!(error(builder().quota(quota(1))), missing("max_entries"));
    assert_eq!(error(builder().max_entries(1)), missing("quota"));
    let none = builder().max_entries(0).quota(quota(1));
    assert_eq!(
        error(none),
        BuildError::Zero {
            limit: "max_entries"
        }
    );
    let many = builder().max_entries(3).quota(quota(1)).shards(4);
    assert_eq!(error(many), BuildError::TooManyShards { shards: 4, max: 3 });
}

#[test]
#[should_panic(expected = "BoundedStateStore::new: `max_entries` must be greater than zero")]
fn new_panics_with_the_option_name() {
    let _ = BoundedStateStore::<u64>::new(0, quota(1));
}

#[test]
fn bursts_of_centuries_are_limited() {
    let age = Duration::from_secs(100 * 365 * 86_400);
    let quota = Quota::with_period(age).expect("above zero");
    let store = BoundedStateStore::<u64>::new(1, quota);
    let limiter = store.limiter(FakeRelativeClock::default());
    assert!(limiter.check_key(&1).is_ok());
    let denied = limiter.check_key(&2).unwrap_err();
    assert_eq!(denied.wait_time_from(Nanos::from(0)), age);
}

#[test]
fn store_handles_are_clone_send_and_sync() {
    fn check<T: Clone + Send + Sync>(_: &T) {}
    let store = BoundedStateStore::<u64>::new(10, quota(1));
    check(&store);
    let limiter = Arc::new(store.limiter(MonotonicClock));
    check(&limiter);
    assert!(limiter.check_key(&1).is_ok());
    assert_eq!(store.clone().stats(), store.stats());
    assert_eq!(
        store.stats().to_string(),
        "1 of 10 entries (10.0%), 1 allowed, 1 inserted"
    );
    assert!(format!("{store:?}").contains("allowed: 1"));
}

thread_local! {
    static PANICS: Cell<bool> = const { Cell::new(false) };
}

fn panic_if_set() {
    assert!(!PANICS.get(), "set by the test");
}

#[derive(Debug, PartialEq, Eq)]
struct PanickingKey(u64);

impl Hash for PanickingKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl Clone for PanickingKey {
    fn clone(&self) -> Self {
        panic_if_set();
        Self(self.0)
    }
}

/// Panics when it is called.
#[derive(Debug)]
struct PanickingMiddleware;

impl RateLimitingMiddleware<Nanos> for PanickingMiddleware {
    type PositiveOutcome = ();
    type NegativeOutcome = ();

    fn allow<K>(_: &K, _: impl Into<StateSnapshot>) {
        panic_if_set();
    }

    fn disallow<K>(_: &K, _: impl Into<StateSnapshot>, _: Nanos) {
        panic_if_set();
    }
}

#[test]
fn panic_in_key_or_middleware_leaves_the_store_consistent() {
    for when_full in [WhenFull::Reject, WhenFull::EvictLru] {
        let store = BoundedStateStore::<PanickingKey>::builder()
            .max_entries(2)
            .quota(quota(1))
            .when_full(when_full)
            .shards(1)
            .build()
            .expect("valid options");
        let clock = FakeRelativeClock::default();
        let limiter = store.limiter(clock.clone());
        let with_middleware = store.limiter(clock.clone());
        let with_middleware = with_middleware.with_middleware::<PanickingMiddleware>();
        for seconds in 0..4 {
            for key in 0..4 {
                let key = PanickingKey(key);
                PANICS.set(true);
                let panicked = catch_unwind(AssertUnwindSafe(|| limiter.check_key(&key).is_ok()));
                let known = store.len() == 2;
                assert!(panicked.is_err() || known, "a new key is cloned");
                let panicked = catch_unwind(AssertUnwindSafe(|| with_middleware.check_key(&key)));
                assert!(panicked.is_err());
                PANICS.set(false);
                store.validate();
                let _ = limiter.check_key(&key);
                store.validate();
            }
            clock.advance(Duration::from_secs(seconds));
        }
    }
}

/// A key that reads the statistics of its store when it is dropped.
#[derive(Clone, PartialEq, Eq, Hash)]
struct ReadingKey(u64);

static READ: OnceLock<BoundedStateStore<ReadingKey>> = OnceLock::new();
static LENGTHS: Mutex<Vec<usize>> = Mutex::new(Vec::new());

impl Drop for ReadingKey {
    fn drop(&mut self) {
        let read = READ.get().map_or(0, BoundedStateStore::len);
        LENGTHS.lock().expect("no panic").push(read);
    }
}

#[test]
fn removed_key_is_dropped_after_the_lock_is_released() {
    in_time(|| {
        let store = READ.get_or_init(|| {
            let builder = BoundedStateStore::builder().max_entries(1).quota(quota(1));
            builder
                .when_full(WhenFull::EvictLru)
                .build()
                .expect("valid options")
        });
        let clock = FakeRelativeClock::default();
        let limiter = store.limiter(clock.clone());
        for key in 0..3 {
            assert!(limiter.check_key(&ReadingKey(key)).is_ok());
        }
        clock.advance(2 * SECOND);
        limiter.retain_recent();
        // Three keys of the caller, and three of the store.
        assert_eq!(LENGTHS.lock().expect("no panic").len(), 6);
        assert!(store.is_empty());
    });
}

#[cfg(feature = "monitor")]
#[test]
fn monitor_reports_rejected_keys_but_no_full_store() {
    use leakproof::monitor::{Kind, Monitor, ProcessFigures, Severity};
    use leakproof::{CollectionKind, ManualClock};

    let time = ManualClock::new();
    let monitor = Monitor::builder()
        .process(ProcessFigures::default)
        .clock(&time)
        .build()
        .expect("valid options");
    let (store, limiter, _) = limiter(2, 1, WhenFull::Reject);
    monitor.watch("chats", &store);
    assert_eq!([1, 2].map(|key| wait::<1>(&limiter, key)), [None; 2]);
    time.advance(SECOND);
    monitor.sample();
    assert_eq!(
        monitor.report().severity(),
        Severity::Normal,
        "full of keys"
    );
    assert!(limiter.check_key(&3).is_err());
    time.advance(SECOND);
    monitor.sample();
    let report = monitor.report();
    let finding = report.findings.first().expect("a finding");
    assert_eq!(
        (finding.kind, finding.severity),
        (Kind::Rejected, Severity::Warning)
    );
    let usage = &report.collections[0].usage;
    assert_eq!(usage.kind, CollectionKind::RateLimits);
    assert_eq!(
        (usage.counter("rejected"), usage.limits_reached.len()),
        (1, 1)
    );
    drop((store, limiter));
    assert!(monitor.report().collections.is_empty(), "it is held weakly");
}

#[test]
fn limiter_has_the_quota_of_the_store() {
    let quota = Quota::per_minute(NonZeroU32::MIN);
    let store = BoundedStateStore::<&str>::new(1, quota);
    let limiter = store.limiter(FakeRelativeClock::default());
    assert!(limiter.check_key(&"chat").is_ok());
    assert_eq!(limiter.check_key(&"chat").unwrap_err().quota(), quota);
    assert_eq!(store.quota(), quota);
    assert_eq!((store.len(), store.max_entries()), (1, 1));
}
