//! The stale window, and refreshing within it.

use std::future::{pending, ready};
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
    assert_eq!((cache.stats().hits, cache.stats().misses), (2, 8));
    cache.validate();
}

#[test]
fn failed_refresh_serves_the_stale_value_and_lets_others_try() {
    let time = ManualClock::new();
    let cache = with_stale_value(&time);
    for _ in 0..3 {
        let failing = ready(Err::<u32, _>("down"));
        let mut task = Task::new(cache.get_or_refresh_async("key", failing));
        assert_eq!(task.output(), Ok(1));
    }
    assert_eq!(cache.get_or_refresh_with("key", || Ok::<_, &str>(5)), Ok(5));
    time.advance(2 * MINUTE);
    let mut task = Task::new(cache.get_or_refresh_async("key", ready(Err::<u32, _>("down"))));
    assert_eq!(task.output(), Err(ComputeError::Failed("down")));
    cache.validate();
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
