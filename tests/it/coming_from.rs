//! The page "Coming from …": every call in the right columns of its tables compiles.
//!
//! The first test compares the page with this file, and the others contain the calls.

use std::error::Error;
use std::hash::RandomState;
use std::time::Duration;

use crate::support::task::Task;
use leakproof::{
    Claim, Cursor, DedupSet, Lookup, LruBuilder, LruCache, Policy, RemovalCause, unsync,
};

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

const PAGE: &str = include_str!("../../docs/coming-from.md");
const SOURCE: &str = include_str!("coming_from.rs");

fn without_whitespace(text: &str) -> String {
    text.split_whitespace().collect()
}

#[test]
fn page_contains_only_calls_that_compile() {
    let source = without_whitespace(SOURCE);
    let mut calls = 0;
    for row in PAGE.lines().filter(|line| line.starts_with("| `")) {
        let (_, right) = row[2..].split_once(" | ").expect("a row has two columns");
        let code = right.split('`').skip(1).step_by(2);
        for call in code.filter(|code| code.contains(['(', '.'])) {
            assert!(
                source.contains(&without_whitespace(call)),
                "`{call}` is not compiled here"
            );
            calls += 1;
        }
    }
    assert!(calls > 80, "the page has tables: {calls} calls");
}

const fn minute() -> Duration {
    Duration::from_secs(60)
}

#[test]
fn calls_of_lru_users_compile() -> Result {
    use unsync::LruCache;
    let (k, v, minute, hasher) = (1_u32, 10_u32, minute(), RandomState::new());
    let f = || 20;
    let try_f = || "20".parse::<u32>();
    let _: LruCache<u32, u32> = LruCache::new(1_000, minute);
    let _: LruCache<u32, u32> = LruCache::builder().max_entries(1_000).build()?;
    let mut cache = LruCache::builder()
        .max_entries(1_000)
        .hasher(hasher)
        .build()?;
    assert_eq!(cache.insert(k, v), None);
    assert_eq!(cache.get(&k), Some(&v));
    assert_eq!(cache.peek(&k), Some(&v));
    assert_eq!(cache.get_mut(&k).copied(), Some(v));
    assert_eq!(cache.peek_mut(&k).copied(), Some(v));
    assert_eq!(cache.get_key_value(&k), Some((&k, &v)));
    assert_eq!(cache.entry(k).or_insert_with(f).copied(), Some(v));
    assert_eq!(cache.get_or_insert_with(&k, f), v);
    assert_eq!(cache.try_get_or_insert_with(&k, try_f)?, v);
    assert!(cache.contains_key(&k));
    assert_eq!(cache.remove(&k), Some(v));
    cache.extend([(1, 1), (2, 2), (3, 3)]);
    assert_eq!(cache.peek_lru(), Some((&1, &1)));
    assert_eq!(cache.iter().next(), Some((&3, &3)));
    assert_eq!(cache.remove_entry(&k), Some((1, 1)));
    assert_eq!(cache.pop_lru(), Some((2, 2)));
    assert_eq!(
        (cache.len(), cache.is_empty(), cache.max_entries()),
        (1, false, 1_000)
    );
    cache.set_max_entries(500)?;
    cache.iter_mut().for_each(|(_, value)| *value += 1);
    assert_eq!(cache.iter().map(|(_, value)| *value).sum::<u32>(), 4);
    cache.clear();
    assert_eq!(cache.into_iter().count(), 0);
    Ok(())
}

#[test]
fn calls_of_users_of_shared_caches_compile() -> Result {
    let (k, v, minute, hasher) = (1_u32, 10_u32, minute(), RandomState::new());
    let f = || 20;
    let try_f = || "20".parse::<u32>();
    let some_f = || Some(20).ok_or(std::fmt::Error);
    let weigh = |_: &u32, _: &u32| 1;
    let ttl_of = |_: &u32, _: &u32| None;
    let callback = |_: &u32, _: &u32, _: RemovalCause| {};
    let (keep, condition) = (|_: &u32, _: &mut u32| true, |_: &u32, _: &u32| true);
    let change = |value: &mut u32| *value += 1;
    let change_and_keep = |_: &u32, value: &mut u32| {
        *value += 1;
        true
    };
    let (visit, read) = (|_: &u32, _: &u32| {}, |value: &u32| *value);
    let cursor = Cursor::default();
    let entries = [(1, 1), (2, 2)];

    let _: LruCache<u32, u32> = LruCache::new(1_000, minute);
    let _: LruCache<u32, u32> = LruCache::builder().max_entries(1_000).build()?;
    let _ = LruCache::builder().max_entries(1_000).build_from(entries)?;
    let builder = LruBuilder::<u32, u32>::default();
    let builder = builder.max_entries(1_000);
    let builder = builder.weigher(weigh);
    let builder = builder.max_weight(1 << 20);
    let builder = builder.max_weight(1 << 20).weigher(weigh);
    let builder = builder.ttl(minute);
    let builder = builder.idle_timeout(minute);
    let builder = builder.expire_after(ttl_of);
    let builder = builder.on_removal(callback);
    let take = |_: u32, _: u32, _: RemovalCause| {};
    let builder = builder.on_discard(take);
    let builder = builder.hasher(hasher);
    let builder = builder.policy(Policy::S3Fifo);
    let builder = builder.shards(8);
    let mut cache = builder.build()?;

    assert_eq!(cache.insert(k, v), None);
    assert_eq!(cache.insert_with_ttl(k, v, minute), Some(v));
    assert_eq!((cache.get(&k), cache.peek(&k)), (Some(v), Some(v)));
    assert_eq!(
        (cache.with(&k, read), cache.contains_key(&k)),
        (Some(v), true)
    );
    assert_eq!(cache.get_or_insert_with(&k, f), v);
    assert_eq!(cache.try_get_or_insert_with(&k, try_f)?, v);
    assert_eq!(cache.try_get_or_insert_with(&k, some_f)?, v);
    let future = std::future::ready(20);
    let try_future = std::future::ready("20".parse::<u32>());
    assert_eq!(Task::new(cache.get_or_insert_async(&k, future)).output(), v);
    let mut task = Task::new(cache.try_get_or_insert_async(&k, try_future));
    assert_eq!(task.output(), Ok(v));
    drop(task);
    assert!(matches!(cache.get_or_reserve(&k), Lookup::Hit(10)));
    let lookup = Task::new(cache.get_or_reserve_async(&k)).output();
    assert!(matches!(lookup, Lookup::Hit(10)));
    drop(lookup);
    assert_eq!(cache.update(&k, change), Some(()));
    cache.retain(keep);
    cache.retain(change_and_keep);
    cache.for_each(visit);
    assert_eq!(cache.scan(cursor, 100).0, [(1, 12)]);
    assert_eq!(
        (cache.len(), cache.is_empty(), cache.weight()),
        (1, false, 1)
    );
    assert_eq!(
        (cache.max_entries(), cache.max_weight()),
        (1_000, Some(1 << 20))
    );
    assert_eq!(
        (cache.ttl(), cache.idle_timeout()),
        (Some(minute), Some(minute))
    );
    assert_eq!((cache.stats().hits, cache.stats().misses), (10, 0));
    assert_eq!(cache.remove_if(&k, condition), Some(12));
    assert_eq!(cache.remove(&k), None);
    cache.set_max_weight(1 << 20)?;
    cache.extend(entries);
    assert_eq!((cache.sweep(), cache.drain().count()), (0, 2));
    cache.clear();

    let mut unsync_cache = unsync::LruCache::<u32, u32>::new(1_000, minute);
    unsync_cache.entry(k).or_default();
    unsync_cache.entry(k).and_modify(change).or_insert(v);
    assert_eq!(unsync_cache.update(&k, change), Some(()));
    assert_eq!(unsync_cache.get_mut(&k).copied(), Some(2));
    Ok(())
}

#[test]
fn calls_of_users_of_a_set_of_ids_compile() {
    let (id, ids, day) = ("3EB0", ["3EB1", "3EB2"], 1_440 * minute());
    let mut visited = 0;
    let visit_id = |_: &str, _: Duration| visited += 1;
    let seen = DedupSet::<str>::new(1_000_000, day);
    assert!(seen.insert(id) && seen.contains(id) && seen.remove(id));
    let Claim::Fresh(ticket) = seen.claim(id) else {
        panic!("the id is new");
    };
    drop(ticket);
    assert_eq!(seen.insert_batch(ids), [true, true]);
    seen.for_each(visit_id);
    assert_eq!(
        (visited, seen.len(), seen.is_empty(), seen.sweep()),
        (2, 2, false, 0)
    );
    seen.clear();
}
