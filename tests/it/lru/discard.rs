//! The callback that takes removed entries by value.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use leakproof::{LruBuilder, LruCache, ManualClock, RemovalCause, unsync};

const MINUTE: Duration = Duration::from_secs(60);

/// A value that is not `Clone`.
#[derive(Debug, PartialEq)]
struct Owned(u32);

type Log = Arc<Mutex<Vec<(u32, Owned, RemovalCause)>>>;

fn logging<T>(
    builder: LruBuilder<u32, Owned, leakproof::DefaultHashBuilder, T>,
) -> (
    LruBuilder<u32, Owned, leakproof::DefaultHashBuilder, T>,
    Log,
) {
    let log = Log::default();
    let taken = Arc::clone(&log);
    let take = move |key, value, cause| taken.lock().expect("ok").push((key, value, cause));
    (builder.on_discard(take), log)
}

fn taken(log: &Log) -> Vec<(u32, u32, RemovalCause)> {
    let all = std::mem::take(&mut *log.lock().expect("ok"));
    all.into_iter()
        .map(|(key, value, cause)| (key, value.0, cause))
        .collect()
}

#[test]
fn on_discard_takes_what_no_caller_receives() {
    let time = ManualClock::new();
    let builder = LruCache::builder()
        .max_entries(2)
        .shards(1)
        .ttl(MINUTE)
        .clock(&time);
    let builder = builder.max_weight(100).weigher(|_, value: &Owned| value.0);
    let (builder, log) = logging(builder);
    let cache = builder.build().expect("valid limits");
    for key in [1, 2, 3] {
        cache.insert(key, Owned(key));
    }
    assert_eq!(taken(&log), [(1, 1, RemovalCause::Evicted)]);
    cache.insert(4, Owned(101));
    assert_eq!(taken(&log), [(4, 101, RemovalCause::Rejected)]);
    time.advance(MINUTE);
    assert_eq!(cache.sweep(), 2);
    let expired = [2, 3].map(|key| (key, key, RemovalCause::Expired));
    assert_eq!(taken(&log), expired);
    cache.insert(5, Owned(5));
    cache.insert(6, Owned(6));
    cache.retain(|&key, _| key == 6);
    cache.clear();
    let removed = [5, 6].map(|key| (key, key, RemovalCause::Removed));
    assert_eq!(taken(&log), removed);
    cache.validate();
}

#[test]
fn on_discard_takes_computed_values_that_are_not_stored() {
    let log = Arc::new(Mutex::new(Vec::new()));
    let taken = Arc::clone(&log);
    let cache = LruCache::<u32, u32>::builder()
        .max_weight(10)
        .weigher(|_, &weight| weight)
        .on_discard(move |key, _, cause| taken.lock().expect("ok").push((key, cause)))
        .build()
        .expect("valid limits");
    cache.insert(1, 10);
    assert_eq!(cache.get_or_insert_with(&2, || 5), 5);
    assert_eq!(cache.get_or_insert_with(&3, || 11), 11);
    let causes = [(1, RemovalCause::Evicted), (3, RemovalCause::Rejected)];
    assert_eq!(*log.lock().expect("ok"), causes);
}

#[test]
fn on_discard_is_not_called_for_what_a_caller_receives() {
    let time = ManualClock::new();
    let builder = unsync::LruCache::builder()
        .max_entries(9)
        .ttl(MINUTE)
        .clock(&time);
    let (builder, log) = logging(builder);
    let mut cache = builder.build().expect("valid limits");
    assert_eq!(cache.insert(1, Owned(1)), None);
    assert_eq!(cache.insert(1, Owned(2)), Some(Owned(1)));
    assert_eq!(cache.remove(&1), Some(Owned(2)));
    cache.insert(2, Owned(2));
    assert_eq!(cache.pop_lru(), Some((2, Owned(2))));
    cache.insert(3, Owned(3));
    time.advance(MINUTE);
    cache.insert_with_ttl(4, Owned(4), 2 * MINUTE);
    assert_eq!(taken(&log), [(3, 3, RemovalCause::Expired)]);
    cache.insert(5, Owned(5));
    time.advance(MINUTE);
    assert_eq!(cache.drain().collect::<Vec<_>>(), [(4, Owned(4))]);
    assert_eq!(taken(&log), [(5, 5, RemovalCause::Expired)]);
    cache.validate();
}

#[test]
fn on_discard_follows_on_removal_and_its_panic_is_counted() {
    let order = Arc::new(Mutex::new(Vec::new()));
    let (first, second) = (Arc::clone(&order), Arc::clone(&order));
    let cache = LruCache::<u32, u32>::builder()
        .max_entries(1)
        .on_removal(move |_, _, _| first.lock().expect("ok").push("removal"))
        .on_discard(move |_, _, _| {
            second.lock().expect("ok").push("discard");
            panic!("in the callback");
        })
        .build()
        .expect("valid limits");
    cache.insert(1, 1);
    cache.insert(2, 2);
    assert_eq!(*order.lock().expect("ok"), ["removal", "discard"]);
    assert_eq!((cache.stats().callback_panics, cache.len()), (1, 1));
}
