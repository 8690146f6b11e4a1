//! Entries of the unsync cache, changes in place, and conditional removal.

use std::time::Duration;

use leakproof::unsync::{self, Entry};
use leakproof::{LruCache, ManualClock};

const MINUTE: Duration = Duration::from_secs(60);

/// Returns an unsync cache whose weights are its values, of up to 10.
fn weighed(time: &ManualClock) -> unsync::LruCache<u32, u32> {
    unsync::LruCache::builder()
        .max_weight(10)
        .weigher(|_, &value| value)
        .ttl(MINUTE)
        .clock(time)
        .build()
        .expect("valid limits")
}

#[test]
fn entry_reads_and_writes_like_a_map() {
    let time = ManualClock::new();
    let mut cache = weighed(&time);
    assert_eq!(cache.entry(1).or_insert(2), Some(&mut 2));
    assert_eq!(*cache.entry(1).or_insert(9).expect("stored"), 2);
    assert_eq!(cache.entry(3).or_insert_with_key(|&key| key), Some(&mut 3));
    assert_eq!(cache.entry(4).or_default(), Some(&mut 0));
    assert_eq!(
        (cache.len(), cache.stats().hits, cache.stats().misses),
        (3, 1, 3)
    );
    assert_eq!(
        cache.entry(5).or_try_insert_with(|| Err("down")),
        Err("down")
    );
    assert!(!cache.contains_key(&5), "a failure inserts nothing");
    let inserted = cache.entry(5).or_try_insert_with(|| Ok::<_, ()>(4));
    assert_eq!(inserted, Ok(Some(&mut 4)));
    assert_eq!(
        cache.entry(5).or_try_insert_with(|| Err("down")),
        Ok(Some(&mut 4))
    );
    assert_eq!(cache.remove(&5), Some(4));

    let Entry::Occupied(mut entry) = cache.entry(1) else {
        panic!("the key has an entry");
    };
    *entry.get_mut() += 1;
    assert_eq!((entry.key(), entry.get()), (&1, &3));
    assert_eq!(entry.insert(4), Some(3));
    let Entry::Occupied(entry) = cache.entry(1) else {
        panic!("the key has an entry");
    };
    assert_eq!(entry.remove(), 4);
    assert!(matches!(cache.entry(1), Entry::Vacant(_)));
    cache.validate();
}

#[test]
fn entry_of_an_expired_key_is_vacant() {
    let time = ManualClock::new();
    let mut cache = weighed(&time);
    cache.insert(1, 1);
    time.advance(MINUTE);
    assert_eq!(
        cache
            .entry(1)
            .and_modify(|_| panic!("expired"))
            .or_insert(2),
        Some(&mut 2)
    );
    assert_eq!((cache.stats().expired, cache.stats().misses), (1, 1));
    cache.validate();
}

#[test]
fn entry_that_is_not_stored_returns_none() {
    let time = ManualClock::new();
    let mut cache = weighed(&time);
    assert_eq!(cache.entry(1).or_insert(11), None);
    assert_eq!((cache.len(), cache.stats().rejected), (0, 1));

    let mut cache = unsync::LruCache::<u32, u32>::builder()
        .max_entries(2)
        .expire_after(|&key, _| (key == 1).then_some(Duration::ZERO))
        .clock(&time)
        .build()
        .expect("valid limits");
    cache.insert(2, 2);
    assert_eq!(cache.entry(1).or_insert(11), None);
    assert_eq!((cache.len(), cache.stats().expired), (1, 1));
}

#[test]
fn update_weighs_again_and_evicts() {
    let time = ManualClock::new();
    let mut cache = weighed(&time);
    for key in [1, 2, 3] {
        cache.insert(key, 3);
    }
    assert_eq!(cache.update(&1, |value| *value = 6), Some(()));
    assert_eq!(cache.weight(), 9);
    assert_eq!((cache.peek(&2), cache.peek(&3)), (None, Some(&3)));
    cache.validate();
    assert_eq!(cache.update(&1, |value| *value = 11), Some(()));
    assert_eq!(
        (cache.peek(&1), cache.peek(&3), cache.len()),
        (None, Some(&3), 1)
    );
    assert_eq!(
        (cache.stats().evicted, cache.stats().evicted_by_weight),
        (2, 2)
    );
    assert_eq!(cache.update(&1, |_| panic!("removed")), None::<()>);
    cache.validate();
}

#[test]
fn update_promotes_and_keeps_the_ttl() {
    let time = ManualClock::new();
    let cache = LruCache::<u32, u32>::builder()
        .max_entries(2)
        .ttl(MINUTE)
        .shards(1)
        .clock(&time)
        .build()
        .expect("valid limits");
    cache.insert(1, 1);
    cache.insert(2, 2);
    time.advance(MINUTE / 2);
    assert_eq!(
        cache.update(&1, |value| std::mem::replace(value, 5)),
        Some(1)
    );
    cache.insert(3, 3);
    assert_eq!((cache.peek(&1), cache.peek(&2)), (Some(5), None));
    time.advance(MINUTE / 2);
    assert_eq!(cache.update(&1, |_| panic!("expired")), None::<()>);
    assert_eq!((cache.stats().hits, cache.stats().misses), (1, 1));
    cache.validate();
}

#[test]
fn remove_if_removes_if_the_condition_holds() {
    let time = ManualClock::new();
    let mut unsynced = weighed(&time);
    unsynced.insert(1, 1);
    assert_eq!(unsynced.remove_if(&1, |_, &value| value > 1), None);
    assert_eq!(unsynced.remove_if(&1, |_, &value| value == 1), Some(1));
    let cache = LruCache::<u32, u32>::builder()
        .max_entries(10)
        .ttl(MINUTE)
        .shards(1)
        .clock(&time);
    let cache = cache.build().expect("valid limits");
    cache.insert(1, 1);
    assert_eq!(cache.remove_if(&1, |_, &value| value > 1), None);
    assert_eq!(cache.remove_if(&1, |_, &value| value == 1), Some(1));
    // More than a write removes in addition to its own work.
    (1..=10).for_each(|key| _ = cache.insert(key, key));
    time.advance(MINUTE);
    assert_eq!(cache.remove_if(&10, |_, _| panic!("expired")), None);
    assert_eq!(cache.remove_if(&11, |_, _| panic!("no entry")), None);
    assert_eq!(
        (cache.len(), cache.stats().expired, unsynced.len()),
        (0, 10, 0)
    );
}

#[test]
fn for_each_and_drain_of_a_shared_cache_cover_live_entries() {
    let time = ManualClock::new();
    let cache = LruCache::<u32, u32>::builder()
        .max_entries(10_000)
        .ttl(MINUTE)
        .shards(4)
        .clock(&time)
        .build_from((0..500).map(|key| (key, key)))
        .expect("valid limits");
    time.advance(MINUTE);
    (500..510).for_each(|key| _ = cache.insert(key, key));
    let mut visited = Vec::new();
    cache.for_each(|&key, _| visited.push(key));
    visited.sort_unstable();
    assert!(visited.into_iter().eq(500..510));
    let mut drained: Vec<_> = cache.drain().collect();
    drained.sort_unstable();
    assert!(drained.into_iter().eq((500..510).map(|key| (key, key))));
    let stats = cache.stats();
    assert_eq!((stats.len, stats.removed, stats.expired), (0, 10, 500));
}
