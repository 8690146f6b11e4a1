//! Scans of a cache in use.

use std::time::Duration;

use leakproof::{Cursor, InvalidCursor, LruCache, ManualClock};

#[test]
fn scan_returns_every_entry_that_stays() {
    let cache = LruCache::<u32, u32>::builder()
        .max_entries(20_000)
        .shards(4)
        .build()
        .expect("valid limits");
    for key in 0..10_000 {
        cache.insert(key, key);
    }
    let mut seen = Vec::new();
    let mut cursor = Some(Cursor::default());
    let mut step = 0;
    while let Some(from) = cursor {
        let (entries, next) = cache.scan(from, 37);
        assert!(entries.len() <= 37);
        seen.extend(entries.into_iter().map(|(key, _)| key));
        cursor = next;
        // Odd keys are removed, and others are inserted.
        for _ in 0..20 {
            cache.remove(&(step * 2 % 10_000 + 1));
            cache.insert(100_000 + step, 0);
            step += 1;
        }
    }
    seen.sort_unstable();
    seen.dedup();
    let stayed = seen
        .iter()
        .filter(|&&key| key < 10_000 && key % 2 == 0)
        .count();
    assert_eq!(stayed, 5_000);
}

#[test]
fn scan_continues_from_a_token_and_survives_wrong_ones() {
    let cache = LruCache::<u32, u32>::builder()
        .max_entries(20_000)
        .shards(4)
        .build()
        .expect("valid limits");
    for key in 0..1_000 {
        cache.insert(key, key);
    }
    let mut seen = Vec::new();
    let mut token = Some(Cursor::default().to_string());
    while let Some(page) = token {
        let (entries, next) = cache.scan(page.parse().expect("a cursor"), 37);
        seen.extend(entries.into_iter().map(|(key, _)| key));
        token = next.map(|cursor| cursor.to_string());
    }
    seen.sort_unstable();
    assert!(seen.into_iter().eq(0..1_000), "every entry once");

    for text in [
        "",
        ".",
        "1.",
        ".1",
        "-1",
        "1.2.3",
        "a",
        "99999999999999999999999",
    ] {
        assert_eq!(text.parse::<Cursor>(), Err(InvalidCursor), "{text:?}");
    }
    for text in ["4", "18446744073709551615", "18446744073709551615.0", "3.0"] {
        let beyond = text.parse().expect("a well-formed cursor");
        assert_eq!(cache.scan(beyond, 10), (Vec::new(), None), "{text:?}");
    }
    let (entries, _) = cache.scan("0.4294967295".parse().expect("a well-formed cursor"), 10);
    assert_eq!(entries.len(), 10, "as from the start");
}

#[test]
fn scan_examines_a_bounded_number_of_expired_entries() {
    let time = ManualClock::new();
    let builder = LruCache::<u32, u32>::builder()
        .max_entries(20_000)
        .ttl(Duration::from_secs(60))
        .shards(1);
    let cache = builder.clock(&time).build().expect("valid limits");
    for key in 0..10_000 {
        cache.insert(key, key);
    }
    time.advance(Duration::from_secs(60));
    let (mut calls, mut cursor) = (0, Some(Cursor::default()));
    while let Some(from) = cursor {
        let (entries, next) = cache.scan(from, 1);
        assert!(entries.is_empty());
        (calls, cursor) = (calls + 1, next);
    }
    // Every entry is examined once, by a call that examines 2 n + 256 at most.
    assert!((10_000 / 258..=10_000 / 100).contains(&calls), "{calls}");
}

#[test]
fn scan_of_many_empty_shards_returns_a_cursor() {
    let cache = LruCache::<u32, u32>::builder();
    let cache = cache.max_entries(4_096).shards(1_024).build().unwrap();
    let (mut calls, mut cursor) = (0, Some(Cursor::default()));
    while let Some(from) = cursor {
        calls += 1;
        cursor = cache.scan(from, 1).1;
    }
    assert_eq!(calls, 4, "each call locks at most 258 shards");
}
