//! The stale window, and refreshing within it.

use std::cell::Cell;
use std::future::{pending, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::support::task::Task;
use leakproof::{ComputeError, LruBuilder, LruCache, ManualClock, RemovalCause, unsync};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const NANOSECOND: Duration = Duration::from_nanos(1);

/// Returns a builder of caches whose entries live for a minute and are stale for another one.
fn builder(time: &ManualClock) -> LruBuilder<String, u32> {
    LruCache::builder()
        .max_entries(3)
        .ttl(MINUTE)
        .stale(MINUTE)
        .shards(1)
        .clock(time)
}

/// Returns a cache with a stale value of "key".
fn with_stale_value(time: &ManualClock) -> LruCache<String, u32> {
    let cache = builder(time).build().expect("valid limits");
    cache.insert("key".to_string(), 1);
    time.advance(MINUTE);
    cache
}

/// A future that must not be polled.
async fn not_polled() -> Result<u32, &'static str> {
    panic!("another caller refreshes")
}

#[test]
fn stale_entry_is_served_until_its_window_ends() {
    let time = ManualClock::new();
    let cache = builder(&time).build().expect("valid limits");
    cache.insert("key".to_string(), 1);
    assert_eq!(cache.peek_stale("key"), Some(1));
    time.advance(2 * MINUTE - NANOSECOND);
    cache.insert("other".to_string(), 2);
    assert_eq!(cache.sweep(), 0, "neither a write nor a sweep removes it");
    assert_eq!(cache.peek_stale("key"), Some(1));
    let failed = cache.get_or_refresh_with("key", || Err("down"));
    assert_eq!(failed, Ok(1));
    cache.validate();
    time.advance(NANOSECOND);
    assert_eq!(cache.peek_stale("key"), None);
    let failed = cache.get_or_refresh_with("key", || Err("down"));
    assert_eq!(failed, Err(ComputeError::Failed("down")));
    assert_eq!((cache.sweep(), cache.stats().expired), (1, 1));
    cache.validate();
}

#[test]
fn stale_entry_is_expired_in_every_other_respect() {
    let time = ManualClock::new();
    let cache = with_stale_value(&time);
    assert_eq!((cache.get("key"), cache.peek("key")), (None, None));
    assert!(!cache.contains_key("key") && cache.is_empty());
    assert_eq!((cache.weight(), cache.stats().expired), (0, 1));
    assert_eq!((cache.update("key", |_| ()), cache.pop_lru()), (None, None));
    assert_eq!(cache.peek_stale("key"), None, "`pop_lru` removed it");

    let cache = with_stale_value(&time);
    assert_eq!(cache.insert("key".to_string(), 2), None);
    assert_eq!(cache.get("key"), Some(2));
    assert_eq!(cache.stats().expired, 1);

    let cache = with_stale_value(&time);
    assert_eq!((cache.remove("key"), cache.peek_stale("key")), (None, None));
}

#[test]
fn stale_entry_is_evicted_before_live_ones() {
    let time = ManualClock::new();
    let cache = with_stale_value(&time);
    for key in ["a", "b"] {
        cache.insert(key.to_string(), 2);
    }
    assert_eq!(cache.peek_stale("key"), Some(1));
    cache.insert("c".to_string(), 2);
    assert_eq!((cache.peek_stale("key"), cache.len()), (None, 3));
    assert_eq!((cache.stats().expired, cache.stats().evicted), (1, 0));
    cache.validate();
}

#[test]
fn stale_window_follows_an_own_ttl_and_ends_at_the_idle_timeout() {
    let time = ManualClock::new();
    let mut cache = unsync::LruCache::<u32, u32>::builder()
        .max_entries(10)
        .ttl(MINUTE)
        .idle_timeout(MINUTE / 2)
        .stale(MINUTE)
        .clock(&time)
        .build()
        .expect("valid limits");
    cache.insert_with_ttl(1, 1, SECOND);
    cache.insert(2, 2);
    time.advance(SECOND);
    assert_eq!(cache.get(&1), None);
    assert_eq!(cache.peek_stale(&1), Some(&1));
    time.advance(MINUTE / 2 - SECOND);
    assert_eq!((cache.peek_stale(&1), cache.peek_stale(&2)), (None, None));
    assert_eq!(cache.sweep(), 2);
    assert_eq!((cache.stats().expired, cache.stats().idle), (1, 1));
    cache.validate();
}

#[test]
fn one_caller_refreshes_and_others_get_the_stale_value() {
    let time = ManualClock::new();
    let cache = with_stale_value(&time);
    let mut refresh =
        Task::new(cache.get_or_refresh_async("key", pending::<Result<u32, &'static str>>()));
    assert!(refresh.poll().is_none(), "it waits");
    for _ in 0..3 {
        let mut other = Task::new(cache.get_or_refresh_async("key", not_polled()));
        assert_eq!(other.output(), Ok(1));
        let blocking = cache.get_or_refresh_with("key", || -> Result<u32, &'static str> {
            panic!("not called")
        });
        assert_eq!(blocking, Ok(1));
    }
    // A cancelled refresh passes on to the next caller.
    drop(refresh);
    let mut next = Task::new(cache.get_or_refresh_async("key", ready(Ok::<_, &str>(2))));
    assert_eq!(next.output(), Ok(2));
    assert_eq!(cache.get("key"), Some(2));
    let mut hit = Task::new(cache.get_or_refresh_async("key", not_polled()));
    assert_eq!(hit.output(), Ok(2));
    let stats = cache.stats();
    assert_eq!((stats.hits, stats.misses, stats.stale_hits), (2, 8, 6));
    cache.validate();
}

/// A refresh of "key" that fails, and the number of times that it ran.
struct Failing<'a> {
    cache: &'a LruCache<String, u32>,
    runs: Cell<u32>,
}

impl<'a> Failing<'a> {
    fn new(cache: &'a LruCache<String, u32>) -> Self {
        let runs = Cell::new(0);
        Self { cache, runs }
    }

    /// Calls the cache with both forms, and returns the value that both got.
    fn value_of(&self, key: &str) -> Option<u32> {
        let run = || {
            self.runs.set(self.runs.get() + 1);
            Err::<u32, _>("down")
        };
        let blocking = self.cache.get_or_refresh_with(key, run);
        let mut task = Task::new(self.cache.get_or_refresh_async(key, async { run() }));
        assert_eq!(task.output(), blocking);
        blocking.ok()
    }
}

#[test]
fn failed_refresh_serves_the_stale_value_and_backs_off() {
    let time = ManualClock::new();
    let cache = with_stale_value(&time);
    let failing = Failing::new(&cache);
    for attempt in 1..=10 {
        assert_eq!(
            (failing.value_of("key"), failing.runs.get()),
            (Some(1), attempt)
        );
        time.advance(MINUTE / 10 - NANOSECOND);
        assert_eq!(
            (failing.value_of("key"), failing.runs.get()),
            (Some(1), attempt)
        );
        cache.validate();
        time.advance(NANOSECOND);
    }
    // The window has ended, so there is nothing to serve, and each caller tries.
    assert_eq!((failing.value_of("key"), failing.runs.get()), (None, 12));
    assert_eq!(cache.get_or_refresh_with("key", || Ok::<_, &str>(5)), Ok(5));
    cache.validate();
}

#[test]
fn backoff_takes_at_most_30_seconds() {
    let time = ManualClock::new();
    let cache = builder(&time).stale(Duration::MAX).build().expect("valid");
    cache.insert("key".to_string(), 1);
    time.advance(MINUTE);
    let failing = Failing::new(&cache);
    assert_eq!(failing.value_of("key"), Some(1));
    time.advance(30 * SECOND - NANOSECOND);
    assert_eq!((failing.value_of("key"), failing.runs.get()), (Some(1), 1));
    time.advance(NANOSECOND);
    assert_eq!((failing.value_of("key"), failing.runs.get()), (Some(1), 2));
}

#[test]
fn backoff_ends_on_time_although_others_ended_before() {
    let time = ManualClock::new();
    let cache = builder(&time).build().expect("valid limits");
    cache.insert("a".to_string(), 1);
    cache.insert("b".to_string(), 2);
    time.advance(MINUTE);
    let failing = Failing::new(&cache);
    assert_eq!((failing.value_of("a"), failing.runs.get()), (Some(1), 1));
    time.advance(SECOND);
    assert_eq!((failing.value_of("b"), failing.runs.get()), (Some(2), 2));
    // The next attempt removes the record of the first one, and no other call comes soon.
    time.advance(5 * SECOND);
    assert_eq!((failing.value_of("a"), failing.runs.get()), (Some(1), 3));
    time.advance(SECOND - NANOSECOND);
    assert_eq!((failing.value_of("b"), failing.runs.get()), (Some(2), 3));
    time.advance(NANOSECOND);
    assert_eq!((failing.value_of("b"), failing.runs.get()), (Some(2), 4));
}

#[test]
fn backoff_is_of_one_key_until_its_next_write() {
    let time = ManualClock::new();
    let cache = builder(&time).build().expect("valid limits");
    // Written at the same time.
    cache.insert("key".to_string(), 1);
    cache.insert("other".to_string(), 2);
    time.advance(MINUTE);
    let failing = Failing::new(&cache);
    assert_eq!((failing.value_of("key"), failing.runs.get()), (Some(1), 1));
    assert_eq!(
        (failing.value_of("other"), failing.runs.get()),
        (Some(2), 2)
    );
    cache.insert_with_ttl("key".to_string(), 3, NANOSECOND);
    time.advance(NANOSECOND);
    assert_eq!((failing.value_of("key"), failing.runs.get()), (Some(3), 3));
    assert_eq!(
        cache.get_or_insert_with("other", || 4),
        4,
        "no refresh, so no back-off"
    );
    cache.validate();
}

#[test]
fn entry_written_during_a_failing_refresh_has_no_backoff() {
    let time = ManualClock::new();
    let cache = with_stale_value(&time);
    let failed = cache.get_or_refresh_with("key", || {
        cache.insert_with_ttl("key".to_string(), 2, NANOSECOND);
        time.advance(NANOSECOND);
        Err::<u32, &str>("broken")
    });
    assert_eq!(failed, Ok(2));
    assert_eq!(cache.get_or_refresh_with("key", || Ok::<_, &str>(3)), Ok(3));
}

#[test]
fn window_without_a_tenth_has_no_backoff() {
    /// Refreshes the keys from `key` on, each inside the refresh of the one before.
    fn refresh_from(cache: &LruCache<String, u32>, key: u32) -> Result<u32, &'static str> {
        if key == 20 {
            return Err("down");
        }
        let fail = || refresh_from(cache, key + 1).and(Err("down"));
        let served = cache.get_or_refresh_with(&key.to_string(), fail);
        cache.validate();
        served.map_err(|_| "nothing is served")
    }

    let time = ManualClock::new();
    let cache = builder(&time).max_entries(20).stale(9 * NANOSECOND).build();
    let cache = cache.expect("valid limits");
    for key in 0..20 {
        cache.insert(key.to_string(), key);
    }
    time.advance(MINUTE);
    assert_eq!(refresh_from(&cache, 0), Ok(0));
    assert_eq!(cache.get_or_refresh_with("0", || Ok::<_, &str>(7)), Ok(7));
}

#[test]
fn cancelled_refresh_is_tried_again_at_once() {
    let time = ManualClock::new();
    let cache = with_stale_value(&time);
    let mut refresh = Task::new(cache.get_or_refresh_async("key", pending::<Result<u32, ()>>()));
    assert!(refresh.poll().is_none());
    drop(refresh);
    let panics = || cache.get_or_refresh_with("key", || -> Result<u32, ()> { panic!("broken") });
    assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
    assert_eq!(cache.get_or_refresh_with("key", || Ok::<_, &str>(2)), Ok(2));
    assert_eq!(cache.stats().stale_hits, 0);
}

#[test]
fn stale_hits_count_every_stale_value_of_a_refreshing_call() {
    let time = ManualClock::new();
    let cache = builder(&time).build().expect("valid");
    let counts = || {
        let stats = cache.stats();
        (stats.hits, stats.misses, stats.stale_hits)
    };
    cache.insert("key".to_string(), 1);
    let failing = Failing::new(&cache);
    assert_eq!((failing.value_of("key"), counts()), (Some(1), (2, 0, 0)));
    time.advance(MINUTE);
    let refresh = cache.get_or_refresh_with("key", || {
        let other = cache.get_or_refresh_with("key", || Err(()));
        assert_eq!(
            (other, counts()),
            (Ok(1), (2, 2, 1)),
            "another caller refreshes"
        );
        Err(())
    });
    assert_eq!(
        (refresh, counts()),
        (Ok(1), (2, 2, 2)),
        "its own refresh failed"
    );
    assert_eq!(
        (failing.value_of("key"), counts()),
        (Some(1), (2, 4, 4)),
        "it backs off"
    );
    assert_eq!(
        (cache.peek_stale("key"), counts().2),
        (Some(1), 4),
        "a peek counts nothing"
    );
    time.advance(MINUTE / 10);
    let refresh = cache.get_or_refresh_with("key", || {
        cache.insert("key".to_string(), 7);
        Err(())
    });
    assert_eq!((refresh, counts()), (Ok(7), (2, 5, 4)), "a live value");
    assert_eq!(cache.stats().usage().counter("stale_hits"), 4);
    assert_eq!(failing.value_of("absent"), None);
    assert_eq!(counts(), (2, 7, 4));
}

#[test]
fn refresh_does_not_overwrite_a_write_or_a_removal() {
    let time = ManualClock::new();
    let cache = with_stale_value(&time);
    let refreshed = cache.get_or_refresh_with("key", || {
        cache.insert("key".to_string(), 7);
        Ok::<_, &str>(2)
    });
    assert_eq!((refreshed, cache.get("key")), (Ok(2), Some(7)));

    let cache = with_stale_value(&time);
    let refreshed = cache.get_or_refresh_with("key", || {
        cache.remove("key");
        Ok::<_, &str>(2)
    });
    assert_eq!((refreshed, cache.get("key")), (Ok(2), None));
}

#[test]
fn stale_entry_is_notified_once_as_expired() {
    let time = ManualClock::new();
    let causes = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = causes.clone();
    let note = move |_: &String, &value: &u32, cause| log.lock().expect("ok").push((value, cause));
    let cache = builder(&time).on_removal(note).build().expect("valid");
    cache.insert("key".to_string(), 1);
    time.advance(MINUTE);
    assert_eq!(cache.get_or_refresh_with("key", || Ok::<_, &str>(2)), Ok(2));
    time.advance(2 * MINUTE);
    cache.sweep();
    let expired = [1, 2].map(|value| (value, RemovalCause::Expired));
    assert_eq!(*causes.lock().expect("ok"), expired);
}
