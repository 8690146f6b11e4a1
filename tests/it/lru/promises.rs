//! The promises of `LruCache`, with a manual clock.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use leakproof::{Cursor, LruBuilder, LruCache, ManualClock, RemovalCause, unsync};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const NANOSECOND: Duration = Duration::from_nanos(1);

type Log<K, V> = Arc<Mutex<Vec<(K, V, RemovalCause)>>>;

/// Returns a builder of caches with one shard and this clock.
fn builder<K, V>(time: &ManualClock, max_entries: usize) -> LruBuilder<K, V> {
    LruCache::builder()
        .max_entries(max_entries)
        .shards(1)
        .clock(time)
}

/// Returns a builder of caches that log their removals, and the log.
fn logging<K, V>(time: &ManualClock, max_entries: usize) -> (LruBuilder<K, V>, Log<K, V>)
where
    K: Clone + Send + 'static,
    V: Clone + Send + 'static,
{
    let log = Log::default();
    let for_callback = Arc::clone(&log);
    let note = move |key: &K, value: &V, cause| {
        for_callback
            .lock()
            .expect("ok")
            .push((key.clone(), value.clone(), cause));
    };
    (builder(time, max_entries).on_removal(note), log)
}

fn drain<K, V>(log: &Log<K, V>) -> Vec<(K, V, RemovalCause)> {
    std::mem::take(&mut log.lock().expect("not poisoned"))
}

#[test]
fn insert_at_bound_evicts_the_least_recently_used() {
    let time = ManualClock::new();
    let (builder, log) = logging(&time, 3);
    let cache = builder.build().expect("valid limits");
    for key in [1, 2, 3] {
        cache.insert(key, key * 10);
    }
    assert_eq!(cache.get(&1), Some(10));
    cache.insert(4, 40);
    assert_eq!(drain(&log), [(2, 20, RemovalCause::Evicted)]);
    cache.insert(3, 33);
    cache.insert(5, 50);
    assert_eq!(
        drain(&log),
        [
            (3, 30, RemovalCause::Replaced),
            (1, 10, RemovalCause::Evicted)
        ]
    );
    assert_eq!(cache.entries_by_recency(9), [(5, 50), (3, 33), (4, 40)]);
    assert_eq!(cache.stats().evicted, 2);
}

#[test]
fn bounds_hold_after_every_insert() {
    let cache = LruCache::<u32, u32>::builder()
        .max_entries(1_003)
        .max_weight(5_007)
        .weigher(|_, weight| *weight)
        .shards(8)
        .build()
        .expect("valid limits");
    for key in 0..20_000 {
        cache.insert(key % 3_000, key % 13);
        assert!(
            cache.len() <= 1_003 && cache.weight() <= 5_007,
            "after {key}"
        );
    }
    cache.validate();
    let stats = cache.stats();
    assert_eq!(
        (stats.max_entries, stats.max_weight),
        (1_003, Some(5_007)),
        "the sum of the shards' bounds"
    );
    assert!(stats.weight > 4_000, "the cache is nearly full: {stats}");
}

#[test]
fn heavy_insert_evicts_as_many_as_it_needs() {
    let time = ManualClock::new();
    let (builder, log) = logging::<u32, u32>(&time, 100);
    let cache = builder
        .max_weight(10)
        .weigher(|_, weight| *weight)
        .build()
        .expect("valid limits");
    for key in 0..5 {
        cache.insert(key, 2);
    }
    cache.insert(9, 7);
    assert_eq!(
        drain(&log),
        [0, 1, 2, 3].map(|key| (key, 2, RemovalCause::Evicted))
    );
    assert_eq!((cache.len(), cache.weight()), (2, 9));
    cache.insert(4, 4);
    assert_eq!(
        drain(&log),
        [
            (9, 7, RemovalCause::Evicted),
            (4, 2, RemovalCause::Replaced)
        ],
        "a heavier value evicts others"
    );
    assert_eq!((cache.len(), cache.weight()), (1, 4));
}

#[test]
fn weight_of_zero_counts_as_one_and_largest_is_exact() {
    let weightless = LruCache::<u32, ()>::builder()
        .max_weight(10)
        .weigher(|_, ()| 0)
        .build()
        .expect("valid limits");
    for key in 0..100 {
        weightless.insert(key, ());
    }
    assert_eq!(
        (
            weightless.len(),
            weightless.weight(),
            weightless.stats().max_entries
        ),
        (10, 10, 10)
    );

    let largest = u64::from(u32::MAX);
    let heavy = LruCache::<u32, u32>::builder()
        .max_weight(3 * largest)
        .shards(1)
        .weigher(|_, weight| *weight);
    let heavy = heavy.build().expect("valid limits");
    for key in 0..5 {
        heavy.insert(key, u32::MAX);
    }
    assert_eq!((heavy.len(), heavy.weight()), (3, 3 * largest));
    heavy.insert(9, 1);
    assert_eq!((heavy.len(), heavy.weight()), (3, 2 * largest + 1));
    heavy.validate();
}

#[test]
fn too_heavy_entry_is_returned_with_its_cause() {
    let time = ManualClock::new();
    let (builder, log) = logging::<&str, u32>(&time, 100);
    let cache = builder
        .max_weight(10)
        .weigher(|_, weight| *weight)
        .build()
        .expect("valid limits");
    cache.insert("others", 3);
    let refused = cache
        .insert_checked("heavy", 11)
        .expect_err("above the bound");
    assert_eq!(
        (
            refused.key,
            refused.value,
            refused.weight,
            refused.max_weight
        ),
        ("heavy", 11, 11, 10)
    );
    assert!(refused.to_string().contains("weight 11") && refused.to_string().contains("10"));
    assert!(drain(&log).is_empty(), "the caller received the entry");
    assert_eq!(cache.insert("heavy", u32::MAX), None);
    assert_eq!(drain(&log), [("heavy", u32::MAX, RemovalCause::Rejected)]);
    assert_eq!(
        (cache.stats().rejected, cache.peek("others"), cache.len()),
        (2, Some(3), 1)
    );
    assert_eq!(
        cache.insert("heavy", 10),
        None,
        "an entry of exactly the bound is stored"
    );
    assert_eq!(drain(&log), [("others", 3, RemovalCause::Evicted)]);
}

#[test]
fn refused_insert_removes_the_outdated_value() {
    let time = ManualClock::new();
    let (builder, log) = logging::<&str, u32>(&time, 100);
    let cache = builder
        .max_weight(10)
        .weigher(|_, weight| *weight)
        .build()
        .expect("valid limits");
    cache.insert("page", 5);
    assert!(cache.insert_checked("page", 11).is_err());
    assert_eq!(cache.get("page"), None, "the old value is outdated");
    assert_eq!(drain(&log), [("page", 5, RemovalCause::Replaced)]);
}

#[test]
fn ttl_counts_from_the_last_write() {
    let time = ManualClock::new();
    let cache = builder(&time, 10)
        .ttl(MINUTE)
        .build()
        .expect("valid limits");
    cache.insert("a", 1);
    cache.insert("b", 2);
    time.advance(MINUTE - SECOND);
    assert_eq!(cache.get("a"), Some(1), "a read does not renew the ttl");
    assert_eq!(cache.insert("b", 3), Some(2), "a write does");
    time.advance(SECOND);
    assert_eq!(
        (cache.peek("a"), cache.contains_key("a"), cache.get("a")),
        (None, false, None)
    );
    assert_eq!(
        cache.insert("a", 4),
        None,
        "an expired value is not returned"
    );
    time.advance(MINUTE - SECOND * 2);
    assert_eq!(cache.get("b"), Some(3));
    time.advance(SECOND);
    assert_eq!(
        (cache.get("b"), cache.get("a")),
        (None, Some(4)),
        "a write renews the ttl"
    );
    assert_eq!((cache.stats().expired, cache.stats().idle), (2, 0));
}

#[test]
fn idle_timeout_counts_from_the_last_access() {
    let time = ManualClock::new();
    let cache = builder(&time, 10)
        .idle_timeout(MINUTE)
        .build()
        .expect("valid limits");
    for key in ["got", "with", "computed", "peeked", "contained"] {
        cache.insert(key, 1);
    }
    for _ in 0..10 {
        time.advance(MINUTE - SECOND);
        let used = (
            cache.get("got"),
            cache.with("with", |&it| it),
            cache.get_or_insert_with(&"computed", || 2),
        );
        assert_eq!(used, (Some(1), Some(1), 1));
    }
    assert_eq!(
        (cache.peek("peeked"), cache.contains_key("contained")),
        (None, false)
    );
    assert_eq!(cache.len(), 3);
    time.advance(MINUTE);
    assert_eq!(cache.get("got"), None);
    cache.sweep();
    assert_eq!((cache.stats().expired, cache.stats().idle), (0, 5));
}

#[test]
fn expiry_cause_is_the_limit_that_ended_first() {
    let time = ManualClock::new();
    let (builder, log) = logging(&time, 10);
    let cache = builder
        .ttl(MINUTE * 3)
        .idle_timeout(MINUTE * 2)
        .build()
        .expect("valid limits");
    cache.insert("used", 1);
    cache.insert("unused", 2);
    time.advance(MINUTE);
    cache.get("used");
    time.advance(MINUTE * 9);
    cache.sweep();
    assert_eq!(
        drain(&log),
        [
            ("used", 1, RemovalCause::Expired),
            ("unused", 2, RemovalCause::Idle)
        ]
    );
}

#[test]
fn sweep_changes_no_answer() {
    let time = ManualClock::new();
    let caches = [0, 1].map(|_| {
        builder::<u32, u32>(&time, 20)
            .ttl(MINUTE)
            .idle_timeout(MINUTE / 4)
            .build()
            .expect("valid limits")
    });
    for step in 0..2_000_u32 {
        time.advance(SECOND);
        caches[0].sweep();
        // Few keys are read often, and many are inserted at once now and then.
        let (asked, many) = (step % 3 * 13, step % 200 < 50);
        let answers = caches.each_ref().map(|cache| {
            let got = cache.get(&asked);
            let former = cache.insert(step * 13 % 90, step);
            let more = many.then(|| (cache.insert(100 + step, 0), cache.insert(10_000 + step, 0)));
            (
                got,
                former,
                more,
                cache.len(),
                cache.stats().oldest_entry_age,
            )
        });
        assert_eq!(answers[0], answers[1]);
    }
    let [swept, unswept] = caches.map(|cache| cache.stats());
    assert_eq!(swept, unswept, "the counters are equal");
    assert!(
        swept.expired > 0 && swept.idle > 0 && swept.evicted > 0,
        "{swept}"
    );
}

#[test]
fn insert_at_bound_evicts_expired_entries_first() {
    let time = ManualClock::new();
    let (builder, log) = logging(&time, 8);
    let cache = builder.ttl(MINUTE).build().expect("valid limits");
    for key in 0..6 {
        cache.insert(key, ());
    }
    time.advance(MINUTE / 2);
    cache.insert(6, ());
    cache.insert(7, ());
    for key in 0..6 {
        cache.get(&key);
    }
    time.advance(MINUTE / 2);
    // The least recently used entries, 6 and 7, are live. The others are expired.
    for key in 8..14 {
        cache.insert(key, ());
    }
    assert_eq!(
        drain(&log),
        [0, 1, 2, 3, 4, 5].map(|key| (key, (), RemovalCause::Expired))
    );
    assert_eq!(cache.len(), 8);
}

#[test]
fn heavy_insert_evicts_expired_entries_first() {
    let time = ManualClock::new();
    let (builder, log) = logging(&time, 100);
    let builder = builder
        .max_weight(30)
        .weigher(|_, weight| *weight)
        .ttl(MINUTE);
    let cache = builder.build().expect("valid limits");
    for key in 0..20 {
        cache.insert(key, 1);
    }
    time.advance(MINUTE / 2);
    for key in 20..30 {
        cache.insert(key, 1);
    }
    for key in 0..20 {
        cache.get(&key);
    }
    time.advance(MINUTE / 2);
    cache.insert(30, 20);
    assert_eq!(
        drain(&log),
        (0..20)
            .map(|key| (key, 1, RemovalCause::Expired))
            .collect::<Vec<_>>()
    );
    assert_eq!((cache.len(), cache.weight()), (11, 30));
}

#[test]
fn peek_and_contains_key_do_not_promote() {
    let time = ManualClock::new();
    let cache = builder(&time, 2).build().expect("valid limits");
    cache.insert(1, ());
    cache.insert(2, ());
    assert!(cache.peek(&1).is_some() && cache.contains_key(&1));
    cache.insert(3, ());
    assert!(
        !cache.contains_key(&1),
        "it is still the least recently used"
    );
    assert_eq!((cache.stats().hits, cache.stats().misses), (0, 0));
}

#[test]
fn recency_with_one_shard_is_global() {
    let time = ManualClock::new();
    let cache = builder::<u32, u32>(&time, 1_000)
        .build()
        .expect("valid limits");
    for key in 0..1_000 {
        cache.insert(key, key);
    }
    for key in (0..1_000).step_by(3) {
        cache.get(&key);
    }
    let mut expected: Vec<u32> = (0..1_000).filter(|key| key % 3 != 0).collect();
    expected.extend((0..1_000).step_by(3));
    let order: Vec<u32> = std::iter::from_fn(|| cache.pop_lru())
        .map(|(key, _)| key)
        .collect();
    assert_eq!(order, expected);
}

#[test]
fn pop_across_shards_returns_the_oldest_of_all() {
    let time = ManualClock::new();
    let builder = LruCache::<u32, u32>::builder()
        .max_entries(10_000)
        .shards(8)
        .clock(&time);
    let cache = builder.build().expect("valid limits");
    for key in 0..500 {
        time.advance(NANOSECOND);
        cache.insert(key, key);
    }
    for key in (0..500).rev() {
        time.advance(NANOSECOND);
        cache.get(&key);
    }
    let recent: Vec<u32> = cache
        .entries_by_recency(100)
        .into_iter()
        .map(|(key, _)| key)
        .collect();
    assert_eq!(recent, (0..100).collect::<Vec<_>>());
    for n in 0..200 {
        assert_eq!(cache.pop_lru(), Some((499 - n, 499 - n)));
        assert_eq!(cache.pop_oldest(), Some((n, n)));
    }
    assert_eq!((cache.len(), cache.stats().removed), (100, 400));
    cache.clear();
    assert_eq!((cache.pop_lru(), cache.pop_oldest()), (None, None));
}

#[test]
fn pop_skips_and_removes_expired_entries() {
    let time = ManualClock::new();
    let (builder, log) = logging(&time, 10);
    let cache = builder.ttl(MINUTE).build().expect("valid limits");
    for key in 0..7 {
        cache.insert(key, ());
    }
    time.advance(MINUTE);
    cache.insert(9, ());
    assert_eq!((cache.pop_lru(), cache.pop_oldest()), (Some((9, ())), None));
    let causes: Vec<RemovalCause> = drain(&log).into_iter().map(|it| it.2).collect();
    assert_eq!(
        causes
            .iter()
            .filter(|&&cause| cause == RemovalCause::Expired)
            .count(),
        7
    );
    assert_eq!(
        causes
            .iter()
            .filter(|&&cause| cause == RemovalCause::Removed)
            .count(),
        1
    );
}

#[test]
fn removal_callback_is_called_once_with_the_cause() {
    let time = ManualClock::new();
    let (builder, log) = logging(&time, 100);
    let cache = builder.ttl(MINUTE).build().expect("valid limits");
    for key in 0..10 {
        cache.insert(key, 'a');
    }
    cache.insert(0, 'b');
    assert_eq!(cache.remove(&0), Some('b'));
    assert_eq!(cache.remove(&0), None);
    cache.retain(|&key, _| key != 1);
    assert_eq!(cache.pop_lru(), Some((2, 'a')));
    assert_eq!(cache.pop_oldest(), Some((3, 'a')));
    cache.set_max_entries(5).expect("a valid limit");
    time.advance(MINUTE);
    assert_eq!(cache.get(&9), None);
    cache.insert(10, 'a');
    cache.clear();
    let mut log = drain(&log);
    log.sort_unstable();
    use RemovalCause::{Evicted, Expired, Removed, Replaced};
    let mut expected = vec![
        (0, 'a', Replaced),
        (0, 'b', Removed),
        (1, 'a', Removed),
        (2, 'a', Removed),
    ];
    expected.extend([(3, 'a', Removed), (4, 'a', Evicted)]);
    expected.extend([5, 6, 7, 8, 9].map(|key| (key, 'a', Expired)));
    expected.push((10, 'a', Removed));
    assert_eq!(log, expected);
    let stats = cache.stats();
    assert_eq!(
        (
            stats.inserted,
            stats.replaced,
            stats.removed,
            stats.evicted,
            stats.expired
        ),
        (12, 1, 5, 1, 5)
    );
}

#[test]
fn removal_callback_may_use_the_cache_and_panic() {
    let time = ManualClock::new();
    let slot = Arc::new(Mutex::new(None::<Arc<LruCache<u32, u32>>>));
    let inner = Arc::clone(&slot);
    let cache = builder::<u32, u32>(&time, 10)
        .on_removal(move |&key, _, cause| {
            let cache = inner.lock().expect("ok").clone().expect("it is built");
            assert_eq!(cache.get(&key), None);
            let stats = cache.stats();
            assert!(
                cache.len() <= 10
                    && cache.peek(&key).is_none()
                    && !cache.contains_key(&key)
                    && stats.len <= 10
            );
            // Removals in this callback call it again, so they must end.
            if cause == RemovalCause::Evicted && key < 20 {
                cache.insert(key + 1_000, 0);
                cache.get_or_insert_with(&(key + 2_000), || 0);
                cache.remove(&(key + 2_000));
                cache.retain(|&key, _| key != 1_003);
                drop((
                    cache.pop_lru(),
                    cache.pop_oldest(),
                    cache.entries_by_recency(2),
                    cache.set_max_entries(10),
                ));
            }
            cache.sweep();
            drop(cache.scan(Cursor::default(), 3));
            assert_ne!(key, 13, "one call panics");
        })
        .build()
        .expect("valid limits");
    let cache = Arc::new(cache);
    *slot.lock().expect("ok") = Some(Arc::clone(&cache));
    for key in 0..40 {
        cache.insert(key, key);
    }
    assert!(cache.stats().callback_panics >= 1);
    assert!(cache.len() <= 10);
    cache.validate();
    *slot.lock().expect("ok") = None;
}

#[test]
fn removal_callback_may_drop_another_cache() {
    let time = ManualClock::new();
    let slot = Arc::new(Mutex::new(None::<LruCache<u32, u32>>));
    let inner = Arc::clone(&slot);
    let cache = builder::<u32, u32>(&time, 1)
        .on_removal(move |_, _, _| drop(inner.lock().map(|mut it| it.take())))
        .build()
        .expect("valid limits");
    let shared = Arc::new(cache);
    let other = builder::<u32, u32>(&time, 1).build().expect("valid limits");
    *slot.lock().expect("ok") = Some(other);
    shared.insert(1, 1);
    shared.insert(2, 2);
    assert!(slot.lock().expect("ok").is_none());
    assert_eq!(shared.len(), 1);
}

#[test]
fn len_weight_and_age_count_live_entries_only() {
    let time = ManualClock::new();
    let builder = builder(&time, 1_000)
        .ttl(MINUTE)
        .idle_timeout(MINUTE / 2)
        .max_weight(10_000);
    let cache = builder.weigher(|_, _| 7).build().expect("valid limits");
    for key in 0..100 {
        cache.insert(key, ());
        time.advance(SECOND);
        let live = cache.entries_by_recency(usize::MAX);
        let stats = cache.stats();
        assert_eq!(
            (cache.len(), stats.len, cache.weight()),
            (live.len(), live.len(), 7 * live.len() as u64)
        );
        assert!(stats.oldest_entry_age.expect("not empty") < MINUTE);
        assert_eq!(cache.is_empty(), live.is_empty());
    }
    assert_eq!(cache.len(), 29, "the entries of the last half minute");
    time.advance(MINUTE);
    assert_eq!(
        (cache.len(), cache.weight(), cache.stats().oldest_entry_age),
        (0, 0, None)
    );
    assert_eq!(cache.stats().idle, 100, "counted before they are removed");
}

#[test]
fn changed_bound_holds_at_once() {
    let cache = LruCache::<u32, u32>::builder()
        .max_entries(10_000)
        .max_weight(100_000)
        .weigher(|_, weight| *weight)
        .shards(4)
        .build()
        .expect("valid limits");
    for key in 0..10_000 {
        cache.insert(key, 5);
    }
    cache.set_max_entries(101).expect("a valid limit");
    assert!(cache.len() <= 101 && cache.stats().max_entries == 101);
    cache.set_max_weight(100).expect("a valid limit");
    assert!(
        cache.weight() <= 100 && cache.len() >= 16,
        "{}",
        cache.stats()
    );
    cache.set_max_entries(10_000).expect("a valid limit");
    cache.set_max_weight(1_000_000).expect("a valid limit");
    for key in 0..10_000 {
        cache.insert(key, 5);
    }
    assert!(cache.len() > 9_000);
    assert!(
        cache.set_max_entries(0).is_err()
            && cache.set_max_entries(3).is_err()
            && cache.set_max_weight(0).is_err()
    );
    assert!(cache.len() > 9_000, "an invalid bound changes nothing");
    cache.validate();
}

#[test]
fn clock_may_stand_still_jump_and_go_backwards() {
    let time = ManualClock::new();
    let cache = builder(&time, 10)
        .ttl(MINUTE)
        .idle_timeout(Duration::MAX)
        .build()
        .expect("valid limits");
    time.set(MINUTE * 60);
    cache.insert("a", 1);
    time.set(Duration::ZERO);
    assert_eq!(cache.get("a"), Some(1));
    cache.insert("b", 2);
    time.set(MINUTE * 60 + (MINUTE - SECOND));
    assert_eq!((cache.get("a"), cache.get("b")), (Some(1), Some(2)));
    time.advance(Duration::from_secs(100 * 365 * 86_400));
    assert_eq!(
        (cache.get("a"), cache.get("b"), cache.len()),
        (None, None, 0)
    );
    time.advance(Duration::MAX);
    cache.insert("c", 3);
    assert_eq!(cache.get("c"), Some(3), "at the last representable time");
    cache.validate();
}

#[test]
fn longest_limits_never_expire() {
    let time = ManualClock::new();
    let cache = builder(&time, 10)
        .ttl(Duration::MAX)
        .idle_timeout(Duration::MAX)
        .build()
        .expect("valid limits");
    cache.insert("a", 1);
    time.advance(Duration::MAX);
    assert_eq!(cache.get("a"), Some(1));
    assert_eq!(cache.stats().ttl, None, "such a limit is no limit");
}

#[test]
fn unsync_cache_lends_its_values() {
    let mut cache = unsync::LruCache::<String, Vec<u32>>::new(2, MINUTE);
    cache.insert("a".to_owned(), vec![1]);
    cache.insert("b".to_owned(), vec![2]);
    cache.get_mut("a").expect("there").push(10);
    assert_eq!(cache.get("a"), Some(&vec![1, 10]));
    assert_eq!(cache.peek("b"), Some(&vec![2]));
    let entries: Vec<(&str, usize)> = cache
        .iter()
        .map(|(key, value)| (key.as_str(), value.len()))
        .collect();
    assert_eq!(
        entries,
        [("a", 2), ("b", 1)],
        "the most recently used first"
    );
    assert_eq!(cache.try_get_or_insert_with("c", || Err("no")), Err("no"));
    assert_eq!(cache.get_or_insert_with("c", || vec![3]), [3]);
    assert_eq!(
        (cache.pop_lru(), cache.len()),
        (Some(("a".to_owned(), vec![1, 10])), 1)
    );
    assert_eq!(cache.pop_oldest(), Some(("c".to_owned(), vec![3])));
    assert!(cache.is_empty() && cache.iter().next().is_none());
}

#[test]
fn reads_remove_nothing_and_leave_it_to_writes() {
    let time = ManualClock::new();
    let (builder, log) = logging::<u32, u32>(&time, 100);
    let cache = builder.ttl(MINUTE).build().expect("valid limits");
    for key in 0..50 {
        cache.insert(key, key);
    }
    time.advance(MINUTE);
    for key in 0..50 {
        assert_eq!((cache.get(&key), cache.with(&key, |_| ())), (None, None));
        assert_eq!((cache.peek(&key), cache.contains_key(&key)), (None, false));
    }
    assert_eq!((cache.entries_by_recency(9), cache.len()), (Vec::new(), 0));
    assert_eq!(cache.scan(Cursor::default(), 100), (Vec::new(), None));
    assert!(drain(&log).is_empty());
    cache.insert(100, 0);
    assert_eq!(drain(&log).len(), 4, "a write removes a few");
    assert_eq!((cache.sweep(), drain(&log).len()), (46, 46));
}

#[test]
fn getters_return_the_limits_in_force() {
    let cache = LruCache::<u32, u32>::builder()
        .max_entries(100)
        .max_weight(1_000)
        .weigher(|_, weight| *weight)
        .ttl(MINUTE)
        .idle_timeout(SECOND)
        .shards(4)
        .build()
        .expect("valid limits");
    cache.set_max_entries(50).expect("a valid limit");
    cache.set_max_weight(40).expect("a valid limit");
    assert_eq!((cache.max_entries(), cache.max_weight()), (40, Some(40)));
    assert_eq!(cache.ttl(), Some(MINUTE));
    assert_eq!(cache.idle_timeout(), Some(SECOND));
    let unsync = unsync::LruCache::<u32, u32>::new(7, MINUTE);
    assert_eq!((unsync.max_entries(), unsync.max_weight()), (7, None));
    assert_eq!((unsync.ttl(), unsync.idle_timeout()), (Some(MINUTE), None));
}

#[test]
fn high_water_is_the_largest_number_of_entries() {
    let cache = LruCache::<u32, u32>::new(10, MINUTE);
    (0..5).for_each(|key| _ = cache.insert(key, key));
    (0..3).for_each(|key| _ = cache.remove(&key));
    assert_eq!((cache.stats().len, cache.stats().high_water), (2, 5));
}

#[test]
fn clone_is_a_handle_on_the_same_cache() {
    let cache = LruCache::<u32, u32>::new(10, MINUTE);
    let handle = cache.clone();
    handle.insert(1, 10);
    assert_eq!(cache.get(&1), Some(10));
}

#[test]
fn iterators_visit_the_live_entries() {
    let time = ManualClock::new();
    let log = Log::default();
    let for_callback = Arc::clone(&log);
    let new = || {
        let for_callback = Arc::clone(&for_callback);
        let mut cache = unsync::LruCache::<u32, u32>::builder()
            .max_entries(10)
            .ttl(MINUTE)
            .clock(&time)
            .on_removal(move |&key, &value, cause| {
                for_callback.lock().expect("ok").push((key, value, cause));
            })
            .build()
            .expect("valid limits");
        cache.insert(0, 0);
        time.advance(MINUTE / 2);
        cache.extend([(1, 10), (2, 20), (3, 30)]);
        cache.get(&0);
        cache.get(&1);
        time.advance(MINUTE / 2);
        cache
    };
    let mut cache = new();
    assert!(cache.keys().eq(&[1, 3, 2]) && cache.values().eq(&[10, 30, 20]));
    assert_eq!((&cache).into_iter().count(), 3);
    for (key, value) in &mut cache {
        *value += key;
    }
    *cache.peek_mut(&2).expect("live") += 100;
    assert!(cache.iter().eq([(&1, &11), (&3, &33), (&2, &122)]));
    let sorted = |entries: Vec<(u32, u32)>| {
        let mut entries = entries;
        entries.sort_unstable();
        entries
    };
    let live = [(1, 11), (2, 122), (3, 33)];
    assert!(drain(&log).is_empty());
    assert_eq!(sorted(cache.drain().collect()), live);
    let mut removed = drain(&log);
    removed.sort_unstable();
    assert_eq!(removed[0], (0, 0, RemovalCause::Expired));
    assert!(removed[1..].iter().all(|it| it.2 == RemovalCause::Removed));
    assert_eq!((removed.len(), cache.len()), (4, 0));
    cache.validate();
    assert_eq!(
        sorted(new().into_iter().collect()),
        [(1, 10), (2, 20), (3, 30)]
    );
    assert!(drain(&log).is_empty(), "consuming notifies of nothing");
}

#[test]
fn invalid_limit_names_value_and_range() {
    let cache = LruCache::<u32, u32>::builder()
        .max_entries(100)
        .shards(4)
        .build()
        .expect("valid limits");
    let error = cache.set_max_entries(3).expect_err("too small");
    assert_eq!(
        error.to_string(),
        "`max_entries` must be between 4 and 8589934592 (got 3)"
    );
    let error = cache.set_max_weight(100).expect_err("no weigher");
    assert_eq!(error, leakproof::InvalidLimit::NoWeigher);
}

#[test]
fn changed_bounds_are_reported() {
    let cache = LruCache::<u32, u32>::builder().max_entries(100);
    let cache = cache.max_weight(1_000).weigher(|_, weight| *weight);
    let cache = cache.build().unwrap();
    cache.set_max_entries(50).unwrap();
    cache.set_max_weight(40).unwrap();
    assert_eq!((cache.max_entries(), cache.max_weight()), (40, Some(40)));
}

#[test]
fn stats_exclude_the_weight_of_expired_entries() {
    let time = ManualClock::new();
    let cache = LruCache::<u32, u32>::builder().max_entries(100).ttl(MINUTE);
    let cache = cache.max_weight(1_000).weigher(|_, weight| *weight);
    let cache = cache.shards(1).clock(&time).build().unwrap();
    cache.insert(1, 30);
    time.advance(MINUTE / 2);
    cache.insert(2, 12);
    time.advance(MINUTE / 2);
    assert_eq!((cache.stats().weight, cache.weight()), (12, 12));
}

#[test]
fn weight_equal_to_a_lowered_bound_evicts_nothing() {
    let cache = LruCache::<u32, u32>::builder().max_entries(100);
    let cache = cache.max_weight(1_000).weigher(|_, weight| *weight);
    let cache = cache.shards(1).build().unwrap();
    (0..10).for_each(|key| _ = cache.insert(key, 5));
    cache.set_max_weight(50).unwrap();
    assert_eq!((cache.len(), cache.weight()), (10, 50));
}

#[test]
fn retain_skips_expired_entries() {
    let time = ManualClock::new();
    let cache = LruCache::<u32, u32>::builder().max_entries(100).ttl(MINUTE);
    let cache = cache.shards(1).clock(&time).build().unwrap();
    (0..50).for_each(|key| _ = cache.insert(key, key));
    time.advance(MINUTE / 2);
    (50..100).for_each(|key| _ = cache.insert(key, key));
    time.advance(MINUTE / 2);
    cache.retain(|&key, _| {
        assert!(key >= 50);
        true
    });
    assert_eq!(cache.len(), 50);
}

#[test]
fn retain_visits_every_entry_of_a_large_shard() {
    let builder = LruCache::<u32, u32>::builder().max_entries(1_000);
    let cache = builder.shards(1).build().unwrap();
    (0..1_000).for_each(|key| _ = cache.insert(key, key));
    let mut visited = 0;
    cache.retain(|&key, _| {
        visited += 1;
        key % 2 == 0
    });
    assert_eq!((visited, cache.len()), (1_000, 500));
    assert!((0..1_000).all(|key| cache.contains_key(&key) == (key % 2 == 0)));
}

#[test]
fn unsync_extend_inserts_all_entries() {
    let mut cache = unsync::LruCache::<u32, u32>::new(10, MINUTE);
    cache.extend((0..3).map(|key| (key, key)));
    assert_eq!(cache.len(), 3);
    let builder = unsync::LruCache::<u32, u32>::builder().max_entries(10);
    let cache = builder.build_from((0..3).map(|key| (key, key)));
    assert_eq!(cache.expect("valid limits").len(), 3);
}
