//! What collections take from the allocator, by its own count, and that they give it back.

use std::alloc::System;
use std::time::Duration;

use cap::Cap;
use leakproof::{DedupSet, LruCache, ManualClock, unsync};
use parking_lot::{Mutex, MutexGuard};

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// Tests that measure memory take turns.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock()
}

/// By how many bytes `work` made what is allocated grow, and what it made.
fn grown<R>(work: impl FnOnce() -> R) -> (f64, R) {
    let before = ALLOCATOR.allocated();
    let made = work();
    (ALLOCATOR.allocated() as f64 - before as f64, made)
}

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn a_cache_of_numbers_takes_at_most_64_bytes_an_entry_at_its_bound() {
    let _alone = alone();
    // The smaller cache has a last chunk that is not full.
    for (entries, at_most) in [(10_000, 66.0), (300_000_usize, 64.0)] {
        let (bytes, _cache) = grown(|| {
            let mut cache = unsync::LruCache::<u64, u64>::new(entries, HOUR);
            for key in 0..2 * entries as u64 {
                cache.insert(key, key);
            }
            assert_eq!(cache.len(), entries);
            cache
        });
        assert!(bytes / entries as f64 <= at_most, "{} bytes an entry of {entries}", bytes / entries as f64);
    }
}

#[test]
fn a_cache_that_is_not_full_takes_little_more_than_what_it_holds() {
    let _alone = alone();
    let (bytes, _cache) = grown(|| {
        let mut cache = unsync::LruCache::<u64, u64>::new(1 << 30, HOUR);
        for key in 0..100_000 {
            cache.insert(key, key);
        }
        cache
    });
    assert!(bytes <= 75.0 * 100_000.0, "{} bytes an entry", bytes / 100_000.0);
    let (empty, _cache) = grown(|| unsync::LruCache::<u64, u64>::new(1 << 30, HOUR));
    assert!(empty < 1_000.0, "an empty cache takes {empty} bytes");
}

#[test]
fn a_cache_gives_its_memory_back_when_it_is_cleared_resized_or_past_its_time() {
    let _alone = alone();
    let entries = 200_000;
    let time = ManualClock::new();
    let build = || {
        let builder = LruCache::<u64, u64>::builder().max_entries(entries).max_age(HOUR).shards(4).clock(&time);
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
    left("resize", &|cache| cache.resize(1_000).expect("a sound limit"));
    left("retain", &|cache| {
        cache.retain(|key, _| key % 1_000 == 0);
        cache.sweep();
    });
    left("a sweep", &|cache| {
        time.advance(HOUR);
        assert_eq!(cache.sweep(), cache.stats().expired as usize);
    });
    left("calls that follow expiry", &|cache| {
        time.advance(HOUR);
        for key in 0..entries as u64 {
            cache.get(&key);
        }
    });
    left("removal one by one", &|cache| {
        for key in 0..entries as u64 {
            cache.remove(&key);
        }
    });
}

/// An id of 45 bytes, as message ids are.
fn id(number: usize) -> String {
    format!("{number:045}")
}

#[test]
fn an_id_of_45_bytes_takes_at_most_70_bytes_at_its_bound() {
    let _alone = alone();
    let entries = 200_000;
    let (bytes, seen) = grown(|| {
        let mut seen = unsync::DedupSet::<str>::new(HOUR, entries);
        for number in 0..2 * entries {
            seen.insert(&id(number));
        }
        seen
    });
    assert_eq!(seen.len(), entries);
    assert!(bytes / entries as f64 <= 70.0, "{} bytes an id", bytes / entries as f64);
}

#[test]
fn a_map_gives_its_memory_back_when_it_is_cleared_swept_or_written_to() {
    let _alone = alone();
    let entries = 200_000;
    let time = ManualClock::new();
    let left = |what: &str, empty: &dyn Fn(&DedupSet<str>)| {
        let (bytes, seen) = grown(|| {
            let builder = DedupSet::<str>::builder().ttl(HOUR).max_entries(entries * 11 / 10).shards(4).clock(&time);
            let seen = builder.build().expect("sound limits");
            (0..entries).for_each(|number| assert!(seen.insert(&id(number))));
            empty(&seen);
            seen
        });
        assert!(bytes < entries as f64 * 4.0, "{bytes} bytes are left after {what}");
        seen.validate();
    };
    left("clear", &DedupSet::clear);
    left("a sweep", &|seen| {
        time.advance(HOUR);
        seen.sweep();
    });
    left("writes that follow expiry", &|seen| {
        time.advance(HOUR);
        (0..5_000).for_each(|number| assert!(seen.insert(&id(number))));
    });
    left("removal one by one", &|seen| {
        (0..entries).for_each(|number| assert!(seen.remove(&id(number))));
        seen.sweep();
    });
}
