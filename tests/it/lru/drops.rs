//! Drops: every value is dropped once on every path, and a panic in user code leaves the cache
//! consistent.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use crate::support::panicking_types::{Counted, FUSE, Fused, burn};
use crate::support::timeout::in_time;
use leakproof::{LruCache, ManualClock, RemovalCause, unsync};

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn values_are_dropped_once_on_every_path() {
    let (time, alive) = (ManualClock::new(), Rc::new(Cell::new(0)));
    let builder = unsync::LruCache::<u32, Counted>::builder()
        .max_entries(500)
        .ttl(MINUTE)
        .max_weight(2_000);
    let mut cache = builder
        .weigher(|&key, _| key % 7)
        .clock(&time)
        .build()
        .expect("valid limits");
    let check = |cache: &unsync::LruCache<u32, Counted>, what| {
        assert_eq!(alive.get(), cache.len() as isize, "{what}");
    };
    for key in 0..2_000 {
        time.advance(Duration::from_millis(20));
        cache.insert(key, Counted::new(&alive));
        check(&cache, "evicted and expired");
        drop(cache.insert(key, Counted::new(&alive)));
        drop(cache.get_or_insert_with(&(key + 5_000), || Counted::new(&alive)));
        check(&cache, "replaced and computed");
    }
    drop((cache.remove(&1_999), cache.pop_lru(), cache.pop_oldest()));
    check(&cache, "removed");
    cache.retain(|&key, _| key % 2 == 0);
    check(&cache, "not kept");
    cache.set_max_entries(50).expect("a valid limit");
    check(&cache, "resized");
    time.advance(MINUTE);
    cache.sweep();
    check(&cache, "swept");
    for key in 0..50 {
        cache.insert(key, Counted::new(&alive));
    }
    cache.clear();
    assert_eq!(alive.get(), 0, "cleared");
    for key in 0..50 {
        cache.insert(key, Counted::new(&alive));
    }
    drop(cache);
    assert_eq!(alive.get(), 0, "dropped with the cache");
}

/// A value that panics in `clone` if its field is `true`.
struct Brittle(bool);

impl Clone for Brittle {
    fn clone(&self) -> Self {
        assert!(!self.0, "user code panics");
        Self(self.0)
    }
}

#[test]
fn removal_in_a_panicking_call_is_notified() {
    let (time, log) = (ManualClock::new(), Arc::<AtomicU64>::default());
    let count = |log: &Arc<AtomicU64>| {
        let log = Arc::clone(log);
        move |_: &u32, _: &Brittle, _| {
            log.fetch_add(1, Ordering::Relaxed);
        }
    };
    let shared = LruCache::builder()
        .max_entries(8)
        .ttl(MINUTE)
        .shards(1)
        .clock(&time)
        .on_removal(count(&log));
    let shared = shared.build().expect("valid limits");
    shared.insert(1, Brittle(false));
    time.advance(MINUTE / 2);
    shared.insert(2, Brittle(true));
    time.advance(MINUTE / 2);
    let read = catch_unwind(AssertUnwindSafe(|| shared.get(&2)));
    assert!(read.is_err() && shared.stats().expired == 1);
    assert_eq!(log.load(Ordering::Relaxed), 0, "a read removes nothing");
    let retained = catch_unwind(AssertUnwindSafe(|| {
        shared.retain(|_, _| panic!("user code panics"));
    }));
    assert!(retained.is_err() && shared.stats().expired == 1);
    assert_eq!(
        log.swap(0, Ordering::Relaxed),
        1,
        "shared: a write that removed an expired entry"
    );

    let single = unsync::LruCache::builder()
        .max_entries(8)
        .ttl(MINUTE)
        .clock(&time)
        .on_removal(count(&log));
    let mut single = single.build().expect("valid limits");
    single.insert(1, Brittle(false));
    single.insert(2, Brittle(false));
    let retained = catch_unwind(AssertUnwindSafe(|| {
        single.retain(|&key, _| key == 1 && panic!("user code panics"));
    }));
    assert!(retained.is_err() && single.stats().removed == 1);
    assert_eq!(
        log.load(Ordering::Relaxed),
        1,
        "unsync: an entry removed before the panic"
    );
}

/// Runs every method of a cache with a panic at the `fuse`th call of user code. Returns `true` if
/// there are that many.
fn explodes_at(fuse: usize) -> bool {
    let time = ManualClock::new();
    let cache = LruCache::<Fused, Fused>::builder()
        .max_entries(8)
        .max_weight(30)
        .weigher(|_, value| {
            burn();
            value.0 as u32 % 12
        })
        .ttl(MINUTE)
        .idle_timeout(MINUTE / 2)
        .on_removal(|_, _, _| burn())
        .shards(1)
        .clock(&time)
        .build()
        .expect("valid limits");
    FUSE.set(fuse);
    for round in 0..12 {
        let steps: [&dyn Fn(); 10] = [
            &|| drop(cache.insert(Fused(round), Fused(round))),
            &|| drop(cache.insert(Fused(round / 2), Fused(round + 3))),
            &|| drop(cache.get(&Fused(round / 3))),
            &|| drop(cache.insert_checked(Fused(round), Fused(11 + round % 2 * 30))),
            &|| drop(cache.get_or_insert_with(&Fused(round + 20), || Fused(1))),
            &|| drop(cache.remove(&Fused(round.wrapping_sub(3)))),
            &|| drop(cache.pop_lru()),
            &|| cache.retain(|key, _| key.0 % 5 != 4),
            &|| drop(cache.scan(Default::default(), 3)),
            &|| time.advance(MINUTE / 5),
        ];
        for step in steps {
            drop(catch_unwind(AssertUnwindSafe(step)));
            cache.validate();
        }
    }
    let burnt = FUSE.get() > fuse;
    FUSE.set(usize::MAX);
    assert!(cache.len() <= 8 && cache.weight() <= 30);
    let keys: Vec<u64> = cache
        .entries_by_recency(100)
        .into_iter()
        .map(|(key, _)| key.0)
        .collect();
    let distinct: HashSet<&u64> = keys.iter().collect();
    assert_eq!(distinct.len(), keys.len(), "no key is there twice");
    for key in keys {
        assert!(cache.contains_key(&Fused(key)), "every entry is found");
    }
    cache.clear();
    assert!(cache.is_empty());
    burnt
}

#[test]
fn panic_in_any_user_code_leaves_the_cache_consistent() {
    let calls = (0..10_000).take_while(|&fuse| explodes_at(fuse)).count();
    assert!(calls > 500, "panics at {calls} different calls");
}

/// A value that panics in `drop` if its field is `true`, unless the thread is panicking.
struct Bomb(bool);

impl Clone for Bomb {
    fn clone(&self) -> Self {
        Self(false)
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        assert!(!self.0 || thread::panicking(), "user code panics");
    }
}

fn panics(work: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(work)).is_err()
}

#[test]
fn panicking_drop_in_a_computation_leaves_the_key_free() {
    let time = ManualClock::new();
    let builder = LruCache::<u32, Bomb>::builder()
        .max_entries(10)
        .ttl(MINUTE)
        .shards(1);
    let cache = Arc::new(builder.clock(&time).build().expect("valid limits"));
    cache.insert(1, Bomb(true));
    time.advance(MINUTE);
    assert!(panics(|| drop(
        cache.get_or_insert_with(&2, || Bomb(false))
    )));
    assert!(
        cache
            .try_get_or_insert_with(&2, || Ok::<_, ()>(Bomb(false)))
            .is_ok(),
        "on the same thread"
    );
    cache.remove(&2);
    in_time(move || drop(cache.get_or_insert_with(&2, || Bomb(false))));
}

/// A value whose `Drop` uses all shards of a cache.
#[derive(Clone)]
struct Uses<V>(Arc<OnceLock<LruCache<u32, V>>>);

impl<V> Drop for Uses<V> {
    fn drop(&mut self) {
        if let Some(cache) = self.0.get() {
            cache.sweep();
        }
    }
}

#[test]
fn drop_of_an_unstored_value_may_use_the_cache() {
    struct Value(Uses<Value>);
    impl Clone for Value {
        fn clone(&self) -> Self {
            Self(Uses(Arc::clone(&self.0.0)))
        }
    }
    let slot = Arc::new(OnceLock::new());
    let cache = LruCache::builder()
        .max_entries(10)
        .shards(1)
        .build()
        .expect("valid limits");
    slot.set(cache).expect("the first");
    in_time(move || {
        let cache = slot.get().expect("initialized");
        let got = cache.get_or_insert_with(&1, || {
            cache.remove(&1);
            Value(Uses(Arc::clone(&slot)))
        });
        drop(got);
        assert!(cache.is_empty());
    });
}

#[test]
fn drop_of_an_uncalled_closure_may_use_the_cache() {
    for expired in [false, true] {
        let (time, slot) = (ManualClock::new(), Arc::new(OnceLock::new()));
        let builder = LruCache::<u32, u32>::builder()
            .max_entries(10)
            .ttl(MINUTE)
            .shards(1)
            .clock(&time);
        slot.set(builder.build().expect("valid limits"))
            .expect("the first");
        in_time(move || {
            let cache = slot.get().expect("initialized");
            if expired {
                cache.insert(1, 1);
                time.advance(MINUTE);
            }
            let captured = Uses(Arc::clone(&slot));
            let read = move |value: &u32| {
                let _captured = &captured;
                *value
            };
            assert_eq!(cache.with(&1, read), None);
        });
    }
}

type Log = Arc<Mutex<Vec<(u32, RemovalCause)>>>;

/// Returns a callback that logs removals.
fn logging(log: &Log) -> impl Fn(&u32, &Bomb, RemovalCause) + Send + Sync + 'static {
    let log = Arc::clone(log);
    move |&key, _, cause| log.lock().expect("not poisoned").push((key, cause))
}

#[test]
fn all_removals_are_notified_before_a_drop_panics() {
    let (time, log) = (ManualClock::new(), Log::default());
    let builder = LruCache::builder()
        .max_entries(10)
        .ttl(MINUTE)
        .shards(1)
        .clock(&time);
    let cache = builder
        .on_removal(logging(&log))
        .build()
        .expect("valid limits");
    for key in 0..3 {
        cache.insert(key, Bomb(key == 0));
    }
    time.advance(MINUTE);
    assert!(panics(|| {
        cache.sweep();
    }));
    assert_eq!(
        *log.lock().expect("not poisoned"),
        [0, 1, 2].map(|key| (key, RemovalCause::Expired))
    );
}

#[test]
fn returned_removal_is_notified_before_a_drop_panics() {
    use RemovalCause::{Expired, Removed, Replaced};
    let (time, log) = (ManualClock::new(), Log::default());
    let builder = LruCache::builder()
        .max_entries(10)
        .ttl(MINUTE)
        .shards(1)
        .clock(&time);
    let shared = builder
        .on_removal(logging(&log))
        .build()
        .expect("valid limits");
    let builder = unsync::LruCache::builder()
        .max_entries(10)
        .ttl(MINUTE)
        .clock(&time);
    let single = builder
        .on_removal(logging(&log))
        .build()
        .expect("valid limits");
    let single = RefCell::new(single);
    let taking_out: [(&dyn Fn(), RemovalCause); 5] = [
        (&|| drop(shared.insert(1, Bomb(false))), Replaced),
        (&|| drop(shared.remove(&1)), Removed),
        (
            &|| drop(single.borrow_mut().insert(1, Bomb(false))),
            Replaced,
        ),
        (&|| drop(single.borrow_mut().remove(&1)), Removed),
        (&|| drop(single.borrow_mut().pop_lru()), Removed),
    ];
    for (at, (take_out, cause)) in taking_out.into_iter().enumerate() {
        let insert = |key, value| match at {
            0..2 => drop(shared.insert(key, value)),
            _ => drop(single.borrow_mut().insert(key, value)),
        };
        insert(0, Bomb(true));
        time.advance(MINUTE / 2);
        insert(1, Bomb(false));
        time.advance(MINUTE / 2);
        assert!(panics(take_out));
        assert_eq!(
            std::mem::take(&mut *log.lock().expect("not poisoned")),
            [(0, Expired), (1, cause)],
            "{at}"
        );
        shared.clear();
        single.borrow_mut().clear();
        log.lock().expect("not poisoned").clear();
    }
}

#[test]
fn clear_empties_every_shard_if_a_drop_panics() {
    let cache = LruCache::<u32, Bomb>::builder()
        .max_entries(400)
        .shards(4)
        .build()
        .expect("valid limits");
    for key in 0..100 {
        cache.insert(key, Bomb(key % 50 == 0));
    }
    assert!(panics(|| cache.clear()));
    assert_eq!((cache.len(), cache.stats().removed), (0, 100));
    let during = cache.get_or_insert_with(&1, || {
        cache.insert(2, Bomb(true));
        assert!(panics(|| cache.clear()));
        Bomb(false)
    });
    drop(during);
    assert!(cache.is_empty(), "the computed value is not stored");
}

#[test]
fn changed_bound_holds_everywhere_if_a_drop_panics() {
    let cache = LruCache::<u32, Bomb>::builder()
        // No shard is full before the bound changes.
        .max_entries(4_000)
        .shards(4)
        .build()
        .expect("valid limits");
    for key in 0..300 {
        cache.insert(key, Bomb(key % 50 == 0));
    }
    assert!(panics(|| cache.set_max_entries(40).expect("a valid limit")));
    assert!(
        cache.stats().max_entries == 40 && cache.len() <= 40,
        "{}",
        cache.stats()
    );
    cache.validate();
    assert!(panics(|| cache.clear()) | cache.is_empty());
}
