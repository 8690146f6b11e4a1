//! Limits at their edges, and keys and hashers of all kinds.

use std::hash::{BuildHasherDefault, Hasher};
use std::panic::catch_unwind;
use std::time::Duration;

use leakproof::{BuildError, LruCache, ManualClock, Policy, unsync};

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn build_names_the_limit_that_is_wrong() {
    let builder = || LruCache::<u32, u32>::builder().max_entries(10);
    let error = |result: Result<LruCache<u32, u32>, BuildError>| result.expect_err("refused");
    let zero = |limit| BuildError::Zero { limit };
    let missing = error(LruCache::builder().ttl(MINUTE).idle_timeout(MINUTE).build());
    assert_eq!(
        missing,
        BuildError::Missing {
            limit: "max_entries or max_weight"
        }
    );
    assert!(missing.to_string().contains("max_entries or max_weight"));
    assert_eq!(
        error(LruCache::builder().max_entries(0).build()),
        zero("max_entries")
    );
    assert_eq!(
        error(builder().max_weight(0).weigher(|_, _| 1).build()),
        zero("max_weight")
    );
    assert_eq!(error(builder().ttl(Duration::ZERO).build()), zero("ttl"));
    assert_eq!(
        error(builder().idle_timeout(Duration::ZERO).build()),
        zero("idle_timeout")
    );
    assert_eq!(error(builder().shards(0).build()), zero("shards"));
    assert_eq!(
        error(builder().sweep_every(Duration::ZERO).build()),
        zero("sweep_every")
    );
    assert_eq!(
        error(builder().max_weight(9).build()),
        BuildError::NoWeigher
    );
    assert!(BuildError::NoWeigher.to_string().contains("weigher"));
    assert_eq!(
        error(builder().shards(11).build()),
        BuildError::TooManyShards {
            shards: 11,
            max: 10
        }
    );
    let too_many = error(builder().max_weight(3).weigher(|_, _| 1).shards(4).build());
    assert_eq!(too_many, BuildError::TooManyShards { shards: 4, max: 3 });
    let too_large = BuildError::TooLarge {
        limit: "max_entries",
        value: usize::MAX,
        max: 2 << 31,
    };
    assert_eq!(
        error(builder().max_entries(usize::MAX).shards(2).build()),
        too_large
    );
    assert!(unsync::LruCache::<u32, u32>::builder().build().is_err());
}

#[test]
fn new_panics_with_the_name_of_the_limit() {
    for (max, age, limit) in [(0, MINUTE, "max_entries"), (1, Duration::ZERO, "ttl")] {
        for message in [
            catch_unwind(|| drop(LruCache::<u32, u32>::new(max, age))).expect_err("refused"),
            catch_unwind(|| drop(unsync::LruCache::<u32, u32>::new(max, age)))
                .expect_err("refused"),
        ] {
            let message = message.downcast::<String>().expect("a message");
            assert!(message.contains(&format!("`{limit}`")), "{message}");
        }
    }
}

#[test]
fn max_weight_alone_bounds_the_number_of_entries() {
    let cache = LruCache::<u32, u32>::builder()
        .max_weight(100)
        .weigher(|_, _| 0)
        .build()
        .expect("valid limits");
    for key in 0..1_000 {
        cache.insert(key, key);
    }
    assert_eq!((cache.len(), cache.stats().max_entries), (100, 100));
}

#[test]
fn evictions_because_of_weight_are_counted() {
    for policy in [Policy::Lru, Policy::S3Fifo] {
        let cache = LruCache::<u32, u32>::builder()
            .max_entries(3)
            .max_weight(10)
            .weigher(|_, &weight| weight)
            .policy(policy)
            .shards(1)
            .build()
            .expect("valid limits");
        let counts = || {
            let stats = cache.stats();
            (stats.evicted, stats.evicted_by_weight)
        };
        (0..4).for_each(|key| _ = cache.insert(key, 1));
        assert_eq!(counts(), (1, 0), "{policy:?}: the entries are too many");
        cache.insert(4, 7);
        assert_eq!(counts(), (2, 0), "{policy:?}: the weight is at its bound");
        cache.insert(5, 2);
        assert_eq!(counts(), (3, 1), "{policy:?}: it is above its bound");
        cache.insert(6, 10);
        assert_eq!(counts(), (6, 4), "{policy:?}: all are too heavy");
        cache.set_max_entries(2).expect("valid");
        (7..9).for_each(|key| _ = cache.insert(key, 1));
        assert_eq!(counts(), (7, 5), "{policy:?}");
        cache.set_max_weight(2).expect("valid");
        cache.set_max_entries(1).expect("valid");
        assert_eq!(counts(), (8, 5), "{policy:?}: the entries are too many");
    }
}

#[test]
fn expired_entry_is_not_evicted_because_of_weight() {
    let time = ManualClock::new();
    let cache = LruCache::<u32, u32>::builder()
        .max_weight(10)
        .weigher(|_, &weight| weight)
        .ttl(MINUTE)
        .stale(MINUTE)
        .shards(1)
        .clock(&time)
        .build()
        .expect("valid limits");
    cache.insert(1, 5);
    cache.insert(2, 5);
    time.advance(MINUTE);
    cache.set_max_weight(5).expect("valid");
    cache.insert(3, 5);
    let stats = cache.stats();
    assert_eq!((stats.expired, stats.evicted), (2, 0));
    assert_eq!(stats.evicted_by_weight, 0);
}

#[test]
fn bounds_of_the_shards_add_up() {
    let builder = LruCache::<u64, u64>::builder()
        .max_entries(1_003)
        .max_weight(2_009)
        .weigher(|_, _| 2);
    let cache = builder.shards(8).build().expect("valid limits");
    for key in 0..100_000 {
        cache.insert(key, key);
    }
    assert_eq!(
        (cache.stats().max_entries, cache.stats().max_weight),
        (1_003, Some(2_009))
    );
    // With entries of weight 2, a shard whose share is odd stays one below it.
    assert!(
        cache.len() <= 1_003 && (2_001..=2_009).contains(&cache.weight()),
        "{}",
        cache.stats()
    );
    cache.set_max_weight(1 << 20).expect("a valid limit");
    for key in 0..100_000 {
        cache.insert(key, key);
    }
    assert_eq!(cache.len(), 1_003);
    cache.validate();
}

#[test]
fn default_shard_holds_an_entry_of_weight_2_24() {
    let build = |max_weight| {
        let builder = LruCache::<u32, u32>::builder().max_weight(max_weight);
        let builder = builder.weigher(|_, &weight| weight);
        builder.build().expect("valid limits")
    };
    for max_weight in [1, 1 << 20, 1 << 24, 1 << 25, 1 << 30] {
        let cache = build(max_weight);
        let heaviest = max_weight.min(1 << 24) as u32;
        cache.insert(1, heaviest);
        assert_eq!(cache.get(&1), Some(heaviest), "{max_weight}");
        assert_eq!(cache.shards() == 1, max_weight <= 1 << 24);
    }
    for max_entries in [1, 511, 1_023] {
        assert_eq!(LruCache::<u32, u32>::new(max_entries, MINUTE).shards(), 1);
    }
}

#[test]
fn largest_bounds_allocate_as_the_cache_fills() {
    let builder = LruCache::<u32, u32>::builder()
        .max_entries(1 << 31)
        .max_weight(u64::MAX - 1)
        .weigher(|_, _| 1);
    let cache = builder
        .ttl(Duration::MAX)
        .shards(1)
        .build()
        .expect("valid limits");
    assert_eq!(
        (cache.insert(1, 2), cache.insert(1, 3), cache.get(&1)),
        (None, Some(2), Some(3))
    );
    assert_eq!(cache.stats().max_entries, 1 << 31);
    let mut smallest = unsync::LruCache::<u32, u32>::new(1, MINUTE);
    (0..10).for_each(|key| assert_eq!(smallest.insert(key, key), None));
    assert_eq!((smallest.len(), smallest.get(&9)), (1, Some(&9)));
}

#[test]
fn expiry_is_exact_at_the_end_of_time() {
    for (age, idle) in [
        (MINUTE, Duration::MAX),
        (Duration::MAX, MINUTE),
        (MINUTE, 2 * MINUTE),
        (2 * MINUTE, MINUTE),
    ] {
        let time = ManualClock::new();
        let cache = || {
            let builder = LruCache::<u32, u32>::builder()
                .max_entries(10)
                .ttl(age)
                .idle_timeout(idle)
                .shards(1);
            builder.clock(&time).build().expect("valid limits")
        };
        let (early, late) = (cache(), cache());
        early.insert(1, 1);
        time.set(Duration::from_nanos(u64::MAX - 1));
        late.insert(1, 1);
        time.set(Duration::MAX);
        assert_eq!(
            (early.peek(&1), early.get(&1), early.len()),
            (None, None, 0)
        );
        assert_eq!(
            (early.stats().expired, early.stats().idle),
            (u64::from(age < idle), u64::from(idle < age))
        );
        assert_eq!(
            (late.peek(&1), late.get(&1), late.insert(2, 2), late.get(&2)),
            (Some(1), Some(1), None, Some(2))
        );
        early.validate();
        late.validate();
    }
}

/// A hasher that leaves few different hashes.
struct Hostile<const MASK: u64>(u64);

impl<const MASK: u64> Default for Hostile<MASK> {
    fn default() -> Self {
        Self(0)
    }
}

impl<const MASK: u64> Hasher for Hostile<MASK> {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes
            .iter()
            .fold(self.0, |sum, &byte| sum << 8 | u64::from(byte));
    }

    fn finish(&self) -> u64 {
        self.0 & MASK
    }
}

fn survives_hashes_of<const MASK: u64>() {
    let builder = unsync::LruCache::<u32, u32>::builder().max_entries(700);
    let mut cache = builder
        .hasher(BuildHasherDefault::<Hostile<MASK>>::default())
        .build()
        .expect("valid limits");
    for key in 0..2_000 {
        cache.insert(key, key);
        cache.get(&(key / 2));
        if key % 5 == 0 {
            cache.remove(&(key.wrapping_sub(3)));
        }
        if key % 100 == 0 {
            cache.validate();
        }
    }
    cache.set_max_entries(5).expect("a valid limit");
    cache.validate();
    assert_eq!((cache.len(), cache.peek(&1_999)), (5, Some(&1_999)));
}

#[test]
fn weak_hasher_gives_right_answers() {
    survives_hashes_of::<0>();
    survives_hashes_of::<{ u64::MAX }>();
    survives_hashes_of::<0xff>();
    survives_hashes_of::<{ 0xff << 56 }>();
    survives_hashes_of::<3>();
}

#[test]
fn keys_may_be_empty_and_of_16_mib() {
    let cache = LruCache::<String, usize>::new(10, MINUTE);
    for length in [0, 1, 1 << 24] {
        cache.insert("k".repeat(length), length);
    }
    for length in [0, 1, 1 << 24] {
        assert_eq!(cache.get(&*"k".repeat(length)), Some(length));
    }
}

#[test]
fn sweep_every_removes_idle_entries_without_calls() {
    let time = ManualClock::new();
    let closed = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let count = std::sync::Arc::clone(&closed);
    let cache = LruCache::<u32, u32>::builder()
        .max_entries(1_000)
        .idle_timeout(MINUTE)
        .on_removal(move |_, _, _| {
            count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        })
        .clock(&time)
        .sweep_every(Duration::from_millis(1))
        .build()
        .expect("valid limits");
    for key in 0..100 {
        cache.insert(key, key);
    }
    time.advance(MINUTE);
    let deadline = leakproof::Clock::precise();
    while closed.load(std::sync::atomic::Ordering::SeqCst) < 100 {
        assert!(
            deadline.now() < Duration::from_secs(60),
            "the sweeper did not run"
        );
        std::thread::yield_now();
    }
    assert_eq!(cache.stats().idle, 100);
}
