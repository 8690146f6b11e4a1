//! Snapshots of a cache.

use std::io;
use std::time::Duration;

use leakproof::persist::PersistError;
use leakproof::{LruCache, ManualClock, Policy};

const SECOND: Duration = Duration::from_secs(1);

fn cache(time: &ManualClock, max: usize) -> LruCache<u32, String> {
    let builder = LruCache::builder()
        .max_entries(max)
        .ttl(100 * SECOND)
        .shards(1);
    builder
        .idle_timeout(50 * SECOND)
        .clock(time)
        .build()
        .expect("valid")
}

/// Returns a snapshot of five entries, written one per second, and accessed in another order.
fn saved(time: &ManualClock) -> Vec<u8> {
    let cache = cache(time, 10);
    for key in 0..5 {
        cache.insert(key, format!("value {key}"));
        time.advance(SECOND);
    }
    cache.insert_with_ttl(5, "short".to_owned(), 10 * SECOND);
    cache.insert_with_ttl(6, "long".to_owned(), 1000 * SECOND);
    for key in [3, 0] {
        time.advance(SECOND);
        assert!(cache.get(&key).is_some());
    }
    let mut file = Vec::new();
    assert_eq!(cache.save_to(&mut file).expect("written").saved, 7);
    file
}

/// Returns the clock of a process that starts `downtime` later.
fn restarted(time: &ManualClock, downtime: Duration) -> ManualClock {
    let after = ManualClock::new();
    after.set_wall(time.wall() + downtime);
    after
}

fn keys(cache: &LruCache<u32, String>) -> Vec<u32> {
    let entries = cache.entries_by_recency(100);
    entries.into_iter().map(|(key, _)| key).collect()
}

#[test]
fn restored_entries_have_their_order_and_remaining_ttl() {
    let time = ManualClock::new();
    let file = saved(&time);
    let time = restarted(&time, 2 * SECOND);
    let cache = cache(&time, 10);
    let report = cache.restore_from(&file[..]).expect("restored");
    assert_eq!(
        (report.restored, report.expired, report.over_bound),
        (7, 0, 0)
    );
    let recency = keys(&cache);
    assert_eq!(recency[..2], [0, 3]);
    assert_eq!(recency[4..], [4, 2, 1]);
    assert_eq!(cache.get(&4).as_deref(), Some("value 4"));
    // The short one was 2 s old and 2 s of downtime passed.
    time.advance(6 * SECOND - Duration::from_nanos(1));
    assert_eq!(cache.get(&5).as_deref(), Some("short"));
    time.advance(Duration::from_nanos(1));
    assert_eq!(cache.get(&5), None);
    // The oldest was 7 s old.
    for _ in 0..9 {
        time.advance(10 * SECOND - SECOND);
        (0..7).for_each(|key| drop(cache.get(&key)));
    }
    assert_eq!(cache.peek(&0).is_some(), 2 + 7 + 6 + 81 < 100);
    time.advance(4 * SECOND);
    assert!(cache.peek(&0).is_none() && cache.peek(&1).is_some());
    cache.validate();
}

#[test]
fn expired_entries_are_not_saved() {
    let time = ManualClock::new();
    let cache = cache(&time, 100);
    (0..50).for_each(|key| _ = cache.insert(key, "expired".to_owned()));
    time.advance(50 * SECOND);
    cache.insert(50, "live".to_owned());
    let mut file = Vec::new();
    assert_eq!(cache.save_to(&mut file).expect("written").saved, 1);
}

#[test]
fn entries_that_end_during_downtime_are_not_restored() {
    let time = ManualClock::new();
    let file = saved(&time);
    // The last access of 1, 2, 4 and 6 was at most 6 s before the end, of 0 and 3 at most 1 s.
    let cache = cache(&restarted(&time, 48 * SECOND), 10);
    let report = cache.restore_from(&file[..]).expect("restored");
    assert_eq!((report.restored, report.expired), (2, 5));
    assert_eq!(keys(&cache), [0, 3]);
}

#[test]
fn most_recently_used_entries_are_kept_at_a_smaller_bound() {
    let time = ManualClock::new();
    let file = saved(&time);
    let cache = cache(&restarted(&time, SECOND), 2);
    let report = cache.restore_from(&file[..]).expect("restored");
    assert_eq!((report.restored, report.over_bound), (2, 5));
    assert_eq!(keys(&cache), [0, 3]);
    let error = cache.restore_from(&file[..]).unwrap_err();
    assert!(matches!(error, PersistError::NotEmpty), "{error}");
}

#[test]
fn snapshot_of_s3_fifo_keeps_entries_by_last_access() {
    let time = ManualClock::new();
    let cache = |time: &ManualClock, max| {
        let builder = LruCache::<u32, u32>::builder().max_entries(max).shards(1);
        let builder = builder.policy(Policy::S3Fifo).clock(time);
        builder.build().expect("valid")
    };
    let before = cache(&time, 10);
    for key in 0..5 {
        before.insert(key, key);
        time.advance(SECOND);
    }
    assert!(before.get(&1).is_some());
    let mut file = Vec::new();
    assert_eq!(before.save_to(&mut file).expect("written").saved, 5);
    let after = cache(&restarted(&time, SECOND), 3);
    let report = after.restore_from(&file[..]).expect("restored");
    assert_eq!((report.restored, report.over_bound), (3, 2));
    assert!([1, 3, 4].iter().all(|key| after.contains_key(key)));
}

#[test]
fn damaged_snapshot_of_a_cache_restores_nothing() {
    let time = ManualClock::new();
    let file = saved(&time);
    for at in (0..file.len()).step_by(3) {
        let mut damaged = file.clone();
        damaged[at] ^= 0x10;
        let cache = cache(&time, 10);
        let error = cache.restore_from(&damaged[..]).expect_err("it is damaged");
        assert!(matches!(error, PersistError::Damaged { .. }), "{error}");
        assert!(cache.is_empty());
    }
}

#[test]
fn cache_snapshot_takes_bounded_memory() {
    let cache = LruCache::<u64, u64>::new(100_000, 100 * SECOND);
    for key in 0..100_000 {
        cache.insert(key, key);
    }
    let measured = allocation_counter::measure(|| {
        assert!(cache.save_to(io::sink()).expect("written").saved > 90_000);
    });
    assert!(
        measured.bytes_max < 512 << 10,
        "{} bytes",
        measured.bytes_max
    );
}
