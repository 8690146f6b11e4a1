//! What an `LruCache` promises, a test for each promise.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use leakproof::{Cursor, LruBuilder, LruCache, ManualClock, RemovalCause, unsync};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

type Told<K, V> = Arc<Mutex<Vec<(K, V, RemovalCause)>>>;

/// A builder of caches in one shard, on this clock.
fn builder<K, V>(time: &ManualClock, max_entries: usize) -> LruBuilder<K, V> {
    LruCache::builder()
        .max_entries(max_entries)
        .shards(1)
        .clock(time)
}

/// A builder of caches that note what left.
fn telling<K, V>(time: &ManualClock, max_entries: usize) -> (LruBuilder<K, V>, Told<K, V>)
where
    K: Clone + Send + 'static,
    V: Clone + Send + 'static,
{
    let told = Told::default();
    let log = Arc::clone(&told);
    let note = move |key: &K, value: &V, cause| {
        log.lock()
            .expect("ok")
            .push((key.clone(), value.clone(), cause));
    };
    (builder(time, max_entries).on_removal(note), told)
}

fn taken<K, V>(told: &Told<K, V>) -> Vec<(K, V, RemovalCause)> {
    std::mem::take(&mut told.lock().expect("not poisoned"))
}

#[test]
fn at_the_bound_the_least_recently_used_goes_and_never_the_newcomer() {
    let time = ManualClock::new();
    let (builder, told) = telling(&time, 3);
    let cache = builder.build().expect("sound limits");
    for key in [1, 2, 3] {
        cache.insert(key, key * 10);
    }
    assert_eq!(cache.get(&1), Some(10));
    cache.insert(4, 40);
    assert_eq!(taken(&told), [(2, 20, RemovalCause::Evicted)]);
    cache.insert(3, 33);
    cache.insert(5, 50);
    assert_eq!(
        taken(&told),
        [
            (3, 30, RemovalCause::Replaced),
            (1, 10, RemovalCause::Evicted)
        ]
    );
    assert_eq!(cache.entries_by_recency(9), [(5, 50), (3, 33), (4, 40)]);
    assert_eq!(cache.stats().evicted, 2);
}

#[test]
fn all_bounds_hold_after_every_call() {
    let cache = LruCache::<u32, u32>::builder()
        .max_entries(1_003)
        .max_weight(5_007)
        .weigher(|_, weight| *weight)
        .shards(8)
        .build()
        .expect("sound limits");
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
        "the shares add up"
    );
    assert!(stats.weight > 4_000, "and the cache is well used: {stats}");
}

#[test]
fn an_insert_of_much_weight_evicts_as_many_as_have_to_go_for_it() {
    let time = ManualClock::new();
    let (builder, told) = telling::<u32, u32>(&time, 100);
    let cache = builder
        .max_weight(10)
        .weigher(|_, weight| *weight)
        .build()
        .expect("sound limits");
    for key in 0..5 {
        cache.insert(key, 2);
    }
    cache.insert(9, 7);
    assert_eq!(
        taken(&told),
        [0, 1, 2, 3].map(|key| (key, 2, RemovalCause::Evicted))
    );
    assert_eq!((cache.len(), cache.weight()), (2, 9));
    cache.insert(4, 4);
    assert_eq!(
        taken(&told),
        [
            (9, 7, RemovalCause::Evicted),
            (4, 2, RemovalCause::Replaced)
        ],
        "others go for it"
    );
    assert_eq!((cache.len(), cache.weight()), (1, 4));
}

#[test]
fn weights_of_nothing_count_as_one_and_the_largest_are_exact() {
    let weightless = LruCache::<u32, ()>::builder()
        .max_weight(10)
        .weigher(|_, ()| 0)
        .build()
        .expect("sound limits");
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
    let heavy = heavy.build().expect("sound limits");
    for key in 0..5 {
        heavy.insert(key, u32::MAX);
    }
    assert_eq!((heavy.len(), heavy.weight()), (3, 3 * largest));
    heavy.insert(9, 1);
    assert_eq!((heavy.len(), heavy.weight()), (3, 2 * largest + 1));
    heavy.validate();
}

#[test]
fn an_entry_that_alone_is_too_heavy_is_refused_and_given_back_with_its_cause() {
    let time = ManualClock::new();
    let (builder, told) = telling::<&str, u32>(&time, 100);
    let cache = builder
        .max_weight(10)
        .weigher(|_, weight| *weight)
        .build()
        .expect("sound limits");
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
    assert!(taken(&told).is_empty(), "it came back");
    assert_eq!(cache.insert("heavy", u32::MAX), None);
    assert_eq!(taken(&told), [("heavy", u32::MAX, RemovalCause::Rejected)]);
    assert_eq!(
        (cache.stats().rejected, cache.peek("others"), cache.len()),
        (2, Some(3), 1)
    );
    assert_eq!(
        cache.insert("heavy", 10),
        None,
        "as heavy as the bound is not too heavy"
    );
    assert_eq!(taken(&told), [("others", 3, RemovalCause::Evicted)]);
}

#[test]
fn a_refused_write_does_not_leave_the_value_that_it_was_to_replace() {
    let time = ManualClock::new();
    let (builder, told) = telling::<&str, u32>(&time, 100);
    let cache = builder
        .max_weight(10)
        .weigher(|_, weight| *weight)
        .build()
        .expect("sound limits");
    cache.insert("page", 5);
    assert!(cache.insert_checked("page", 11).is_err());
    assert_eq!(cache.get("page"), None, "the old value is out of date");
    assert_eq!(taken(&told), [("page", 5, RemovalCause::Replaced)]);
}

#[test]
fn an_entry_past_its_age_is_never_returned_and_age_counts_from_the_last_write() {
    let time = ManualClock::new();
    let cache = builder(&time, 10)
        .ttl(MINUTE)
        .build()
        .expect("sound limits");
    cache.insert("a", 1);
    cache.insert("b", 2);
    time.advance(MINUTE - SECOND);
    assert_eq!(cache.get("a"), Some(1), "reading does not make it younger");
    assert_eq!(cache.insert("b", 3), Some(2), "writing does");
    time.advance(SECOND);
    assert_eq!(
        (cache.peek("a"), cache.contains_key("a"), cache.get("a")),
        (None, false, None)
    );
    assert_eq!(
        cache.insert("a", 4),
        None,
        "what is past its time is no former value"
    );
    time.advance(MINUTE - SECOND * 2);
    assert_eq!(cache.get("b"), Some(3));
    time.advance(SECOND);
    assert_eq!(
        (cache.get("b"), cache.get("a")),
        (None, Some(4)),
        "written anew, it lives anew"
    );
    assert_eq!((cache.stats().expired, cache.stats().idle), (2, 0));
}

#[test]
fn an_entry_unused_for_long_is_never_returned_and_idleness_counts_from_the_last_use() {
    let time = ManualClock::new();
    let cache = builder(&time, 10)
        .idle_timeout(MINUTE)
        .build()
        .expect("sound limits");
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
fn with_both_limits_whichever_comes_first_counts() {
    let time = ManualClock::new();
    let (builder, told) = telling(&time, 10);
    let cache = builder
        .ttl(MINUTE * 3)
        .idle_timeout(MINUTE * 2)
        .build()
        .expect("sound limits");
    cache.insert("used", 1);
    cache.insert("unused", 2);
    time.advance(MINUTE);
    cache.get("used");
    time.advance(MINUTE * 9);
    cache.sweep();
    assert_eq!(
        taken(&told),
        [
            ("used", 1, RemovalCause::Expired),
            ("unused", 2, RemovalCause::Idle)
        ]
    );
}

#[test]
fn no_sweep_changes_an_answer() {
    let time = ManualClock::new();
    let caches = [0, 1].map(|_| {
        builder::<u32, u32>(&time, 20)
            .ttl(MINUTE)
            .idle_timeout(MINUTE / 4)
            .build()
            .expect("sound limits")
    });
    for step in 0..2_000_u32 {
        time.advance(SECOND);
        caches[0].sweep();
        // A few keys are asked for often, and now and then many come at once.
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
    assert_eq!(swept, unswept, "and counts the same");
    assert!(
        swept.expired > 0 && swept.idle > 0 && swept.evicted > 0,
        "{swept}"
    );
}

#[test]
fn expired_entries_go_before_live_ones() {
    let time = ManualClock::new();
    let (builder, told) = telling(&time, 8);
    let cache = builder.ttl(MINUTE).build().expect("sound limits");
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
    // The least recently used, 6 and 7, are live: the others are past their time.
    for key in 8..14 {
        cache.insert(key, ());
    }
    let told = taken(&told);
    assert_eq!(
        told,
        [0, 1, 2, 3, 4, 5].map(|key| (key, (), RemovalCause::Expired))
    );
    assert_eq!(cache.len(), 8);
}

#[test]
fn expired_entries_go_before_live_ones_however_many_have_to_go() {
    let time = ManualClock::new();
    let (builder, told) = telling(&time, 100);
    let builder = builder
        .max_weight(30)
        .weigher(|_, weight| *weight)
        .ttl(MINUTE);
    let cache = builder.build().expect("sound limits");
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
        taken(&told),
        (0..20)
            .map(|key| (key, 1, RemovalCause::Expired))
            .collect::<Vec<_>>()
    );
    assert_eq!((cache.len(), cache.weight()), (11, 30));
}

#[test]
fn peek_and_contains_do_not_promote_and_count_nothing() {
    let time = ManualClock::new();
    let cache = builder(&time, 2).build().expect("sound limits");
    cache.insert(1, ());
    cache.insert(2, ());
    assert!(cache.peek(&1).is_some() && cache.contains_key(&1));
    cache.insert(3, ());
    assert!(
        !cache.contains_key(&1),
        "it was still the least recently used"
    );
    assert_eq!((cache.stats().hits, cache.stats().misses), (0, 0));
}

#[test]
fn recency_is_exact_per_shard_and_with_one_shard_for_all() {
    let time = ManualClock::new();
    let cache = builder::<u32, u32>(&time, 1_000)
        .build()
        .expect("sound limits");
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
fn across_shards_the_ends_of_the_orders_are_those_of_the_whole_cache() {
    let time = ManualClock::new();
    let builder = LruCache::<u32, u32>::builder()
        .max_entries(10_000)
        .shards(8)
        .clock(&time);
    let cache = builder.build().expect("sound limits");
    for key in 0..500 {
        time.advance(SECOND);
        cache.insert(key, key);
    }
    for key in (0..500).rev() {
        time.advance(SECOND);
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
fn entries_that_are_past_their_time_are_popped_over() {
    let time = ManualClock::new();
    let (builder, told) = telling(&time, 10);
    let cache = builder.ttl(MINUTE).build().expect("sound limits");
    for key in 0..7 {
        cache.insert(key, ());
    }
    time.advance(MINUTE);
    cache.insert(9, ());
    assert_eq!((cache.pop_lru(), cache.pop_oldest()), (Some((9, ())), None));
    let causes: Vec<RemovalCause> = taken(&told).into_iter().map(|it| it.2).collect();
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
fn every_removal_is_told_of_once_with_its_cause() {
    let time = ManualClock::new();
    let (builder, told) = telling(&time, 100);
    let cache = builder.ttl(MINUTE).build().expect("sound limits");
    for key in 0..10 {
        cache.insert(key, 'a');
    }
    cache.insert(0, 'b');
    assert_eq!(cache.remove(&0), Some('b'));
    assert_eq!(cache.remove(&0), None);
    cache.retain(|&key, _| key != 1);
    assert_eq!(cache.pop_lru(), Some((2, 'a')));
    assert_eq!(cache.pop_oldest(), Some((3, 'a')));
    cache.set_max_entries(5).expect("a sound limit");
    time.advance(MINUTE);
    assert_eq!(cache.get(&9), None);
    cache.insert(10, 'a');
    cache.clear();
    let mut told = taken(&told);
    told.sort_unstable();
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
    assert_eq!(told, expected);
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
fn a_removal_callback_may_use_the_cache_and_its_panics_are_contained_and_counted() {
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
            // What leaves because of this is told of in turn, so it must come to an end.
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
            assert_ne!(key, 13, "an unlucky number");
        })
        .build()
        .expect("sound limits");
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
fn a_removal_callback_may_drop_the_last_handle_on_the_cache() {
    let time = ManualClock::new();
    let slot = Arc::new(Mutex::new(None::<LruCache<u32, u32>>));
    let inner = Arc::clone(&slot);
    let cache = builder::<u32, u32>(&time, 1)
        .on_removal(move |_, _, _| drop(inner.lock().map(|mut it| it.take())))
        .build()
        .expect("sound limits");
    let shared = Arc::new(cache);
    let other = builder::<u32, u32>(&time, 1).build().expect("sound limits");
    *slot.lock().expect("ok") = Some(other);
    shared.insert(1, 1);
    shared.insert(2, 2);
    assert!(slot.lock().expect("ok").is_none());
    assert_eq!(shared.len(), 1);
}

#[test]
fn len_weight_and_oldest_age_are_those_of_live_entries() {
    let time = ManualClock::new();
    let builder = builder(&time, 1_000)
        .ttl(MINUTE)
        .idle_timeout(MINUTE / 2)
        .max_weight(10_000);
    let cache = builder.weigher(|_, _| 7).build().expect("sound limits");
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
    assert_eq!(cache.len(), 29, "those of the last half minute");
    time.advance(MINUTE);
    assert_eq!(
        (cache.len(), cache.weight(), cache.stats().oldest_entry_age),
        (0, 0, None)
    );
    assert_eq!(
        cache.stats().idle,
        100,
        "counted, though nobody has freed them"
    );
}

#[test]
fn a_bound_can_be_changed_and_holds_at_once() {
    let cache = LruCache::<u32, u32>::builder()
        .max_entries(10_000)
        .max_weight(100_000)
        .weigher(|_, weight| *weight)
        .shards(4)
        .build()
        .expect("sound limits");
    for key in 0..10_000 {
        cache.insert(key, 5);
    }
    cache.set_max_entries(101).expect("a sound limit");
    assert!(cache.len() <= 101 && cache.stats().max_entries == 101);
    cache.set_max_weight(100).expect("a sound limit");
    assert!(
        cache.weight() <= 100 && cache.len() >= 16,
        "{}",
        cache.stats()
    );
    cache.set_max_entries(10_000).expect("a sound limit");
    cache.set_max_weight(1_000_000).expect("a sound limit");
    for key in 0..10_000 {
        cache.insert(key, 5);
    }
    assert!(cache.len() > 9_000);
    assert!(
        cache.set_max_entries(0).is_err()
            && cache.set_max_entries(3).is_err()
            && cache.set_max_weight(0).is_err()
    );
    assert!(
        cache.len() > 9_000,
        "a bound that is refused changes nothing"
    );
    cache.validate();
}

#[test]
fn the_clock_may_stand_still_jump_by_years_and_go_backwards() {
    let time = ManualClock::new();
    let cache = builder(&time, 10)
        .ttl(MINUTE)
        .idle_timeout(Duration::MAX)
        .build()
        .expect("sound limits");
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
    assert_eq!(cache.get("c"), Some(3), "at the end of time");
    cache.validate();
}

#[test]
fn limits_beyond_all_time_never_expire() {
    let time = ManualClock::new();
    let cache = builder(&time, 10)
        .ttl(Duration::MAX)
        .idle_timeout(Duration::MAX)
        .build()
        .expect("sound limits");
    cache.insert("a", 1);
    time.advance(Duration::MAX);
    assert_eq!(cache.get("a"), Some(1));
    assert_eq!(cache.stats().ttl, None, "and are shown as none");
}

#[test]
fn the_single_threaded_cache_lends_what_it_holds() {
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
