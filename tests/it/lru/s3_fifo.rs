//! The promises of `Policy::S3Fifo`.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use leakproof::{LruBuilder, LruCache, LruConfig, ManualClock, Policy, RemovalCause, unsync};
use leakproof_testkit::s3_fifo::{MAX_ENTRIES, Op, run};
use proptest::collection::vec;
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);

fn builder<K, V>(max_entries: usize) -> LruBuilder<K, V> {
    LruCache::builder()
        .max_entries(max_entries)
        .shards(1)
        .policy(Policy::S3Fifo)
}

fn op(keys: u8) -> impl Strategy<Value = Op> {
    prop_oneof![
        20 => (0..keys, 1..4_u8).prop_map(|(key, weight)| Op::Visit { key, weight }),
        5 => (0..keys, 0..60_u8).prop_map(|(key, weight)| Op::Insert { key, weight }),
        8 => (0..keys).prop_map(Op::Get),
        1 => (0..keys).prop_map(Op::Remove),
        1 => (9..200_u8).prop_map(Op::SetMaxWeight),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn s3_fifo_evicts_what_the_reference_evicts(
        (max_entries, max_weight) in (1..=MAX_ENTRIES, 1..200_u64),
        ops in prop_oneof![vec(op(60), 0..2_000), vec(op(200), 0..2_000), vec(op(20), 0..500)],
    ) {
        run(max_entries, max_weight, &ops);
    }
}

/// A long stream, after which the share of the small queue has changed.
#[test]
fn s3_fifo_adapts_its_queues_as_the_reference_does() {
    let mut random = 1_u64;
    let mut next = || {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        random >> 33
    };
    for keys in [50, 80, 120] {
        let ops: Vec<Op> = (0..20_000)
            .map(|_| Op::Visit {
                key: (next() % keys * (next() % keys) / keys) as u8,
                weight: 1,
            })
            .collect();
        run(MAX_ENTRIES, 1_000, &ops);
    }
    // All are hit twice, so the main queue evicts them, and the small one shrinks.
    let thrice: Vec<Op> = (0..7_000)
        .flat_map(|_| {
            let key = (next() % 50) as u8;
            (0..3).map(move |_| Op::Visit { key, weight: 1 })
        })
        .collect();
    run(MAX_ENTRIES, 1_000, &thrice);
}

#[test]
fn scan_does_not_displace_keys_that_were_hit_twice() {
    // One in 33 is evicted when the cache is full for the first time: a call examines 32 entries.
    for (policy, kept) in [(Policy::S3Fifo, 485), (Policy::Lru, 0)] {
        let cache = builder(1_000).policy(policy).build().expect("valid limits");
        for _ in 0..3 {
            for key in 0..500 {
                cache.get_or_insert_with(&key, || key);
            }
        }
        for key in 1_000..100_000 {
            cache.insert(key, key);
        }
        let rest = (0..500).filter(|key| cache.contains_key(key)).count();
        assert_eq!(rest, kept, "{policy:?}");
        assert_eq!(cache.len(), 1_000);
    }
}

#[test]
fn key_that_comes_back_enters_the_main_queue() {
    let cache = builder(100).build().expect("valid limits");
    for key in 0..110 {
        cache.insert(key, key);
    }
    assert!(
        !cache.contains_key(&0),
        "it was evicted from the small queue"
    );
    cache.insert(0, 0);
    for key in 200..1_000 {
        cache.insert(key, key);
    }
    assert!(cache.contains_key(&0), "a scan leaves the main queue alone");
}

#[test]
fn key_that_expires_in_the_main_queue_comes_back_there() {
    let time = ManualClock::new();
    let cache = builder(100).ttl(SECOND).clock(&time).build().expect("ok");
    let scan = |from: u32| (from..from + 500).for_each(|key| _ = cache.insert(key, key));
    for _ in 0..3 {
        cache.get_or_insert_with(&1, || 1);
    }
    scan(1_000);
    assert!(cache.contains_key(&1), "it is in the main queue");
    time.advance(SECOND);
    assert!(!cache.contains_key(&1));
    cache.insert(1, 2);
    scan(2_000);
    assert_eq!(cache.peek(&1), Some(2));
}

#[test]
fn insert_never_evicts_its_own_entry() {
    for policy in [Policy::S3Fifo, Policy::Lru] {
        let mut cache = unsync::LruCache::<u32, u32>::builder()
            .max_entries(20)
            .max_weight(100)
            .weigher(|_, &weight| weight)
            .policy(policy)
            .build()
            .expect("valid limits");
        for step in 0..20_000_u32 {
            let weight = (step * 7_919) % 100 + 1;
            let key = (step * 104_729) % 40;
            cache.insert(key, weight);
            assert_eq!(cache.peek(&key), Some(&weight));
            cache.get(&(step % 40));
            let grown = cache.update(&(step % 13), |weight| {
                *weight = (*weight * 3).min(100);
                *weight
            });
            assert_eq!(cache.peek(&(step % 13)).copied(), grown);
            cache.validate();
        }
    }
}

#[test]
fn expired_entries_are_evicted_first_by_s3_fifo() {
    let time = ManualClock::new();
    let log = Arc::new(Mutex::new(Vec::new()));
    let removed = Arc::clone(&log);
    // Stale, so that only evictions remove them.
    let cache = builder(10)
        .ttl(2 * SECOND)
        .stale(100 * SECOND)
        .clock(&time)
        .on_removal(move |&key, _, cause| removed.lock().expect("ok").push((key, cause)))
        .build()
        .expect("valid limits");
    for key in 0..10 {
        cache.insert(key, key);
        if key == 4 {
            (0..5).for_each(|key| (0..3).for_each(|_| _ = cache.get(&key)));
            time.advance(SECOND);
        }
    }
    time.advance(SECOND);
    assert_eq!(cache.len(), 5);
    (10..15).for_each(|key| _ = cache.insert(key, key));
    let expired: Vec<_> = (0..5).map(|key| (key, RemovalCause::Expired)).collect();
    assert_eq!(*log.lock().expect("ok"), expired);
    assert_eq!(cache.len(), 10);
}

#[test]
fn pop_lru_takes_the_next_victim_of_s3_fifo() {
    let mut cache = unsync::LruCache::<u32, u32>::builder()
        .max_entries(100)
        .policy(Policy::S3Fifo)
        .build()
        .expect("valid limits");
    (0..100).for_each(|key| _ = cache.insert(key, key));
    cache.get(&0);
    cache.get(&0);
    cache.get(&1);
    assert_eq!(cache.peek_lru(), Some((&1, &1)));
    cache.insert(100, 100);
    assert!(!cache.contains_key(&1));
    assert_eq!(cache.pop_lru(), Some((2, 2)));
    // More than one call examines: it takes an entry that was hit, and does not change its mind.
    (0..101).for_each(|key| (0..3).for_each(|_| _ = cache.get(&key)));
    let next = cache.peek_lru().map(|(&key, &value)| (key, value));
    assert!(next.is_some());
    assert_eq!(cache.pop_lru(), next);
}

#[test]
fn pop_lru_is_exact_with_an_idle_timeout() {
    let time = ManualClock::new();
    let cache = builder(100)
        .idle_timeout(1_000 * SECOND)
        .clock(&time)
        .build()
        .expect("valid limits");
    for key in 0..100 {
        cache.insert(key, key);
        time.advance(SECOND);
    }
    cache.get(&0);
    assert_eq!(cache.pop_lru(), Some((1, 1)));
    assert_eq!(cache.entries_by_recency(2), [(0, 0), (99, 99)]);
}

#[test]
fn entries_by_recency_sorts_accesses_of_s3_fifo() {
    let time = ManualClock::new();
    for shards in [1, 4] {
        let cache = builder(1_000)
            .shards(shards)
            .clock(&time)
            .build()
            .expect("ok");
        for key in 0..100 {
            cache.insert(key, key);
            time.advance(Duration::from_nanos(8));
        }
        cache.get(&7);
        let entries: Vec<u32> = cache.entries_by_recency(4).iter().map(|it| it.0).collect();
        assert_eq!(entries, [7, 99, 98, 97]);
        assert_eq!(cache.entries_by_recency(500).len(), 100);
        assert!(cache.entries_by_recency(0).is_empty());
        // An order that has nothing to do with that of the slots.
        let key_at = |step: u32| step * 37 % 100;
        for step in 0..100 {
            time.advance(Duration::from_nanos(8));
            cache.get(&key_at(step));
        }
        for n in [1, 2, 10, 50, 99, 100] {
            let entries = cache.entries_by_recency(n);
            let newest_first = (0..100).rev().map(key_at).take(n);
            assert!(entries.iter().map(|it| it.0).eq(newest_first), "{n}");
        }
    }
}

#[test]
fn iterators_of_s3_fifo_visit_the_live_entries_once() {
    let time = ManualClock::new();
    let mut cache = unsync::LruCache::<u32, u32>::builder()
        .max_entries(50)
        .ttl(SECOND)
        .policy(Policy::S3Fifo)
        .clock(&time)
        .build()
        .expect("valid limits");
    for key in 0..200 {
        cache.insert(key, key);
        if key == 180 {
            time.advance(SECOND / 2);
        }
    }
    time.advance(SECOND / 2);
    let mut keys: Vec<u32> = cache.keys().copied().collect();
    keys.sort_unstable();
    assert_eq!(keys, (181..200).collect::<Vec<_>>());
    assert_eq!(cache.values().count(), 19);
    assert_eq!(cache.iter_mut().count(), 19);
    assert_eq!(cache.drain().count(), 19);
    cache.validate();
}

#[test]
fn config_sets_the_policy() {
    let read = |text: Option<&str>| {
        let text = text.map(str::to_owned);
        LruConfig::from_lookup("C", |name| {
            if name == "C_POLICY" {
                text.clone()
            } else {
                None
            }
        })
    };
    assert_eq!(read(None).expect("defaults").policy, Policy::Lru);
    assert_eq!(read(Some("lru")).expect("valid").policy, Policy::Lru);
    let s3_fifo = read(Some("s3-fifo")).expect("valid");
    assert_eq!(s3_fifo.policy, Policy::S3Fifo);
    let error = read(Some("fifo")).expect_err("an unknown word");
    assert!(
        error.to_string().contains("must be lru or s3-fifo"),
        "{error}"
    );
    let cache = LruCache::<u32, u32>::builder().config(&s3_fifo).build();
    assert_eq!(cache.expect("valid").policy(), Policy::S3Fifo);
}
