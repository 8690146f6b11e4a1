//! What collections take from the allocator, by its own count, and that they give it back.

use std::time::Duration;

use leakproof::{DedupSet, ListenerRegistry, LruCache, ManualClock, unsync};

/// By how many bytes `work` made what this thread has allocated grow, and what it made. Other threads are not counted: the
/// harness allocates on its own while a test runs.
fn grown<R>(work: impl FnOnce() -> R) -> (f64, R) {
    let mut made = None;
    let counted = allocation_counter::measure(|| made = Some(work()));
    (
        counted.bytes_current as f64,
        made.expect("`measure` calls what it is given"),
    )
}

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn a_cache_of_numbers_takes_at_most_64_bytes_an_entry_at_its_bound() {
    // The smaller caches have a last chunk that is not full; the second is full just after its index began to grow, and is
    // left with the larger one all the same.
    for (entries, at_most) in [(10_000, 66.0), (10_300, 66.0), (300_000_usize, 64.0)] {
        let (bytes, _cache) = grown(|| {
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
fn a_cache_that_is_not_full_takes_little_more_than_what_it_holds() {
    let (bytes, _cache) = grown(|| {
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
    let (empty, _cache) = grown(|| unsync::LruCache::<u64, u64>::new(1 << 30, HOUR));
    assert!(empty < 1_000.0, "an empty cache takes {empty} bytes");
}

#[test]
fn a_cache_gives_its_memory_back_when_it_is_cleared_resized_or_past_its_time() {
    let entries = 200_000;
    let time = ManualClock::new();
    let build = || {
        let builder = LruCache::<u64, u64>::builder()
            .max_entries(entries)
            .ttl(HOUR)
            .shards(4)
            .clock(&time);
        let cache = builder.build().expect("sound limits");
        for key in 0..entries as u64 {
            cache.insert(key, key);
        }
        cache
    };
    let few = entries as f64 * 4.0;
    let left = |what: &str, empty: &dyn Fn(&LruCache<u64, u64>)| {
        let (bytes, cache) = grown(|| {
            let cache = build();
            empty(&cache);
            cache
        });
        assert!(bytes < few, "{bytes} bytes are left after {what}");
        cache.validate();
    };
    left("clear", &|cache| cache.clear());
    left("resize", &|cache| {
        cache.set_max_entries(1_000).expect("a sound limit");
    });
    left("retain", &|cache| {
        cache.retain(|key, _| key % 1_000 == 0);
        cache.sweep();
    });
    left("a sweep", &|cache| {
        time.advance(HOUR);
        assert_eq!(cache.sweep(), cache.stats().expired as usize);
    });
    left("writes that follow expiry", &|cache| {
        time.advance(HOUR);
        for key in 0..entries as u64 {
            cache.insert(key % 1_000, key);
        }
    });
    left("removal one by one", &|cache| {
        for key in 0..entries as u64 {
            cache.remove(&key);
        }
    });
}

/// Sizes at which what the documentation states is compared with what is taken.
const SIZES: [usize; 4] = [1_000, 100_000, 333_333, 1_000_000];

/// # Panics
///
/// Where a collection takes a tenth more or less than its documentation states.
fn assert_stated(what: &str, bytes: f64, stated: usize) {
    let ratio = bytes / stated as f64;
    assert!(
        (0.9..=1.1).contains(&ratio),
        "{what}: {bytes} bytes, {ratio:.3} of the {stated} that are stated"
    );
}

/// `entries × (key + value + 15)`, or 17 where keys are bytes.
fn of_ids(entries: usize, key: usize, value: usize, keys_are_bytes: bool) -> usize {
    entries * (key + value + if keys_are_bytes { 17 } else { 15 })
}

/// `entries × (key + value + 46)`.
fn of_cached(entries: usize, key: usize, value: usize) -> usize {
    entries * (key + value + 46)
}

/// `listeners × (350 + captured) + topics × (260 + topic)`.
fn of_listeners(listeners: usize, captured: usize, topics: usize, topic: usize) -> usize {
    listeners * (350 + captured) + topics * (260 + topic)
}

fn id_of_45_bytes(number: u64) -> String {
    let mut id = format!("{number:045}");
    id.shrink_to_fit();
    id
}

#[test]
fn a_dedup_map_takes_what_its_documentation_states() {
    for entries in SIZES {
        let (bytes, _map) = grown(|| {
            let mut map = unsync::DedupMap::<u64, [u8; 16]>::new(entries, HOUR);
            for key in 0..entries as u64 {
                map.record(&key, [0; 16]);
            }
            map
        });
        assert_stated(
            &format!("{entries} numbers with values"),
            bytes,
            of_ids(entries, 8, 16, false),
        );
        let (bytes, _set) = grown(|| {
            let mut set = unsync::DedupSet::<str>::new(entries, HOUR);
            for number in 0..entries as u64 {
                set.insert(&id_of_45_bytes(number));
            }
            set
        });
        assert_stated(
            &format!("{entries} ids of 45 bytes"),
            bytes,
            of_ids(entries, 45, 0, true),
        );
    }
    let (bytes, set) = grown(|| {
        let set = DedupSet::<str>::builder()
            .ttl(HOUR)
            .max_entries(200_000)
            .shards(8)
            .build()
            .expect("sound limits");
        for number in 0..400_000 {
            set.insert(&id_of_45_bytes(number));
        }
        set
    });
    assert_stated(
        "a shared set after twice as many ids as it holds",
        bytes,
        of_ids(set.len(), 45, 0, true),
    );
}

#[test]
fn a_dedup_map_that_grows_takes_7_bytes_an_id_more_and_12_while_its_index_is_resized() {
    let mut most = 0.0_f64;
    let (mut bytes, mut map) = grown(|| unsync::DedupMap::<u64, [u8; 16]>::new(1_200_000, HOUR));
    for key in 0..320_000_u64 {
        bytes += grown(|| map.record(&key, [0; 16])).0;
        let entries = map.len();
        if entries >= 10_000 {
            let stated = of_ids(entries, 8, 16, false);
            assert!(bytes >= 0.9 * stated as f64, "{bytes} bytes for {entries}");
            most = most.max((bytes - stated as f64) / entries as f64);
        }
    }
    assert!(
        (10.8..=13.2).contains(&most),
        "{most} bytes an id more at the worst time"
    );
    let settled = bytes - of_ids(map.len(), 8, 16, false) as f64;
    assert!(
        settled <= 7.0 * map.len() as f64,
        "{settled} bytes more after the resizing"
    );
}

#[test]
fn a_cache_takes_what_its_documentation_states() {
    for entries in SIZES {
        let (bytes, _cache) = grown(|| {
            let mut cache = unsync::LruCache::<u64, [u8; 16]>::new(entries, HOUR);
            for key in 0..2 * entries as u64 {
                cache.insert(key, [0; 16]);
            }
            cache
        });
        assert_stated(
            &format!("{entries} entries of numbers"),
            bytes,
            of_cached(entries, 8, 16),
        );
        let (bytes, cache) = grown(|| {
            let cache = LruCache::builder()
                .max_entries(entries)
                .shards(2)
                .build()
                .expect("sound limits");
            for number in 0..entries as u64 {
                cache.insert(id_of_45_bytes(number), 0_u64);
            }
            cache
        });
        let entries = cache.len();
        let of_strings = entries * 45;
        assert_stated(
            &format!("{entries} strings"),
            bytes,
            of_cached(entries, size_of::<String>(), 8) + of_strings,
        );
    }
}

#[test]
fn a_cache_that_grows_takes_7_bytes_an_entry_more_and_14_while_its_index_is_resized() {
    let mut most = 0.0_f64;
    let (mut bytes, mut cache) = grown(|| unsync::LruCache::<u64, [u8; 16]>::new(1 << 30, HOUR));
    for key in 0..320_000_u64 {
        bytes += grown(|| cache.insert(key, [0; 16])).0;
        let entries = cache.len();
        if entries >= 10_000 {
            let stated = of_cached(entries, 8, 16) as f64;
            assert!(bytes >= 0.9 * stated, "{bytes} bytes for {entries}");
            most = most.max((bytes - stated) / entries as f64);
        }
    }
    assert!(
        (12.6..=15.4).contains(&most),
        "{most} bytes an entry more at the worst time"
    );
}

#[test]
fn listeners_take_what_the_documentation_of_their_registry_states() {
    for listeners in [1_000, 33_333, 100_000] {
        for per_topic in [1, 10, 1_000] {
            for_captures::<0>(listeners, per_topic);
            for_captures::<100>(listeners, per_topic);
        }
    }
}

fn for_captures<const CAPTURED: usize>(listeners: usize, per_topic: usize) {
    let (bytes, bus) = grown(|| {
        let builder = ListenerRegistry::<u64, u64>::builder()
            .max_listeners(listeners)
            .max_per_topic(per_topic);
        let bus = builder.build().expect("sound limits");
        for number in 0..listeners {
            let captured = [1_u8; CAPTURED];
            let handler =
                move |&event: &u64| event == captured.len() as u64 || captured.contains(&1);
            bus.on((number / per_topic) as u64, handler)
                .expect("room")
                .forget();
        }
        bus
    });
    let topics = listeners.div_ceil(per_topic);
    let what = format!(
        "{} listeners on {topics} topics that captured {CAPTURED} bytes each",
        bus.len()
    );
    assert_stated(
        &what,
        bytes,
        of_listeners(listeners, CAPTURED, topics, size_of::<u64>()),
    );
}

#[test]
fn a_registry_gives_its_memory_back_after_a_spike() {
    let (bytes, bus) = grown(|| {
        let bus = ListenerRegistry::<u64, u64>::builder()
            .max_listeners(100_000)
            .max_per_topic(100_000)
            .build();
        let bus = bus.expect("sound limits");
        let scopes: Vec<_> = (0..50_000).map(|_| bus.scope()).collect();
        for topic in 0..50_000 {
            bus.listen(topic)
                .key("key")
                .on(|_| ())
                .expect("room")
                .forget();
            bus.on(0, |_| ()).expect("room").forget();
        }
        drop(scopes);
        bus.listeners()[..99_990]
            .iter()
            .for_each(|listener| assert!(bus.detach(listener.id)));
        bus
    });
    assert_eq!(bus.len(), 10);
    assert!(bytes < 40_000.0, "{bytes} bytes are left");
}

#[test]
fn an_id_of_45_bytes_takes_at_most_70_bytes_at_its_bound() {
    let entries = 200_000;
    let (bytes, seen) = grown(|| {
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
fn a_map_of_a_few_ids_takes_15_kilobytes_and_an_empty_one_hardly_any() {
    for (ids, at_most) in [(0, 1_500.0), (1, 15_500.0), (10, 16_500.0)] {
        let (bytes, _map) = grown(|| {
            let map = DedupSet::<str>::new(1_000, HOUR);
            (0..ids).for_each(|number| assert!(map.insert(&id_of_45_bytes(number))));
            map
        });
        assert!(bytes <= at_most, "{bytes} bytes for {ids} ids");
    }
}

#[test]
fn a_map_gives_its_memory_back_when_it_is_cleared_swept_or_written_to() {
    let entries = 200_000_u64;
    let time = ManualClock::new();
    let left = |what: &str, empty: &dyn Fn(&DedupSet<str>)| {
        let (bytes, seen) = grown(|| {
            let builder = DedupSet::<str>::builder()
                .ttl(HOUR)
                .max_entries(220_000)
                .shards(4)
                .clock(&time);
            let seen = builder.build().expect("sound limits");
            (0..entries).for_each(|number| assert!(seen.insert(&id_of_45_bytes(number))));
            empty(&seen);
            seen
        });
        assert!(
            bytes < entries as f64 * 4.0,
            "{bytes} bytes are left after {what}"
        );
        seen.validate();
    };
    left("clear", &DedupSet::clear);
    left("a sweep", &|seen| {
        time.advance(HOUR);
        seen.sweep();
    });
    left("writes that follow expiry", &|seen| {
        time.advance(HOUR);
        (0..5_000).for_each(|number| assert!(seen.insert(&id_of_45_bytes(number))));
    });
    left("removal one by one", &|seen| {
        (0..entries).for_each(|number| assert!(seen.remove(&id_of_45_bytes(number))));
        seen.sweep();
    });
}
