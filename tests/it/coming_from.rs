//! The page "Coming from …": every call in the right columns of its tables compiles.
//!
//! The first tests compare the page with this file, and the others contain the calls.

use std::collections::HashSet;
use std::error::Error;
use std::hash::RandomState;
use std::time::Duration;

use crate::support::task::Task;
use leakproof::{
    Claim, Cursor, DedupMap, DedupSet, Lookup, LruBuilder, LruCache, Policy, RemovalCause, unsync,
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
    assert!(calls > 130, "the page has tables: {calls} calls");
}

/// The public calls of each crate: of its cache or map, of its builder, and of its entries.
const CALLS: [(&str, &str); 4] = [
    (
        "lru",
        "new sparse unbounded with_hasher unbounded_with_hasher put push get get_mut get_key_value \
         get_key_value_mut get_or_insert get_or_insert_with_key get_or_insert_ref try_get_or_insert \
         try_get_or_insert_with_key try_get_or_insert_ref get_or_insert_mut \
         get_or_insert_mut_with_key get_or_insert_mut_ref try_get_or_insert_mut \
         try_get_or_insert_mut_with_key try_get_or_insert_mut_ref peek peek_mut peek_lru peek_mru \
         contains pop pop_entry pop_lru pop_mru promote demote find_and_promote retain len is_empty \
         cap resize clear iter iter_mut",
    ),
    (
        "moka",
        "name policy entry_count weighted_size debug_stats new builder contains_key get entry \
         entry_by_ref get_with get_with_by_ref get_with_if optionally_get_with \
         optionally_get_with_by_ref try_get_with try_get_with_by_ref insert invalidate remove \
         invalidate_all invalidate_entries_if iter run_pending_tasks segments build \
         build_with_hasher max_capacity initial_capacity eviction_policy tiny_lfu lru weigher \
         eviction_listener async_eviction_listener time_to_live time_to_idle expire_after \
         support_invalidation_closures num_segments and_compute_with and_try_compute_with \
         and_try_compute_if_nobody_else and_upsert_with or_default or_insert or_insert_with \
         or_insert_with_if or_optionally_insert_with or_try_insert_with key value into_value \
         is_fresh is_old_value_replaced",
    ),
    (
        "quick_cache",
        "new with_weighter with with_options is_empty len weight capacity shard_capacity num_shards \
         misses hits shard_index reserve contains_key try_contains_key get try_get peek try_peek \
         item_stats try_item_stats remove try_remove remove_if replace replace_with_lifecycle retain \
         insert try_insert insert_with_lifecycle try_insert_with_lifecycle clear iter drain \
         set_capacity get_value_or_guard get_or_insert_with get_value_or_guard_async \
         get_or_insert_async entry entry_async memory_used get_mut peek_mut get_mut_or_insert_with \
         get_ref_or_guard get_mut_or_guard shards estimated_items_capacity weight_capacity \
         hot_allocation ghost_allocation build",
    ),
    (
        "dashmap",
        "new with_capacity with_shard_amount with_capacity_and_shard_amount into_read_only \
         with_hasher with_capacity_and_hasher with_hasher_and_shard_amount \
         with_capacity_and_hasher_and_shard_amount hash_usize hasher insert remove remove_if \
         remove_if_mut iter iter_mut get get_mut try_get try_get_mut shrink_to_fit retain len \
         is_empty clear capacity alter alter_all view contains_key entry try_entry try_reserve \
         and_modify key into_key or_default or_insert or_insert_with or_try_insert_with insert_entry \
         into_ref remove_entry replace_entry",
    ),
];

#[test]
fn page_answers_every_call_of_the_four_crates() {
    for (name, calls) in CALLS {
        let (_, section) = PAGE
            .split_once(&format!("## From {name}\n"))
            .expect("a section");
        let (section, _) = section.split_once("\n## ").expect("a next section");
        let rows = section.lines().filter_map(|line| line.strip_prefix("| "));
        let left = rows.filter_map(|row| Some(row.split_once(" |")?.0));
        let code = left.flat_map(|left| left.split('`').skip(1).step_by(2));
        let answered: HashSet<&str> = code
            .flat_map(|code| code.split(|char: char| !char.is_alphanumeric() && char != '_'))
            .collect();
        let missing = calls
            .split_whitespace()
            .filter(|call| !answered.contains(call));
        assert_eq!(missing.collect::<Vec<_>>(), [""; 0], "calls of {name}");
    }
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
    let of_key = |key: &u32| *key;
    assert_eq!(cache.entry(k).or_insert_with_key(of_key).copied(), Some(v));
    assert_eq!(cache.entry(k).or_try_insert_with(try_f)?.copied(), Some(v));
    assert_eq!(cache.get_or_insert_with(&k, f), v);
    assert_eq!(cache.try_get_or_insert_with(&k, try_f)?, v);
    let wanted = |&(_, value): &(&u32, &u32)| *value == v;
    assert_eq!(cache.iter().find(wanted), Some((&k, &v)));
    let keep = |_: &u32, _: &mut u32| true;
    cache.retain(keep);
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
    assert_eq!(cache.shards(), 8);
    assert_eq!(cache.remove_if(&k, condition), Some(12));
    assert_eq!(cache.remove(&k), None);
    cache.insert(k, v);
    assert_eq!(cache.remove_entry(&k), Some((k, v)));
    cache.set_max_weight(1 << 20)?;
    cache.extend(entries);
    assert_eq!((cache.sweep(), cache.drain().count()), (0, 2));
    cache.clear();

    let mut unsync_cache = unsync::LruCache::<u32, u32>::new(1_000, minute);
    unsync_cache.entry(k).or_default();
    unsync_cache.entry(k).and_modify(change).or_insert(v);
    assert_eq!(unsync_cache.update(&k, change), Some(()));
    assert_eq!(unsync_cache.get_mut(&k).copied(), Some(2));
    assert_eq!(unsync_cache.peek_mut(&k).copied(), Some(2));
    let value = unsync_cache.entry(k).or_try_insert_with(try_f)?;
    assert_eq!(value.copied(), Some(2));
    let unsync::Entry::Occupied(mut entry) = unsync_cache.entry(k) else {
        panic!("it has a value");
    };
    assert_eq!((*entry.key(), *entry.get(), *entry.get_mut()), (k, 2, 2));
    *entry.into_mut() = 3;
    let unsync::Entry::Occupied(entry) = unsync_cache.entry(k) else {
        panic!("it has a value");
    };
    assert_eq!(entry.insert(4), Some(3));
    let unsync::Entry::Occupied(entry) = unsync_cache.entry(k) else {
        panic!("it has a value");
    };
    assert_eq!(entry.remove_entry(), (k, 4));
    Ok(())
}

#[test]
fn calls_of_users_of_a_set_of_ids_compile() {
    let (id, ids, day) = ("3EB0", ["3EB1", "3EB2"], 1_440 * minute());
    let mut visited = 0;
    let visit_id = |_: &str, _: Duration| visited += 1;
    let seen = DedupSet::<str>::new(1_000_000, day);
    let map = DedupMap::<str, u32>::new(1_000_000, day);
    assert!(!map.contains_key(id));
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
