//! The memory of collections, as counted by the allocator: their formulas, and that they return it.

use std::time::Duration;

use leakproof::{DedupSet, ListenerRegistry, LruCache, ManualClock, Policy, unsync};

/// Returns the bytes that this thread allocated during `work` and still holds, and the result of
/// `work`.
///
/// Other threads are not counted, because the test harness allocates at the same time.
fn allocated_by<R>(work: impl FnOnce() -> R) -> (f64, R) {
    let mut made = None;
    let counted = allocation_counter::measure(|| made = Some(work()));
    (
        counted.bytes_current as f64,
        made.expect("`measure` calls its closure"),
    )
}

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn full_cache_of_numbers_takes_64_bytes_per_entry() {
    // The last chunk of a small cache is not full. The second cache is full just after its index
    // began to grow, and keeps the larger index.
    for (entries, at_most) in [(10_000, 66.0), (10_300, 66.0), (300_000_usize, 64.0)] {
        let (bytes, _cache) = allocated_by(|| {
            let mut cache = unsync::LruCache::<u64, u64>::new(entries, HOUR);
            for key in 0..2 * entries as u64 {
                cache.insert(key, key);
            }
            assert_eq!(cache.len(), entries);
            cache
        });
        assert!(
            bytes / entries as f64 <= at_most,
            "{} bytes an entry of {entries}",
            bytes / entries as f64
        );
    }
}

#[test]
fn memory_of_a_cache_follows_its_length() {
    let (bytes, _cache) = allocated_by(|| {
        let mut cache = unsync::LruCache::<u64, u64>::new(1 << 30, HOUR);
        for key in 0..100_000 {
            cache.insert(key, key);
        }
        cache
    });
    assert!(
        bytes <= 75.0 * 100_000.0,
        "{} bytes an entry",
        bytes / 100_000.0
    );
    let (empty, _cache) = allocated_by(|| unsync::LruCache::<u64, u64>::new(1 << 30, HOUR));
    assert!(empty < 1_000.0, "an empty cache takes {empty} bytes");
}

#[test]
fn own_ttls_take_24_bytes_per_entry_while_they_exist() {
    let entries = 100_000;
    let mut cache = unsync::LruCache::<u64, u64>::new(entries as usize, HOUR);
    (0..2 * entries).for_each(|key| _ = cache.insert(key, key));
    let keys = || entries..2 * entries;
    let (with, ()) = allocated_by(|| {
        keys().for_each(|key| _ = cache.insert_with_ttl(key, key, HOUR * (1 + key as u32 % 9)));
    });
    let per_entry = with / entries as f64;
    assert!((16.0..24.0).contains(&per_entry), "{per_entry} bytes");
    let (after, ()) = allocated_by(|| keys().for_each(|key| _ = cache.insert(key, key)));
    assert_eq!(with + after, 0.0, "all of it is freed");
    let (few, ()) = allocated_by(|| {
        for at in [0, entries / 2, entries - 1] {
            cache.insert_with_ttl(entries + at, 0, HOUR);
        }
    });
    assert!(few < 8_000.0, "{few} bytes for three entries of {entries}");
}

#[test]
fn backoffs_take_64_bytes_per_entry_until_they_end() {
    let entries = 2_000;
    let time = ManualClock::new();
    let build = || {
        let builder = LruCache::<u64, u64>::builder()
            .max_entries(entries as usize)
            .ttl(HOUR)
            .stale(HOUR)
            .shards(1)
            .clock(&time);
        builder.build().expect("valid options")
    };
    let fail = |cache: &LruCache<u64, u64>, key| {
        let served = cache.get_or_refresh_with(&key, || Err(()));
        assert_eq!(served, Ok(key));
    };
    let cache = build();
    (0..entries).for_each(|key| _ = cache.insert(key, key));
    // Allocates the table of computations.
    assert!(cache.get_or_refresh_with(&entries, || Err(())).is_err());
    time.advance(HOUR);
    let (bytes, ()) = allocated_by(|| (0..entries).for_each(|key| fail(&cache, key)));
    let per_entry = bytes / entries as f64;
    assert!((26.0..64.0).contains(&per_entry), "{per_entry} bytes");
    time.advance(Duration::from_secs(30));
    let (freed, _) = allocated_by(|| cache.sweep());
    assert_eq!(bytes + freed, 0.0, "a sweep frees all of it");

    // Back-offs that begin later do not keep the records of earlier ones.
    let cache = build();
    (0..entries).for_each(|key| _ = cache.insert(key, key));
    assert!(cache.get_or_refresh_with(&entries, || Err(())).is_err());
    time.advance(HOUR);
    let (bytes, ()) = allocated_by(|| {
        (0..entries).for_each(|key| fail(&cache, key));
        for key in 0..5 {
            time.advance(Duration::from_secs(15));
            fail(&cache, key);
        }
    });
    assert!(bytes < 1_000.0, "{bytes} bytes");

    // Entries that are evicted or written take their back-offs with them.
    let (bytes, cache) = allocated_by(|| {
        let cache = build();
        for key in 0..10 * entries {
            cache.insert_with_ttl(key, key, Duration::from_nanos(1));
            time.advance(Duration::from_nanos(1));
            fail(&cache, key);
        }
        cache.set_max_entries(1).expect("a valid limit");
        cache
    });
    assert!(bytes < 2.0 * 64.0 * entries as f64, "{bytes} bytes");
    cache.validate();
    cache.clear();
    time.advance(Duration::from_secs(30));
}

#[test]
fn cache_returns_memory_after_clear_resize_and_expiry() {
    let entries = 200_000;
    let time = ManualClock::new();
    let build = || {
        let builder = LruCache::<u64, u64>::builder()
            .max_entries(entries)
            .ttl(HOUR)
            .shards(4)
            .clock(&time);
        let cache = builder.build().expect("valid options");
        for key in 0..entries as u64 {
            cache.insert(key, key);
        }
        cache
    };
    let few = entries as f64 * 4.0;
    let remaining = |what: &str, empty: &dyn Fn(&LruCache<u64, u64>)| {
        let (bytes, cache) = allocated_by(|| {
            let cache = build();
            empty(&cache);
            cache
        });
        assert!(bytes < few, "{bytes} bytes remain after {what}");
        cache.validate();
    };
    remaining("clear", &|cache| cache.clear());
    remaining("resize", &|cache| {
        cache.set_max_entries(1_000).expect("a valid limit");
    });
    remaining("retain", &|cache| {
        cache.retain(|key, _| key % 1_000 == 0);
        cache.sweep();
    });
    remaining("a sweep", &|cache| {
        time.advance(HOUR);
        assert_eq!(cache.sweep(), cache.stats().expired as usize);
    });
    remaining("writes that follow expiry", &|cache| {
        time.advance(HOUR);
        for key in 0..entries as u64 {
            cache.insert(key % 1_000, key);
        }
    });
    remaining("removal one by one", &|cache| {
        for key in 0..entries as u64 {
            cache.remove(&key);
        }
    });
}

/// The numbers of entries at which memory is compared with the documented formula.
const SIZES: [usize; 4] = [1_000, 100_000, 333_333, 1_000_000];

/// Asserts that the memory is within 10% of the documented formula.
fn assert_documented(what: &str, bytes: f64, documented: usize) {
    let ratio = bytes / documented as f64;
    assert!(
        (0.9..=1.1).contains(&ratio),
        "{what}: {bytes} bytes, {ratio:.3} of the documented {documented}"
    );
}

/// Returns `entries × (key + value + 15)`, with 17 instead of 15 if keys are bytes.
fn of_ids(entries: usize, key: usize, value: usize, keys_are_bytes: bool) -> usize {
    entries * (key + value + if keys_are_bytes { 17 } else { 15 })
}

/// Returns `entries × (key + value + 46)`.
fn of_cached(entries: usize, key: usize, value: usize) -> usize {
    entries * (key + value + 46)
}

/// Returns `listeners × (350 + captured) + topics × (260 + topic)`.
fn of_listeners(listeners: usize, captured: usize, topics: usize, topic: usize) -> usize {
    listeners * (350 + captured) + topics * (260 + topic)
}

fn id_of_45_bytes(number: u64) -> String {
    let mut id = format!("{number:045}");
    id.shrink_to_fit();
    id
}

#[test]
fn memory_of_a_dedup_map_matches_its_formula() {
    for entries in SIZES {
        let (bytes, _map) = allocated_by(|| {
            let mut map = unsync::DedupMap::<u64, [u8; 16]>::new(entries, HOUR);
            for key in 0..entries as u64 {
                map.record(&key, [0; 16]);
            }
            map
        });
        assert_documented(
            &format!("{entries} numbers with values"),
            bytes,
            of_ids(entries, 8, 16, false),
        );
        let (bytes, _set) = allocated_by(|| {
            let mut set = unsync::DedupSet::<str>::new(entries, HOUR);
            for number in 0..entries as u64 {
                set.insert(&id_of_45_bytes(number));
            }
            set
        });
        assert_documented(
            &format!("{entries} ids of 45 bytes"),
            bytes,
            of_ids(entries, 45, 0, true),
        );
    }
    let (bytes, set) = allocated_by(|| {
        let set = DedupSet::<str>::builder()
            .ttl(HOUR)
            .max_entries(200_000)
            .shards(8)
            .build()
            .expect("valid options");
        for number in 0..400_000 {
            set.insert(&id_of_45_bytes(number));
        }
        set
    });
    assert_documented(
        "a shared set after twice as many ids as it holds",
        bytes,
        of_ids(set.len(), 45, 0, true),
    );
}

#[test]
fn growing_dedup_map_takes_7_to_15_more_bytes_per_id() {
    let mut most = 0.0_f64;
    let (mut bytes, mut map) =
        allocated_by(|| unsync::DedupMap::<u64, [u8; 16]>::new(1_200_000, HOUR));
    for key in 0..320_000_u64 {
        bytes += allocated_by(|| map.record(&key, [0; 16])).0;
        let entries = map.len();
        if entries >= 10_000 {
            let documented = of_ids(entries, 8, 16, false);
            assert!(
                bytes >= 0.9 * documented as f64,
                "{bytes} bytes for {entries}"
            );
            most = most.max((bytes - documented as f64) / entries as f64);
        }
    }
    assert!(
        (13.5..=16.5).contains(&most),
        "{most} bytes an id more at the worst time"
    );
    let settled = bytes - of_ids(map.len(), 8, 16, false) as f64;
    assert!(
        settled <= 7.0 * map.len() as f64,
        "{settled} bytes more after the resizing"
    );
}

#[test]
fn memory_of_a_cache_matches_its_formula() {
    for entries in SIZES {
        let (bytes, _cache) = allocated_by(|| {
            let mut cache = unsync::LruCache::<u64, [u8; 16]>::new(entries, HOUR);
            for key in 0..2 * entries as u64 {
                cache.insert(key, [0; 16]);
            }
            cache
        });
        assert_documented(
            &format!("{entries} entries of numbers"),
            bytes,
            of_cached(entries, 8, 16),
        );
        let (bytes, cache) = allocated_by(|| {
            let cache = LruCache::builder()
                .max_entries(entries)
                .shards(2)
                .build()
                .expect("valid options");
            for number in 0..entries as u64 {
                cache.insert(id_of_45_bytes(number), 0_u64);
            }
            cache
        });
        let entries = cache.len();
        let of_strings = entries * 45;
        assert_documented(
            &format!("{entries} strings"),
            bytes,
            of_cached(entries, size_of::<String>(), 8) + of_strings,
        );
    }
}

#[test]
fn s3_fifo_takes_2_more_bytes_per_entry_from_the_first_eviction() {
    for entries in [10_000, 100_000, 333_333_u64] {
        let insert = |policy, idle_timeout: Option<Duration>, keys: u64| {
            let (bytes, _cache) = allocated_by(|| {
                let mut builder = unsync::LruCache::<u64, u64>::builder()
                    .max_entries(entries as usize)
                    .policy(policy);
                if let Some(timeout) = idle_timeout {
                    builder = builder.idle_timeout(timeout);
                }
                let mut cache = builder.build().expect("valid options");
                (0..keys).for_each(|key| _ = cache.insert(key, key));
                cache
            });
            bytes / entries as f64
        };
        let lru = insert(Policy::Lru, None, 2 * entries);
        let filled = insert(Policy::Lru, None, entries);
        let filled = insert(Policy::S3Fifo, None, entries) - filled;
        assert!(filled < 0.1, "{filled} bytes before the first eviction");
        let more = insert(Policy::S3Fifo, None, 2 * entries) - lru;
        assert!((1.9..=2.3).contains(&more), "{more} bytes more");
        let with_list = insert(Policy::S3Fifo, Some(HOUR), 2 * entries) - lru;
        assert!((17.5..=19.0).contains(&with_list), "{with_list} bytes more");
    }
}

#[test]
fn small_cache_takes_no_more_than_its_bound() {
    let (bytes, _cache) = allocated_by(|| {
        let mut cache = unsync::LruCache::<u64, [u8; 16 << 10]>::new(10, HOUR);
        for key in 0..20 {
            cache.insert(key, [0; 16 << 10]);
        }
        cache
    });
    assert_documented("10 values of 16 KiB", bytes, of_cached(10, 8, 16 << 10));
    let (bytes, cache) = allocated_by(|| {
        let cache = LruCache::<u64, u64>::builder()
            .max_entries(4_096)
            .shards(4_096)
            .build()
            .expect("valid options");
        for key in 0..20_000 {
            cache.insert(key, key);
        }
        cache
    });
    assert!(cache.len() > 3_500);
    let per_shard = bytes / 4_096.0;
    assert!(per_shard <= 1_100.0, "{per_shard} bytes per shard");
}

#[test]
fn growing_cache_takes_up_to_14_more_bytes_per_entry() {
    let mut most = 0.0_f64;
    let (mut bytes, mut cache) =
        allocated_by(|| unsync::LruCache::<u64, [u8; 16]>::new(1 << 30, HOUR));
    for key in 0..320_000_u64 {
        bytes += allocated_by(|| cache.insert(key, [0; 16])).0;
        let entries = cache.len();
        if entries >= 40_000 {
            let documented = of_cached(entries, 8, 16) as f64;
            assert!(bytes >= 0.9 * documented, "{bytes} bytes for {entries}");
            most = most.max((bytes - documented) / entries as f64);
        }
    }
    assert!(
        (12.6..=15.4).contains(&most),
        "{most} bytes an entry more at the worst time"
    );
}

#[test]
fn memory_of_a_registry_matches_its_formula() {
    for listeners in [1_000, 33_333, 100_000] {
        for per_topic in [1, 10, 1_000] {
            for_captures::<0>(listeners, per_topic);
            for_captures::<100>(listeners, per_topic);
        }
    }
}

fn for_captures<const CAPTURED: usize>(listeners: usize, per_topic: usize) {
    let (bytes, bus) = allocated_by(|| {
        let builder = ListenerRegistry::<u64, u64>::builder()
            .max_listeners(listeners)
            .max_per_topic(per_topic);
        let bus = builder.build().expect("valid options");
        for number in 0..listeners {
            let captured = [1_u8; CAPTURED];
            let handler =
                move |&event: &u64| event == captured.len() as u64 || captured.contains(&1);
            bus.on((number / per_topic) as u64, handler)
                .expect("below the bounds")
                .forget();
        }
        bus
    });
    let topics = listeners.div_ceil(per_topic);
    let what = format!(
        "{} listeners on {topics} topics that captured {CAPTURED} bytes each",
        bus.len()
    );
    assert_documented(
        &what,
        bytes,
        of_listeners(listeners, CAPTURED, topics, size_of::<u64>()),
    );
}

#[test]
fn registry_returns_memory_after_a_spike() {
    let (bytes, bus) = allocated_by(|| {
        let bus = ListenerRegistry::<u64, u64>::builder()
            .max_listeners(100_000)
            .max_per_topic(100_000)
            .build();
        let bus = bus.expect("valid options");
        let scopes: Vec<_> = (0..50_000).map(|_| bus.scope()).collect();
        for topic in 0..50_000 {
            bus.listen(topic)
                .key("key")
                .on(|_| ())
                .expect("below the bounds")
                .forget();
            bus.on(0, |_| ()).expect("below the bounds").forget();
        }
        drop(scopes);
        bus.listeners()[..99_990]
            .iter()
            .for_each(|listener| assert!(bus.detach(listener.id)));
        bus
    });
    assert_eq!(bus.len(), 10);
    assert!(bytes < 40_000.0, "{bytes} bytes remain");
}

#[test]
fn full_set_takes_70_bytes_per_id_of_45_bytes() {
    let entries = 200_000;
    let (bytes, seen) = allocated_by(|| {
        let mut seen = unsync::DedupSet::<str>::new(entries, HOUR);
        for number in 0..2 * entries as u64 {
            seen.insert(&id_of_45_bytes(number));
        }
        seen
    });
    assert_eq!(seen.len(), entries);
    assert!(
        bytes / entries as f64 <= 70.0,
        "{} bytes an id",
        bytes / entries as f64
    );
}

#[test]
fn set_of_few_ids_takes_15_kilobytes() {
    for (ids, at_most) in [(0, 1_600.0), (1, 15_500.0), (10, 16_500.0)] {
        let (bytes, _map) = allocated_by(|| {
            let map = DedupSet::<str>::new(1_000, HOUR);
            (0..ids).for_each(|number| assert!(map.insert(&id_of_45_bytes(number))));
            map
        });
        assert!(bytes <= at_most, "{bytes} bytes for {ids} ids");
    }
}

#[test]
fn set_returns_memory_after_clear_sweep_and_writes() {
    let entries = 200_000_u64;
    let time = ManualClock::new();
    let remaining = |what: &str, empty: &dyn Fn(&DedupSet<str>)| {
        let (bytes, seen) = allocated_by(|| {
            let builder = DedupSet::<str>::builder()
                .ttl(HOUR)
                .max_entries(220_000)
                .shards(4)
                .clock(&time);
            let seen = builder.build().expect("valid options");
            (0..entries).for_each(|number| assert!(seen.insert(&id_of_45_bytes(number))));
            empty(&seen);
            seen
        });
        assert!(
            bytes < entries as f64 * 4.0,
            "{bytes} bytes remain after {what}"
        );
        seen.validate();
    };
    remaining("clear", &DedupSet::clear);
    remaining("a sweep", &|seen| {
        time.advance(HOUR);
        seen.sweep();
    });
    remaining("writes that follow expiry", &|seen| {
        time.advance(HOUR);
        (0..5_000).for_each(|number| assert!(seen.insert(&id_of_45_bytes(number))));
    });
    remaining("removal one by one", &|seen| {
        (0..entries).for_each(|number| assert!(seen.remove(&id_of_45_bytes(number))));
        seen.sweep();
    });
}
